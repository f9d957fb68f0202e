//! `lttb(x, value, points)`: so many points that look like all of them.

use std::sync::Arc;

use arrow::{array::BooleanArray, datatypes::DataType};
use datafusion::logical_expr::WindowUDF;

use super::over::Over;

/// True for `points` of the rows: the first, the last, and of each of the parts between them the point that spans the
/// largest triangle with the one before it and the mean of the next part (S. Steinarsson, "Downsampling Time Series for
/// Visual Representation", University of Iceland, 2013). Rows that are no finite numbers are not among them.
pub(super) fn lttb() -> WindowUDF {
    let over = Over {
        name: "lttb",
        usage: "lttb(step, value, 100) over (partition by run_id order by step)",
        answers: Some(DataType::Boolean),
        answer: |arguments| {
            let wanted = arguments.how_many(2)?;
            let points = arguments.finite(0).zip(arguments.finite(1)).enumerate();
            let (rows, points): (Vec<usize>, Vec<[f64; 2]>) =
                points.filter_map(|(row, (x, value))| Some((row, [x?, value?]))).unzip();
            let mut keep = vec![false; arguments.rows()];
            for at in chosen(&points, wanted) {
                keep[rows[at]] = true;
            }
            Ok(Arc::new(BooleanArray::from(keep)))
        },
    };
    over.function(3)
}

/// The places of `wanted` of the points, in their order.
fn chosen(points: &[[f64; 2]], wanted: usize) -> Vec<usize> {
    if wanted >= points.len() {
        return (0..points.len()).collect();
    }
    let last = points.len() - 1;
    if wanted <= 2 {
        return [0, last][..wanted].to_vec();
    }
    // The points between the first and the last, in `wanted - 2` parts that differ by one point at most.
    let start = |part: usize| 1 + part * (last - 1) / (wanted - 2);
    let mut chosen = vec![0];
    for part in 0..wanted - 2 {
        let next =
            if part == wanted - 3 { last..last + 1 } else { start(part + 1)..start(part + 2) };
        let size = next.len() as f64;
        let mean = points[next].iter().fold([0.0; 2], |[x, y], point| [x + point[0], y + point[1]]);
        let (c, a) = ([mean[0] / size, mean[1] / size], points[chosen[part]]);
        // Twice the triangle; what is compared does not mind.
        let area =
            |b: [f64; 2]| ((a[0] - c[0]) * (b[1] - a[1]) - (a[0] - b[0]) * (c[1] - a[1])).abs();
        let areas = (start(part)..start(part + 1)).map(|at| (at, area(points[at])));
        let larger =
            |best: (usize, f64), one: (usize, f64)| if one.1 > best.1 { one } else { best };
        chosen.push(areas.fold((start(part), -1.0), larger).0);
    }
    chosen.push(last);
    chosen
}
