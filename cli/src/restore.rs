//! `runlake restore`: brings deleted runs back.

use std::{io::Write as _, path::Path};

use clap::Args;

use crate::{age, damage, failure::Failure, number, runs, store, table::Table, terminal::Terminal};

/// Bring deleted runs back, or list them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake restore
  runlake restore calm-otter-17

Without a RUN it lists the deleted runs that can be restored. A run can be restored for a week after `runlake rm`, and after that until \
`runlake compact` has left its points out.")]
pub(crate) struct Restore {
    /// The runs
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
}

impl Restore {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        if self.runs.is_empty() {
            let deleted = snapshot.deleted_runs()?;
            if deleted.is_empty() {
                return Ok(writeln!(terminal, "No run is deleted.")?);
            }
            let now = age::now();
            let mut table = Table::new().text("run").text("project").text("deleted").text("id");
            for run in deleted.iter() {
                table.row([
                    runs::title(run).to_owned(),
                    run.project.to_string(),
                    run.deleted_at.map(|at| age::ago(at, now)).unwrap_or_default(),
                    run.run_id.to_string(),
                ]);
            }
            let drawn = table.draw(terminal.columns(), terminal.is_coloured());
            return Ok(write!(terminal, "{drawn}")?);
        }
        let found = self.runs.iter().map(|name| snapshot.find_deleted_run(name));
        let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| {
            Failure::from(error).hint("`runlake restore` lists the runs that can be restored")
        })?;
        for run in &found {
            lake.edit(run)?.restore()?;
        }
        lake.sync()?;
        Ok(writeln!(terminal, "restored {}", number::counted(found.len() as u64, "run"))?)
    }
}
