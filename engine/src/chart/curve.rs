//! Curves: all points of series that count, one a step.

use std::sync::Arc;

use super::{
    at_once,
    parts::{Columns, Parts},
};
use crate::{Filter, Result, Snapshot};

/// A series with a point for each of its steps: of several the latest logged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Curve {
    /// The project.
    pub project: Arc<str>,
    /// The run.
    pub run_id: Arc<str>,
    /// The metric.
    pub metric: Arc<str>,
    /// Labels as canonical JSON.
    pub labels: Option<Arc<str>>,
    /// The steps, ascending.
    pub steps: Vec<i64>,
    /// For each point, its time in microseconds since 1970 (UTC), or [`UNKNOWN_TIME`](crate::UNKNOWN_TIME).
    pub times: Vec<i64>,
    /// For each point, its value.
    pub values: Vec<f64>,
}

impl Snapshot {
    /// The series that `filter` wants, sorted, over their effective points. Without `times` all of these are unknown, which
    /// spares reading them. Holds all of it in memory, 24 bytes a point.
    ///
    /// # Errors
    /// What is wrong with the files of these series.
    pub fn curves(&self, filter: &Filter, times: bool) -> Result<Vec<Curve>> {
        let parts = Parts::of(self, filter)?;
        let columns = of(&parts, times)?.into_iter();
        let keys = parts.keys.iter().cloned().zip(columns);
        let curves = keys.filter(|(_, columns)| !columns.steps.is_empty()).map(
            |((project, run_id, metric, labels), Columns { steps, times, values })| Curve {
                project,
                run_id,
                metric,
                labels,
                steps,
                times,
                values,
            },
        );
        Ok(curves.collect())
    }
}

/// The points of each series.
pub(super) fn of(parts: &Parts, times: bool) -> Result<Vec<Columns>> {
    let within = parts.within(i64::MIN, i64::MAX);
    let jobs = parts.readings(&within);
    let read = at_once(&jobs, |job| {
        let mut read: Vec<Columns> = Vec::new();
        read.resize_with(job.parts().count(), Columns::default);
        parts.read(job, times, |at, steps, times, values| {
            let columns = &mut read[at];
            columns.steps.extend_from_slice(steps);
            columns.times.extend_from_slice(times);
            columns.values.extend_from_slice(values);
        })?;
        Ok(read)
    })?;
    let mut all: Vec<Columns> = Vec::new();
    all.resize_with(parts.keys.len(), Columns::default);
    // Jobs are in the order in which their points were logged.
    for (job, read) in jobs.iter().zip(read) {
        for (part, read) in job.parts().zip(read) {
            let columns = &mut all[within[part].slot];
            if columns.steps.is_empty() {
                *columns = read;
            } else {
                columns.steps.extend(read.steps);
                columns.times.extend(read.times);
                columns.values.extend(read.values);
            }
        }
    }
    all.iter_mut().for_each(Columns::settle);
    Ok(all)
}
