//! `Run`: the quick way of `log`, and what Python needs to build the rest of a run on.

use std::{
    path::PathBuf,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pyo3::{
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PyString},
};
use runlake_engine::{Definition, Filter, Goal, LabelsId, MetricId, Run, State};
use serde_json::{Map, Value};

use crate::{
    convert::{self, StepTrouble},
    error::{Class, from_engine, warn},
    lake::{Written, text_path},
    row::{self, Columns, Complaint, Row, shorten},
};

/// One call of `log` in so many is timed; of the first ones, all are.
const TIME_ONE_IN: u32 = 64;

/// A run that this process writes to. `runlake.Run` is built on it.
#[pyclass(subclass, frozen, name = "Run", module = "runlake._native")]
#[derive(Debug)]
pub(crate) struct PyRun {
    run: Run,
    strict: bool,
    /// Held only under the GIL and never while code of Python runs, so nobody ever waits for it.
    writing: Mutex<Writing>,
    /// Has the next run of this lake find it.
    _written: Arc<Written>,
}

#[derive(Debug, Default)]
struct Writing {
    columns: Columns,
    /// Calls of `log` and `log_many`.
    calls: u64,
    /// What they took; estimated from samples.
    spent: Duration,
    /// Rows of which nothing could be kept because of what they held.
    refused: u64,
    /// The memory of the last row, for the next.
    spare: Option<Spare>,
    /// What calls with `commit=False` gathered and no row holds yet.
    gathered: Option<Box<Gathered>>,
}

/// The row that calls with `commit=False` make.
#[derive(Debug)]
struct Gathered {
    /// A forked child does not log what its parent gathered: the parent will.
    process: u32,
    step: Option<i64>,
    labels: Option<LabelsId>,
    places: Vec<u32>,
    points: Vec<(MetricId, f64)>,
}

impl Gathered {
    /// Whether a call with this step and these labels belongs to the same row.
    fn takes(&self, step: Option<i64>, labels: Option<LabelsId>) -> bool {
        let same_step = self.step.is_none() || step.is_none() || self.step == step;
        same_step && self.labels == labels
    }

    /// Adds what a call brought; of a metric the newer value counts.
    fn add(&mut self, row: &Row<'_>) {
        for (&place, &(id, value)) in row.places.iter().zip(&row.points) {
            if let Some(at) = self.places.iter().position(|&known| known == place) {
                self.points[at].1 = value;
            } else {
                self.places.push(place);
                self.points.push((id, value));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Spare {
    places: Vec<u32>,
    points: Vec<(MetricId, f64)>,
}

impl Writing {
    /// Counts a call and says how many it stands for, where it is timed.
    #[inline]
    fn begin(&mut self) -> Option<(u32, Instant)> {
        let call = self.calls;
        self.calls += 1;
        let weight = if call < u64::from(TIME_ONE_IN) {
            1
        } else if call.is_multiple_of(u64::from(TIME_ONE_IN)) {
            TIME_ONE_IN
        } else {
            return None;
        };
        Some((weight, Instant::now()))
    }

    #[inline]
    fn end(&mut self, timed: Option<(u32, Instant)>) {
        if let Some((weight, started)) = timed {
            self.spent += started.elapsed() * weight;
        }
    }

    #[inline]
    fn new_row<'py>(&mut self) -> Row<'py> {
        let mut spare = self.spare.take().unwrap_or_default();
        spare.places.clear();
        spare.points.clear();
        Row { places: spare.places, points: spare.points, ..Row::default() }
    }

    /// What waits for the next row, where this process gathered it.
    fn take_gathered(&mut self) -> Option<Gathered> {
        let gathered = *self.gathered.take()?;
        (gathered.process == process::id()).then_some(gathered)
    }

    #[inline]
    fn recycle(&mut self, row: Row<'_>) {
        self.spare = Some(Spare { places: row.places, points: row.points });
    }
}

#[pymethods]
impl PyRun {
    /// Starts a run, or continues the one that has this id.
    #[new]
    #[pyo3(signature = (
        *, store, project, id=None, name=None, config=None, group=None, job_type=None, tags=None, notes=None,
        launch=None, attributes=None, strict=false, joined=false, flush_after_bytes=None, resume_from=None,
        fork_from=None
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "all are keywords, named in Python"
    )]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python hands over what it made of its argument"
    )]
    fn new(
        py: Python<'_>,
        store: PathBuf,
        project: &str,
        id: Option<&str>,
        name: Option<&str>,
        config: Option<&Bound<'_, PyAny>>,
        group: Option<&str>,
        job_type: Option<&str>,
        tags: Option<Vec<String>>,
        notes: Option<&str>,
        launch: Option<&str>,
        attributes: Option<&Bound<'_, PyDict>>,
        strict: bool,
        joined: bool,
        flush_after_bytes: Option<u64>,
        resume_from: Option<i64>,
        fork_from: Option<(String, i64)>,
    ) -> PyResult<Self> {
        let config = config.map(|config| convert::json_object("config", config)).transpose()?;
        let attributes =
            attributes.map(|all| convert::json_object("attributes", all)).transpose()?;
        let written = Written::open(py, &store, strict, flush_after_bytes)?;
        let start = || -> Result<Run, runlake_engine::Error> {
            let mut builder = written.lake.run(project);
            if let Some(id) = id {
                builder = builder.id(id);
            }
            if let Some(name) = name {
                builder = builder.name(name);
            }
            if let Some(config) = config {
                builder = builder.config(config);
            }
            if let Some(group) = group {
                builder = builder.group(group);
            }
            if let Some(job_type) = job_type {
                builder = builder.job_type(job_type);
            }
            if let Some(tags) = tags {
                builder = builder.tags(tags);
            }
            if let Some(notes) = notes {
                builder = builder.notes(notes);
            }
            if let Some(launch) = launch {
                builder = builder.launch(launch);
            }
            for (key, value) in attributes.into_iter().flatten() {
                builder = builder.attribute(&key, value);
            }
            if let Some(step) = resume_from {
                builder = builder.resume_from(step);
            }
            if let Some((parent, step)) = fork_from {
                builder = builder.fork_from(&parent, step);
            }
            if joined {
                builder = builder.join();
            }
            builder.start()
        };
        let run = py.detach(start).map_err(|error| from_engine(&error))?;
        Ok(Self { run, strict, writing: Mutex::default(), _written: written })
    }

