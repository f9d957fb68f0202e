//! What one process logs, the SQL of another sees, each row once, a moment later. How long that moment is, is printed.
//!
//! The child is this test binary again, told by an environment variable to be the writer.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::AsArray as _,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use runlake_engine::{Lake, LakeOptions, State};
use runlake_query::Session;

use super::{collect, rows};

const LAKE: &str = "RUNLAKE_TEST_LIVE_LAKE";
const ROWS: i64 = 3000;
const BETWEEN_ROWS: Duration = Duration::from_millis(1);

/// Not a test of its own: what the child of the other does.
#[test]
fn writer() {
    let Ok(path) = std::env::var(LAKE) else { return };
    let mut options = LakeOptions::default();
    // Some rows reach the reader through the log and some through segments.
    options.flush_after_bytes = 128 << 10;
    let run = options.open(path).unwrap().run("p").id("r").start().unwrap();
    let loss = run.metric("loss").unwrap();
    let mut next = Instant::now();
    for step in 0..ROWS {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += BETWEEN_ROWS;
        run.log(step, &[(loss, 0.5)]).unwrap();
    }
    run.finish(State::Finished).unwrap();
}

#[test]
fn sql_sees_each_row_of_another_process_once_while_it_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::new(Lake::open_or_create(folder.path().join("runs.lake")).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["live::writer", "--exact", "--test-threads=1"])
        .env(LAKE, session.lake().path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    let (mut polls, mut delays) = (0, Vec::new());
    while delays.len() < usize::try_from(ROWS).unwrap() {
        assert!(Instant::now() < deadline, "{} rows of {ROWS} were seen", delays.len());
        let seen = delays.len();
        let query = format!(
            "select step, time from points_all where run_id = 'r' and metric = 'loss' and step >= {seen} \
             order by step"
        );
        let batches = collect(&session.sql(&query).unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_micros()).unwrap();
        polls += 1;
        for batch in &batches {
            let steps = batch.column(0).as_primitive::<Int64Type>();
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            for (step, time) in steps.values().iter().zip(times.values()) {
                // The row behind the last one that was seen: none is missing and none comes again.
                assert_eq!(usize::try_from(*step), Ok(delays.len()));
                delays.push(now - time);
            }
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(
        rows(&session, "select count(*), count(distinct step), max(step) from points_all"),
        [format!("{ROWS}|{ROWS}|{}", ROWS - 1)]
    );
    delays.sort_unstable();
    let ms = |part: usize| delays[(delays.len() - 1) * part / 1000] as f64 / 1000.0;
    println!(
        "{ROWS} rows at 1,000 a second, {polls} queries: from log() to the answer of SQL p50 {:.1} ms, p99 {:.1} ms, \
         max {:.1} ms",
        ms(500),
        ms(990),
        ms(1000)
    );
}
