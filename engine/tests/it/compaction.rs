//! Compaction changes which files hold the points, and never the points: also while others write, and when it is killed.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use runlake_engine::{Compacted, Error, Filter, Lake, State};
use serde_json::json;

use crate::{Seen, points};

fn lake() -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    (folder, lake)
}

fn compact(lake: &Lake, gc_now: bool) -> Compacted {
    lake.compact(gc_now, &mut |done, of| {
        assert!(done <= of, "{done} of {of} rows");
        true
    })
    .unwrap()
}

/// Compacts when nobody else does, such as the thread of a writer.
fn compact_at_last(lake: &Lake) {
    while compact(lake, true).is_busy {
        std::thread::yield_now();
    }
}

/// Logs to the same runs again and flushes, `flushes` times: steps repeat across segments, and go back.
fn fill(lake: &Lake, flushes: i64) {
    for round in 0..flushes {
        for project in ["p", "q"] {
            let run = lake.run(project).id(&format!("r{}", round % 3)).start().unwrap();
            run.config("round", Some(json!(round))).unwrap();
            let (loss, acc) = (run.metric("loss").unwrap(), run.metric("acc").unwrap());
            let labels = run.labels(json!({"rank": round % 2}).as_object().unwrap()).unwrap();
            for step in [round, round + 1, 2, 2] {
                let value = if round == 1 { f64::NAN } else { round as f64 };
                run.log(step, &[(loss, value), (acc, -0.0)]).unwrap();
                run.log_labelled(step, None, Some(labels), &[(loss, f64::INFINITY)]).unwrap();
            }
            run.finish(State::Finished).unwrap();
        }
        lake.flush().unwrap();
    }
}

/// All points, whatever files they are in. In which order equal steps stand is what `told` tells, by the last of them.
fn sorted(lake: &Lake) -> Vec<Seen> {
    let mut points = points(&lake.snapshot().unwrap());
    points.sort();
    points
}

/// What else a reader is told, without the time at which each run last showed that it lives.
fn told(lake: &Lake) -> (String, String) {
    let snapshot = lake.snapshot().unwrap();
    let series = snapshot.series(&Filter::default()).unwrap();
    let runs = snapshot.runs().unwrap();
    let runs =
        runs.iter().map(|run| (&run.project, &run.run_id, run.state, &run.config, &run.launches));
    (format!("{series:?}"), format!("{:?}", runs.collect::<Vec<_>>()))
}

#[test]
fn a_reader_finds_the_same_in_fewer_files() {
    let (_folder, lake) = lake();
    fill(&lake, 7);
    let (before, told_before) = (sorted(&lake), told(&lake));
    assert_eq!(lake.snapshot().unwrap().segments().len(), 14);
    let facts = lake.snapshot().unwrap().fact_segments().len();

    let done = compact(&lake, false);
    assert_eq!((done.merged, done.into), (14 + facts as u64, 4), "one of each project and table");
    assert_eq!((done.freed_files, done.is_busy, done.lacks_space), (0, false, false));
    for reader in [&lake, &Lake::open(lake.path()).unwrap()] {
        let snapshot = reader.snapshot().unwrap();
        assert!(snapshot.segments().iter().all(|segment| segment.level == 1));
        assert_eq!((snapshot.segments().len(), snapshot.fact_segments().len()), (2, 2));
        assert!(
            (sorted(reader), told(reader)) == (before.clone(), told_before.clone()),
            "the same points, series and runs"
        );
    }
    assert_eq!(compact(&lake, false), Compacted::default(), "nothing is left to do");

    fill(&lake, 2);
    let before = sorted(&lake);
    assert!(compact(&lake, true).freed_files > 0);
    assert_eq!(sorted(&lake), before);
    assert_eq!(lake.snapshot().unwrap().segments().len(), 2);
}

