//! `points` and `points_all`: every row once, from segments and the live tail, bit for bit.

use std::time::{Duration, Instant};

use runlake_engine::Lake;
use runlake_query::Session;
use serde_json::json;

use super::{Fixture, log, object, rows};

#[test]
fn segments_and_the_live_tail_are_one_answer() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "loss", 0, &[0.0, 1.0, 2.0]);
    lake.lake.flush().unwrap();
    log(&run, "loss", 3, &[3.0, 4.0]);
    for table in ["points", "points_all"] {
        assert_eq!(
            lake.rows(&format!(
                "select project, run_id, metric, step, value from {table} order by step"
            )),
            [
                "p|r|loss|0|0.0",
                "p|r|loss|1|1.0",
                "p|r|loss|2|2.0",
                "p|r|loss|3|3.0",
                "p|r|loss|4|4.0"
            ]
        );
        assert_eq!(lake.rows(&format!("select count(*), sum(step) from {table}")), ["5|10"]);
        assert_eq!(lake.rows(&format!("select count(*) from {table}")), ["5"]);
        assert_eq!(
            lake.rows(&format!("select step from {table} where step >= 3 order by 1")),
            ["3", "4"]
        );
        assert_eq!(lake.rows(&format!("select step from {table} limit 2")).len(), 2);
    }
    lake.lake.flush().unwrap();
    assert_eq!(lake.rows("select count(*) from points"), ["5"]);
}

#[test]
fn a_row_is_seen_by_another_reader_as_soon_as_it_is_logged() {
    let lake = Fixture::new();
    let run = lake.run("r");
    run.log_named(0, &[("loss", 1.0)]).unwrap();
    let reader = Session::new(Lake::open(lake.path()).unwrap());
    for step in 1..20 {
        run.log_named(step, &[("loss", 1.0)]).unwrap();
        let start = Instant::now();
        assert_eq!(rows(&reader, "select max(step) from points"), [step.to_string()]);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn values_keep_their_bits() {
    let odd = [
        f64::NAN,
        f64::from_bits(0x7ff8_dead_beef_0001),
        f64::from_bits(0xfff0_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        5e-324,
        f64::MAX,
        0.1 + 0.2,
    ];
    let bits: Vec<_> = odd.iter().map(|value| value.to_bits()).collect();
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "x", 0, &odd);
    assert_eq!(lake.bits("select value from points order by step"), bits, "live");
    lake.lake.flush().unwrap();
    assert_eq!(lake.bits("select value from points order by step"), bits, "in a segment");
    assert_eq!(lake.bits("select value from points_all order by step"), bits);
    assert_eq!(lake.bits("select x from history('r') order by step"), bits);
}

#[test]
fn conditions_on_values_find_nan_wherever_it_is() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "x", 0, &[1.0, f64::NAN, 2.0]);
    for place in ["live", "in a segment"] {
        let nan = "select step from points where value = 'NaN'::double";
        assert_eq!(lake.rows(nan), ["1"], "{place}");
        assert_eq!(lake.rows("select step from points where isnan(value)"), ["1"], "{place}");
        let above = "select step from points where value > 100";
        assert_eq!(lake.rows(above), ["1"], "NaN is greater than every number, {place}");
        assert_eq!(
            lake.rows("select step from points order by value desc"),
            ["1", "2", "0"],
            "{place}"
        );
        assert_eq!(lake.rows("select max(value), min(value) from points"), ["NaN|1.0"], "{place}");
        lake.lake.flush().unwrap();
    }
}

#[test]
fn repeated_and_backward_steps_are_kept() {
    let lake = Fixture::new();
    let run = lake.run("r");
    for (step, value) in [(5, 1.0), (5, 2.0), (3, 3.0), (5, 4.0), (-2, 5.0)] {
        run.log_named(step, &[("x", value)]).unwrap();
    }
    let all = ["-2|5.0", "3|3.0", "5|1.0", "5|2.0", "5|4.0"];
    assert_eq!(lake.rows("select step, value from points order by step, value"), all);
    lake.lake.flush().unwrap();
    assert_eq!(lake.rows("select step, value from points order by step, value"), all);
}

/// Two launches of one run: the second starts at step 3 of `loss` and leaves `acc` alone. Another run has one launch.
fn resumed(lake: &Fixture, flush: bool) {
    let first = lake.lake.run("p").id("r").launch("one").start().unwrap();
    log(&first, "loss", 0, &[0.0, 1.0, 2.0, 3.0, 4.0]);
    log(&first, "acc", 0, &[0.5, 0.6]);
    if flush {
        lake.lake.flush().unwrap();
    }
    let other = lake.lake.run("p").id("other").launch("one").start().unwrap();
    log(&other, "loss", 0, &[7.0, 7.0]);
    if flush {
        lake.lake.flush().unwrap();
    }
    let second = lake.lake.run("p").id("r").launch("two").start().unwrap();
    log(&second, "loss", 3, &[30.0, 40.0, 50.0]);
}

