//! `history('run')`: one row a step, one column a series.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, NullBufferBuilder,
        RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    },
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType},
};
use datafusion::{
    common::{DataFusionError, Result},
    execution::memory_pool::MemoryReservation,
};
use runlake_engine::{Filter, Hidden, RunInfo, SeriesKey, Snapshot, json, json::SYSTEM};

use super::{
    column::{self, DOUBLE, INTEGER},
    late::Late,
};
use crate::{QueryError, error::through_datafusion, names};

/// More columns are an error.
const MOST_COLUMNS: usize = 1000;

/// The history of one run: the series of it that become columns.
#[derive(Debug)]
pub(super) struct History {
    snapshot: Snapshot,
    run: Arc<RunInfo>,
    schema: SchemaRef,
    /// The metric and labels of each column after `step` and `time`.
    series: Vec<(Arc<str>, Option<Arc<str>>)>,
}

impl History {
    /// The series of `run` that one of `patterns` means; without patterns all but those of the machine.
    pub(super) fn new(
        snapshot: &Snapshot,
        run: Arc<RunInfo>,
        patterns: Option<&[String]>,
    ) -> Result<Self> {
        let mut series = snapshot.series(&filter_of(&run)).map_err(through_datafusion)?;
        if let Some(patterns) = patterns {
            let metrics: Vec<_> = series.iter().map(|series| &*series.metric).collect();
            let mut matching = names::matching(patterns, &metrics).into_iter();
            let wanted: Vec<_> =
                series.iter().filter(|_| matching.next().unwrap_or(false)).cloned().collect();
            if wanted.is_empty() {
                let mut metrics: Vec<_> = series.iter().map(|series| &*series.metric).collect();
                metrics.dedup();
                let pattern = patterns.join(", ");
                return Err(QueryError::unknown("metric", &pattern, metrics).into());
            }
            series = wanted;
        } else {
            series.retain(|series| !series.metric.starts_with(SYSTEM));
        }
        if series.len() > MOST_COLUMNS {
            return Err(QueryError::Limit {
                what: format!(
                    "history of run {} would have {} columns, and {MOST_COLUMNS} are the most",
                    run.run_id,
                    series.len()
                ),
                hint: "choose some, as in history('run', metrics => 'train/*'), or read points"
                    .to_owned(),
            }
            .into());
        }
        let keys = series.iter().map(|series| (&*series.metric, series.labels.as_deref()));
        let columns = json::column_names(keys, &["step", "time"]);
        let schema = column::schema(
            [("step".to_owned(), INTEGER), ("time".to_owned(), column::time())]
                .into_iter()
                .chain(columns.into_iter().map(|name| (name, DOUBLE))),
        );
        let series = series.into_iter().map(|series| (series.metric, series.labels)).collect();
        Ok(Self { snapshot: snapshot.clone(), run, schema, series })
    }
}

