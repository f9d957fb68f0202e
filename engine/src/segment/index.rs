//! The side index of a segment: for each series, its rows and what its points add up to.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use crate::{SeriesKey, UNKNOWN_TIME};

/// What the points of one series add up to. A monoid: `merge` of two summaries is the summary of the points of the
/// first followed by those of the second, in the order of logging, so that a series can be put together from
/// segments and tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) nan_count: u64,
    pub(crate) inf_count: u64,
    /// The least step and the value logged last at it.
    pub(crate) first: (i64, f64),
    /// The time of the first value, or [`UNKNOWN_TIME`].
    pub(crate) first_time: i64,
    /// The greatest step and the value logged last at it.
    pub(crate) last: (i64, f64),
    /// The time of the last value, or [`UNKNOWN_TIME`].
    pub(crate) last_time: i64,
    /// The greatest step that has a finite value, and that value.
    pub(crate) last_finite: Option<(i64, f64)>,
    /// The least finite value and the first step that has it. -0.0 is less than 0.0.
    pub(crate) min: Option<(i64, f64)>,
    /// The greatest finite value and the first step that has it.
    pub(crate) max: Option<(i64, f64)>,
    /// The sum of the finite values.
    pub(crate) sum: f64,
}

impl Summary {
    /// The summary of one point.
    pub(crate) fn of(step: i64, time: i64, value: f64) -> Self {
        let finite = value.is_finite().then_some((step, value));
        Self {
            count: 1,
            nan_count: value.is_nan().into(),
            inf_count: value.is_infinite().into(),
            first: (step, value),
            first_time: time,
            last: (step, value),
            last_time: time,
            last_finite: finite,
            min: finite,
            max: finite,
            // Not -0.0, so that it does not matter where adding starts.
            sum: finite.map_or(0.0, |(_, value)| 0.0 + value),
        }
    }

    /// The summary of points in the order of logging; `None` where there are none.
    pub(crate) fn of_points(points: impl Iterator<Item = (i64, i64, f64)>) -> Option<Self> {
        let mut summary: Option<Self> = None;
        for (step, time, value) in points {
            match &mut summary {
                Some(summary) => summary.push(step, time, value),
                None => summary = Some(Self::of(step, time, value)),
            }
        }
        summary
    }

    /// The summary of points that are sorted by step, ties in the order of logging; `None` where there are none. The same
    /// as [`Summary::of_points`], but faster: a segment is summarized as it is written.
    pub(crate) fn of_sorted(steps: &[i64], times: &[i64], values: &[f64]) -> Option<Self> {
        let (&first, &last) = (steps.first()?, steps.last()?);
        let first_at = steps.partition_point(|&step| step == first) - 1;
        let last_at = steps.len() - 1;
        let mut summary = Self::of(first, times[first_at], values[first_at]);
        summary.count = steps.len() as u64;
        (summary.last, summary.last_time) = ((last, values[last_at]), times[last_at]);
        let (mut least, mut greatest) = (usize::MAX, usize::MAX);
        let (mut min, mut max, mut sum) = (i64::MAX, i64::MIN, 0.0);
        let (mut nan_count, mut inf_count) = (0, 0);
        for (at, &value) in values.iter().enumerate() {
            if !value.is_finite() {
                nan_count += u64::from(value.is_nan());
                inf_count += u64::from(value.is_infinite());
                continue;
            }
            sum += value;
            // No finite value has the place of `min` or `max` as they begin. Nobody can guess which value is the next extreme, so
            // these are choices and not branches.
            let place = in_order(value);
            (min, least) = if place < min { (place, at) } else { (min, least) };
            (max, greatest) = if place > max { (place, at) } else { (max, greatest) };
        }
        (summary.nan_count, summary.inf_count, summary.sum) = (nan_count, inf_count, sum);
        summary.min = values.get(least).map(|min| (steps[least], *min));
        summary.max = values.get(greatest).map(|max| (steps[greatest], *max));
        // The last of all is finite but for rare ends.
        let last_finite = values.iter().rposition(|value| value.is_finite());
        summary.last_finite = last_finite.map(|at| (steps[at], values[at]));
        Some(summary)
    }

    /// Adds a point that was logged after these. The same as merging with its summary, but faster.
    #[inline]
    pub(crate) fn push(&mut self, step: i64, time: i64, value: f64) {
        self.count += 1;
        if step <= self.first.0 {
            self.first = (step, value);
            self.first_time = time;
        }
        if step >= self.last.0 {
            self.last = (step, value);
            self.last_time = time;
        }
        if !value.is_finite() {
            self.nan_count += u64::from(value.is_nan());
            self.inf_count += u64::from(value.is_infinite());
            return;
        }
        self.sum += value;
        let (Some(last), Some(min), Some(max)) =
            (&mut self.last_finite, &mut self.min, &mut self.max)
        else {
            let point = Some((step, value));
            (self.last_finite, self.min, self.max) = (point, point, point);
            return;
        };
        if step >= last.0 {
            *last = (step, value);
        }
        if is_less((value, step), (min.1, min.0)) {
            *min = (step, value);
        }
        if is_less((-value, step), (-max.1, max.0)) {
            *max = (step, value);
        }
    }

