//! `compare(['a', 'b'])`: what is known of runs, side by side.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef},
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Definition, Filter, Goal, RunInfo, Snapshot, json};
use serde_json::Value;

use super::{
    column::{self, BOOLEAN, DOUBLE, TEXT},
    rows::Rows,
    runs,
    summary::Summaries,
};
use crate::{QueryError, names};

/// More runs are an error: nobody reads so many columns side by side.
const MOST_RUNS: usize = 500;

/// A metric whose name has one of these words is better where it is less.
const LESS: [&str; 12] =
    ["loss", "error", "err", "perplexity", "ppl", "nll", "mae", "mse", "rmse", "wer", "cer", "fid"];

/// A metric whose name has one of these words is better where it is more.
const MORE: [&str; 14] = [
    "accuracy",
    "acc",
    "auc",
    "auroc",
    "f1",
    "precision",
    "recall",
    "iou",
    "dice",
    "bleu",
    "rouge",
    "r2",
    "reward",
    "score",
];

/// Which metrics are compared, and which of their values are better, as the query has it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) metrics: Option<Vec<String>>,
    pub(super) less: Option<Vec<String>>,
    pub(super) more: Option<Vec<String>>,
}

/// The runs side by side, read when the query is planned, since they are its columns.
#[derive(Debug)]
pub(super) struct Compare {
    schema: SchemaRef,
    /// What the columns of the runs are called, the baseline first.
    headings: Vec<String>,
    lines: Vec<Line>,
}

/// One thing that is known of some of the runs.
#[derive(Debug)]
struct Line {
    part: &'static str,
    key: String,
    /// For each run.
    values: Vec<Option<Said>>,
    goal: Option<Goal>,
}

/// What is known of one run.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    text: String,
    number: Option<f64>,
}

impl Said {
    fn json(value: &Value) -> Self {
        Self { text: json::text(value), number: json::number(value) }
    }
}

impl Line {
    fn new(part: &'static str, key: &str, runs: usize, goal: Option<Goal>) -> Self {
        Self { part, key: key.to_owned(), values: vec![None; runs], goal }
    }

    fn differs(&self) -> bool {
        let same = |a: &Option<Said>, b: &Option<Said>| match (a, b) {
            (Some(a), Some(b)) => a.text == b.text || (a.number.is_some() && a.number == b.number),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.values.iter().any(|value| !same(value, &self.values[0]))
    }

    /// The run whose value is the best; none where all are equally good.
    fn best(&self) -> Option<usize> {
        let goal = self.goal.filter(|_| self.differs())?;
        let numbers = self.values.iter().enumerate().filter_map(|(run, value)| {
            let number = value.as_ref()?.number.filter(|number| !number.is_nan())?;
            Some((run, if goal == Goal::Minimize { number } else { -number }))
        });
        numbers.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(run, _)| run)
    }

    fn delta(&self, run: usize) -> Option<f64> {
        let number = |run: usize| self.values[run].as_ref()?.number;
        Some(number(run)? - number(0)?)
    }
}

impl Compare {
    /// `runs` side by side, the first of which the others are compared with.
    pub(super) fn read(snapshot: &Snapshot, runs: &[Arc<RunInfo>], told: &Told) -> Result<Self> {
        if runs.len() < 2 {
            let detail = format!("compare needs two runs, and there is {}", runs.len());
            return Err(QueryError::Invalid { detail }.into());
        }
        if runs.len() > MOST_RUNS {
            return Err(QueryError::Limit {
                what: format!(
                    "compare would have {} runs, and {MOST_RUNS} are the most",
                    runs.len()
                ),
                hint: "choose some, or ask runs_wide, which has one row a run".to_owned(),
            }
            .into());
        }
        let headings = headings(runs);
        let columns = [("part", TEXT), ("key", TEXT), ("differs", BOOLEAN), ("best", TEXT)];
        let columns = columns.map(|(name, data_type)| (name.to_owned(), data_type)).into_iter();
        let columns = columns.chain(headings.iter().map(|heading| (heading.clone(), TEXT)));
        let deltas = headings[1..].iter().map(|heading| (format!("delta.{heading}"), DOUBLE));
        let schema = column::schema(columns.chain(deltas));
        Ok(Self { schema, headings, lines: lines(snapshot, runs, told)? })
    }
}

/// What the runs are called: their ids, with the project where an id is not enough, and none as another column.
fn headings(runs: &[Arc<RunInfo>]) -> Vec<String> {
    let heading = |run: &Arc<RunInfo>| {
        let alike = runs.iter().filter(|other| other.run_id == run.run_id).count();
        let taken = ["part", "key", "differs", "best"].contains(&&*run.run_id);
        if alike > 1 || taken || run.run_id.starts_with("delta.") {
            format!("{}/{}", run.project, run.run_id)
        } else {
            run.run_id.to_string()
        }
    };
    runs.iter().map(heading).collect()
}

