//! `runlake tail`: the rows of a run, as they are logged.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{Hash as _, Hasher as _},
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use clap::Args;
use runlake_engine::{Filter, RunInfo, Snapshot, State};
use runlake_query::Session;
use rustc_hash::{FxHashMap, FxHasher};

use crate::{
    age, damage, failure::Failure, interrupt::Interrupt, number, runs, store, suggestion,
    terminal::Terminal, text,
};

/// The least time between two looks at the lake.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looking takes at most one part of so many.
const IDLE_PARTS: u32 = 10;

/// Follow a run: print its rows as they are logged, until it ends
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake tail @last
  runlake tail calm-otter-17 --metric train/loss --metric lr
  runlake tail @last -n 0 | grep NaN

Ctrl-C stops following; the run goes on. Rows come in the order of their times; every row is printed once, also \
where its step was logged before.")]
pub(crate) struct Tail {
    /// The run
    run: String,

    /// Start with so many rows that are there already
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,

    /// Only this metric; may be given several times
    #[arg(long = "metric", short, value_name = "METRIC")]
    metrics: Vec<String>,
}

/// What makes a row: time, step, labels and launch.
type RowKey = (Option<i64>, i64, Option<String>, String);
/// Rows in the order of time, each with its points.
type Rows = BTreeMap<RowKey, Vec<(String, f64)>>;

impl Tail {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let run = snapshot.find_run(&self.run)?;
        let name = text::printable(runs::title(&run));
        let interrupt = Interrupt::listen()?;
        let session = Session::new(lake.clone());
        if is_alive(run.state) {
            say(&format!(
                "following {name}, which is {}; Ctrl-C stops following",
                run.state.as_str()
            ));
        }
        for missing in self.missing(&snapshot, &run)? {
            say(&missing);
        }
        let full_name = format!("{}/{}", run.project, run.run_id);
        let mut seen = Seen::default();
        let mut looked_at = None;
        let mut lines = Some(self.lines);
        loop {
            let started = Instant::now();
            // The state first: what an ended run logged is all there to be read.
            let snapshot = lake.snapshot()?;
            let run = snapshot.find_run(&full_name)?;
            let extent = extent(&snapshot);
            if looked_at != Some(extent) {
                looked_at = Some(extent);
                let rows = seen.new_rows(&session, &run, &self.metrics)?;
                let skipped = lines.take().map_or(0, |lines| rows.len().saturating_sub(lines));
                for (key, points) in rows.into_iter().skip(skipped) {
                    writeln!(terminal, "{}", line(&key, &points, terminal))?;
                }
                terminal.flush()?;
            }
            if !is_alive(run.state) {
                say(&ending(&name, &run));
                return Ok(());
            }
            if interrupt.wait(LOOK_EVERY.max(started.elapsed() * IDLE_PARTS)) {
                say(&format!("stopped following; {name} goes on"));
                return Ok(());
            }
        }
    }

    /// What to say of metrics that the run does not have. It may log them later, so that is no error.
    fn missing(&self, snapshot: &Snapshot, run: &RunInfo) -> Result<Vec<String>, Failure> {
        if self.metrics.is_empty() {
            return Ok(Vec::new());
        }
        let series = snapshot.series(&Filter {
            projects: Some(vec![run.project.to_string()]),
            runs: Some(vec![run.run_id.to_string()]),
            metrics: None,
        })?;
        let known = || series.iter().map(|series| &*series.metric);
        let missing = self.metrics.iter().filter(|metric| known().all(|name| name != *metric));
        Ok(missing
            .map(|metric| {
                let question = suggestion::question(metric, known());
                let hint = question.map_or_else(String::new, |question| format!("; {question}"));
                format!("no metric '{metric}' yet{hint}")
            })
            .collect())
    }
}

fn is_alive(state: State) -> bool {
    matches!(state, State::Running | State::Unknown)
}

/// What changes whenever a point is added.
fn extent(snapshot: &Snapshot) -> (Option<u64>, usize) {
    (snapshot.version(), snapshot.tail().iter().map(|points| points.len()).sum())
}

