//! SQL over a lake of training runs, while they train.
//!
//! A [`Session`] answers SQL about one [`Lake`](runlake_engine::Lake). Each query sees one snapshot of it: the committed
//! segments and the live tail of every process that writes, in one answer. SQL only reads; it changes nothing and opens
//! no other file. The tables and functions stand in `docs/sql.md`.
//!
//! It has a blocking face ([`Session::sql`], [`Relation::collect`], [`Relation::reader`]) and an async one
//! ([`Session::sql_async`], [`Relation::stream`]); both run on one pool of threads a process. [`Session::context`] is the
//! lake at the level of DataFusion, where a program registers tables of its own.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use runlake_engine::Lake;
//! use runlake_query::Session;
//!
//! let folder = tempfile::tempdir()?;
//! let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
//! let run = lake.run("digits").start()?;
//! run.log_named(0, &[("loss", 0.5)])?;
//!
//! let relation = Session::new(lake).sql("select metric, value from points")?;
//! let (_schema, batches) = relation.collect()?;
//! assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
//! # Ok(())
//! # }
//! ```
mod culprit;
mod dialect;
mod error;
mod functions;
mod headings;
mod memory;
mod names;
mod parameter;
mod plain;
mod process;
mod pushdown;
mod relation;
mod session;
mod statement;
mod stop;
mod tables;

/// What [`Session::context`] speaks.
pub use datafusion;
pub use error::{QueryError, Result};
pub use parameter::Parameter;
pub use relation::{Batches, Reader, Relation};
pub use session::Session;
