//! A disk that fails at any operation of a lake, once or until it is well again: `log` never fails, every row is kept or
//! counted, and then nothing is lost and nothing there twice.
//!
//! `RUNLAKE_FAULTS` says how many faults are tried at most; there are a few hundred operations.

use super::{LakeOptions, crash};
use crate::{
    Filter, Lake, LogMode, Result, State,
    disk::model::{Disk, Failing, Fault},
    log,
};

const ROUNDS: i64 = 4;
/// Points of a frame, of which twelve fill the first log file.
const MANY: usize = 2048;
const FRAMES: usize = 5;
/// Memory for all rows that the disk does not take.
const AMPLE: u64 = 1 << 20;

/// How a lake is held that is tried.
#[derive(Debug, Clone, Copy)]
struct Setting {
    mode: LogMode,
    spill_bytes: u64,
}

/// What came of a run whose disk failed.
struct Outcome {
    /// How many operations there were while it could fail.
    asked: u64,
    /// How many syncs, flushes and merges said that something had failed.
    reported: u64,
    kept: u64,
    dropped: u64,
}

/// Logs, syncs, flushes and merges on a disk that fails, and looks at what is left once it is well again.
fn train(setting: Setting, fault: Fault) -> Outcome {
    let folder = crash::folder();
    let disk = Disk::watch_to_fail(folder.path());
    let root = folder.path().join("runs.lake");
    // The background has nothing to do but what has failed elsewhere.
    let mut options = LakeOptions { create: true, ..LakeOptions::default() };
    (options.log_mode, options.spill_bytes) = (setting.mode, setting.spill_bytes);
    options.sync_every_ms = 3_600_000;
    let lake = options.open(&root).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    let mut logged = 0;
    let mut reported = 0;
    let mut said = |outcome: Result<()>| reported += u64::from(outcome.is_err());
    disk.fail(Some(fault));
    for round in 0..ROUNDS {
        for _ in 0..FRAMES {
            let values: Vec<f64> = (logged..logged + MANY).map(|step| step as f64).collect();
            run.log_many(metric, None, None, &values).unwrap();
            logged += MANY;
        }
        run.log(None, &[(metric, logged as f64)]).unwrap();
        logged += 1;
        said(lake.sync());
        said(lake.flush().map(drop));
        if round % 2 == 1 {
            said(lake.compact(true, &mut |_, _| true).map(drop));
        }
    }
    let asked = disk.asked();
    disk.fail(None);
    lake.flush().unwrap();
    lake.sync().unwrap();
    lake.compact(true, &mut |_, _| true).unwrap();
    let stats = run.finish(State::Finished).unwrap();
    drop((run, lake));
    assert_eq!(stats.rows + stats.dropped_rows, logged as u64, "{fault:?}: every row is counted");

    let snapshot = Lake::open(&root).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0], "{fault:?}");
    let mut there = vec![0; logged];
    for segment in snapshot.segments() {
        segment.check().unwrap();
    }
    for batch in snapshot.scan(&Filter::default()).unwrap() {
        use arrow::{
            array::AsArray as _,
            datatypes::{Float64Type, Int64Type},
        };
        let batch = batch.unwrap();
        let steps = batch.column(5).as_primitive::<Int64Type>();
        let values = batch.column(7).as_primitive::<Float64Type>();
        for (step, value) in steps.values().iter().zip(values.values()) {
            assert_eq!(*value, *step as f64, "{fault:?}");
            there[usize::try_from(*step).unwrap()] += 1;
        }
    }
    let kept: u64 = there.iter().sum();
    assert!(there.iter().all(|&times| times <= 1), "{fault:?}: a row is there twice");
    assert_eq!(kept, stats.rows, "{fault:?}: a row that was kept is lost");
    let info = snapshot.find_run("r").unwrap();
    assert_eq!(info.dropped_rows, stats.dropped_rows, "{fault:?}: readers are told");
    Outcome { asked, reported, kept, dropped: stats.dropped_rows }
}

/// Lets each of the operations fail in turn, or as many of them as are asked for, and so many that follow. How many rows
/// were dropped.
fn try_faults(setting: Setting, failing: Failing, times: u64) -> u64 {
    let well = train(setting, Fault { failing, after: u64::MAX, times });
    assert_eq!((well.reported, well.dropped), (0, 0), "a disk that is well");
    let most = std::env::var("RUNLAKE_FAULTS").map_or(12, |said| said.parse().unwrap());
    let every = well.asked.div_ceil(most).max(1);
    let (mut tried, mut reported, mut kept, mut dropped) = (0, 0, 0, 0);
    for after in (0..well.asked).step_by(usize::try_from(every).unwrap()) {
        let outcome = train(setting, Fault { failing, after, times });
        tried += 1;
        reported += u64::from(outcome.reported > 0);
        kept += outcome.kept;
        dropped += outcome.dropped;
    }
    assert!(reported > 0, "whatever fails, nobody hears of it");
    println!(
        "{setting:?}, {failing:?}, {times} at once, from {tried} of {} operations on: {reported} were reported, the others \
         cost nothing; {kept} rows kept, {dropped} dropped and counted, 0 lost, 0 twice",
        well.asked
    );
    dropped
}

/// The same in both modes, with memory for all rows.
fn try_with_ample_memory(failing: Failing, times: u64) {
    for mode in [LogMode::Mapped, LogMode::Pwrite] {
        let dropped = try_faults(Setting { mode, spill_bytes: AMPLE }, failing, times);
        assert_eq!(dropped, 0, "there is room in memory");
    }
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_no_row() {
    try_with_ample_memory(Failing::Full, 1);
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_no_row_that_has_room_in_memory() {
    try_with_ample_memory(Failing::Full, 1_000_000);
}

#[test]
fn a_quota_that_is_used_up_is_a_disk_that_is_full() {
    try_with_ample_memory(Failing::Quota, 1_000_000);
}

#[test]
fn a_full_disk_costs_only_rows_that_are_counted_where_memory_has_room_for_few() {
    for mode in [LogMode::Mapped, LogMode::Pwrite] {
        let scarce = Setting { mode, spill_bytes: log::file_bytes(1) as u64 };
        for failing in [Failing::Full, Failing::Quota] {
            assert!(try_faults(scarce, failing, 1_000_000) > 0, "all rows had room");
        }
    }
}

#[test]
fn a_disk_that_fails_once_costs_no_row() {
    try_with_ample_memory(Failing::Broken, 1);
}

#[test]
fn a_disk_that_fails_for_a_while_costs_no_row_that_has_room_in_memory() {
    try_with_ample_memory(Failing::Broken, 50);
}
