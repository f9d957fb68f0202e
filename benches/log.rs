//! What `Run::log` costs, beside a bare loop that reads the clock once a row and stores the same bytes into warm memory.
//!
//! ```sh
//! cargo bench -p runlake-benches --bench log [rows_of_ten | rows_of_one | paced]
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "values are small whole numbers, exact in single precision"
)]

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt as _,
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use memmap2::{Advice, MmapOptions};
use runlake_benches::{Delays, Side, at_least, at_most, compare, ending};
use runlake_engine::{Filter, Lake, LakeOptions, MetricId, Run, State};
use rustix::{
    fs::{FallocateFlags, fallocate},
    time::ClockId,
};

/// The bytes in front of the points of a row, as in the log.
const ROW_HEADER: usize = 32;
/// The largest log files.
const FILE_BYTES: usize = 64 << 20;
/// What a bare loop writes to, round and round: more than caches hold.
const WARM_BYTES: usize = 64 << 20;

fn main() -> ExitCode {
    println!(
        "The lake checksums rows, changes files as they fill, and prepares the next ones meanwhile."
    );
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let all: [(&str, fn()); 3] =
        [("rows_of_ten", rows_of_ten), ("rows_of_one", rows_of_one), ("paced", paced)];
    for (name, measure) in all {
        if wanted.as_ref().is_none_or(|wanted| wanted == name) {
            measure();
        }
    }
    ending()
}

/// Rows as fast as they go, on one thread and on two.
fn rows_of_ten() {
    const ROWS: i64 = 2_000_000;
    let turns = compare(
        &format!("Rows of 10, {ROWS} of each thread"),
        ROWS.unsigned_abs(),
        7,
        &mut [
            Side::new("bare, 1 thread: clock and stores", || bare(1, 10, ROWS)),
            Side::new("lake, 1 thread: run.log", || lake(1, 10, ROWS)),
            Side::new("bare, 2 threads", || bare(2, 10, ROWS)),
            Side::new("lake, 2 threads", || lake(2, 10, ROWS)),
            Side::new("the kernel: pages for as many, beside", || pages(2, 10, ROWS)),
        ],
    );
    turns.bar("1 thread, of the bare loop", 40.0, |times| times[0] / times[1]);
    turns.bar("2 threads, of the bare loop", 40.0, |times| times[2] / times[3]);
    turns.bar("2 threads for 1, of the bare loop's", 90.0, |times| {
        (times[1] / times[3]) / (times[0] / times[2])
    });
    // What one thread logs gets its pages from the core that is free; two threads have none. So this is how far scaling
    // goes where rows themselves scale without loss.
    turns.show("2 for 1, with pages as dear as they are", |times| {
        let without_loss = times[1] * times[2] / times[0];
        (without_loss / (without_loss + times[4] / 2.0)).min(1.0)
    });
}

fn rows_of_one() {
    const ROWS: i64 = 4_000_000;
    let turns = compare(
        &format!("Rows of 1, {ROWS}"),
        ROWS.unsigned_abs(),
        7,
        &mut [
            Side::new("bare: clock and stores", || bare(1, 1, ROWS)),
            Side::new("lake: run.log", || lake(1, 1, ROWS)),
        ],
    );
    turns.bar("of the bare loop", 40.0, |times| times[0] / times[1]);
    let each = turns.median(|times| times[1]) / ROWS as f64;
    at_least("lake: M rows/s a thread", 1e-6 / each, "M/s", 10.0);
}

/// How long `threads` take for `rows` rows each, without a lake.
fn bare(threads: usize, points: usize, rows: i64) -> Duration {
    let mut warm: Vec<Vec<u8>> = (0..threads).map(|_| vec![1_u8; WARM_BYTES]).collect();
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for warm in &mut warm {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                bare_loop(warm, points, rows);
            });
        }
        start.wait();
        Instant::now()
    })
    .elapsed()
}

