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
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use runlake_benches::{at_least, at_most, ending, median};
use runlake_engine::{Filter, Lake, LakeOptions, MetricId, Run, State};

const METRICS: usize = 10;
const PARTS: u64 = 10;
/// Log that may wait for its flush.
const WAITING_BYTES: u64 = 256 << 20;
/// What the lake may take on disk, its log included.
const DISK_BYTES: u64 = 2 << 30;
/// How many points the other writer writes.
const ALONE_POINTS: usize = 8 << 20;
/// The argument that makes this program the other writer.
const ALONE: &str = "--parquet-alone";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == ALONE) {
        println!("{}", parquet_alone(Path::new(&arguments[at + 1])));
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
    let watch = Watch::default();
    let (mut rates, mut ratios, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    thread::scope(|scope| {
        scope.spawn(|| watch.run(&path));
        for part in 0..PARTS {
            let began = Instant::now();
            let steps = part * rows_of_a_part..(part + 1) * rows_of_a_part;
            log_rows(&lake, &run, &metrics, steps);
            lake.flush().expect("a flush");
            let part_took = began.elapsed();
            took += part_took;
            let rate = points_of_a_part as f64 / part_took.as_secs_f64() / 1e6;
            rest();
            let alone = alone(&path);
            println!(
                "  part {part}: {rate:>6.2} M points/s; the Parquet writer alone {alone:>6.2}"
            );
            rates.push(rate);
            ratios.push(rate / alone * 100.0);
        }
        // ORDERING: Relaxed, the flag stands alone.
        watch.done.store(true, Ordering::Relaxed);
    });
    check(&lake, rows_of_a_part * PARTS);
    run.finish(State::Finished).expect("the end");
    let all = (points_of_a_part * PARTS) as f64 / took.as_secs_f64() / 1e6;
    // ORDERING: Relaxed, lone numbers.
    let (memory, disk) = (watch.memory.load(Ordering::Relaxed), watch.disk.load(Ordering::Relaxed));
    at_least("all points", all, "M/s", 12.0);
    at_least("of the Parquet writer alone", median(ratios), "%", 50.0);
    at_most("anonymous memory at its peak", memory as f64 / f64::from(1 << 20), "MiB", 512.0);
    at_most(
        "the lake and its log on disk",
        disk as f64 / f64::from(1 << 20),
        "MiB",
        (DISK_BYTES >> 20) as f64,
    );
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

/// What is logged: noisy losses in single precision, shares of a batch, a schedule, an epoch, a decimal.
#[expect(clippy::cast_possible_truncation, reason = "losses come in single precision")]
fn value_of(step: u64, metric: usize) -> f64 {
    let mut noise = (step * METRICS as u64 + metric as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    noise ^= noise >> 32;
    let noise = noise.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40;
    let share = noise as f64 / f64::from(1 << 24);
    let decay = 1.0 / (1.0 + step as f64 * 1e-6);
    match metric {
        0..5 => f64::from((decay * (metric as f64 + 1.0) + share * 0.1) as f32),
        5 | 6 => ((1.0 - decay + share * 0.1) * 256.0).floor() / 256.0,
        7 => 1e-3 * decay,
        8 => (step / 10_000) as f64,
        _ => ((share * 400.0 + 1200.0) * 10.0).round() / 10.0,
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

/// The most that the process and the lake took.
#[derive(Default)]
struct Watch {
    done: AtomicBool,
    memory: AtomicU64,
    disk: AtomicU64,
}

impl Watch {
    fn run(&self, lake: &Path) {
        // ORDERING: Relaxed throughout, lone numbers.
        for look in 0_u64.. {
            self.memory.fetch_max(anonymous_bytes(), Ordering::Relaxed);
            if look % 10 == 0 {
                self.disk.fetch_max(bytes_in(lake), Ordering::Relaxed);
            }
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
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

/// What the process has of memory that is no file's.
fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).map_or(0, |kb: u64| kb << 10)
}

/// What the files below a folder take; one that goes meanwhile takes nothing.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => bytes_in(&entry.path()),
            Ok(about) => about.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// M points/s of the other writer, which is another process, so that its memory is not counted.
fn alone(lake: &Path) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(ALONE).arg(lake).output().expect("the other writer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("M points/s")
}

/// Writes points of the lake again, sorted as they are, and returns how many M a second.
fn parquet_alone(lake: &Path) -> f64 {
    let snapshot = Lake::open(lake).and_then(|lake| lake.snapshot()).expect("a snapshot");
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in snapshot.scan(&Filter::default()).expect("a scan") {
        let batch = batch.expect("points");
        rows += batch.num_rows();
        batches.push(batch);
        if rows >= ALONE_POINTS {
            break;
        }
    }
    let schema = batches.first().expect("points").schema();
    let column = |name: &str| ColumnPath::from(name);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_dictionary_enabled(column("step"), false)
        .set_column_encoding(column("step"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column("time"), false)
        .set_column_encoding(column("time"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_dictionary_enabled(column("value"), false)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .build();
    let file = tempfile::tempfile().expect("a file");
    let began = Instant::now();
    let synced: File = file.try_clone().expect("the same file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    for batch in &batches {
        writer.write(batch).expect("rows are written");
    }
    let written = writer.close().expect("a footer");
    synced.sync_data().expect("a sync");
    let took = began.elapsed();
    assert_eq!(written.file_metadata().num_rows().cast_unsigned(), rows as u64);
    rows as f64 / took.as_secs_f64() / 1e6
}
