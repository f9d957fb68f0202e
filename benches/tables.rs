//! What tables cost: to flush a log, to merge segments, and to bring lakes into one, beside the `parquet` crate alone, which writes
//! the same points again.
//!
//! ```sh
//! cargo bench -p runlake-benches --bench tables
//! ```
//!
//! `apart`: each segment holds other runs, so that their series stand one behind the other. `together`: each holds a stretch of the
//! steps of the same runs, as a long run leaves them. `lakes`: a thousand lakes of a node each, brought into one. `RUNLAKE_BENCH_POINTS`
//! asks for fewer points than 21.6 M, which make segments as large as flushes do, `RUNLAKE_BENCH_PART` for one of the parts.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::{path::Path, process::ExitCode, thread};

use runlake_benches::{
    at_least, at_most, ending, median,
    metrics::value_of,
    parquet_alone,
    peak::Peak,
    speed::{Speed, Stopwatch},
};
use runlake_engine::{Filter, Lake, LakeOptions, MetricId, Run, State};

const METRICS: usize = 10;
/// Segments that are merged: one fewer than a writer would merge by itself.
const SEGMENTS: u64 = 15;
const RUNS: u64 = 8;
const LAKES: u64 = 1000;
/// Lakes that are filled at once.
const AT_ONCE: u64 = 16;
const FLUSHES: u64 = 5;

fn main() -> ExitCode {
    if parquet_alone::was_asked() {
        return ExitCode::SUCCESS;
    }
    let points: u64 = std::env::var("RUNLAKE_BENCH_POINTS").map_or(21_600_000, |text| {
        text.parse().expect("RUNLAKE_BENCH_POINTS is a number of points")
    });
    let part = std::env::var("RUNLAKE_BENCH_PART").ok();
    let is_asked = |name: &str| part.as_ref().is_none_or(|part| part == name);
    let steps = points / SEGMENTS / RUNS / METRICS as u64;
    if is_asked("flush") {
        flush(points / FLUSHES / METRICS as u64);
    }
    if is_asked("apart") {
        compaction("apart", SEGMENTS * RUNS, steps, |segment, run| (segment * RUNS + run, 0));
    }
    if is_asked("together") {
        compaction("together", RUNS, steps * SEGMENTS, |segment, run| (run, segment * steps));
    }
    if is_asked("lakes") {
        lakes(points / LAKES / METRICS as u64);
    }
    ending()
}

/// A lake that flushes when it is told to.
fn open(path: &Path) -> Lake {
    let mut options = LakeOptions::default();
    options.create = true;
    options.flush_after_bytes = u64::MAX;
    options.open(path).expect("a lake")
}

fn run(lake: &Lake, run: u64) -> Run {
    lake.run("bench").id(&format!("run-{run:04}")).launch("one").start().expect("a run")
}

/// Logs `steps` steps of a run, from `first` on.
fn log(run: &Run, first: u64, steps: u64) {
    let metric = |at| run.metric(&format!("metric/{at}")).expect("a metric");
    let mut row: Vec<(MetricId, f64)> = (0..METRICS).map(|at| (metric(at), 0.0)).collect();
    for step in first..first + steps {
        for (at, (_, value)) in row.iter_mut().enumerate() {
            *value = value_of(step, at);
        }
        run.log(step.cast_signed(), &row).expect("rows are kept");
    }
}

/// Flushes a log of so many steps, several times.
fn flush(steps: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.lake");
    let lake = open(&path);
    let run = run(&lake, 0);
    let (mut speeds, mut memory) = (Vec::new(), 0.0_f64);
    for round in 0..FLUSHES {
        log(&run, round * steps, steps);
        let watch = Stopwatch::start();
        let (flushed, peak) = Peak::during(&path, || lake.flush());
        flushed.expect("a flush");
        speeds.push(watch.speed(steps * METRICS as u64));
        memory = memory.max(peak.memory_mib());
    }
    let points = check(&lake, 1, steps * FLUSHES);
    println!("\nflush: {points} points, from the log to committed Parquet, on one core");
    let part = |of: fn(&Speed) -> f64| median(speeds.iter().map(of).collect());
    let speed = Speed { clock: part(|it| it.clock), core: part(|it| it.core) };
    let alone = parquet_alone::speed(&path, 3);
    say("flushed", speed, 12.0);
    say_alone(alone);
    at_least("of the Parquet writer alone", speed.core / alone.core * 100.0, "%", 50.0);
    at_most("anonymous memory at its peak", memory, "MiB", 512.0);
}

