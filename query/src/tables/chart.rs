//! `chart('train/loss', ...)`: series, or groups of them, in buckets of an axis.

use std::{
    collections::HashMap,
    panic,
    sync::Arc,
    thread::{self, ScopedJoinHandle},
};

use arrow::{
    array::{Array as _, ArrayRef, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, SchemaRef, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{common::Result, execution::memory_pool::MemoryReservation};
use runlake_engine::{Axis, Bucket, ChartRequest, ChartSeries, RunInfo, Snapshot, X, json};
use serde_json::{Map, Value};

use super::{
    column::{self, DOUBLE, INTEGER, TEXT},
    late::Late,
    runs,
};
use crate::{QueryError, error::through_datafusion, functions::smoothed, names};

/// Runs, by project and id.
type RunsByName = HashMap<(Arc<str>, Arc<str>), Arc<RunInfo>>;

/// What is drawn.
#[derive(Debug)]
pub(super) struct Chart {
    snapshot: Snapshot,
    request: ChartRequest,
    /// The runs that it is about, by project and id; all that have the metric where nobody chose.
    runs: Option<RunsByName>,
    group: Option<Group>,
    /// How much of a smoothed value comes from those before it.
    smooth: Option<f64>,
    schema: SchemaRef,
}

/// What series of one group share.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    /// A value of the configuration, under this key.
    Config(String),
    /// A tag; a run with two is in two groups.
    Tag,
    /// A label.
    Label(String),
    /// A column of `runs`.
    Column(&'static str),
}

impl Group {
    fn of(name: &str) -> Result<Self, QueryError> {
        if let Some(key) = name.strip_prefix("config.") {
            return Ok(Self::Config(key.to_owned()));
        }
        if let Some(label) = name.strip_prefix("label.") {
            return Ok(Self::Label(label.to_owned()));
        }
        let columns = runs::columns();
        let known = columns
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !matches!(*name, "config" | "summary" | "last_step"));
        match known.clone().find(|known| *known == name) {
            Some("tags") => Ok(Self::Tag),
            Some(column) => Ok(Self::Column(column)),
            None => Err(QueryError::unknown("column", name, known.collect::<Vec<_>>())),
        }
    }

    /// The groups of each of `series`; none where it has no such value.
    fn values(
        &self,
        series: &[ChartSeries],
        runs: &HashMap<(Arc<str>, Arc<str>), Arc<RunInfo>>,
    ) -> Result<Vec<Vec<Option<String>>>> {
        let run = |series: &ChartSeries| {
            runs.get(&(Arc::clone(&series.project), Arc::clone(&series.run_id)))
        };
        let mut values = Vec::with_capacity(series.len());
        for series in series {
            values.push(match (self, run(series)) {
                (Self::Label(name), _) => {
                    let labels = series.labels.as_deref().unwrap_or("{}");
                    let labels: Map<String, Value> =
                        serde_json::from_str(labels).unwrap_or_default();
                    vec![labels.get(name).map(json::text)]
                }
                (Self::Config(key), Some(run)) => {
                    let flat = json::flatten(&run.config);
                    let value = flat.into_iter().find(|(known, _)| known == key);
                    vec![value.filter(|(_, value)| !value.is_null()).map(|it| json::text(it.1))]
                }
                (Self::Tag, Some(run)) if !run.tags.is_empty() => {
                    run.tags.iter().map(|tag| Some(tag.clone())).collect()
                }
                (Self::Column(name), Some(run)) => {
                    let array = runs::array(name, std::slice::from_ref(run), None);
                    let options = FormatOptions::default();
                    let text = ArrayFormatter::try_new(&array, &options)?.value(0).to_string();
                    vec![(!array.is_null(0)).then_some(text)]
                }
                _ => vec![None],
            });
        }
        Ok(values)
    }
}

/// What a chart is told beside its metrics and runs, as the query has it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) x: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) buckets: Option<String>,
    pub(super) smooth: Option<String>,
    pub(super) group: Option<String>,
}

/// Buckets where nobody says how many.
const BUCKETS: usize = 1000;

/// So many buckets of all series are put into columns by two threads.
const WORTH_A_THREAD: usize = 16 << 10;

/// More buckets are an error: a chart is looked at.
const MOST_BUCKETS: usize = 1_000_000;

