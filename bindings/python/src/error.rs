//! Errors of the engine and of queries as Python exceptions, one class for each thing that a caller can do.

use pyo3::{
    exceptions::{PyKeyboardInterrupt, PyRuntimeError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyTuple, PyType},
};
use runlake_engine::Error as EngineError;
use runlake_query::QueryError;

/// The exceptions and the warnings of `runlake._errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    NoLake,
    NotFound,
    InvalidArgument,
    InvalidQuery,
    QueryFailed,
    CorruptLake,
    UnsupportedLake,
    StorageError,
    SnapshotExpired,
    RowDropped,
    DamageWarning,
    DataWarning,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::NoLake => "NoLake",
            Self::NotFound => "NotFound",
            Self::InvalidArgument => "InvalidArgument",
            Self::InvalidQuery => "InvalidQuery",
            Self::QueryFailed => "QueryFailed",
            Self::CorruptLake => "CorruptLake",
            Self::UnsupportedLake => "UnsupportedLake",
            Self::StorageError => "StorageError",
            Self::SnapshotExpired => "SnapshotExpired",
            Self::RowDropped => "RowDropped",
            Self::DamageWarning => "DamageWarning",
            Self::DataWarning => "DataWarning",
        }
    }

    /// The class itself. They are written in Python, where their docstrings and types are read.
    pub(crate) fn bind(self, py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let module =
            MODULE.get_or_try_init(py, || py.import("runlake._errors").map(Bound::unbind))?;
        Ok(module.bind(py).getattr(self.name())?.cast_into()?)
    }

    /// An exception of this class.
    pub(crate) fn error(self, message: impl Into<String>) -> PyErr {
        self.with(message, |_, _| Ok(()))
    }

    /// An exception of this class with further attributes.
    fn with(
        self,
        message: impl Into<String>,
        fill: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyErr {
        let message = message.into();
        Python::attach(|py| {
            let made = self.bind(py).and_then(|class| {
                let error = class.call1((message.as_str(),))?;
                fill(py, &error)?;
                Ok(PyErr::from_value(error))
            });
            made.unwrap_or_else(|cause| {
                let error = PyRuntimeError::new_err(message);
                error.set_cause(py, Some(cause));
                error
            })
        })
    }
}

/// What the engine says, as the exception that fits.
pub(crate) fn from_engine(error: &EngineError) -> PyErr {
    let message = error.to_string();
    match error {
        EngineError::NoLake { path, .. } => {
            Class::NoLake.with(message, |_, error| error.setattr("path", path.as_os_str()))
        }
        EngineError::Io { path, source, .. } => Class::StorageError.with(message, |_, error| {
            error.setattr("errno", source.raw_os_error())?;
            error.setattr("filename", path.as_os_str())
        }),
        EngineError::Corrupt { path, offset, .. } => {
            Class::CorruptLake.with(message, |_, error| {
                error.setattr("path", path.as_os_str())?;
                error.setattr("offset", offset)
            })
        }
        EngineError::Unsupported { .. } => Class::UnsupportedLake.error(message),
        EngineError::Unknown { candidates, .. } => Class::NotFound
            .with(message, |py, error| error.setattr("candidates", PyTuple::new(py, candidates)?)),
        EngineError::SnapshotExpired { .. } => Class::SnapshotExpired.error(message),
        EngineError::Dropped { .. } => Class::RowDropped.error(message),
        // `Invalid`, and what a later engine may add.
        _ => Class::InvalidArgument.error(message),
    }
}

/// What a query says, as the exception that fits.
pub(crate) fn from_query(error: &QueryError) -> PyErr {
    match error {
        QueryError::Engine(engine) => from_engine(engine),
        QueryError::Interrupted => PyKeyboardInterrupt::new_err(()),
        QueryError::Limit { .. } | QueryError::Failed { .. } | QueryError::Internal { .. } => {
            Class::QueryFailed.error(error.to_string())
        }
        _ => Class::InvalidQuery.error(error.to_string()),
    }
}

/// Says `message` as a warning of class `category` at the line of Python that called us.
pub(crate) fn warn(py: Python<'_>, category: Class, message: &str) -> PyResult<()> {
    let category = category.bind(py)?;
    let details = PyDict::new(py);
    details.set_item("category", category)?;
    // Called from Rust there is no frame of our own: level 1 is the caller.
    details.set_item("stacklevel", 1)?;
    py.import("warnings")?.call_method("warn", (message,), Some(&details))?;
    Ok(())
}
