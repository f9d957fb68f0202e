//! What a lake should answer, computed the plain way from what was logged.

use std::collections::{BTreeMap, BTreeSet};

use runlake_engine::{State, UNKNOWN_TIME};
use serde_json::{Map, Value};

use crate::{
    answer::{Cell, Row},
    script::{Act, Script, canonical},
};

/// A project and a run_id.
pub type RunKey = (String, String);
/// A run, a metric and labels.
pub type SeriesKey = (RunKey, String, Option<String>);

/// Everything that was logged, in the order of logging.
#[derive(Debug, Default)]
pub struct Model {
    series: BTreeMap<SeriesKey, Vec<Point>>,
    runs: BTreeMap<RunKey, RunModel>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    /// The place of its launch in the run.
    attempt: usize,
    step: i64,
    time: i64,
    value: f64,
}

#[derive(Debug, Default)]
struct RunModel {
    launches: Vec<String>,
    name: Option<String>,
    config: BTreeMap<String, Value>,
    tags: BTreeSet<String>,
    state: Option<State>,
}

/// What `series` says of a series, and its mean, which depends on the order of adding.
#[derive(Debug)]
pub struct Summary {
    /// All columns but the mean.
    pub row: Row,
    /// The mean of the finite values, and how far off a sum in another order may be; `None` where there are none or
    /// their sum is too large.
    pub mean: Option<(f64, f64)>,
}

impl Model {
    /// Sitting `number` has begun: its runs are there and running.
    pub fn start(&mut self, script: &Script, number: usize) {
        let sitting = &script.sittings[number];
        for start in &sitting.starts {
            let run = self.runs.entry((start.project.clone(), start.run_id.clone())).or_default();
            run.launches.push(sitting.launch.clone());
            run.name = start.name.clone().or_else(|| run.name.take());
            run.config.extend(start.config.clone());
            run.tags.extend(start.tags.iter().cloned());
            run.state = Some(State::Running);
        }
    }

    /// Sitting `number` has played one half.
    pub fn play(&mut self, script: &Script, number: usize, half: usize) {
        for act in script.sittings[number].halves[half].iter().flatten() {
            self.act(script, number, act);
        }
    }

    /// The process of sitting `number` is gone.
    pub fn end(&mut self, script: &Script, number: usize) {
        for start in &script.sittings[number].starts {
            let run = self.runs.get_mut(&(start.project.clone(), start.run_id.clone()));
            run.expect("it was started").state = Some(start.end.unwrap_or(State::Crashed));
        }
    }

    fn act(&mut self, script: &Script, number: usize, act: &Act) {
        let starts = &script.sittings[number].starts;
        let run = |at: usize| (starts[at].project.clone(), starts[at].run_id.clone());
        let labels = |at: &Option<usize>| at.map(|at| canonical(&script.labels[at]));
        match act {
            Act::Row { run: at, step, time, labels: set, points } => {
                let step = step.unwrap_or_else(|| self.next_step(&run(*at)));
                for &(metric, value) in points {
                    let key = (run(*at), script.metrics[metric].clone(), labels(set));
                    self.push(key, step, *time, value);
                }
            }
            Act::Many { run: at, metric, labels: set, steps, times, values } => {
                let first = if steps.is_some() { 0 } else { self.next_step(&run(*at)) };
                let key = (run(*at), script.metrics[*metric].clone(), labels(set));
                for (at, &value) in values.iter().enumerate() {
                    let next = first.saturating_add(at as i64);
                    let step = steps.as_ref().map_or(next, |steps| steps[at]);
                    self.push(key.clone(), step, times[at], value);
                }
            }
        }
    }

    fn push(&mut self, key: SeriesKey, step: i64, time: i64, value: f64) {
        let attempt = self.runs[&key.0].launches.len() - 1;
        self.series.entry(key).or_default().push(Point { attempt, step, time, value });
    }

    fn last_step(&self, run: &RunKey) -> Option<i64> {
        let mine = self.series.iter().filter(|(key, _)| key.0 == *run);
        mine.flat_map(|(_, points)| points.iter().map(|point| point.step)).max()
    }

    fn next_step(&self, run: &RunKey) -> i64 {
        self.last_step(run).map_or(0, |last| last.saturating_add(1).max(0))
    }

