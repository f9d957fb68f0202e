//! Charts along other axes than steps: every point has its place, so all points are read.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    Axis, Bucket, ChartSeries, Key, X, at_once, curve,
    parts::{Columns, Parts},
    width::Width,
};
use crate::{Filter, Result, Snapshot, UNKNOWN_TIME, segment::Summary};

/// Where the points of one series lie on the axis.
#[derive(Debug, Clone)]
enum Line {
    /// At their time, from this one on.
    Time(i64),
    /// Where another series is at that step: its steps and finite values.
    Series(Arc<(Vec<i64>, Vec<f64>)>),
    /// Nowhere.
    Nowhere,
}

impl Line {
    /// The place of each point of a series, by step; none where it has no place.
    fn places<'a>(
        &'a self,
        steps: &'a [i64],
        times: &'a [i64],
    ) -> impl Iterator<Item = Option<X>> + 'a {
        let mut next = 0;
        steps.iter().zip(times).map(move |(step, &time)| match self {
            Self::Time(origin) => {
                (time != UNKNOWN_TIME).then(|| X::Whole(time.saturating_sub(*origin)))
            }
            Self::Series(series) => {
                let (known, values) = &**series;
                next += known[next..].iter().take_while(|known| *known < step).count();
                known.get(next).filter(|known| *known == step).map(|_| X::Real(values[next]))
            }
            Self::Nowhere => None,
        })
    }
}

impl X {
    fn before(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Self::Whole(a.min(b)),
            (Self::Real(a), Self::Real(b)) => Self::Real(a.min(b)),
            // One axis has one sort of places.
            _ => self,
        }
    }

    fn after(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Self::Whole(a.max(b)),
            (Self::Real(a), Self::Real(b)) => Self::Real(a.max(b)),
            _ => self,
        }
    }
}

/// Places from one to another, both included.
#[derive(Debug, Clone, Copy)]
enum Range {
    Whole(i64, i64),
    Real(f64, f64),
}

impl Range {
    fn holds(self, x: X) -> bool {
        match (self, x) {
            (Self::Whole(from, to), X::Whole(x)) => from <= x && x <= to,
            (Self::Real(from, to), X::Real(x)) => from <= x && x <= to,
            _ => false,
        }
    }
}

/// Buckets of equal width on an axis.
#[derive(Debug, Clone, Copy)]
enum Grid {
    Whole(Width),
    Real { first: f64, width: f64, most: usize },
}