/// How long the kernel works for the pages of a log of so many rows, the way the lake asks for them, while as many threads
/// store rows.
fn pages(threads: usize, points: usize, rows: i64) -> Duration {
    let bytes = threads * usize::try_from(rows).expect("a few rows") * row_bytes(points);
    let folder = tempfile::tempdir().expect("a folder");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut warm = vec![1_u8; WARM_BYTES];
                // ORDERING: Relaxed, the flag stands alone.
                while !done.load(Ordering::Relaxed) {
                    bare_loop(&mut warm, points, rows / 100);
                }
            });
        }
        let before = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        for (at, first) in (0..bytes).step_by(FILE_BYTES).enumerate() {
            let len = FILE_BYTES.min(bytes - first);
            let path = folder.path().join(at.to_string());
            let file = File::options().read(true).write(true).create_new(true).open(path);
            let file = file.expect("a file");
            fallocate(&file, FallocateFlags::empty(), 0, len as u64).expect("room");
            let zeros = vec![0; 256 << 10];
            for place in (0..len).step_by(zeros.len()) {
                let piece = &zeros[..zeros.len().min(len - place)];
                file.write_all_at(piece, place as u64).expect("zeros");
            }
            let map = MmapOptions::new().len(len).map_raw(&file).expect("a mapping");
            map.advise(Advice::PopulateWrite).expect("pages");
        }
        let took = rustix::time::clock_gettime(ClockId::ThreadCPUTime) - before;
        done.store(true, Ordering::Relaxed);
        Duration::try_from(took).expect("time goes on")
    })
}

/// How long `threads` take to log `rows` rows each.
fn lake(threads: usize, points: usize, rows: i64) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let (lake, run) = start(folder.path(), u64::MAX);
    let metrics = metrics(&run, points);
    let start = Barrier::new(threads + 1);
    let began = thread::scope(|scope| {
        for _ in 0..threads {
            let (start, run, metrics) = (&start, &run, &metrics);
            scope.spawn(move || {
                start.wait();
                log_loop(run, metrics, rows);
            });
        }
        start.wait();
        Instant::now()
    });
    let took = began.elapsed();
    assert_eq!(run.stats().dropped_rows, 0, "no file was ready in time, and memory was full");
    let logged = threads as u64 * rows.unsigned_abs() * points as u64;
    if count(&lake) < logged {
        // Where no file was ready in time, rows wait in memory, and are seen once they are flushed.
        println!("  (on a busy machine: {} points went to memory)", logged - count(&lake));
        lake.flush().expect("a flush");
    }
    check(&lake, logged);
    took
}

fn start(folder: &std::path::Path, flush_after_bytes: u64) -> (Lake, Run) {
    let mut options = LakeOptions::default();
    options.create = true;
    options.flush_after_bytes = flush_after_bytes;
    let lake = options.open(folder.join("runs.lake")).expect("a lake");
    let run = lake.run("bench").start().expect("a run");
    (lake, run)
}

fn metrics(run: &Run, points: usize) -> Vec<MetricId> {
    (0..points).map(|at| run.metric(&format!("metric/{at}")).expect("a metric")).collect()
}

/// Every point is there.
fn check(lake: &Lake, points: u64) {
    assert_eq!(count(lake), points);
}

fn count(lake: &Lake) -> u64 {
    let snapshot = lake.snapshot().expect("a snapshot");
    assert!(snapshot.problems().is_empty(), "{:?}", snapshot.problems());
    let series = snapshot.series(&Filter::default()).expect("the series");
    series.iter().map(|series| series.count).sum()
}

#[inline(never)]
fn log_loop(run: &Run, metrics: &[MetricId], rows: i64) {
    let mut row: Vec<(MetricId, f64)> = metrics.iter().map(|&metric| (metric, 0.0)).collect();
    for step in 0..rows {
        for (at, (_, value)) in row.iter_mut().enumerate() {
            *value = step as f64 + at as f64;
        }
        run.log(step, &row).expect("rows are kept");
    }
}

/// The same rows, without a lake: one reading of the clock and the same number of bytes stored a row.
#[inline(never)]
fn bare_loop(warm: &mut [u8], points: usize, rows: i64) {
    let bytes = row_bytes(points);
    let mut row: Vec<(u32, f64)> = (0..).take(points).map(|metric| (metric, 0.0)).collect();
    let mut at = 0;
    for step in 0..rows {
        for (place, (_, value)) in row.iter_mut().enumerate() {
            *value = step as f64 + place as f64;
        }
        if at + bytes > warm.len() {
            at = 0;
        }
        store(&mut warm[at..at + bytes], step, &row);
        at += bytes;
    }
    black_box(&warm);
}

