//! What `Run::log` costs, beside a bare loop that reads the clock once a row and stores the same bytes into warm memory.
//!
//! ```sh
//! cargo bench -p runlake-benches --bench log
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use runlake_benches::{Delays, Side, compare};
use runlake_engine::{Filter, Lake, LakeOptions, MetricId, Run, State};

/// The bytes in front of the points of a row, as in the log.
const ROW_HEADER: usize = 40;
/// What a bare loop writes to, round and round: more than caches hold.
const WARM_BYTES: usize = 64 << 20;

fn main() {
    println!(
        "Rows of 10 points; the lake checksums them, and prepares and changes files meanwhile."
    );
    for threads in [1, 2] {
        rows(threads, 10, 1_000_000);
    }
    rows(1, 1, 4_000_000);
    paced();
}

/// Rows as fast as they go.
fn rows(threads: usize, points: usize, each: i64) {
    let mut warm: Vec<Vec<u8>> = (0..threads).map(|_| vec![1_u8; WARM_BYTES]).collect();
    let title = format!("{threads} threads, rows of {points}, {each} rows each");
    let bare = Side::new("bare: clock and stores", || {
        let start = Barrier::new(threads + 1);
        thread::scope(|scope| {
            for warm in &mut warm {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    bare_loop(warm, points, each);
                });
            }
            start.wait();
            Instant::now()
        })
        .elapsed()
    });
    let lake = Side::new("lake: run.log", || {
        let folder = tempfile::tempdir().expect("a folder");
        let (lake, run) = start(folder.path(), u64::MAX);
        let metrics = metrics(&run, points);
        let start = Barrier::new(threads + 1);
        let began = thread::scope(|scope| {
            for _ in 0..threads {
                let (start, run, metrics) = (&start, &run, &metrics);
                scope.spawn(move || {
                    start.wait();
                    log_loop(run, metrics, each);
                });
            }
            start.wait();
            Instant::now()
        });
        let took = began.elapsed();
        check(&lake, threads as u64 * each.unsigned_abs() * points as u64);
        took
    });
    compare(&title, each.unsigned_abs(), 5, &mut [bare, lake]);
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
    let snapshot = lake.snapshot().expect("a snapshot");
    assert!(snapshot.problems().is_empty(), "{:?}", snapshot.problems());
    let series = snapshot.series(&Filter::default()).expect("the series");
    assert_eq!(series.iter().map(|series| series.count).sum::<u64>(), points);
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
    let bytes = ROW_HEADER + (points * 4).next_multiple_of(8) + points * 8;
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
    header[8..24].fill(0);
    header[24..32].copy_from_slice(&step.to_le_bytes());
    header[32..40].copy_from_slice(&now.as_micros().to_le_bytes()[..8]);
    let (ids, values) = payload.split_at_mut((row.len() * 4).next_multiple_of(8));
    for ((metric, value), (id, place)) in
        row.iter().zip(ids.chunks_exact_mut(4).zip(values.chunks_exact_mut(8)))
    {
        id.copy_from_slice(&metric.to_le_bytes());
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Rows at a steady pace, each measured from when it was due, while the lake syncs and flushes.
fn paced() {
    const ROWS_A_SECOND: u32 = 10_000;
    const SECONDS: u32 = 10;
    println!(
        "\n{ROWS_A_SECOND} rows of 10 a second for {SECONDS} s, from when each was due; syncs every 0.1 s, flushes every 2 MiB"
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
    let mut warm = vec![1_u8; WARM_BYTES];
    let mut bare: Vec<(u32, f64)> = (0..10).map(|metric| (metric, 0.0)).collect();
    pace(Box::new(|step| {
        bare[0].1 = step as f64;
        let at = usize::try_from(step).unwrap_or_default() * 160 % (WARM_BYTES - 160);
        store(&mut warm[at..at + 160], step, &bare);
    }))
    .print("bare: clock and stores");

    let folder = tempfile::tempdir().expect("a folder");
    let mut options = LakeOptions::default();
    options.create = true;
    options.sync_every_ms = 100;
    options.flush_after_bytes = 2 << 20;
    let lake = options.open(folder.path().join("runs.lake")).expect("a lake");
    let run = lake.run("bench").start().expect("a run");
    let mut row: Vec<_> = metrics(&run, 10).into_iter().map(|metric| (metric, 0.0)).collect();
    pace(Box::new(|step| {
        row[0].1 = step as f64;
        run.log(step, &row).expect("rows are kept");
    }))
    .print("lake: run.log");
    let stats = run.finish(State::Finished).expect("the end");
    assert_eq!(stats.rows, u64::from(ROWS_A_SECOND * SECONDS));
    check(&lake, stats.points);
}
