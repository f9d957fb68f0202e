//! What can go wrong with a query, grouped by who can mend it.

use std::{any::Any, error::Error, sync::Arc};

use arrow::error::ArrowError;
use datafusion::{
    common::{DataFusionError, SchemaError},
    execution::session_state::SessionState,
    object_store,
};

use crate::{names, tables};

/// The result of a query.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;

/// Everything that can go wrong with a query, grouped by who can mend it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The lake could not be read, or a run that a function names is not there. See the source.
    #[error(transparent)]
    Engine(Arc<runlake_engine::Error>),
    /// The text is not SQL. Correct it.
    #[error("cannot parse the query: {detail}")]
    Syntax {
        /// What was expected and found, and where.
        detail: String,
    },
    /// A table, column, function or argument that does not exist. Use one of the suggestions.
    #[error("no {kind} {}{}", names::quoted(name), advice(suggestions, valid))]
    Unknown {
        /// What was named: "table", "column", "function".
        kind: &'static str,
        /// The name as the query has it.
        name: String,
        /// What it could have meant, as it would be written in SQL, best first.
        suggestions: Vec<String>,
        /// What could stand in its place, where that is a short list.
        valid: Vec<String>,
    },
    /// The query would change something or open another file. SQL only reads the lake.
    #[error("SQL here is read-only: {what}")]
    ReadOnly {
        /// What was refused and what to use instead.
        what: String,
    },
    /// The query is SQL, but of a kind that is not answered. Say it differently.
    #[error("not supported: {what}")]
    Unsupported {
        /// What is not supported.
        what: String,
    },
    /// The query is SQL, but makes no sense: types that do not fit, an ambiguous name, a wrong argument.
    #[error("{detail}")]
    Invalid {
        /// What does not fit.
        detail: String,
    },
    /// The query would take more than it may. Ask for less.
    #[error("{what}: {hint}")]
    Limit {
        /// Which limit was met.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The data does not allow what the query asks, such as a text that is no number.
    #[error("the query failed: {detail}")]
    Failed {
        /// What could not be done.
        detail: String,
    },
    /// A segment could not be read, and reading it again found nothing wrong. Try again, or run `runlake verify`.
    #[error("a segment could not be read: {detail}")]
    Unreadable {
        /// What the reader said.
        detail: String,
    },
    /// The caller stopped the query.
    #[error("the query was interrupted")]
    Interrupted,
    /// A bug in Runlake or in DataFusion. Please report it.
    #[error("internal error, please report it: {detail}")]
    Internal {
        /// What happened.
        detail: String,
    },
}

fn advice(suggestions: &[String], valid: &[String]) -> String {
    match (suggestions, valid) {
        ([], []) => String::new(),
        ([], valid) => format!("; there are {}", valid.join(", ")),
        (some, _) => format!("; did you mean {}?", some.join(" or ")),
    }
}

impl From<runlake_engine::Error> for QueryError {
    fn from(error: runlake_engine::Error) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<QueryError> for ArrowError {
    fn from(error: QueryError) -> Self {
        Self::ExternalError(Box::new(error))
    }
}

/// Carries an engine error through DataFusion; [`QueryError::from_datafusion`] unpacks it.
pub(crate) fn through_datafusion(error: runlake_engine::Error) -> DataFusionError {
    QueryError::from(error).into()
}

impl QueryError {
    /// An unknown name, with suggestions taken from `valid`, which is told in full where it is short.
    pub(crate) fn unknown<'a>(
        kind: &'static str,
        name: &str,
        valid: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Self {
        let quote = |name: &str| match kind {
            "column" => names::quoted(name),
            _ => name.to_owned(),
        };
        let suggestions = names::closest(name, valid.clone());
        let mut valid: Vec<_> = valid.into_iter().take(41).map(quote).collect();
        if valid.len() > 40 {
            valid.clear();
        }
        Self::Unknown {
            kind,
            name: name.to_owned(),
            suggestions: suggestions.iter().map(|name| quote(name)).collect(),
            valid,
        }
    }