fn store(out: &mut [u8], step: i64, row: &[(u32, f64)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (header, payload) = out.split_at_mut(ROW_HEADER);
    header[..8].copy_from_slice(&(row.len() as u64).to_le_bytes());
    header[8..16].fill(0);
    header[16..24].copy_from_slice(&step.to_le_bytes());
    header[24..32].copy_from_slice(&now.as_micros().to_le_bytes()[..8]);
    if row.len() == 1 {
        payload.copy_from_slice(&row[0].1.to_le_bytes());
    } else {
        for ((_, value), place) in row.iter().zip(payload.chunks_exact_mut(4)) {
            place.copy_from_slice(&(*value as f32).to_le_bytes());
        }
    }
}

/// The bytes of a row in a log whose rows are all alike and whose values fit into single precision.
fn row_bytes(points: usize) -> usize {
    ROW_HEADER + if points == 1 { 8 } else { (points * 4).next_multiple_of(8) }
}

/// Rows at a steady pace, each measured from when it was due, while the lake syncs as it does by default and flushes. A
/// lake that syncs ten times as often is shown beside it: there one row in a thousand meets a sync.
fn paced() {
    const ROWS_A_SECOND: u32 = 10_000;
    const SECONDS: u32 = 4;
    const ROUNDS: u32 = 3;
    println!(
        "\n{ROWS_A_SECOND} rows of 10 a second, {ROUNDS} x {SECONDS} s, from when each was due; flushes every 2 MiB"
    );
    let pace = |mut row: Box<dyn FnMut(i64) + '_>| {
        let mut delays = Delays::default();
        let begin = Instant::now();
        for at in 0..ROWS_A_SECOND * SECONDS {
            let due = begin + Duration::from_secs(1) * at / ROWS_A_SECOND;
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            row(i64::from(at));
            delays.push(due.elapsed());
        }
        delays
    };
    let pace_a_lake = |mut options: LakeOptions| {
        let folder = tempfile::tempdir().expect("a folder");
        options.create = true;
        options.flush_after_bytes = 2 << 20;
        let opened = options.open(folder.path().join("runs.lake")).expect("a lake");
        let run = opened.run("bench").start().expect("a run");
        let mut row: Vec<_> = metrics(&run, 10).into_iter().map(|metric| (metric, 0.0)).collect();
        let delays = pace(Box::new(|step| {
            row[0].1 = step as f64;
            run.log(step, &row).expect("rows are kept");
        }));
        let stats = run.finish(State::Finished).expect("the end");
        assert_eq!(stats.rows, u64::from(ROWS_A_SECOND * SECONDS));
        check(&opened, stats.points);
        delays
    };
    let [mut bare, mut lake, mut restless] = [(); 3].map(|()| Delays::default());
    for _ in 0..ROUNDS {
        let mut warm = vec![1_u8; WARM_BYTES];
        let mut row: Vec<(u32, f64)> = (0..10).map(|metric| (metric, 0.0)).collect();
        bare.append(&mut pace(Box::new(|step| {
            row[0].1 = step as f64;
            let bytes = row_bytes(10);
            let at = usize::try_from(step).unwrap_or_default() * bytes % (WARM_BYTES - bytes);
            store(&mut warm[at..at + bytes], step, &row);
        })));
        lake.append(&mut pace_a_lake(LakeOptions::default()));
        let mut often = LakeOptions::default();
        often.sync_every_ms = 100;
        restless.append(&mut pace_a_lake(often));
    }
    bare.print("bare: clock and stores");
    lake.print("lake: run.log");
    restless.print("lake that syncs every 0.1 s");
    at_most("p99.9 beyond the bare loop's", lake.at(0.999) - bare.at(0.999), "us", 10.0);
    at_most("max beyond the bare loop's", (lake.at(1.0) - bare.at(1.0)) / 1e3, "ms", 10.0);
}
