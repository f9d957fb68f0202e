//! `Lake`: reading what runs logged.

use std::{
    env,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pyo3::{
    prelude::*,
    types::{PyDict, PyFloat, PyMapping, PyString},
};
use runlake_cli::{Exported, Exporting, Failure, Format};
use runlake_engine::{Lake, LakeOptions, Snapshot, store};
use runlake_query::{Parameter, QueryError, Session};
use serde_json::Value;

use crate::{
    convert,
    error::{Class, from_engine, from_query, warn},
    relation::PyRelation,
};

/// The working directory when the module was imported: what a relative or missing `store` is resolved against, however
/// the program changes its directory later.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// How often a query looks whether Ctrl-C was pressed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Remembers where the process started.
pub(crate) fn remember_directory() {
    DIRECTORY.get_or_init(|| env::current_dir().unwrap_or_else(|_| PathBuf::from(".")));
}

fn resolution(given: Option<&Path>) -> store::Resolution {
    remember_directory();
    let directory = DIRECTORY.get().map_or_else(|| Path::new("."), PathBuf::as_path);
    let path = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (environment, home) = (path("RUNLAKE_STORE"), path("HOME"));
    store::resolve(given, environment.as_deref(), home.as_deref(), directory)
}

/// What a query is given beside its text: values by place, or by name.
fn parameters(params: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Parameter)>> {
    if let Ok(named) = params.cast::<PyMapping>() {
        let named = convert::dict_of(named)?;
        return named
            .iter()
            .map(|(name, value)| Ok((name.extract()?, parameter(&value)?)))
            .collect();
    }
    if params.is_instance_of::<PyString>() {
        return Err(convert::wrong_type(
            "params is a list of values, or a dict of them".to_owned(),
        ));
    }
    let values = params.try_iter()?.enumerate();
    values.map(|(at, value)| Ok(((at + 1).to_string(), parameter(&value?)?))).collect()
}

fn parameter(value: &Bound<'_, PyAny>) -> PyResult<Parameter> {
    // JSON has no NaN.
    if value.is_instance_of::<PyFloat>() {
        return Ok(Parameter::Double(value.extract()?));
    }
    fn of(value: Value) -> Parameter {
        match value {
            Value::Null => Parameter::Null,
            Value::Bool(value) => Parameter::Boolean(value),
            Value::Number(number) => number.as_i64().map_or_else(
                || Parameter::Double(number.as_f64().unwrap_or(f64::NAN)),
                Parameter::Integer,
            ),
            Value::String(text) => Parameter::Text(text),
            Value::Array(values) => Parameter::List(values.into_iter().map(of).collect()),
            Value::Object(_) => Parameter::Text(value.to_string()),
        }
    }
    Ok(of(convert::json(value)?))
}

/// What a command of the command line says, as the exception that fits.
fn failure_error(failure: &Failure) -> PyErr {
    match failure.cause() {
        Some(cause) => from_query(cause),
        None => Class::StorageError.error(failure.to_string()),
    }
}

/// A path as text; Python's own escapes stand for bytes that are no UTF-8, so nothing is lost.
pub(crate) fn text_path<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    Ok(path.as_os_str().into_pyobject(py)?.into_any())
}

/// Which lake `store` means: its absolute path, whether it exists, and where was looked.
#[pyfunction]
#[pyo3(signature = (store=None))]
#[expect(clippy::needless_pass_by_value, reason = "Python hands over what it made of its argument")]
pub(crate) fn resolve(
    py: Python<'_>,
    store: Option<PathBuf>,
) -> PyResult<(Bound<'_, PyAny>, bool, Vec<String>)> {
    let found = py.detach(|| resolution(store.as_deref()));
    Ok((text_path(py, &found.path)?, found.exists, found.looked))
}

/// A lake that runs of this process log to. All runs of one lake share it, and with it one writer and its threads.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) lake: Lake,
    strict: bool,
    flush_after_bytes: Option<u64>,
    /// A forked child opens its own, so that what it starts has nothing to do with the runs of its parent.
    process: u32,
}

