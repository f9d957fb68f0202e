//! How results leave: all at once, batch by batch, asynchronously, from any thread.

use std::{num::NonZeroUsize, thread, time::Duration};

use arrow::array::{RecordBatch, RecordBatchReader as _};
use futures::{StreamExt as _, TryStreamExt as _};
use runlake_query::QueryError;

use super::{Fixture, log, rows_of};

#[test]
fn a_relation_is_one_moment_however_often_it_is_read() {
    let lake = Fixture::new();
    let run = lake.run("r");
    log(&run, "loss", 0, &[1.0, 2.0]);
    let relation = lake
        .session
        .sql("select (select count(*) from points), (select sum(count) from series), count(*) from points_all")
        .unwrap();
    log(&run, "loss", 2, &[3.0]);
    lake.lake.flush().unwrap();
    for _ in 0..2 {
        assert_eq!(rows_of(&relation), ["2|2|2"]);
    }
    assert_eq!(lake.rows("select count(*) from points"), ["3"]);
}

#[test]
fn a_reader_gives_the_same_rows_as_collect() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let metric = run.metric("x").unwrap();
    let values: Vec<f64> = (0..50_000).map(f64::from).collect();
    run.log_many(metric, None, None, &values).unwrap();
    lake.lake.flush().unwrap();
    let relation = lake.session.sql("select value, run_id from points").unwrap();
    let mut reader = relation.reader().unwrap();
    assert_eq!(reader.schema(), relation.schema());
    let mut count = 0;
    while let Some(batch) = reader.next_batch() {
        count += batch.unwrap().num_rows();
    }
    assert_eq!(count, values.len());
    // A reader that is dropped half way ends its query and harms no other.
    let mut reader = relation.reader().unwrap();
    assert!(reader.next().unwrap().unwrap().num_rows() > 0);
    drop(reader);
    assert_eq!(lake.rows("select count(*) from points"), ["50000"]);
}

#[test]
fn an_error_on_the_way_reaches_the_reader() {
    let lake = Fixture::new();
    log(&lake.run("r"), "x", 0, &[1.0]);
    let relation = lake.session.sql("select cast(run_id as double) from points").unwrap();
    let mut reader = relation.reader().unwrap();
    let error = reader.next().unwrap().unwrap_err();
    let arrow::error::ArrowError::ExternalError(error) = error else { panic!("{error:?}") };
    assert!(matches!(error.downcast_ref(), Some(QueryError::Failed { .. })), "{error:?}");
    assert!(reader.next().is_none());
}

#[test]
fn any_number_of_threads_share_a_session() {
    let lake = Fixture::new();
    log(&lake.run("r"), "x", 0, &[1.0, 2.0]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(lake.rows("select count(*) from points"), ["2"]);
                }
            });
        }
    });
}

#[test]
fn queries_work_inside_of_a_foreign_runtime() {
    let lake = Fixture::new();
    log(&lake.run("r"), "x", 0, &[1.0, 2.0]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let relation = lake.session.sql_async("select value from points").await.unwrap();
        let batches: Vec<_> = relation.stream().unwrap().try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        // The blocking face blocks here, and that is all it does.
        assert_eq!(lake.rows("select count(*) from points"), ["2"]);
    });
    // No runtime at all.
    let batches = futures::executor::block_on(async {
        let relation = lake.session.sql_async("select value from points").await.unwrap();
        relation.stream().unwrap().collect::<Vec<_>>().await
    });
    assert!(batches.into_iter().all(|batch| batch.is_ok()));
}

/// Each would take hours. Their joins work long on one batch, and let rows out in different ways.
const ENDLESS: [&str; 6] = [
    "select sum(a.value * b.value * c.value) from points a, points b, points c",
    "select count(*) from points a, points b, points c where a.value + b.value + c.value < -1",
    "select count(*) from points a join points b on a.metric = b.metric join points c on b.metric = c.metric \
     and a.value + b.value + c.value < -1",
    "select count(*) from points a where metric in (select b.metric from points b, points c)",
    "select count(*) from points a where metric not in (select b.metric from points b, points c \
     where b.value + c.value < -1)",
    "with recursive n as (select 1 as n union all select n + 1 from n) select count(*) from n",
];

#[test]
fn a_query_that_is_interrupted_leaves_the_threads_to_others() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let values: Vec<f64> = (0..200_000).map(f64::from).collect();
    run.log_many(run.metric("x").unwrap(), None, None, &values).unwrap();
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for sql in ENDLESS {
        // More often than there are threads, so that one which went on would be missed.
        for _ in 0..=threads {
            let relation = lake.session.sql(sql).unwrap();
            let mut asked = 0;
            let result = relation.collect_while(Duration::from_millis(50), || {
                asked += 1;
                asked < 4
            });
            assert!(matches!(result, Err(QueryError::Interrupted)), "{sql}: {result:?}");
            assert_eq!(asked, 4);
        }
    }
    assert_eq!(lake.rows("select count(*) from points"), ["200000"]);
}

#[test]
fn planning_can_be_interrupted() {
    let lake = Fixture::new();
    log(&lake.run("r"), "x", 0, &[1.0]);
    let result = lake.session.sql_while("select * from points", Duration::ZERO, || false);
    assert!(matches!(result, Err(QueryError::Interrupted)), "{result:?}");
    let relation = lake.session.sql_while("select * from points", Duration::ZERO, || true).unwrap();
    assert_eq!(rows_of(&relation).len(), 1);
    let error = lake.session.sql_while("selct", Duration::MAX, || true).unwrap_err();
    assert!(matches!(error, QueryError::Syntax { .. }), "{error:?}");
}