fn lines(snapshot: &Snapshot, runs: &[Arc<RunInfo>], told: &Told) -> Result<Vec<Line>> {
    let summaries = Summaries::read(
        snapshot,
        &Filter {
            projects: Some(runs.iter().map(|run| run.project.to_string()).collect()),
            runs: Some(runs.iter().map(|run| run.run_id.to_string()).collect()),
            metrics: None,
        },
    )?;
    let mut lines = about(runs, &summaries)?;
    let mut config = Part::new("config", runs.len());
    let mut metric = Part::new("metric", runs.len());
    let mut best = Part::new("best", runs.len());
    for (at, run) in runs.iter().enumerate() {
        for (key, value) in json::flatten(&run.config).into_iter().filter(|it| !it.1.is_null()) {
            config.say(&key, at, None, Said::json(value));
        }
        let summary = summaries.of(run);
        for (key, value) in json::flatten(&summary).into_iter().filter(|it| !it.1.is_null()) {
            metric.say(&key, at, told.goal(runs, &key), Said::json(value));
        }
        let series = summaries.series(run);
        let series = series.iter().filter(|series| !series.metric.starts_with(json::SYSTEM));
        let called = series.clone().map(|series| (&*series.metric, series.labels.as_deref()));
        for (key, series) in json::column_names(called, &[]).iter().zip(series) {
            let goal = told.goal(runs, key);
            let value = match goal {
                Some(Goal::Minimize) => series.min_value,
                Some(Goal::Maximize) => series.max_value,
                None => None,
            };
            if let Some(value) = value {
                best.say(key, at, goal, Said::json(&value.into()));
            }
        }
    }
    lines.extend(config.lines.into_values());
    for mut part in [metric, best] {
        if let Some(patterns) = &told.metrics {
            let keys: Vec<&str> = part.lines.keys().map(String::as_str).collect();
            let mut wanted = names::matching(patterns, &keys).into_iter();
            part.lines.retain(|_, _| wanted.next().unwrap_or(false));
        }
        lines.extend(part.lines.into_values());
    }
    Ok(lines)
}

/// The lines of one part, by key.
struct Part {
    name: &'static str,
    runs: usize,
    lines: BTreeMap<String, Line>,
}

impl Part {
    fn new(name: &'static str, runs: usize) -> Self {
        Self { name, runs, lines: BTreeMap::new() }
    }

    fn say(&mut self, key: &str, run: usize, goal: Option<Goal>, said: Said) {
        let line = || Line::new(self.name, key, self.runs, goal);
        self.lines.entry(key.to_owned()).or_insert_with(line).values[run] = Some(said);
    }
}

/// What is known of the runs themselves: the columns of `runs`, but for those that always differ.
fn about(runs: &[Arc<RunInfo>], summaries: &Summaries) -> Result<Vec<Line>> {
    const LEFT_OUT: [&str; 7] =
        ["project", "run_id", "created_at", "finished_at", "heartbeat_at", "config", "summary"];
    let options = FormatOptions::default();
    let columns = runs::columns();
    let columns = columns.iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    columns
        .map(|(name, data_type)| {
            let array = runs::array(name, runs, Some(summaries));
            let texts = ArrayFormatter::try_new(&array, &options)?;
            let mut line = Line::new("run", name, runs.len(), None);
            for (at, value) in
                line.values.iter_mut().enumerate().filter(|(at, _)| array.is_valid(*at))
            {
                let text = texts.value(at).to_string();
                let number = if data_type.is_numeric() { text.parse().ok() } else { None };
                *value = Some(Said { text, number });
            }
            Ok(line)
        })
        .collect()
}

impl Told {
    /// Which values of a metric are better: as the query says, else as the first of `runs` that has defined it, else as its
    /// name does.
    fn goal(&self, runs: &[Arc<RunInfo>], metric: &str) -> Option<Goal> {
        let said = |patterns: &Option<Vec<String>>| {
            patterns.as_ref().is_some_and(|patterns| names::matching(patterns, &[metric])[0])
        };
        // A series with labels is called `loss{rank=0}`.
        let name = metric.split('{').next().unwrap_or(metric);
        let defined = || runs.iter().find_map(|run| Definition::of(&run.metrics, name)?.goal);
        let lower = metric.to_lowercase();
        let words = || lower.split(|letter: char| !letter.is_alphanumeric());
        let named = |those: &[&str]| words().any(|word| those.contains(&word));
        match (said(&self.less), said(&self.more)) {
            (true, false) => Some(Goal::Minimize),
            (false, true) => Some(Goal::Maximize),
            (true, true) => None,
            (false, false) => defined().or_else(|| match (named(&LESS), named(&MORE)) {
                (true, false) => Some(Goal::Minimize),
                (false, true) => Some(Goal::Maximize),
                _ => None,
            }),
        }
    }
}

impl Rows for Compare {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn build(
        &self,
        _wanted: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let lines = || self.lines.iter();
        let run = |heading: &str| self.headings.iter().position(|known| known == heading);
        let arrays = columns
            .iter()
            .map(|column| match *column {
                "part" => column::texts(lines().map(|line| Some(line.part))),
                "key" => column::texts(lines().map(|line| Some(&line.key))),
                "differs" => column::booleans(lines().map(|line| Some(line.differs()))),
                "best" => column::texts(lines().map(|line| Some(&self.headings[line.best()?]))),
                column => match (run(column), column.strip_prefix("delta.").and_then(run)) {
                    (None, Some(run)) => column::doubles(lines().map(|line| line.delta(run))),
                    (run, _) => column::texts(
                        lines().map(|line| line.values[run?].as_ref().map(|said| &said.text)),
                    ),
                },
            })
            .collect();
        Ok((arrays, self.lines.len()))
    }
}
