//! `runlake._native`: the engine, SQL and the command line in the one extension module of package `runlake`.
//!
//! What Python programs see is written in Python on top of this, in `python/runlake`.
mod convert;
mod error;
mod fetch;
mod git;
mod lake;
mod relation;
mod row;
mod run;
mod trend;

/// The extension module. It relies on the GIL: see `PyRun::writing` and `row`.
#[pyo3::pymodule(gil_used = true)]
mod _native {
    use std::{
        ffi::OsString,
        path::PathBuf,
        sync::{Mutex, PoisonError},
    };

    use pyo3::{prelude::*, sync::PyOnceLock};

    #[pymodule_export]
    use crate::lake::{PyLake, PySnapshot, resolve};
    #[pymodule_export]
    use crate::relation::PyRelation;
    #[pymodule_export]
    use crate::run::PyRun;

    /// The run that `runlake.log` logs to. Held only under the GIL, for a moment.
    static LIVE: Mutex<Option<Py<PyRun>>> = Mutex::new(None);

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::lake::remember_directory();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Makes `run` the one that `log` logs to.
    #[pyfunction]
    #[pyo3(signature = (run))]
    fn set_live(run: Option<Py<PyRun>>) {
        *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }

    /// Logs one row to the live run.
    #[pyfunction]
    #[pyo3(signature = (data, step=None, commit=None, labels=None))]
    fn log(
        data: &Bound<'_, PyAny>,
        step: Option<&Bound<'_, PyAny>>,
        commit: Option<bool>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = data.py();
        let live = {
            let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
            live.as_ref().map(|run| run.clone_ref(py))
        };
        match live {
            Some(run) => run.get().log(data, step, commit, labels),
            None => join(py)?.map_or(Ok(()), |run| run.get().log(data, step, commit, labels)),
        }
    }

    /// A process that was started by one with a live run logs to that run; otherwise there is none. `None` where the live run
    /// is disabled.
    fn join(py: Python<'_>) -> PyResult<Option<Py<PyRun>>> {
        static JOIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let join = JOIN.import(py, "runlake._live", "join")?;
        Ok(join.call0()?.extract()?)
    }

    /// The commit and the remote of the git repository around `directory`, read from its files.
    #[pyfunction]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn git(py: Python<'_>, directory: PathBuf) -> (Option<String>, Option<String>) {
        py.detach(|| crate::git::describe(&directory)).unwrap_or_default()
    }

    /// Runs the command `runlake` with `arguments`, its name first, and returns its exit code.
    #[pyfunction]
    fn cli_main(py: Python<'_>, arguments: Vec<OsString>) -> i32 {
        py.detach(|| runlake_cli::run(arguments))
    }
}
