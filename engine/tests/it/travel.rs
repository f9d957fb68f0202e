//! Any version of a lake can be read that is still kept.

use runlake_engine::{Error, Lake, State};
use serde_json::json;

use crate::points;

/// Logs one point to a run of its own, says a fact of it, and flushes. The number of points then is the next step.
fn round(lake: &Lake, step: i64) {
    let run = lake.run("p").id(&format!("r{step}")).start().unwrap();
    run.config("round", Some(json!(step))).unwrap();
    run.log_named(step, &[("loss", 0.5)]).unwrap();
    run.finish(State::Finished).unwrap();
    lake.flush().unwrap();
}

#[test]
fn every_version_shows_what_was_there_after_its_commit_and_nothing_from_logs() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    // More commits than lie between two checkpoints.
    let versions: Vec<u64> = (0..130)
        .map(|step| {
            round(&lake, step);
            lake.snapshot().unwrap().version().unwrap()
        })
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b));
    let run = lake.run("p").id("live").start().unwrap();
    run.log_named(9, &[("loss", 1.0)]).unwrap();
    // By whoever wrote, and by somebody who has just opened it.
    let reader = Lake::open(lake.path()).unwrap();
    for lake in [&lake, &reader] {
        for (before, &version) in versions.iter().enumerate().step_by(9) {
            let then = lake.snapshot_at(version).unwrap();
            let mut steps: Vec<i64> = points(&then).into_iter().map(|point| point.3).collect();
            steps.sort_unstable();
            assert_eq!(steps, (0..=before as i64).collect::<Vec<_>>(), "version {version}");
            assert_eq!(then.version(), Some(version));
            let runs = then.runs().unwrap();
            assert!(runs.iter().all(|run| &*run.run_id != "live"));
            assert!(
                runs.iter().any(|run| *run.run_id == format!("r{before}")),
                "version {version}"
            );
        }
    }
}

#[test]
fn a_version_that_is_not_there_names_those_that_are_and_an_old_one_may_have_expired() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    let Err(Error::Unknown { candidates, .. }) = lake.snapshot_at(0) else { panic!("no commit") };
    assert_eq!(candidates, Vec::<String>::new());
    for step in 0..3 {
        round(&lake, step);
    }
    let error = lake.snapshot_at(7).unwrap_err();
    let Error::Unknown { kind, candidates, .. } = &error else { panic!("{error}") };
    assert_eq!((*kind, &candidates[..]), ("version", &["0".to_owned(), "2".to_owned()][..]));

    // A merge leaves what it replaced where it is, for an hour; then it is an error, never fewer points.
    lake.compact(false, &mut |_, _| true).unwrap();
    assert_eq!(points(&lake.snapshot_at(1).unwrap()).len(), 2);
    assert_eq!(points(&lake.snapshot_at(3).unwrap()).len(), 3);
    lake.compact(true, &mut |_, _| true).unwrap();
    let expired = lake.snapshot_at(1).unwrap();
    let read = expired.scan(&runlake_engine::Filter::default()).unwrap().find_map(Result::err);
    assert!(matches!(read, Some(Error::SnapshotExpired { .. })), "{read:?}");
    assert_eq!(points(&lake.snapshot_at(3).unwrap()).len(), 3);
}
