//! A disk that fails at any operation of a lake, once or until it is well again: `log` never fails, every row is kept or
//! counted, and then nothing is lost and nothing there twice.
//!
//! `RUNLAKE_FAULTS` says how many faults are tried at most; there are a few hundred operations.

use std::{fmt, path::Path};

use super::{LakeOptions, crash};
use crate::{
    Filter, Lake, LogMode, Result, RunStats, State,
    disk::model::{Disk, Failing, Fault},
    log::{self, Mode},
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
    let kept = check(&root, logged as u64, stats, &fault);
    Outcome { asked, reported, kept, dropped: stats.dropped_rows }
}

/// Asserts that of so many rows each is there or counted, and none is there twice. How many are there.
fn check(root: &Path, logged: u64, stats: RunStats, when: &dyn fmt::Debug) -> u64 {
    assert_eq!(stats.rows + stats.dropped_rows, logged, "{when:?}: every row is counted");

    let snapshot = Lake::open(root).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0], "{when:?}");
    let mut there = vec![0; usize::try_from(logged).unwrap()];
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
            assert_eq!(*value, *step as f64, "{when:?}");
            there[usize::try_from(*step).unwrap()] += 1;
        }
    }
    let kept: u64 = there.iter().sum();
    assert!(there.iter().all(|&times| times <= 1), "{when:?}: a row is there twice");
    assert_eq!(kept, stats.rows, "{when:?}: a row that was kept is lost");
    let info = snapshot.find_run("r").unwrap();
    assert_eq!(info.dropped_rows, stats.dropped_rows, "{when:?}: readers are told");
    kept
}

/// Lets each of the operations fail in turn, or as many of them as are asked for, and so many that follow. How many rows
/// were dropped.
fn try_faults(setting: Setting, failing: Failing, times: u64) -> u64 {
    let well = train(setting, Fault { failing, after: u64::MAX, times });
    assert_eq!((well.reported, well.dropped), (0, 0), "a disk that is well");
    let most = std::env::var("RUNLAKE_FAULTS").map_or(12, |said| said.parse().unwrap());
    let every = well.asked.div_ceil(most).max(1);
    let (mut tried, mut reported, mut kept, mut dropped) = (0, 0, 0, 0);
    let spread = (0..well.asked).step_by(usize::try_from(every).unwrap());
    let enough = spread.clone().count();
    // On a slow machine most operations are looks whether anything is to be done, which may fail: then more places are tried.
    let mut dice = crash::Dice::new();
    let more = std::iter::repeat_with(|| dice.below(usize::try_from(well.asked).unwrap()) as u64);
    for after in spread.chain(more.take(200)) {
        if tried >= enough && reported > 0 {
            break;
        }
        let outcome = train(setting, Fault { failing, after, times });
        tried += 1;
        reported += u64::from(outcome.reported > 0);
        kept += outcome.kept;
        dropped += outcome.dropped;
    }
    // A file that cannot be mapped costs nothing that anybody would have to hear of.
    assert!(reported > 0 || failing == Failing::Maps, "whatever fails, nobody hears of it");
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

#[test]
fn where_a_file_cannot_be_mapped_now_and_then_no_row_is_lost() {
    let setting = Setting { mode: LogMode::Mapped, spill_bytes: AMPLE };
    for times in [1, 1_000_000] {
        assert_eq!(try_faults(setting, Failing::Maps, times), 0);
    }
}

/// Logs and finishes on a disk where nothing can be mapped, from before or behind the start of a run on. How its log was
/// written; every row was kept.
fn log_without_maps(is_started: bool) -> Mode {
    let folder = crash::folder();
    let disk = Disk::watch_to_fail(folder.path());
    let root = folder.path().join("runs.lake");
    let mut options = LakeOptions { create: true, ..LakeOptions::default() };
    (options.log_mode, options.spill_bytes) = (LogMode::Mapped, AMPLE);
    let lake = options.open(&root).unwrap();
    let refuse = || disk.fail(Some(Fault { failing: Failing::Maps, after: 0, times: u64::MAX }));
    if !is_started {
        refuse();
    }
    let run = lake.run("p").id("r").start().unwrap();
    refuse();
    let logged = 20_000;
    for step in 0..logged {
        run.log_named(step, &[("m", step as f64)]).unwrap();
    }
    let mode = lake.core().writer().unwrap().mode();
    let stats = run.finish(State::Finished).unwrap();
    drop((run, lake));
    let kept = check(&root, logged.cast_unsigned(), stats, &"nothing can be mapped");
    assert_eq!(kept, logged.cast_unsigned());
    mode
}

#[test]
fn where_no_file_can_be_mapped_rows_are_written_as_in_pwrite_mode() {
    assert_eq!(log_without_maps(false), Mode::Written);
}

#[test]
fn where_no_further_file_can_be_mapped_rows_wait_in_memory_and_the_end_of_the_run_flushes_them() {
    assert_eq!(log_without_maps(true), Mode::Mapped);
}
