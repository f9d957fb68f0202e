//! `metrics`: what was defined of the metrics of each run.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, Goal, Snapshot};

use super::{
    column::{self, BOOLEAN, TEXT},
    rows::Rows,
    runs,
};

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) snapshot: Snapshot,
}

impl Rows for Metrics {
    fn schema(&self) -> SchemaRef {
        column::schema([
            ("project", TEXT),
            ("run_id", TEXT),
            ("metric", TEXT),
            ("step_metric", TEXT),
            ("summary", column::list()),
            ("goal", TEXT),
            ("hidden", BOOLEAN),
        ])
    }

    fn build(
        &self,
        wanted: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let runs = runs::wanted(&self.snapshot, wanted)?;
        let rows: Vec<_> =
            runs.iter().flat_map(|run| run.metrics.iter().map(move |one| (run, one))).collect();
        let all = rows.iter();
        let array = |column: &&str| match *column {
            "project" => column::texts(all.clone().map(|(run, _)| Some(&run.project))),
            "run_id" => column::texts(all.clone().map(|(run, _)| Some(&run.run_id))),
            "metric" => column::texts(all.clone().map(|(_, one)| Some(&one.metric))),
            "step_metric" => column::texts(all.clone().map(|(_, one)| one.step_metric.as_ref())),
            "summary" => column::lists(all.clone().map(|(_, one)| {
                one.summary.as_ref().map(|words| words.iter().map(|word| word.as_str()))
            })),
            "goal" => column::texts(all.clone().map(|(_, one)| one.goal.map(Goal::as_str))),
            _ => column::booleans(all.clone().map(|(_, one)| Some(one.hidden))),
        };
        Ok((columns.iter().map(array).collect(), rows.len()))
    }
}
