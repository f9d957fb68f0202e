//! `runlake rm`: deletes runs, after it has shown them.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
};

use clap::Args;
use runlake_engine::{Filter, RunInfo, Snapshot, State};

use crate::{damage, failure::Failure, number, runs, store, terminal::Terminal};

/// Delete runs: shows them, asks, and hides them at once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake rm @last
  runlake rm calm-otter-17 digits/3f2a --yes
  runlake restore calm-otter-17

A deleted run is hidden from every reader of the lake at once, and can be restored for a week; who resumes it restores it, too. The \
first `runlake compact` after that week leaves its points out of the files: only then its space is free, and only then other programs that \
read the Delta tables cease to see it. With --for-good the next `runlake compact` does that.")]
pub(crate) struct Rm {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Do not keep them for a week: the next `runlake compact` leaves them out
    #[arg(long)]
    for_good: bool,

    /// Also runs that are running: what they log from here on is hidden, too
    #[arg(long)]
    force: bool,
}

impl Rm {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let mut doomed: Vec<Arc<RunInfo>> = Vec::new();
        for name in &self.runs {
            let run = snapshot.find_run(name)?;
            if !doomed.iter().any(|known| Arc::ptr_eq(known, &run)) {
                doomed.push(run);
            }
        }
        let running = doomed.iter().find(|run| run.state == State::Running);
        if let Some(run) = running.filter(|_| !self.force) {
            return Err(Failure::new(format!("{} is running", runs::title(run)))
                .hint("stop it first, or delete it all the same with --force"));
        }
        let points = points_of(&snapshot, &doomed)?;
        let drawn = runs::tabulate(&snapshot, &doomed)?;
        write!(terminal, "{}", drawn.draw(terminal.columns(), terminal.is_coloured()))?;
        for line in losses(&snapshot, &doomed)? {
            writeln!(terminal, "{line}")?;
        }
        let what = format!(
            "{} with {}",
            number::counted(doomed.len() as u64, "run"),
            number::counted(points, "point")
        );
        if !self.yes && !is_agreed(&what, self.for_good, terminal)? {
            return Err(Failure::new("nothing was deleted"));
        }
        for run in &doomed {
            lake.edit(run)?.delete(self.for_good)?;
        }
        lake.sync()?;
        writeln!(terminal, "deleted {what}")?;
        let next = if self.for_good {
            "`runlake compact` frees their space".to_owned()
        } else {
            let names: Vec<&str> = doomed.iter().map(|run| runs::title(run)).collect();
            format!("for a week, `runlake restore {}` brings them back", names.join(" "))
        };
        Ok(writeln!(terminal, "{next}")?)
    }
}

/// Asks whoever sits at the terminal. Without one nobody can agree.
fn is_agreed(what: &str, for_good: bool, terminal: &mut Terminal) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("nobody is there to ask").hint("say --yes to delete without a question")
        );
    }
    let how = if for_good { "for good" } else { "restorable for a week" };
    write!(terminal, "delete {what}, {how}? [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What runs that stay lose because they were forked from one that goes, a line each.
fn losses(snapshot: &Snapshot, doomed: &[Arc<RunInfo>]) -> Result<Vec<String>, Failure> {
    let runs = snapshot.runs()?;
    let stays = |run: &&Arc<RunInfo>| !doomed.iter().any(|it| Arc::ptr_eq(it, run));
    let loss = |fork: &Arc<RunInfo>| {
        let is_parent = |run: &&Arc<RunInfo>| {
            run.project == fork.project && Some(&*run.run_id) == fork.parent_run_id.as_deref()
        };
        let (parent, step) = doomed.iter().find(is_parent).zip(fork.fork_step)?;
        let [fork, parent] = [fork, parent].map(|run| runs::title(run));
        Some(format!("{fork} was forked from {parent}, and loses its points up to step {step}"))
    };
    Ok(runs.iter().filter(stays).filter_map(loss).collect())
}

fn points_of(snapshot: &Snapshot, runs: &[Arc<RunInfo>]) -> Result<u64, Failure> {
    let filter = Filter {
        projects: Some(runs.iter().map(|run| run.project.to_string()).collect()),
        runs: Some(runs.iter().map(|run| run.run_id.to_string()).collect()),
        metrics: None,
    };
    let is_meant = |project: &str, run_id: &str| {
        runs.iter().any(|run| (&*run.project, &*run.run_id) == (project, run_id))
    };
    let series = snapshot.series(&filter)?;
    let mine = series.iter().filter(|series| is_meant(&series.project, &series.run_id));
    Ok(mine.map(|series| series.count).sum())
}