    /// The summary of these points and then `later` ones.
    #[must_use]
    pub(crate) fn merge(self, later: Self) -> Self {
        let starts_later = later.first.0 > self.first.0;
        let ends_later = later.last.0 >= self.last.0;
        Self {
            count: self.count + later.count,
            nan_count: self.nan_count + later.nan_count,
            inf_count: self.inf_count + later.inf_count,
            first: if starts_later { self.first } else { later.first },
            first_time: if starts_later { self.first_time } else { later.first_time },
            last: if ends_later { later.last } else { self.last },
            last_time: if ends_later { later.last_time } else { self.last_time },
            last_finite: either(self.last_finite, later.last_finite, |a, b| b.0 >= a.0),
            min: either(self.min, later.min, |a, b| is_less((b.1, b.0), (a.1, a.0))),
            max: either(self.max, later.max, |a, b| is_less((-b.1, b.0), (-a.1, a.0))),
            sum: self.sum + later.sum,
        }
    }
}

impl Summary {
    /// Whether this says the same as a recount, NaN by its bits. Sums may differ as far as the order of adding goes, and where
    /// they overflow; the first time where an older version did not keep it.
    pub(crate) fn agrees_with(&self, counted: &Self) -> bool {
        let bits = |summary: &Self| {
            let extremes = [summary.min, summary.max, summary.last_finite];
            let ends = [Some(summary.first), Some(summary.last)].into_iter().chain(extremes);
            ends.map(|end| end.map(|(step, value)| (step, value.to_bits()))).collect::<Vec<_>>()
        };
        let counts = |summary: &Self| (summary.count, summary.nan_count, summary.inf_count);
        let times = |summary: &Self| (summary.first_time, summary.last_time);
        let known = if self.first_time == UNKNOWN_TIME {
            (UNKNOWN_TIME, counted.last_time)
        } else {
            times(counted)
        };
        let size = |point: Option<(i64, f64)>| point.map_or(0.0, |(_, value)| value.abs());
        #[expect(clippy::cast_precision_loss, reason = "a bound, of which a few bits are enough")]
        let count = counted.count as f64;
        // Of n terms of at most x, in any order: n * eps * n * x (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
        let bound = size(counted.min).max(size(counted.max)) * count * count * f64::EPSILON;
        bits(self) == bits(counted)
            && counts(self) == counts(counted)
            && times(self) == known
            && (!bound.is_finite() || (self.sum - counted.sum).abs() <= bound)
    }
}

/// The place of a value in the order of [`f64::total_cmp`].
fn in_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Whether `a` comes before `b` by value, -0.0 before 0.0, then by step.
fn is_less(a: (f64, i64), b: (f64, i64)) -> bool {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()
}

/// Of two extremes the one that there is, or `b` where it beats `a`.
fn either(
    a: Option<(i64, f64)>,
    b: Option<(i64, f64)>,
    b_wins: impl Fn((i64, f64), (i64, f64)) -> bool,
) -> Option<(i64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b_wins(a, b) { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// One series of a segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IndexRow {
    pub(crate) key: SeriesKey,
    /// The first of its rows, which stand together.
    pub(crate) first_row: u64,
    pub(crate) summary: Summary,
}

impl IndexRow {
    /// Its rows in the segment.
    pub(crate) fn rows(&self) -> Range<u64> {
        self.first_row..self.first_row + self.summary.count
    }
}

/// Which series a segment holds, and where.
#[derive(Debug, Clone)]
pub struct SegmentIndex(pub(super) Arc<[IndexRow]>);

/// The rows of one series and launch in a segment, which stand together, by step.
#[derive(Debug, Clone)]
pub struct SeriesRows<'a> {
    /// The series.
    pub key: &'a SeriesKey,
    /// Its rows; never empty.
    pub rows: Range<u64>,
    /// The step of the first row.
    pub first_step: i64,
    /// The step of the last row.
    pub last_step: i64,
}

impl SegmentIndex {
    /// The series in the order of the file; their rows tile it.
    pub fn series(&self) -> impl ExactSizeIterator<Item = SeriesRows<'_>> + Clone {
        self.0.iter().map(|row| SeriesRows {
            key: &row.key,
            rows: row.rows(),
            first_step: row.summary.first.0,
            last_step: row.summary.last.0,
        })
    }
}

