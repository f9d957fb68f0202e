//! `history('run')`: one row a step, one column a series.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::SchemaRef,
};
use datafusion::{common::Result, execution::memory_pool::MemoryReservation};
use runlake_engine::{Curve, Filter, RunInfo, Snapshot, UNKNOWN_TIME, json, json::SYSTEM};

use super::{
    column::{self, DOUBLE, INTEGER},
    late::Late,
};
use crate::{QueryError, error::through_datafusion, names};

/// More columns are an error.
const MOST_COLUMNS: usize = 1000;

/// The history of one run: the series of it that become columns.
#[derive(Debug)]
pub(super) struct History {
    snapshot: Snapshot,
    run: Arc<RunInfo>,
    schema: SchemaRef,
    /// The metric and labels of each column after `step` and `time`.
    series: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Their points.
    points: u64,
}

impl History {
    /// The series of `run` that one of `patterns` means; without patterns all but those of the machine.
    pub(super) fn new(
        snapshot: &Snapshot,
        run: Arc<RunInfo>,
        patterns: Option<&[String]>,
    ) -> Result<Self> {
        let mut series = snapshot.series(&filter_of(&run)).map_err(through_datafusion)?;
        if let Some(patterns) = patterns {
            let metrics: Vec<_> = series.iter().map(|series| &*series.metric).collect();
            let mut matching = names::matching(patterns, &metrics).into_iter();
            let wanted: Vec<_> =
                series.iter().filter(|_| matching.next().unwrap_or(false)).cloned().collect();
            if wanted.is_empty() {
                let mut metrics: Vec<_> = series.iter().map(|series| &*series.metric).collect();
                metrics.dedup();
                let pattern = patterns.join(", ");
                return Err(QueryError::unknown("metric", &pattern, metrics).into());
            }
            series = wanted;
        } else {
            series.retain(|series| !series.metric.starts_with(SYSTEM));
        }
        if series.len() > MOST_COLUMNS {
            return Err(QueryError::Limit {
                what: format!(
                    "history of run {} would have {} columns, and {MOST_COLUMNS} are the most",
                    run.run_id,
                    series.len()
                ),
                hint: "choose some, as in history('run', metrics => 'train/*'), or read points"
                    .to_owned(),
            }
            .into());
        }
        let keys = series.iter().map(|series| (&*series.metric, series.labels.as_deref()));
        let columns = json::column_names(keys, &["step", "time"]);
        let schema = column::schema(
            [("step".to_owned(), INTEGER), ("time".to_owned(), column::time())]
                .into_iter()
                .chain(columns.into_iter().map(|name| (name, DOUBLE))),
        );
        let points = series.iter().map(|series| series.count).sum();
        let series = series.into_iter().map(|series| (series.metric, series.labels)).collect();
        Ok(Self { snapshot: snapshot.clone(), run, schema, series, points })
    }
}

impl Late for History {
    fn name(&self) -> &'static str {
        "history"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn build(&self, projection: &[usize], memory: &MemoryReservation) -> Result<Vec<RecordBatch>> {
        memory.try_grow(usize::try_from(self.points).unwrap_or(usize::MAX).saturating_mul(32))?;
        let curves = self.read(projection.contains(&1))?;
        let steps = steps(&curves);
        memory.try_grow(steps.len() * 9 * projection.len())?;
        let arrays: Vec<ArrayRef> = projection
            .iter()
            .map(|&column| match column {
                0 => Arc::new(Int64Array::from(steps.clone())) as ArrayRef,
                1 => times(&steps, &curves),
                at => values(&steps, curves[at - 2].as_ref()),
            })
            .collect();
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(steps.len()));
        Ok(vec![RecordBatch::try_new_with_options(schema, arrays, &options)?])
    }
}

impl History {
    /// The points that count, by column.
    fn read(&self, times: bool) -> Result<Vec<Option<Curve>>> {
        let mut metrics: Vec<_> = self.series.iter().map(|it| it.0.to_string()).collect();
        metrics.dedup();
        let filter = Filter { metrics: Some(metrics), ..filter_of(&self.run) };
        let curves = self.snapshot.curves(&filter, times).map_err(through_datafusion)?;
        let key = |curve: &Curve| (Arc::clone(&curve.metric), curve.labels.clone());
        let mut curves: HashMap<_, _> =
            curves.into_iter().map(|curve| (key(&curve), curve)).collect();
        Ok(self.series.iter().map(|key| curves.remove(key)).collect())
    }
}

/// All steps of `curves`.
fn steps(curves: &[Option<Curve>]) -> Vec<i64> {
    let mut all = curves.iter().flatten().map(|curve| &curve.steps);
    let Some(first) = all.next() else { return Vec::new() };
    // Most often all metrics are logged at the same steps.
    if all.clone().all(|steps| steps == first) {
        return first.clone();
    }
    let mut steps: Vec<i64> = all.chain([first]).flatten().copied().collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

fn filter_of(run: &RunInfo) -> Filter {
    Filter {
        projects: Some(vec![run.project.to_string()]),
        runs: Some(vec![run.run_id.to_string()]),
        metrics: None,
    }
}

/// For each step, the latest time at which one of its values was logged.
fn times(steps: &[i64], curves: &[Option<Curve>]) -> ArrayRef {
    let mut latest = vec![UNKNOWN_TIME; steps.len()];
    for curve in curves.iter().flatten() {
        for (row, time) in rows(steps, &curve.steps).zip(&curve.times) {
            latest[row] = latest[row].max(*time);
        }
    }
    let latest: TimestampMicrosecondArray =
        latest.into_iter().map(|time| (time != UNKNOWN_TIME).then_some(time)).collect();
    Arc::new(latest.with_timezone("UTC"))
}

/// For each step, its value; null where it has none.
fn values(steps: &[i64], curve: Option<&Curve>) -> ArrayRef {
    let Some(curve) = curve else { return new_null_array(&DOUBLE, steps.len()) };
    if curve.steps == steps {
        return Arc::new(Float64Array::from(curve.values.clone()));
    }
    let mut values = vec![0.0; steps.len()];
    let mut valid = vec![false; steps.len()];
    for (row, value) in rows(steps, &curve.steps).zip(&curve.values) {
        values[row] = *value;
        valid[row] = true;
    }
    Arc::new(Float64Array::new(values.into(), Some(valid.into())))
}

/// The places of `some` in `all`; both are sorted and `all` holds all of `some`.
fn rows<'a>(all: &'a [i64], some: &'a [i64]) -> impl Iterator<Item = usize> + 'a {
    let mut row = 0;
    some.iter().map(move |step| {
        while all[row] < *step {
            row += 1;
        }
        row
    })
}
