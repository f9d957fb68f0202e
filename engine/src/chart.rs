//! Charts: what the points of many series add up to in each bucket of an axis.
//!
//! A bucket takes in every point of its part of the axis, so that a single extreme among millions is its minimum or
//! maximum at every zoom. By step that costs little: a bucket is as wide as a whole number of cells of the rollups, so
//! points are read at the two ends of what is asked for only, or where there are few of them. Other axes read the points.
//!
//! ```text
//! asked for         |------------------------------------------|
//! buckets       |           |           |           |           |      width * n .. width * (n + 1)
//! read          | points | cell | cell |   ...   | cell | points |
//! ```

mod axis;
mod curve;
mod parts;
mod width;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustc_hash::FxHashMap;

use crate::{Filter, Result, Snapshot, segment::Summary};
pub use curve::Curve;
use parts::{Buckets, Job, Part, Parts};
use width::Width;

/// Along what a chart goes, and from where to where, both included. What is not said is where the points begin and end.
#[derive(Debug, Clone, PartialEq)]
pub enum Axis {
    /// Steps.
    Step {
        /// The first.
        from: Option<i64>,
        /// The last.
        to: Option<i64>,
    },
    /// Times, in microseconds since 1970 (UTC). Points of unknown time are left out.
    Time {
        /// The first.
        from: Option<i64>,
        /// The last.
        to: Option<i64>,
    },
    /// Times, in microseconds since the run was created. Points of unknown time are left out.
    RelativeTime {
        /// The first.
        from: Option<i64>,
        /// The last.
        to: Option<i64>,
    },
    /// The value that another metric of the run has at the same step: of several the latest logged; with the same labels,
    /// else without any. Points at steps where it has no finite value are left out.
    Metric {
        /// The metric.
        name: String,
        /// The least value.
        from: Option<f64>,
        /// The greatest value.
        to: Option<f64>,
    },
}

/// What a chart is asked for.
#[derive(Debug, Clone)]
pub struct ChartRequest {
    /// Which series.
    pub filter: Filter,
    /// Along what.
    pub axis: Axis,
    /// How many buckets there may be on the axis, at most; at least 1.
    pub buckets: usize,
}

/// A place on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum X {
    /// A step, or microseconds.
    Whole(i64),
    /// A value of a metric.
    Real(f64),
}

/// What a series has in one bucket; at least one point.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Bucket {
    /// Which bucket of the axis; from 0.
    pub number: usize,
    /// Where the bucket starts.
    pub start: X,
    /// The place of its first point on the axis.
    pub first_x: X,
    /// The place of its last point on the axis.
    pub last_x: X,
    /// Points.
    pub count: u64,
    /// Points that are NaN.
    pub nan_count: u64,
    /// Points that are infinite.
    pub inf_count: u64,
    /// The least step and the value logged last at it, the bits as logged.
    pub first: (i64, f64),
    /// The greatest step and the value logged last at it, the bits as logged.
    pub last: (i64, f64),
    /// The least finite value and the first step that has it.
    pub min: Option<(i64, f64)>,
    /// The greatest finite value and the first step that has it.
    pub max: Option<(i64, f64)>,
    /// The mean of the finite values.
    pub mean: Option<f64>,
}

/// One series of a chart.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChartSeries {
    /// The project.
    pub project: Arc<str>,
    /// The run.
    pub run_id: Arc<str>,
    /// The metric.
    pub metric: Arc<str>,
    /// Labels as canonical JSON.
    pub labels: Option<Arc<str>>,
    /// Its buckets that have points, along the axis.
    pub buckets: Vec<Bucket>,
}

/// A series, whatever launch logged it.
type Key = (Arc<str>, Arc<str>, Arc<str>, Option<Arc<str>>);

impl Snapshot {
    /// Draws the series that `request` wants, over their effective points, sorted. All of them share their buckets. Reads
    /// indexes, rollups and the points at both ends by step, and points along other axes.
    ///
    /// # Errors
    /// What is wrong with the files of these series.
    pub fn chart(&self, request: &ChartRequest) -> Result<Vec<ChartSeries>> {
        let parts = Parts::of(self, &request.filter)?;
        let most = request.buckets.max(1);
        match request.axis {
            Axis::Step { from, to } => {
                by_step(&parts, from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX), most)
            }
            _ => axis::draw(self, &parts, &request.axis, most),
        }
    }
}

