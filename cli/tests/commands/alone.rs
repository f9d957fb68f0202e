use runlake_engine::State;

use super::lab::{Lab, finished_run};

#[test]
fn alone_without_a_lake_it_says_where_it_looked_and_how_to_begin() {
    let lab = Lab::new();
    lab.run(&[]).ok().prints(&[
        "no lake here yet",
        "Looked at",
        "runs.lake",
        "import runlake",
        "runlake demo",
    ]);
    assert_eq!(std::fs::read_dir(lab.path()).unwrap().count(), 0);
}

#[test]
fn alone_it_lists_the_recent_runs_with_state_step_loss_and_age() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "digits", "calm-otter-17", 100);
    let live = lake.run("digits").name("brisk-wren-3").start().unwrap();
    live.log_named(7, &[("val/loss", f64::NAN)]).unwrap();
    let failed = lake.run("other").name("failed-one").start().unwrap();
    failed.finish_with_code(State::Failed, 1).unwrap();

    let said = lab.run(&[]).ok().prints(&["runs.lake", "3 runs"]);
    let line = |name: &str| {
        let line = said.out.lines().find(|line| line.starts_with(name)).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        line("calm-otter-17")[..5],
        ["calm-otter-17", "digits", "finished", "99", "0.01000 train/loss"]
    );
    assert_eq!(
        line("brisk-wren-3")[..5],
        ["brisk-wren-3", "digits", "running", "7", "NaN val/loss"]
    );
    assert_eq!(line("failed-one")[..3], ["failed-one", "other", "failed"]);
    assert!(["now", " ago"].iter().any(|age| line("calm-otter-17")[5].ends_with(age)), "{said:#?}");
    drop(live);
}

#[test]
fn runs_lists_newest_first_and_says_what_it_leaves_out() {
    let lab = Lab::new();
    let lake = lab.lake();
    for run in 0..5 {
        finished_run(&lake, if run < 3 { "p" } else { "q" }, &format!("run-{run}"), 2);
    }
    let names = |arguments: &[&str]| -> Vec<String> {
        let said = lab.run(arguments).ok();
        said.out
            .lines()
            .filter(|line| line.starts_with("run-"))
            .map(|line| line[..5].to_owned())
            .collect()
    };
    assert_eq!(names(&["runs"]), ["run-4", "run-3", "run-2", "run-1", "run-0"]);
    assert_eq!(names(&["runs", "--project", "p", "--limit", "2"]), ["run-2", "run-1"]);
    lab.run(&["runs", "-n", "2"]).ok().prints(&["... 3 more; --limit 0 shows all"]);
}
