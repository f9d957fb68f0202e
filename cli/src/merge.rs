//! `runlake merge`: lakes of many machines become one.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use runlake_engine::Lake;

use crate::{failure::Failure, interrupt::Interrupt, number, progress, store, terminal::Terminal};

/// Merge lakes into one: their runs, points and facts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake merge /local/runs.lake --into /shared/runs.lake
  runlake merge node-*/runs.lake --into all.lake
  runlake merge node-*/runs.lake --into all.lake --final

Each node logs to a lake on its own disk, and now and then, or at the end, that is merged into the shared one. A merge can be repeated \
at any time, while the sources go on, and after it was killed: what is there already is not copied again, and what the source has compacted or \
deleted meanwhile is replaced. What stands in the log of a living writer comes once it is flushed there. With --final the files become the \
target's own, to be compacted with all others; merge that source no more.")]
pub(crate) struct Merge {
    /// The lakes to merge
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,

    /// The lake that takes them in; made where there is none
    #[arg(long, value_name = "DST")]
    into: PathBuf,

    /// The last merge of these lakes
    #[arg(long)]
    r#final: bool,
}

impl Merge {
    pub(crate) fn run(self, terminal: &mut Terminal) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        // All of them first, so that a name that is wrong is found before anything is copied.
        let sources = self.sources.iter().map(|source| Ok((source, store::open(Some(source))?)));
        let sources: Vec<(&PathBuf, Lake)> = sources.collect::<Result<_, Failure>>()?;
        let target = store::open_or_create(Some(&self.into))?;
        let (paths, sources): (Vec<&PathBuf>, Vec<Lake>) = sources.into_iter().unzip();
        let bar = progress::bytes("merging", 0);
        let mut done = Vec::new();
        let merged = target.merge_all(&sources, self.r#final, &mut done, &mut |copied, of| {
            bar.set_length(of);
            bar.set_position(copied);
            !interrupt.is_raised()
        });
        bar.finish_and_clear();
        let whole = done.iter().take_while(|merged| !merged.is_given_up);
        for (path, merged) in paths.iter().zip(whole) {
            say(terminal, path, *merged)?;
        }
        if let Err(error) = merged {
            let failure = Failure::from(error);
            return Err(match paths.get(done.len()) {
                Some(path) => failure.context(path.display()),
                None => failure,
            });
        }
        if done.iter().any(|merged| merged.is_given_up) {
            return Err(Failure::interrupted("stopped before all was merged")
                .hint("the same command goes on where it stopped"));
        }
        Ok(())
    }
}

fn say(
    terminal: &mut Terminal,
    path: &Path,
    merged: runlake_engine::Merged,
) -> Result<(), Failure> {
    let what = if merged.segments == 0 && merged.left == 0 {
        "nothing new".to_owned()
    } else {
        format!(
            "{} in {} ({}), {} replaced",
            number::counted(merged.points, "point"),
            number::counted(merged.segments, "segment"),
            number::bytes(merged.bytes),
            number::count(merged.left)
        )
    };
    Ok(writeln!(terminal, "{}: {what}", path.display())?)
}
