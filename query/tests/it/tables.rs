//! The tables are those of the contract, by name, order and type.

use super::Fixture;

fn columns(lake: &Fixture, table: &str) -> Vec<String> {
    lake.rows(&format!(
        "select column_name from information_schema.columns where table_schema = 'main' and \
         table_name = '{table}' order by ordinal_position"
    ))
}

#[test]
fn every_table_has_the_columns_of_the_contract() {
    let lake = Fixture::new();
    let runs = "project run_id name group_name job_type state created_at finished_at heartbeat_at \
                duration_s last_step tags notes host user_name program command exit_code \
                git_commit git_remote sweep_id parent_run_id fork_step dropped_rows config summary";
    let series = "project run_id metric labels count nan_count inf_count first_step last_step \
                  first_value last_value last_finite_value min_value min_step max_value max_step \
                  mean_value last_time";
    for (table, expected) in [
        ("runs", runs),
        ("config", "project run_id key value number"),
        ("metrics", "project run_id metric step_metric summary goal hidden"),
        ("points", "project run_id metric labels step time value"),
        ("points_all", "project run_id metric labels launch attempt step time value"),
        ("series", series),
        (
            "segments",
            "table_name name project rows bytes level runs metrics first_step last_step \
             first_time last_time version committed_at",
        ),
    ] {
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(columns(&lake, table), expected, "{table}");
    }
}

#[test]
fn the_tables_of_an_empty_lake_are_empty() {
    let lake = Fixture::new();
    for table in
        ["runs", "config", "metrics", "points", "points_all", "series", "segments", "runs_wide()"]
    {
        assert_eq!(lake.rows(&format!("select * from {table}")), Vec::<String>::new(), "{table}");
        assert_eq!(lake.rows(&format!("select count(*) from {table}")), ["0"], "{table}");
    }
}

#[test]
fn tables_are_listed_and_described_in_the_types_that_results_have() {
    let lake = Fixture::new();
    assert_eq!(
        lake.rows("show tables"),
        ["config", "metrics", "points", "points_all", "runs", "segments", "series"]
    );
    assert_eq!(
        lake.rows("describe points"),
        [
            "project|Utf8|YES",
            "run_id|Utf8|YES",
            "metric|Utf8|YES",
            "labels|Utf8|YES",
            "step|Int64|YES",
            "time|Timestamp(µs, \"UTC\")|YES",
            "value|Float64|YES",
        ]
    );
    assert_eq!(lake.rows("select count(*) > 100 from information_schema.routines"), ["true"]);
    assert!(lake.rows("show functions").iter().any(|line| line.starts_with("label|")));
}

#[test]
fn results_hold_plain_types() {
    let lake = Fixture::new();
    lake.lake.run("p").id("r").tags(["a"]).start().unwrap();
    let relation = lake
        .session
        .sql("select run_id, tags, config, config->'x' as x, array_agg(name) over () from runs")
        .unwrap();
    let types: Vec<_> =
        relation.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Utf8", "List(Utf8)", "Utf8", "Utf8", "List(Utf8)"]);
    relation.collect().unwrap();
}

#[test]
fn computed_columns_are_called_as_they_stand_in_the_query() {
    let lake = Fixture::new();
    let names = |sql: &str| -> Vec<String> {
        let relation = lake.session.sql(sql).unwrap();
        relation.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(
        names("select step, p.value > 1, count(*), 'x' as y from points p group by 1, 2"),
        ["step", "p.value > 1", "count(*)", "y"]
    );
    assert_eq!(
        names("select (select count(*) from runs), (select count(*) from points), 1, 1"),
        ["(SELECT count(*) FROM runs)", "(SELECT count(*) FROM points)", "1", "1"]
    );
    assert_eq!(
        names("select 1 + 1, *, upper(key) from config"),
        ["1 + 1", "project", "run_id", "key", "value", "number", "upper(key)"]
    );
}

#[test]
fn segments_say_what_the_lake_consists_of() {
    let lake = Fixture::new();
    let run = lake.run("a");
    super::log(&run, "loss", 3, &[1.0, 2.0]);
    super::log(&run, "acc", 0, &[1.0]);
    lake.lake.flush().unwrap();
    assert_eq!(
        lake.rows(
            "select table_name, project, rows, level, runs, metrics, first_step, last_step, \
             bytes > 0, last_time >= first_time from segments where table_name = 'points'"
        ),
        ["points|p|3|0|1|2|0|4|true|true"]
    );
}
