//! `runlake compact`: the logs of dead writers become segments, many segments become few, and what nobody needs any more
//! is removed.

use std::{io::Write as _, path::Path};

use clap::Args;
use runlake_engine::{Compacted, Flushed};

use crate::{failure::Failure, number, progress, store, terminal::Terminal, text};

/// Take in the logs of writers that ended, merge small files into large ones, and free what they replaced
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake compact
  runlake compact --gc-now
  runlake compact --adopt-host node7

Safe at any time, also while runs are logged: no point changes, and no query is stopped. Where no writer is alive, \
tables/points is a Delta table with every point of the lake afterwards, and tables/runs, config and series say of its runs what \
SQL does: polars, DuckDB and Spark read them as they stand.")]
pub(crate) struct Compact {
    /// Free at once what compaction has replaced, instead of after an hour; queries that still read it fail
    #[arg(long)]
    gc_now: bool,

    /// Take in also the logs of writers on this host, which is gone for good: what one there logged after this would be lost
    #[arg(long, value_name = "HOST")]
    adopt_host: Vec<String>,
}

impl Compact {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let bar = progress::things("adopting", 0);
        let flushed = lake.adopt_hosts(&self.adopt_host, &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let flushed = flushed?;
        let bar = progress::things("merging", 0);
        let compacted = lake.compact(self.gc_now, &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
            true
        });
        bar.finish_and_clear();
        let compacted = compacted?;
        say(terminal, flushed, &compacted)?;
        if compacted.merged > 0 && !self.gc_now {
            writeln!(terminal, "what they replaced goes in an hour, or at once with --gc-now")?;
        }

        let snapshot = lake.snapshot()?;
        let segments = snapshot.segments();
        writeln!(
            terminal,
            "{} in {} now ({})",
            number::counted(segments.iter().map(|segment| segment.rows).sum(), "point"),
            number::counted(segments.len() as u64, "segment"),
            number::bytes(segments.iter().map(|segment| segment.bytes).sum())
        )?;
        let live: usize = snapshot.tail().iter().map(|points| points.len()).sum();
        if live > 0 {
            writeln!(
                terminal,
                "{} stay in the logs of writers that live",
                number::counted(live as u64, "point")
            )?;
        }
        Ok(())
    }
}

fn say(terminal: &mut Terminal, flushed: Flushed, compacted: &Compacted) -> Result<(), Failure> {
    writeln!(
        terminal,
        "{} taken in, with {}",
        number::counted(flushed.adopted, "log"),
        number::counted(flushed.points, "point")
    )?;
    if compacted.purged_points > 0 {
        let what = number::counted(compacted.purged_points, "point");
        writeln!(terminal, "{what} of deleted runs left out")?;
    }
    writeln!(
        terminal,
        "{} merged into {}, {} freed",
        number::counted(compacted.merged, "segment"),
        number::count(compacted.into),
        number::bytes(compacted.freed_bytes)
    )?;
    if compacted.folded > 0 {
        let what = number::counted(compacted.folded, "file");
        writeln!(terminal, "{what} of the tables runs, config and series written")?;
    }
    if compacted.is_busy {
        writeln!(terminal, "nothing was merged here: another process is merging")?;
    }
    if compacted.lacks_space {
        writeln!(terminal, "not all was merged: the disk is almost full")?;
    }
    for problem in &compacted.problems {
        writeln!(terminal, "left as it is: {}", text::printable(problem))?;
    }
    Ok(())
}
