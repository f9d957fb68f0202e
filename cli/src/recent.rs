//! `runlake` alone: the recent runs, or how to begin.

use std::{fmt::Write as _, io::Write as _, path::Path};

use runlake_engine::{Lake, store::Resolution};

use crate::{damage, failure::Failure, number, runs, store, terminal::Terminal};

/// How many runs the short list has.
const RECENT: usize = 12;

/// Lists the recent runs of the lake that is meant, or says how to begin where there is none.
pub(crate) fn list(store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
    let found = store::resolve(store)?;
    if !found.exists {
        return Ok(write!(terminal, "{}", welcome(&found))?);
    }
    let snapshot = Lake::open(&found.path)?.snapshot()?;
    let all = snapshot.runs()?;
    let (bold, dim) = (terminal.bold(), terminal.dim());
    writeln!(
        terminal,
        "{bold}{}{bold:#}  {dim}{}{dim:#}\n",
        found.path.display(),
        number::counted(all.len() as u64, "run")
    )?;
    if all.is_empty() {
        return Ok(writeln!(terminal, "No runs yet. A first one:\n\n{FIRST_RUN}")?);
    }
    let recent = &all[..all.len().min(RECENT)];
    let table = runs::tabulate(&snapshot, recent)?;
    let drawn = table.draw(terminal.columns(), terminal.is_coloured());
    write!(terminal, "{drawn}")?;
    if all.len() > recent.len() {
        writeln!(
            terminal,
            "{dim}... {} more: runlake runs{dim:#}",
            number::count((all.len() - recent.len()) as u64)
        )?;
    }
    damage::warn(snapshot.problems(), terminal);
    writeln!(
        terminal,
        "\n{dim}runlake show @last, runlake plot METRIC, runlake sql QUERY, runlake --help{dim:#}"
    )?;
    Ok(())
}

const FIRST_RUN: &str = "    \
    import runlake

    run = runlake.init(project=\"my-project\", config={\"lr\": 0.1})
    for step in range(100):
        run.log({\"loss\": 1 / (step + 1)})
    run.finish()
";

fn welcome(found: &Resolution) -> String {
    let mut text = "There is no lake here yet: no runs have been logged.\n\nLooked at\n".to_owned();
    for place in &found.looked {
        writeln!(text, "    {place}").expect("memory takes every write");
    }
    write!(
        text,
        "\nTo begin, in Python (this creates {}):\n\n{FIRST_RUN}\n\
         Or see how it works, in half a minute:  runlake demo\n\
         Or bring the runs that you have:        runlake import points --help\n\
         Or name a lake that stands elsewhere:   runlake --store DIR\n",
        found.path.display()
    )
    .expect("memory takes every write");
    text
}
