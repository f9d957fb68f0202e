use super::lab::{Lab, finished_run};

/// A lake with three runs, flushed.
fn lab() -> Lab {
    let lab = Lab::new();
    let lake = lab.lake();
    for run in ["alpha", "beta", "gamma"] {
        finished_run(&lake, "p", run, 10);
        lake.flush().unwrap();
    }
    lab
}

const COUNTS: &str = "select (select count(*) from runs), (select count(*) from points), \
    (select count(*) from points_all), (select count(*) from series), (select count(*) from config)";

#[test]
fn a_deleted_run_is_hidden_at_once_everywhere_and_comes_back_as_it_was() {
    let lab = lab();
    let before = lab.rows(COUNTS);
    assert_eq!(before, ["3,60,60,6,9"]);
    let said = lab.run(&["rm", "beta", "--yes"]).ok();
    said.prints(&["deleted 1 run with 20 points", "runlake restore beta"]);
    assert_eq!(lab.rows(COUNTS), ["2,40,40,4,6"]);
    assert_eq!(lab.rows("select distinct run_id from points order by run_id").len(), 2);
    lab.run(&["show", "beta"]).failed(1).says(&["no run 'beta'"]);
    lab.run(&["sql", "select * from history('p/beta')"]).failed(1).says(&["no run"]);
    lab.run(&["restore"]).ok().prints(&["beta"]);
    lab.run(&["restore", "no-run"]).failed(1).says(&["no run 'no-run'", "lists the runs"]);

    // A merge keeps what can be restored.
    lab.run(&["compact", "--gc-now"]).ok();
    assert_eq!(lab.rows(COUNTS), ["2,40,40,4,6"]);
    lab.run(&["restore", "beta"]).ok().prints(&["restored 1 run"]);
    assert_eq!(lab.rows(COUNTS), before);
    lab.run(&["restore"]).ok().prints(&["No run is deleted."]);
}

#[test]
fn what_is_deleted_for_good_is_gone_after_the_next_compaction() {
    let lab = lab();
    lab.run(&["rm", "alpha", "p/gamma", "--yes", "--for-good"])
        .ok()
        .prints(&["deleted 2 runs with 40 points"]);
    let said = lab.run(&["compact", "--gc-now"]).ok();
    said.prints(&["40 points of deleted runs left out"]);
    assert_eq!(lab.rows(COUNTS), ["1,20,20,2,3"]);
    assert_eq!(lab.rows("select sum(rows) from segments where table_name = 'points'"), ["20"]);
    lab.run(&["restore"]).ok().prints(&["No run is deleted."]);
    lab.run(&["verify"]).ok().prints(&["1 run, 20 points in 1 segment"]);
    finished_run(&lab.lake(), "p", "alpha", 5);
    assert_eq!(lab.rows(COUNTS), ["2,30,30,4,6"]);
}

#[test]
fn nothing_is_deleted_without_an_answer_and_a_running_run_only_by_force() {
    let lab = lab();
    lab.run(&["rm", "alpha"]).failed(2).says(&["nobody is there to ask", "--yes"]);
    let lake = lab.lake();
    let live = lake.run("p").name("live").start().unwrap();
    live.log_named(0, &[("loss", 1.0)]).unwrap();
    lab.run(&["rm", "live", "--yes"]).failed(1).says(&["live is running", "--force"]);
    assert_eq!(lab.rows("select count(*) from runs"), ["4"]);
    lab.run(&["rm", "live", "--yes", "--force"]).ok();
    live.log_named(1, &[("loss", 1.0)]).unwrap();
    assert_eq!(lab.rows("select count(*) from points where metric = 'loss'"), ["0"]);
    lab.run(&["restore", "live"]).ok();
    assert_eq!(lab.rows("select count(*) from points where metric = 'loss'"), ["2"]);
}

#[test]
fn whoever_resumes_a_deleted_run_restores_it() {
    let lab = lab();
    let lake = lab.lake();
    let id = lab.rows("select run_id from runs where name = 'alpha'").remove(0);
    lab.run(&["rm", "alpha", "--yes"]).ok();
    assert_eq!(lab.rows("select count(*) from runs"), ["2"]);
    let again = lake.run("p").id(&id).start().unwrap();
    again.log_named(None, &[("train/loss", 0.5)]).unwrap();
    assert_eq!(lab.rows(COUNTS), ["3,61,61,6,9"]);
}

#[test]
fn forks_of_a_run_that_is_deleted_are_named_and_say_what_they_lost() {
    let lab = lab();
    let lake = lab.lake();
    let fork = lake.run("p").id("fork").name("fork").fork_from("alpha", 4).start().unwrap();
    fork.log_named(None, &[("train/loss", 0.5)]).unwrap();
    fork.finish(runlake_engine::State::Finished).unwrap();
    drop((fork, lake));
    let count = "select count(*) from points where run_id = 'fork'";
    assert_eq!(lab.rows(count), ["11"]);
    lab.run(&["show", "fork"]).ok().prints(&["forked at step 4", "11 in 2 series"]);
    lab.run(&["export", "--run", "fork", "--format", "csv", "-o", "out"])
        .ok()
        .prints(&["11 points"]);
    // Another lake has both.
    lab.run(&["merge", "runs.lake", "--into", "all.lake"]).ok();
    let sql = ["--store", "all.lake", "sql", count, "--format", "csv"];
    lab.run(&sql).ok().prints(&["11"]);
    let said = lab.run(&["rm", "beta", "--yes"]).ok();
    assert!(!said.out.contains("was forked"), "{said:#?}");
    let loses = "fork was forked from alpha, and loses its points up to step 4";
    lab.run(&["rm", "alpha", "--yes", "--for-good"]).ok().prints(&[loses]);
    assert_eq!(lab.rows(count), ["1"]);
    lab.run(&["verify"]).ok().prints(&[
        "run p/fork was forked from run",
        "which is deleted",
        "are sound",
    ]);
    lab.run(&["show", "fork"]).ok().prints(&["missing", "which is deleted"]);
    lab.run(&["compact", "--gc-now"]).ok();
    lab.run(&["verify"]).ok().prints(&["which is not in this lake", "are sound"]);
    assert_eq!(lab.rows(count), ["1"]);
}
