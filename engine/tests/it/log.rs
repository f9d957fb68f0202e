//! The log when things go wrong or grow large: full disks, failing syncs, large rows, many runs, other boots.
//!
//! A disk that takes no further log file is played by folders that stand where a writer makes its next files. What is
//! there already, and everything else in the lake, goes on as ever.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{FromRawFd as _, IntoRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use runlake_engine::{Filter, Lake, LakeOptions, Run, State};
use serde_json::json;

use crate::points;

/// A lake that flushes only where it must, with so much memory for a full disk.
fn lake(spill_bytes: u64) -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = options(spill_bytes).open(folder.path().join("runs.lake")).unwrap();
    (folder, lake)
}

fn options(spill_bytes: u64) -> LakeOptions {
    let mut options = LakeOptions::default();
    (options.create, options.spill_bytes) = (true, spill_bytes);
    (options.flush_after_bytes, options.flush_after_ms) = (u64::MAX, u64::MAX >> 1);
    options
}

/// The folder of the one writer.
fn writer(lake: &Path) -> PathBuf {
    let mut folders: Vec<_> =
        fs::read_dir(lake.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "one writer has a folder");
    folders.remove(0)
}

/// While it lives, the disk takes no further log file of this writer.
struct FullDisk(Vec<PathBuf>);

impl FullDisk {
    fn of(writer: &Path) -> Self {
        let full = Self::left_by(writer);
        for path in &full.0 {
            // A file that is being made at this moment is let through.
            wait_until("no file is being made", || fs::create_dir(path).is_ok());
        }
        full
    }

    /// What a process that was killed left in the way.
    fn left_by(writer: &Path) -> Self {
        Self((1..200).map(|at| writer.join(format!(".{at}.tmp"))).collect())
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| fs::remove_dir(path).unwrap());
    }
}

#[track_caller]
fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Logs 2,000 points of `metric`, a quarter of a block, with the steps that come next.
fn log_part(run: &Run, metric: &str) {
    run.log_many(run.metric(metric).unwrap(), None, None, &[0.5; 2000]).unwrap();
}

#[test]
fn a_full_disk_sends_rows_to_memory_also_where_the_next_file_would_be_larger_than_that() {
    // The writer's next file has 64 blocks, four times as much as may be kept in memory.
    let (_folder, lake) = lake(1 << 20);
    let reader = Lake::open(lake.path()).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    (0..30).for_each(|_| log_part(&run, "m"));
    let full = FullDisk::of(&writer(lake.path()));
    while run.dropped_rows() == 0 {
        log_part(&run, "m");
    }
    let kept = run.stats().points;
    assert!(points(&reader.snapshot().unwrap()).len() < kept as usize, "some wait in memory");
    drop(full);
    wait_until("rows in memory are flushed once the disk takes files again", || {
        points(&reader.snapshot().unwrap()).len() == kept as usize
    });
    log_part(&run, "m");
    let mut steps: Vec<i64> =
        points(&reader.snapshot().unwrap()).into_iter().map(|point| point.3).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len() as u64, kept + 2000, "each once");
}

/// Not a test of its own: what the child of the next one does.
#[test]
fn child_on_a_full_disk() {
    let Ok(path) = std::env::var("RUNLAKE_TEST_FULL_DISK") else { return };
    let lake = options(0).open(&path).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    log_part(&run, "m");
    let _full = FullDisk::of(&writer(lake.path()));
    while run.dropped_rows() < 10 * 2000 {
        log_part(&run, "m");
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "\ndropped {}", run.dropped_rows()).unwrap();
    out.flush().unwrap();
    // Until it is killed.
    thread::sleep(Duration::from_mins(10));
}