    /// The rows of `points_all`: project, run_id, metric, labels, launch, attempt, step, time, value; sorted.
    pub fn points_all(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, points) in &self.series {
            let run = &self.runs[&key.0];
            for point in points {
                let mut row = names(key);
                row.push(Cell::text(&run.launches[point.attempt]));
                row.push(Cell::Integer(point.attempt as i64));
                row.extend(point.cells());
                rows.push(row);
            }
        }
        rows.sort();
        rows
    }

    /// The rows of `points`: project, run_id, metric, labels, step, time, value; sorted.
    pub fn points(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, points) in &self.series {
            for point in effective(points) {
                let mut row = names(key);
                row.extend(point.cells());
                rows.push(row);
            }
        }
        rows.sort();
        rows
    }

    /// The rows of `series`, without the metrics of the machine; sorted.
    pub fn series(&self) -> Vec<Summary> {
        let visible = self.series.iter().filter(|(key, _)| !key.1.starts_with("system/"));
        visible.map(|(key, points)| summary(key, &effective(points))).collect()
    }

    /// The runs.
    pub fn run_keys(&self) -> Vec<RunKey> {
        self.runs.keys().cloned().collect()
    }

    /// The rows of `runs`: project, run_id, name, state, last_step, tags, dropped_rows, config; sorted. The name is null
    /// where none was given.
    pub fn runs(&self) -> Vec<Row> {
        let rows = self.runs.iter().map(|(key, run)| {
            let config: Map<String, Value> = run.config.clone().into_iter().collect();
            let mine = self.series.iter().filter(|(series, _)| series.0 == *key);
            let last = mine.flat_map(|(_, points)| effective(points)).map(|point| point.step).max();
            vec![
                Cell::text(&key.0),
                Cell::text(&key.1),
                run.name.as_deref().map_or(Cell::Null, Cell::text),
                run.state.map_or(Cell::Null, |state| Cell::text(state.as_str())),
                last.map_or(Cell::Null, Cell::Integer),
                Cell::text(&run.tags.iter().cloned().collect::<Vec<_>>().join(",")),
                Cell::Integer(0),
                Cell::json(&Value::Object(config)),
            ]
        });
        rows.collect()
    }

    /// The history of a run: the names of the columns after `step` and `time`, and the rows.
    pub fn history(&self, run: &RunKey) -> (Vec<String>, Vec<Row>) {
        let mut columns = Vec::new();
        let mut table: BTreeMap<i64, (i64, BTreeMap<usize, f64>)> = BTreeMap::new();
        let mine = self.series.iter().filter(|(key, _)| key.0 == *run);
        for (key, points) in mine.filter(|(key, _)| !key.1.starts_with("system/")) {
            let at = columns.len();
            columns.push(column_name(&key.1, key.2.as_deref()));
            let last: BTreeMap<i64, Point> =
                effective(points).into_iter().map(|point| (point.step, point)).collect();
            for (step, point) in last {
                let row = table.entry(step).or_insert((UNKNOWN_TIME, BTreeMap::new()));
                row.0 = row.0.max(point.time);
                row.1.insert(at, point.value);
            }
        }
        let rows = table.into_iter().map(|(step, (time, values))| {
            let mut row = vec![Cell::Integer(step), Cell::time(time)];
            row.extend(
                (0..columns.len())
                    .map(|at| values.get(&at).map_or(Cell::Null, |&v| Cell::value(v))),
            );
            row
        });
        (columns.clone(), rows.collect())
    }
}

impl Point {
    fn cells(self) -> [Cell; 3] {
        [Cell::Integer(self.step), Cell::time(self.time), Cell::value(self.value)]
    }
}

/// The points of a series that no later launch hides.
fn effective(points: &[Point]) -> Vec<Point> {
    let mut first: BTreeMap<usize, i64> = BTreeMap::new();
    for point in points {
        let least = first.entry(point.attempt).or_insert(point.step);
        *least = (*least).min(point.step);
    }
    let counts =
        |point: &&Point| first.range(point.attempt + 1..).all(|(_, &least)| point.step < least);
    points.iter().filter(counts).copied().collect()
}

fn names(key: &SeriesKey) -> Row {
    vec![
        Cell::text(&key.0.0),
        Cell::text(&key.0.1),
        Cell::text(&key.1),
        key.2.as_deref().map_or(Cell::Null, Cell::text),
    ]
}

fn column_name(metric: &str, labels: Option<&str>) -> String {
    let Some(labels) = labels else { return metric.to_owned() };
    let labels: Map<String, Value> = serde_json::from_str(labels).expect("they are JSON");
    let said = labels.iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    format!("{metric}{{{}}}", said.collect::<Vec<_>>().join(","))
}

/// What a series, at least one point of which counts, adds up to. `points` are in the order of logging.
fn summary(key: &SeriesKey, points: &[Point]) -> Summary {
    let finite: Vec<&Point> = points.iter().filter(|point| point.value.is_finite()).collect();
    let first_step =
        points.iter().map(|point| point.step).min().expect("a launch hides no later one");
    let last_step =
        points.iter().map(|point| point.step).max().expect("a launch hides no later one");
    let last_of = |points: &[&Point], step: i64| {
        points.iter().rfind(|point| point.step == step).map(|&&point| point)
    };
    let all: Vec<&Point> = points.iter().collect();
    let (first, last) = (last_of(&all, first_step), last_of(&all, last_step));
    let last_finite =
        finite.iter().map(|point| point.step).max().and_then(|step| last_of(&finite, step));
    let least = finite.iter().min_by(|a, b| a.value.total_cmp(&b.value).then(a.step.cmp(&b.step)));
    let greatest =
        finite.iter().min_by(|a, b| b.value.total_cmp(&a.value).then(a.step.cmp(&b.step)));
    let value = |point: Option<&Point>| point.map_or(Cell::Null, |point| Cell::value(point.value));
    let step = |point: Option<&Point>| point.map_or(Cell::Null, |point| Cell::Integer(point.step));
    let count = |test: fn(f64) -> bool| {
        Cell::Integer(points.iter().filter(|point| test(point.value)).count() as i64)
    };
    let mut row = names(key);
    row.extend([
        Cell::Integer(points.len() as i64),
        count(f64::is_nan),
        count(f64::is_infinite),
        Cell::Integer(first_step),
        Cell::Integer(last_step),
        value(first.as_ref()),
        value(last.as_ref()),
        value(last_finite.as_ref()),
        value(least.copied()),
        step(least.copied()),
        value(greatest.copied()),
        step(greatest.copied()),
        Cell::time(last.map_or(UNKNOWN_TIME, |point| point.time)),
    ]);
    let size: f64 = finite.iter().map(|point| point.value.abs()).sum();
    let mean = (!finite.is_empty() && size.is_finite()).then(|| {
        let sum: f64 = finite.iter().map(|point| point.value).sum();
        let count = finite.len() as f64;
        (sum / count, size / count * count * f64::EPSILON)
    });
    Summary { row, mean }
}