#[test]
fn a_later_launch_hides_what_it_repeats_and_nothing_else() {
    for flush in [false, true] {
        let lake = Fixture::new();
        resumed(&lake, flush);
        assert_eq!(
            lake.rows(
                "select step, value from points where run_id = 'r' and metric = 'loss' order by step"
            ),
            ["0|0.0", "1|1.0", "2|2.0", "3|30.0", "4|40.0", "5|50.0"],
            "flushed: {flush}"
        );
        assert_eq!(
            lake.rows("select step, value from points where metric = 'acc' order by step"),
            ["0|0.5", "1|0.6"]
        );
        assert_eq!(lake.rows("select count(*) from points where run_id = 'other'"), ["2"]);
        assert_eq!(lake.rows("select count(*) from points"), ["10"]);
        assert_eq!(lake.rows("select sum(value) from points where run_id = 'r'"), ["124.1"]);
        assert_eq!(
            lake.rows("select step, loss from history('r') where step >= 2 order by step"),
            ["2|2.0", "3|30.0", "4|40.0", "5|50.0"]
        );
    }
}

#[test]
fn a_launch_that_goes_back_to_a_step_hides_what_is_behind_it_in_every_series() {
    for flush in [false, true] {
        let lake = Fixture::new();
        resumed(&lake, flush);
        let third = lake.lake.run("p").id("r").launch("three").resume_from(0).start().unwrap();
        if flush {
            lake.lake.flush().unwrap();
        }
        let points = "select metric, step, value from points where run_id = 'r' order by 1, 2";
        assert_eq!(lake.rows(points), ["acc|0|0.5", "loss|0|0.0"], "flushed: {flush}");

        third.log_named(None, &[("loss", 9.0)]).unwrap();
        drop(third);
        if flush {
            lake.lake.flush().unwrap();
        }
        for _ in 0..2 {
            assert_eq!(lake.rows(points), ["acc|0|0.5", "loss|0|0.0", "loss|1|9.0"]);
            assert_eq!(
                lake.rows(
                    "select metric, count, last_step from series where run_id = 'r' order by 1"
                ),
                ["acc|1|0", "loss|2|1"]
            );
            assert_eq!(
                lake.rows("select step, acc, loss from history('r') order by step"),
                ["0|0.5|0.0", "1|NULL|9.0"]
            );
            assert_eq!(
                lake.rows(
                    "select last_step, last_value from chart('loss', runs => 'r', buckets => 1)"
                ),
                ["1|9.0"]
            );
            assert_eq!(lake.rows("select last_step from runs where run_id = 'r'"), ["1"]);
            assert_eq!(lake.rows("select count(*) from points where run_id = 'other'"), ["2"]);
            assert_eq!(lake.rows("select count(*) from points_all where run_id = 'r'"), ["11"]);
            // The same when all stands in one file.
            lake.lake.flush().unwrap();
            lake.lake.compact(true, &mut |_, _| true).unwrap();
        }
    }
}

#[test]
fn points_all_has_every_row_with_its_launch_and_attempt() {
    for flush in [false, true] {
        let lake = Fixture::new();
        resumed(&lake, flush);
        assert_eq!(
            lake.rows(
                "select launch, attempt, count(*) from points_all where run_id = 'r' group by 1, 2 \
                 order by 2"
            ),
            ["one|0|7", "two|1|3"]
        );
        assert_eq!(
            lake.rows("select value from points_all where attempt = 1 and run_id = 'r' order by 1"),
            ["30.0", "40.0", "50.0"]
        );
        assert_eq!(lake.rows("select count(*) from points_all"), ["12"]);
        assert_eq!(lake.rows("select max(attempt) from points_all where run_id = 'other'"), ["0"]);
    }
}

#[test]
fn only_what_a_resumed_run_touches_is_filtered() {
    let lake = Fixture::new();
    resumed(&lake, true);
    let plan = |run: &str| {
        lake.rows(&format!("explain format indent select value from points where run_id = '{run}'"))
            .join("\n")
    };
    assert!(plan("r").contains("counts("), "{}", plan("r"));
    assert!(!plan("other").contains("counts("), "{}", plan("other"));
}