    /// Logs one row: any number of metrics at one step.
    ///
    /// Values are numbers: floats, ints, bools, numpy scalars, and whatever has `.item()` or `.__float__()`. Nested
    /// mappings become dotted names, `None` is skipped, NaN and infinities are data. Where a value is none of these, the
    /// rest of the row is kept and a `DataWarning` says so, once for each key. Integers above 2**53 are rounded, which
    /// is said once too. This never raises for what the data or the disk does, unless the run is strict.
    ///
    /// Args:
    ///     data: metric names to values.
    ///     step: any integer; it may repeat, skip and go back. Where it is not given, one more than the highest so far.
    ///     commit: with `False` the values wait, and become part of the row that the next call logs, unless that names
    ///         another step or other labels: then they are a row of their own. `sync` and `finish` log what waits; until
    ///         then no reader sees it.
    ///     labels: further dimensions, such as `{"rank": 3}`; their values are text or numbers.
    ///
    /// >>> import runlake
    /// >>> with runlake.init(project="digits") as run:
    /// ...     run.log({"loss": 0.5, "eval": {"accuracy": 0.8}}, step=100)
    /// ...     run.log({"lr": 0.1}, commit=False)
    /// ...     run.log({"grad_norm": 1.5}, step=100, labels={"layer": 3})
    #[pyo3(signature = (data, step=None, commit=None, labels=None))]
    pub(crate) fn log<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        step: Option<&Bound<'py, PyAny>>,
        commit: Option<bool>,
        labels: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = data.py();
        let commit = commit.unwrap_or(true);
        let mut writing = self.writing();
        let timed = writing.begin();
        let mut row = writing.new_row();
        let plain = commit && writing.gathered.is_none() && labels.is_none();
        let (Ok(dict), Ok(quick_step), true) = (data.cast_exact(), quick_step(step), plain) else {
            drop(writing);
            self.log_with_care(py, row, data, step, commit, labels)?;
            self.writing().end(timed);
            return self.mind_dropped(py);
        };
        writing.columns.quick_pass(&self.run, dict, &mut row);
        if row.aside.is_empty() && row.complaints.is_empty() {
            if !row.points.is_empty() {
                writing.columns.add_step_metrics(&mut row);
                match self.run.log_labelled(quick_step, None, None, &row.points) {
                    Ok(()) => writing.columns.remember(&row),
                    Err(error) => {
                        drop(writing);
                        return self.refuse(py, &error);
                    }
                }
            }
            writing.recycle(row);
            writing.end(timed);
            drop(writing);
            return if timed.is_some() { self.mind_dropped(py) } else { Ok(()) };
        }
        drop(writing);
        self.complete(py, row, quick_step, true, None)?;
        self.writing().end(timed);
        self.mind_dropped(py)
    }

    /// Logs many points of one metric, without a loop in Python.
    ///
    /// Arrays may be numpy arrays, tensors, pandas or polars series, Arrow arrays (whatever has `__arrow_c_array__` or
    /// `__arrow_c_stream__`), or lists. A null is left out; NaN is data.
    ///
    /// Args:
    ///     metric: the name of the metric.
    ///     values: numbers of any type.
    ///     steps: integers, as many as values. Where they are not given, one each from the next step on.
    ///     times: as many as values: integers are microseconds since 1970 (UTC), floats are seconds since then,
    ///         `datetime64`, Arrow timestamps and `datetime` objects are themselves. Where they are not given, now.
    ///     labels: further dimensions; as for `log`.
    ///
    /// >>> import runlake
    /// >>> with runlake.init(project="digits") as run:
    /// ...     run.log_many("loss", [0.5, 0.4, 0.3], steps=[0, 10, 20])
    #[pyo3(signature = (metric, values, steps=None, times=None, labels=None))]
    fn log_many<'py>(
        &self,
        metric: &Bound<'py, PyString>,
        values: &Bound<'py, PyAny>,
        steps: Option<&Bound<'py, PyAny>>,
        times: Option<&Bound<'py, PyAny>>,
        labels: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = metric.py();
        let started = Instant::now();
        let metric = metric.to_string_lossy();
        let read = || -> PyResult<_> {
            let mut values = convert::doubles("values", values)?;
            let mut steps = steps.map(|steps| convert::integers("steps", steps)).transpose()?;
            let mut times = times.map(|times| convert::times("times", times)).transpose()?;
            let points = values.values.len();
            for (what, length) in
                [("steps", steps.as_ref().map(Vec::len)), ("times", times.as_ref().map(Vec::len))]
            {
                if let Some(length) = length
                    && length != points
                {
                    return Err(Class::InvalidArgument
                        .error(format!("there are {points} values but {length} {what}")));
                }
            }
            if let Some(present) = values.present.take() {
                convert::keep(&mut values.values, &present);
                if let Some(steps) = &mut steps {
                    convert::keep(steps, &present);
                }
                if let Some(times) = &mut times {
                    convert::keep(times, &present);
                }
            }
            Ok((values.values, steps, times))
        };
        let mut complaints = Vec::new();
        match read() {
            Ok((values, steps, times)) => {
                let labels = labels.and_then(|labels| self.labels_id(labels, &mut complaints));
                let mut row = Row::default();
                let place = self.writing().columns.place_of_name(&self.run, &metric, &mut row);
                complaints.append(&mut row.complaints);
                if self.strict
                    && let Some(complaint) = complaints.first()
                {
                    return Err(Class::InvalidArgument.error(complaint.message.as_str()));
                }
                if let (Some(place), false) = (place, values.is_empty()) {
                    let id = self.writing().columns.metric(place);
                    let log = || {
                        let (steps, times) = (steps.as_deref(), times.as_deref());
                        self.run.log_many_labelled(id, labels, steps, times, &values)
                    };
                    match py.detach(log) {
                        Ok(()) => self.writing().columns.remember_many(place, &values),
                        Err(error) => self.refuse(py, &error)?,
                    }
                }
            }
            Err(error) if self.strict => return Err(error),
            Err(error) => {
                self.writing().refused += 1;
                complaints.push(Complaint {
                    message: format!(
                        "log_many({}): nothing of this call is kept: {}",
                        shorten(&metric),
                        error.value(py)
                    ),
                    key: format!("{metric}\0many"),
                });
            }
        }
        let mut writing = self.writing();
        writing.calls += 1;
        writing.spent += started.elapsed();
        drop(writing);
        self.complain(py, complaints)?;
        self.mind_dropped(py)
    }

    /// Waits until everything that this process logged so far would survive a power cut.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.commit_gathered(py)?;
        py.detach(|| self.run.sync()).map_err(|error| from_engine(&error))
    }

    /// Ends the run: `finished`, `failed` or `killed`.
    fn end(&self, py: Python<'_>, state: &str, exit_code: Option<i32>) -> PyResult<()> {
        let state = match state {
            "finished" => State::Finished,
            "failed" => State::Failed,
            "killed" => State::Killed,
            other => {
                return Err(Class::InvalidArgument
                    .error(format!("state: {other:?} is none that a run can end with")));
            }
        };
        self.commit_gathered(py)?;
        let end = || match exit_code {
            Some(code) => self.run.finish_with_code(state, code),
            None => self.run.finish(state),
        };
        py.detach(end).map_err(|error| from_engine(&error))?;
        Ok(())
    }

    /// Sets one top-level key of the configuration.
    fn set_config(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (key, value) = (key.to_string_lossy(), convert::json(value)?);
        say(py, || self.run.config(&key, Some(value)))
    }

    /// Takes one top-level key of the configuration back.
    fn remove_config(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<()> {
        let key = key.to_string_lossy();
        say(py, || self.run.config(&key, None))
    }

    /// Sets one top-level key of the summary.
    fn set_summary(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (key, value) = (key.to_string_lossy(), convert::json(value)?);
        say(py, || self.run.summary(&key, Some(value)))
    }

    /// Takes one top-level key of the summary back.
    fn remove_summary(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<()> {
        let key = key.to_string_lossy();
        say(py, || self.run.summary(&key, None))
    }

    /// Says what a metric is, or all that a pattern matches. `summary` is `None` where nothing is said of it. With
    /// `step_sync`, rows with the metric get the last value of its step metric.
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "`runlake.Run.define_metric` names them"
    )]
    fn define(
        &self,
        py: Python<'_>,
        metric: &str,
        step_metric: Option<String>,
        summary: Option<Vec<String>>,
        goal: Option<&str>,
        hidden: bool,
        step_sync: bool,
    ) -> PyResult<()> {
        let read = || -> Result<Definition, runlake_engine::Error> {
            let mut definition = Definition::new(metric);
            definition.step_metric = step_metric;
            let words = |words: Vec<String>| words.iter().map(|word| word.parse()).collect();
            definition.summary = summary.map(words).transpose()?;
            definition.goal = goal.map(str::parse).transpose()?;
            definition.hidden = hidden;
            Ok(definition)
        };
        let mut definition = read().map_err(|error| from_engine(&error))?;
        say(py, || self.run.define_metric(&definition))?;
        if !step_sync {
            definition.step_metric = None;
        }
        self.writing().columns.define(&definition);
        Ok(())
    }

    /// Adds a tag, or takes it off.
    fn set_tag(&self, py: Python<'_>, tag: &str, on: bool) -> PyResult<()> {
        say(py, || self.run.tag(tag, on))
    }

    /// Sets an attribute such as `name` or `notes`; `None` takes it back.
    fn set_attribute(&self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = if value.is_none() { None } else { Some(convert::json(value)?) };
        say(py, || self.run.attribute(key, value))
    }

    /// What the lake knows of the run: its attributes, tags, configuration and summary, of all processes.
    fn known<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let find = || {
            let runs = self.run.lake().snapshot()?.runs()?;
            let ours = runs.iter().find(|known| {
                *known.project == *self.run.project() && *known.run_id == *self.run.id()
            });
            Ok::<_, runlake_engine::Error>(ours.cloned())
        };
        let dict = PyDict::new(py);
        if let Some(known) = py.detach(find).map_err(|error| from_engine(&error))? {
            dict.set_item("name", known.name.as_deref())?;
            dict.set_item("group", known.group_name.as_deref())?;
            dict.set_item("job_type", known.job_type.as_deref())?;
            dict.set_item("notes", known.notes.as_deref())?;
            dict.set_item("tags", known.tags.as_slice())?;
            let first = known.launches.first();
            dict.set_item("resumed", first.is_some_and(|first| **first != *self.run.launch()))?;
            let metrics = PyDict::new(py);
            for one in &known.metrics {
                let words =
                    one.summary.as_ref().map(|words| words.iter().map(|word| word.as_str()));
                let words = words.map(Iterator::collect::<Vec<_>>);
                let goal = one.goal.map(Goal::as_str);
                metrics.set_item(&one.metric, (&one.step_metric, words, goal, one.hidden))?;
            }
            dict.set_item("metrics", metrics)?;
            dict.set_item("config", convert::from_json_object(py, &known.config)?)?;
            dict.set_item("summary", convert::from_json_object(py, &known.summary)?)?;
        }
        Ok(dict)
    }

    /// What the lake has as summary of the run, of all processes: of one metric, or of all.
    #[pyo3(signature = (metric=None))]
    fn summed<'py>(&self, py: Python<'py>, metric: Option<&str>) -> PyResult<Bound<'py, PyDict>> {
        let ours = Filter {
            projects: Some(vec![self.run.project().to_owned()]),
            runs: Some(vec![self.run.id().to_owned()]),
            metrics: metric.map(|metric| vec![metric.to_owned()]),
        };
        let sum = || {
            let snapshot = self.run.lake().snapshot()?;
            let series = snapshot.series(&ours)?;
            let runs = snapshot.runs_of(&ours)?;
            let known = runs.iter().find(|known| {
                *known.project == *self.run.project() && *known.run_id == *self.run.id()
            });
            let summary = known.map(|known| runlake_engine::summary(series.iter(), known));
            Ok::<_, runlake_engine::Error>(summary.unwrap_or_default())
        };
        let summary = py.detach(sum).map_err(|error| from_engine(&error))?;
        convert::from_json_object(py, &summary)
    }

    /// The value of `metric` that this process logged last.
    fn last(&self, metric: &str) -> Option<f64> {
        self.writing().columns.last(metric)
    }

    /// The metrics that this process logged, in the order of their first value.
    fn metrics(&self) -> Vec<String> {
        self.writing().columns.columns().iter().map(|column| column.name.to_string()).collect()
    }

    /// For the first `most` metrics of this process: name, sparkline of at most `width` bars, last value.
    fn trends(&self, most: usize, width: usize) -> Vec<(String, String, f64)> {
        let mut writing = self.writing();
        let columns = writing.columns.columns().iter().take(most);
        let line = |column: &row::Column| {
            (column.name.to_string(), column.trend.sparkline(width), column.last)
        };
        columns.map(line).collect()
    }

    /// What this process logged: `rows`, `points`, `dropped_rows`, `refused_rows`, `calls`, `seconds`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.run.stats();
        let dict = PyDict::new(py);
        dict.set_item("rows", stats.rows)?;
        dict.set_item("points", stats.points)?;
        dict.set_item("dropped_rows", stats.dropped_rows)?;
        let writing = self.writing();
        dict.set_item("refused_rows", writing.refused)?;
        dict.set_item("calls", writing.calls)?;
        dict.set_item("seconds", writing.spent.as_secs_f64())?;
        Ok(dict)
    }

    /// The id, unique in the project.
    #[getter]
    fn id(&self) -> &str {
        self.run.id()
    }

    /// The name as the run started with it.
    #[getter]
    fn first_name(&self) -> &str {
        self.run.name()
    }

    /// The project.
    #[getter]
    fn project(&self) -> &str {
        self.run.project()
    }

    /// The launch: one start of a job, which may span processes.
    #[getter]
    fn launch(&self) -> &str {
        self.run.launch()
    }

    /// The absolute path of the lake.
    #[getter]
    fn store<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text_path(py, self.run.lake().path())
    }

    /// Whether what cannot be kept raises an exception.
    #[getter]
    fn strict(&self) -> bool {
        self.strict
    }
}

