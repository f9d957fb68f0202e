//! What SQL promises, checked on real lakes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test may fail as a test does")]

mod chart;
mod compare;
mod context;
mod edge;
mod errors;
mod forks;
mod functions;
mod history;
mod live;
mod parameters;
mod points;
mod pruning;
mod runs;
mod tables;

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::Float64Type,
    util::display::{ArrayFormatter, FormatOptions},
};
use runlake_engine::{Lake, Run};
use runlake_query::{QueryError, Relation, Session};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A lake in a folder of its own, and a session about it.
struct Fixture {
    _folder: TempDir,
    lake: Lake,
    session: Session,
}

impl Fixture {
    fn new() -> Self {
        Self::at("runs.lake")
    }

    /// A lake called `name`.
    fn at(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open_or_create(folder.path().join(name)).unwrap();
        Self { _folder: folder, session: Session::new(lake.clone()), lake }
    }

    /// A run of project `p` called `id`.
    fn run(&self, id: &str) -> Run {
        self.lake.run("p").id(id).start().unwrap()
    }

    /// The rows of a query, columns joined by `|`, NULL as such.
    #[track_caller]
    fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.session, sql)
    }

    /// The bits of the first column.
    #[track_caller]
    fn bits(&self, sql: &str) -> Vec<u64> {
        let batches = collect(&self.session.sql(sql).unwrap());
        batches
            .iter()
            .flat_map(|batch| {
                let column = batch.column(0).as_primitive::<Float64Type>();
                assert_eq!(column.null_count(), 0);
                column.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The error of a query.
    #[track_caller]
    fn error(&self, sql: &str) -> QueryError {
        match self.session.sql(sql).and_then(|relation| relation.collect()) {
            Ok((_, batches)) => panic!("{sql} gave {batches:?}"),
            Err(error) => error,
        }
    }

    /// The files that a query reads.
    #[track_caller]
    fn files(&self, sql: &str) -> usize {
        // Without VERBOSE a plan names some files only; with it there is one plan a step, and this is the last.
        let plans = self.rows(&format!("explain verbose {sql}"));
        let plan = plans.iter().rfind(|plan| plan.starts_with("physical_plan|")).unwrap();
        plan.matches(".parquet").count()
    }

    fn path(&self) -> &Path {
        self.lake.path()
    }
}

#[track_caller]
fn collect(relation: &Relation) -> Vec<RecordBatch> {
    let (schema, batches) = relation.collect().unwrap_or_else(|error| panic!("{error}"));
    for batch in &batches {
        assert_eq!(batch.schema(), schema, "a batch is what the relation promises");
    }
    batches
}

#[track_caller]
fn rows(session: &Session, sql: &str) -> Vec<String> {
    rows_of(&session.sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}")))
}

#[track_caller]
fn rows_of(relation: &Relation) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in collect(relation) {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows
}

/// A JSON object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// Logs `values` of `metric` at the steps from `first` on.
fn log(run: &Run, metric: &str, first: i64, values: &[f64]) {
    for (step, value) in (first..).zip(values) {
        run.log_named(step, &[(metric, *value)]).unwrap();
    }
}

/// The error as the engine's.
fn engine(error: &QueryError) -> &Arc<runlake_engine::Error> {
    match error {
        QueryError::Engine(error) => error,
        other => panic!("{other:?} is no error of the engine"),
    }
}
