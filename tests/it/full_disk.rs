//! A full disk: training goes on, what is not kept is counted, and what is kept is read.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use runlake_engine::{Lake, LakeOptions, State};
use runlake_query::Session;
use runlake_tests::answer::{Cell, ask};

use crate::child;

/// Rows in memory while the disk is full.
const SPILL_BYTES: u64 = 600 << 10;

/// What a child does whose disk holds 4 MiB: it trains, the disk fills, it trains on, there is room again, it ends.
pub(crate) fn train(disk: &Path) {
    let mut options = LakeOptions::default();
    (options.create, options.spill_bytes) = (true, SPILL_BYTES);
    let lake = options.open(disk.join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metrics = ["loss", "acc"].map(|name| run.metric(name).unwrap());
    let mut logged = 0_i64;
    let mut log = |rows: i64| {
        for _ in 0..rows {
            run.log(logged, &metrics.map(|metric| (metric, logged as f64))).unwrap();
            logged += 1;
        }
    };
    log(1000);
    assert_eq!(run.stats().dropped_rows, 0);

    let ballast = disk.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    // What is prepared and what fits into memory is kept; then rows are dropped, and every call returns.
    let deadline = Instant::now() + Duration::from_mins(1);
    while run.stats().dropped_rows < 5000 {
        log(1000);
        assert!(Instant::now() < deadline, "the disk is full, and nothing is dropped");
    }
    let full = run.stats();
    drop(file);

    fs::remove_file(&ballast).unwrap();
    while run.stats().rows == full.rows {
        log(10);
        assert!(Instant::now() < deadline, "there is room, and nothing is kept");
        std::thread::yield_now();
    }
    let before = run.stats();
    log(1000);
    assert_eq!(run.stats().dropped_rows, before.dropped_rows, "there is room");
    let stats = run.finish_with_code(State::Finished, 0).unwrap();
    assert_eq!(
        stats.rows + stats.dropped_rows,
        logged.cast_unsigned(),
        "every row is kept or counted"
    );
    lake.flush().unwrap();
    drop((run, lake));

    let session = Session::new(Lake::open(disk.join("runs.lake")).unwrap());
    assert_eq!(session.lake().snapshot().unwrap().problems(), [""; 0]);
    let (_, rows) =
        ask(&session, "select metric, step, value from points order by metric, step").unwrap();
    assert_eq!(rows.len() as u64, 2 * stats.rows, "every row that is kept is read");
    assert!(rows.is_sorted_by(|a, b| a < b), "once");
    for row in &rows {
        let [_, Cell::Integer(step), value] = row.as_slice() else { panic!("{row:?}") };
        assert_eq!(*value, Cell::value(*step as f64));
    }
    let run =
        ask(&session, "select dropped_rows, state, exit_code, last_step from runs").unwrap().1;
    let expected = [
        Cell::Integer(stats.dropped_rows.cast_signed()),
        Cell::text("finished"),
        Cell::Integer(0),
        Cell::Integer(logged - 1),
    ];
    assert_eq!(run, [expected]);
}

#[test]
fn a_full_disk_stops_no_training_and_every_row_is_kept_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let command = child::command("full disk", folder.path());
    let mount = "mount -t tmpfs -o size=4m runlake-test \"$0\"";
    let Some(mut command) = child::with_mount(&command, mount, folder.path()) else {
        println!("skipped: this system lets nobody mount a small disk");
        return;
    };
    child::finish(command.spawn().unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "only the child saw its disk");
}
