//! Points in columns: what travels from the log to a segment.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a process holds fewer than 2^32 points and series at once"
)]

use std::{ops::Range, sync::Arc};

use rustc_hash::FxHashMap;

/// A time that nobody knows, where a time is stored as microseconds since 1970 (UTC).
pub const UNKNOWN_TIME: i64 = i64::MIN;

/// What a point belongs to, together with the launch that logged it. The order of the fields is the sort order of
/// segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The project.
    pub project: Arc<str>,
    /// The run, unique in its project.
    pub run_id: Arc<str>,
    /// The metric, such as `train/loss`.
    pub metric: Arc<str>,
    /// Further dimensions as canonical JSON, or none. None sorts first.
    pub labels: Option<Arc<str>>,
    /// The start of a job that logged the points.
    pub launch: Arc<str>,
}

/// Points in the order in which they were logged. Columns have one length; `series` holds indexes into `keys`.
#[derive(Debug, Default, Clone)]
pub struct Points {
    /// The distinct series, in the order of their first point.
    pub keys: Vec<SeriesKey>,
    /// For each point, its series as an index into `keys`.
    pub series: Vec<u32>,
    /// For each point, its step.
    pub steps: Vec<i64>,
    /// For each point, its time in microseconds since 1970 (UTC), or [`UNKNOWN_TIME`].
    pub times: Vec<i64>,
    /// For each point, its value, bit for bit as logged.
    pub values: Vec<f64>,
}

impl Points {
    /// The number of points.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True where there is no point.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Makes room for so many points more.
    pub fn reserve(&mut self, more: usize) {
        self.series.reserve(more);
        self.steps.reserve(more);
        self.times.reserve(more);
        self.values.reserve(more);
    }

    /// Appends one point of the series `keys[series]`.
    pub fn push(&mut self, series: u32, step: i64, time: i64, value: f64) {
        self.series.push(series);
        self.steps.push(step);
        self.times.push(time);
        self.values.push(value);
    }

    /// Appends all points of `other`; `index` is the one that made the keys so far.
    pub fn extend(&mut self, index: &mut SeriesIndex, other: &Self) {
        let codes: Vec<u32> =
            other.keys.iter().map(|key| index.intern(self, key.clone())).collect();
        self.series.extend(other.series.iter().map(|&series| codes[series as usize]));
        self.steps.extend_from_slice(&other.steps);
        self.times.extend_from_slice(&other.times);
        self.values.extend_from_slice(&other.values);
    }

    /// The steps of the points of one run.
    pub(crate) fn steps_of(&self, project: &str, run_id: &str) -> impl Iterator<Item = i64> {
        let mine = |key: &SeriesKey| &*key.project == project && &*key.run_id == run_id;
        let wanted: Vec<bool> = self.keys.iter().map(mine).collect();
        self.series
            .iter()
            .zip(&self.steps)
            .filter(move |(series, _)| wanted[**series as usize])
            .map(|(_, &step)| step)
    }

