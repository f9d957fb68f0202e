//! The functions that SQL has here beyond those of DataFusion.

mod attempt;
mod counts;
mod ema;
mod gaps;
mod label;
mod lttb;
mod m4;
mod over;
mod time_bucket;

use std::sync::Arc;

use arrow::array::{Array as _, StringViewArray};
use datafusion::{
    common::Result,
    execution::{FunctionRegistry as _, session_state::SessionState},
    logical_expr::ScalarUDF,
};

pub(crate) use attempt::Attempt;
pub(crate) use counts::Counts;
pub(crate) use ema::smoothed;
pub(crate) use gaps::last_known;

/// Registers our functions, and `->`, `->>` and `?` on JSON text with the functions that they stand for.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    datafusion_functions_json::register_all(state)?;
    state.register_udf(Arc::new(ScalarUDF::from(label::Label::new())))?;
    state.register_udf(Arc::new(ScalarUDF::from(time_bucket::TimeBucket::new())))?;
    for function in [ema::ema(), gaps::interpolate(), last_known(), lttb::lttb(), m4::m4()] {
        state.register_udwf(Arc::new(function))?;
    }
    Ok(())
}

/// Tells rows that hold the same texts as the row before. It compares views, not texts: sorted rows that were read from
/// a dictionary share them, and a text that is stored twice only costs one more look-up.
struct Same<'a, const N: usize> {
    columns: [&'a StringViewArray; N],
    last: Option<[Option<u128>; N]>,
}

impl<'a, const N: usize> Same<'a, N> {
    fn new(columns: [&'a StringViewArray; N]) -> Self {
        Self { columns, last: None }
    }

    /// True where `row` holds what the row of the last call held. Views tell that only within one array.
    fn as_last(&mut self, row: usize) -> bool {
        let now = self.columns.map(|column| (!column.is_null(row)).then(|| column.views()[row]));
        self.last.replace(now) == Some(now)
    }

    /// The texts of `row`.
    fn texts(&self, row: usize) -> [Option<&'a str>; N] {
        self.columns.map(|column| (!column.is_null(row)).then(|| column.value(row)))
    }
}
