//! `compare` sets runs side by side: what differs, by how much, and which is best.

use runlake_engine::{Definition, Goal, State};
use serde_json::json;

use super::{Fixture, log, object};

fn lake() -> Fixture {
    let lake = Fixture::new();
    for (id, lr, steps, losses, accuracies) in [
        ("a", json!(0.1), json!(null), [3.0, 1.0, 2.0], [0.25, 0.5]),
        ("b", json!(0.01), json!([1, 2]), [4.0, 3.0, 0.5], [0.75, 0.5]),
        ("c", json!("auto"), json!([1, 2]), [4.0, f64::NAN, 2.0], [0.5, f64::NAN]),
    ] {
        let config = json!({"lr": lr, "steps": steps, "model": {"depth": 3}});
        let run = lake.lake.run("p").id(id).name("same").config(object(config)).start().unwrap();
        log(&run, "val/loss", 0, &losses);
        log(&run, "val/acc", 0, &accuracies);
        log(&run, "lr", 0, &[0.5]);
        log(&run, "system/gpu", 0, &[losses[0]]);
        run.finish(State::Finished).unwrap();
    }
    lake
}

#[test]
fn what_differs_stands_side_by_side_with_how_much() {
    let lake = lake();
    assert_eq!(
        lake.rows(
            "select * from compare(['a', 'b', 'c']) where differs and part <> 'run' order by part, key"
        ),
        [
            "best|val/acc|true|b|0.5|0.75|0.5|0.25|0.0",
            "best|val/loss|true|b|1.0|0.5|2.0|-0.5|1.0",
            "config|lr|true|NULL|0.1|0.01|auto|-0.09000000000000001|NULL",
            "config|steps|true|NULL|NULL|[1,2]|[1,2]|NULL|NULL",
            "metric|val/acc|true|a|0.5|0.5|NaN|0.0|NaN",
            "metric|val/loss|true|b|2.0|0.5|2.0|-1.5|0.0",
        ]
    );
    assert_eq!(
        lake.rows(
            "select part, key, a, b from compare(['a', 'b']) where not differs and part <> 'run'"
        ),
        ["config|model.depth|3|3", "metric|lr|0.5|0.5", "metric|val/acc|0.5|0.5"]
    );
    assert_eq!(
        lake.rows(
            "select key, a from compare(['a', 'b']) where key in ('name', 'state', 'last_step')"
        ),
        ["name|same", "state|finished", "last_step|2"]
    );
}

#[test]
fn the_baseline_is_what_the_others_are_compared_with() {
    let lake = lake();
    let columns = |arguments: &str| {
        let query = format!("describe select * from compare({arguments})");
        let rows = lake.rows(&query);
        rows.iter().skip(4).map(|row| row.split('|').next().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(columns("['a', 'b', 'a']"), "a b delta.b");
    assert_eq!(columns("['a', 'b'], baseline => 'b'"), "b a delta.a");
    assert_eq!(columns("'a', baseline => 'c'"), "c a delta.a");
    assert_eq!(columns("where => 'run_id < ''c''', baseline => 'p/a'"), "a b delta.b");
    assert_eq!(
        lake.rows(r#"select "delta.a" from compare(['a', 'b'], baseline => 'b') where part = 'best' and key = 'val/loss'"#),
        ["0.5"]
    );
}

#[test]
fn what_is_better_is_said_by_the_query_or_by_the_name() {
    let lake = lake();
    let best = |arguments: &str| {
        lake.rows(&format!(
            "select part, key, best from compare(['a', 'b']{arguments}) where part in ('metric', 'best') and differs"
        ))
    };
    assert_eq!(best(", metrics => '*loss'"), ["metric|val/loss|b", "best|val/loss|b"]);
    assert_eq!(
        best(", metrics => 'val/loss', max => 'val/*'"),
        ["metric|val/loss|a", "best|val/loss|b"]
    );
    // Both is neither.
    assert_eq!(best(", metrics => 'val/loss', max => '*', min => '*'"), ["metric|val/loss|NULL"]);
    assert_eq!(
        lake.rows(
            "select key from compare(['a', 'b'], min => 'lr', metrics => 'lr')  where part = 'best'"
        ),
        ["lr"]
    );
}

#[test]
fn what_is_better_is_as_it_was_defined() {
    let lake = lake();
    let run = lake.run("a");
    let mut backwards = Definition::new("val/loss");
    backwards.goal = Some(Goal::Maximize);
    run.define_metric(&backwards).unwrap();
    let best = |arguments: &str| {
        lake.rows(&format!(
            "select best from compare(['b', 'a']{arguments}) where part = 'best' and key = 'val/loss'"
        ))
    };
    assert_eq!(best(""), ["b"]);
    assert_eq!(best(", min => 'val/loss'"), ["b"]);
    assert_eq!(
        lake.rows("select a, b from compare(['a', 'b']) where part = 'best' and key = 'val/loss'"),
        ["3.0|4.0"]
    );
}

#[test]
fn runs_of_one_id_are_told_apart_by_their_projects() {
    let lake = Fixture::new();
    for project in ["one", "two"] {
        for id in ["best", "r"] {
            let run = lake.lake.run(project).id(id).start().unwrap();
            log(&run, "m", 0, &[if project == "one" { 1.0 } else { 2.0 }]);
        }
    }
    assert_eq!(
        lake.rows(
            r#"select "one/r", "two/r", "one/best", "delta.two/r" from compare(['one/r', 'two/r', 'one/best']) where key = 'm'"#
        ),
        ["1.0|2.0|1.0|1.0"]
    );
}

#[test]
fn errors_say_what_compare_needs() {
    let lake = lake();
    for (query, says) in [
        ("compare()", "compare needs runs: write compare(['a', 'b'], baseline => 'a'"),
        ("compare('a')", "compare needs two runs, and there is 1"),
        ("compare(where => 'false')", "compare needs two runs, and there is 0"),
        ("compare(['a', 'nope'])", "no run 'nope'"),
        ("compare(['a', 'b'], base => 'a')", "did you mean baseline?"),
        ("compare", "compare is a table function: write compare("),
        ("comparee(['a'])", "did you mean compare?"),
    ] {
        let error = lake.error(&format!("select * from {query}")).to_string();
        assert!(error.contains(says), "{query}: {error}");
    }
}
