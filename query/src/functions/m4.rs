//! `m4(x, value, columns)`: the points that a chart of so many columns needs.

use std::sync::Arc;

use arrow::{array::BooleanArray, datatypes::DataType};
use datafusion::logical_expr::WindowUDF;

use super::over::Over;

/// True for the first, the last, the least and the greatest point of each of `columns` equal parts of the axis: a line
/// through these sets the same pixels as a line through all (U. Jugel, Z. Jerzak, G. Hackenbroich and V. Markl, "M4: A
/// Visualization-Oriented Time Series Data Aggregation", PVLDB 7, 2014).
pub(super) fn m4() -> WindowUDF {
    let over = Over {
        name: "m4",
        usage: "m4(step, value, 100) over (partition by run_id order by step)",
        answers: Some(DataType::Boolean),
        answer: |arguments| {
            let columns = arguments.how_many(2)?;
            let points = arguments.finite(0).zip(arguments.finite(1)).enumerate();
            let points: Vec<(usize, f64, f64)> =
                points.filter_map(|(row, (x, value))| Some((row, x?, value?))).collect();
            let mut keep = vec![false; arguments.rows()];
            let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
            let greatest = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of a whole, and so from 0 to the number of columns"
            )]
            let column = |x: f64| match greatest - least {
                0.0 => 0,
                width => (((x - least) / width * columns as f64) as usize).min(columns - 1),
            };
            let mut columns: Vec<Option<Column>> = vec![None; columns];
            for &(row, x, value) in &points {
                let found = &mut columns[column(x)];
                match found {
                    Some(found) => found.add(row, x, value),
                    None => *found = Some(Column::new(row, x, value)),
                }
            }
            for row in columns.into_iter().flatten().flat_map(Column::rows) {
                keep[row] = true;
            }
            Ok(Arc::new(BooleanArray::from(keep)))
        },
    };
    over.function(3)
}

/// Four points of a column: where they are, and what makes them the ones.
#[derive(Debug, Clone)]
struct Column {
    first: (usize, f64),
    last: (usize, f64),
    least: (usize, f64),
    greatest: (usize, f64),
}

impl Column {
    fn new(row: usize, x: f64, value: f64) -> Self {
        Self { first: (row, x), last: (row, x), least: (row, value), greatest: (row, value) }
    }

    fn add(&mut self, row: usize, x: f64, value: f64) {
        if x < self.first.1 {
            self.first = (row, x);
        }
        if x >= self.last.1 {
            self.last = (row, x);
        }
        if value < self.least.1 {
            self.least = (row, value);
        }
        if value > self.greatest.1 {
            self.greatest = (row, value);
        }
    }

    fn rows(self) -> [usize; 4] {
        [self.first.0, self.last.0, self.least.0, self.greatest.0]
    }
}