#[test]
fn rows_that_a_killed_run_dropped_are_counted_although_the_disk_is_full_to_the_end() {
    // In pwrite mode rows that wait in memory are flushed at once, and then no file is left that could say it.
    if !crate::logs_are_mapped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["log::child_on_a_full_disk", "--exact", "--nocapture", "--test-threads=1"])
        .env("RUNLAKE_TEST_FULL_DISK", &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let dropped: u64 = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("dropped ")?.parse().ok())
        .unwrap();
    let lake = Lake::open(&path).unwrap();
    let run = || lake.snapshot().unwrap().find_run("r").unwrap();
    wait_until("the count is there while the run goes on", || run().dropped_rows == dropped);
    assert_eq!(run().state, State::Running);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((run().state, run().dropped_rows), (State::Crashed, dropped));
    drop(FullDisk::left_by(&writer(&path)));
    lake.adopt(&mut |_, _| {}).unwrap();
    assert_eq!((run().state, run().dropped_rows), (State::Crashed, dropped), "after adoption");
}

#[test]
fn dropped_rows_are_counted_once_also_where_a_run_moves_to_another_writer() {
    if !crate::logs_are_mapped() {
        return;
    }
    let (_folder, lake) = lake(0);
    let reader = Lake::open(lake.path()).unwrap();
    let counted = || reader.snapshot().unwrap().find_run("r").unwrap().dropped_rows;
    let run = lake.run("p").id("r").start().unwrap();
    let drop_some = |folder: &Path| {
        let full = FullDisk::of(folder);
        let before = run.dropped_rows();
        while run.dropped_rows() < before + 3 * 2000 {
            log_part(&run, "m");
        }
        drop(full);
    };
    let first = writer(lake.path());
    drop_some(&first);
    wait_until("the first writer has said it", || counted() == run.dropped_rows());
    wait_until("the disk takes files again", || first.join("000002.log").exists());
    // An adopter takes the writer for dead: its lock is not the one that stands in the folder.
    fs::remove_file(first.join("LOCK")).unwrap();
    File::create(first.join("LOCK")).unwrap();
    reader.adopt(&mut |_, _| {}).unwrap();
    assert!(!first.exists());
    assert_eq!(counted(), run.dropped_rows());
    log_part(&run, "m");
    drop_some(&writer(lake.path()));
    wait_until("the second writer has said it", || counted() == run.dropped_rows());
    lake.flush().unwrap();
    let stats = run.finish(State::Finished).unwrap();
    assert_eq!(counted(), stats.dropped_rows);
    let kept = stats.points as usize;
    assert_eq!(points(&reader.snapshot().unwrap()).len(), kept);
}

#[test]
fn what_is_logged_after_a_row_of_several_blocks_comes_after_it() {
    let (_folder, lake) = lake(0);
    let run = lake.run("p").id("r").start().unwrap();
    let row: Vec<_> =
        (0..20_000).map(|at| (run.metric(&format!("m{at:05}")).unwrap(), 1.0)).collect();
    let first = row[0].0;
    // The thread has a block with room before the large row, and logs small rows after it.
    run.log(7, &[(first, 0.0)]).unwrap();
    for round in 0..3 {
        run.log(7, &row).unwrap();
        run.log(7, &[(first, f64::from(2 + round))]).unwrap();
    }
    let filter = Filter { metrics: Some(vec!["m00000".to_owned()]), ..Filter::default() };
    let values = || -> Vec<f64> {
        let seen = crate::points_of(&lake.snapshot().unwrap(), &filter);
        seen.iter().map(|point| f64::from_bits(point.4)).collect()
    };
    let last = || lake.snapshot().unwrap().series(&filter).unwrap()[0].last_value;
    let want = [0.0, 1.0, 2.0, 1.0, 3.0, 1.0, 4.0];
    assert_eq!((values().as_slice(), last()), (&want[..], 4.0));
    lake.flush().unwrap();
    assert_eq!((values().as_slice(), last()), (&want[..], 4.0), "flushed");
}

#[test]
fn a_reader_that_knows_a_prepared_file_sees_what_a_larger_one_in_its_place_holds() {
    if !crate::logs_are_mapped() {
        return;
    }
    let (_folder, lake) = lake(0);
    let reader = Lake::open(lake.path()).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    (0..10).for_each(|_| log_part(&run, "m"));
    let prepared = writer(lake.path()).join("000002.log");
    wait_until("the next file is prepared", || prepared.exists());
    reader.snapshot().unwrap();
    let text = "x".repeat(3 << 20);
    run.config("text", Some(json!(text))).unwrap();
    log_part(&run, "m");
    let snapshot = reader.snapshot().unwrap();
    assert_eq!(snapshot.find_run("r").unwrap().config["text"], json!(text));
    assert_eq!(points(&snapshot).len(), 11 * 2000);
    lake.flush().unwrap();
    let snapshot = reader.snapshot().unwrap();
    assert_eq!(snapshot.find_run("r").unwrap().config["text"], json!(text));
    assert_eq!(points(&snapshot).len(), 11 * 2000);
}

