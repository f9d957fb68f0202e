//! The tables that the engine writes.

use serde_json::{Value, json};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TableKind {
    /// Every point ever logged.
    Points,
    /// What was said about runs.
    Facts,
    /// One row a run: its facts, folded, for other programs.
    Runs,
    /// One row a value of the configuration of a run, for other programs.
    Config,
    /// One row a series: what its effective points add up to, for other programs.
    Series,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// Text.
    Text,
    /// Any number of texts.
    Texts,
    /// A whole number of 64 bits.
    Integer,
    /// A number of 64 bits.
    Double,
    /// Microseconds since 1970 (UTC).
    Time,
}

impl ColumnType {
    /// As Delta writes it.
    fn delta(self) -> Value {
        match self {
            Self::Text => json!("string"),
            Self::Texts => {
                json!({ "type": "array", "elementType": "string", "containsNull": true })
            }
            Self::Integer => json!("long"),
            Self::Double => json!("double"),
            Self::Time => json!("timestamp"),
        }
    }
}

impl TableKind {
    /// Its folder in `tables/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Facts => "facts",
            Self::Runs => "runs",
            Self::Config => "config",
            Self::Series => "series",
        }
    }

    /// Its columns, in the order of the files.
    pub(crate) fn columns(self) -> &'static [(&'static str, ColumnType)] {
        use ColumnType::{Double, Integer, Text, Texts, Time};
        match self {
            Self::Points => &[
                ("project", Text),
                ("run_id", Text),
                ("metric", Text),
                ("labels", Text),
                ("launch", Text),
                ("step", Integer),
                ("time", Time),
                ("value", Double),
            ],
            Self::Facts => &[
                ("project", Text),
                ("run_id", Text),
                ("kind", Text),
                ("key", Text),
                ("value", Text),
                ("launch", Text),
                ("hlc", Integer),
                ("writer", Text),
                ("position", Integer),
            ],
            Self::Runs => &[
                ("project", Text),
                ("run_id", Text),
                ("name", Text),
                ("group_name", Text),
                ("job_type", Text),
                ("state", Text),
                ("created_at", Time),
                ("finished_at", Time),
                ("heartbeat_at", Time),
                ("duration_s", Double),
                ("last_step", Integer),
                ("tags", Texts),
                ("notes", Text),
                ("host", Text),
                ("user_name", Text),
                ("program", Text),
                ("command", Text),
                ("exit_code", Integer),
                ("git_commit", Text),
                ("git_remote", Text),
                ("sweep_id", Text),
                ("parent_run_id", Text),
                ("fork_step", Integer),
                ("dropped_rows", Integer),
                ("config", Text),
                ("summary", Text),
            ],
            Self::Config => &[
                ("project", Text),
                ("run_id", Text),
                ("key", Text),
                ("value", Text),
                ("number", Double),
            ],
            Self::Series => &[
                ("project", Text),
                ("run_id", Text),
                ("metric", Text),
                ("labels", Text),
                ("count", Integer),
                ("nan_count", Integer),
                ("inf_count", Integer),
                ("first_step", Integer),
                ("last_step", Integer),
                ("first_value", Double),
                ("last_value", Double),
                ("last_finite_value", Double),
                ("min_value", Double),
                ("min_step", Integer),
                ("max_value", Double),
                ("max_step", Integer),
                ("mean_value", Double),
                ("last_time", Time),
            ],
        }
    }

    /// The columns of which commits say bounds, as Delta names them in a property of the table. Without it deltalake takes a bound that
    /// is not said for null, and leaves out every row of which something is asked in that column.
    pub(super) fn stats_columns(self) -> &'static str {
        match self {
            Self::Points => "project,run_id,metric,launch,step,time",
            Self::Facts | Self::Runs | Self::Config | Self::Series => "project,run_id",
        }
    }

    /// Its schema as Delta writes it. All columns may be null, so that a later version can leave one out.
    pub(super) fn schema_string(self) -> String {
        let fields = self.columns().iter().map(|(name, column)| {
            json!({ "name": name, "type": column.delta(), "nullable": true, "metadata": {} })
        });
        let fields: Vec<_> = fields.collect();
        json!({ "type": "struct", "fields": fields }).to_string()
    }
}
