use super::lab::{Lab, finished_run, said};

#[test]
fn a_chart_has_axes_a_legend_and_gaps() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "calm-otter-17", 200);
    let run = lake.run("p").name("brisk-wren-3").start().unwrap();
    for step in 0..200 {
        let value = if (50..150).contains(&step) { f64::NAN } else { 0.5 };
        run.log_named(step, &[("train/loss", value)]).unwrap();
    }
    let said = lab.run(&["plot", "train/loss", "--width", "80", "--height", "12"]).ok().prints(&[
        "train/loss\n",
        "step",
        "calm-otter-17  last 0.005000 at step 199, least 0.005000 at 199",
        "brisk-wren-3   last 0.5000 at step 199",
    ]);
    assert!(!said.out.contains('\u{1b}'), "no colours into a file");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{said:#?}");
    assert!(lines[1].starts_with("1.0│"), "{said:#?}");
    assert!(
        lines.iter().any(|line| line.trim_start().starts_with("0 ") && line.ends_with("step 199")),
        "{said:#?}"
    );
}

#[test]
fn colours_can_be_forced_and_no_color_wins() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 50);
    let out = |variables: &[(&str, &str)]| {
        let mut command = lab.command(&["plot", "train/loss"]);
        said(command.envs(variables.iter().copied()).output().unwrap()).ok().out
    };
    assert!(out(&[("CLICOLOR_FORCE", "1")]).contains("\u{1b}[36m"));
    assert!(!out(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn runs_are_chosen_by_project_by_name_and_by_age() {
    let lab = Lab::new();
    let lake = lab.lake();
    for run in 0..12 {
        finished_run(&lake, if run < 6 { "old" } else { "new" }, &format!("run-{run:02}"), 20);
    }
    let drawn = |arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["plot", "train/loss"];
        all.extend(arguments);
        let said = lab.run(&all).ok();
        said.out
            .split_whitespace()
            .filter(|word| word.starts_with("run-"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(drawn(&[]).len(), 10);
    assert_eq!(drawn(&["--limit", "0"]).len(), 12);
    assert_eq!(drawn(&["--project", "old", "-n", "2"]), ["run-05", "run-04"]);
    assert_eq!(drawn(&["--run", "run-03", "--run", "@last"]), ["run-03", "run-11"]);
    lab.run(&["plot", "train/loss"])
        .ok()
        .prints(&["the newest 10 of 12 runs; --limit 0 draws all"]);
    lab.run(&["plot", "train/loss", "--run", "@last", "--x", "time"]).ok().prints(&["seconds"]);
    lab.run(&["plot", "train/loss", "--log"]).ok().prints(&["train/loss (log)"]);
}

#[test]
fn a_metric_that_is_mistyped_is_suggested() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 3);
    lab.run(&["plot", "train/los"])
        .failed(1)
        .says(&["no metric 'train/los'", "did you mean 'train/loss'"]);
    lab.run(&["plot", "loss"]).failed(1).says(&["did you mean 'train/loss'"]);
    lab.run(&["plot", "zzz"]).failed(1).says(&["there are train/accuracy, train/loss"]);
}

#[test]
fn values_that_cannot_be_drawn_are_said() {
    let lab = Lab::new();
    let run = lab.lake().run("p").start().unwrap();
    run.log_named(0, &[("nan", f64::NAN), ("negative", -1.0)]).unwrap();
    lab.run(&["plot", "nan"]).failed(1).says(&["no finite value"]);
    lab.run(&["plot", "negative", "--log"]).failed(1).says(&["no positive, finite value"]);
}
