//! A run that this process writes to.
#![expect(clippy::cast_possible_wrap, reason = "lengths of slices fit 63 bits")]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use crossbeam::utils::CachePadded;
use serde_json::{Map, Value};

use crate::{
    Definition, Error, FactKind, Lake, Result, RunInfo, State,
    fact::Clock,
    log::{NO_LABELS, frame::Frame, run_key, writer::NotKept},
    names::{LabelsId, MetricId, RunName},
    os,
    process::PerProcess,
    runs::name_of,
};

mod past;

use past::Past;

/// The most bytes that the name of a run, a project or a metric may have.
const NAME_BYTES_MAX: usize = 512;
/// The most points that one frame of [`Run::log_many`] holds: with steps and times it still fits a block.
const MANY_POINTS: usize = 2048;
/// A run's end flushes where its process has logged so many points; smaller logs are left to be adopted together.
const FLUSH_AT_FINISH_POINTS: u64 = 64 << 10;

/// Describes a run before it starts.
#[derive(Debug, Clone)]
#[must_use = "a run starts with `start`"]
pub struct RunBuilder {
    lake: Lake,
    project: String,
    id: Option<String>,
    launch: Option<String>,
    attributes: Vec<(String, Value)>,
    config: Map<String, Value>,
    tags: Vec<String>,
    kept: Option<i64>,
    fork: Option<(String, i64)>,
    joins: bool,
}

impl RunBuilder {
    pub(crate) fn new(lake: Lake, project: &str) -> Self {
        Self {
            lake,
            project: project.to_owned(),
            id: None,
            launch: None,
            attributes: Vec::new(),
            config: Map::new(),
            tags: Vec::new(),
            kept: None,
            fork: None,
            joins: false,
        }
    }

    /// The id, unique in the project; made up where it is not given. An id that exists continues that run.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The name for people; a readable one follows from the id where it is not given.
    pub fn name(self, name: &str) -> Self {
        self.attribute("name", name.into())
    }

    /// The configuration, nested as the user likes it.
    pub fn config(mut self, config: Map<String, Value>) -> Self {
        self.config.extend(config);
        self
    }

    /// Tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The group that the run belongs to.
    pub fn group(self, group: &str) -> Self {
        self.attribute("group_name", group.into())
    }

    /// The type of job: "train", "eval".
    pub fn job_type(self, job_type: &str) -> Self {
        self.attribute("job_type", job_type.into())
    }

    /// Notes, in the user's words.
    pub fn notes(self, notes: &str) -> Self {
        self.attribute("notes", notes.into())
    }

    /// A further attribute of the run, said as a fact: `host`, `user_name`, `program`, `command`, `git_commit`,
    /// `git_remote`, `created_at` (microseconds since 1970, UTC).
    pub fn attribute(mut self, key: &str, value: Value) -> Self {
        self.attributes.push((key.to_owned(), value));
        self
    }

    /// The launch that this process belongs to: one start of a job, which may span many processes. Made up where it
    /// is not given.
    pub fn launch(mut self, launch: &str) -> Self {
        self.launch = Some(launch.to_owned());
        self
    }

