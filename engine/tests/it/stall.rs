//! What a disk that is full, refuses or stands still does to a program that logs: nothing but what is counted. And what a
//! writer does that others take for dead while it lives.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use runlake_engine::{Lake, LakeOptions, LogMode, State};
use rustix::process::Signal;

use crate::{
    kills::{THREADS, Victim, care, check, lake_in},
    points,
};

const MODES: [LogMode; 2] = [LogMode::Mapped, LogMode::Pwrite];

/// A filesystem of its own, in a file that is mounted: it can be filled and frozen. Unmounted when dropped.
struct Image {
    folder: tempfile::TempDir,
}

impl Image {
    /// None where images cannot be mounted; says so.
    #[expect(clippy::print_stdout, reason = "what is skipped is said")]
    fn new(kind: &str, bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let mounted = folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let works = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        let [image, mounted] = [&image, &mounted].map(|path| path.to_str().unwrap());
        let made = works(&format!("mkfs.{kind}"), &["-q", image])
            && works("mount", &["-o", "loop", image, mounted]);
        if !made {
            println!("skipped: no image of {kind} can be mounted here");
        }
        made.then_some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// From here on every write fails, as on a disk that has gone.
    fn abort(&self) {
        let mut mount = Command::new("mount");
        let output = mount.args(["-o", "remount,abort"]).arg(self.path()).output();
        assert!(output.unwrap().status.success());
    }

    /// As it stands on disk, once the system starts again.
    fn mount_again(&self) {
        let mut umount = Command::new("umount");
        assert!(umount.arg("--lazy").arg(self.path()).output().unwrap().status.success());
        let mut mount = Command::new("mount");
        let image = self.folder.path().join("image");
        let output = mount.args(["-o", "loop"]).arg(image).arg(self.path()).output();
        assert!(output.unwrap().status.success());
    }

    fn freeze(&self, on: bool) {
        let output = Command::new("fsfreeze")
            .args([if on { "--freeze" } else { "--unfreeze" }])
            .arg(self.path())
            .output();
        assert!(output.unwrap().status.success());
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _not_frozen = Command::new("fsfreeze").arg("--unfreeze").arg(self.path()).output();
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).output();
        assert!(unmounted.unwrap().status.success());
    }
}

fn options(mode: LogMode) -> LakeOptions {
    let mut options = LakeOptions::default();
    (options.create, options.log_mode, options.spill_bytes) = (true, mode, 1 << 20);
    options
}

/// How often each step is there.
fn assert_each_once(lake: &Lake, rows: u64) {
    let snapshot = lake.snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0]);
    let mut steps: Vec<i64> = points(&snapshot).into_iter().map(|point| point.3).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len() as u64, rows, "kept and there");
    assert_eq!(points(&snapshot).len() as u64, rows, "each once");
}

