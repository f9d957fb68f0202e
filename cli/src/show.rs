//! `runlake show`: everything about one run.

use std::{io::Write as _, path::Path};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int64Type};
use clap::Args;
use runlake_engine::{Filter, RunInfo, SeriesInfo, State};
use runlake_query::Session;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::{
    age, damage, failure::Failure, number, runs, sparkline::Sparkline, store, table::Table,
    terminal::Terminal, text,
};

/// How many characters a curve takes in the table of series.
const CURVE: usize = 24;

/// Show everything about one run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake show @last
  runlake show calm-otter-17
  runlake show digits/3f2a --series 0

A RUN is an id, a unique start of one, a name, project/run, @last or @last-1.")]
pub(crate) struct Show {
    /// The run
    run: String,

    /// Show at most so many series, 0 for all
    #[arg(long, value_name = "N", default_value_t = 60)]
    series: usize,
}

impl Show {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let run = snapshot.find_run(&self.run)?;
        let all = snapshot.series(&Filter {
            projects: Some(vec![run.project.to_string()]),
            runs: Some(vec![run.run_id.to_string()]),
            metrics: None,
        })?;
        let limit = if self.series == 0 { all.len() } else { self.series.min(all.len()) };
        let shown = &all[..limit];
        let curves = curves(&Session::new(lake), &run, shown)?;

        let (bold, dim) = (terminal.bold(), terminal.dim());
        writeln!(terminal, "{bold}{}{bold:#}", text::printable(runs::title(&run)))?;
        let lost = snapshot.lost_ancestors()?;
        let about = format!("run {}/{} ", run.project, run.run_id);
        let lost = lost.iter().find_map(|line| line.strip_prefix(&about));
        for (what, said) in attributes(&run, &all, lost, age::now()) {
            writeln!(terminal, "  {dim}{what:<9}{dim:#} {}", text::printable(&said))?;
        }
        for (title, values) in [("config", &run.config), ("summary", &run.summary)] {
            if values.is_empty() {
                continue;
            }
            writeln!(terminal, "\n{bold}{title}{bold:#}")?;
            let flat = flatten(values);
            let width = flat.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0).min(40);
            for (key, value) in flat {
                writeln!(
                    terminal,
                    "  {dim}{:<width$}{dim:#}  {}",
                    text::printable(&key),
                    text::printable(&value)
                )?;
            }
        }
        writeln!(terminal, "\n{bold}series{bold:#}")?;
        if all.is_empty() {
            return Ok(writeln!(terminal, "  no points yet")?);
        }
        let drawn = tabulate(shown, &curves).draw(terminal.columns(), terminal.is_coloured());
        write!(terminal, "{drawn}")?;
        if limit < all.len() {
            let more = number::count((all.len() - limit) as u64);
            writeln!(terminal, "{dim}... {more} more; --series 0 shows all{dim:#}")?;
        }
        Ok(())
    }
}

/// What is known of the run itself, as pairs of a word and a value; what is unknown is left out.
fn attributes(
    run: &RunInfo,
    series: &[SeriesInfo],
    lost: Option<&str>,
    now: i64,
) -> Vec<(&'static str, String)> {
    let mut said = vec![("run", format!("{}/{}", run.project, run.run_id))];
    let state = match (run.state, run.exit_code) {
        (State::Finished, _) | (_, None) => run.state.as_str().to_owned(),
        (state, Some(code)) => format!("{} (exit code {code})", state.as_str()),
    };
    said.push(("state", state));
    let time = |time: i64| format!("{} ({})", age::utc(time), age::ago(time, now));
    let mut add = |what, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            said.push((what, value));
        }
    };
    add("started", run.created_at.map(time));
    add("ended", run.finished_at.map(time));
    add("took", runs::took(run, now).map(age::span));
    add("group", run.group_name.clone());
    add("job type", run.job_type.clone());
    add("tags", Some(run.tags.join(", ")));
    add("notes", run.notes.clone());
    add("host", run.host.clone());
    add("user", run.user_name.clone());
    add("program", run.program.clone());
    add("command", run.command.clone());
    add("commit", run.git_commit.clone());
    add("remote", run.git_remote.clone());
    add("sweep", run.sweep_id.clone());
    add(
        "parent",
        run.parent_run_id.as_ref().map(|parent| match run.fork_step {
            Some(step) => format!("{parent}, forked at step {step}"),
            None => parent.clone(),
        }),
    );
    add("missing", lost.map(str::to_owned));
    if run.launches.len() > 1 {
        add(
            "launches",
            Some(format!("{} (started {} times)", run.launches.join(", "), run.launches.len())),
        );
    }
    let points: u64 = series.iter().map(|series| series.count).sum();
    add(
        "points",
        Some(format!("{} in {} series", number::count(points), number::count(series.len() as u64))),
    );
    if run.dropped_rows > 0 {
        add(
            "dropped",
            Some(format!("{} could not be kept", number::counted(run.dropped_rows, "row"))),
        );
    }
    said
}