/// A chart along steps.
fn by_step(parts: &Parts, from: i64, to: i64, most: usize) -> Result<Vec<ChartSeries>> {
    let within = parts.within(from, to);
    let spans = within.iter().map(|part| (part.from.max(part.first()), part.to.min(part.last())));
    let Some(range) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return Ok(Vec::new());
    };
    let densest = within.iter().map(Part::points_a_step).fold(0.0, f64::max);
    let width = Width::of_steps(range, most, densest);
    let jobs = parts.jobs(&within, width);
    let mut pieces = vec![0_usize; parts.keys.len()];
    for part in jobs.iter().flat_map(Job::parts) {
        pieces[within[part].slot] += 1;
    }
    let finish = |buckets: Buckets| -> Vec<Bucket> {
        let bucket = |(number, summary): (u64, Summary)| Bucket {
            number: usize::try_from(number).unwrap_or(usize::MAX),
            start: X::Whole(width.start(number)),
            ..Bucket::of(&summary, X::Whole(summary.first.0), X::Whole(summary.last.0))
        };
        buckets.into_iter().map(bucket).collect()
    };
    let done = at_once(&jobs, |job| {
        let drawn = parts.summarize(job, width)?;
        let slots = job.parts().map(|part| within[part].slot);
        // What is whole is finished here, where it is at hand and several threads work.
        let drawn = slots.zip(drawn).map(|(slot, buckets)| match pieces[slot] {
            1 => (slot, Drawn::Finished(finish(buckets))),
            _ => (slot, Drawn::Piece(buckets)),
        });
        Ok(drawn.collect::<Vec<_>>())
    })?;
    let mut series: Vec<Drawn> = Vec::new();
    series.resize_with(parts.keys.len(), || Drawn::Piece(Vec::new()));
    // Jobs are in the order in which their points were logged, so that of equal steps the latest logged counts.
    for (slot, drawn) in done.into_iter().flatten() {
        match (&mut series[slot], drawn) {
            (Drawn::Piece(before), Drawn::Piece(later)) => add(before, later),
            (before, finished) => *before = finished,
        }
    }
    Ok(parts.series(series.into_iter().map(|drawn| match drawn {
        Drawn::Finished(buckets) => buckets,
        Drawn::Piece(buckets) => finish(buckets),
    })))
}

/// What a chart has of a series so far.
enum Drawn {
    /// The buckets of one of several pieces, or of all so far.
    Piece(Buckets),
    /// All of it.
    Finished(Vec<Bucket>),
}

/// Adds what was logged `later` to buckets; both are sorted.
fn add(buckets: &mut Buckets, later: Buckets) {
    if buckets.is_empty() {
        *buckets = later;
        return;
    }
    if buckets.last().zip(later.first()).is_none_or(|(last, first)| last.0 < first.0) {
        buckets.extend(later);
        return;
    }
    let earlier = std::mem::take(buckets);
    buckets.reserve(earlier.len() + later.len());
    let (mut a, mut b) = (earlier.into_iter().peekable(), later.into_iter().peekable());
    while let (Some(&(left, one)), Some(&(right, other))) = (a.peek(), b.peek()) {
        if left <= right {
            a.next();
        }
        if right <= left {
            b.next();
        }
        buckets.push(match left.cmp(&right) {
            std::cmp::Ordering::Less => (left, one),
            std::cmp::Ordering::Equal => (left, one.merge(other)),
            std::cmp::Ordering::Greater => (right, other),
        });
    }
    buckets.extend(a);
    buckets.extend(b);
}

impl Bucket {
    fn of(summary: &Summary, first_x: X, last_x: X) -> Self {
        let finite = summary.count - summary.nan_count - summary.inf_count;
        Self {
            number: 0,
            start: first_x,
            first_x,
            last_x,
            count: summary.count,
            nan_count: summary.nan_count,
            inf_count: summary.inf_count,
            first: summary.first,
            last: summary.last,
            min: summary.min,
            max: summary.max,
            mean: (finite > 0).then(|| summary.sum / finite as f64),
        }
    }
}

/// Does all `jobs`, on as many threads as there are cores, and returns what each gave.
fn at_once<J: Sync, T: Send>(jobs: &[J], work: impl Fn(&J) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(jobs.len());
    if threads <= 1 {
        return jobs.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<FxHashMap<usize, Result<T>>> = Mutex::default();
    let take = || {
        loop {
            // ORDERING: Relaxed, each job is taken once whatever else is seen; the scope ends after all are done.
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { break };
            let result = work(job);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let helper = thread::Builder::new().name("runlake-chart".to_owned());
            // Without another thread this one does it all.
            let _none = helper.spawn_scoped(scope, take);
        }
        take();
    });
    let mut done: Vec<_> =
        done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