impl Chart {
    /// A chart of the metrics that one of `patterns` means, of `runs` or of all that have them.
    pub(super) fn new(
        snapshot: &Snapshot,
        patterns: &[String],
        runs: Option<Vec<Arc<RunInfo>>>,
        told: &Told,
    ) -> Result<Self> {
        let axis = axis(told)?;
        let buckets = match &told.buckets {
            None => BUCKETS,
            Some(text) => text
                .parse()
                .ok()
                .filter(|buckets| (1..=MOST_BUCKETS).contains(buckets))
                .ok_or_else(|| wrong("buckets", text, "a number from 1 to 1000000"))?,
        };
        let smooth = match &told.smooth {
            None => None,
            Some(text) => Some(
                text.parse::<f64>().ok().filter(|smooth| (0.0..1.0).contains(smooth)).ok_or_else(
                    || wrong("smooth", text, "a number from 0 up to, not including, 1"),
                )?,
            ),
        };
        let group = told.group.as_deref().map(Group::of).transpose()?;
        let mut filter = runlake_engine::Filter::default();
        if let Some(runs) = &runs {
            filter.runs = Some(runs.iter().map(|run| run.run_id.to_string()).collect());
            let mut projects: Vec<_> = runs.iter().map(|run| run.project.to_string()).collect();
            projects.sort_unstable();
            projects.dedup();
            filter.projects = Some(projects);
        }
        filter.metrics = Some(metrics(snapshot, patterns)?);
        let runs = runs.map(|runs| {
            let key = |run: &Arc<RunInfo>| (Arc::clone(&run.project), Arc::clone(&run.run_id));
            runs.into_iter().map(|run| (key(&run), run)).collect()
        });
        let x = match &axis {
            Axis::Step { .. } => INTEGER,
            Axis::Time { .. } => column::time(),
            Axis::RelativeTime { .. } | Axis::Metric { .. } => DOUBLE,
        };
        let mut columns = if group.is_some() {
            vec![("group_value", TEXT), ("metric", TEXT)]
        } else {
            vec![("project", TEXT), ("run_id", TEXT), ("metric", TEXT), ("labels", TEXT)]
        };
        columns.extend([("bucket", INTEGER), ("x", x.clone())]);
        columns.extend([("first_x", x.clone()), ("last_x", x)]);
        columns.extend(if group.is_some() { &GROUP[..] } else { &SERIES[..] }.iter().cloned());
        if smooth.is_some() {
            columns.push(("smooth_value", DOUBLE));
        }
        let request = ChartRequest { filter, axis, buckets };
        let schema = column::schema(columns);
        Ok(Self { snapshot: snapshot.clone(), request, runs, group, smooth, schema })
    }

    /// The series, of the runs that were chosen.
    fn draw(&self) -> Result<Vec<ChartSeries>> {
        let mut series = self.snapshot.chart(&self.request).map_err(through_datafusion)?;
        if let Some(runs) = &self.runs {
            // The filter wants projects and ids; which id is of which project it does not know.
            series.retain(|series| {
                runs.contains_key(&(Arc::clone(&series.project), Arc::clone(&series.run_id)))
            });
        }
        Ok(series)
    }

    /// The series put together by what they share.
    fn bands(&self, group: &Group, series: &[ChartSeries]) -> Result<Vec<Band>> {
        let found;
        let runs = if let Some(runs) = &self.runs {
            runs
        } else {
            let wanted = self.snapshot.runs_of(&self.request.filter);
            let key = |run: &Arc<RunInfo>| (Arc::clone(&run.project), Arc::clone(&run.run_id));
            let runs = wanted.map_err(through_datafusion)?;
            found = runs.iter().map(|run| (key(run), Arc::clone(run))).collect();
            &found
        };
        let mut bands: HashMap<(Option<String>, Arc<str>), Spreads> = HashMap::new();
        for (series, values) in series.iter().zip(group.values(series, runs)?) {
            for value in values {
                let band = bands.entry((value, Arc::clone(&series.metric))).or_default();
                spread(band, &series.buckets);
            }
        }
        let mut bands: Vec<Band> = bands
            .into_iter()
            .map(|((value, metric), spreads)| Band { value, metric, spreads })
            .collect();
        bands.sort_by(|a, b| {
            by_value(a.value.as_deref(), b.value.as_deref()).then_with(|| a.metric.cmp(&b.metric))
        });
        Ok(bands)
    }
}