/// Those that some run still holds. Locked only under the GIL and for a moment: a fork never copies it locked.
static WRITTEN: Mutex<Vec<Weak<Written>>> = Mutex::new(Vec::new());

impl Written {
    /// The lake at `path`, made where there is none.
    pub(crate) fn open(
        py: Python<'_>,
        path: &Path,
        strict: bool,
        flush_after_bytes: Option<u64>,
    ) -> PyResult<Arc<Self>> {
        let mut options = LakeOptions::default();
        options.create = true;
        options.strict = strict;
        options.log_dir =
            env::var_os("RUNLAKE_LOG_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        options.flush_after_bytes = flush_after_bytes.unwrap_or(options.flush_after_bytes);
        // Opening reads one small file. It tells whether the lake that we know is still the one that stands there.
        let lake = py.detach(|| options.open(path)).map_err(|error| from_engine(&error))?;
        let process = process::id();
        let mut known = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|written| written.strong_count() > 0);
        let same = |written: &Arc<Self>| {
            (written.strict, written.flush_after_bytes, written.process)
                == (strict, flush_after_bytes, process)
                && written.lake.uuid() == lake.uuid()
                && written.lake.path() == lake.path()
        };
        if let Some(written) = known.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(written);
        }
        let written = Arc::new(Self { lake, strict, flush_after_bytes, process });
        known.push(Arc::downgrade(&written));
        Ok(written)
    }
}

/// A lake that is open for reading. `runlake.Lake` is built on it.
#[pyclass(subclass, frozen, name = "Lake", module = "runlake._native")]
#[derive(Debug)]
pub(crate) struct PyLake {
    session: Session,
}

/// One consistent view of a lake. `runlake.Lake.snapshot` makes a lake of it.
#[pyclass(frozen, name = "Snapshot", module = "runlake._native")]
#[derive(Debug)]
pub(crate) struct PySnapshot {
    lake: Lake,
    snapshot: Snapshot,
}

