//! `config`: what each run was configured with, one row a value.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, Snapshot, json};

use super::{
    column::{self, DOUBLE, TEXT},
    rows::Rows,
    runs,
};

#[derive(Debug)]
pub(super) struct Config {
    pub(super) snapshot: Snapshot,
}

impl Rows for Config {
    fn schema(&self) -> SchemaRef {
        column::schema([
            ("project", TEXT),
            ("run_id", TEXT),
            ("key", TEXT),
            ("value", TEXT),
            ("number", DOUBLE),
        ])
    }

    fn build(
        &self,
        wanted: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let runs = runs::wanted(&self.snapshot, wanted)?;
        let rows: Vec<_> = runs
            .iter()
            .flat_map(|run| {
                json::flatten(&run.config).into_iter().map(move |(key, value)| (run, key, value))
            })
            .collect();
        let arrays = columns
            .iter()
            .map(|column| match *column {
                "project" => column::texts(rows.iter().map(|(run, ..)| Some(&run.project))),
                "run_id" => column::texts(rows.iter().map(|(run, ..)| Some(&run.run_id))),
                "key" => column::texts(rows.iter().map(|(_, key, _)| Some(key))),
                "number" => column::doubles(rows.iter().map(|(_, _, value)| json::number(value))),
                _ => column::texts(
                    rows.iter().map(|(_, _, value)| (!value.is_null()).then(|| json::text(value))),
                ),
            })
            .collect();
        Ok((arrays, rows.len()))
    }
}
