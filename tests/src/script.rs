//! What a few processes log, made up from a seed: everything that real programs do to a log, small.

use std::{collections::BTreeMap, sync::mpsc, thread};

use runlake_engine::{LabelsId, Lake, MetricId, Run, State, UNKNOWN_TIME};
use serde_json::{Map, Value, json};

use crate::random::Random;

/// How many threads log at once.
pub const THREADS: usize = 3;
/// How many processes log, one after the other; each later one continues some of the runs.
pub const SITTINGS: usize = 3;

/// What several processes log, in order.
#[derive(Debug)]
pub struct Script {
    /// The names of metrics.
    pub metrics: Vec<String>,
    /// The sets of labels.
    pub labels: Vec<Map<String, Value>>,
    /// The processes.
    pub sittings: Vec<Sitting>,
}

/// What one process logs. Every series belongs to one thread, because only then is it said which value is the last.
#[derive(Debug)]
pub struct Sitting {
    /// The launch that its runs belong to.
    pub launch: String,
    /// Its runs.
    pub starts: Vec<Start>,
    /// Two halves, each with what every thread does.
    pub halves: [Vec<Vec<Act>>; 2],
}

/// A run that is started or continued.
#[derive(Debug, Clone)]
pub struct Start {
    /// The project.
    pub project: String,
    /// The id.
    pub run_id: String,
    /// The name, where it is given.
    pub name: Option<String>,
    /// Top-level keys of the configuration.
    pub config: Map<String, Value>,
    /// Tags.
    pub tags: Vec<String>,
    /// How the run ends here: not at all, or with a word.
    pub end: Option<State>,
}

/// One call. Runs, metrics and labels are places in the lists of the sitting and of the script.
#[derive(Debug, Clone)]
pub enum Act {
    /// A row.
    Row {
        /// The run.
        run: usize,
        /// The step, or the one that comes next.
        step: Option<i64>,
        /// The time, or [`UNKNOWN_TIME`].
        time: i64,
        /// The labels.
        labels: Option<usize>,
        /// Metrics and values.
        points: Vec<(usize, f64)>,
    },
    /// Many points of one metric.
    Many {
        /// The run.
        run: usize,
        /// The metric.
        metric: usize,
        /// The labels.
        labels: Option<usize>,
        /// The steps, or those that come next.
        steps: Option<Vec<i64>>,
        /// The times, each perhaps [`UNKNOWN_TIME`].
        times: Vec<i64>,
        /// The values.
        values: Vec<f64>,
    },
}

impl Script {
    /// The script of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let metrics = [
            "train/loss",
            "val loss",
            "Ω/λ 'x'",
            "lr",
            "損失",
            "a\"b",
            "system/gpu",
            "late",
            "grad.norm",
        ];
        let labels = [
            json!({"rank": 0}),
            json!({"rank": 1, "layer": "é{a=b}"}),
            json!({"host": "nœud", "ok": true}),
        ];
        let mut script = Self {
            metrics: metrics.map(str::to_owned).to_vec(),
            labels: labels.iter().filter_map(|labels| labels.as_object().cloned()).collect(),
            sittings: Vec::new(),
        };
        for number in 0..SITTINGS {
            let sitting = script.sitting(&mut random, number);
            script.sittings.push(sitting);
        }
        script
    }

    fn sitting(&self, random: &mut Random, number: usize) -> Sitting {
        // The last run of each list belongs to one thread and asks for the next step now and then.
        let runs: &[(&str, &str)] = match number {
            0 => &[("p", "same"), ("प्रोजेक्ट", "same"), ("p", "läufe-1"), ("p", "counting")],
            1 => &[("p", "same"), ("q", "学習 2"), ("p", "counting")],
            _ => &[("प्रोजेक्ट", "same"), ("p", "same"), ("p", "counting")],
        };
        let starts = runs.iter().map(|&(project, run_id)| start(random, project, run_id, number));
        let starts: Vec<Start> = starts.collect();
        let acts = |random: &mut Random, late: bool| {
            (0..THREADS)
                .map(|thread| {
                    let calls = 40 + random.below(120);
                    (0..calls).map(|at| self.act(random, &starts, thread, at, late)).collect()
                })
                .collect()
        };
        let halves = [acts(random, false), acts(random, true)];
        Sitting { launch: format!("launch-{number}"), starts, halves }
    }

    /// The call `at` of a thread. Metrics belong to threads; one of them is not met in the first half.
    fn act(
        &self,
        random: &mut Random,
        starts: &[Start],
        thread: usize,
        at: usize,
        late: bool,
    ) -> Act {
        let counting = starts.len() - 1;
        let run = if thread == 0 && random.once_in(3) { counting } else { random.below(counting) };
        let mine: Vec<usize> = (thread..self.metrics.len())
            .step_by(THREADS)
            .filter(|&metric| late || self.metrics[metric] != "late")
            .collect();
        let labels = random.once_in(3).then(|| random.below(self.labels.len()));
        let near = i64::try_from(at).expect("calls are few") / 3;
        if random.once_in(12) {
            let most = if random.once_in(10) { 3000 } else { 40 };
            let count = 1 + random.below(most);
            let values = (0..count).map(|_| random.value()).collect();
            let steps = (run != counting || random.once_in(2)).then(|| {
                let first = near - 5;
                (0..count as i64).map(|at| first + at - random.below(3) as i64).collect()
            });
            let times = (0..count).map(|_| time(random)).collect();
            return Act::Many { run, metric: *random.pick(&mine), labels, steps, times, values };
        }
        let step = match random.below(20) {
            _ if run == counting && random.once_in(2) => None,
            0 => Some(near - 20),
            1 if run != counting => Some(*random.pick(&[i64::MIN, i64::MAX, -1, 1 << 53])),
            2 | 3 => Some(near - 1),
            _ => Some(near),
        };
        let mut points: Vec<(usize, f64)> = Vec::new();
        for &metric in &mine {
            if !random.once_in(3) {
                points.push((metric, 0.0));
            }
        }
        if points.is_empty() {
            points.push((*random.pick(&mine), 0.0));
        }
        // A metric may stand in a row twice.
        if random.once_in(30) {
            points.push(points[0]);
        }
        for point in &mut points {
            point.1 = random.value();
        }
        Act::Row { run, step, time: time(random), labels, points }
    }
}

