//! The summaries of runs, over the series that a query wants.

use std::collections::HashMap;

use runlake_engine::{Filter, RunInfo, SeriesInfo, Snapshot, summary};
use serde_json::{Map, Value};

use crate::error::through_datafusion;

/// The series of the runs that a filter wants.
#[derive(Debug)]
pub(super) struct Summaries {
    series: Vec<SeriesInfo>,
    /// For each run, its place among the series.
    runs: HashMap<(String, String), std::ops::Range<usize>>,
}

impl Summaries {
    pub(super) fn read(snapshot: &Snapshot, filter: &Filter) -> datafusion::common::Result<Self> {
        let series = snapshot.series(filter).map_err(through_datafusion)?;
        let mut runs = HashMap::new();
        let mut start = 0;
        for run in series.chunk_by(|a, b| a.project == b.project && a.run_id == b.run_id) {
            let end = start + run.len();
            runs.insert((run[0].project.to_string(), run[0].run_id.to_string()), start..end);
            start = end;
        }
        Ok(Self { series, runs })
    }

    /// All series of `run`.
    pub(super) fn series(&self, run: &RunInfo) -> &[SeriesInfo] {
        self.runs
            .get(&(run.project.to_string(), run.run_id.to_string()))
            .map_or(&[], |range| &self.series[range.clone()])
    }

    /// The highest step of `run`.
    pub(super) fn last_step(&self, run: &RunInfo) -> Option<i64> {
        self.series(run).iter().map(|series| series.last_step).max()
    }

    /// The summary of `run`.
    pub(super) fn of(&self, run: &RunInfo) -> Map<String, Value> {
        summary(self.series(run).iter(), run)
    }
}
