//! Stores the metrics of training runs in one directory, while they train.
//!
//! A [`Lake`] is a directory. Trainers log rows to [`Run`]s; a row is safe from a kill of its process as soon as
//! `log` returns and safe from a power cut once synced. Background threads flush rows from the log into sorted
//! Parquet segments, which a Delta Lake log catalogs. Readers, in any process, work from a [`Snapshot`].
//!
//! It is not a server and knows no SQL (see `runlake-query`); it has no async runtime.
#![cfg_attr(
    proof,
    allow(dead_code, unused_imports, reason = "the proofs compile the log and what it stands on")
)]

#[cfg(not(proof))]
mod ancestry;
#[cfg(not(proof))]
mod catalog;
#[cfg(not(proof))]
mod chart;
#[cfg(not(proof))]
mod compaction;
#[cfg(not(proof))]
mod definition;
#[cfg(not(proof))]
mod deletion;
mod disk;
#[cfg(not(proof))]
mod edit;
#[cfg(not(proof))]
mod effective;
mod error;
mod fact;
#[cfg(not(proof))]
mod filter;
#[cfg(not(proof))]
mod flush;
#[cfg(not(proof))]
mod folded;
#[cfg(all(any(test, fuzzing), not(proof)))]
pub mod fuzzing;
#[cfg(not(proof))]
pub mod json;
#[cfg(not(proof))]
mod lake;
mod log;
#[cfg(not(proof))]
mod merge;
mod names;
mod os;
mod points;
#[cfg(not(proof))]
mod process;
#[cfg(not(proof))]
mod run;
#[cfg(not(proof))]
mod runs;
#[cfg(not(proof))]
mod segment;
#[cfg(not(proof))]
mod series;
#[cfg(not(proof))]
mod snapshot;
#[cfg(not(proof))]
pub mod store;
#[cfg(not(proof))]
mod summary;
#[cfg(not(proof))]
mod tail;

#[cfg(not(proof))]
pub use ancestry::{Heir, Inherited};
#[cfg(not(proof))]
pub use chart::{Axis, Bucket, ChartRequest, ChartSeries, Curve, X};
#[cfg(not(proof))]
pub use compaction::{Compacted, Expired};
#[cfg(not(proof))]
pub use definition::{Aggregate, Definition, Goal};
#[cfg(not(proof))]
pub use edit::RunEdit;
#[cfg(not(proof))]
pub use effective::Hidden;
pub use error::{Error, Result};
pub use fact::{Fact, FactKind};
#[cfg(not(proof))]
pub use filter::Filter;
#[cfg(not(proof))]
pub use flush::Flushed;
#[cfg(not(proof))]
pub use lake::{Expiry, Health, Lake, LakeMetrics, LakeOptions, SilentWriter};
pub use log::LogMode;
#[cfg(not(proof))]
pub use merge::Merged;
pub use names::{LabelsId, MetricId};
pub use points::{Points, Series, SeriesIndex, SeriesKey, SortedPoints, UNKNOWN_TIME};
#[cfg(not(proof))]
pub use run::{Run, RunBuilder, RunStats};
#[cfg(not(proof))]
pub use runs::{RunInfo, State};
#[cfg(not(proof))]
pub use segment::{MetricSize, PointRows, SegmentIndex, SegmentMeta, SeriesRows, StepPage};
#[cfg(not(proof))]
pub use series::SeriesInfo;
#[cfg(not(proof))]
pub use snapshot::Snapshot;
#[cfg(not(proof))]
pub use summary::summary;
