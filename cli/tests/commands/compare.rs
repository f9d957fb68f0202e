use runlake_engine::State;
use serde_json::json;

use super::lab::Lab;

fn lab() -> Lab {
    let lab = Lab::new();
    let lake = lab.lake();
    for (id, lr, losses) in [("a", 0.1, [3.0, 1.0, 2.0]), ("b", 0.2, [4.0, 0.5, 2.25])] {
        let config = json!({"lr": lr, "model": {"depth": 3}});
        let config = config.as_object().unwrap().clone();
        let run = lake.run("p").id(id).name("otter").config(config).start().unwrap();
        for (step, loss) in losses.into_iter().enumerate() {
            let step = i64::try_from(step).unwrap();
            run.log_named(step, &[("val/loss", loss), ("same", 1.0)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
    }
    lab
}

/// The lines from a title on, up to the next gap, with single spaces.
fn part(out: &str, title: &str) -> Vec<String> {
    let lines = out.lines().skip_while(|line| *line != title).skip(3);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.take_while(|line| !line.is_empty()).map(words).collect()
}

#[test]
fn compare_prints_only_what_differs_and_marks_the_best() {
    let lab = lab();
    let said = lab.run(&["compare", "a", "b"]).ok();
    assert_eq!(part(&said.out, "config"), ["lr 0.1 0.2"]);
    assert_eq!(part(&said.out, "last values"), ["val/loss 2 * 2.250 (+0.2500)"]);
    assert_eq!(part(&said.out, "best values"), ["val/loss 1 0.5000 (-0.5000) *"]);
    assert!(!said.out.contains("same") && !said.out.contains("otter"), "{}", said.out);

    let said = lab.run(&["compare", "a", "b", "--baseline", "b", "--all", "--max", "*"]).ok();
    assert_eq!(part(&said.out, "config"), ["lr 0.2 0.1", "model.depth 3 3"]);
    assert_eq!(part(&said.out, "last values"), ["same 1 1", "val/loss 2.250 * 2 (-0.2500)"]);
    said.prints(&["otter"]);

    let said = lab.run(&["compare", "a", "b", "--metric", "none", "--max", "none"]).ok();
    assert!(part(&said.out, "last values").is_empty(), "{}", said.out);
}

#[test]
fn runs_that_are_the_same_differ_in_how_long_they_took() {
    let lab = Lab::new();
    let lake = lab.lake();
    for id in ["a", "b"] {
        drop(lake.run("p").id(id).name("twin").start().unwrap());
    }
    let said = lab.run(&["compare", "a", "b"]).ok();
    let lines: Vec<&str> = said.out.lines().skip(3).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("duration_s "), "{}", said.out);
}

#[test]
fn compare_needs_two_runs_that_are_there() {
    let lab = lab();
    assert_eq!(lab.run(&["compare", "a"]).code, Some(2));
    lab.run(&["compare", "a", "a"]).failed(1).says(&["compare needs two runs, and there is 1"]);
    lab.run(&["compare", "a", "c"]).failed(1).says(&["no run 'c'"]);
}
