//! `runlake backup`: a copy of the lake as it is now.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{failure::Failure, interrupt::Interrupt, number, progress, store, terminal::Terminal};

/// Write a copy of the lake as it is now, while it may be written
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake backup /backup/runs-2026-11.lake

The copy is one moment of the lake: every row that was logged by then, also where it stands in the log of a living writer. It is a lake of its own, \
and its folder appears when it is whole. To have rows back, open it, or `runlake merge` it into the lake: what is there already is not \
copied again.")]
pub(crate) struct Backup {
    /// The folder for the copy, which must not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Backup {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let interrupt = Interrupt::listen()?;
        let bar = progress::bytes("copying", 0);
        let copied = lake.backup(&self.folder, &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
            !interrupt.is_raised()
        });
        bar.finish_and_clear();
        if copied?.is_given_up {
            return Err(Failure::interrupted("stopped before the copy was whole")
                .hint(format!("what was written stands in {}.part", self.folder.display())));
        }
        let copy = runlake_engine::Lake::open(&self.folder)?;
        let snapshot = copy.snapshot()?;
        writeln!(
            terminal,
            "{}: {} and {}",
            self.folder.display(),
            number::counted(snapshot.runs()?.len() as u64, "run"),
            number::counted(snapshot.segments().iter().map(|it| it.rows).sum(), "point")
        )?;
        Ok(())
    }
}
