//! Runs: starting one, logging to it, ending it.

use std::{
    cell::RefCell,
    ffi::{CString, c_char},
};

use runlake_engine::{Error, LabelsId, MetricId, Run, State};
use serde_json::Value;

use crate::{
    argument::{self, invalid},
    lake::RunlakeLake,
    status::{RunlakeStatus, guard},
};

/// In the place of labels: none.
pub const RUNLAKE_NO_LABELS: u32 = u32::MAX;
/// In the place of a step: one more than the highest step of the run so far, 0 in an empty one.
pub const RUNLAKE_NEXT_STEP: i64 = i64::MIN;
/// In the place of a time: now.
pub const RUNLAKE_NOW: i64 = i64::MIN;

/// A run that this process logs to. May be used by any number of threads.
#[derive(Debug)]
pub struct RunlakeRun {
    run: Run,
    id: CString,
}

/// One value of a row.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RunlakePoint {
    /// The metric, from `runlake_metric`.
    pub metric: u32,
    /// Its value. NaN and infinities are data and come back bit for bit.
    pub value: f64,
}

/// What is said of a run when it starts. Fill it with zeros for the defaults; every text may be null.
#[repr(C)]
#[derive(Debug)]
pub struct RunlakeRunOptions {
    /// The id, unique in the project; made up where it is null. An id that exists continues that run.
    pub id: *const c_char,
    /// The name for people; a readable one follows from the id where it is null.
    pub name: *const c_char,
    /// The group that the run belongs to.
    pub group: *const c_char,
    /// The type of job: "train", "eval".
    pub job_type: *const c_char,
    /// Notes.
    pub notes: *const c_char,
    /// The configuration: a JSON object.
    pub config: *const c_char,
    /// The launch: one start of a job, which may span many processes. Made up where it is null.
    pub launch: *const c_char,
    /// Tags, `tag_count` of them.
    pub tags: *const *const c_char,
    /// The number of tags.
    pub tag_count: usize,
}

/// For `runlake_finish`: the run ended as it should.
pub const RUNLAKE_FINISHED: i32 = 0;
/// For `runlake_finish`: the run ended with an error.
pub const RUNLAKE_FAILED: i32 = 1;
/// For `runlake_finish`: the run was told to stop.
pub const RUNLAKE_KILLED: i32 = 2;

/// What this process logged to a run so far.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct RunlakeStats {
    /// Rows that were kept.
    pub rows: u64,
    /// Points that were kept.
    pub points: u64,
    /// Rows that could not be kept.
    pub dropped_rows: u64,
}

/// Starts a run of `project`. `options` may be null. Free `*run` with `runlake_free`.
///
/// # Safety
/// `lake` came from `runlake_open`, `project` is a text, `options` null or valid, `run` a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_start(
    lake: *const RunlakeLake,
    project: *const c_char,
    options: *const RunlakeRunOptions,
    run: *mut *mut RunlakeRun,
) -> RunlakeStatus {
    guard(|| {
        let place = argument::place("run", run)?;
        // SAFETY: from `runlake_open`, by the contract of this function.
        let lake = unsafe { argument::the("lake", lake) }?;
        // SAFETY: a text by the contract of this function.
        let project = unsafe { argument::text("project", project) }?;
        let mut builder = lake.0.run(project);
        // SAFETY: null or valid by the contract of this function.
        if let Some(options) = unsafe { options.as_ref() } {
            let said = |what, pointer| {
                // SAFETY: the texts of valid options are texts or null.
                unsafe { argument::maybe_text(what, pointer) }
            };
            if let Some(id) = said("id", options.id)? {
                builder = builder.id(id);
            }
            if let Some(name) = said("name", options.name)? {
                builder = builder.name(name);
            }
            if let Some(group) = said("group", options.group)? {
                builder = builder.group(group);
            }
            if let Some(job_type) = said("job_type", options.job_type)? {
                builder = builder.job_type(job_type);
            }
            if let Some(notes) = said("notes", options.notes)? {
                builder = builder.notes(notes);
            }
            if let Some(launch) = said("launch", options.launch)? {
                builder = builder.launch(launch);
            }
            if let Some(config) = said("config", options.config)? {
                let Value::Object(config) = argument::json("config", config)? else {
                    return Err(invalid("config", "is not a JSON object"));
                };
                builder = builder.config(config);
            }
            // SAFETY: `tag_count` texts by the contract of this function.
            let tags = unsafe { argument::array("tags", options.tags, options.tag_count) }?;
            let tags = tags.iter().map(|&tag| {
                // SAFETY: a text by the contract of this function.
                unsafe { argument::text("tag", tag) }
            });
            builder = builder.tags(tags.collect::<Result<Vec<_>, _>>()?);
        }
        let run = builder.start()?;
        // An id is a text from C, or letters and digits.
        let id = CString::new(run.id()).unwrap_or_default();
        // SAFETY: a place for a pointer by the contract of this function.
        unsafe { place.write(Box::into_raw(Box::new(RunlakeRun { run, id }))) };
        Ok(())
    })
}