/// Numbers by their size, before texts by their letters, before nothing.
fn by_value(a: Option<&str>, b: Option<&str>) -> std::cmp::Ordering {
    let number = |text: &str| text.parse::<f64>().ok();
    match (a, b) {
        (Some(a), Some(b)) => match (number(a), number(b)) {
            (Some(one), Some(other)) => one.total_cmp(&other).then_with(|| a.cmp(b)),
            (one, other) => other.is_some().cmp(&one.is_some()).then_with(|| a.cmp(b)),
        },
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The columns of a chart of series, after those that say which and where.
const SERIES: [(&str, DataType); 12] = [
    ("first_step", INTEGER),
    ("last_step", INTEGER),
    ("count", INTEGER),
    ("nan_count", INTEGER),
    ("inf_count", INTEGER),
    ("first_value", DOUBLE),
    ("last_value", DOUBLE),
    ("min_value", DOUBLE),
    ("min_step", INTEGER),
    ("max_value", DOUBLE),
    ("max_step", INTEGER),
    ("mean_value", DOUBLE),
];

/// The columns of a chart of groups, after those that say which and where.
const GROUP: [(&str, DataType); 8] = [
    ("series", INTEGER),
    ("count", INTEGER),
    ("nan_count", INTEGER),
    ("inf_count", INTEGER),
    ("mean_value", DOUBLE),
    ("min_value", DOUBLE),
    ("max_value", DOUBLE),
    ("stderr_value", DOUBLE),
];

/// One group and metric, bucket by bucket.
#[derive(Debug)]
struct Band {
    value: Option<String>,
    metric: Arc<str>,
    spreads: Spreads,
}

/// What there is in each bucket, by number.
type Spreads = Vec<(usize, Spread)>;

/// Adds the buckets of a series to those of a band; both are sorted by number.
fn spread(band: &mut Spreads, buckets: &[Bucket]) {
    let mut at = 0;
    let mut others = Vec::new();
    for bucket in buckets {
        while band.get(at).is_some_and(|(number, _)| *number < bucket.number) {
            at += 1;
        }
        match band.get_mut(at).filter(|(number, _)| *number == bucket.number) {
            Some((_, spread)) => spread.add(bucket),
            None => others.push(bucket),
        }
    }
    if others.is_empty() {
        return;
    }
    // Most often these are all of the first series.
    band.extend(others.into_iter().map(|bucket| {
        let mut spread = Spread::new(bucket);
        spread.add(bucket);
        (bucket.number, spread)
    }));
    if !band.is_sorted_by_key(|(number, _)| *number) {
        band.sort_by_key(|(number, _)| *number);
    }
}

/// What several series have in one bucket.
#[derive(Debug)]
struct Spread {
    start: X,
    first_x: X,
    last_x: X,
    series: u64,
    count: u64,
    nan_count: u64,
    inf_count: u64,
    min: Option<f64>,
    max: Option<f64>,
    /// Series that have a mean; their mean, and the sum of the squares of how far they are from it.
    means: u64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn new(bucket: &Bucket) -> Self {
        Self {
            start: bucket.start,
            first_x: bucket.first_x,
            last_x: bucket.last_x,
            series: 0,
            count: 0,
            nan_count: 0,
            inf_count: 0,
            min: None,
            max: None,
            means: 0,
            mean: 0.0,
            squares: 0.0,
        }
    }

    fn add(&mut self, bucket: &Bucket) {
        if number(bucket.first_x) < number(self.first_x) {
            self.first_x = bucket.first_x;
        }
        if number(bucket.last_x) > number(self.last_x) {
            self.last_x = bucket.last_x;
        }
        self.series += 1;
        self.count += bucket.count;
        self.nan_count += bucket.nan_count;
        self.inf_count += bucket.inf_count;
        let min = bucket.min.map(|(_, value)| value);
        let max = bucket.max.map(|(_, value)| value);
        self.min = self.min.into_iter().chain(min).min_by(f64::total_cmp);
        self.max = self.max.into_iter().chain(max).max_by(f64::total_cmp);
        if let Some(mean) = bucket.mean {
            // Welford's way, which does not lose the small differences of large means.
            self.means += 1;
            let off = mean - self.mean;
            self.mean += off / self.means as f64;
            self.squares += off * (mean - self.mean);
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.means > 0).then_some(self.mean)
    }

    /// The standard error of the mean: that of one series is not known.
    fn standard_error(&self) -> Option<f64> {
        let means = self.means as f64;
        (self.means > 1).then(|| (self.squares / (means - 1.0) / means).sqrt())
    }
}

fn number(x: X) -> f64 {
    match x {
        X::Whole(x) => x as f64,
        X::Real(x) => x,
    }
}

impl Late for Chart {
    fn name(&self) -> &'static str {
        "chart"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn build(&self, projection: &[usize], memory: &MemoryReservation) -> Result<Vec<RecordBatch>> {
        let series = self.draw()?;
        let schema = Arc::new(self.schema.project(projection)?);
        let wanted = || schema.fields().iter().map(|field| field.name().as_str());
        let batch = |arrays, rows| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)
        };
        let buckets: usize = series.iter().map(|series| series.buckets.len()).sum();
        memory.try_grow(buckets * (size_of::<Bucket>() + 16 * projection.len()))?;
        if let Some(group) = &self.group {
            let bands = self.bands(group, &series)?;
            let rows = bands.iter().map(|band| band.spreads.len()).sum();
            let arrays = wanted().map(|name| self.group_column(name, &bands)).collect();
            return Ok(vec![batch(arrays, rows)?]);
        }
        let part = |series: &[ChartSeries]| {
            let buckets = series.iter().map(|series| series.buckets.len()).sum();
            batch(self.columns(wanted(), series, buckets), buckets)
        };
        if buckets < WORTH_A_THREAD {
            // In one batch: batches may come out of order where somebody computes with them.
            return Ok(vec![part(&series)?]);
        }
        let (front, back) = series.split_at(series.len() / 2);
        let (front, back) = thread::scope(|scope| {
            let helper = thread::Builder::new().name("runlake-chart".to_owned());
            // Without another thread this one does it all.
            let helper = helper.spawn_scoped(scope, || part(back));
            let front = part(front);
            let back = match helper.map(ScopedJoinHandle::join) {
                Ok(Ok(back)) => back,
                Ok(Err(panic)) => panic::resume_unwind(panic),
                Err(_none) => part(back),
            };
            (front, back)
        });
        Ok(vec![front?, back?])
    }
}

