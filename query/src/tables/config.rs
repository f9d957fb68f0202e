//! `config`: what each run was configured with, one row a value.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, Snapshot};
use serde_json::{Map, Value};

use super::{
    column::{self, DOUBLE, TEXT},
    rows::Rows,
    runs,
};
use crate::names;

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
                flatten(&run.config).into_iter().map(move |(key, value)| (run, key, value))
            })
            .collect();
        let arrays = columns
            .iter()
            .map(|column| match *column {
                "project" => column::texts(rows.iter().map(|(run, ..)| Some(&run.project))),
                "run_id" => column::texts(rows.iter().map(|(run, ..)| Some(&run.run_id))),
                "key" => column::texts(rows.iter().map(|(_, key, _)| Some(key))),
                "number" => column::doubles(rows.iter().map(|(_, _, value)| names::number(value))),
                _ => column::texts(
                    rows.iter().map(|(_, _, value)| (!value.is_null()).then(|| names::text(value))),
                ),
            })
            .collect();
        Ok((arrays, rows.len()))
    }
}

/// The values of a nested map, each under the keys that lead to it, joined with dots. Lists and empty maps are values.
pub(super) fn flatten(map: &Map<String, Value>) -> Vec<(String, &Value)> {
    fn descend<'a>(prefix: &str, map: &'a Map<String, Value>, into: &mut Vec<(String, &'a Value)>) {
        for (key, value) in map {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(inner) if !inner.is_empty() => descend(&key, inner, into),
                value => into.push((key, value)),
            }
        }
    }
    let mut flat = Vec::new();
    descend("", map, &mut flat);
    flat
}
