//! `runs`, `config` and `runs_wide`: what is known of runs.

use runlake_engine::{Aggregate, Definition, Goal, State};
use serde_json::json;

use super::{Fixture, log, object};

#[test]
fn a_run_is_one_row_with_what_was_said_of_it() {
    let lake = Fixture::new();
    let run = lake
        .lake
        .run("digits")
        .id("r1")
        .name("calm-otter-1")
        .group("sweep-a")
        .job_type("train")
        .notes("first try")
        .tags(["small", "baseline"])
        .attribute("host", json!("h1"))
        .start()
        .unwrap();
    log(&run, "loss", 0, &[0.5, 0.25]);
    run.finish_with_code(State::Failed, 3).unwrap();
    assert_eq!(
        lake.rows(
            "select project, run_id, name, group_name, job_type, state, last_step, tags, notes, \
             host, exit_code, dropped_rows, config, summary from runs"
        ),
        ["digits|r1|calm-otter-1|sweep-a|train|failed|1|[baseline, small]|first try|h1|3|0|{}|\
          {\"loss\":0.25}"]
    );
    assert_eq!(
        lake.rows("select finished_at >= created_at, duration_s >= 0 from runs"),
        ["true|true"]
    );
    assert_eq!(
        lake.rows("select name from runs where array_has(tags, 'baseline')"),
        ["calm-otter-1"]
    );
    assert_eq!(lake.rows("select count(*) from runs where array_has(tags, 'none')"), ["0"]);
    assert_eq!(
        lake.rows("select state from runs where project = 'digits' and run_id = 'r1'"),
        ["failed"]
    );
    assert_eq!(lake.rows("select state from runs where project = 'x'"), Vec::<String>::new());
}

#[test]
fn config_is_json_that_can_be_asked() {
    let lake = Fixture::new();
    let config =
        json!({"lr": 0.1, "model": {"depth": 4, "kind": "mlp"}, "layers": [1, 2], "on": true});
    lake.lake.run("p").id("r").config(object(config)).start().unwrap();
    assert_eq!(
        lake.rows(
            "select config->>'lr', (config->>'lr')::double * 2, config->'model'->>'kind', \
             config->'model', config->'layers'->>1, config->>'none' from runs"
        ),
        [r#"0.1|0.2|mlp|{"depth":4,"kind":"mlp"}|2|NULL"#]
    );
    assert_eq!(lake.rows("select run_id from runs where config->>'lr' = '0.1'"), ["r"]);
    assert_eq!(lake.rows("select run_id from runs where config->>'none' is null"), ["r"]);
    assert_eq!(
        lake.rows("select run_id from runs where config->'model'->>'kind' like 'm%'"),
        ["r"]
    );
    assert_eq!(lake.rows("select run_id from runs where config->>'lr' in ('0.2')"), [""; 0]);
    assert_eq!(
        lake.rows("select run_id from runs where (config->'model'->>'depth')::int > 3"),
        ["r"]
    );
    assert_eq!(
        lake.rows("select key, value, number from config order by key"),
        [
            "layers|[1,2]|NULL",
            "lr|0.1|0.1",
            "model.depth|4|4.0",
            "model.kind|mlp|NULL",
            "on|true|NULL"
        ]
    );
}

#[test]
fn a_summary_is_the_last_values_unless_the_user_said_otherwise() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "loss", 0, &[2.0, 1.0]);
    log(&run, "acc", 0, &[0.5]);
    log(&run, "bad", 0, &[f64::NAN]);
    log(&run, "system/gpu", 0, &[0.5]);
    let metric = run.metric("mem").unwrap();
    let labels = run.labels(&object(json!({"rank": 1}))).unwrap();
    run.log_labelled(0, None, Some(labels), &[(metric, 8.0)]).unwrap();
    run.summary("acc", Some(json!({"max": 0.9}))).unwrap();
    assert_eq!(
        lake.rows("select summary from runs"),
        [r#"{"acc":{"max":0.9},"bad":"NaN","loss":1.0,"mem{rank=1}":8.0}"#]
    );
    assert_eq!(
        lake.rows("select (summary->>'bad')::double, summary->'acc'->>'max' from runs"),
        ["NaN|0.9"]
    );
    assert_eq!(
        lake.rows(
            r#"select "summary.acc.max", "summary.bad", "summary.loss", "summary.mem{rank=1}" from runs_wide('p')"#
        ),
        ["0.9|NaN|1.0|8.0"]
    );
}