/// What a column of a chart of series holds.
enum Pick {
    Text(fn(&ChartSeries) -> Option<&Arc<str>>),
    Integer(fn(&Bucket) -> Option<i64>),
    Double(fn(&Bucket) -> Option<f64>),
    Place(fn(&Bucket) -> X),
    /// The smoothed means.
    Smooth,
}

impl Pick {
    fn of(name: &str) -> Self {
        match name {
            "project" => Self::Text(|series| Some(&series.project)),
            "run_id" => Self::Text(|series| Some(&series.run_id)),
            "metric" => Self::Text(|series| Some(&series.metric)),
            "labels" => Self::Text(|series| series.labels.as_ref()),
            "bucket" => Self::Integer(|bucket| Some(column::count(bucket.number as u64))),
            "x" => Self::Place(|bucket| bucket.start),
            "first_x" => Self::Place(|bucket| bucket.first_x),
            "last_x" => Self::Place(|bucket| bucket.last_x),
            "first_step" => Self::Integer(|bucket| Some(bucket.first.0)),
            "last_step" => Self::Integer(|bucket| Some(bucket.last.0)),
            "count" => Self::Integer(|bucket| Some(column::count(bucket.count))),
            "nan_count" => Self::Integer(|bucket| Some(column::count(bucket.nan_count))),
            "inf_count" => Self::Integer(|bucket| Some(column::count(bucket.inf_count))),
            "first_value" => Self::Double(|bucket| Some(bucket.first.1)),
            "last_value" => Self::Double(|bucket| Some(bucket.last.1)),
            "min_value" => Self::Double(|bucket| bucket.min.map(|(_, value)| value)),
            "min_step" => Self::Integer(|bucket| bucket.min.map(|(step, _)| step)),
            "max_value" => Self::Double(|bucket| bucket.max.map(|(_, value)| value)),
            "max_step" => Self::Integer(|bucket| bucket.max.map(|(step, _)| step)),
            "mean_value" => Self::Double(|bucket| bucket.mean),
            _ => Self::Smooth,
        }
    }
}