    /// A panic below us.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Internal { detail: text.unwrap_or_else(|| "a panic".to_owned()) }
    }

    /// Adds what a text in double quotes was meant to be, where `query` holds the name so: double quotes are for names.
    pub(crate) fn with_quotes_of(mut self, query: &str) -> Self {
        if let Self::Unknown { kind: "column", name, suggestions, .. } = &mut self
            && suggestions.is_empty()
            && query.contains(&format!("\"{name}\""))
        {
            suggestions.push(format!("'{name}'"));
        }
        self
    }

    /// Says in a user's words what DataFusion says in its own. `state` knows the functions that exist.
    pub(crate) fn from_datafusion(error: &DataFusionError, state: &SessionState) -> Self {
        if let Some(own) = own(error) {
            return own;
        }
        match error.find_root() {
            DataFusionError::SQL(parser, _) => Self::Syntax {
                detail: parser
                    .to_string()
                    .trim_start_matches("sql parser error: ")
                    .trim_start_matches("ParserError(\"")
                    .to_owned(),
            },
            DataFusionError::SchemaError(schema, _) => from_schema(schema),
            DataFusionError::Plan(text) => from_plan(text, state),
            DataFusionError::NotImplemented(text) => Self::Unsupported { what: sentence(text) },
            DataFusionError::ResourcesExhausted(text) => Self::Limit {
                what: "the query needs more memory or temporary disk space than it may take"
                    .to_owned(),
                hint: sentence(text),
            },
            DataFusionError::ObjectStore(store) => from_store(store),
            DataFusionError::IoError(io) => Self::Failed { detail: io.to_string() },
            DataFusionError::ParquetError(parquet) => {
                Self::Unreadable { detail: parquet.to_string() }
            }
            DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
                ArrowError::ParquetError(detail) => Self::Unreadable { detail: detail.clone() },
                other => Self::Failed { detail: from_arrow(&other.to_string()) },
            },
            DataFusionError::Execution(text) => Self::Failed { detail: sentence(text) },
            DataFusionError::Configuration(text) => Self::Invalid { detail: sentence(text) },
            DataFusionError::Internal(text) => Self::Internal { detail: sentence(text) },
            other => Self::Internal { detail: sentence(&other.to_string()) },
        }
    }
}

/// Finds an error of ours in what DataFusion wrapped around it.
fn own(error: &DataFusionError) -> Option<QueryError> {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if let Some(own) = cause.downcast_ref::<QueryError>() {
            return Some(own.clone());
        }
        if let Some(object_store::Error::NotFound { .. }) = cause.downcast_ref() {
            return cause.downcast_ref().map(from_store);
        }
        cause = cause.source()?;
    }
}

/// A file of the snapshot that is not there any more was removed by a compaction after its grace.
fn from_store(error: &object_store::Error) -> QueryError {
    match error {
        object_store::Error::NotFound { path, .. } => {
            let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
            runlake_engine::Error::SnapshotExpired { path: path.into() }.into()
        }
        other => QueryError::Failed { detail: sentence(&other.to_string()) },
    }
}

fn from_schema(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let valid: Vec<_> = valid_fields.iter().map(|field| field.name.as_str()).collect();
            match &field.relation {
                // `r.stat`: say the table where it is the part that is wrong.
                Some(table)
                    if !valid_fields.is_empty()
                        && valid_fields
                            .iter()
                            .filter_map(|valid| valid.relation.as_ref())
                            .all(|valid| valid.table() != table.table()) =>
                {
                    let mut tables: Vec<_> = valid_fields
                        .iter()
                        .filter_map(|valid| valid.relation.as_ref())
                        .map(datafusion::common::TableReference::table)
                        .collect();
                    tables.dedup();
                    QueryError::unknown("table", table.table(), tables)
                }
                _ => QueryError::unknown("column", &field.name, valid),
            }
        }
        SchemaError::AmbiguousReference { field } => QueryError::Invalid {
            detail: format!(
                "column {} is ambiguous: say which table it is of, as in t.{}",
                names::quoted(&field.name),
                names::quoted(&field.name)
            ),
        },
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => QueryError::Invalid {
            detail: format!(
                "column {} stands there twice: give the tables aliases or rename one of the columns",
                names::quoted(name)
            ),
        },
    }
}