impl Grid {
    /// At most `most` buckets that take in everything from `first` to `last`.
    fn new(first: X, last: X, most: usize) -> Self {
        match (first, last) {
            (X::Whole(first), X::Whole(last)) => Self::Whole(Width::of_range((first, last), most)),
            (X::Real(first), X::Real(last)) => {
                // Halves, so that the longest range does not overflow.
                let width = (last / 2.0 - first / 2.0) / most as f64 * 2.0;
                Self::Real { first, width, most }
            }
            _ => Self::Real { first: 0.0, width: 0.0, most },
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn number(self, x: X) -> u64 {
        match (self, x) {
            (Self::Whole(width), X::Whole(x)) => width.number(x),
            (Self::Real { first, width, most }, X::Real(x)) if width > 0.0 => {
                let number = ((x / 2.0 - first / 2.0) / width * 2.0) as u64;
                // The last one takes in the end of the range.
                number.min(most as u64 - 1)
            }
            _ => 0,
        }
    }

    fn start(self, number: u64) -> X {
        match self {
            Self::Whole(width) => X::Whole(width.start(number)),
            Self::Real { first, width, .. } => X::Real(first + width * number as f64),
        }
    }
}

/// What the points in a bucket add up to, and the places of the first and the last of them.
type Held = (Summary, X, X);

/// A chart along an axis that is not that of steps.
pub(super) fn draw(
    snapshot: &Snapshot,
    parts: &Parts,
    axis: &Axis,
    most: usize,
) -> Result<Vec<ChartSeries>> {
    let lines = lines(snapshot, parts, axis)?;
    let range = match *axis {
        Axis::Metric { from, to, .. } => {
            Range::Real(from.unwrap_or(f64::NEG_INFINITY), to.unwrap_or(f64::INFINITY))
        }
        Axis::Step { from, to } | Axis::Time { from, to } | Axis::RelativeTime { from, to } => {
            Range::Whole(from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX))
        }
    };
    let times = !matches!(axis, Axis::Metric { .. });
    let within = parts.within(i64::MIN, i64::MAX);
    let jobs = parts.readings(&within);
    // Where the buckets are follows from where the first and the last point are.
    let ends = at_once(&jobs, |job| {
        let mut ends: Option<(X, X)> = None;
        let part: Vec<usize> = job.parts().collect();
        parts.read(job, times, |at, steps, times, _| {
            let places = lines[within[part[at]].slot].places(steps, times).flatten();
            for x in places.filter(|x| range.holds(*x)) {
                let (first, last) = ends.unwrap_or((x, x));
                ends = Some((first.before(x), last.after(x)));
            }
        })?;
        Ok(ends)
    })?;
    let ends = ends.into_iter().flatten().reduce(|a, b| (a.0.before(b.0), a.1.after(b.1)));
    let Some((first, last)) = ends else { return Ok(Vec::new()) };
    let grid = Grid::new(first, last, most);
    let done = at_once(&jobs, |job| {
        let part: Vec<usize> = job.parts().collect();
        let mut held: Vec<FxHashMap<u64, Held>> = vec![FxHashMap::default(); part.len()];
        parts.read(job, times, |at, steps, times, values| {
            let places = lines[within[part[at]].slot].places(steps, times);
            for (row, x) in places.enumerate() {
                let Some(x) = x.filter(|x| range.holds(*x)) else { continue };
                let (step, time, value) = (steps[row], times[row], values[row]);
                held[at]
                    .entry(grid.number(x))
                    .and_modify(|(summary, first, last)| {
                        summary.push(step, time, value);
                        (*first, *last) = (first.before(x), last.after(x));
                    })
                    .or_insert_with(|| (Summary::of(step, time, value), x, x));
            }
        })?;
        Ok(held)
    })?;
    let mut drawn: Vec<FxHashMap<u64, Held>> = vec![FxHashMap::default(); parts.keys.len()];
    // Jobs are in the order in which their points were logged, so that of equal steps the latest logged counts.
    for (job, held) in jobs.iter().zip(done) {
        for (part, held) in job.parts().zip(held) {
            let buckets = &mut drawn[within[part].slot];
            #[expect(clippy::iter_over_hash_type, reason = "no two of these are of one bucket")]
            for (number, (summary, first, last)) in held {
                buckets
                    .entry(number)
                    .and_modify(|held| {
                        *held = (held.0.merge(summary), held.1.before(first), held.2.after(last));
                    })
                    .or_insert((summary, first, last));
            }
        }
    }
    let buckets = |held: FxHashMap<u64, Held>| {
        let mut sorted: Vec<_> = held.into_iter().collect();
        sorted.sort_unstable_by_key(|(number, _)| *number);
        let bucket = |(number, (summary, first, last)): (u64, Held)| Bucket {
            number: usize::try_from(number).unwrap_or(usize::MAX),
            start: grid.start(number),
            ..Bucket::of(&summary, first, last)
        };
        sorted.into_iter().map(bucket).collect()
    };
    Ok(parts.series(drawn.into_iter().map(buckets)))
}

/// Where the points of each series lie.
fn lines(snapshot: &Snapshot, parts: &Parts, axis: &Axis) -> Result<Vec<Line>> {
    match axis {
        Axis::Step { .. } | Axis::Time { .. } => Ok(vec![Line::Time(0); parts.keys.len()]),
        Axis::RelativeTime { .. } => {
            let runs = parts.keys.iter().map(|key| key.1.to_string()).collect();
            let runs = snapshot.runs_of(&Filter { runs: Some(runs), ..Filter::default() })?;
            let created: FxHashMap<(&str, &str), i64> = runs
                .iter()
                .filter_map(|run| Some(((&*run.project, &*run.run_id), run.created_at?)))
                .collect();
            let line = |key: &Key| {
                created.get(&(&*key.0, &*key.1)).map_or(Line::Nowhere, |at| Line::Time(*at))
            };
            Ok(parts.keys.iter().map(line).collect())
        }
        Axis::Metric { name, .. } => {
            let ids = |pick: fn(&Key) -> &Arc<str>| {
                let mut ids: Vec<_> = parts.keys.iter().map(|key| pick(key).to_string()).collect();
                ids.sort_unstable();
                ids.dedup();
                Some(ids)
            };
            let filter = Filter {
                projects: ids(|key| &key.0),
                runs: ids(|key| &key.1),
                metrics: Some(vec![name.clone()]),
            };
            let series = series(&Parts::of(snapshot, &filter)?)?;
            let line = |key: &Key| {
                let (project, run_id) = (Arc::clone(&key.0), Arc::clone(&key.1));
                let of = |labels: Option<&Arc<str>>| {
                    let key = (
                        Arc::clone(&project),
                        Arc::clone(&run_id),
                        name.as_str().into(),
                        labels.cloned(),
                    );
                    series.get(&key).cloned()
                };
                of(key.3.as_ref()).or_else(|| of(None)).map_or(Line::Nowhere, Line::Series)
            };
            Ok(parts.keys.iter().map(line).collect())
        }
    }
}

/// Steps, ascending, and the values at them.
type Finite = Arc<(Vec<i64>, Vec<f64>)>;

/// All steps and finite values of each series, by step; of several at one step the latest logged.
fn series(parts: &Parts) -> Result<FxHashMap<Key, Finite>> {
    let finite = |Columns { steps, values, .. }: Columns| {
        let points = steps.into_iter().zip(values).filter(|(_, value)| value.is_finite());
        Arc::new(points.unzip())
    };
    let curves = curve::of(parts, false)?.into_iter().map(finite);
    Ok(parts.keys.iter().cloned().zip(curves).collect())
}