/// The id of the run. Valid until `runlake_free`. Null for a run that is null.
///
/// # Safety
/// `run` is null or came from `runlake_start`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_run_id(run: *const RunlakeRun) -> *const c_char {
    // SAFETY: null or valid by the contract of this function.
    unsafe { run.as_ref() }.map_or(std::ptr::null(), |run| run.id.as_ptr())
}

/// Gives the metric `name` (1 to 512 bytes of UTF-8) a number, for rows of any run of this lake in this process.
///
/// # Safety
/// `run` came from `runlake_start`, `name` is a text, `metric` a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_metric(
    run: *const RunlakeRun,
    name: *const c_char,
    metric: *mut u32,
) -> RunlakeStatus {
    guard(|| {
        let place = argument::place("metric", metric)?;
        // SAFETY: from `runlake_start`, by the contract of this function.
        let run = unsafe { argument::the("run", run) }?;
        // SAFETY: a text by the contract of this function.
        let name = unsafe { argument::text("name", name) }?;
        let metric = run.run.metric(name)?;
        // SAFETY: a place for a number by the contract of this function.
        unsafe { place.write(metric.number()) };
        Ok(())
    })
}

/// Gives a set of labels, a JSON object such as {"rank": 3}, a number, for rows of any run of this lake in this process.
///
/// # Safety
/// `run` came from `runlake_start`, `json` is a text, `labels` a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_labels(
    run: *const RunlakeRun,
    json: *const c_char,
    labels: *mut u32,
) -> RunlakeStatus {
    guard(|| {
        let place = argument::place("labels", labels)?;
        // SAFETY: from `runlake_start`, by the contract of this function.
        let run = unsafe { argument::the("run", run) }?;
        // SAFETY: a text by the contract of this function.
        let json = unsafe { argument::text("json", json) }?;
        let Value::Object(set) = argument::json("labels", json)? else {
            return Err(invalid("labels", "is not a JSON object"));
        };
        let labels = run.run.labels(&set)?;
        // SAFETY: a place for a number by the contract of this function.
        unsafe { place.write(labels.number()) };
        Ok(())
    })
}

/// Logs one row: `count` values of one step, now, without labels. The row is visible to every reader, and safe from a
/// kill of the process, when the call returns. `step` may be `RUNLAKE_NEXT_STEP`. A row of up to 64 values costs no
/// allocation, lock or system call.
///
/// # Safety
/// `run` came from `runlake_start`, `points` points to `count` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_log(
    run: *const RunlakeRun,
    step: i64,
    points: *const RunlakePoint,
    count: usize,
) -> RunlakeStatus {
    // SAFETY: the contract of this function is that of `runlake_log_labelled`.
    unsafe { runlake_log_labelled(run, step, RUNLAKE_NOW, RUNLAKE_NO_LABELS, points, count) }
}

/// Logs one row at `time_us`, microseconds since 1970 (UTC) or `RUNLAKE_NOW`, with `labels` from `runlake_labels` or
/// `RUNLAKE_NO_LABELS`. See `runlake_log`.
///
/// # Safety
/// As `runlake_log`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_log_labelled(
    run: *const RunlakeRun,
    step: i64,
    time_us: i64,
    labels: u32,
    points: *const RunlakePoint,
    count: usize,
) -> RunlakeStatus {
    thread_local! {
        static ROW: RefCell<Vec<(MetricId, f64)>> = RefCell::new(Vec::with_capacity(64));
    }
    guard(|| {
        // SAFETY: from `runlake_start`, by the contract of this function.
        let run = unsafe { argument::the("run", run) }?;
        // SAFETY: `count` points by the contract of this function.
        let points = unsafe { argument::array("points", points, count) }?;
        let points = points.iter().map(|point| (MetricId::from_number(point.metric), point.value));
        let log = |row: &[(MetricId, f64)]| {
            let step = (step != RUNLAKE_NEXT_STEP).then_some(step);
            let time = (time_us != RUNLAKE_NOW).then_some(time_us);
            run.run.log_labelled(step, time, some_labels(labels), row)
        };
        // A thread that is ending has no buffer any more.
        let logged = ROW.try_with(|row| {
            let mut row = row.borrow_mut();
            row.clear();
            row.extend(points.clone());
            log(&row)
        });
        logged.unwrap_or_else(|_| log(&points.collect::<Vec<_>>()))
    })
}

