//! Which segments exist, by version: a Delta Lake log that the engine writes itself.
//!
//! A table is a folder of immutable files and a log of commits, `_delta_log/`. A commit is one file that nobody but its
//! author creates ([`crate::disk::publish`]); it adds segments, removes segments and moves the watermarks of the logs
//! that the segments came from, all in one. A version is what all commits up to one of them add up to. Other engines
//! read the same folder as a Delta Lake table. docs/format/catalog.md draws the files.

mod action;
mod checkpoint;
mod commit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod kind;
mod location;
mod place;
mod table;
mod version;

pub(crate) use action::Add;
pub(crate) use kind::{ColumnType, TableKind};
#[cfg(test)]
pub(crate) use location::encode as encode_path;
pub(crate) use place::Place;
pub(crate) use table::Table;
pub(crate) use version::TableVersion;

/// A change of a table, to be made whole or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// Files that join. They are in their place and durable before the commit.
    pub(crate) adds: Vec<Add>,
    /// The names of segments that leave.
    pub(crate) removes: Vec<String>,
    /// How far logs are in the table from now on.
    pub(crate) txns: Vec<Txn>,
    /// What sort of change it is, for people: `flush`, `compact`.
    pub(crate) operation: &'static str,
    /// False where the rows of the table stay the same, as in a merge.
    pub(crate) data_change: bool,
    /// Whether the files that join hold the rows of those that leave, and so take the place of the last of them.
    pub(crate) takes_place: bool,
}

/// The watermark of one log moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Txn {
    /// The writer: its UUID, hyphenated, which is also the name of its folder in `log/`.
    pub(crate) app_id: String,
    /// The new watermark.
    pub(crate) version: i64,
    /// The commit is right only while the old watermark is below this one: one above that from which the log was read.
    pub(crate) expected_below: i64,
}

/// What became of an [`Edit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// It is in this version, durably.
    Committed(u64),
    /// Somebody else did the same before, durably: a watermark is past it, or a segment to remove is gone. The caller
    /// discards its files.
    Superseded,
}