fn ending(name: &str, run: &RunInfo) -> String {
    let took = runs::took(run, age::now())
        .map_or_else(String::new, |took| format!(" after {}", age::span(took)));
    format!(
        "{name} {}{took}",
        match run.state {
            State::Finished => "finished".to_owned(),
            State::Crashed => "crashed: its process ended without a word".to_owned(),
            state => run.exit_code.map_or_else(
                || state.as_str().to_owned(),
                |code| format!("{} with exit code {code}", state.as_str()),
            ),
        }
    )
}

/// Says something about the run, which is not its data. Without stderr there is nobody to tell.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

fn line((time, step, labels, _): &RowKey, points: &[(String, f64)], terminal: &Terminal) -> String {
    let (bold, dim) = (terminal.bold(), terminal.dim());
    let time = time.map_or_else(|| " ".repeat(8), age::time_of_day);
    let mut line = format!("{dim}{time}{dim:#}  step {step:>6}");
    if let Some(labels) = labels {
        write!(line, "  {dim}{}{dim:#}", text::printable(labels))
            .expect("memory takes every write");
    }
    // A row of a thousand metrics would fill the screen.
    let mut room =
        terminal.columns().map_or(usize::MAX, |columns| usize::from(columns).saturating_sub(24));
    for (at, (metric, value)) in points.iter().enumerate() {
        let (metric, value) = (text::printable(metric), number::value(*value));
        let taken = metric.chars().count() + value.len() + 3;
        if taken > room && at > 0 {
            write!(line, "  {dim}+{}{dim:#}", points.len() - at).expect("memory takes every write");
            break;
        }
        room = room.saturating_sub(taken);
        write!(line, "  {dim}{metric}{dim:#} {bold}{value}{bold:#}")
            .expect("memory takes every write");
    }
    line
}

/// The points that were printed: how often each was seen, by hash.
#[derive(Default)]
struct Seen(FxHashMap<u64, u32>);

impl Seen {
    /// The rows that were not there at the last call.
    fn new_rows(
        &mut self,
        session: &Session,
        run: &RunInfo,
        metrics: &[String],
    ) -> Result<Rows, Failure> {
        let mut query = format!(
            "select metric, labels, launch, step, time, value from points_all where project = {} and run_id = {}",
            text::sql(&run.project),
            text::sql(&run.run_id)
        );
        if !metrics.is_empty() {
            let list: Vec<String> = metrics.iter().map(|metric| text::sql(metric)).collect();
            query = format!("{query} and metric in ({})", list.join(", "));
        }
        let mut now: FxHashMap<u64, u32> =
            FxHashMap::with_capacity_and_hasher(self.0.len(), rustc_hash::FxBuildHasher);
        let mut rows = Rows::new();
        let mut reader = session.sql(&query)?.reader()?;
        while let Some(batch) = reader.next_batch() {
            let batch = batch?;
            let texts = |at: usize| batch.column(at).as_string::<i32>();
            let (metrics, labels, launches) = (texts(0), texts(1), texts(2));
            let steps = batch.column(3).as_primitive::<Int64Type>();
            let times = batch.column(4).as_primitive::<TimestampMicrosecondType>();
            let values = batch.column(5).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let (metric, launch, step, value) =
                    (metrics.value(row), launches.value(row), steps.value(row), values.value(row));
                let label = labels.is_valid(row).then(|| labels.value(row));
                let time = times.is_valid(row).then(|| times.value(row));
                let mut hasher = FxHasher::default();
                (metric, launch, label, time, step, value.to_bits()).hash(&mut hasher);
                let hash = hasher.finish();
                let times_seen = now.entry(hash).or_default();
                *times_seen += 1;
                if *times_seen > self.0.get(&hash).copied().unwrap_or(0) {
                    let key = (time, step, label.map(str::to_owned), launch.to_owned());
                    rows.entry(key).or_default().push((metric.to_owned(), value));
                }
            }
        }
        // The order of metrics in a row depends on where the row stands; that of their names does not.
        for points in rows.values_mut() {
            points.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.0 = now;
        Ok(rows)
    }
}