/// Logs `count` values of one metric. `steps` may be null: one each, from the next step on. `times_us` may be null: all
/// have the time of the call.
///
/// # Safety
/// `run` came from `runlake_start`; `values`, and `steps` and `times_us` where they are not null, have `count` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_log_many(
    run: *const RunlakeRun,
    metric: u32,
    labels: u32,
    steps: *const i64,
    times_us: *const i64,
    values: *const f64,
    count: usize,
) -> RunlakeStatus {
    guard(|| {
        // SAFETY: from `runlake_start`, by the contract of this function.
        let run = unsafe { argument::the("run", run) }?;
        // SAFETY: `count` values by the contract of this function.
        let values = unsafe { argument::array("values", values, count) }?;
        let column = |what, pointer: *const i64| -> Result<Option<&[i64]>, Error> {
            if pointer.is_null() {
                return Ok(None);
            }
            // SAFETY: `count` values by the contract of this function.
            unsafe { argument::array(what, pointer, count) }.map(Some)
        };
        let (steps, times) = (column("steps", steps)?, column("times_us", times_us)?);
        let metric = MetricId::from_number(metric);
        run.run.log_many_labelled(metric, some_labels(labels), steps, times, values)
    })
}

/// Sets one top-level key of the configuration to a JSON value; null removes it.
///
/// # Safety
/// `run` came from `runlake_start`, `key` is a text, `json` a text or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_config(
    run: *const RunlakeRun,
    key: *const c_char,
    json: *const c_char,
) -> RunlakeStatus {
    // SAFETY: the contract of this function is that of `set`.
    guard(|| unsafe { set(run, key, json, Run::config) })
}

/// Sets one top-level key of the summary to a JSON value; null removes it, and the last value of the metric shows again.
///
/// # Safety
/// As `runlake_config`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_summary(
    run: *const RunlakeRun,
    key: *const c_char,
    json: *const c_char,
) -> RunlakeStatus {
    // SAFETY: the contract of this function is that of `set`.
    guard(|| unsafe { set(run, key, json, Run::summary) })
}

/// # Safety
/// `run` came from `runlake_start`, `key` is a text, `json` a text or null.
unsafe fn set(
    run: *const RunlakeRun,
    key: *const c_char,
    json: *const c_char,
    how: fn(&Run, &str, Option<Value>) -> Result<(), Error>,
) -> Result<(), Error> {
    // SAFETY: by the contract of this function.
    let run = unsafe { argument::the("run", run) }?;
    // SAFETY: by the contract of this function.
    let key = unsafe { argument::text("key", key) }?;
    // SAFETY: by the contract of this function.
    let json = unsafe { argument::maybe_text("json", json) }?;
    how(&run.run, key, json.map(|json| argument::json("json", json)).transpose()?)
}

/// Waits until everything that this process logged so far would survive a power cut.
///
/// # Safety
/// `run` came from `runlake_start`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_sync(run: *const RunlakeRun) -> RunlakeStatus {
    // SAFETY: by the contract of this function.
    guard(|| unsafe { argument::the("run", run) }?.run.sync())
}

/// What this process logged to the run so far.
///
/// # Safety
/// `run` came from `runlake_start`, `stats` is a place for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_stats(
    run: *const RunlakeRun,
    stats: *mut RunlakeStats,
) -> RunlakeStatus {
    guard(|| {
        let place = argument::place("stats", stats)?;
        // SAFETY: from `runlake_start`, by the contract of this function.
        let now = unsafe { argument::the("run", run) }?.run.stats();
        let (rows, points, dropped_rows) = (now.rows, now.points, now.dropped_rows);
        // SAFETY: a place for them by the contract of this function.
        unsafe { place.write(RunlakeStats { rows, points, dropped_rows }) };
        Ok(())
    })
}

/// Ends the run in one of the states above and makes it durable. Rows that are logged later are still kept.
///
/// # Safety
/// `run` came from `runlake_start`; `state` may be anything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_finish(
    run: *const RunlakeRun,
    state: i32,
    exit_code: i32,
) -> RunlakeStatus {
    guard(|| {
        // SAFETY: from `runlake_start`, by the contract of this function.
        let run = unsafe { argument::the("run", run) }?;
        let state = match state {
            RUNLAKE_FINISHED => State::Finished,
            RUNLAKE_FAILED => State::Failed,
            RUNLAKE_KILLED => State::Killed,
            other => return Err(invalid("state", format!("{other} is none of the states"))),
        };
        run.run.finish_with_code(state, exit_code).map(drop)
    })
}

/// Frees the handle. A run that was not finished reads as crashed once the process has ended. Null does nothing.
///
/// # Safety
/// `run` is null or came from `runlake_start`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn runlake_free(run: *mut RunlakeRun) {
    if !run.is_null() {
        // SAFETY: it came from `Box::into_raw` in `runlake_start`, and nobody uses it again.
        let run = unsafe { Box::from_raw(run) };
        let _freed = guard(|| {
            drop(run);
            Ok(())
        });
    }
}

fn some_labels(number: u32) -> Option<LabelsId> {
    (number != RUNLAKE_NO_LABELS).then(|| LabelsId::from_number(number))
}
