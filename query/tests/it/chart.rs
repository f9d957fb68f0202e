//! `chart` answers what `points` answers, bucket by bucket. That it does so at every zoom is shown in the engine; here is
//! what SQL adds: choosing metrics and runs, axes, groups, smoothing, and errors that help.

use runlake_engine::State;
use serde_json::json;

use super::{Fixture, log, object};

/// Four runs: two learning rates, two of them tagged, one that diverges; a second metric, and labels on a third.
fn lake() -> Fixture {
    let lake = Fixture::new();
    for (at, (id, lr, tag)) in
        [("a", 0.1, true), ("b", 0.1, false), ("c", 0.01, true), ("d", 0.01, false)]
            .into_iter()
            .enumerate()
    {
        let mut run =
            lake.lake.run("p").id(id).config(object(json!({"lr": lr, "opt": {"name": "sgd"}})));
        if tag {
            run = run.tags(["baseline"]);
        }
        let run = run.start().unwrap();
        let values: Vec<f64> = (0..100).map(|step| f64::from(step) + at as f64 * 1000.0).collect();
        log(&run, "train/loss", 0, &values);
        log(&run, "train/acc", 0, &[0.25, 0.5]);
        let mem = run.metric("mem").unwrap();
        for rank in 0..2 {
            let rank = run.labels(&object(json!({"rank": rank}))).unwrap();
            run.log_labelled(3, None, Some(rank), &[(mem, at as f64)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
        if id == "b" {
            lake.lake.flush().unwrap();
        }
    }
    log(&lake.run("d"), "train/loss", 100, &[f64::NAN, f64::INFINITY]);
    lake
}

#[test]
fn a_bucket_says_what_its_points_say() {
    let lake = lake();
    let chart = "select bucket, x, first_step, last_step, count, nan_count, inf_count, first_value, last_value, \
                 min_value, min_step, max_value, max_step, mean_value \
                 from chart('train/loss', runs => 'd', buckets => 4)";
    assert_eq!(
        lake.rows(chart),
        [
            "0|0|0|25|26|0|0|3000.0|3025.0|3000.0|0|3025.0|25|3012.5",
            "1|26|26|51|26|0|0|3026.0|3051.0|3026.0|26|3051.0|51|3038.5",
            "2|52|52|77|26|0|0|3052.0|3077.0|3052.0|52|3077.0|77|3064.5",
            "3|78|78|101|24|1|1|3078.0|inf|3078.0|78|3099.0|99|3088.5",
        ]
    );
    assert_eq!(
        lake.rows("select * from chart('train/acc', runs => ['c'], buckets => 1)"),
        ["p|c|train/acc|NULL|0|0|0|1|0|1|2|0|0|0.25|0.5|0.25|0|0.5|1|0.375"]
    );
}

#[test]
fn the_last_and_the_best_value_up_to_a_step_are_a_chart_of_one_bucket() {
    let lake = lake();
    assert_eq!(
        lake.rows(
            "select run_id, last_value, min_value, last_step from chart('train/loss', to => 50, buckets => 1)"
        ),
        ["a|50.0|0.0|50", "b|1050.0|1000.0|50", "c|2050.0|2000.0|50", "d|3050.0|3000.0|50"]
    );
    assert_eq!(
        lake.rows(
            "select run_id, max_value, max_step from chart('train/loss', runs => ['b', 'a'], \
             from => 10, to => 20, buckets => 1) order by max_value desc limit 1"
        ),
        ["b|1020.0|20"]
    );
}

#[test]
fn runs_are_chosen_by_name_and_by_condition() {
    let lake = lake();
    let runs = |arguments: &str| {
        let query =
            format!("select distinct run_id from chart('train/loss', {arguments}) order by 1");
        lake.rows(&query).join("")
    };
    assert_eq!(runs("buckets => 5"), "abcd");
    assert_eq!(runs("runs => ['b', 'p/c']"), "bc");
    assert_eq!(runs("where => '\"config.lr\" > 0.05'"), "ab");
    assert_eq!(
        runs("where => '\"config.opt.name\" = ''sgd'' and array_has(tags, ''baseline'')'"),
        "ac"
    );
    assert_eq!(runs("where => '\"summary.train/acc\" >= 0.5 and run_id <> ''a'''"), "bcd");
    assert_eq!(runs("where => 'last_step = 99', runs => ['a', 'd']"), "a");
    assert_eq!(runs("where => 'state = ''finished'''"), "abc");
    assert_eq!(runs("where => 'false'"), "");
}

#[test]
fn metrics_are_chosen_by_name_pattern_and_regular_expression() {
    let lake = lake();
    let metrics = |metric: &str| {
        let query =
            format!("select distinct metric from chart({metric}, buckets => 1) order by metric");
        lake.rows(&query).join(" ")
    };
    assert_eq!(metrics("'train/*'"), "train/acc train/loss");
    assert_eq!(metrics("'~^(train/l|m)'"), "mem train/loss");
    assert_eq!(metrics("['mem', 'train/ac?']"), "mem train/acc");
    assert_eq!(
        lake.rows("select run_id, labels, mean_value from chart('mem', runs => 'b')"),
        [r#"b|{"rank":0}|1.0"#, r#"b|{"rank":1}|1.0"#]
    );
}

#[test]
fn other_axes_are_time_and_metrics() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let [loss, epoch] = ["loss", "epoch"].map(|name| run.metric(name).unwrap());
    for step in 0..8_i64 {
        let points = [(loss, step as f64), (epoch, (step / 2) as f64 / 2.0)];
        run.log_labelled(step, Some(step * 1_000_000), None, &points).unwrap();
    }
    assert_eq!(
        lake.rows(
            "select x, last_x, count, max_value from chart('loss', x => 'time', buckets => 2)"
        ),
        [
            "1970-01-01T00:00:00Z|1970-01-01T00:00:03Z|4|3.0",
            "1970-01-01T00:00:03.500001Z|1970-01-01T00:00:07Z|4|7.0"
        ]
    );
    assert_eq!(
        lake.rows(
            "select count, first_value from chart('loss', x => 'time', from => '1970-01-01T00:00:02Z', buckets => 1)"
        ),
        ["6|2.0"]
    );
    assert_eq!(
        lake.rows("select first_x, last_x, first_step, count, mean_value from chart('loss', x => 'epoch', buckets => 2)"),
        ["0.0|0.5|0|4|1.5", "1.0|1.5|4|4|5.5"]
    );
    assert_eq!(
        lake.rows(
            "select first_x, count from chart('loss', x => 'epoch', to => 0.4, buckets => 9)"
        ),
        ["0.0|2"]
    );
    assert_eq!(lake.rows("select count(*) from chart('loss', x => 'nothing')"), ["0"]);
}

#[test]
fn a_group_is_a_band_around_the_mean_of_its_series() {
    let lake = lake();
    let band = |group: &str| {
        lake.rows(&format!(
            "select group_value, bucket, series, count, mean_value, min_value, max_value, stderr_value \
             from chart('train/loss', to => 99, buckets => 2, group => '{group}')"
        ))
    };
    assert_eq!(
        band("config.lr"),
        [
            "0.01|0|2|100|2524.5|2000.0|3049.0|500.0",
            "0.01|1|2|100|2574.5|2050.0|3099.0|500.0",
            "0.1|0|2|100|524.5|0.0|1049.0|500.0",
            "0.1|1|2|100|574.5|50.0|1099.0|500.0",
        ]
    );
    assert_eq!(band("tags").len(), 4);
    assert_eq!(band("tags")[0], "baseline|0|2|100|1024.5|0.0|2049.0|1000.0");
    assert!(band("tags")[2].starts_with("NULL|0|2|"), "{:?}", band("tags"));
    assert_eq!(band("run_id")[0], "a|0|1|50|24.5|0.0|49.0|NULL");
    assert_eq!(
        lake.rows(
            "select group_value, series, mean_value from chart('mem', group => 'label.rank')"
        ),
        ["0|4|1.5", "1|4|1.5"]
    );
}

#[test]
fn smoothing_draws_a_mean_towards_those_before_it() {
    let lake = Fixture::new();
    log(&lake.run("r"), "loss", 0, &[1.0, f64::NAN, 0.0, 0.0]);
    assert_eq!(
        lake.rows("select mean_value, smooth_value from chart('loss', smooth => 0.5)"),
        ["1.0|1.0", "NULL|NULL", "0.0|0.3333333333333333", "0.0|0.14285714285714285"]
    );
}

#[test]
fn a_chart_can_be_joined_and_filtered_as_any_table() {
    let lake = lake();
    assert_eq!(
        lake.rows(
            "select r.run_id, c.last_value from chart('train/loss', buckets => 1, to => 9) c \
             join runs r using (project, run_id) where array_has(r.tags, 'baseline') order by 1"
        ),
        ["a|9.0", "c|2009.0"]
    );
    let empty = Fixture::new();
    assert!(empty.error("select * from chart('loss')").to_string().contains("no metric loss"));
}

#[test]
fn a_wrong_argument_is_told_with_what_is_right() {
    let lake = lake();
    for (call, says) in [
        ("chart()", "chart needs a metric"),
        ("chart('train/los')", "did you mean train/loss"),
        ("chart('train/loss', bucket => 5)", "did you mean buckets"),
        ("chart('train/loss', buckets => 0)", "a number from 1 to 1000000"),
        ("chart('train/loss', smooth => 1)", "a number from 0 up to"),
        ("chart('train/loss', runs => 'nobody')", "nobody"),
        ("chart('train/loss', from => 'x')", "a step"),
        ("chart('train/loss', x => 'time', from => 'x')", "a time such as"),
        ("chart('train/loss', group => 'config')", "no column config"),
        ("chart('train/loss', where => 'lr > ')", "argument where is a condition"),
        ("chart('train/loss', where => '1')", "neither true nor false"),
        ("chart('train/loss', where => '\"config.l\" > 1')", "config.l"),
        ("chart('~(')", "regex"),
        ("chart", "chart is a table function"),
    ] {
        let error = lake.error(&format!("select * from {call}")).to_string();
        assert!(error.to_lowercase().contains(&says.to_lowercase()), "{call}: {error}");
    }
}