impl PyRun {
    fn writing(&self) -> MutexGuard<'_, Writing> {
        // Nothing that runs under the lock leaves it half done, so a panic there poisons nothing.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way of `log` for everything that is not plain: other mappings, labels, steps that are no `int`, rows of several
    /// calls.
    #[cold]
    fn log_with_care<'py>(
        &self,
        py: Python<'py>,
        mut row: Row<'py>,
        data: &Bound<'py, PyAny>,
        step: Option<&Bound<'py, PyAny>>,
        commit: bool,
        labels: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let dict = match (data.cast::<PyDict>(), data.cast::<PyMapping>()) {
            (Ok(dict), _) => Ok(dict.clone()),
            (_, Ok(mapping)) => convert::dict_of(mapping),
            _ => {
                let kind = convert::type_name(data);
                Err(convert::wrong_type(format!(
                    "log() takes a mapping such as {{\"loss\": 0.1}}, not {kind}"
                )))
            }
        };
        let dict = match dict {
            Ok(dict) => dict,
            Err(error) if self.strict => return Err(error),
            Err(error) => {
                self.writing().refused += 1;
                row.complaints.push(Complaint {
                    key: "\0data".to_owned(),
                    message: format!("{}; the row is not kept", error.value(py)),
                });
                return self.complain(py, row.complaints);
            }
        };
        let (step, trouble) = step.map_or((None, None), convert::step);
        if let Some(trouble) = trouble {
            row.complaints.push(Complaint {
                key: "\0step".to_owned(),
                message: match trouble {
                    StepTrouble::Fraction => {
                        "a step is a whole number: its fraction is cut off".to_owned()
                    }
                    StepTrouble::Unfit(why) => {
                        format!("the step is left out, so that the row gets the next one: {why}")
                    }
                },
            });
        }
        let labels = labels.and_then(|labels| self.labels_id(labels, &mut row.complaints));
        self.writing().columns.quick_pass(&self.run, &dict, &mut row);
        self.complete(py, row, step, commit, labels)
    }

    /// Reads what the quick pass left, logs the row or lets it wait, then says what could not be kept.
    #[cold]
    fn complete(
        &self,
        py: Python<'_>,
        mut row: Row<'_>,
        mut step: Option<i64>,
        commit: bool,
        labels: Option<LabelsId>,
    ) -> PyResult<()> {
        let found = row::read_aside(&mut row);
        let mut writing = self.writing();
        for (name, value) in found {
            writing.columns.put_named(&self.run, &mut row, &name, value);
        }
        if self.strict
            && let Some(complaint) = row.complaints.first()
        {
            return Err(Class::InvalidArgument.error(complaint.message.as_str()));
        }
        let mut refused = Ok(());
        if writing.gathered.as_ref().is_some_and(|gathered| !gathered.takes(step, labels)) {
            refused = self.log_gathered(&mut writing);
        }
        if commit {
            if let Some(mut gathered) = writing.take_gathered() {
                gathered.add(&row);
                step = step.or(gathered.step);
                (row.places, row.points) = (gathered.places, gathered.points);
            }
            if !row.points.is_empty() {
                writing.columns.add_step_metrics(&mut row);
                match self.run.log_labelled(step, None, labels, &row.points) {
                    Ok(()) => writing.columns.remember(&row),
                    Err(error) => refused = Err(error),
                }
            }
        } else {
            let gathered = writing.gathered.get_or_insert_with(|| {
                let (places, points) = (Vec::new(), Vec::new());
                Box::new(Gathered { process: process::id(), step, labels, places, points })
            });
            gathered.step = gathered.step.or(step);
            gathered.add(&row);
        }
        if let Err(error) = refused {
            drop(writing);
            return self.refuse(py, &error);
        }
        let complaints = std::mem::take(&mut row.complaints);
        writing.recycle(row);
        drop(writing);
        self.complain(py, complaints)
    }

    /// Logs what waits for the next row.
    #[cold]
    fn log_gathered(&self, writing: &mut Writing) -> Result<(), runlake_engine::Error> {
        let Some(gathered) = writing.take_gathered() else { return Ok(()) };
        let Gathered { step, labels, places, points, .. } = gathered;
        if points.is_empty() {
            return Ok(());
        }
        let mut row = Row { places, points, ..Row::default() };
        writing.columns.add_step_metrics(&mut row);
        self.run.log_labelled(step, None, labels, &row.points)?;
        writing.columns.remember(&row);
        Ok(())
    }

    /// Logs what waits for the next row, as `sync` and the end of the run do.
    fn commit_gathered(&self, py: Python<'_>) -> PyResult<()> {
        let logged = self.log_gathered(&mut self.writing());
        logged.or_else(|error| self.refuse(py, &error))
    }

    /// A row that the engine did not take: raised where the run is strict, else said once.
    #[cold]
    fn refuse(&self, py: Python<'_>, error: &runlake_engine::Error) -> PyResult<()> {
        if self.strict {
            return Err(from_engine(error));
        }
        self.writing().refused += 1;
        let message = format!("a row is not kept: {error}");
        self.complain(py, vec![Complaint { key: "\0row".to_owned(), message }])
    }

    /// Says once that the disk takes no rows. `log` does not fail for it, and who trains should hear of it before the
    /// end, while there is something to be done.
    fn mind_dropped(&self, py: Python<'_>) -> PyResult<()> {
        let dropped = self.run.dropped_rows();
        if dropped == 0 {
            return Ok(());
        }
        let message = format!(
            "rows are dropped, {dropped} so far: no log can be written in {}, and what memory may hold of them is full. \
             Free space there; the run goes on, and finish() says how many rows are missing",
            self.run.lake().path().display()
        );
        self.complain(py, vec![Complaint { key: "\0dropped".to_owned(), message }])
    }

    /// Says each complaint that was not said before. A filter that turns warnings into errors raises them here, after
    /// the row was kept.
    fn complain(&self, py: Python<'_>, complaints: Vec<Complaint>) -> PyResult<()> {
        for complaint in complaints {
            let is_news = self.writing().columns.is_news(&complaint.key);
            if is_news {
                warn(py, Class::DataWarning, &complaint.message)?;
            }
        }
        Ok(())
    }

    fn labels_id(
        &self,
        labels: &Bound<'_, PyAny>,
        complaints: &mut Vec<Complaint>,
    ) -> Option<LabelsId> {
        let Ok(mapping) = labels.cast::<PyMapping>() else {
            complaints.push(Complaint {
                key: "\0labels".to_owned(),
                message: format!(
                    "labels must be a mapping such as {{\"rank\": 0}}, not {}; they are left out",
                    convert::type_name(labels)
                ),
            });
            return None;
        };
        let dict = match mapping.cast::<PyDict>() {
            Ok(dict) => dict.clone(),
            Err(_) => convert::dict_of(mapping).ok()?,
        };
        if dict.is_empty() {
            return None;
        }
        let fingerprint = fingerprint(&dict);
        if let Some(fingerprint) = &fingerprint
            && let Some(id) = self.writing().columns.labels(fingerprint)
        {
            return Some(id);
        }
        let mut map = Map::new();
        for (key, value) in dict.iter() {
            let (Ok(key), Ok(value)) = (convert::text_of(&key), convert::json(&value)) else {
                continue;
            };
            match value {
                Value::String(_) | Value::Number(_) => {
                    map.insert(key.into_owned(), value);
                }
                Value::Bool(truth) => {
                    map.insert(key.into_owned(), Value::String(truth.to_string()));
                }
                Value::Null => {}
                Value::Array(_) | Value::Object(_) => complaints.push(Complaint {
                    key: format!("{key}\0label"),
                    message: format!(
                        "label {} is left out: its value must be text or a number",
                        shorten(&key)
                    ),
                }),
            }
        }
        match self.run.labels(&map) {
            Ok(id) => {
                if let Some(fingerprint) = fingerprint {
                    self.writing().columns.keep_labels(fingerprint, id);
                }
                Some(id)
            }
            Err(error) => {
                complaints.push(Complaint {
                    key: "\0labels".to_owned(),
                    message: format!("the labels are left out: {error}"),
                });
                None
            }
        }
    }
}