#[test]
fn names_may_be_any_text() {
    let names =
        ["train/loss", "Ünï ćødé", "損失", "a b", "it's", "x\"y", "50%_", "new\nline", "🦆"];
    let lake = Fixture::new();
    let run = lake.lake.run("проект ü").id("r'1").name("Ein Name").start().unwrap();
    for (at, name) in names.iter().enumerate() {
        run.log_named(0, &[(name, at as f64)]).unwrap();
    }
    for _place in ["live", "in a segment"] {
        for (at, name) in names.iter().enumerate() {
            let quoted = name.replace('\'', "''");
            assert_eq!(
                lake.rows(&format!(
                    "select value from points where metric = '{quoted}' and run_id = 'r''1' and \
                     project = 'проект ü'"
                )),
                [format!("{at}.0")],
                "{name}"
            );
            let column = name.replace('"', "\"\"");
            assert_eq!(
                lake.rows(&format!("select \"{column}\" from history('r''1')")),
                [format!("{at}.0")],
                "{name}"
            );
        }
        lake.lake.flush().unwrap();
    }
}

#[test]
fn labels_tell_series_apart() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let metric = run.metric("mem").unwrap();
    for rank in [0, 1, 2] {
        let labels = run.labels(&object(json!({"rank": rank, "host": "a"}))).unwrap();
        run.log_labelled(7, None, Some(labels), &[(metric, f64::from(rank))]).unwrap();
    }
    run.log(7, &[(metric, 9.0)]).unwrap();
    for _place in ["live", "in a segment"] {
        assert_eq!(
            lake.rows(
                "select label(labels, 'rank'), label(labels, 'host'), label(labels, 'none'), value \
                 from points order by value"
            ),
            ["0|a|NULL|0.0", "1|a|NULL|1.0", "2|a|NULL|2.0", "NULL|NULL|NULL|9.0"]
        );
        assert_eq!(
            lake.rows("select value from points where label(labels, 'rank')::int = 2"),
            ["2.0"]
        );
        assert_eq!(lake.rows("select value from points where labels is null"), ["9.0"]);
        assert_eq!(
            lake.rows("select count, label(labels, 'rank') from series order by 2"),
            ["1|0", "1|1", "1|2", "1|NULL"]
        );
        lake.lake.flush().unwrap();
    }
    assert_eq!(lake.rows(r#"select label('{"rank": 3}', 'rank')"#), ["3"]);
}

#[test]
fn a_lake_may_stand_in_any_folder() {
    for name in
        ["with space.lake", "ünï-損失.lake", "50%25.lake", "a#b?c*[d].lake", "it's+~`{}|^.lake"]
    {
        let lake = Fixture::at(name);
        let run = lake.run("r");
        log(&run, "loss", 0, &[1.0, 2.0]);
        lake.lake.flush().unwrap();
        log(&run, "loss", 2, &[3.0]);
        assert_eq!(lake.rows("select count(*), sum(value) from points"), ["3|6.0"], "{name}");
        assert_eq!(lake.rows("select value from points where step = 1"), ["2.0"], "{name}");
    }
}

#[test]
fn times_are_those_that_were_logged() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let metric = run.metric("x").unwrap();
    run.log_many(metric, Some(&[1, 2]), Some(&[1_500_000, 2_000_001]), &[1.0, 2.0]).unwrap();
    for _place in ["live", "in a segment"] {
        assert_eq!(
            lake.rows("select time from points order by step"),
            ["1970-01-01T00:00:01.500Z", "1970-01-01T00:00:02.000001Z"]
        );
        assert_eq!(
            lake.rows("select step from points where time > '1970-01-01T00:00:01.6Z'"),
            ["2"]
        );
        lake.lake.flush().unwrap();
    }
}

#[test]
fn series_are_summed_up_over_both_places() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "x", 0, &[3.0, f64::NAN, 1.0]);
    lake.lake.flush().unwrap();
    log(&run, "x", 3, &[f64::INFINITY, 2.0, f64::NAN]);
    log(&run, "system/gpu", 0, &[0.5]);
    assert_eq!(
        lake.rows(
            "select project, run_id, metric, labels, count, nan_count, inf_count, first_step, \
             last_step, first_value, last_value, last_finite_value, min_value, min_step, max_value, \
             max_step, mean_value from series"
        ),
        ["p|r|x|NULL|6|2|1|0|5|3.0|NaN|2.0|1.0|2|3.0|0|2.0"]
    );
    assert_eq!(lake.rows("select metric from series where metric like 'system/%'"), ["system/gpu"]);
    assert_eq!(lake.rows("select metric from series where metric in ('x', 'y')"), ["x"]);
    assert_eq!(lake.rows("select count(*) from series where run_id = 'none'"), ["0"]);
}
