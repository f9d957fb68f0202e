//! From `Run::log` to committed Parquet, for as long as it takes to log 500 M points, beside the `parquet` crate alone.
//!
//! ```sh
//! cargo bench -p runlake-benches --bench sustained
//! ```
//!
//! One thread logs rows of ten metrics, each of a kind that training has, as fast as the lake takes them in: it waits
//! while more than [`WAITING_BYTES`] of log wait for their flush. Nothing is deleted: all points and what waits of the
//! log stand within [`DISK_BYTES`], which is watched. After each part, another process reads some of what was written
//! back and writes it again, sorted as it is, through `parquet::arrow::ArrowWriter` with the encodings and the
//! compression that segments have, and syncs it. `RUNLAKE_BENCH_POINTS` asks for fewer points.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::{
    fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use runlake_benches::{
    at_least, at_most, ending, median, metrics::value_of, parquet_alone, peak::Peak,
};
use runlake_engine::{Filter, Lake, LakeOptions, MetricId, Run, State};

const METRICS: usize = 10;
const PARTS: u64 = 10;
/// Log that may wait for its flush.
const WAITING_BYTES: u64 = 256 << 20;
/// What the lake may take on disk, its log included.
const DISK_BYTES: u64 = 2 << 30;

fn main() -> ExitCode {
    if parquet_alone::was_asked() {
        return ExitCode::SUCCESS;
    }
    let points = std::env::var("RUNLAKE_BENCH_POINTS").map_or(500_000_000, |text| {
        text.parse().expect("RUNLAKE_BENCH_POINTS is a number of points")
    });
    sustained(points / PARTS / METRICS as u64);
    ending()
}

fn sustained(rows_of_a_part: u64) {
    let points_of_a_part = rows_of_a_part * METRICS as u64;
    println!("{PARTS} parts of {points_of_a_part} points, from log() to committed Parquet");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.lake");
    let lake = open(&path);
    let run = lake.run("bench").start().expect("a run");
    let metrics: Vec<MetricId> =
        (0..METRICS).map(|at| run.metric(&format!("metric/{at}")).expect("a metric")).collect();
    let (mut rates, mut ratios, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    let ((), peak) = Peak::during(&path, || {
        for part in 0..PARTS {
            let began = Instant::now();
            let steps = part * rows_of_a_part..(part + 1) * rows_of_a_part;
            log_rows(&lake, &run, &metrics, steps);
            lake.flush().expect("a flush");
            let part_took = began.elapsed();
            took += part_took;
            let rate = points_of_a_part as f64 / part_took.as_secs_f64() / 1e6;
            rest();
            let alone = parquet_alone::speed(&path, 3).clock;
            println!(
                "  part {part}: {rate:>6.2} M points/s; the Parquet writer alone {alone:>6.2}"
            );
            rates.push(rate);
            ratios.push(rate / alone * 100.0);
        }
    });
    check(&lake, rows_of_a_part * PARTS);
    run.finish(State::Finished).expect("the end");
    let all = (points_of_a_part * PARTS) as f64 / took.as_secs_f64() / 1e6;
    at_least("all points", all, "M/s", 12.0);
    at_least("of the Parquet writer alone", median(ratios), "%", 50.0);
    at_most("anonymous memory at its peak", peak.memory_mib(), "MiB", 512.0);
    at_most("the lake and its log on disk", peak.disk_mib(), "MiB", (DISK_BYTES >> 20) as f64);
}

fn open(path: &Path) -> Lake {
    let mut options = LakeOptions::default();
    options.create = true;
    options.open(path).expect("a lake")
}

fn log_rows(lake: &Lake, run: &Run, metrics: &[MetricId], steps: std::ops::Range<u64>) {
    let mut row: Vec<(MetricId, f64)> = metrics.iter().map(|&metric| (metric, 0.0)).collect();
    for step in steps {
        for (at, (_, value)) in row.iter_mut().enumerate() {
            *value = value_of(step, at);
        }
        run.log(step.cast_signed(), &row).expect("rows are kept");
        if step % 1024 == 0 {
            while lake.metrics().tail_bytes > WAITING_BYTES {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Every point is there: how many each series has, and its last one.
fn check(lake: &Lake, rows: u64) {
    let snapshot = lake.snapshot().expect("a snapshot");
    assert!(snapshot.problems().is_empty(), "{:?}", snapshot.problems());
    let series = snapshot.series(&Filter::default()).expect("the series");
    assert_eq!(series.len(), METRICS);
    for (at, series) in series.iter().enumerate() {
        let last = (rows - 1, value_of(rows - 1, at));
        assert_eq!(series.count, rows);
        assert_eq!((series.last_step.cast_unsigned(), series.last_value), last);
    }
}

/// Waits until the threads of the lake rest, merges included, so that the other writer is alone.
fn rest() {
    let spent = || -> u64 {
        let tasks =
            fs::read_dir("/proc/self/task").expect("Linux").flatten().map(|task| task.path());
        let ours = tasks.filter(|task| {
            fs::read_to_string(task.join("comm"))
                .is_ok_and(|name| name.starts_with("runlake-flush"))
        });
        let spent = ours.filter_map(|task| {
            fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        });
        spent.sum()
    };
    let mut before = spent();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = spent();
        if now - before < 10_000_000 {
            return;
        }
        before = now;
    }
}
