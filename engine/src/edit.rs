//! Changes what is said of a run without starting it.

use serde_json::Value;

use crate::{
    Error, Fact, FactKind, Lake, Result, RunInfo, deletion,
    fact::Clock,
    log::{frame::Frame, writer::NotKept},
    names::RunName,
    os,
};

/// Says things of a run that is there, finished or not: each call is one fact, seen by every reader at its return. Made by
/// [`Lake::edit`]. Not a launch: it changes neither the state of the run nor which of its points count.
///
/// ```
/// # fn main() -> Result<(), runlake_engine::Error> {
/// use runlake_engine::{Lake, State};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
/// lake.run("digits").id("first").start()?.finish(State::Finished)?;
///
/// let run = lake.snapshot()?.find_run("first")?;
/// let edit = lake.edit(&run)?;
/// edit.tag("baseline", true)?;
/// edit.attribute("notes", Some("the one to beat".into()))?;
/// assert_eq!(lake.snapshot()?.find_run("first")?.tags, ["baseline"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RunEdit {
    lake: Lake,
    run_id: String,
    /// What stands for the run in log files.
    number: u32,
    /// The clock of the newest fact of the run.
    clock: Clock,
}

impl Lake {
    /// Begins to change what is said of `run`.
    ///
    /// # Errors
    /// [`Error::Io`] where the lake cannot be written.
    pub fn edit(&self, run: &RunInfo) -> Result<RunEdit> {
        let name = RunName {
            project: run.project.to_string(),
            run_id: run.run_id.to_string(),
            // Facts that no launch said. Launches have names, so it is nobody's.
            launch: String::new(),
        };
        let number = self.core().names.runs.id(&name)?;
        let (run_id, clock) = (name.run_id, Clock::after(run.clock));
        Ok(RunEdit { lake: self.clone(), run_id, number, clock })
    }
}

impl RunEdit {
    /// Sets one top-level key of the configuration; `None` removes it.
    pub fn config(&self, key: &str, value: Option<Value>) -> Result<()> {
        self.say(&FactKind::Config, key, value)
    }

    /// Sets one top-level key of the summary; `None` removes it, and the last value of the metric shows again.
    pub fn summary(&self, key: &str, value: Option<Value>) -> Result<()> {
        self.say(&FactKind::Summary, key, value)
    }

    /// Adds a tag, or takes it off.
    pub fn tag(&self, tag: &str, on: bool) -> Result<()> {
        self.say(&FactKind::Tag, tag, on.then_some(Value::Bool(true)))
    }

    /// Sets an attribute: `name`, `notes`, `group_name`, `job_type`, ...; `None` removes it.
    pub fn attribute(&self, key: &str, value: Option<Value>) -> Result<()> {
        if key == Fact::DELETED {
            let detail = "runs are deleted by `delete` and restored by `restore`".to_owned();
            return Err(Error::Invalid { what: "attribute", detail });
        }
        self.say(&FactKind::Run, key, value)
    }

    /// Deletes the run: no reader of ours sees it or its points from here on. A compaction a week later, or the next one
    /// with `for_good`, leaves its points out of the files, and so frees their space and hides them from readers of the Delta tables.
    /// Whoever resumes the run before that restores it.
    pub fn delete(&self, for_good: bool) -> Result<()> {
        let word = if for_good { deletion::FOR_GOOD } else { deletion::RESTORABLE };
        self.say(&FactKind::Run, Fact::DELETED, Some(word.into()))
    }

    /// Takes a deletion back. What a compaction has left out meanwhile is gone.
    pub fn restore(&self) -> Result<()> {
        self.say(&FactKind::Run, Fact::DELETED, None)
    }

    fn say(&self, kind: &FactKind, key: &str, value: Option<Value>) -> Result<()> {
        let text = value.map(|value| value.to_string());
        let hlc = self.clock.next(os::now_us());
        let (run, kind) = (self.number, kind.as_str());
        let frame = Frame::Fact { run, hlc, kind, key, value: text.as_deref() };
        // Unlike a row of a trainer, what somebody says by hand is never left out without an error.
        self.lake.core().append(&frame).map_err(|error| match error {
            NotKept::Name(error) => *error,
            NotKept::Full(error) => {
                Error::Dropped { run: self.run_id.clone(), detail: error.to_string() }
            }
            NotKept::Retired => Error::Dropped {
                run: self.run_id.clone(),
                detail: "the log was taken over again and again".to_owned(),
            },
            NotKept::TooLarge(bytes) => {
                let detail = format!("{bytes} bytes are more than a fact may have");
                Error::Invalid { what: "fact", detail }
            }
        })
    }
}