    /// Goes back to `step` of a run that is there: of what earlier launches logged, only points up to this step count from here on,
    /// in all series. Nothing is removed. Rows without a step go on behind it.
    ///
    /// ```
    /// # fn main() -> Result<(), runlake_engine::Error> {
    /// use runlake_engine::{Filter, Lake, State};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
    /// let run = lake.run("digits").id("first").start()?;
    /// for step in 0..10 {
    ///     run.log_named(step, &[("loss", 1.0), ("accuracy", 0.5)])?;
    /// }
    /// run.finish(State::Finished)?;
    ///
    /// let run = lake.run("digits").id("first").resume_from(5).start()?;
    /// run.log_named(None, &[("loss", 0.25)])?;
    /// let series = lake.snapshot()?.series(&Filter::default())?;
    /// let ends: Vec<_> = series.iter().map(|it| (&*it.metric, it.count, it.last_step)).collect();
    /// assert_eq!(ends, [("accuracy", 6, 5), ("loss", 7, 6)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_from(mut self, step: i64) -> Self {
        self.kept = Some(step);
        self
    }

    /// Starts a run from a step of another one of the project: the points of `parent` up to that step are shown as its own, and its
    /// configuration and definitions of metrics are taken over. No point is copied. Rows without a step go on behind it. Of launches
    /// of the parent that begin later, and of what is said of it later, nothing is taken over. The parent is named as for
    /// [`crate::Snapshot::find_run`].
    ///
    /// A run that is there already goes on if it was forked just so, so that a launcher may start it again.
    ///
    /// ```
    /// # fn main() -> Result<(), runlake_engine::Error> {
    /// use runlake_engine::{Filter, Lake, State};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
    /// let run = lake.run("digits").id("first").start()?;
    /// for step in 0..10 {
    ///     run.log_named(step, &[("loss", 1.0)])?;
    /// }
    /// run.finish(State::Finished)?;
    ///
    /// let run = lake.run("digits").id("second").fork_from("first", 5).start()?;
    /// run.log_named(None, &[("loss", 0.25)])?;
    /// let series = lake.snapshot()?.series(&Filter::default())?;
    /// let ends: Vec<_> = series.iter().map(|it| (&*it.run_id, it.count, it.last_step)).collect();
    /// assert_eq!(ends, [("first", 10, 9), ("second", 7, 6)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork_from(mut self, parent: &str, step: i64) -> Self {
        self.fork = Some((parent.to_owned(), step));
        self
    }

    /// Logs to a run that another process started and will end: nothing is said of its state.
    pub fn join(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Starts the run: from here on it exists for every reader.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is empty or longer than 512 bytes, for [`RunBuilder::resume_from`] without an id, and for
    /// [`RunBuilder::fork_from`] of a run that is there and was not forked so; [`Error::Unknown`] for a parent that is not there;
    /// [`Error::Io`] where the lake cannot be written.
    pub fn start(self) -> Result<Run> {
        check_name("project", &self.project)?;
        let origin = match &self.fork {
            Some((parent, step)) => Origin::find(&self, parent, *step)?,
            None => Origin::Own,
        };
        if self.kept.is_some() && self.id.is_none() {
            let detail = "only a run that is there, by its id, can go back to a step".to_owned();
            return Err(Error::Invalid { what: "resume_from", detail });
        }
        let known = self.id.is_some() && self.kept.is_none();
        let behind = self.kept.or_else(|| self.fork.as_ref().map(|(_, step)| *step));
        let next_step = behind.map_or(0, |step| step.saturating_add(1));
        let run_id = self.id.unwrap_or_else(short_id);
        check_name("run id", &run_id)?;
        let launch = self.launch.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        check_name("launch", &launch)?;
        let name = RunName { project: self.project, run_id, launch };
        let number = self.lake.core().names.runs.id(&name)?;
        let title = self.attributes.iter().rev().find(|(key, _)| key == "name");
        let title = title
            .and_then(|(_, value)| value.as_str())
            .map_or_else(|| name_of(&name.run_id), str::to_owned);
        let inner = Arc::new(Inner {
            lake: self.lake,
            name,
            title,
            number,
            next_step: AtomicI64::new(next_step),
            continues: known,
            past: PerProcess::default(),
            clock: Clock::after(origin.clock()),
            is_open: AtomicBool::new(false),
            counters: std::array::from_fn(|_| CachePadded::default()),
            dropped_rows: AtomicU64::new(0),
        });
        let run = Run { inner };
        run.inner.lake.core().enter(&run);
        if let Origin::New { parent, step } = &origin {
            run.inherit(parent, *step, &self.config)?;
        }
        run.fact(&FactKind::Launch, &run.inner.name.launch, Some(Value::Bool(true)))?;
        if let Some(step) = self.kept {
            run.fact(&FactKind::Rewind, &run.inner.name.launch, Some(step.into()))?;
        }
        if !self.joins {
            // ORDERING: Relaxed, the flag stands alone.
            run.inner.is_open.store(true, Ordering::Relaxed);
            run.say_state(State::Running)?;
        }
        for (key, value) in self.attributes {
            run.fact(&FactKind::Run, &key, Some(value))?;
        }
        for (key, value) in self.config {
            run.fact(&FactKind::Config, &key, Some(value))?;
        }
        for tag in self.tags {
            run.tag(&tag, true)?;
        }
        Ok(run)
    }
}

