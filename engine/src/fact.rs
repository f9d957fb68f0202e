//! Facts: what is said about a run. Everything that can change is an append; the newest wins.

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{self, AtomicI64},
    },
};

/// One thing said about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The project.
    pub project: Arc<str>,
    /// The run, unique in its project.
    pub run_id: Arc<str>,
    /// What sort of thing is said.
    pub kind: FactKind,
    /// What it is said of: a config key, a tag, an attribute of the run.
    pub key: Arc<str>,
    /// What is said, as JSON text; `None` takes it back.
    pub value: Option<Arc<str>>,
    /// The launch in which it was said.
    pub launch: Arc<str>,
    /// When it was said: microseconds since 1970 (UTC), moved forward so that what follows is larger.
    pub hlc: i64,
    /// The writer (its UUID, hyphenated) that said it.
    pub writer: Arc<str>,
    /// Where it stands in that writer's log: file number * 2^32 + byte.
    pub position: i64,
}

impl Fact {
    /// The attribute of a run ([`FactKind::Run`]) that says that it is deleted.
    pub(crate) const DELETED: &str = "deleted";

    /// Whether it says that a run is deleted, or takes that back.
    pub(crate) fn tells_of_deletion(&self) -> bool {
        self.kind == FactKind::Run && &*self.key == Self::DELETED
    }

    /// Orders facts by age, newest last: by clock, then writer, then position.
    pub fn cmp_age(&self, other: &Self) -> Ordering {
        (self.hlc, &self.writer, self.position).cmp(&(other.hlc, &other.writer, other.position))
    }
}

/// Gives each fact of a run a clock of its own: of two, the later one is newer, also where the wall clock stands still or goes
/// back.
#[derive(Debug)]
pub(crate) struct Clock(AtomicI64);

impl Clock {
    /// A clock behind the newest fact that is known of the run; 0 where none is.
    pub(crate) fn after(last: i64) -> Self {
        Self(AtomicI64::new(last))
    }

    /// The clock of the next fact, `now_us` or more.
    pub(crate) fn next(&self, now_us: i64) -> i64 {
        let further = |last: i64| Some(now_us.max(last.saturating_add(1)));
        let relaxed = atomic::Ordering::Relaxed;
        // ORDERING: Relaxed: the clock only has to grow, which the read-modify-write sees to.
        let before = self.0.fetch_update(relaxed, relaxed, further).unwrap_or(now_us);
        now_us.max(before.saturating_add(1))
    }
}

/// What sort of thing a [`Fact`] says. The text on disk is the lower-case name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactKind {
    /// An attribute of the run: `name`, `group_name`, `job_type`, `notes`, `host`, `user_name`, `program`, `command`,
    /// `git_commit`, `git_remote`, `created_at`, `exit_code` and so on.
    Run,
    /// What a writer says of the run's state; the key is the writer (its UUID), so that each has its own word.
    State,
    /// One top-level key of the configuration, its value nested as the user gave it.
    Config,
    /// One top-level key of the summary that the user set.
    Summary,
    /// A tag; its value is `true`, or none where it was taken off.
    Tag,
    /// A launch that wrote to the run; the key is the launch. Of these the *oldest* counts: launches rank by when they
    /// were first seen.
    Launch,
    /// What was defined of a metric, or of all that a pattern matches; the key is the metric. See [`crate::Definition`].
    Metric,
    /// That a launch went back: the key is the launch, the value the last step that it kept of what earlier launches logged.
    Rewind,
    /// That the run was forked: the key is the run that it started from, the value the last step that it shows of that one. Of these the
    /// *oldest* counts: where a run comes from never changes.
    Fork,
    /// Rows that a writer could not keep; the key is the writer, the value a count.
    Dropped,
    /// A kind that a later version wrote; kept as it is.
    Other(Arc<str>),
}

impl FactKind {
    /// The text on disk.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Run => "run",
            Self::State => "state",
            Self::Config => "config",
            Self::Summary => "summary",
            Self::Tag => "tag",
            Self::Launch => "launch",
            Self::Metric => "metric",
            Self::Rewind => "rewind",
            Self::Fork => "fork",
            Self::Dropped => "dropped",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for FactKind {
    fn from(text: &str) -> Self {
        match text {
            "run" => Self::Run,
            "state" => Self::State,
            "config" => Self::Config,
            "summary" => Self::Summary,
            "tag" => Self::Tag,
            "launch" => Self::Launch,
            "metric" => Self::Metric,
            "rewind" => Self::Rewind,
            "fork" => Self::Fork,
            "dropped" => Self::Dropped,
            other => Self::Other(other.into()),
        }
    }
}