/// Nested values as dotted keys with the text of their values, in the order given.
fn flatten(values: &Map<String, Value>) -> Vec<(String, String)> {
    fn descend(prefix: &str, values: &Map<String, Value>, flat: &mut Vec<(String, String)>) {
        for (key, value) in values {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(inner) if !inner.is_empty() => descend(&key, inner, flat),
                Value::String(text) => flat.push((key, text.clone())),
                value => flat.push((key, value.to_string())),
            }
        }
    }
    let mut flat = Vec::new();
    descend("", values, &mut flat);
    flat
}

/// The curve of each of `series`, in their order.
fn curves(session: &Session, run: &RunInfo, series: &[SeriesInfo]) -> Result<Vec<String>, Failure> {
    let mut lines: Vec<Sparkline> =
        series.iter().map(|one| Sparkline::new(one.first_step, one.last_step, CURVE)).collect();
    if series.is_empty() {
        return Ok(Vec::new());
    }
    let place: FxHashMap<(&str, Option<&str>), usize> = series
        .iter()
        .enumerate()
        .map(|(at, one)| ((&*one.metric, one.labels.as_deref()), at))
        .collect();
    let relation = session.sql(&format!(
        "select metric, labels, step, value from points where project = {} and run_id = {}",
        text::sql(&run.project),
        text::sql(&run.run_id)
    ))?;
    let mut reader = relation.reader()?;
    while let Some(batch) = reader.next_batch() {
        let batch = batch?;
        let (metrics, labels) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let steps = batch.column(2).as_primitive::<Int64Type>();
        let values = batch.column(3).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let key = (metrics.value(row), labels.is_valid(row).then(|| labels.value(row)));
            if let Some(&at) = place.get(&key) {
                lines[at].add(steps.value(row), values.value(row));
            }
        }
    }
    Ok(lines.iter().map(Sparkline::draw).collect())
}

fn tabulate(series: &[SeriesInfo], curves: &[String]) -> Table {
    let is_labelled = series.iter().any(|series| series.labels.is_some());
    let mut table = Table::new().text("metric");
    if is_labelled {
        table = table.text("labels");
    }
    table = table.text("curve").number("last").number("min").number("max").number("mean");
    table = table.number("points").number("last step");
    if series.iter().any(|series| series.nan_count + series.inf_count > 0) {
        table = table.number("NaN, inf");
    }
    let is_finite = series.iter().all(|series| series.nan_count + series.inf_count == 0);
    let known = |value: Option<f64>| value.map_or_else(String::new, number::value);
    for (series, curve) in series.iter().zip(curves) {
        let mut row = vec![series.metric.to_string()];
        if is_labelled {
            row.push(series.labels.as_deref().unwrap_or_default().to_owned());
        }
        row.extend([
            curve.clone(),
            number::value(series.last_value),
            known(series.min_value),
            known(series.max_value),
            known(series.mean_value),
            number::count(series.count),
            series.last_step.to_string(),
        ]);
        if !is_finite {
            row.push(number::count(series.nan_count + series.inf_count));
        }
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_config_is_shown_with_dots() {
        let config = serde_json::json!({"optim": {"lr": 0.1, "betas": [0.9, 0.99]}, "name": "adam", "x": {}});
        let flat = flatten(config.as_object().unwrap());
        let flat: Vec<(&str, &str)> = flat.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            flat,
            [("optim.lr", "0.1"), ("optim.betas", "[0.9,0.99]"), ("name", "adam"), ("x", "{}")]
        );
    }
}
