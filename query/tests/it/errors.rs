//! What is refused, and how it is said.

use std::fs;

use runlake_query::QueryError;

use super::{Fixture, engine, log};

#[test]
fn everything_but_reading_is_refused() {
    let lake = Fixture::new();
    log(&lake.run("r"), "loss", 0, &[1.0]);
    let file = lake.path().join("out.csv");
    let out = file.display();
    for statement in [
        "insert into points values (1)".to_owned(),
        "update runs set name = 'x'".to_owned(),
        "delete from runs".to_owned(),
        "truncate table runs".to_owned(),
        "create table t as select 1".to_owned(),
        "create view v as select 1".to_owned(),
        "create schema s".to_owned(),
        "create function f() returns int return 1".to_owned(),
        format!("create external table t stored as csv location '{out}'"),
        format!("copy (select 1) to '{out}'"),
        format!("copy points to '{out}' stored as parquet"),
        "drop table runs".to_owned(),
        "alter table runs rename to x".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "reset datafusion.execution.batch_size".to_owned(),
        "prepare q as select 1".to_owned(),
        "begin".to_owned(),
        "grant select on runs to x".to_owned(),
        "explain insert into points values (1)".to_owned(),
        "select 1 into t".to_owned(),
        "with x as (select 1 into t) select * from x".to_owned(),
        format!("select * from '{out}'"),
        "select * from 'data.parquet'".to_owned(),
        "select * from \"/etc/passwd\"".to_owned(),
        "select * from read_parquet('data.parquet')".to_owned(),
        "select * from read_csv('data.csv')".to_owned(),
    ] {
        let error = lake.error(&statement);
        assert!(matches!(error, QueryError::ReadOnly { .. }), "{statement}: {error:?}");
        assert!(error.to_string().starts_with("SQL here is read-only"), "{error}");
    }
    assert!(!file.exists());
    assert!(matches!(lake.error("select 1; select 2"), QueryError::Unsupported { .. }));
    assert_eq!(lake.rows("select count(*) from points"), ["1"]);
}

#[test]
fn a_typing_error_is_answered_with_what_was_meant() {
    let lake = Fixture::new();
    for (query, expected) in [
        ("select runid from points", "no column runid; did you mean run_id?"),
        ("select p.valu from points p", "no column valu; did you mean value?"),
        ("select * from points order by stepp", "no column stepp; did you mean step?"),
        ("select * from point", "no table point; did you mean points or points_all?"),
        ("select * from lake.main.serie", "no table serie; did you mean series?"),
        ("select * from main.run", "no table run; did you mean runs?"),
        ("select lable(labels, 'x') from points", "no function lable; did you mean label?"),
        ("select * from histori('x')", "no table function histori; did you mean history?"),
        ("select zzz from config", "no column zzz; there are project, run_id, key, value, number"),
        ("select x.step from points p", "no table x; there are p"),
        (
            "select * from runs where project = \"digits\"",
            "no column digits; did you mean 'digits'?",
        ),
        ("select \"Step\" from points", "no column \"Step\"; did you mean step?"),
        (
            "select value from points group by step",
            "column points.value is neither in GROUP BY nor in an aggregate such as max(points.value)",
        ),
        ("select * from other.points", "no schema other; there are main, information_schema"),
    ] {
        let error = lake.error(query).to_string();
        assert_eq!(error, expected, "{query}");
    }
}

#[test]
fn errors_speak_of_the_query_and_not_of_the_engine_below() {
    let lake = Fixture::new();
    log(&lake.run("r"), "loss", 0, &[1.0]);
    for query in [
        "",
        "selct 1",
        "select from where",
        "select * from points where",
        "select (1 + 2 from runs",
        "select run_id from runs, points",
        "select sum(run_id) from points",
        "select value from points group by step",
        "select step + tags from runs, points",
        "select cast('abc' as double)",
        "select cast(run_id as double) from points",
        "select * from points where value = ",
        "select $1",
        "select label(1) from points",
        "select * from points where step = (select step from points_all union all select 2)",
        "select nope(1)",
        "select * from range('x')",
        "select 1/0",
        "show nonsense",
        "describe nonsense",
    ] {
        let error = lake.error(query);
        let text = error.to_string();
        for leak in [
            "DataFusion",
            "Error during planning",
            "Schema error",
            "Arrow error",
            "Internal",
            "Utf8View",
        ] {
            assert!(!text.contains(leak), "{query}: {text}");
        }
        assert!(!matches!(error, QueryError::Internal { .. }), "{query}: {error:?}");
        assert!(!text.ends_with('.') && text.len() < 300, "{query}: {text}");
    }
}

#[test]
fn a_corrupt_segment_is_named_and_the_rest_stays_readable() {
    let lake = Fixture::new();
    for id in ["a", "b"] {
        let run = lake.run(id);
        let values: Vec<_> = (0..2000).map(|at| f64::from(at).sin()).collect();
        log(&run, "loss", 0, &values);
        lake.lake.flush().unwrap();
    }
    let snapshot = lake.lake.snapshot().unwrap();
    let segment = snapshot
        .segments()
        .iter()
        .find(|segment| segment.runs.as_ref().is_some_and(|runs| runs == &["a"]))
        .unwrap();
    let mut bytes = fs::read(&segment.path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 64] {
        *byte ^= 0x55;
    }
    fs::write(&segment.path, bytes).unwrap();

    let error = lake.error("select sum(value), sum(step) from points where run_id = 'a'");
    match &**engine(&error) {
        runlake_engine::Error::Corrupt { path, offset, .. } => {
            assert_eq!(path, &segment.path);
            assert!(*offset < segment.bytes, "{offset}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lake.rows("select count(value) from points where run_id = 'b'"), ["2000"]);
}

#[test]
fn a_file_that_is_gone_says_that_the_snapshot_expired() {
    let lake = Fixture::new();
    log(&lake.run("r"), "loss", 0, &[1.0]);
    lake.lake.flush().unwrap();
    let relation = lake.session.sql("select value from points").unwrap();
    let path = lake.lake.snapshot().unwrap().segments()[0].path.clone();
    fs::remove_file(&path).unwrap();
    let error = relation.collect().unwrap_err();
    match &**engine(&error) {
        runlake_engine::Error::SnapshotExpired { path: named } => assert_eq!(named, &path),
        other => panic!("{other:?}"),
    }
}
