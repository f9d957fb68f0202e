//! `runs_wide('project')`: one row a run, its configuration and its summary as columns.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::{DFSchema, Result},
    logical_expr::{Expr, planner::RelationPlannerContext},
    sql::sqlparser::{
        ast::{Expr as SqlExpr, visit_expressions},
        parser::Parser,
        tokenizer::Token,
    },
};
use runlake_engine::{Filter, RunInfo, Snapshot, json};
use serde_json::{Map, Value};

use super::{
    column::{self, DOUBLE, TEXT},
    rows::Rows,
    runs,
    summary::Summaries,
};
use crate::{QueryError, dialect::Sql, names, process::Process};

/// More columns are an error: a table of them is planned slowly and read by nobody.
const MOST_COLUMNS: usize = 5000;

/// The runs and their values, read when the query is planned, since they decide which columns there are.
#[derive(Debug)]
pub(super) struct RunsWide {
    schema: SchemaRef,
    runs: Vec<Arc<RunInfo>>,
    /// Of those who want them: they cost a look at every series.
    summaries: Option<Summaries>,
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
        Self::read_parts(snapshot, project, patterns, true)
    }

    fn read_parts(
        snapshot: &Snapshot,
        project: Option<&str>,
        patterns: Option<&[String]>,
        summaries: bool,
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
        let summaries = if summaries { Some(Summaries::read(snapshot, &filter)?) } else { None };
        let values: Vec<_> = runs
            .iter()
            .map(|run| {
                let mut values = HashMap::new();
                collect("config", &run.config, &mut values);
                if let Some(summaries) = &summaries {
                    collect("summary", &summaries.of(run), &mut values);
                }
                values
            })
            .collect();
        let mut types: BTreeMap<&str, DataType> = BTreeMap::new();
        for (name, value) in values.iter().flatten() {
            let data_type = if json::number(value).is_some() { DOUBLE } else { TEXT };
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

/// The runs for which `predicate`, a condition on the columns of `runs_wide`, is true, newest first.
pub(super) fn matching(
    snapshot: &Snapshot,
    predicate: &str,
    context: &mut dyn RelationPlannerContext,
) -> Result<Vec<Arc<RunInfo>>> {
    let wrong = |detail: &dyn std::fmt::Display| QueryError::Invalid {
        detail: format!(
            "argument where is a condition on runs_wide, and '{predicate}' is none: {detail}"
        ),
    };
    let mut parser = Parser::new(&Sql).try_with_sql(predicate).map_err(|error| wrong(&error))?;
    let parsed = parser.parse_expr().map_err(|error| wrong(&error))?;
    if parser.peek_token().token != Token::EOF {
        return Err(wrong(&format!("what does {} mean?", parser.peek_token())).into());
    }
    let mut names = Vec::new();
    let _all: ControlFlow<()> = visit_expressions(&parsed, |part| {
        if let SqlExpr::Identifier(ident) = part {
            names.push(context.normalize_ident(ident.clone()));
        }
        ControlFlow::Continue(())
    });
    let summaries = names.iter().any(|name| name.starts_with("summary.") || name == "last_step");
    let wide = RunsWide::read_parts(snapshot, None, Some(&names), summaries)?;
    let all = DFSchema::try_from(Arc::clone(&wide.schema))?;
    let expr = context.sql_to_expr(parsed, &all)?;
    let columns = expr.column_refs();
    let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let places: Vec<usize> =
        columns.iter().map(|name| wide.schema.index_of(name)).collect::<Result<_, _>>()?;
    let schema = Arc::new(wide.schema.project(&places)?);
    let (arrays, rows) = wide.build(&Filter::default(), &[], &columns)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)?;
    let expr =
        Process::current()?.state().create_physical_expr(expr, &DFSchema::try_from(schema)?)?;
    let answers = expr.evaluate(&batch)?.into_array(rows)?;
    let answers = answers.as_boolean_opt().ok_or_else(|| wrong(&"it is neither true nor false"))?;
    let keep = |(_, answer): &(_, Option<bool>)| *answer == Some(true);
    Ok(wide.runs.into_iter().zip(answers).filter(keep).map(|(run, _)| run).collect())
}

/// Puts the flat values of `map` into `values` under the columns that they belong to.
fn collect(part: &str, map: &Map<String, Value>, values: &mut HashMap<String, Value>) {
    for (key, value) in json::flatten(map) {
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
                    return Ok(runs::array(column, &self.runs, self.summaries.as_ref()));
                }
                let values = self.values.iter().map(|values| values.get(*column));
                Ok(match self.schema.field_with_name(column)?.data_type() {
                    DataType::Float64 => {
                        column::doubles(values.map(|value| value.and_then(json::number)))
                    }
                    _ => column::texts(values.map(|value| value.map(json::text))),
                })
            })
            .collect::<Result<_>>()?;
        Ok((arrays, self.runs.len()))
    }
}
