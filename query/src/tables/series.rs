//! `series`: one row a series, what is known of it as a whole.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{
    common::{
        Result,
        tree_node::{TreeNode as _, TreeNodeRecursion},
    },
    logical_expr::Expr,
};
use runlake_engine::{Filter, Snapshot, json::SYSTEM};

use super::{
    column::{self, DOUBLE, INTEGER, TEXT},
    rows::Rows,
};
use crate::error::through_datafusion;

#[derive(Debug)]
pub(super) struct Series {
    pub(super) snapshot: Snapshot,
}

impl Rows for Series {
    fn schema(&self) -> SchemaRef {
        column::schema([
            ("project", TEXT),
            ("run_id", TEXT),
            ("metric", TEXT),
            ("labels", TEXT),
            ("count", INTEGER),
            ("nan_count", INTEGER),
            ("inf_count", INTEGER),
            ("first_step", INTEGER),
            ("last_step", INTEGER),
            ("first_value", DOUBLE),
            ("last_value", DOUBLE),
            ("last_finite_value", DOUBLE),
            ("min_value", DOUBLE),
            ("min_step", INTEGER),
            ("max_value", DOUBLE),
            ("max_step", INTEGER),
            ("mean_value", DOUBLE),
            ("last_time", column::time()),
        ])
    }

    fn build(
        &self,
        wanted: &Filter,
        filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let mut series = self.snapshot.series(wanted).map_err(through_datafusion)?;
        if !filters.iter().any(asks_for_system) {
            series.retain(|series| !series.metric.starts_with(SYSTEM));
        }
        let arrays = columns
            .iter()
            .map(|column| {
                let series = series.iter();
                match *column {
                    "project" => column::texts(series.map(|series| Some(&series.project))),
                    "run_id" => column::texts(series.map(|series| Some(&series.run_id))),
                    "metric" => column::texts(series.map(|series| Some(&series.metric))),
                    "labels" => column::texts(series.map(|series| series.labels.as_ref())),
                    "count" => {
                        column::integers(series.map(|series| Some(column::count(series.count))))
                    }
                    "nan_count" => {
                        column::integers(series.map(|series| Some(column::count(series.nan_count))))
                    }
                    "inf_count" => {
                        column::integers(series.map(|series| Some(column::count(series.inf_count))))
                    }
                    "first_step" => column::integers(series.map(|series| Some(series.first_step))),
                    "last_step" => column::integers(series.map(|series| Some(series.last_step))),
                    "first_value" => column::doubles(series.map(|series| Some(series.first_value))),
                    "last_value" => column::doubles(series.map(|series| Some(series.last_value))),
                    "last_finite_value" => {
                        column::doubles(series.map(|series| series.last_finite_value))
                    }
                    "min_value" => column::doubles(series.map(|series| series.min_value)),
                    "min_step" => column::integers(series.map(|series| series.min_step)),
                    "max_value" => column::doubles(series.map(|series| series.max_value)),
                    "max_step" => column::integers(series.map(|series| series.max_step)),
                    "mean_value" => column::doubles(series.map(|series| series.mean_value)),
                    _ => column::times(series.map(|series| series.last_time)),
                }
            })
            .collect();
        Ok((arrays, series.len()))
    }
}

/// True where a filter names the metrics of the machine, which are left out otherwise.
fn asks_for_system(filter: &Expr) -> bool {
    let mut asks = false;
    filter
        .apply(|part| {
            if let Expr::Literal(value, _) = part
                && let Some(Some(text)) = value.try_as_str()
            {
                asks |= text.trim_start_matches('^').starts_with(SYSTEM);
            }
            Ok(if asks { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
        .is_ok()
        && asks
}