/// A column of numbers that is being filled.
enum Filling {
    Whole(Int64Builder),
    Real(Float64Builder),
}

impl Chart {
    /// The columns of a chart of series, in which there are `rows` buckets.
    fn columns<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        series: &[ChartSeries],
        rows: usize,
    ) -> Vec<ArrayRef> {
        let whole = matches!(self.request.axis, Axis::Step { .. } | Axis::Time { .. });
        let mut columns: Vec<(Pick, Filling)> = names
            .map(|name| {
                let pick = Pick::of(name);
                let filling = match pick {
                    Pick::Text(_) => Filling::Whole(Int64Builder::new()),
                    Pick::Integer(_) => Filling::Whole(Int64Builder::with_capacity(rows)),
                    Pick::Place(_) if whole => Filling::Whole(Int64Builder::with_capacity(rows)),
                    _ => Filling::Real(Float64Builder::with_capacity(rows)),
                };
                (pick, filling)
            })
            .collect();
        // Series by series and not column by column: the buckets of one series fit into a cache, and all of them do not.
        for series in series {
            for (pick, filling) in &mut columns {
                let buckets = series.buckets.iter();
                match (pick, filling) {
                    (Pick::Integer(pick), Filling::Whole(filling)) => {
                        buckets.for_each(|bucket| filling.append_option(pick(bucket)));
                    }
                    (Pick::Double(pick), Filling::Real(filling)) => {
                        buckets.for_each(|bucket| filling.append_option(pick(bucket)));
                    }
                    (Pick::Place(pick), Filling::Whole(filling)) => {
                        buckets.for_each(|bucket| filling.append_option(whole_of(pick(bucket))));
                    }
                    (Pick::Place(pick), Filling::Real(filling)) => {
                        buckets.for_each(|bucket| filling.append_value(self.real_of(pick(bucket))));
                    }
                    (Pick::Smooth, Filling::Real(filling)) => {
                        let smoothed =
                            smoothed(self.smooth.unwrap_or(0.0), buckets.map(|bucket| bucket.mean));
                        smoothed.for_each(|mean| filling.append_option(mean));
                    }
                    _ => {}
                }
            }
        }
        let finish = |(pick, filling): (Pick, Filling)| match (pick, filling) {
            (Pick::Text(pick), _) => {
                column::runs_of_texts(series.iter().map(|it| (pick(it), it.buckets.len())))
            }
            (Pick::Place(_), Filling::Whole(mut filling))
                if matches!(self.request.axis, Axis::Time { .. }) =>
            {
                let times = filling.finish().reinterpret_cast::<TimestampMicrosecondType>();
                Arc::new(times.with_timezone("UTC"))
            }
            (_, Filling::Whole(mut filling)) => Arc::new(filling.finish()) as ArrayRef,
            (_, Filling::Real(mut filling)) => Arc::new(filling.finish()),
        };
        columns.into_iter().map(finish).collect()
    }

    /// One column of a chart of groups.
    fn group_column(&self, name: &str, bands: &[Band]) -> ArrayRef {
        let spreads = || bands.iter().flat_map(|band| band.spreads.iter());
        let integers = |pick: fn(&Spread) -> u64| {
            column::integers(spreads().map(|(_, spread)| Some(column::count(pick(spread)))))
        };
        let doubles = |pick: fn(&Spread) -> Option<f64>| {
            column::doubles(spreads().map(|(_, spread)| pick(spread)))
        };
        match name {
            "group_value" => {
                let values = bands.iter().map(|band| (band.value.as_ref(), band.spreads.len()));
                column::runs_of_texts(values)
            }
            "metric" => {
                let metrics = bands.iter().map(|band| (Some(&band.metric), band.spreads.len()));
                column::runs_of_texts(metrics)
            }
            "bucket" => {
                column::integers(spreads().map(|(number, _)| Some(column::count(*number as u64))))
            }
            "x" => self.places(spreads().map(|(_, spread)| spread.start)),
            "first_x" => self.places(spreads().map(|(_, spread)| spread.first_x)),
            "last_x" => self.places(spreads().map(|(_, spread)| spread.last_x)),
            "series" => integers(|spread| spread.series),
            "count" => integers(|spread| spread.count),
            "nan_count" => integers(|spread| spread.nan_count),
            "inf_count" => integers(|spread| spread.inf_count),
            "mean_value" => doubles(Spread::mean),
            "min_value" => doubles(|spread| spread.min),
            "max_value" => doubles(|spread| spread.max),
            "stderr_value" => doubles(Spread::standard_error),
            _ => column::doubles(bands.iter().flat_map(|band| {
                smoothed(
                    self.smooth.unwrap_or(0.0),
                    band.spreads.iter().map(|(_, spread)| spread.mean()),
                )
            })),
        }
    }

    /// Places on the axis as SQL has them.
    fn places(&self, places: impl Iterator<Item = X>) -> ArrayRef {
        match self.request.axis {
            Axis::Step { .. } => column::integers(places.map(whole_of)),
            Axis::Time { .. } => column::times(places.map(whole_of)),
            _ => column::doubles(places.map(|x| Some(self.real_of(x)))),
        }
    }

    /// A place on an axis of numbers; time since the start is seconds.
    fn real_of(&self, x: X) -> f64 {
        match self.request.axis {
            Axis::RelativeTime { .. } => number(x) / 1e6,
            _ => number(x),
        }
    }
}

