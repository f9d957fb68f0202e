//! `time_bucket('10 seconds', time)`, `time_bucket(100, step)`: where the part of an axis begins in which something lies.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, Int64Array},
    datatypes::{DataType, Int64Type, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{Result, plan_err},
    functions::datetime::date_bin,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use crate::QueryError;

/// Times are put into intervals as `date_bin` does it, from 1970 on; whole numbers are rounded down to a multiple, below
/// zero too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, DataType::Timestamp(_, zone)] => Ok(vec![
                DataType::Interval(IntervalUnit::MonthDayNano),
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            ]),
            [width, value] if width.is_integer() && value.is_integer() => {
                Ok(vec![DataType::Int64; 2])
            }
            _ => plan_err!("time_bucket puts times into intervals, and whole numbers into widths"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if arguments.args[1].data_type() != DataType::Int64 {
            return date_bin().invoke_with_args(arguments);
        }
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [widths, values] = [0, 1].map(|at: usize| columns[at].as_primitive::<Int64Type>());
        let buckets = widths.iter().zip(values).map(|(width, value)| {
            let (Some(width), Some(value)) = (width, value) else { return Ok(None) };
            if width < 1 {
                let detail = format!("a bucket is at least 1 wide, not {width}");
                return Err(QueryError::Invalid { detail });
            }
            Ok(Some(value.saturating_sub(value.rem_euclid(width))))
        });
        Ok(ColumnarValue::Array(Arc::new(buckets.collect::<Result<Int64Array, _>>()?)))
    }
}
