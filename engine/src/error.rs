//! What can go wrong, grouped by what the caller can do about it.

use std::{io, path::PathBuf};

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, grouped by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No lake stands at this path. Name another with `store=` or `$RUNLAKE_STORE`, or log a first run.
    #[error("no lake at {}{}", path.display(), looked_at(looked))]
    NoLake {
        /// Where a lake was expected.
        path: PathBuf,
        /// Every place that was looked at, in order, with the rule that led there.
        looked: Vec<String>,
    },
    /// The operating system refused an operation. Fix the cause and try again; nothing was lost.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: "open", "sync".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds bytes that this version never writes. Restore it, or run `runlake verify`.
    #[error("{} is corrupt at byte {offset}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found there.
        detail: String,
    },
    /// The lake was written by a newer version. Upgrade runlake.
    #[error("{} needs {feature}, which this version of runlake does not know: upgrade runlake", path.display())]
    Unsupported {
        /// The file that names the feature.
        path: PathBuf,
        /// The feature or version that is not known here.
        feature: String,
    },
    /// An argument cannot be used. Change the call.
    #[error("{what}: {detail}")]
    Invalid {
        /// The argument.
        what: &'static str,
        /// Why it cannot be used and what would do.
        detail: String,
    },
    /// A name matches nothing, or more than one thing. Use one of the candidates.
    #[error("{}", unknown(kind, name, candidates, *ambiguous))]
    Unknown {
        /// What was named: "run", "project".
        kind: &'static str,
        /// The name as given.
        name: String,
        /// What it could have meant, best first.
        candidates: Vec<String>,
        /// True where several match, false where none does.
        ambiguous: bool,
    },
    /// The files that a snapshot names were removed meanwhile. Take a new snapshot.
    #[error("the snapshot has expired: {} is gone", path.display())]
    SnapshotExpired {
        /// The file that is gone.
        path: PathBuf,
    },
    /// A row could not be kept, and the lake is strict about it. Free space, or log without `strict`.
    #[error("a row of run {run} was not kept: {detail}")]
    Dropped {
        /// The run.
        run: String,
        /// What stood in the way.
        detail: String,
    },
}

impl Error {
    /// Wraps what the system said with what was attempted and on which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Says where a file stops making sense.
    pub(crate) fn corrupt(
        path: impl Into<PathBuf>,
        offset: u64,
        detail: impl Into<String>,
    ) -> Self {
        Self::Corrupt { path: path.into(), offset, detail: detail.into() }
    }

    /// True where the file or folder does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn looked_at(looked: &[String]) -> String {
    if looked.is_empty() { String::new() } else { format!("; looked at: {}", looked.join(", ")) }
}

fn unknown(kind: &str, name: &str, candidates: &[String], ambiguous: bool) -> String {
    match (ambiguous, candidates) {
        (true, _) => format!("{kind} '{name}' is ambiguous: {}", candidates.join(", ")),
        (false, []) => format!("no {kind} '{name}'"),
        (false, [oldest, newest]) if kind == "version" => {
            format!("no version {name} is kept; there are {oldest} to {newest}")
        }
        (false, _) => format!("no {kind} '{name}'; did you mean {}?", candidates.join(" or ")),
    }
}
