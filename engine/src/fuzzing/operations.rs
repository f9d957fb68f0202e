//! A lake under a sequence of operations, and a map that says what has to be in it.
//!
//! Every byte of the input that begins an operation says which; those that follow are what it is done with, zeros where
//! the input has ended. A kill is a copy of the lake's files, taken while its writer is in the middle of everything: what
//! the next process finds is what the copy holds. Every other process logs in pwrite mode.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use arrow::{
    array::AsArray as _,
    datatypes::{Float64Type, Int32Type, Int64Type},
};
use serde_json::{Map, Value, json};

use super::Folder;
use crate::{Filter, Lake, LakeOptions, LogMode, Run, Snapshot, State};

/// The most operations of one input, and the most points.
const MOST_OPERATIONS: usize = 64;
const MOST_POINTS: usize = 60_000;
const PROJECTS: [&str; 2] = ["p", "q"];
const METRICS: [&str; 4] = ["loss", "val/läuft", "x y", "late"];
/// Values that formats like to lose.
const VALUES: [u64; 8] = [
    0x3fe0_0000_0000_0000,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0001,
    0x8000_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    1,
    0x7fef_ffff_ffff_ffff,
    0,
];

/// Sequences that a fuzzer starts from.
#[cfg(test)]
pub(super) const EXAMPLES: [(&str, &[u8]); 4] = [
    ("rows-flush-read", &[0, 0, 5, 7, 0, 0, 0, 1, 6, 3, 1, 1, 3, 4, 8, 0, 0, 200, 1, 0, 2, 9]),
    ("kill-adopt-merge", &[0, 0, 5, 7, 0, 0, 6, 0, 1, 9, 3, 1, 2, 3, 7, 4, 8, 6, 7, 4, 9]),
    ("many", &[1, 0, 255, 0, 0, 0, 1, 1, 200, 1, 1, 9, 3, 1, 0, 250, 2, 0, 1, 2, 6, 7, 8]),
    ("reopen-count", &[0, 1, 0, 3, 1, 1, 5, 0, 1, 0, 3, 1, 1, 10, 1, 2, 3, 11, 0, 1, 5, 8, 9]),
];

/// A series, with the launch: what one writer logs to it keeps its order.
type Key = (String, String, Option<String>, String);

/// What has to be in the lake.
#[derive(Default)]
struct Model {
    /// Steps and the bits of values, in the order of logging.
    points: BTreeMap<Key, Vec<(i64, u64)>>,
    /// For each project the keys of its run's configuration.
    config: BTreeMap<String, BTreeMap<String, Value>>,
    /// For each project the highest step of its run.
    last: BTreeMap<String, i64>,
    count: usize,
}

impl Model {
    /// The first of the steps that come next.
    fn next_step(&self, project: &str) -> i64 {
        self.last.get(project).map_or(0, |last| last.saturating_add(1).max(0))
    }
}

/// A process that has the lake open.
struct Process {
    lake: Lake,
    mode: LogMode,
    launch: String,
    /// A run for each project, once it is used.
    runs: [Option<Run>; 2],
}

impl Process {
    fn new(path: &Path, number: usize) -> Self {
        let mode = [LogMode::Mapped, LogMode::Pwrite][number % 2];
        let options = LakeOptions { create: true, log_mode: mode, ..LakeOptions::default() };
        let lake = options.open(path).expect("the lake can be opened");
        Self { lake, mode, launch: format!("launch-{number}"), runs: [None, None] }
    }

    /// Sees to it that other processes see all rows: in pwrite mode they may wait in memory for some milliseconds.
    fn show(&self) {
        if self.mode == LogMode::Pwrite {
            self.lake.sync().expect("it can be synced");
        }
    }

    fn run(&mut self, at: usize) -> &Run {
        self.runs[at].get_or_insert_with(|| {
            let run = self.lake.run(PROJECTS[at]).id("r").launch(&self.launch);
            run.start().expect("a run starts")
        })
    }
}

/// The bytes that are left of an input.
struct Input<'a>(std::slice::Iter<'a, u8>);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn step(&mut self) -> Option<i64> {
        match self.byte() {
            0..=63 => None,
            255 => Some(i64::MAX),
            254 => Some(i64::MIN),
            byte => Some(i64::from(byte) - 80),
        }
    }

    fn labels(&mut self) -> Option<Map<String, Value>> {
        let rank = self.below(3).checked_sub(1)?;
        json!({ "rank": rank }).as_object().cloned()
    }
}

