use super::lab::{Lab, finished_run};

#[test]
fn stats_say_what_files_projects_and_metrics_take_and_add_up() {
    let lab = Lab::new();
    let lake = lab.lake();
    for (project, run) in [("digits", "a"), ("other", "b")] {
        finished_run(&lake, project, run, 5_000);
        lake.flush().unwrap();
    }
    let said = lab.run(&["stats"]).ok().out;
    for part in [
        "points, level 0",
        "points, rollups",
        "points, indexes",
        "points, commits",
        "facts, level 0",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // The points of a project are those of its metrics.
    let points = |name: &str, metric: &str| -> u64 {
        let mut lines = said.lines().filter(|line| line.starts_with(&format!("{name} ")));
        let line = lines.find(|line| metric.is_empty() || line.contains(metric)).unwrap();
        let at = if metric.is_empty() { 1 } else { 2 };
        line.split_whitespace().nth(at).unwrap().replace(',', "").parse().unwrap()
    };
    assert_eq!(points("digits", ""), 10_000, "{said}");
    assert_eq!(points("digits", "loss") + points("digits", "acc"), 10_000, "{said}");
    lab.run(&["stats", "--metrics", "1"]).ok().prints(&["and 3 metrics that take less"]);
}

#[test]
fn stats_of_a_lake_without_a_segment_are_about_its_logs() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "a", 10);
    lab.run(&["stats"]).ok().prints(&["logs", "all"]);
}
