use super::lab::{Lab, finished_run};

#[test]
fn old_runs_are_shown_asked_about_and_then_without_points() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 100);
    finished_run(&lab.lake(), "q", "b", 50);
    lab.run(&["compact"]).ok();
    lab.run(&["expire", "--raw-older-than", "1d", "--keep-rollups"])
        .ok()
        .prints(&["no run is so old and has points"]);
    let soon = ["expire", "--raw-older-than", "0s", "--keep-rollups", "--project", "p"];
    let series = || {
        lab.rows("select run_id, metric, count, max_value, last_value from series order by 1, 2")
    };
    let known = series();
    lab.run(&soon).failed(2).says(&["nobody is there to ask", "--yes"]);
    lab.run(&[&soon[..], &["--dry-run"]].concat())
        .ok()
        .prints(&["would expire ", " of 1 run, about"]);
    lab.run(&[&soon[..], &["--yes"]].concat()).ok().prints(&["of 1 segment expired"]);
    let points = |run: &str| {
        let of = format!("(select run_id from runs where name = '{run}')");
        lab.rows(&format!("select count(*) from points where run_id in {of}"))
    };
    assert_eq!(points("a"), ["0"]);
    assert_eq!(lab.rows("select count(*) from history('a')"), ["0"]);
    assert_eq!(points("b"), ["100"]);
    assert_eq!(series(), known);
    lab.run(&["show", "a"]).ok();
    lab.run(&["stats"]).ok();
    lab.run(&["verify"]).ok().prints(&["are sound", "that expired, indexes and rollups are sound"]);
    for (wrong, advice) in [(&["90d"][..], "--keep-rollups"), (&["90x", "--keep-rollups"], "90d")] {
        let said = lab.run(&[&["expire", "--raw-older-than"], wrong].concat()).says(&[advice]);
        assert_eq!(said.code, Some(2), "{said:#?}");
    }
}