/// Logs into a folder in which there is no more room after a while, until rows are dropped, and on once there is room
/// again. What the system says where there is none.
fn log_without_room(mode: LogMode, folder: &Path, make_room: impl FnOnce()) -> ErrorKind {
    let lake = options(mode).open(folder.join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    let logged = Cell::new(0);
    let log = |rows: i64| {
        for step in logged.get()..logged.get() + rows {
            run.log(step, &[(metric, 0.5)]).unwrap();
        }
        logged.set(logged.get() + rows);
    };
    log(1000);
    let mut ballast = File::create(folder.join("ballast")).unwrap();
    let refused = loop {
        if let Err(error) = ballast.write_all(&[1; 4096]) {
            break error.kind();
        }
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while run.dropped_rows() == 0 {
        assert!(Instant::now() < deadline, "{mode:?}: memory is never full");
        log(1000);
    }
    log(1000);
    drop(ballast);
    make_room();
    let is_kept = || {
        let before = run.dropped_rows();
        log(1);
        run.dropped_rows() == before
    };
    while !is_kept() {
        assert!(Instant::now() < deadline, "{mode:?}: rows are dropped although there is room");
        thread::sleep(Duration::from_millis(1));
    }
    log(1000);
    let stats = run.finish(State::Finished).unwrap();
    assert_eq!(stats.rows + stats.dropped_rows, logged.get().cast_unsigned());
    drop((run, lake));
    let lake = Lake::open(folder.join("runs.lake")).unwrap();
    assert_each_once(&lake, stats.rows);
    let run = lake.snapshot().unwrap().find_run("r").unwrap();
    assert_eq!((run.state, run.dropped_rows), (State::Finished, stats.dropped_rows));
    refused
}

#[test]
fn a_disk_that_is_full_for_a_while_ends_with_every_row_kept_or_counted() {
    for mode in MODES {
        let Some(image) = Image::new("ext4", 32 << 20) else { return };
        let make_room = || fs::remove_file(image.path().join("ballast")).unwrap();
        let refused = log_without_room(mode, &image.path(), make_room);
        assert_eq!(refused, ErrorKind::StorageFull);
    }
}

#[test]
fn a_quota_that_is_used_up_for_a_while_ends_with_every_row_kept_or_counted() {
    // A filesystem that has quotas of its own: those of users want a kernel that was built for them. It is no place for
    // mappings; how a quota meets those is tried in `lake::faults`.
    let Some(image) = Image::new("btrfs", 128 << 20) else { return };
    let limited = image.path().join("limited");
    let limited = limited.to_str().unwrap();
    let btrfs = |args: &[&str]| {
        let output = Command::new("btrfs").args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    btrfs(&["quota", "enable", image.path().to_str().unwrap()]).unwrap();
    btrfs(&["subvolume", "create", limited]).unwrap();
    btrfs(&["qgroup", "limit", "16M", limited]).unwrap();
    let make_room = || {
        // To lift a limit needs room itself, which the filesystem gives back by and by.
        let deadline = Instant::now() + Duration::from_mins(1);
        while let Err(said) = btrfs(&["qgroup", "limit", "64M", limited]) {
            assert!(Instant::now() < deadline, "{said}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    let refused = log_without_room(LogMode::Pwrite, Path::new(limited), make_room);
    assert_eq!(refused, ErrorKind::QuotaExceeded);
}

#[test]
fn a_filesystem_that_is_frozen_for_a_while_loses_nothing_and_pwrite_mode_bounds_the_wait() {
    let frozen = Duration::from_secs(3);
    for mode in MODES {
        let Some(image) = Image::new("ext4", 64 << 20) else { return };
        let lake = options(mode).open(image.path().join("runs.lake")).unwrap();
        let run = lake.run("p").id("r").start().unwrap();
        let metric = run.metric("m").unwrap();
        // Files, and what is in the cache of the system, are there before.
        lake.sync().unwrap();
        let (longest, logged) = thread::scope(|scope| {
            let logger = scope.spawn(|| {
                let (mut longest, mut step) = (Duration::ZERO, 0);
                let started = Instant::now();
                while started.elapsed() < frozen * 2 {
                    let before = Instant::now();
                    run.log(step, &[(metric, 0.5)]).unwrap();
                    longest = longest.max(before.elapsed());
                    step += 1;
                    // A training with steps of 0.1 ms.
                    while before.elapsed() < Duration::from_micros(100) {
                        std::hint::spin_loop();
                    }
                }
                (longest, step)
            });
            thread::sleep(frozen / 4);
            image.freeze(true);
            thread::sleep(frozen);
            image.freeze(false);
            logger.join().unwrap()
        });
        let stats = run.finish(State::Finished).unwrap();
        println!(
            "{mode:?}: frozen for {frozen:?}; {logged} rows, {} dropped; the longest log() took {longest:?}",
            stats.dropped_rows
        );
        if mode == LogMode::Pwrite {
            assert!(longest < frozen * 3 / 4, "log() waited for {longest:?}");
        }
        assert_eq!(stats.rows + stats.dropped_rows, logged.cast_unsigned());
        assert_each_once(&lake, stats.rows);
        drop((run, lake));
    }
}

#[test]
fn a_filesystem_that_cannot_reserve_room_is_mapped_all_the_same() {
    // Files of ext3 have no extents to reserve.
    let Some(image) = Image::new("ext3", 16 << 20) else { return };
    let lake = options(LogMode::Mapped).open(image.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let logged = 20_000;
    for step in 0..logged {
        run.log_named(step, &[("m", 0.5)]).unwrap();
    }
    assert!(lake.health().unwrap().logs_are_mapped);
    assert_eq!(run.finish(State::Finished).unwrap().rows, logged.cast_unsigned());
    assert_each_once(&lake, logged.cast_unsigned());
}

#[test]
fn a_disk_that_fails_in_pwrite_mode_stops_no_training_and_keeps_what_was_synced() {
    let Some(image) = Image::new("ext4", 32 << 20) else { return };
    let lake = options(LogMode::Pwrite).open(image.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    let log = |steps: std::ops::Range<i64>| {
        for step in steps {
            run.log(step, &[(metric, 0.5)]).unwrap();
        }
    };
    log(0..1000);
    lake.sync().unwrap();
    image.abort();
    log(1000..2000);
    assert!(lake.sync().is_err(), "what is not written is not durable");
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut logged = 2000;
    while run.dropped_rows() == 0 {
        assert!(Instant::now() < deadline, "memory is never full");
        log(logged..logged + 1000);
        logged += 1000;
    }
    let stats = run.finish(State::Finished).unwrap();
    assert_eq!(stats.rows + stats.dropped_rows, logged.cast_unsigned());
    drop((run, lake));
    image.mount_again();
    let lake = Lake::open(image.path().join("runs.lake")).unwrap();
    let mut steps: Vec<i64> =
        points(&lake.snapshot().unwrap()).into_iter().map(|point| point.3).collect();
    steps.sort_unstable();
    let there = steps.len() as i64;
    assert!(there >= 1000 && steps.into_iter().eq(0..there), "{there} rows are there");
}

/// The folders of writers in a lake.
fn folders(lake: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(lake.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

/// Lets everybody take the writer of a folder for dead. Its lock is not the one that stands there, as on a filesystem
/// where locks do not reach other hosts; and in pwrite mode the writer is of another boot.
fn take_for_dead(folder: &Path) {
    let lock = folder.join("LOCK");
    fs::remove_file(&lock).unwrap();
    File::create(&lock).unwrap();
    if !crate::logs_are_mapped() {
        let owner = folder.join("owner.json");
        let mut said: serde_json::Value =
            serde_json::from_slice(&fs::read(&owner).unwrap()).unwrap();
        said["host"]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        fs::write(&owner, said.to_string()).unwrap();
    }
}

#[test]
fn a_writer_that_is_stopped_and_taken_for_dead_moves_on_when_it_continues() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lake) = lake_in(folder.path());
    let victim = Victim::start(&path, "r");
    let rounds = 10;
    for round in 0..rounds {
        victim.wait_for_more_than(victim.noted());
        victim.signal(Signal::STOP);
        // It may have been stopped while it made a folder, or left one.
        for folder in folders(&path).iter().filter(|folder| folder.join("LOCK").exists()) {
            take_for_dead(folder);
        }
        lake.adopt(&mut |_, _| {}).unwrap();
        check(&lake, "r", victim.noted(), "adopted while it is stopped");
        victim.signal(Signal::CONT);
        let noted: [i64; THREADS] = victim.noted();
        victim.wait_for_more_than(noted.map(|rows| rows + 50));
        let deadline = Instant::now() + Duration::from_mins(1);
        while lake.snapshot().unwrap().find_run("r").unwrap().state != State::Running {
            assert!(Instant::now() < deadline, "round {round}: it does not say that it lives");
            thread::sleep(Duration::from_millis(5));
        }
    }
    let (run_id, noted) = victim.kill();
    check(&lake, &run_id, noted, "killed");
    care(&lake);
    let seen = check(&lake, &run_id, noted, "taken in");
    println!("{rounds} times taken for dead: {seen} points, 0 lost, 0 twice");
}
