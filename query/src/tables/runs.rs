//! `runs`: one row a run, newest first.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, RunInfo, Snapshot};
use serde_json::{Map, Value};

use super::{
    column::{self, DOUBLE, INTEGER, TEXT},
    rows::Rows,
    summary::Summaries,
};
use crate::error::through_datafusion;

#[derive(Debug)]
pub(super) struct Runs {
    pub(super) snapshot: Snapshot,
}

/// The columns, `config` and `summary` last.
pub(super) fn columns() -> Vec<(&'static str, DataType)> {
    vec![
        ("project", TEXT),
        ("run_id", TEXT),
        ("name", TEXT),
        ("group_name", TEXT),
        ("job_type", TEXT),
        ("state", TEXT),
        ("created_at", column::time()),
        ("finished_at", column::time()),
        ("heartbeat_at", column::time()),
        ("duration_s", DOUBLE),
        ("last_step", INTEGER),
        ("tags", column::list()),
        ("notes", TEXT),
        ("host", TEXT),
        ("user_name", TEXT),
        ("program", TEXT),
        ("command", TEXT),
        ("exit_code", INTEGER),
        ("git_commit", TEXT),
        ("git_remote", TEXT),
        ("sweep_id", TEXT),
        ("parent_run_id", TEXT),
        ("fork_step", INTEGER),
        ("dropped_rows", INTEGER),
        ("config", TEXT),
        ("summary", TEXT),
    ]
}

/// The runs that `wanted` names, newest first.
pub(super) fn wanted(snapshot: &Snapshot, wanted: &Filter) -> Result<Vec<Arc<RunInfo>>> {
    let within = |names: &Option<Vec<String>>, name: &str| {
        names.as_ref().is_none_or(|names| names.iter().any(|one| one == name))
    };
    let runs = snapshot.runs_of(wanted).map_err(through_datafusion)?;
    Ok(runs
        .iter()
        .filter(|run| within(&wanted.projects, &run.project) && within(&wanted.runs, &run.run_id))
        .cloned()
        .collect())
}

impl Rows for Runs {
    fn schema(&self) -> SchemaRef {
        column::schema(columns())
    }

    fn build(
        &self,
        filter: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let runs = wanted(&self.snapshot, filter)?;
        // Last values cost a look at every series: only for who asks.
        let summaries = if columns.iter().any(|column| matches!(*column, "last_step" | "summary")) {
            Some(Summaries::read(&self.snapshot, filter)?)
        } else {
            None
        };
        let arrays =
            columns.iter().map(|column| array(column, &runs, summaries.as_ref())).collect();
        Ok((arrays, runs.len()))
    }
}

/// One column of `runs`. `summaries` are there where `last_step` or `summary` is asked for.
pub(super) fn array(
    column: &str,
    runs: &[Arc<RunInfo>],
    summaries: Option<&Summaries>,
) -> ArrayRef {
    let runs = runs.iter();
    match column {
        "project" => column::texts(runs.map(|run| Some(&run.project))),
        "run_id" => column::texts(runs.map(|run| Some(&run.run_id))),
        "name" => column::texts(runs.map(|run| run.name.as_ref())),
        "group_name" => column::texts(runs.map(|run| run.group_name.as_ref())),
        "job_type" => column::texts(runs.map(|run| run.job_type.as_ref())),
        "state" => column::texts(runs.map(|run| Some(run.state.as_str()))),
        "created_at" => column::times(runs.map(|run| run.created_at)),
        "finished_at" => column::times(runs.map(|run| run.finished_at)),
        "heartbeat_at" => column::times(runs.map(|run| run.heartbeat_at)),
        "duration_s" => column::doubles(runs.map(|run| run.duration_s())),
        "last_step" => column::integers(
            runs.map(|run| summaries.and_then(|summaries| summaries.last_step(run))),
        ),
        "tags" => column::lists(runs.map(|run| Some(&run.tags))),
        "notes" => column::texts(runs.map(|run| run.notes.as_ref())),
        "host" => column::texts(runs.map(|run| run.host.as_ref())),
        "user_name" => column::texts(runs.map(|run| run.user_name.as_ref())),
        "program" => column::texts(runs.map(|run| run.program.as_ref())),
        "command" => column::texts(runs.map(|run| run.command.as_ref())),
        "exit_code" => column::integers(runs.map(|run| run.exit_code.map(i64::from))),
        "git_commit" => column::texts(runs.map(|run| run.git_commit.as_ref())),
        "git_remote" => column::texts(runs.map(|run| run.git_remote.as_ref())),
        "sweep_id" => column::texts(runs.map(|run| run.sweep_id.as_ref())),
        "parent_run_id" => column::texts(runs.map(|run| run.parent_run_id.as_ref())),
        "fork_step" => column::integers(runs.map(|run| run.fork_step)),
        "dropped_rows" => column::integers(runs.map(|run| Some(column::count(run.dropped_rows)))),
        "config" => column::texts(runs.map(|run| Some(json(&run.config)))),
        _ => column::texts(runs.map(|run| summaries.map(|summaries| json(&summaries.of(run))))),
    }
}

fn json(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).expect("a map with text as keys is JSON")
}