pub(super) fn run(input: &[u8]) {
    let mut input = Input(input.iter());
    let folder = Folder::new();
    let mut processes = 0;
    let mut path = folder.path().join("0");
    let mut process = Process::new(&path, processes);
    let mut model = Model::default();
    for _ in 0..MOST_OPERATIONS {
        let Some(&operation) = input.0.next() else { break };
        match operation % 12 {
            0 => log_row(&mut process, &mut model, &mut input),
            1 => log_many(&mut process, &mut model, &mut input),
            2 => process.lake.sync().expect("it can be synced"),
            3 => drop(process.lake.flush().expect("it can be flushed")),
            4 => {
                let done = process.lake.compact(true, &mut |_, _| true).expect("it can be merged");
                assert_eq!(done.problems, [""; 0]);
            }
            5 => {
                processes += 1;
                drop(process);
                process = Process::new(&path, processes);
            }
            6 => {
                processes += 1;
                process.show();
                path = kill(&path, &folder, processes);
                process = Process::new(&path, processes);
            }
            7 => drop(process.lake.adopt(&mut |_, _| {}).expect("logs can be taken in")),
            8 => assert_holds(&process.lake, &model),
            9 => {
                process.show();
                assert_holds(&Lake::open(&path).expect("it is there"), &model);
            }
            10 => {
                let (run, key) = (input.below(2), format!("key {}", input.below(3)));
                let value = (input.below(4) > 0).then(|| json!(input.byte()));
                process.run(run).config(&key, value.clone()).expect("a fact is kept");
                let said = model.config.entry(PROJECTS[run].to_owned()).or_default();
                match value {
                    Some(value) => drop(said.insert(key, value)),
                    None => drop(said.remove(&key)),
                }
            }
            _ => {
                let run = input.below(2);
                process.run(run).finish(State::Finished).expect("a run ends");
            }
        }
    }
    assert_holds(&process.lake, &model);
    drop(process);
    let lake = Lake::open(&path).expect("it is there");
    assert_holds(&lake, &model);
    let tail = || -> usize {
        lake.snapshot().expect("it reads").tail().iter().map(|part| part.len()).sum()
    };
    // A thread of the last process may hold its lake, and so its lock, for a moment longer.
    for _ in 0..1_000_000 {
        lake.adopt(&mut |_, _| {}).expect("logs can be taken in");
        if tail() == 0 {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(tail(), 0, "nothing is left in logs");
    assert_holds(&lake, &model);
    lake.compact(true, &mut |_, _| true).expect("it can be merged");
    assert_holds(&lake, &model);
}

fn log_row(process: &mut Process, model: &mut Model, input: &mut Input<'_>) {
    let (at, step, metrics) = (input.below(2), input.step(), input.byte());
    let labels = input.labels();
    let value = usize::from(input.byte());
    let launch = process.launch.clone();
    let run = process.run(at);
    let mut points = Vec::new();
    for (metric, name) in METRICS.iter().enumerate().filter(|(at, _)| metrics >> at & 1 == 1) {
        let value = f64::from_bits(VALUES[(value + metric) % VALUES.len()]);
        points.push((run.metric(name).expect("a name"), value));
    }
    let set = labels.as_ref().map(|labels| run.labels(labels).expect("labels"));
    run.log_labelled(step, None, set, &points).expect("a row is kept");
    if points.is_empty() {
        return;
    }
    let project = PROJECTS[at];
    let taken = step.unwrap_or_else(|| model.next_step(project));
    let last = model.last.entry(project.to_owned()).or_insert(taken);
    *last = taken.max(*last);
    for (metric, name) in METRICS.iter().enumerate().filter(|(at, _)| metrics >> at & 1 == 1) {
        let labels = labels.as_ref().map(|labels| json!(labels).to_string());
        let key = (project.to_owned(), (*name).to_owned(), labels, launch.clone());
        let bits = VALUES[(value + metric) % VALUES.len()];
        model.points.entry(key).or_default().push((taken, bits));
        model.count += 1;
    }
}

fn log_many(process: &mut Process, model: &mut Model, input: &mut Input<'_>) {
    let (at, count) = (input.below(2), usize::from(input.byte()));
    let (metric, labels, first) =
        (METRICS[input.below(METRICS.len())], input.labels(), input.step());
    // Few as often as so many that they fill blocks and files.
    let count = if count < 128 { count } else { (count - 127) * 100 };
    let count = count.min(MOST_POINTS.saturating_sub(model.count));
    if count == 0 {
        return;
    }
    let launch = process.launch.clone();
    let run = process.run(at);
    let numbers = 0..i64::try_from(count).expect("they are few");
    let values: Vec<u64> = (0..count).map(|at| VALUES[at % VALUES.len()] ^ at as u64).collect();
    let floats: Vec<f64> = values.iter().copied().map(f64::from_bits).collect();
    let given: Option<Vec<i64>> = first
        .map(|first| numbers.clone().map(|at| first.saturating_add(at / 2 * 2 - at % 2)).collect());
    let set = labels.as_ref().map(|labels| run.labels(labels).expect("labels"));
    let metric_id = run.metric(metric).expect("a name");
    run.log_many_labelled(metric_id, set, given.as_deref(), None, &floats).expect("they are kept");
    let project = PROJECTS[at];
    let next = model.next_step(project);
    let taken = given.unwrap_or_else(|| numbers.map(|at| next.saturating_add(at)).collect());
    let highest = taken.iter().copied().max().unwrap_or_default();
    let last = model.last.entry(project.to_owned()).or_insert(highest);
    *last = highest.max(*last);
    let labels = labels.as_ref().map(|labels| json!(labels).to_string());
    let key = (project.to_owned(), metric.to_owned(), labels, launch);
    model.points.entry(key).or_default().extend(taken.into_iter().zip(values));
    model.count += count;
}

/// What is left of the lake after a kill, elsewhere; the writer that was copied goes on there and comes to its end.
fn kill(path: &Path, folder: &Folder, number: usize) -> PathBuf {
    let copy = folder.path().join(number.to_string());
    copy_all(path, &copy);
    copy
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever kills a process acts on its files from outside"
)]
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is new");
    for entry in fs::read_dir(from).expect("it is a folder") {
        let entry = entry.expect("it can be listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("it is there").is_dir() {
            copy_all(&from, &to);
        } else {
            fs::copy(&from, &to).expect("there is room");
        }
    }
}

