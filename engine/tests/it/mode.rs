//! How a log comes to disk changes nothing of what the engine promises: in pwrite mode a thread writes what was logged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use runlake_engine::{Lake, LakeOptions, LogMode, Run, State};

use crate::points;

fn options(mode: LogMode) -> LakeOptions {
    let mut options = LakeOptions::default();
    (options.create, options.log_mode) = (true, mode);
    (options.flush_after_bytes, options.flush_after_ms) = (u64::MAX, u64::MAX >> 1);
    options
}

fn lake(mode: LogMode) -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = options(mode).open(folder.path().join("runs.lake")).unwrap();
    (folder, lake)
}

/// The log files of all writers.
fn log_files(lake: &Path) -> Vec<PathBuf> {
    let names = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = names(lake.join("log")).flat_map(names);
    files.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect()
}

/// The mode that the header of a log file names.
fn mode_of(file: &Path) -> u8 {
    fs::read(file).unwrap()[20]
}

fn steps(lake: &Lake) -> Vec<i64> {
    let snapshot = lake.snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0]);
    let mut steps: Vec<i64> = points(&snapshot).into_iter().map(|point| point.3).collect();
    steps.sort_unstable();
    steps
}

fn log(run: &Run, steps: std::ops::Range<i64>) {
    for step in steps {
        run.log_named(step, &[("m", step as f64)]).unwrap();
    }
}

/// The other tests of logging, once more, by this binary told to log in pwrite mode.
#[test]
fn what_is_promised_of_logging_also_holds_in_pwrite_mode() {
    if !crate::logs_are_mapped() {
        return;
    }
    let tests = ["logging::", "log::", "kills::", "stall::a_writer", "mode::", "compaction::"];
    let output = Command::new(std::env::current_exe().unwrap())
        .args(tests)
        .args(["--skip", "thirty_two_writers"])
        .env("RUNLAKE_LOG_MODE", "pwrite")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_file_in_pwrite_mode_is_a_header_and_frames_and_holds_a_row_once_a_reader_has_asked() {
    let (_folder, lake) = lake(LogMode::Pwrite);
    let reader = Lake::open(lake.path()).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    for step in 0..100 {
        log(&run, step..step + 1);
        assert_eq!(steps(&reader), (0..=step).collect::<Vec<_>>());
    }
    let files = log_files(lake.path());
    assert_eq!(files.iter().map(|file| mode_of(file)).collect::<Vec<_>>(), [1]);
    let bytes = fs::read(&files[0]).unwrap();
    // 3 facts or so, 2 names, a shape, and 100 rows of 40 bytes, all but the first of which name that: no room is reserved.
    assert!((4096 + 4000..4096 + 6000).contains(&bytes.len()), "{} bytes", bytes.len());
    assert_eq!(bytes[4096 + 8], 1, "a name comes first");
    assert_eq!(lake.flush().unwrap().points, 100);
    assert_eq!(steps(&reader), (0..100).collect::<Vec<_>>());
    assert!(!files[0].exists());
}

#[test]
fn another_process_sees_a_row_in_pwrite_mode_without_being_told() {
    let (_folder, lake) = lake(LogMode::Pwrite);
    let run = lake.run("p").id("r").start().unwrap();
    log(&run, 0..10);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // What stands in the file is what another process reads.
    let written =
        || log_files(lake.path()).iter().map(|file| fs::read(file).unwrap().len()).sum::<usize>();
    while written() < 4096 + 10 * 40 {
        assert!(std::time::Instant::now() < deadline, "the rows are not written");
        std::thread::yield_now();
    }
}

#[test]
fn a_torn_end_of_a_stream_is_its_end_and_damage_before_that_is_said() {
    let (_folder, lake) = lake(LogMode::Pwrite);
    let run = lake.run("p").id("r").start().unwrap();
    // The shape of the rows stands before those of which the end may be torn.
    log(&run, 0..2);
    lake.sync().unwrap();
    log(&run, 2..100);
    lake.sync().unwrap();
    let file = log_files(lake.path()).remove(0);
    drop((run, lake));
    let lake = Lake::open(file.ancestors().nth(3).unwrap()).unwrap();
    let bytes = fs::read(&file).unwrap();
    let begin = bytes.len() - 98 * 40;
    for cut in begin..=bytes.len() {
        fs::write(&file, &bytes[..cut]).unwrap();
        let whole = 2 + (cut - begin) as i64 / 40;
        assert_eq!(steps(&Lake::open(lake.path()).unwrap()), (0..whole).collect::<Vec<_>>());
    }
    // A flipped bit in row 50: the others are there, and the place is said.
    let mut damaged = bytes;
    damaged[begin + 48 * 40 + 30] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let snapshot = Lake::open(lake.path()).unwrap().snapshot().unwrap();
    assert_eq!(points(&snapshot).len(), 99);
    let place = format!("byte {}", begin + 48 * 40);
    assert!(
        matches!(snapshot.problems(), [said] if said.contains(&place)),
        "{:?}",
        snapshot.problems()
    );
}

#[test]
fn a_log_that_was_adopted_in_part_is_read_from_there_on_and_its_owner_moves_on() {
    let (_folder, lake) = lake(LogMode::Pwrite);
    let reader = Lake::open(lake.path()).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    for round in 0..4 {
        log(&run, round * 100..round * 100 + 50);
        lake.sync().unwrap();
        let file = log_files(lake.path()).remove(0);
        // An adopter takes the writer for dead: its lock is not the one that stands in the folder.
        let lock = file.with_file_name("LOCK");
        fs::remove_file(&lock).unwrap();
        fs::File::create(&lock).unwrap();
        assert_eq!(reader.adopt(&mut |_, _| {}).unwrap().points, 50);
        assert!(file.exists(), "its owner may live");
        assert_eq!(steps(&reader).len() as i64, round * 100 + 50);
        log(&run, round * 100 + 50..round * 100 + 100);
        assert_eq!(steps(&reader), (0..round * 100 + 100).collect::<Vec<_>>());
        assert_eq!(lake.flush().unwrap().points, 50, "the owner takes the rest");
        assert!(!file.parent().unwrap().exists(), "and leaves the folder");
        assert_eq!(reader.snapshot().unwrap().find_run("r").unwrap().state, State::Running);
    }
    assert_eq!(steps(&reader), (0..400).collect::<Vec<_>>());
    assert_eq!(run.finish(State::Finished).unwrap().dropped_rows, 0);
}

#[test]
fn memory_that_is_written_makes_room_so_that_more_is_logged_than_it_could_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(LogMode::Pwrite);
    // A disk that keeps up is never too slow for this.
    (options.spill_bytes, options.max_block_ms) = (1 << 20, 60_000);
    let lake = options.open(folder.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    (0..1000).for_each(|_| run.log_many(metric, None, None, &[0.5; 2000]).unwrap());
    assert_eq!((run.dropped_rows(), steps(&lake).len()), (0, 2_000_000));
    // 16 MB through 1 MiB of memory.
    assert!(log_files(lake.path()).len() > 16);
    assert_eq!(lake.flush().unwrap().points, 2_000_000);
}