fn start(random: &mut Random, project: &str, run_id: &str, number: usize) -> Start {
    let mut config = Map::new();
    config.insert("lr".to_owned(), json!(random.below(100) as f64 / 8.0));
    config
        .insert(format!("from {number}"), json!({"größe": [1, null, "x"], "deep": {"ok": false}}));
    Start {
        project: project.to_owned(),
        run_id: run_id.to_owned(),
        name: (number == 0).then(|| format!("first \"{run_id}\"")),
        config,
        tags: vec!["all".to_owned(), format!("sitting {number}")],
        end: *random.pick(&[Some(State::Finished), Some(State::Failed), None]),
    }
}

fn time(random: &mut Random) -> i64 {
    match random.below(12) {
        0 | 1 => UNKNOWN_TIME,
        2 => -1,
        3 => *random.pick(&[0, i64::MAX, i64::MIN + 1]),
        _ => 1_700_000_000_000_000 + (random.bits() >> 20).cast_signed(),
    }
}

/// A process that plays a sitting.
#[derive(Debug)]
pub struct Player<'a> {
    sitting: &'a Sitting,
    runs: Vec<Run>,
    metrics: Vec<MetricId>,
    labels: Vec<LabelsId>,
}

impl<'a> Player<'a> {
    /// Starts the runs of sitting `number` in `lake`.
    pub fn start(lake: &Lake, script: &'a Script, number: usize) -> Self {
        let sitting = &script.sittings[number];
        let runs: Vec<Run> = sitting
            .starts
            .iter()
            .map(|start| {
                let mut run = lake.run(&start.project).id(&start.run_id).launch(&sitting.launch);
                if let Some(name) = &start.name {
                    run = run.name(name);
                }
                run.config(start.config.clone())
                    .tags(start.tags.clone())
                    .start()
                    .expect("the run starts")
            })
            .collect();
        let any = &runs[0];
        let metrics = script.metrics.iter().map(|name| any.metric(name).expect("a name")).collect();
        let labels =
            script.labels.iter().map(|labels| any.labels(labels).expect("labels")).collect();
        Self { sitting, runs, metrics, labels }
    }

    /// Plays both halves, all threads at once, and calls `between` when the first is done. A thread plays both of its
    /// halves, because only within a thread is it said what was logged last.
    pub fn play(&self, between: impl FnOnce()) {
        thread::scope(|scope| {
            let [first, second] = &self.sitting.halves;
            let threads: Vec<_> = first
                .iter()
                .zip(second)
                .map(|(first, second)| {
                    let (done, is_done) = mpsc::sync_channel(1);
                    let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
                    scope.spawn(move || {
                        self.act_all(first);
                        done.send(()).expect("somebody waits");
                        if may_go_on.recv().is_ok() {
                            self.act_all(second);
                        }
                    });
                    (is_done, go_on)
                })
                .collect();
            for (is_done, _) in &threads {
                is_done.recv().expect("the thread plays its first half");
            }
            between();
            for (_, go_on) in &threads {
                go_on.send(()).expect("the thread waits");
            }
        });
    }

    fn act_all(&self, acts: &[Act]) {
        for act in acts {
            self.act(act);
        }
    }

    fn act(&self, act: &Act) {
        match act {
            Act::Row { run, step, time, labels, points } => {
                let points: Vec<_> =
                    points.iter().map(|&(metric, value)| (self.metrics[metric], value)).collect();
                let labels = labels.map(|labels| self.labels[labels]);
                self.runs[*run].log_labelled(*step, Some(*time), labels, &points)
            }
            Act::Many { run, metric, labels, steps, times, values } => self.runs[*run]
                .log_many_labelled(
                    self.metrics[*metric],
                    labels.map(|labels| self.labels[labels]),
                    steps.as_deref(),
                    Some(times),
                    values,
                ),
        }
        .expect("a row is kept");
    }

    /// Ends the runs that end with a word.
    pub fn end(self) {
        for (run, start) in self.runs.iter().zip(&self.sitting.starts) {
            if let Some(state) = start.end {
                run.finish(state).expect("the run ends");
            }
        }
    }
}

/// Labels as they are stored: JSON with sorted keys.
pub fn canonical(labels: &Map<String, Value>) -> String {
    let sorted: BTreeMap<&String, &Value> = labels.iter().collect();
    serde_json::to_string(&sorted).expect("labels are JSON")
}