#[test]
fn an_older_snapshot_reads_on_until_its_files_are_collected_and_then_says_so() {
    let (_folder, lake) = lake();
    fill(&lake, 3);
    let reader = Lake::open(lake.path()).unwrap();
    let (older, before) = (reader.snapshot().unwrap(), points(&reader.snapshot().unwrap()));
    assert_eq!(compact(&lake, false).freed_files, 0);
    assert_eq!(points(&older), before);
    assert!(compact(&lake, true).freed_files > 0);
    let error = older.scan(&Filter::default()).unwrap().find_map(Result::err);
    assert!(matches!(error, Some(Error::SnapshotExpired { .. })), "{error:?}");
    assert_eq!(points(&reader.snapshot().unwrap()).len(), before.len());
}

#[test]
fn compactions_of_two_processes_at_once_do_not_stop_one_another() {
    let (_folder, lake) = lake();
    fill(&lake, 2);
    let other = Lake::open(lake.path()).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(compact(&other, false).problems, [""; 0]);
            }
        });
        // What the other one reads is merged and removed under it.
        for _ in 0..30 {
            fill(&lake, 1);
            compact(&lake, true);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(points(&lake.snapshot().unwrap()).len(), (2 + 30) * 2 * 4 * 3);
}

#[test]
fn compaction_and_flushes_at_once_lose_nothing_and_double_nothing() {
    const ROWS: i64 = 4_000;
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let metric = run.metric("m").unwrap();
            for step in 0..ROWS {
                run.log(step, &[(metric, step as f64)]).unwrap();
                if step % 100 == 0 {
                    lake.flush().unwrap();
                }
            }
            // ORDERING: SeqCst, for simplicity: it only ends the loops of the other threads.
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                // A lake of its own, as another process would have.
                let other = Lake::open(lake.path()).unwrap();
                while !done.load(Ordering::SeqCst) {
                    compact(&other, false);
                    let mut steps: Vec<i64> =
                        points(&other.snapshot().unwrap()).iter().map(|point| point.3).collect();
                    steps.sort_unstable();
                    assert!(steps.iter().copied().eq(0..steps.len() as i64), "a prefix, each once");
                }
            });
        }
    });
    lake.flush().unwrap();
    compact_at_last(&lake);
    let seen = points(&lake.snapshot().unwrap());
    assert!(seen.iter().map(|point| point.3).eq(0..ROWS));
    assert_eq!(lake.snapshot().unwrap().segments().len(), 1);
}

const ROLE: &str = "RUNLAKE_TEST_COMPACTS";

/// Not a test of its own: what the child of the next one does.
#[test]
fn child() {
    let Ok(path) = std::env::var(ROLE) else { return };
    compact(&Lake::open(path).unwrap(), true);
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn a_compaction_that_is_killed_at_any_moment_leaves_every_point_once() {
    let (_folder, lake) = lake();
    for round in 0..12_u64 {
        fill(&lake, 3);
        let before = (sorted(&lake), told(&lake));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["compaction::child", "--exact", "--nocapture"])
            .env(ROLE, lake.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(4 + round * 5));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((sorted(&lake), told(&lake)) == before, "round {round}");
    }
    let before = (sorted(&lake), told(&lake));
    compact_at_last(&lake);
    assert!((sorted(&lake), told(&lake)) == before, "after all of them");
    let points = lake.path().join("tables/points");
    assert_eq!(lake.snapshot().unwrap().segments().len(), 2);
    assert_eq!(files(&points.join("l0")), 0, "what was replaced is gone");
}

#[test]
fn a_writer_merges_its_own_segments_after_a_while() {
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    for step in 0..20 {
        run.log_named(step, &[("loss", step as f64)]).unwrap();
        lake.flush().unwrap();
    }
    let before = sorted(&lake);
    let deadline = std::time::Instant::now() + Duration::from_mins(3);
    while lake.snapshot().unwrap().segments().len() == 20 {
        assert!(std::time::Instant::now() < deadline, "no merge came");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sorted(&lake), before);
    assert!(lake.snapshot().unwrap().segments().len() < 6);
}
