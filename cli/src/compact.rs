//! `runlake compact`: the logs of dead writers become segments.

use std::{io::Write as _, path::Path};

use clap::Args;

use crate::{failure::Failure, number, progress, store, terminal::Terminal};

/// Take in the logs of writers that ended, so that other engines can read every point
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake compact
  runlake compact --gc-now

Safe at any time, also while runs are logged. Where no writer is alive, tables/points is a Delta table with every point
of the lake afterwards: polars, DuckDB and Spark read it as it stands.")]
pub(crate) struct Compact {
    /// Free at once what compaction has replaced, instead of after an hour; queries that still read it fail
    #[arg(long)]
    gc_now: bool,
}

impl Compact {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let bar = progress::things("compacting", 0);
        let flushed = lake.adopt(&mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let flushed = flushed?;
        let snapshot = lake.snapshot()?;
        writeln!(
            terminal,
            "{} taken in, with {}",
            number::counted(flushed.adopted, "log"),
            number::counted(flushed.points, "point")
        )?;
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
        if self.gc_now {
            // Segments are not merged yet, so none is ever replaced.
            writeln!(terminal, "nothing to free: no segment was replaced")?;
        }
        Ok(())
    }
}