#[test]
fn a_wide_column_is_a_number_where_all_its_values_are() {
    let lake = Fixture::new();
    for (id, config) in [
        ("a", json!({"lr": 0.1, "opt": "sgd", "mixed": 1, "rare": 3})),
        ("b", json!({"lr": 1, "opt": "adam", "mixed": "auto", "nothing": null})),
    ] {
        let run = lake.lake.run("p").id(id).config(object(config)).start().unwrap();
        log(&run, "loss", 0, &[if id == "a" { 0.5 } else { 0.25 }]);
    }
    lake.lake.run("q").id("c").config(object(json!({"other": 1}))).start().unwrap();
    assert_eq!(
        lake.rows(
            r#"select run_id, "config.lr", "config.opt", "config.mixed", "config.rare", "summary.loss"
               from runs_wide('p') order by "summary.loss""#
        ),
        ["b|1.0|adam|auto|NULL|0.25", "a|0.1|sgd|1|3.0|0.5"]
    );
    let columns = |call: &str| -> Vec<String> {
        let relation = lake.session.sql(&format!("select * from {call}")).unwrap();
        let schema = relation.schema();
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| name.contains('.'))
            .collect()
    };
    let of_p = ["config.lr", "config.mixed", "config.opt", "config.rare", "summary.loss"];
    assert_eq!(columns("runs_wide('p')"), of_p);
    assert_eq!(
        columns("runs_wide()"),
        ["config.lr", "config.mixed", "config.opt", "config.other", "config.rare", "summary.loss"]
    );
    assert_eq!(columns("runs_wide('p', columns => 'config.*r*')"), ["config.lr", "config.rare"]);
    assert_eq!(
        columns("runs_wide(project => 'p', columns => ['summary.*', 'config.opt'])"),
        ["config.opt", "summary.loss"]
    );
    assert_eq!(lake.rows("select count(*) from runs_wide()"), ["3"]);
    assert_eq!(lake.rows("select last_step, state from runs_wide('p') limit 1"), ["0|running"]);
}

#[test]
fn tables_of_a_query_can_be_joined() {
    let lake = Fixture::new();
    for (id, lr) in [("a", 0.1), ("b", 0.2)] {
        let config = object(json!({ "lr": lr }));
        let run = lake.lake.run("p").id(id).config(config).start().unwrap();
        log(&run, "loss", 0, &[lr, lr / 2.0]);
    }
    lake.lake.flush().unwrap();
    assert_eq!(
        lake.rows(
            "select r.run_id, c.number, min(p.value), s.last_value from runs r \
             join config c on r.run_id = c.run_id join points p on r.run_id = p.run_id \
             join series s on r.run_id = s.run_id where c.key = 'lr' group by 1, 2, 4 order by 1"
        ),
        ["a|0.1|0.05|0.05", "b|0.2|0.1|0.1"]
    );
    assert_eq!(
        lake.rows(
            "select project, run_id, name is not null, max(value) from runs \
             join points using (project, run_id) group by 1, 2, 3 order by 2"
        ),
        ["p|a|true|0.1", "p|b|true|0.2"]
    );
}

#[test]
fn a_summary_holds_what_was_defined_of_its_metrics() {
    let lake = Fixture::new();
    let run = lake.lake.run("p").id("r").start().unwrap();
    let mut val = Definition::new("val/*");
    val.summary = Some(vec![Aggregate::Best, Aggregate::Last]);
    val.goal = Some(Goal::Maximize);
    run.define_metric(&val).unwrap();
    let mut hidden = Definition::new("val/secret");
    hidden.summary = Some(Vec::new());
    hidden.hidden = true;
    run.define_metric(&hidden).unwrap();
    for (step, value) in [(0, 1.0), (1, 3.0), (2, 2.0)] {
        run.log_named(step, &[("val/acc", value), ("val/secret", value), ("loss", value)]).unwrap();
    }
    assert_eq!(
        lake.rows("select summary from runs"),
        [r#"{"loss":2.0,"val/acc":{"best":3.0,"last":2.0}}"#]
    );
    assert_eq!(lake.rows(r#"select "summary.val/acc.best" from runs_wide('p')"#), ["3.0"]);
    assert_eq!(
        lake.rows("select metric, goal, hidden from metrics order by metric"),
        ["val/*|maximize|false", "val/secret|NULL|true"]
    );
    assert!(run.define_metric(&Definition::new("")).is_err());
}
