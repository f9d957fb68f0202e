//! `ema(value, alpha)`: a curve without its noise.

use std::sync::Arc;

use arrow::{array::Float64Array, datatypes::DataType};
use datafusion::logical_expr::WindowUDF;

use super::over::Over;

/// The exponential moving average, in which each value has the weight `alpha` and what came before the rest of it
/// (S. W. Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1, 1959). It is divided by the
/// weight of all values so far (D. P. Kingma and J. Ba, "Adam", ICLR 2015), so that the first values are no nearer to zero.
pub(super) fn ema() -> WindowUDF {
    let over = Over {
        name: "ema",
        usage: "ema(value, 0.1) over (partition by run_id order by step)",
        answers: Some(DataType::Float64),
        answer: |arguments| {
            let alpha = arguments.constant(1).filter(|alpha| *alpha > 0.0 && *alpha <= 1.0);
            let alpha = alpha.ok_or_else(|| {
                arguments.wrong("the weight of a value is more than 0 and at most 1")
            })?;
            let smooth: Float64Array = smoothed(1.0 - alpha, arguments.finite(0)).collect();
            Ok(Arc::new(smooth))
        },
    };
    over.function(2)
}

/// The average at each of `values`; `weight` is that of the past. Where there is no value there is no average, and the next
/// one goes on from the last.
pub(crate) fn smoothed(
    weight: f64,
    values: impl Iterator<Item = Option<f64>>,
) -> impl Iterator<Item = Option<f64>> {
    let (mut average, mut unseen) = (0.0, 1.0);
    values.map(move |value| {
        average = weight * average + (1.0 - weight) * value?;
        unseen *= weight;
        Some(average / (1.0 - unseen))
    })
}
