//! `runlake init`: makes a lake before the first run does, to say with whom it is shared.

use std::{io::Write as _, path::Path};

use clap::Args;
use runlake_engine::LakeOptions;

use crate::{failure::Failure, store, terminal::Terminal, text};

/// Make a lake, as the first run would
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake init
  runlake --store /data/lab/runs.lake init --group
  sg lab -c 'runlake --store /data/runs.lake init --group'

With --group all members of the group of the new folder can log to the lake, flush and compact it: files there belong to \
that group, which may write them, whatever anybody's umask is. The group is that of the folder around it if that one is \
setgid, else your own; `sg` picks another.")]
pub(crate) struct Init {
    /// Share the lake with the group of its folder
    #[arg(long)]
    group: bool,
}

impl Init {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let found = store::resolve(store)?;
        let path = found.path.display().to_string();
        if found.exists {
            return Err(Failure::new(format!("there is a lake already at {path}"))
                .hint("a lake is shared with a group when it is made"));
        }
        let mut options = LakeOptions::default();
        (options.create, options.shared_group) = (true, self.group);
        let group = options.open(&found.path)?.health()?.group;
        let shared = group.map_or(String::new(), |group| format!(", shared with group {group}"));
        Ok(writeln!(terminal, "a new lake at {}{shared}", text::printable(&path))?)
    }
}
