use runlake_engine::State;

use super::lab::{Lab, finished_run};

#[test]
fn show_tells_attributes_config_summary_and_series() {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake
        .run("digits")
        .id("3f2a")
        .name("calm-otter-17")
        .group("sweep")
        .notes("first try\nthat works")
        .tags(["baseline", "small"])
        .config(
            serde_json::json!({"optim": {"lr": 0.25}, "width": 64}).as_object().unwrap().clone(),
        )
        .start()
        .unwrap();
    let rank = run.labels(serde_json::json!({"rank": 1}).as_object().unwrap()).unwrap();
    let metric = run.metric("time").unwrap();
    for step in 0..100 {
        run.log_named(i64::from(step), &[("loss", f64::from(99 - step))]).unwrap();
    }
    run.log_named(100, &[("loss", f64::NAN)]).unwrap();
    run.log_labelled(3, None, Some(rank), &[(metric, 1.5)]).unwrap();
    run.summary("best", Some(0.125.into())).unwrap();
    run.finish_with_code(State::Failed, 3).unwrap();

    for name in ["3f2a", "3f", "calm-otter-17", "digits/3f2a", "@last"] {
        let said = lab.run(&["show", name]).ok().prints(&[
            "calm-otter-17\n",
            "digits/3f2a",
            "failed (exit code 3)",
            "baseline, small",
            "first try\\nthat works",
            "102 in 2 series",
            "optim.lr  0.25",
            "width     64",
            "best  0.125",
            "{\"rank\":1}",
        ]);
        let loss = said.out.lines().find(|line| line.starts_with("loss ")).unwrap();
        assert!(loss.contains('█') && loss.contains('▁'), "{loss}");
        let cells: Vec<&str> = loss.split_whitespace().collect();
        // last, min, max, mean, points, last step, NaN and inf
        assert_eq!(
            cells[cells.len() - 7..],
            ["NaN", "0", "99", "49.50", "101", "100", "1"],
            "{loss}"
        );
    }
}

#[test]
fn a_run_that_is_mistyped_or_ambiguous_gets_its_candidates() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "calm-otter-17", 3);
    finished_run(&lake, "p", "twin", 3);
    finished_run(&lake, "p", "twin", 3);
    lab.run(&["show", "calm-oter-17"]).failed(1).says(&[
        "no run 'calm-oter-17'",
        "did you mean",
        "calm-otter-17",
    ]);
    lab.run(&["show", "twin"]).failed(1).says(&[
        "run 'twin' is ambiguous",
        "it could be p/",
        ", p/",
    ]);
    lab.run(&["tail", "calm-oter-17"]).failed(1).says(&["calm-otter-17"]);
}