/// Where a run that is about to start comes from.
#[derive(Debug)]
enum Origin {
    /// From nowhere, or from where it came before.
    Own,
    /// From a step of another run.
    New { parent: Arc<RunInfo>, step: i64 },
}

impl Origin {
    /// The run that a fork starts from.
    fn find(run: &RunBuilder, parent: &str, step: i64) -> Result<Self> {
        let invalid = |detail: String| Error::Invalid { what: "fork_from", detail };
        if run.kept.is_some() {
            let detail = "a run cannot be forked and go back to a step of its own at once";
            return Err(invalid(detail.to_owned()));
        }
        let snapshot = run.lake.snapshot()?;
        let known = match &run.id {
            Some(id) => snapshot.run_of(&run.project, id)?,
            None => None,
        };
        let found = snapshot.find_run_in(&run.project, parent);
        if let Some(known) = known {
            // Its parent may be gone by now.
            let means = |id: &str| id == parent || found.as_ref().is_ok_and(|it| *it.run_id == *id);
            if known.parent_run_id.as_deref().is_some_and(means) && known.fork_step == Some(step) {
                return Ok(Self::Own);
            }
            // Another process of this launch may have been faster.
            if known.launches.iter().any(|it| Some(&**it) != run.launch.as_deref()) {
                let id = &known.run_id;
                let detail = match (&known.parent_run_id, known.fork_step) {
                    (Some(parent), Some(step)) => {
                        format!(
                            "run '{id}' is there, and was forked from '{parent}' at step {step}"
                        )
                    }
                    _ => format!(
                        "run '{id}' is there, and is no fork; give the fork an id of its own"
                    ),
                };
                return Err(invalid(detail));
            }
        }
        let parent = found?;
        if run.id.as_deref() == Some(&*parent.run_id) {
            return Err(invalid("a run cannot be forked from itself".to_owned()));
        }
        Ok(Self::New { parent, step })
    }

    /// The clock behind which all that is said of the run lies.
    fn clock(&self) -> i64 {
        match self {
            Self::Own => 0,
            Self::New { parent, .. } => parent.clock,
        }
    }
}

/// A run that this process writes to. `Send + Sync`, cheap to clone; any number of threads log to it.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    lake: Lake,
    name: RunName,
    title: String,
    /// What stands for the run in log files.
    number: u32,
    /// The step that is given next where none is asked for; those that were asked for are in `counters`.
    next_step: AtomicI64,
    /// True where the run may have been there before this process.
    continues: bool,
    /// How far it got before.
    past: PerProcess<Past>,
    /// The clock of the last fact.
    clock: Clock,
    /// True while this process says that the run is running.
    is_open: AtomicBool,
    counters: [CachePadded<Counters>; STRIPES],
    dropped_rows: AtomicU64,
}

/// How many counters of each kind there are, so that threads that log to one run at once do not wait for one cache line.
/// So many threads of a process but one have their own, and all others share the last one.
const STRIPES: usize = 16;

/// The number of a thread among those that log now. It goes to another one when the thread ends: a program that starts
/// threads again and again does not run out of them.
struct Stripe {
    number: usize,
    /// A bit for each number that a thread has.
    taken: &'static AtomicUsize,
}