/// Lets descriptor `number` of this process stand for `file`.
#[expect(unsafe_code, reason = "a descriptor of the engine has no owner here")]
fn redirect(number: i32, file: &File) {
    // SAFETY: the descriptor is open, held by the engine's log file, and is given back by `into_raw_fd` below.
    let mut fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::dup2(file, &mut fd).unwrap();
    assert_eq!(fd.into_raw_fd(), number);
}

#[test]
fn a_file_that_failed_a_sync_gets_no_further_row_and_no_sync_succeeds_before_its_rows_are_flushed()
{
    if !crate::logs_are_mapped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(0);
    options.sync_every_ms = 3_600_000;
    let lake = options.open(folder.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    run.log_named(0, &[("a", 0.0)]).unwrap();
    lake.sync().unwrap();
    run.log_named(1, &[("a", 1.0)]).unwrap();
    // No flush succeeds while a file stands where the tables belong.
    let tables = lake.path().join("tables");
    fs::write(&tables, "").unwrap();
    let path = writer(lake.path()).join("000001.log");
    let synced = path.with_extension("synced");
    let number = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|fd| fs::read_link(fd).is_ok_and(|file| file == synced))
        .and_then(|fd| fd.file_name()?.to_str()?.parse().ok())
        .unwrap();
    // A device that cannot be synced stands in for a disk that fails, once.
    let sound = File::options().read(true).write(true).open(&synced).unwrap();
    redirect(number, &File::options().write(true).open("/dev/zero").unwrap());
    let failed = lake.sync().unwrap_err().to_string();
    redirect(number, &sound);
    // How many bytes are published in each of its four blocks.
    let published = || {
        let bytes = fs::read(&path).unwrap();
        [0, 1, 2, 3]
            .map(|block| u32::from_le_bytes(bytes[4096 + 128 * block..][..4].try_into().unwrap()))
    };
    let before = published();
    run.log_named(2, &[("a", 2.0)]).unwrap();
    assert_eq!(published(), before, "rows go on into another file");
    assert_eq!(lake.sync().unwrap_err().to_string(), failed);
    run.log_named(3, &[("a", 3.0)]).unwrap();
    assert_eq!(lake.sync().unwrap_err().to_string(), failed);
    fs::remove_file(&tables).unwrap();
    wait_until("a flush makes the rows durable, by itself", || lake.sync().is_ok());
    wait_until("the file that failed goes away", || !path.exists());
    let snapshot = lake.snapshot().unwrap();
    let mut steps: Vec<i64> = points(&snapshot).iter().map(|point| point.3).collect();
    steps.sort_unstable();
    assert_eq!((steps, snapshot.problems()), (vec![0, 1, 2, 3], &[][..]));
}

#[test]
fn a_resumed_run_goes_on_where_it_was_however_many_runs_its_process_had() {
    let (folder, lake) = lake(0);
    let runs: Vec<_> =
        (0..300).map(|at| lake.run("p").id(&format!("r{at}")).start().unwrap()).collect();
    for (run, step) in runs.iter().zip(0..) {
        run.log_named(step, &[("a", 0.5)]).unwrap();
    }
    // The next file begins without a run; two of the last come first there.
    lake.flush().unwrap();
    for at in [250, 299] {
        runs[at].log_named(1000 + at as i64, &[("a", 0.5)]).unwrap();
    }
    drop((runs, lake));
    let lake = Lake::open(folder.path().join("runs.lake")).unwrap();
    for (id, next) in [("r250", 1251), ("r299", 1300), ("r7", 8), ("r249", 250)] {
        let run = lake.run("p").id(id).start().unwrap();
        run.log_named(None, &[("b", 0.5)]).unwrap();
        let filter = Filter {
            runs: Some(vec![id.to_owned()]),
            metrics: Some(vec!["b".to_owned()]),
            ..Filter::default()
        };
        let seen = crate::points_of(&lake.snapshot().unwrap(), &filter);
        assert_eq!(seen.iter().map(|point| point.3).collect::<Vec<_>>(), [next], "{id}");
    }
}

