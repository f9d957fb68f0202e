//! `runlake runs`: the runs, newest first.

use std::{io::Write as _, path::Path, sync::Arc};

use clap::Args;
use runlake_engine::{Filter, RunInfo, SeriesInfo, Snapshot};
use rustc_hash::FxHashMap;

use crate::{
    age, damage, failure::Failure, headline::headline, number, store, suggestion, table::Table,
    terminal::Terminal,
};

/// List runs, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake runs
  runlake runs --project digits --limit 0
  runlake sql \"select name, config->>'lr' lr, state from runs order by lr\"

`runlake sql` makes any other list, and writes it as CSV, JSON or Parquet.")]
pub(crate) struct Runs {
    /// Only the runs of this project
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Show at most so many, 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl Runs {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let snapshot = store::open(store)?.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let runs = of_project(&snapshot, self.project.as_deref())?;
        let limit = if self.limit == 0 { runs.len() } else { self.limit.min(runs.len()) };
        let table = tabulate(&snapshot, &runs[..limit])?;
        if table.is_empty() {
            return Ok(writeln!(terminal, "No runs yet.")?);
        }
        let drawn = table.draw(terminal.columns(), terminal.is_coloured());
        write!(terminal, "{drawn}")?;
        if limit < runs.len() {
            let dim = terminal.dim();
            let more = number::count((runs.len() - limit) as u64);
            writeln!(terminal, "{dim}... {more} more; --limit 0 shows all{dim:#}")?;
        }
        Ok(())
    }
}

/// The runs of `project`, or all, newest first. A project that has no run is an error with suggestions.
pub(crate) fn of_project(
    snapshot: &Snapshot,
    project: Option<&str>,
) -> Result<Vec<Arc<RunInfo>>, Failure> {
    let all = snapshot.runs()?;
    let Some(project) = project else { return Ok(all.to_vec()) };
    let runs: Vec<_> = all.iter().filter(|run| *run.project == *project).map(Arc::clone).collect();
    if runs.is_empty() {
        let failure = Failure::new(format!("no project '{project}'"));
        return Err(match suggestion::question(project, all.iter().map(|run| &*run.project)) {
            Some(question) => failure.hint(question),
            None => failure
                .hint("`runlake sql \"select distinct project from runs\"` lists the projects"),
        });
    }
    Ok(runs)
}

/// One row a run: its state, how far it is and its loss.
pub(crate) fn tabulate(snapshot: &Snapshot, runs: &[Arc<RunInfo>]) -> Result<Table, Failure> {
    let filter = Filter {
        projects: Some(runs.iter().map(|run| run.project.to_string()).collect()),
        runs: Some(runs.iter().map(|run| run.run_id.to_string()).collect()),
        metrics: None,
    };
    let series = if runs.is_empty() { Vec::new() } else { snapshot.series(&filter)? };
    let mut of_run: FxHashMap<(&str, &str), Vec<&SeriesInfo>> = FxHashMap::default();
    for series in &series {
        of_run.entry((&series.project, &series.run_id)).or_default().push(series);
    }
    let now = age::now();
    let named = runs.iter().any(|run| *title(run) != *run.run_id);
    let mut table = Table::new().text("run").text("project").text("state").number("last step");
    table = table.text("last loss").text("started").text("took");
    if named {
        table = table.text("id");
    }
    for run in runs {
        let series = of_run.remove(&(&*run.project, &*run.run_id)).unwrap_or_default();
        let last_step = series.iter().map(|series| series.last_step).max();
        let loss = headline(series.iter().copied());
        let known = |text: Option<String>| text.unwrap_or_default();
        let mut row = vec![
            title(run).to_owned(),
            run.project.to_string(),
            run.state.as_str().to_owned(),
            known(last_step.map(|step| step.to_string())),
            known(loss.map(|loss| format!("{} {}", number::value(loss.last_value), loss.metric))),
            known(run.created_at.map(|time| age::ago(time, now))),
            known(took(run, now).map(age::span)),
        ];
        if named {
            row.push(run.run_id.to_string());
        }
        table.row(row);
    }
    Ok(table)
}

/// What people call the run.
pub(crate) fn title(run: &RunInfo) -> &str {
    run.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&run.run_id)
}

/// How long the run took, or takes so far, in microseconds.
pub(crate) fn took(run: &RunInfo, now: i64) -> Option<i64> {
    let end = match run.state {
        runlake_engine::State::Running => Some(now),
        _ => run.finished_at.or(run.heartbeat_at),
    };
    Some(end?.saturating_sub(run.created_at?))
}