/// Says a fact without holding the GIL.
fn say(
    py: Python<'_>,
    fact: impl FnOnce() -> Result<(), runlake_engine::Error> + Send,
) -> PyResult<()> {
    py.detach(fact).map_err(|error| from_engine(&error))
}

/// A step that takes care to read.
struct Unusual;

/// The step where it takes no care to read: none, or an `int` that fits.
#[inline]
fn quick_step(step: Option<&Bound<'_, PyAny>>) -> Result<Option<i64>, Unusual> {
    let Some(step) = step else { return Ok(None) };
    let step = step.cast_exact::<PyInt>().ok().and_then(|step| step.extract().ok());
    step.map(Some).ok_or(Unusual)
}

/// Bytes that are equal for equal labels only; none where a value is not plain.
fn fingerprint(labels: &Bound<'_, PyDict>) -> Option<Vec<u8>> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend_from_slice(&text.len().to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(32 * labels.len());
    for (key, value) in labels.iter() {
        text(&mut bytes, key.cast_exact::<PyString>().ok()?.to_str().ok()?);
        if let Ok(value) = value.cast_exact::<PyString>() {
            bytes.push(0);
            text(&mut bytes, value.to_str().ok()?);
        } else if let Ok(value) = value.cast_exact::<PyInt>() {
            bytes.push(1);
            bytes.extend_from_slice(&value.extract::<i64>().ok()?.to_le_bytes());
        } else if let Ok(value) = value.cast_exact::<PyFloat>() {
            bytes.push(2);
            bytes.extend_from_slice(&value.value().to_bits().to_le_bytes());
        } else if let Ok(value) = value.cast_exact::<PyBool>() {
            bytes.push(3 + u8::from(value.is_true()));
        } else {
            return None;
        }
    }
    Some(bytes)
}
