//! `runlake tag`, `runlake note`, `runlake rename`: what people say of a run after it ended.

use std::{io::Write as _, path::Path, sync::Arc};

use clap::Args;
use runlake_engine::{Lake, RunEdit, RunInfo};
use serde_json::Value;

use crate::{damage, failure::Failure, runs, store, terminal::Terminal, text};

/// Put tags on a run, or take them off
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake tag @last baseline
  runlake tag calm-otter-17 baseline paper --off draft
  runlake tag @last                                  shows them")]
pub(crate) struct Tag {
    /// The run
    run: String,

    /// The tags to put on
    #[arg(value_name = "TAG")]
    tags: Vec<String>,

    /// A tag to take off; may be given several times
    #[arg(long, value_name = "TAG")]
    off: Vec<String>,
}

/// Write a note on a run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake note @last \"diverged after the warmup\"
  runlake note @last                                 shows it
  runlake note @last \"\"                              takes it off")]
pub(crate) struct Note {
    /// The run
    run: String,

    /// The note, in the place of the one that is there
    note: Option<String>,
}

/// Give a run another name
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake rename @last \"the one to beat\"

The id of a run stays what it is.")]
pub(crate) struct Rename {
    /// The run
    run: String,

    /// Its name from here on
    name: String,
}

impl Tag {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let mut run = find(&lake, &self.run, terminal)?;
        if !(self.tags.is_empty() && self.off.is_empty()) {
            let change = |edit: &RunEdit| {
                self.off.iter().try_for_each(|tag| edit.tag(tag, false))?;
                self.tags.iter().try_for_each(|tag| edit.tag(tag, true))
            };
            run = edit(&lake, &run, change)?;
        }
        let tags = if run.tags.is_empty() { "no tags".to_owned() } else { run.tags.join(", ") };
        show(&run, &tags, terminal)
    }
}

impl Note {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let mut run = find(&lake, &self.run, terminal)?;
        if let Some(note) = self.note {
            let note = (!note.is_empty()).then_some(Value::String(note));
            run = edit(&lake, &run, |edit| edit.attribute("notes", note.clone()))?;
        }
        show(&run, run.notes.as_deref().unwrap_or("no note"), terminal)
    }
}

impl Rename {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        if self.name.is_empty() {
            return Err(Failure::usage("a name has at least one character"));
        }
        let lake = store::open(store)?;
        let run = find(&lake, &self.run, terminal)?;
        let name = Value::String(self.name);
        let renamed = edit(&lake, &run, |edit| edit.attribute("name", Some(name.clone())))?;
        show(&renamed, &format!("was {}", runs::title(&run)), terminal)
    }
}

fn find(lake: &Lake, run: &str, terminal: &Terminal) -> Result<Arc<RunInfo>, Failure> {
    let snapshot = lake.snapshot()?;
    damage::warn(snapshot.problems(), terminal);
    Ok(snapshot.find_run(run)?)
}

/// Changes what is said of `run`, waits until that is durable, and returns the run as it is then.
fn edit(
    lake: &Lake,
    run: &RunInfo,
    change: impl FnOnce(&RunEdit) -> runlake_engine::Result<()>,
) -> Result<Arc<RunInfo>, Failure> {
    change(&lake.edit(run)?)?;
    lake.sync()?;
    Ok(lake.snapshot()?.find_run(&format!("{}/{}", run.project, run.run_id))?)
}

fn show(run: &RunInfo, said: &str, terminal: &mut Terminal) -> Result<(), Failure> {
    let dim = terminal.dim();
    let (title, said) = (text::printable(runs::title(run)), text::printable(said));
    Ok(writeln!(terminal, "{title}  {dim}{}/{}{dim:#}  {said}", run.project, run.run_id)?)
}