#[test]
fn rows_of_a_writer_of_another_boot_are_seen_as_they_come() {
    let (_folder, lake) = lake(0);
    let run = lake.run("p").id("r").start().unwrap();
    run.log_named(0, &[("a", 0.0)]).unwrap();
    lake.snapshot().unwrap();
    let path = writer(lake.path()).join("000001.log");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut header = [0; 112];
    file.read_exact_at(&mut header, 0).unwrap();
    header[72..108].copy_from_slice(b"00000000-0000-0000-0000-000000000000");
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&crc32c::crc32c(&header).to_le_bytes(), 112).unwrap();
    let reader = Lake::open(lake.path()).unwrap();
    let text = "x".repeat(70_000);
    let check = |points_there: usize, text_there: bool| {
        let snapshot = reader.snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0]);
        let mut seen = points(&snapshot);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), points_there);
        assert_eq!(snapshot.tail().iter().map(|part| part.len()).sum::<usize>(), points_there);
        let config = &snapshot.find_run("r").unwrap().config;
        assert_eq!(config.get("text"), text_there.then(|| json!(text)).as_ref());
    };
    check(1, false);
    // Through the writer's first block, a fact of two blocks, what it leaves of them, and the last block.
    for round in 1..=8 {
        if round == 4 {
            run.config("text", Some(json!(text))).unwrap();
        }
        check(1 + (round - 1) * 2001, round >= 4);
        run.log_named(round as i64 * 10_000, &[("a", 0.0)]).unwrap();
        log_part(&run, "part");
        check(1 + round * 2001, round >= 4);
        check(1 + round * 2001, round >= 4);
    }
}

#[test]
fn a_dead_writers_folder_without_log_files_goes_also_where_nothing_was_ever_committed() {
    let (_folder, lake) = lake(0);
    let logs = lake.path().join("log");
    let (locked, bare) = (
        logs.join("019e6a3f-7c1d-7b52-8f0e-5d0c6a1b2c3d"),
        logs.join("019e6a3f-7c1d-7b52-8f0e-5d0c6a1b2c3e"),
    );
    fs::create_dir_all(&locked).unwrap();
    fs::create_dir_all(&bare).unwrap();
    File::create(locked.join("LOCK")).unwrap();
    assert_eq!(lake.adopt(&mut |_, _| {}).unwrap().adopted, 1);
    assert!(!locked.exists() && !bare.exists());
}

#[test]
fn folders_of_writers_that_were_killed_while_they_were_made_go_once_they_are_old() {
    let (_folder, lake) = lake(0);
    let logs = lake.path().join("log");
    let half_made = |name: &str, age: Duration| {
        let folder = logs.join(name);
        fs::create_dir_all(&folder).unwrap();
        let lock = File::create(folder.join("LOCK")).unwrap();
        fs::write(folder.join("owner.json"), "{").unwrap();
        File::open(&folder).unwrap().set_modified(SystemTime::now() - age).unwrap();
        (folder, lock)
    };
    let day = Duration::from_hours(24);
    let (old, _) = half_made(".019e6a3f-7c1d-7b52-8f0e-5d0c6a1b2c3a.tmp", day);
    let (young, _) = half_made(".019e6a3f-7c1d-7b52-8f0e-5d0c6a1b2c3b.tmp", Duration::ZERO);
    let (held, lock) = half_made(".019e6a3f-7c1d-7b52-8f0e-5d0c6a1b2c3c.tmp", day);
    lock.try_lock().unwrap();
    lake.adopt(&mut |_, _| {}).unwrap();
    assert_eq!((old.exists(), young.exists(), held.exists()), (false, true, true));
}
