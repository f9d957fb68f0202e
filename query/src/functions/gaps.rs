//! `last_known(value)` and `interpolate(x, value)`: what stands where nothing was logged.

use std::sync::Arc;

use arrow::{
    array::{Array as _, Float64Array, UInt64Array},
    compute::take,
    datatypes::DataType,
};
use datafusion::{common::DataFusionError, logical_expr::WindowUDF};

use super::over::Over;

/// The value of the row, or where it has none, that of the last row before it that has one; NaN is a value.
pub(crate) fn last_known() -> WindowUDF {
    let over = Over {
        name: "last_known",
        usage: "last_known(value) over (partition by run_id order by step)",
        answers: None,
        answer: |arguments| {
            let column = arguments.column(0);
            let mut last = None;
            let rows = (0_u64..).zip(0..column.len()).map(|(place, row)| {
                if column.is_valid(row) {
                    last = Some(place);
                }
                last
            });
            let rows: UInt64Array = rows.collect();
            take(column, &rows, None).map_err(DataFusionError::from)
        },
    };
    over.function(1)
}

/// The value of the row, or where it has none, one on the straight line between those before and after it. What has no
/// finite value on one of the sides has none.
pub(super) fn interpolate() -> WindowUDF {
    let over = Over {
        name: "interpolate",
        usage: "interpolate(step, value) over (partition by run_id order by step)",
        answers: Some(DataType::Float64),
        answer: |arguments| {
            let places: Vec<Option<f64>> = arguments.finite(0).collect();
            let values: Vec<Option<f64>> = arguments.known(1).collect();
            let finite: Vec<Option<(f64, f64)>> = places
                .iter()
                .zip(arguments.finite(1))
                .map(|(place, value)| Some(((*place)?, value?)))
                .collect();
            let mut after = vec![None; values.len()];
            let mut next = None;
            for row in (0..values.len()).rev() {
                next = finite[row].or(next);
                after[row] = next;
            }
            let mut before = None;
            let filled = (0..values.len()).map(|row| {
                before = finite[row].or(before);
                values[row].or_else(|| {
                    let ((x0, y0), (x1, y1), x) = (before?, after[row]?, places[row]?);
                    Some(if x1 == x0 { y0 } else { y0 + (y1 - y0) * ((x - x0) / (x1 - x0)) })
                })
            });
            Ok(Arc::new(filled.collect::<Float64Array>()))
        },
    };
    over.function(2)
}