impl Stripe {
    const SHARED: usize = STRIPES - 1;

    fn take(taken: &'static AtomicUsize) -> Self {
        let lowest = |bits: usize| (bits.trailing_ones() as usize).min(Self::SHARED);
        let with_lowest = |bits| Some(bits | 1 << lowest(bits));
        // ORDERING: Acquire pairs with the Release in `drop`: who gets a number finds what its last owner counted.
        let before = taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, with_lowest);
        Self { number: before.map_or(Self::SHARED, lowest), taken }
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        if self.number < Self::SHARED {
            // ORDERING: Release, see `take`.
            self.taken.fetch_and(!(1 << self.number), Ordering::Release);
        }
    }
}

#[derive(Debug)]
struct Counters {
    rows: AtomicU64,
    points: AtomicU64,
    /// One more than the highest step that was asked for.
    after_asked: AtomicI64,
}

impl Default for Counters {
    fn default() -> Self {
        let (rows, points) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { rows, points, after_asked: AtomicI64::new(i64::MIN) }
    }
}

impl Counters {
    /// Those of this thread.
    #[inline]
    fn mine(all: &[CachePadded<Self>; STRIPES]) -> (&Self, bool) {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Stripe = Stripe::take(&TAKEN);
        }
        // A thread that logs while it ends may have lost its number.
        let number = MINE.try_with(|stripe| stripe.number).unwrap_or(Stripe::SHARED);
        (&all[number], number < Stripe::SHARED)
    }

    #[inline]
    fn add(counter: &AtomicU64, more: u64, is_mine: bool) {
        // ORDERING: Relaxed, counters. Where no other thread writes, adding takes no read-modify-write.
        if is_mine {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        } else {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }
}

/// What one process logged to one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunStats {
    /// Rows that were kept.
    pub rows: u64,
    /// Points that were kept.
    pub points: u64,
    /// Rows that could not be kept.
    pub dropped_rows: u64,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({}/{})", self.project(), self.id())
    }
}

impl Run {
    /// The project.
    pub fn project(&self) -> &str {
        &self.inner.name.project
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.inner.name.run_id
    }

    /// The name, as it was when the run started.
    pub fn name(&self) -> &str {
        &self.inner.title
    }

    /// The launch.
    pub fn launch(&self) -> &str {
        &self.inner.name.launch
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.inner.lake
    }

    /// The id of a metric by its name, 1 to 512 bytes of any text.
    pub fn metric(&self, name: &str) -> Result<MetricId> {
        check_name("metric", name)?;
        self.inner.lake.core().names.metrics.id(name).map(MetricId)
    }

    /// The id of a set of labels, such as `{"rank": 3}`. Values are texts, numbers or booleans; an empty set is the
    /// same as none.
    pub fn labels(&self, labels: &Map<String, Value>) -> Result<LabelsId> {
        if labels.is_empty() {
            return Ok(LabelsId(NO_LABELS));
        }
        let mut sorted: Vec<(&String, &Value)> = labels.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        if let Some((key, _)) =
            sorted.iter().find(|(_, value)| value.is_object() || value.is_array())
        {
            let detail = format!("the value of '{key}' must be a text, a number or a boolean");
            return Err(Error::Invalid { what: "labels", detail });
        }
        let canonical: Map<String, Value> =
            sorted.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let text = Value::Object(canonical).to_string();
        check_name("labels", &text)?;
        self.inner.lake.core().names.labels.id(text.as_str()).map(LabelsId)
    }

    /// Logs one row. Without a step: one more than the highest step of the run, 0 in an empty one. The row is visible
    /// to every reader, and safe from a kill of the process, when the call returns.
    ///
    /// # Errors
    /// [`Error::Dropped`] in a strict lake that cannot keep the row; otherwise such rows are counted.
    pub fn log(&self, step: impl Into<Option<i64>>, points: &[(MetricId, f64)]) -> Result<()> {
        self.log_labelled(step, None, None, points)
    }