#[pymethods]
impl PyLake {
    /// Opens an existing lake; never writes. With `pinned`, all queries see that snapshot of it.
    #[new]
    #[pyo3(signature = (store=None, *, pinned=None))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn new(
        py: Python<'_>,
        store: Option<PathBuf>,
        pinned: Option<PyRef<'_, PySnapshot>>,
    ) -> PyResult<Self> {
        if let Some(pinned) = pinned {
            let PySnapshot { lake, snapshot } = &*pinned;
            return Ok(Self { session: Session::at(lake.clone(), snapshot.clone()) });
        }
        let open = || {
            let found = resolution(store.as_deref());
            if !found.exists {
                return Err(runlake_engine::Error::NoLake {
                    path: found.path,
                    looked: found.looked,
                });
            }
            Lake::open(found.path)
        };
        let lake = py.detach(open).map_err(|error| from_engine(&error))?;
        Ok(Self { session: Session::new(lake) })
    }

    /// Runs a query over the lake as it is now and waits for its result; Ctrl-C stops it. `params` are values for `$1`,
    /// `$2` and so on, or by name for `$name`: a list of them stands in `in ($ids)`.
    #[pyo3(signature = (query, params=None))]
    fn sql(
        &self,
        py: Python<'_>,
        query: &str,
        params: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyRelation> {
        let session = match params {
            Some(params) => self.session.clone().with_parameters(parameters(params)?),
            None => self.session.clone(),
        };
        let mut interrupt = None;
        let mut go_on = || {
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method alone is not general enough in its lifetime"
            )]
            let signals = Python::attach(|py| py.check_signals());
            interrupt = signals.err();
            interrupt.is_none()
        };
        let run = || {
            let relation = session.sql_while(query, LOOK_EVERY, &mut go_on)?;
            let (schema, batches) = relation.collect_while(LOOK_EVERY, &mut go_on)?;
            Ok((PyRelation::new(schema, batches), relation.problems().to_vec()))
        };
        match py.detach(run) {
            Ok((relation, problems)) => {
                for problem in problems {
                    warn(py, Class::DamageWarning, &problem)?;
                }
                Ok(relation)
            }
            Err(error) => Err(match (error, interrupt) {
                // What the handler of the signal raised: KeyboardInterrupt, or what the program chose.
                (QueryError::Interrupted, Some(raised)) => raised,
                (error, _) => from_query(&error),
            }),
        }
    }

    /// The project and id of the run that `run` means: an id, a unique prefix, a name, `project/x`, `@last`.
    fn find_run(&self, py: Python<'_>, run: &str) -> PyResult<(String, String)> {
        let find = || {
            let run = self.session.snapshot()?.find_run(run)?;
            Ok((run.project.to_string(), run.run_id.to_string()))
        };
        py.detach(find).map_err(|error: runlake_engine::Error| from_engine(&error))
    }

    /// Deletes runs, as they are named.
    #[pyo3(name = "_delete")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn delete(&self, py: Python<'_>, runs: Vec<String>, for_good: bool) -> PyResult<usize> {
        let delete = || {
            let lake = self.session.lake();
            let snapshot = lake.snapshot()?;
            let found = runs.iter().map(|name| snapshot.find_run(name));
            let found = found.collect::<runlake_engine::Result<Vec<_>>>()?;
            found.iter().try_for_each(|run| lake.edit(run)?.delete(for_good))?;
            lake.sync()?;
            Ok(found.len())
        };
        py.detach(delete).map_err(|error: runlake_engine::Error| from_engine(&error))
    }

    /// Merges lakes into this one. Returns how many points came.
    #[pyo3(name = "_merge")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn merge(&self, py: Python<'_>, sources: Vec<PathBuf>, is_last: bool) -> PyResult<u64> {
        let merge = || {
            let sources = sources.iter().map(Lake::open);
            let sources = sources.collect::<runlake_engine::Result<Vec<_>>>()?;
            let mut done = Vec::new();
            self.session.lake().merge_all(&sources, is_last, &mut done, &mut |_, _| true)?;
            Ok(done.iter().map(|merged| merged.points).sum())
        };
        py.detach(merge).map_err(|error: runlake_engine::Error| from_engine(&error))
    }

    /// Writes runs and their points to files. Returns how many of each.
    #[pyo3(name = "_export")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn export(
        &self,
        py: Python<'_>,
        folder: PathBuf,
        runs: Vec<String>,
        project: Option<String>,
        format: &str,
    ) -> PyResult<(u64, u64)> {
        let format = match format {
            "parquet" => Format::Parquet,
            "csv" => Format::Csv,
            "json" => Format::Json,
            "jsonl" => Format::Jsonl,
            "arrow" => Format::Arrow,
            other => {
                let valid = "parquet, csv, json, jsonl or arrow";
                let message = format!("invalid format: '{other}' is none of {valid}");
                return Err(Class::InvalidArgument.error(message));
            }
        };
        let mut interrupt = None;
        let export = || {
            let snapshot = self.session.snapshot()?;
            let problems = snapshot.problems().to_vec();
            let what =
                Exporting { runs: &runs, project: project.as_deref(), format, folder: &folder };
            let lake = self.session.lake().clone();
            let exported = runlake_cli::export(lake, snapshot, &what, &mut |_| {
                interrupt = Python::attach(|py: Python<'_>| py.check_signals()).err();
                interrupt.is_none()
            })?;
            Ok((exported, problems))
        };
        match py.detach(export) {
            Ok((Exported { runs, points }, problems)) => {
                for problem in problems {
                    warn(py, Class::DamageWarning, &problem)?;
                }
                Ok((runs, points))
            }
            Err(failure) => Err(match (failure_error(&failure), interrupt) {
                (_, Some(raised)) => raised,
                (error, None) => error,
            }),
        }
    }

    /// Lets the points of runs go that ended so many seconds ago, or says how many points would go.
    #[pyo3(name = "_expire")]
    fn expire(
        &self,
        py: Python<'_>,
        seconds: f64,
        project: Option<&str>,
        dry_run: bool,
    ) -> PyResult<u64> {
        let mut interrupt = None;
        let expire = || {
            let lake = self.session.lake();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a moment in microseconds; one out of bounds is at the bound"
            )]
            let before_us = ((now.as_secs_f64() - seconds) * 1e6) as i64;
            let expiry = lake.expiry(before_us, project)?;
            if dry_run {
                return Ok(Ok(expiry.points));
            }
            let expired = lake.expire(&expiry, &mut |_, _| {
                interrupt = Python::attach(|py: Python<'_>| py.check_signals()).err();
                interrupt.is_none()
            })?;
            Ok(if expired.is_busy { Err(()) } else { Ok(expired.points) })
        };
        let expired =
            py.detach(expire).map_err(|error: runlake_engine::Error| from_engine(&error))?;
        if let Some(raised) = interrupt {
            return Err(raised);
        }
        let busy = "nothing has expired: another process is merging; try again when it is done";
        expired.map_err(|()| Class::StorageError.error(busy))
    }

    /// Restores deleted runs.
    #[pyo3(name = "_restore")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn restore(&self, py: Python<'_>, runs: Vec<String>) -> PyResult<usize> {
        let restore = || {
            let lake = self.session.lake();
            let snapshot = lake.snapshot()?;
            let found = runs.iter().map(|name| snapshot.find_deleted_run(name));
            let found = found.collect::<runlake_engine::Result<Vec<_>>>()?;
            found.iter().try_for_each(|run| lake.edit(run)?.restore())?;
            lake.sync()?;
            Ok(found.len())
        };
        py.detach(restore).map_err(|error: runlake_engine::Error| from_engine(&error))
    }

    /// Changes what is said of a run: facts of one kind, by their keys, and keys that are taken off. Durable at its
    /// return.
    #[pyo3(name = "_edit")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn edit(
        &self,
        py: Python<'_>,
        run: &str,
        kind: &str,
        said: &Bound<'_, PyDict>,
        off: Vec<String>,
    ) -> PyResult<()> {
        let said = convert::json_object("what is said", said)?;
        let edit = || {
            let lake = self.session.lake();
            let edit = lake.edit(&*lake.snapshot()?.find_run(run)?)?;
            let said = said.into_iter().map(|(key, value)| (key, Some(value)));
            for (key, value) in off.iter().map(|key| (key.clone(), None)).chain(said) {
                match kind {
                    "config" => edit.config(&key, value)?,
                    "summary" => edit.summary(&key, value)?,
                    "tag" => edit.tag(&key, value.is_some())?,
                    _ => edit.attribute(&key, value)?,
                }
            }
            lake.sync()
        };
        py.detach(edit).map_err(|error: runlake_engine::Error| from_engine(&error))
    }

    /// What a query sees that is asked now, or with `version`, the lake as it stood after that commit.
    #[pyo3(name = "_pin", signature = (version=None))]
    fn pin(&self, py: Python<'_>, version: Option<u64>) -> PyResult<PySnapshot> {
        let lake = self.session.lake();
        let pin = || match version {
            Some(version) => lake.snapshot_at(version),
            None => self.session.snapshot(),
        };
        let snapshot = py.detach(pin).map_err(|error| from_engine(&error))?;
        Ok(PySnapshot { lake: lake.clone(), snapshot })
    }

    /// The last commit of table `points` that a query sees, if there is one.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let snapshot = py.detach(|| self.session.snapshot());
        Ok(snapshot.map_err(|error| from_engine(&error))?.version())
    }

    /// The absolute path.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text_path(py, self.session.lake().path())
    }
}