/// Merges segments; `place` says for each of them which runs it holds, and from which step on.
fn compaction(name: &str, runs: u64, steps_each: u64, place: impl Fn(u64, u64) -> (u64, u64)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.lake");
    let lake = open(&path);
    let steps = runs * steps_each / SEGMENTS / RUNS;
    let open_runs: Vec<Run> = (0..runs).map(|at| run(&lake, at)).collect();
    for segment in 0..SEGMENTS {
        for at in 0..RUNS {
            let (run, first) = place(segment, at);
            log(&open_runs[usize::try_from(run).expect("a few runs")], first, steps);
        }
        lake.flush().expect("a flush");
    }
    let before = lake.snapshot().expect("a snapshot").segments().len();
    let watch = Stopwatch::start();
    let (merged, peak) = Peak::during(&path, || lake.compact(true, &mut |_, _| true));
    let speed = watch.speed(runs * steps_each * METRICS as u64);
    assert_eq!(merged.expect("a merge").merged, before as u64, "nobody else merged them");
    let points = check(&lake, runs, steps_each);
    let after = lake.snapshot().expect("a snapshot").segments().len();
    println!("\n{name}: {points} points of {before} segments in {after}");
    say("merged", speed, 15.0);
    say_alone(parquet_alone::speed(&path, 4));
    at_most("anonymous memory at its peak", peak.memory_mib(), "MiB", 512.0);
}

/// Brings lakes of one run each into one.
fn lakes(steps: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |node: u64| folder.path().join(format!("node-{node}.lake"));
    let fill = |node: u64| {
        let lake = open(&place(node));
        let run = run(&lake, node);
        log(&run, 0, steps);
        run.finish(State::Finished).expect("the end");
        lake.flush().expect("a flush");
    };
    // Most of that is waiting for the disk.
    thread::scope(|scope| {
        for first in 0..AT_ONCE {
            let nodes = (first..LAKES).step_by(usize::try_from(AT_ONCE).expect("a few"));
            scope.spawn(move || nodes.for_each(fill));
        }
    });
    let path = folder.path().join("runs.lake");
    let target = open(&path);
    let watch = Stopwatch::start();
    let (merged, peak) = Peak::during(&path, || {
        let sources = (0..LAKES).map(|node| Lake::open(place(node)));
        let sources: Vec<Lake> = sources.collect::<Result<_, _>>()?;
        target.merge_all(&sources, true, &mut Vec::new(), &mut |_, _| true)
    });
    merged.expect("a merge");
    let speed = watch.speed(LAKES * steps * METRICS as u64);
    let points = check(&target, LAKES, steps);
    println!("\nlakes: {points} points of {LAKES} lakes");
    at_least("brought into one", speed.clock, "M points/s", 10.0);
    at_most("anonymous memory at its peak", peak.memory_mib(), "MiB", 512.0);
}

/// Every series has all its points and the right last one.
fn check(lake: &Lake, runs: u64, steps: u64) -> u64 {
    let snapshot = lake.snapshot().expect("a snapshot");
    assert!(snapshot.problems().is_empty(), "{:?}", snapshot.problems());
    let series = snapshot.series(&Filter::default()).expect("the series");
    assert_eq!(series.len() as u64, runs * METRICS as u64);
    for (at, series) in series.iter().enumerate() {
        let last = (steps - 1, value_of(steps - 1, at % METRICS));
        assert_eq!(series.count, steps, "{series:?}");
        assert_eq!((series.last_step.cast_unsigned(), series.last_value), last);
    }
    series.len() as u64 * steps
}

/// Prints a speed and holds what came of a second of a core against a bar.
fn say(what: &str, speed: Speed, least: f64) {
    println!("  {:<40} {:>10.2} M points/s", format!("{what}, by the clock"), speed.clock);
    at_least(&format!("{what}, of a core"), speed.core, "M points/s", least);
}

fn say_alone(alone: Speed) {
    println!("  {:<40} {:>10.2} M points/s", "the Parquet writer alone, of a core", alone.core);
}