    /// Logs one row, metrics by name. See [`Run::log`].
    pub fn log_named(&self, step: impl Into<Option<i64>>, points: &[(&str, f64)]) -> Result<()> {
        let points: Vec<_> = points
            .iter()
            .map(|&(name, value)| Ok((self.metric(name)?, value)))
            .collect::<Result<_>>()?;
        self.log(step, &points)
    }

    /// Logs one row with labels and, where it is not now, its time in microseconds since 1970 (UTC). See [`Run::log`].
    #[inline]
    pub fn log_labelled(
        &self,
        step: impl Into<Option<i64>>,
        time: Option<i64>,
        labels: Option<LabelsId>,
        points: &[(MetricId, f64)],
    ) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let step = step.into();
        let labels = labels.map_or(NO_LABELS, |labels| labels.0);
        if step.is_none() && !self.knows_past() {
            let time = time.unwrap_or_else(os::now_us);
            return self.put_aside(past::Row::One { labels, time, points: points.to_vec() });
        }
        let step = self.take_steps(step, 1);
        let time = time.unwrap_or_else(os::now_us);
        let frame = Frame::Row { run: self.inner.number, labels, step, time, points };
        self.keep(&frame, 1, points.len() as u64)
    }

    /// Logs many points of one metric. Without steps: one each, from the next step on. Without times: all have the
    /// time of the call; a time is in microseconds since 1970 (UTC). Each call of up to 2,048 points is atomic, longer
    /// ones are kept in parts of that size.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the lengths differ; else as [`Run::log`].
    pub fn log_many(
        &self,
        metric: MetricId,
        steps: Option<&[i64]>,
        times: Option<&[i64]>,
        values: &[f64],
    ) -> Result<()> {
        self.log_many_labelled(metric, None, steps, times, values)
    }

    /// As [`Run::log_many`], with labels.
    pub fn log_many_labelled(
        &self,
        metric: MetricId,
        labels: Option<LabelsId>,
        steps: Option<&[i64]>,
        times: Option<&[i64]>,
        values: &[f64],
    ) -> Result<()> {
        for (what, column) in [("steps", steps), ("times", times)] {
            if let Some(column) = column
                && column.len() != values.len()
            {
                let detail = format!("{} for {} values", column.len(), values.len());
                return Err(Error::Invalid { what, detail });
            }
        }
        let now = os::now_us();
        let labels = labels.map_or(NO_LABELS, |labels| labels.0);
        let first = match steps {
            Some(steps) => {
                steps.iter().max().map(|&last| self.take_steps(Some(last), 1));
                0
            }
            None if !self.knows_past() => {
                let (times, values) = (times.map(<[i64]>::to_vec), values.to_vec());
                let metric = metric.0;
                let row = past::Row::Many { labels, metric, time: now, times, values };
                return self.put_aside(row);
            }
            None => self.take_steps(None, values.len() as i64),
        };
        self.keep_many(labels, metric.0, first, now, steps, times, values)
    }

    /// Keeps many points of one metric, in parts. `first` is the step of the first where none are given.
    #[expect(clippy::too_many_arguments, reason = "they are what a frame says")]
    fn keep_many(
        &self,
        labels: u32,
        metric: u32,
        mut first: i64,
        time: i64,
        steps: Option<&[i64]>,
        times: Option<&[i64]>,
        values: &[f64],
    ) -> Result<()> {
        for (at, values) in values.chunks(MANY_POINTS).enumerate() {
            let part = |column: &[i64]| -> std::ops::Range<usize> {
                let start = at * MANY_POINTS;
                start..(start + values.len()).min(column.len())
            };
            let frame = Frame::Many {
                run: self.inner.number,
                labels,
                metric,
                step: first,
                time,
                steps: steps.map(|column| &column[part(column)]),
                times: times.map(|column| &column[part(column)]),
                values,
            };
            self.keep(&frame, values.len() as u64, values.len() as u64)?;
            first = first.saturating_add(values.len() as i64);
        }
        Ok(())
    }

    /// Sets one top-level key of the configuration; `None` removes it.
    pub fn config(&self, key: &str, value: Option<Value>) -> Result<()> {
        self.fact(&FactKind::Config, key, value)
    }

    /// Sets one top-level key of the summary; `None` removes it, and the last value of the metric shows again.
    pub fn summary(&self, key: &str, value: Option<Value>) -> Result<()> {
        self.fact(&FactKind::Summary, key, value)
    }

    /// Adds a tag, or takes it off.
    pub fn tag(&self, tag: &str, on: bool) -> Result<()> {
        self.fact(&FactKind::Tag, tag, on.then_some(Value::Bool(true)))
    }

    /// Sets an attribute: `name`, `notes`, `group_name`, `job_type`, ...; `None` removes it.
    pub fn attribute(&self, key: &str, value: Option<Value>) -> Result<()> {
        self.fact(&FactKind::Run, key, value)
    }

    /// Says what a metric is, or all metrics that a pattern such as `train/*` matches: what the summary holds of it, its x
    /// axis, its goal. Takes the place of what was defined under the same name before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is empty or longer than 512 bytes.
    pub fn define_metric(&self, definition: &Definition) -> Result<()> {
        check_name("metric", &definition.metric)?;
        self.fact(&FactKind::Metric, &definition.metric, Some(definition.to_json()))
    }

    /// Waits until everything that this process logged so far would survive a power cut.
    pub fn sync(&self) -> Result<()> {
        self.inner.lake.sync()
    }

    /// Ends the run in `state` and makes it durable. Rows that are logged later are still kept.
    pub fn finish(&self, state: State) -> Result<RunStats> {
        self.inner.lake.core().hurry_merge();
        self.settle();
        self.say_dropped()?;
        // ORDERING: Relaxed, the flag stands alone.
        self.inner.is_open.store(false, Ordering::Relaxed);
        self.say_state(state)?;
        let stats = self.stats();
        if let Err(error) = self.sync() {
            tracing::warn!(%error, run = self.id(), "the end of a run is not durable yet");
        }
        // A long log is left to the flush thread, which is at it. Where the program ends before that is done, the rest is
        // sealed and durable, read as it is, and adopted.
        let core = self.inner.lake.core();
        let is_long = self.inner.lake.metrics().tail_bytes >= core.options.flush_after_bytes;
        if stats.points >= FLUSH_AT_FINISH_POINTS && !is_long || core.is_stranded() {
            // What cannot be flushed stays in the log, which readers read and others adopt.
            if let Err(error) = self.inner.lake.flush() {
                tracing::warn!(%error, run = self.id(), "the end of a run is not flushed");
            }
        }
        Ok(stats)
    }

    /// As [`Run::finish`], and keeps the code with which the program ends.
    pub fn finish_with_code(&self, state: State, exit_code: i32) -> Result<RunStats> {
        self.attribute("exit_code", Some(exit_code.into()))?;
        self.finish(state)
    }

    /// What this process logged to the run so far.
    pub fn stats(&self) -> RunStats {
        let counters = &self.inner.counters;
        // ORDERING: Relaxed, each number stands alone.
        RunStats {
            rows: counters.iter().map(|own| own.rows.load(Ordering::Relaxed)).sum(),
            points: counters.iter().map(|own| own.points.load(Ordering::Relaxed)).sum(),
            dropped_rows: self.dropped_rows(),
        }
    }

    /// How many rows this process could not keep of the run so far. As cheap as it looks: to be asked between rows, so
    /// that a trainer hears of it while it trains.
    pub fn dropped_rows(&self) -> u64 {
        // ORDERING: Relaxed, the number stands alone.
        self.inner.dropped_rows.load(Ordering::Relaxed)
    }

    /// The first of `count` steps: those asked for, or, of a run of which is known how far it got, those that come next.
    #[inline]
    fn take_steps(&self, asked: Option<i64>, count: i64) -> i64 {
        // ORDERING: Relaxed throughout: the counter gives out numbers and guards no data.
        if let Some(step) = asked {
            let (Counters { after_asked, .. }, is_mine) = Counters::mine(&self.inner.counters);
            if after_asked.load(Ordering::Relaxed) <= step {
                let after = step.saturating_add(1);
                if is_mine {
                    after_asked.store(after, Ordering::Relaxed);
                } else {
                    after_asked.fetch_max(after, Ordering::Relaxed);
                }
            }
            return step;
        }
        self.next_steps(count)
    }

    /// The first of `count` steps that come next.
    #[inline]
    fn next_steps(&self, count: i64) -> i64 {
        let next = &self.inner.next_step;
        // ORDERING: Relaxed, as in `take_steps`.
        let asked = self.inner.counters.iter().map(|own| own.after_asked.load(Ordering::Relaxed));
        if let Some(after) = asked.max().filter(|&after| after > next.load(Ordering::Relaxed)) {
            next.fetch_max(after, Ordering::Relaxed);
        }
        // Behind the last step that there is comes that step again: none is refused, and none goes back.
        let further = |step: i64| Some(step.saturating_add(count));
        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, further).unwrap_or_else(|step| step)
    }

    #[inline]
    fn keep(&self, frame: &Frame<'_>, rows: u64, points: u64) -> Result<()> {
        match self.inner.lake.core().append(frame) {
            Ok(()) => {
                let (counters, is_mine) = Counters::mine(&self.inner.counters);
                Counters::add(&counters.rows, rows, is_mine);
                Counters::add(&counters.points, points, is_mine);
                Ok(())
            }
            Err(error) => self.drop_rows(rows, error),
        }
    }

    /// Counts rows that cannot be kept.
    #[cold]
    fn drop_rows(&self, rows: u64, error: NotKept) -> Result<()> {
        self.inner.dropped_rows.fetch_add(rows, Ordering::Relaxed);
        self.inner.lake.core().count_dropped(&self.inner.name, rows);
        self.refuse(error)
    }

    #[cold]
    fn refuse(&self, error: NotKept) -> Result<()> {
        let dropped = |detail: String| Err(Error::Dropped { run: self.id().to_owned(), detail });
        match error {
            NotKept::Full(_) if !self.inner.lake.core().options.strict => Ok(()),
            NotKept::Full(error) => dropped(error.to_string()),
            NotKept::Retired => dropped("the log was taken over again and again".to_owned()),
            NotKept::TooLarge(bytes) => {
                let detail = format!(
                    "{bytes} bytes at once are more than the {} that a row may have",
                    16 << 20
                );
                Err(Error::Invalid { what: "row", detail })
            }
            NotKept::Name(error) => Err(*error),
        }
    }

    /// Says that the run starts from a step of another one, and what it takes over from there but what its own configuration says.
    fn inherit(&self, parent: &RunInfo, step: i64, own: &Map<String, Value>) -> Result<()> {
        // As old as what was known of the parent: of its launches those count that are older, and of two words about one key the
        // other one is newer, whichever process says it.
        let at = parent.clock;
        self.fact_at(at, &FactKind::Fork, &parent.run_id, Some(step.into()))?;
        for (key, value) in parent.config.iter().filter(|(key, _)| !own.contains_key(*key)) {
            self.fact_at(at, &FactKind::Config, key, Some(value.clone()))?;
        }
        for definition in &parent.metrics {
            let said = definition.to_json();
            self.fact_at(at, &FactKind::Metric, &definition.metric, Some(said))?;
        }
        Ok(())
    }

    fn fact(&self, kind: &FactKind, key: &str, value: Option<Value>) -> Result<()> {
        self.fact_at(os::now_us(), kind, key, value)
    }

    fn fact_at(&self, now_us: i64, kind: &FactKind, key: &str, value: Option<Value>) -> Result<()> {
        if key.is_empty() || key.len() > NAME_BYTES_MAX * 8 {
            let detail = format!("{} bytes; 1 to {} will do", key.len(), NAME_BYTES_MAX * 8);
            return Err(Error::Invalid { what: "key", detail });
        }
        let text = value.map(|value| value.to_string());
        let hlc = self.inner.clock.next(now_us);
        let frame = Frame::Fact {
            run: self.inner.number,
            hlc,
            kind: kind.as_str(),
            key,
            value: text.as_deref(),
        };
        self.inner.lake.core().append(&frame).or_else(|error| match error {
            NotKept::Full(error) => {
                tracing::warn!(%error, run = self.id(), key, "the disk is full; a fact is lost");
                if self.inner.lake.core().options.strict {
                    return Err(Error::Dropped {
                        run: self.id().to_owned(),
                        detail: error.to_string(),
                    });
                }
                Ok(())
            }
            error => self.refuse(error),
        })
    }

    /// Says on behalf of this process's writer what state the run is in.
    pub(crate) fn say_state(&self, state: State) -> Result<()> {
        let writer = self.inner.lake.core().writer()?.id.to_string();
        self.fact(&FactKind::State, &writer, Some(state.as_str().into()))
    }

    /// True from the start of the run to its end, where it was started and not joined here.
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: Relaxed, the flag stands alone.
        self.inner.is_open.load(Ordering::Relaxed)
    }

    /// Says how many rows this process's writer could not keep, if any. Until the end of a run the headers of its log
    /// files say it.
    fn say_dropped(&self) -> Result<()> {
        let writer = self.inner.lake.core().writer()?;
        match writer.dropped_rows(run_key(self.project(), self.id())) {
            0 => Ok(()),
            rows => self.fact(&FactKind::Dropped, &writer.id.to_string(), Some(rows.into())),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakRun {
        WeakRun(Arc::downgrade(&self.inner))
    }
}

/// A run that may be gone.
#[derive(Clone)]
pub(crate) struct WeakRun(std::sync::Weak<Inner>);

impl WeakRun {
    pub(crate) fn upgrade(&self) -> Option<Run> {
        self.0.upgrade().map(|inner| Run { inner })
    }
}

impl fmt::Debug for WeakRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakRun")
    }
}

fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let detail = format!("a name of {} bytes; 1 to {NAME_BYTES_MAX} will do", name.len());
        return Err(Error::Invalid { what, detail });
    }
    Ok(())
}

/// Eight letters and digits that nobody else has.
fn short_id() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut random = uuid::Uuid::new_v4().as_u128();
    (0..8)
        .map(|_| {
            let letter = LETTERS[(random % 36) as usize];
            random /= 36;
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_number_of_its_own_that_goes_to_another_one_when_it_ends() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let mut all: Vec<_> = (0..STRIPES + 5).map(|_| Stripe::take(&TAKEN)).collect();
        let numbers: Vec<_> = all.iter().map(|stripe| stripe.number).collect();
        let own = (0..Stripe::SHARED).chain([Stripe::SHARED; 6]);
        assert_eq!(numbers, own.collect::<Vec<_>>());
        drop(all.remove(4));
        drop(all.pop());
        let (freed, shared) = (Stripe::take(&TAKEN), Stripe::take(&TAKEN));
        assert_eq!((freed.number, shared.number), (4, Stripe::SHARED));
    }

    #[test]
    fn an_id_that_is_made_up_is_short_and_nobody_elses() {
        assert_eq!(short_id().len(), 8);
        assert_ne!(short_id(), short_id());
    }
}
