//! How a command fails: one line that says what, lines that say what to do about it, and an exit code.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
};

use anstyle::{AnsiColor, Style};
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use runlake_query::QueryError;

/// Why a command did not do what was asked. Printed once, by [`crate::run`].
#[derive(Debug)]
pub struct Failure {
    message: String,
    hints: Vec<String>,
    exit_code: i32,
    cause: Option<Box<QueryError>>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// The command was right and could not be carried out.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), exit_code: 1, cause: None }
    }

    /// The command was called wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit_code: 2, ..Self::new(message) }
    }

    /// Ctrl-C stopped the command.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { exit_code: 130, ..Self::new(message) }
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Remembers which error of the library is behind it.
    pub(crate) fn caused_by(mut self, cause: impl Into<QueryError>) -> Self {
        self.cause = Some(Box::new(cause.into()));
        self
    }

    /// The error of the library behind it, where one is.
    pub fn cause(&self) -> Option<&QueryError> {
        self.cause.as_deref()
    }

    /// Says what was attempted, before the message.
    pub(crate) fn context(mut self, attempt: impl Display) -> Self {
        self.message = format!("{attempt}: {}", self.message);
        self
    }

    pub(crate) fn exit_code(&self) -> i32 {
        self.exit_code
    }

    /// Prints to stderr. Without stderr there is nobody to tell.
    pub(crate) fn print(&self, coloured: bool) {
        let paint = |style: Style| if coloured { style } else { Style::new() };
        let (red, cyan) =
            (paint(AnsiColor::Red.on_default().bold()), paint(AnsiColor::Cyan.on_default().bold()));
        let mut text = format!("{red}error:{red:#} {}\n", self.message);
        for hint in &self.hints {
            writeln!(text, "{cyan}hint:{cyan:#} {hint}").expect("memory takes every write");
        }
        io::stderr().write_all(text.as_bytes()).unwrap_or_default();
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<runlake_engine::Error> for Failure {
    fn from(error: runlake_engine::Error) -> Self {
        Self::from(&error).caused_by(error)
    }
}

impl From<&runlake_engine::Error> for Failure {
    fn from(error: &runlake_engine::Error) -> Self {
        use runlake_engine::Error;
        match error {
            Error::NoLake { path, looked } => {
                let failure = Self::new(format!("no lake at {}", path.display()));
                let failure = looked
                    .iter()
                    .fold(failure, |failure, place| failure.hint(format!("looked at {place}")));
                failure.hint(
                    "name one with --store DIR or $RUNLAKE_STORE, or try the tour: runlake demo",
                )
            }
            Error::Corrupt { .. } => Self::new(error.to_string())
                .hint("`runlake verify` lists everything that is damaged; the rest stays readable"),
            Error::Unknown { kind, name, candidates, ambiguous: true } => {
                Self::new(format!("{kind} '{name}' is ambiguous"))
                    .hint(format!("it could be {}", candidates.join(", ")))
            }
            Error::Unknown { kind: "version", .. } => Self::new(error.to_string()),
            Error::Unknown { kind, name, candidates, ambiguous: false } => {
                let failure = Self::new(format!("no {kind} '{name}'"));
                match candidates.as_slice() {
                    [] => failure.hint("`runlake runs` lists all runs"),
                    some => failure.hint(format!("did you mean {}?", some.join(" or "))),
                }
            }
            Error::SnapshotExpired { .. } => Self::new(error.to_string())
                .hint("the lake was compacted meanwhile: run the command again"),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let failure = match &error {
            QueryError::Engine(engine) => Self::from(&**engine),
            QueryError::Unknown { kind, name, suggestions, valid } => {
                let failure = Self::new(format!("no {kind} '{name}'"));
                match (suggestions.as_slice(), valid.as_slice()) {
                    ([], []) => failure,
                    ([], valid) => failure.hint(format!("there are {}", valid.join(", "))),
                    (some, _) => failure.hint(format!("did you mean {}?", some.join(" or "))),
                }
            }
            QueryError::Limit { what, hint } => Self::new(what).hint(hint),
            QueryError::ReadOnly { .. } => Self::new(error.to_string())
                .hint("to change a run, use the library; to keep a result, use -o FILE"),
            QueryError::Syntax { .. } => Self::new(error.to_string())
                .hint("quote the whole query for the shell, and names with '/' or capitals inside it: \"train/loss\""),
            _ => Self::new(error.to_string()),
        };
        failure.caused_by(error)
    }
}
