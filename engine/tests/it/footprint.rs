//! What a run costs that does little: room on disk while it is open and after it, and reads at its start.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use runlake_engine::{Filter, Lake, LakeOptions, State};

use crate::points_of;

/// Inodes and bytes that are taken below a folder, the folder itself included.
fn footprint(folder: &Path) -> (u64, u64) {
    let metadata = fs::metadata(folder).unwrap();
    let mut sum = (1, metadata.blocks() * 512);
    if metadata.is_dir() {
        for entry in fs::read_dir(folder).unwrap() {
            let (inodes, bytes) = footprint(&entry.unwrap().path());
            sum = (sum.0 + inodes, sum.1 + bytes);
        }
    }
    sum
}

/// The one writer's folder in a lake.
fn writer(lake: &Path) -> std::path::PathBuf {
    fs::read_dir(lake.join("log")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_run_of_a_row_a_second_takes_2_mib_and_6_inodes_and_leaves_one_small_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = LakeOptions::default();
    (options.create, options.flush_after_ms) = (true, u64::MAX >> 1);
    let lake = options.open(folder.path().join("runs.lake")).unwrap();
    let path = lake.path().to_owned();
    let run = lake.run("p").id("r").start().unwrap();
    let most = |(inodes, bytes): (u64, u64), when: i64| {
        assert!(inodes <= 6 && bytes <= 2 << 20, "{inodes} inodes, {bytes} bytes after {when} s");
    };
    for second in 0..3600 {
        run.log_named(second, &[("loss", 0.5)]).unwrap();
        most(footprint(&writer(&path)), second);
        // A log is flushed when it is ten minutes old.
        if second % 600 == 599 {
            lake.flush().unwrap();
            most(footprint(&writer(&path)), second);
        }
    }
    run.log_named(3600, &[("loss", 0.5)]).unwrap();
    run.finish(State::Finished).unwrap();
    drop((run, lake));
    let (inodes, bytes) = footprint(&writer(&path));
    println!("a finished run leaves {inodes} inodes and {bytes} bytes");
    assert!(inodes <= 5 && bytes <= 300 << 10, "{inodes} inodes, {bytes} bytes");
    let names = fs::read_dir(writer(&path)).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".log")).count(), 1);
}

/// Bytes and calls of reads by this thread so far.
fn reads() -> (u64, u64) {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let field = |name| -> u64 {
        io.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    };
    (field("rchar: "), field("syscr: "))
}

/// What `work` reads.
fn reads_of<T>(work: impl FnOnce() -> T) -> (T, u64, u64) {
    let before = reads();
    let done = work();
    let after = reads();
    (done, after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_start_reads_nothing_of_what_there_is_and_a_resume_only_headers() {
    const DEAD: u64 = 100;
    const LOG_BYTES: u64 = 4 << 30;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    for at in 0..10_000 {
        let run = lake.run("p").id(&format!("run-{at:05}")).start().unwrap();
        run.log_named(0, &[("loss", 0.5)]).unwrap();
        run.finish(State::Finished).unwrap();
    }
    lake.flush().unwrap();
    drop(lake);
    let lake = Lake::open(&path).unwrap();
    let run = lake.run("p").id("old").start().unwrap();
    run.log_named(41, &[("loss", 0.5)]).unwrap();
    drop((run, lake));
    // A hundred writers that died like this one.
    let one = writer(&path);
    for _ in 1..DEAD {
        let id = uuid::Uuid::now_v7();
        let copy = path.join("log").join(id.to_string());
        fs::create_dir(&copy).unwrap();
        for name in ["LOCK", "BEAT", "owner.json", "000001.log"] {
            fs::copy(one.join(name), copy.join(name)).unwrap();
        }
        let log = File::options().read(true).write(true).open(copy.join("000001.log")).unwrap();
        log.write_all_at(id.as_bytes(), 56).unwrap();
        let mut header = [0; 112];
        log.read_exact_at(&mut header, 0).unwrap();
        log.write_all_at(&crc32c::crc32c(&header).to_le_bytes(), 112).unwrap();
        log.set_len(LOG_BYTES / DEAD).unwrap();
    }

    let (lake, bytes, calls) = reads_of(|| {
        let lake = Lake::open(&path).unwrap();
        let run = lake.run("p").start().unwrap();
        run.log_named(None, &[("loss", 0.5)]).unwrap();
        lake
    });
    println!("a start reads {bytes} bytes in {calls} calls");
    assert!(bytes <= 16 << 10 && calls <= 32, "{bytes} bytes, {calls} calls");

    let (run, bytes, calls) = reads_of(|| lake.run("p").id("old").start().unwrap());
    assert!(bytes <= 16 << 10 && calls <= 32, "{bytes} bytes, {calls} calls");
    let ((), read, calls) = reads_of(|| run.log_named(None, &[("next", 0.5)]).unwrap());
    println!("a resume reads {read} bytes in {calls} calls");
    // The header of each log, the catalog, and the index of the one segment that may have the run.
    assert!(read <= (DEAD + 1) * (16 << 10) + (2 << 20) && calls <= (DEAD + 1) * 4 + 64);
    let filter = Filter { metrics: Some(vec!["next".to_owned()]), ..Filter::default() };
    let seen = points_of(&lake.snapshot().unwrap(), &filter);
    assert_eq!(seen.iter().map(|point| point.3).collect::<Vec<_>>(), [42]);
}