/// Something that was read before, shared by all clones of a [`super::SegmentMeta`]. It is no part of what is known of the
/// segment: two of them are equal whatever they hold.
#[derive(Clone)]
pub(super) struct Kept<T>(Arc<OnceLock<T>>);

impl<T: Clone> Kept<T> {
    pub(super) fn get(&self) -> Option<T> {
        self.0.get().cloned()
    }

    pub(super) fn set(&self, read: &T) {
        // Of two readers at once either may win: they have read the same.
        self.0.get_or_init(|| read.clone());
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "read" } else { "unread" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::tests::any_value;

    /// By hand and slowly, from the definition.
    fn model(points: &[(i64, i64, f64)]) -> Summary {
        let finite: Vec<_> = points.iter().copied().filter(|point| point.2.is_finite()).collect();
        let last_at = |points: &[(i64, i64, f64)], step: i64| {
            *points.iter().rfind(|point| point.0 == step).unwrap()
        };
        let first = points.iter().map(|point| point.0).min().unwrap();
        let last = points.iter().map(|point| point.0).max().unwrap();
        let last_finite = finite.iter().map(|point| point.0).max();
        let extreme = |wanted: Option<f64>| {
            let same =
                |point: &&(i64, i64, f64)| wanted.map(f64::to_bits) == Some(point.2.to_bits());
            let step = finite.iter().filter(same).map(|point| point.0).min()?;
            Some((step, wanted?))
        };
        let (min, max) = (
            finite.iter().map(|point| point.2).min_by(f64::total_cmp),
            finite.iter().map(|point| point.2).max_by(f64::total_cmp),
        );
        Summary {
            count: points.len() as u64,
            nan_count: points.iter().filter(|point| point.2.is_nan()).count() as u64,
            inf_count: points.iter().filter(|point| point.2.is_infinite()).count() as u64,
            first: (first, last_at(points, first).2),
            first_time: last_at(points, first).1,
            last: (last, last_at(points, last).2),
            last_time: last_at(points, last).1,
            last_finite: last_finite.map(|step| (step, last_at(&finite, step).2)),
            min: extreme(min),
            max: extreme(max),
            sum: 0.0,
        }
    }

    /// Everything but the sum, which depends on the order of adding; NaN by its bits.
    fn text(summary: Summary) -> String {
        let (first, last) = (summary.first.1.to_bits(), summary.last.1.to_bits());
        format!("{first:x} {last:x} {:?}", Summary { sum: 0.0, ..summary })
    }

    proptest! {
        #[test]
        fn a_summary_in_parts_is_the_summary_of_the_whole(
            points in proptest::collection::vec((-4..5_i64, 0..9_i64, any_value()), 1..40),
            cuts in proptest::collection::vec(0..40_usize, 2),
        ) {
            let whole = Summary::of_points(points.iter().copied()).unwrap();
            prop_assert_eq!(text(whole), text(model(&points)));
            let (a, b) = (cuts[0].min(points.len()), cuts[1].min(points.len()));
            let parts = [&points[..a.min(b)], &points[a.min(b)..a.max(b)], &points[a.max(b)..]];
            let merged = parts
                .into_iter()
                .filter_map(|part| Summary::of_points(part.iter().copied()))
                .reduce(Summary::merge)
                .unwrap();
            prop_assert_eq!(text(merged), text(whole));
        }

        #[test]
        fn sorted_points_add_up_to_the_same(mut points in proptest::collection::vec((-4..5_i64, 0..9_i64, any_value()), 1..40)) {
            points.sort_by_key(|point| point.0);
            let steps: Vec<i64> = points.iter().map(|point| point.0).collect();
            let times: Vec<i64> = points.iter().map(|point| point.1).collect();
            let values: Vec<f64> = points.iter().map(|point| point.2).collect();
            let (sorted, one_by_one) = (
                Summary::of_sorted(&steps, &times, &values).unwrap(),
                Summary::of_points(points.iter().copied()).unwrap(),
            );
            prop_assert_eq!(text(sorted), text(one_by_one));
            prop_assert_eq!(sorted.sum.to_bits(), one_by_one.sum.to_bits());
        }

        #[test]
        fn the_sum_is_that_of_the_finite_values(values in proptest::collection::vec(-999..999_i32, 1..50)) {
            let points = values.iter().map(|&value| (0, 0, f64::from(value)));
            let summary = Summary::of_points(points.chain([(0, 0, f64::NAN), (1, 0, f64::INFINITY)]));
            prop_assert_eq!(summary.unwrap().sum, f64::from(values.iter().sum::<i32>()));
        }
    }
}