const SCHEMAS: [&str; 2] = ["main", "information_schema"];

/// DataFusion says unknown tables and functions in words only.
fn from_plan(text: &str, state: &SessionState) -> QueryError {
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text);
    if let Some(name) = between(text, "table '", "' not found") {
        return match name.strip_prefix("lake.") {
            Some(rest) if !rest.starts_with("main.") => {
                let schema = rest.split('.').next().unwrap_or(rest);
                QueryError::unknown("schema", schema, SCHEMAS)
            }
            _ => tables::unknown(name),
        };
    }
    if let Some(name) = between(text, "table function '", "' not found")
        .or_else(|| between(text, "Table function '", "' not found"))
    {
        return tables::unknown_function(name);
    }
    if let Some(name) = between(text, "Invalid function '", "'") {
        let mut functions: Vec<_> = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .map(String::as_str)
            .collect();
        functions.sort_unstable();
        return QueryError::unknown("function", name, functions);
    }
    if let Some(name) = between(text, "failed to resolve schema: ", "")
        .or_else(|| between(text, "failed to resolve catalog: ", ""))
    {
        return QueryError::unknown("schema", name, SCHEMAS);
    }
    if let Some((_, rest)) = text.split_once("argument types '")
        && let Some((call, rest)) = rest.split_once("'.")
    {
        let known = rest.lines().skip(2).map(str::trim);
        let fits: Vec<_> = known.filter(|fit| !fit.ends_with("(UserDefined)")).take(4).collect();
        let fits = match fits.as_slice() {
            [] => String::new(),
            fits => format!("; there are {}", fits.join(", ")),
        };
        return QueryError::Invalid { detail: types(&format!("{call} does not fit{fits}")) };
    }
    if let Some((_, rest)) = text.split_once("column \"")
        && let Some((column, rest)) = rest.split_once("\" must appear in the GROUP BY")
        && !rest.is_empty()
    {
        return QueryError::Invalid {
            detail: format!(
                "column {column} is neither in GROUP BY nor in an aggregate such as max({column})"
            ),
        };
    }
    QueryError::Invalid { detail: sentence(text) }
}

/// The part of `text` after `before` and up to `after` (to its end where that is empty), if `before` starts it.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(before)?;
    if after.is_empty() { Some(rest) } else { rest.split_once(after).map(|(name, _)| name) }
}

fn from_arrow(text: &str) -> String {
    sentence(
        text.trim_start_matches("Cast error: ")
            .trim_start_matches("Compute error: ")
            .trim_start_matches("Invalid argument error: ")
            .trim_start_matches("Parser error: "),
    )
}

/// The first paragraph of what DataFusion says, without prefixes and the final stop.
fn sentence(text: &str) -> String {
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text);
    let mut text = text.split("\n\n").next().unwrap_or(text).trim();
    for prefix in ["Error during planning: ", "Execution error: ", "External error: "] {
        text = text.trim_start_matches(prefix);
    }
    let text = text
        .split(" This issue was likely caused by a bug in DataFusion")
        .next()
        .unwrap_or(text)
        .split("\tCandidate functions")
        .next()
        .unwrap_or(text);
    types(text.trim().trim_end_matches('.'))
}

/// `text` with the types as SQL calls them, in one line.
fn types(text: &str) -> String {
    let mut text = text.replace('\n', " ");
    for (arrow, sql) in [
        ("LargeUtf8", "VARCHAR"),
        ("Utf8View", "VARCHAR"),
        ("Utf8", "VARCHAR"),
        ("UInt64", "BIGINT UNSIGNED"),
        ("Int64", "BIGINT"),
        ("Float64", "DOUBLE"),
    ] {
        text = text.replace(arrow, sql);
    }
    text
}
