//! What the engine promises, one module for each promise.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set up should stop"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "numbers of rows are small"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests act on lakes from outside, with clocks and files of their own"
)]

mod chart;
mod compaction;
mod expire;
mod footprint;
mod group;
mod hosts;
mod images;
mod kills;
mod log;
mod logging;
mod many_runs;
mod many_series;
mod merge;
mod mode;
mod mutants;
mod recovery;
mod stall;
mod steady;
mod travel;

use arrow::{
    array::AsArray as _,
    datatypes::{Float64Type, Int32Type, Int64Type},
};
use runlake_engine::{Filter, Snapshot};

/// False where the environment asks for logs in pwrite mode: the promises that rest on mappings, or on a file that an
/// adopter removes, are others then.
pub(crate) fn logs_are_mapped() -> bool {
    std::env::var("RUNLAKE_LOG_MODE").as_deref() != Ok("pwrite")
}

/// A point as it comes back: run, metric, labels, step, the bits of the value.
pub(crate) type Seen = (String, String, Option<String>, i64, u64);

/// Every point of a snapshot, in the order of the scan.
pub(crate) fn points(snapshot: &Snapshot) -> Vec<Seen> {
    points_of(snapshot, &Filter::default())
}

/// The points of a snapshot that `filter` wants, in the order of the scan.
pub(crate) fn points_of(snapshot: &Snapshot, filter: &Filter) -> Vec<Seen> {
    let mut seen = Vec::new();
    for batch in snapshot.scan(filter).unwrap() {
        let batch = batch.unwrap();
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_dictionary::<Int32Type>();
            let values = column.values().as_string::<i32>();
            column.key(row).map(|key| values.value(key).to_owned())
        };
        let (steps, values) = (
            batch.column(5).as_primitive::<Int64Type>(),
            batch.column(7).as_primitive::<Float64Type>(),
        );
        for row in 0..batch.num_rows() {
            seen.push((
                text(1, row).unwrap(),
                text(2, row).unwrap(),
                text(3, row),
                steps.value(row),
                values.value(row).to_bits(),
            ));
        }
    }
    seen
}