    /// Sorts by series and step. Points with equal series and step keep their order, which is the order of logging.
    /// Linear in the points where each series was logged in step order.
    pub fn sort(self) -> SortedPoints {
        let Self { keys: names, series: mut places, steps, times, values } = self;
        let mut order: Vec<u32> = (0..names.len() as u32).collect();
        order.sort_by(|&a, &b| names[a as usize].cmp(&names[b as usize]));
        // Equal keys share one rank, so that a key that was interned twice is one series again.
        let mut ranks = vec![0_u32; names.len()];
        let mut keys: Vec<SeriesKey> = Vec::with_capacity(order.len());
        for &at in &order {
            let key = &names[at as usize];
            if keys.last() != Some(key) {
                keys.push(key.clone());
            }
            ranks[at as usize] = keys.len() as u32 - 1;
        }
        let mut starts = vec![0_usize; keys.len() + 1];
        for series in &mut places {
            *series = ranks[*series as usize];
            starts[*series as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        // One column after the other, so that only one of them is there twice.
        let mut steps = distribute(steps, &places, &starts);
        let mut times = distribute(times, &places, &starts);
        let mut values = distribute(values, &places, &starts);
        drop(places);
        let mut series = Vec::with_capacity(keys.len());
        for (rank, key) in keys.into_iter().enumerate() {
            let rows = starts[rank]..starts[rank + 1];
            if rows.is_empty() {
                continue;
            }
            let own = &mut steps[rows.clone()];
            if !own.is_sorted() {
                // With the steps beside the rows, and by a sort that keeps the runs in which threads logged.
                let mut order: Vec<(i64, u32)> = own.iter().copied().zip(0..).collect();
                order.sort_by_key(|&(step, _)| step);
                let order: Vec<u32> = order.into_iter().map(|(_, row)| row).collect();
                rearrange(own, &order);
                rearrange(&mut times[rows.clone()], &order);
                rearrange(&mut values[rows.clone()], &order);
            }
            series.push(Series { key, rows });
        }
        SortedPoints { series, steps, times, values }
    }
}

/// Moves each number to where its series stands, in their order. `starts` is where each series starts.
fn distribute<T: Copy + Default>(column: Vec<T>, series: &[u32], starts: &[usize]) -> Vec<T> {
    let mut next = starts.to_vec();
    let mut sorted = vec![T::default(); column.len()];
    for (number, &series) in column.into_iter().zip(series) {
        let place = &mut next[series as usize];
        sorted[*place] = number;
        *place += 1;
    }
    sorted
}

/// Puts at each place the number from the place that `order` says.
fn rearrange<T: Copy>(column: &mut [T], order: &[u32]) {
    let arranged: Vec<T> = order.iter().map(|&from| column[from as usize]).collect();
    column.copy_from_slice(&arranged);
}

/// Gives each distinct [`SeriesKey`] one index into [`Points::keys`].
#[derive(Debug, Default)]
pub struct SeriesIndex(FxHashMap<SeriesKey, u32>);

impl SeriesIndex {
    /// The index of `key` in `points.keys`, added there where it is new.
    pub fn intern(&mut self, points: &mut Points, key: SeriesKey) -> u32 {
        *self.0.entry(key).or_insert_with_key(|key| {
            points.keys.push(key.clone());
            points.keys.len() as u32 - 1
        })
    }
}

/// One series and where its points stand in [`SortedPoints`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The series.
    pub key: SeriesKey,
    /// Its rows; never empty.
    pub rows: Range<usize>,
}

/// Points sorted by series and step, ties in the order of logging. Made by [`Points::sort`].
#[derive(Debug, Default, Clone)]
pub struct SortedPoints {
    /// The series in sort order; their rows tile the columns.
    pub series: Vec<Series>,
    /// For each point, its step.
    pub steps: Vec<i64>,
    /// For each point, its time in microseconds since 1970 (UTC), or [`UNKNOWN_TIME`].
    pub times: Vec<i64>,
    /// For each point, its value.
    pub values: Vec<f64>,
}

impl SortedPoints {
    /// The number of points.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True where there is no point.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The runs of series that share a project, in order. A segment holds one project only.
    pub fn projects(&self) -> impl Iterator<Item = &[Series]> {
        self.series.chunk_by(|a, b| a.key.project == b.key.project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(run_id: &str, metric: &str) -> SeriesKey {
        SeriesKey {
            project: "p".into(),
            run_id: run_id.into(),
            metric: metric.into(),
            labels: None,
            launch: "l".into(),
        }
    }

    #[test]
    fn sorting_keeps_the_order_of_logging_among_equal_steps() {
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        for (row, (run, metric, step)) in [
            ("b", "y", 1),
            ("a", "z", 7),
            ("b", "y", 0),
            ("a", "x", 3),
            ("b", "y", 1),
            ("a", "z", 7),
        ]
        .into_iter()
        .enumerate()
        {
            let series = index.intern(&mut points, key(run, metric));
            points.push(series, step, UNKNOWN_TIME, row as f64);
        }
        let sorted = points.sort();
        let names: Vec<_> = sorted
            .series
            .iter()
            .map(|s| (&*s.key.run_id, &*s.key.metric, s.rows.clone()))
            .collect();
        assert_eq!(names, [("a", "x", 0..1), ("a", "z", 1..3), ("b", "y", 3..6)]);
        assert_eq!(sorted.values, [3.0, 1.0, 5.0, 2.0, 0.0, 4.0]);
        assert_eq!(sorted.steps, [3, 7, 7, 0, 1, 1]);
    }
}