/// The lake holds what the model does, and nothing else.
fn assert_holds(lake: &Lake, model: &Model) {
    let snapshot = lake.snapshot().expect("it reads");
    assert_eq!(snapshot.problems(), [""; 0]);
    let mut expected = model.points.clone();
    let mut found = points(&snapshot);
    // What one writer logged at one step keeps its order.
    for points in expected.values_mut().chain(found.values_mut()) {
        points.sort_by_key(|&(step, _)| step);
    }
    assert!(found == expected, "found {}, logged {}", brief(&found), brief(&expected));
    let runs = snapshot.runs().expect("facts read");
    for (project, said) in &model.config {
        let run = runs.iter().find(|run| *run.project == **project).expect("it was started");
        let config: BTreeMap<_, _> = run.config.clone().into_iter().collect();
        assert_eq!(&config, said, "the configuration of {project}");
    }
}

/// How many points of each series, and their last ones.
fn brief(points: &BTreeMap<Key, Vec<(i64, u64)>>) -> String {
    let brief = points.iter().map(|(key, points)| {
        format!("\n  {key:?}: {} {:x?}", points.len(), &points[points.len().saturating_sub(9)..])
    });
    brief.collect()
}

fn points(snapshot: &Snapshot) -> BTreeMap<Key, Vec<(i64, u64)>> {
    let mut found: BTreeMap<Key, Vec<(i64, u64)>> = BTreeMap::new();
    for batch in snapshot.scan(&Filter::default()).expect("it reads") {
        let batch = batch.expect("it reads");
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_dictionary::<Int32Type>();
            let names = column.values().as_string::<i32>();
            column.key(row).map(|key| names.value(key).to_owned())
        };
        let steps = batch.column(5).as_primitive::<Int64Type>();
        let values = batch.column(7).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let name = |column: usize| text(column, row).unwrap_or_default();
            let key = (name(0), name(2), text(3, row), name(4));
            found.entry(key).or_default().push((steps.value(row), values.value(row).to_bits()));
        }
    }
    found
}