impl Late for History {
    fn name(&self) -> &'static str {
        "history"
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn build(&self, projection: &[usize], memory: &MemoryReservation) -> Result<RecordBatch> {
        let mut columns = self.read(memory)?;
        for column in &mut columns {
            column.settle();
        }
        let mut steps: Vec<i64> =
            columns.iter().flat_map(|column| column.steps.iter().copied()).collect();
        steps.sort_unstable();
        steps.dedup();
        memory.try_grow(steps.len() * 9 * projection.len())?;
        let arrays: Vec<ArrayRef> = projection
            .iter()
            .map(|&column| match column {
                0 => Arc::new(Int64Array::from(steps.clone())) as ArrayRef,
                1 => times(&steps, &columns),
                at => values(&steps, &columns[at - 2]),
            })
            .collect();
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(steps.len()));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

/// The points of one column in the order of logging.
#[derive(Debug, Default, Clone)]
struct Points {
    steps: Vec<i64>,
    times: Vec<Option<i64>>,
    values: Vec<f64>,
}

impl Points {
    /// Sorts by step and keeps the last logged of each.
    fn settle(&mut self) {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        if !self.steps.is_sorted() {
            order.sort_by_key(|&row| self.steps[row]);
        }
        let mut last: Vec<usize> = Vec::with_capacity(order.len());
        for row in order {
            match last.last_mut() {
                Some(before) if self.steps[*before] == self.steps[row] => *before = row,
                _ => last.push(row),
            }
        }
        self.steps = last.iter().map(|&row| self.steps[row]).collect();
        self.times = last.iter().map(|&row| self.times[row]).collect();
        self.values = last.iter().map(|&row| self.values[row]).collect();
    }
}

impl History {
    /// The points that count, by column.
    fn read(&self, memory: &MemoryReservation) -> Result<Vec<Points>> {
        let Self { snapshot, run, series, .. } = self;
        let mut filter = filter_of(run);
        let mut metrics: Vec<_> = series.iter().map(|(metric, _)| metric.to_string()).collect();
        metrics.dedup();
        filter.metrics = Some(metrics);
        let hidden = snapshot.hidden(&filter).map_err(through_datafusion)?;
        let places: HashMap<(&str, Option<&str>), usize> = series
            .iter()
            .enumerate()
            .map(|(at, (metric, labels))| ((&**metric, labels.as_deref()), at))
            .collect();
        let mut columns = vec![Points::default(); series.len()];
        for batch in snapshot.scan(&filter).map_err(through_datafusion)? {
            let batch = batch.map_err(through_datafusion)?;
            memory.try_grow(batch.num_rows() * 32)?;
            sort_out(&batch, run, &places, &hidden, &mut columns)?;
        }
        Ok(columns)
    }
}

/// Where the points of a series go: to a column, if it is wanted, up to the step from which they are hidden.
struct Target {
    place: Option<usize>,
    from: Option<i64>,
}

/// Gives each point of `batch` to its column.
fn sort_out(
    batch: &RecordBatch,
    run: &RunInfo,
    places: &HashMap<(&str, Option<&str>), usize>,
    hidden: &Hidden,
    columns: &mut [Points],
) -> Result<()> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| DataFusionError::Internal(format!("the engine gives no column {name}")))
    };
    let [metric, labels, launch] =
        [Ids::new(column("metric")?)?, Ids::new(column("labels")?)?, Ids::new(column("launch")?)?];
    let steps = column("step")?.as_primitive::<Int64Type>();
    let times = column("time")?.as_primitive::<TimestampMicrosecondType>();
    let values = column("value")?.as_primitive::<Float64Type>();
    // A series is resolved once a batch, not once a point.
    let mut known: HashMap<[Option<usize>; 3], Target> = HashMap::new();
    for row in 0..batch.num_rows() {
        let key = [metric.key(row), labels.key(row), launch.key(row)];
        let target = known.entry(key).or_insert_with(|| {
            let (metric, labels, launch) = (metric.text(row), labels.text(row), launch.text(row));
            let place = places.get(&(metric.unwrap_or_default(), labels)).copied();
            let from = if hidden.is_empty() {
                None
            } else {
                hidden.first_hidden_step(&SeriesKey {
                    project: Arc::clone(&run.project),
                    run_id: Arc::clone(&run.run_id),
                    metric: metric.unwrap_or_default().into(),
                    labels: labels.map(Arc::from),
                    launch: launch.unwrap_or_default().into(),
                })
            };
            Target { place, from }
        });
        let step = steps.value(row);
        let (Some(place), true) = (target.place, target.from.is_none_or(|from| step < from)) else {
            continue;
        };
        let points = &mut columns[place];
        points.steps.push(step);
        points.times.push((!times.is_null(row)).then(|| times.value(row)));
        points.values.push(values.value(row));
    }
    Ok(())
}

/// A column of ids: the key of each row, and the texts of the keys.
struct Ids {
    keys: Vec<Option<usize>>,
    texts: StringArray,
}

impl Ids {
    fn new(column: &ArrayRef) -> Result<Self> {
        let Some(dictionary) = column.as_any_dictionary_opt() else {
            let texts = cast(column, &DataType::Utf8)?.as_string::<i32>().clone();
            let keys = (0..texts.len()).map(|row| texts.is_valid(row).then_some(row)).collect();
            return Ok(Self { keys, texts });
        };
        let texts = cast(dictionary.values(), &DataType::Utf8)?.as_string::<i32>().clone();
        let valid = |row: usize, key: usize| column.is_valid(row) && texts.is_valid(key);
        let keys = if texts.is_empty() {
            vec![None; column.len()]
        } else {
            dictionary
                .normalized_keys()
                .into_iter()
                .enumerate()
                .map(|(row, key)| valid(row, key).then_some(key))
                .collect()
        };
        Ok(Self { keys, texts })
    }

    fn key(&self, row: usize) -> Option<usize> {
        self.keys[row]
    }

    fn text(&self, row: usize) -> Option<&str> {
        self.keys[row].map(|key| self.texts.value(key))
    }
}

fn filter_of(run: &RunInfo) -> Filter {
    Filter {
        projects: Some(vec![run.project.to_string()]),
        runs: Some(vec![run.run_id.to_string()]),
        metrics: None,
    }
}

/// For each step, the latest time at which one of its values was logged.
fn times(steps: &[i64], columns: &[Points]) -> ArrayRef {
    let mut latest: Vec<Option<i64>> = vec![None; steps.len()];
    for column in columns {
        for (row, at) in rows(steps, &column.steps).zip(&column.times) {
            latest[row] = latest[row].max(*at);
        }
    }
    Arc::new(TimestampMicrosecondArray::from(latest).with_timezone("UTC"))
}

/// For each step, its value; null where it has none.
fn values(steps: &[i64], column: &Points) -> ArrayRef {
    let mut values = vec![0.0; steps.len()];
    let mut valid = vec![false; steps.len()];
    for (row, value) in rows(steps, &column.steps).zip(&column.values) {
        values[row] = *value;
        valid[row] = true;
    }
    let mut nulls = NullBufferBuilder::new(steps.len());
    for valid in valid {
        nulls.append(valid);
    }
    Arc::new(Float64Array::new(values.into(), nulls.finish()))
}

/// The places of `some` in `all`; both are sorted and `all` holds all of `some`.
fn rows<'a>(all: &'a [i64], some: &'a [i64]) -> impl Iterator<Item = usize> + 'a {
    let mut row = 0;
    some.iter().map(move |step| {
        while all[row] < *step {
            row += 1;
        }
        row
    })
}
