//! Stores the metrics of training runs in one directory, while they train.
//!
//! A [`Lake`] is a directory. Trainers log rows to [`Run`]s; a row is safe from a kill of its process as soon as
//! `log` returns and safe from a power cut once synced. Background threads flush rows from the log into sorted
//! Parquet segments, which a Delta Lake log catalogs. Readers, in any process, work from a [`Snapshot`].
//!
//! It is not a server and knows no SQL (see `runlake-query`); it has no async runtime.
mod catalog;
mod compaction;
mod disk;
mod effective;
mod error;
mod fact;
mod filter;
mod flush;
mod lake;
mod log;
mod names;
mod os;
mod points;
mod process;
mod run;
mod runs;
mod segment;
mod series;
mod snapshot;
pub mod store;
mod tail;

pub use compaction::Compacted;
pub use effective::Hidden;
pub use error::{Error, Result};
pub use fact::{Fact, FactKind};
pub use filter::Filter;
pub use flush::Flushed;
pub use lake::{Health, Lake, LakeMetrics, LakeOptions};
pub use names::{LabelsId, MetricId};
pub use points::{Points, Series, SeriesIndex, SeriesKey, SortedPoints, UNKNOWN_TIME};
pub use run::{Run, RunBuilder, RunStats};
pub use runs::{RunInfo, State};
pub use segment::SegmentMeta;
pub use series::SeriesInfo;
pub use snapshot::Snapshot;