/// A place on an axis of steps or times.
fn whole_of(x: X) -> Option<i64> {
    match x {
        X::Whole(x) => Some(x),
        X::Real(_) => None,
    }
}

fn wrong(argument: &str, text: &str, expected: &str) -> QueryError {
    QueryError::Invalid {
        detail: format!("argument {argument} of chart is {expected}, and '{text}' is none"),
    }
}

fn axis(told: &Told) -> Result<Axis, QueryError> {
    fn parsed<T>(
        name: &str,
        text: Option<&String>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Some(text) = text else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| wrong(name, text, expected))
    }
    let ends = [("from", told.from.as_ref()), ("to", told.to.as_ref())];
    match told.x.as_deref().unwrap_or("step") {
        "step" => {
            let parse = |text: &str| text.parse().ok();
            let [from, to] = ends.map(|(name, text)| parsed(name, text, "a step", parse));
            Ok(Axis::Step { from: from?, to: to? })
        }
        "time" => {
            let parse = |text: &str| {
                let nanos = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
                Some(nanos.ok()?.div_euclid(1000))
            };
            let expected = "a time such as '2026-11-26T10:00:00Z'";
            let [from, to] = ends.map(|(name, text)| parsed(name, text, expected, parse));
            Ok(Axis::Time { from: from?, to: to? })
        }
        "relative_time" => {
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let parse = |text: &str| Some((text.parse::<f64>().ok()? * 1e6).round() as i64);
            let [from, to] = ends.map(|(name, text)| parsed(name, text, "seconds", parse));
            Ok(Axis::RelativeTime { from: from?, to: to? })
        }
        name => {
            let parse = |text: &str| text.parse().ok();
            let [from, to] = ends.map(|(name, text)| parsed(name, text, "a number", parse));
            Ok(Axis::Metric { name: name.to_owned(), from: from?, to: to? })
        }
    }
}

/// The metrics that one of `patterns` means: a name, a pattern with `*` and `?`, or `~` and a regular expression.
fn metrics(snapshot: &Snapshot, patterns: &[String]) -> Result<Vec<String>> {
    let plain = |pattern: &String| !pattern.contains(['*', '?']) && !pattern.starts_with('~');
    let known = snapshot.metrics().map_err(through_datafusion)?;
    let mut found: Vec<String> =
        patterns.iter().filter(|pattern| known.contains(*pattern)).cloned().collect();
    let open: Vec<String> = patterns.iter().filter(|it| !plain(it)).cloned().collect();
    let names: Vec<&str> = known.iter().map(|metric| &**metric).collect();
    let (regexes, shells): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|pattern| pattern.starts_with('~'));
    let mut matched = names::matching(&shells, &names);
    for regex in regexes {
        for (matched, hit) in matched.iter_mut().zip(names::matching_regex(&regex[1..], &names)?) {
            *matched |= hit;
        }
    }
    found.extend(names.iter().zip(matched).filter(|(_, hit)| *hit).map(|(it, _)| (*it).to_owned()));
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(QueryError::unknown("metric", &patterns.join(", "), names).into());
    }
    Ok(found)
}
