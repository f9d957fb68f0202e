//! `runs_wide('project')`: one row a run, its configuration and its summary as columns.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, RunInfo, Snapshot};
use serde_json::{Map, Value};

use super::{
    column::{self, DOUBLE, TEXT},
    config,
    rows::Rows,
    runs,
    summary::Summaries,
};
use crate::{QueryError, names};

/// More columns are an error: a table of them is planned slowly and read by nobody.
const MOST_COLUMNS: usize = 5000;

/// The runs and their values, read when the query is planned, since they decide which columns there are.
#[derive(Debug)]
pub(super) struct RunsWide {
    schema: SchemaRef,
    runs: Vec<Arc<RunInfo>>,
    summaries: Summaries,
    /// For each run, its flat configuration and summary by column.
    values: Vec<HashMap<String, Value>>,
}

impl RunsWide {
    /// The runs of `project`, or of all projects; of their values those that one of `patterns` means, or all.
    pub(super) fn read(
        snapshot: &Snapshot,
        project: Option<&str>,
        patterns: Option<&[String]>,
    ) -> Result<Self> {
        let filter = Filter {
            projects: project.map(|project| vec![project.to_owned()]),
            ..Filter::default()
        };
        let runs = runs::wanted(snapshot, &filter)?;
        if let Some(project) = project
            && runs.is_empty()
        {
            let runs = runs::wanted(snapshot, &Filter::default())?;
            let mut projects: Vec<_> = runs.iter().map(|run| &*run.project).collect();
            projects.sort_unstable();
            projects.dedup();
            return Err(QueryError::unknown("project", project, projects).into());
        }
        let summaries = Summaries::read(snapshot, &filter)?;
        let values: Vec<_> = runs
            .iter()
            .map(|run| {
                let mut values = HashMap::new();
                for (part, map) in [("config", &run.config), ("summary", &summaries.of(run))] {
                    collect(part, map, &mut values);
                }
                values
            })
            .collect();
        let mut types: BTreeMap<&str, DataType> = BTreeMap::new();
        for (name, value) in values.iter().flatten() {
            let data_type = if names::number(value).is_some() { DOUBLE } else { TEXT };
            types
                .entry(name)
                .and_modify(|known| {
                    if data_type == TEXT {
                        *known = TEXT;
                    }
                })
                .or_insert(data_type);
        }
        let mut wide: Vec<_> = types.into_iter().collect();
        if let Some(patterns) = patterns {
            let all: Vec<_> = wide.iter().map(|(name, _)| *name).collect();
            let mut matching = names::matching(patterns, &all).into_iter();
            wide.retain(|_| matching.next().unwrap_or(false));
        }
        if wide.len() > MOST_COLUMNS {
            return Err(QueryError::Limit {
                what: format!(
                    "runs_wide would have {} columns, and {MOST_COLUMNS} are the most",
                    wide.len()
                ),
                hint: "choose some, as in runs_wide('project', columns => 'summary.eval/*')"
                    .to_owned(),
            }
            .into());
        }
        let fixed = runs::columns();
        let fixed = fixed.iter().filter(|(name, _)| !matches!(*name, "config" | "summary"));
        let schema =
            column::schema(fixed.map(|(name, data_type)| (*name, data_type.clone())).chain(wide));
        Ok(Self { schema, runs, summaries, values })
    }
}

/// Puts the flat values of `map` into `values` under the columns that they belong to.
fn collect(part: &str, map: &Map<String, Value>, values: &mut HashMap<String, Value>) {
    for (key, value) in config::flatten(map) {
        if !value.is_null() {
            values.insert(format!("{part}.{key}"), value.clone());
        }
    }
}

impl Rows for RunsWide {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn build(
        &self,
        _wanted: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let arrays = columns
            .iter()
            .map(|column| {
                if !column.contains('.') {
                    return Ok(runs::array(column, &self.runs, Some(&self.summaries)));
                }
                let values = self.values.iter().map(|values| values.get(*column));
                Ok(match self.schema.field_with_name(column)?.data_type() {
                    DataType::Float64 => {
                        column::doubles(values.map(|value| value.and_then(names::number)))
                    }
                    _ => column::texts(values.map(|value| value.map(names::text))),
                })
            })
            .collect::<Result<_>>()?;
        Ok((arrays, self.runs.len()))
    }
}
