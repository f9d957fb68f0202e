//! `history`: one row a step, one column a series.

use runlake_query::QueryError;
use serde_json::json;

use super::{Fixture, engine, log, object};

#[test]
fn a_history_has_one_row_a_step_and_the_last_logged_value_wins() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "loss", 0, &[1.0, 2.0, 3.0]);
    lake.lake.flush().unwrap();
    run.log_named(1, &[("loss", 20.0), ("acc", 0.5)]).unwrap();
    run.log_named(1, &[("acc", 0.6)]).unwrap();
    run.log_named(-4, &[("acc", 0.1)]).unwrap();
    assert_eq!(
        lake.rows("select step, acc, loss from history('r')"),
        ["-4|0.1|NULL", "0|NULL|1.0", "1|0.6|20.0", "2|NULL|3.0"]
    );
    assert_eq!(lake.rows("select loss from history('r') where step = 1"), ["20.0"]);
    assert_eq!(lake.rows("select count(*) from history('r')"), ["4"]);
    assert_eq!(lake.rows("select count(time) from history('r')"), ["4"]);
}

#[test]
fn metrics_are_chosen_by_patterns() {
    let lake = Fixture::new();
    let run = lake.run("r");
    run.log_named(0, &[("train/loss", 1.0), ("train/acc", 2.0), ("lr", 3.0), ("system/gpu", 4.0)])
        .unwrap();
    let columns = |arguments: &str| -> Vec<String> {
        let relation = lake.session.sql(&format!("select * from history({arguments})")).unwrap();
        relation.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(columns("'r'"), ["step", "time", "lr", "train/acc", "train/loss"]);
    assert_eq!(columns("'r', metrics => 'train/*'"), ["step", "time", "train/acc", "train/loss"]);
    assert_eq!(columns("'r', metrics => ['lr', '*acc']"), ["step", "time", "lr", "train/acc"]);
    assert_eq!(columns("run => 'r', metrics => 'system/*'"), ["step", "time", "system/gpu"]);
    assert_eq!(columns("'r', 'lr'"), ["step", "time", "lr"]);
    assert_eq!(
        lake.rows(r#"select h."train/loss" from history('r', metrics => '*loss') h"#),
        ["1.0"]
    );
}

#[test]
fn a_series_with_labels_is_a_column_of_its_own() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let metric = run.metric("mem").unwrap();
    for rank in [0, 1] {
        let labels = run.labels(&object(json!({ "rank": rank }))).unwrap();
        run.log_labelled(5, None, Some(labels), &[(metric, f64::from(rank) + 0.5)]).unwrap();
    }
    run.log_named(5, &[("step", 1.5)]).unwrap();
    assert_eq!(
        lake.rows(r#"select step, "mem{rank=0}", "mem{rank=1}", "step{}" from history('r')"#),
        ["5|0.5|1.5|1.5"]
    );
}

#[test]
fn a_run_is_named_as_everywhere() {
    let lake = Fixture::new();
    let first = lake.lake.run("p").id("abc123").name("calm-otter-1").start().unwrap();
    log(&first, "loss", 0, &[1.0]);
    let second = lake.lake.run("p").id("abd456").name("wild-fox-2").start().unwrap();
    log(&second, "loss", 0, &[2.0]);
    for (name, value) in [
        ("abc123", "1.0"),
        ("abd", "2.0"),
        ("calm-otter-1", "1.0"),
        ("p/abd456", "2.0"),
        ("@last", "2.0"),
        ("@last-1", "1.0"),
    ] {
        assert_eq!(lake.rows(&format!("select loss from history('{name}')")), [value], "{name}");
    }
    let ambiguous = lake.error("select * from history('ab')");
    assert!(
        matches!(&**engine(&ambiguous), runlake_engine::Error::Unknown { ambiguous: true, .. }),
        "{ambiguous}"
    );
    let unknown = lake.error("select * from history('zzz')");
    assert!(
        matches!(&**engine(&unknown), runlake_engine::Error::Unknown { ambiguous: false, .. }),
        "{unknown}"
    );
}

#[test]
fn more_than_a_thousand_columns_are_an_error_with_a_hint() {
    let lake = Fixture::new();
    let run = lake.run("r");
    for at in 0..1001 {
        run.log_named(0, &[(&format!("layer/{at:04}"), 1.0)]).unwrap();
    }
    let error = lake.error("select * from history('r')");
    assert!(matches!(error, QueryError::Limit { .. }), "{error:?}");
    assert!(error.to_string().contains("metrics => 'train/*'"), "{error}");
    assert_eq!(lake.rows("select count(*) from history('r', metrics => 'layer/000?')"), ["1"]);
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_usage() {
    let lake = Fixture::new();
    log(&lake.run("r"), "loss", 0, &[1.0]);
    for (call, part) in [
        ("history()", "history needs a run"),
        ("history(1 + 1)", "has to be text"),
        ("history('r', 'a', 'b')", "history has 2 arguments"),
        ("history('r', run => 'r')", "given twice"),
        ("history('r', metric => 'loss')", "did you mean metrics?"),
        ("history('r', metrics => 'los')", "no metric los; did you mean loss?"),
        ("history(['r', 's'])", "takes one name, not 2"),
        ("runs_wide('q')", "no project q"),
        ("history", "history is a table function"),
    ] {
        let error = lake.error(&format!("select * from {call}")).to_string();
        assert!(error.contains(part), "{call}: {error}");
    }
    for call in ["runs, lateral history(runs.run_id)", "runs, lateral history(run => 'r')"] {
        let error = lake.error(&format!("select * from {call}"));
        assert!(matches!(error, QueryError::Unsupported { .. }), "{call}: {error:?}");
    }
}

#[test]
fn two_histories_can_be_compared() {
    let lake = Fixture::new();
    log(&lake.run("a"), "loss", 0, &[1.0, 2.0]);
    log(&lake.run("b"), "loss", 0, &[1.5, 2.5]);
    assert_eq!(
        lake.rows(
            "select a.step, b.loss - a.loss from history('a') a join history('b') b on a.step = b.step \
             order by 1"
        ),
        ["0|0.5", "1|0.5"]
    );
}
