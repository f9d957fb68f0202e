//! The columns of segments, in Parquet and in Arrow.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "series are counted in 32 bits, as the keys of Arrow dictionaries are"
)]

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{
        ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    buffer::{NullBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use parquet::{
    file::metadata::SortingColumn,
    schema::{parser::parse_message_type, types::TypePtr},
};
use rustc_hash::FxHashMap;

use crate::{
    Points, SeriesKey, UNKNOWN_TIME,
    catalog::{ColumnType, TableKind},
};

/// Rows of an Arrow batch, at most.
pub(crate) const BATCH_ROWS: usize = 64 << 10;

/// Columns of ids, which come first in `points`.
pub(super) const IDS: usize = 5;

/// The place of `step` in `points`.
pub(super) const STEP: usize = 5;
/// The place of `time` in `points`.
pub(super) const TIME: usize = 6;
/// The place of `value` in `points`.
pub(super) const VALUE: usize = 7;

/// `points` in a file. Everything may be null, as Delta readers expect, though only labels and time ever are.
const POINTS: &str = "message points {
    optional binary project (STRING);
    optional binary run_id (STRING);
    optional binary metric (STRING);
    optional binary labels (STRING);
    optional binary launch (STRING);
    optional int64 step;
    optional int64 time (TIMESTAMP(MICROS, true));
    optional double value;
}";

/// `facts` in a file.
const FACTS: &str = "message facts {
    optional binary project (STRING);
    optional binary run_id (STRING);
    optional binary kind (STRING);
    optional binary key (STRING);
    optional binary value (STRING);
    optional binary launch (STRING);
    optional int64 hlc;
    optional binary writer (STRING);
    optional int64 position;
}";

/// The side index in a file: one row a series, with what its points add up to.
const INDEX: &str = "
    optional binary project (STRING);
    optional binary run_id (STRING);
    optional binary metric (STRING);
    optional binary labels (STRING);
    optional binary launch (STRING);
    optional int64 first_row;";

/// Rollups in a file: one row a cell, with what its points add up to.
const ROLLUP: &str = "
    optional int64 level;
    optional int64 series;
    optional int64 width;";

/// What points add up to, in an index and in rollups.
const SUMMARY: &str = "
    optional int64 count;
    optional int64 nan_count;
    optional int64 inf_count;
    optional int64 first_step;
    optional int64 last_step;
    optional int64 first_time;
    optional int64 last_time;
    optional int64 last_finite_step;
    optional int64 min_step;
    optional int64 max_step;
    optional double first_value;
    optional double last_value;
    optional double last_finite_value;
    optional double min_value;
    optional double max_value;
    optional double sum;";

/// The Parquet schema of one sort of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Points,
    Facts,
    Index,
    Rollup,
    Runs,
    Config,
    Series,
}

impl FileKind {
    pub(super) fn parquet(self) -> TypePtr {
        static TYPES: LazyLock<[TypePtr; 7]> = LazyLock::new(|| {
            let summaries = |name: &str, of: &str| format!("message {name} {{{of}{SUMMARY}}}");
            let (index, rollup) = (summaries("index", INDEX), summaries("rollup", ROLLUP));
            let [runs, config, series] =
                [TableKind::Runs, TableKind::Config, TableKind::Series].map(message);
            [POINTS, FACTS, &index, &rollup, &runs, &config, &series]
                .map(|text| Arc::new(parse_message_type(text).expect("the text above is a schema")))
        });
        Arc::clone(&TYPES[self as usize])
    }

    /// The columns by which rows are sorted, most significant first.
    pub(super) fn sorting(self) -> Vec<SortingColumn> {
        let columns = match self {
            Self::Points => 0..=STEP as i32,
            Self::Index => 0..=IDS as i32 - 1,
            Self::Facts | Self::Series => 0..=3,
            // Rollups by level and series; cells of one series come by their steps.
            Self::Rollup | Self::Runs | Self::Config => 0..=1,
        };
        columns
            .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true })
            .collect()
    }
}

/// A folded table in a file.
fn message(table: TableKind) -> String {
    let columns = table.columns().iter().map(|(name, column)| match column {
        ColumnType::Text => format!("optional binary {name} (STRING);"),
        ColumnType::Texts => format!(
            "optional group {name} (LIST) {{ repeated group list {{ optional binary element (STRING); }} }}"
        ),
        ColumnType::Integer => format!("optional int64 {name};"),
        ColumnType::Double => format!("optional double {name};"),
        ColumnType::Time => format!("optional int64 {name} (TIMESTAMP(MICROS, true));"),
    });
    let columns: Vec<String> = columns.collect();
    format!("message {} {{ {} }}", table.name(), columns.concat())
}

/// The schema of `points_all` as the engine reads it.
pub(crate) fn points() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let id = || DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
        Schema::new(vec![
            Field::new("project", id(), true),
            Field::new("run_id", id(), true),
            Field::new("metric", id(), true),
            Field::new("labels", id(), true),
            Field::new("launch", id(), true),
            Field::new("step", DataType::Int64, true),
            Field::new(
                "time",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Field::new("value", DataType::Float64, true),
        ])
        .into()
    });
    Arc::clone(&SCHEMA)
}

/// The ids of many series as dictionaries, built once and shared by all batches that name them.
#[derive(Debug)]
pub(super) struct Ids {
    dictionaries: [ArrayRef; IDS],
    /// For each series, its place in each dictionary; -1 for null.
    codes: Vec<[i32; IDS]>,
}

impl Ids {
    pub(super) fn new<'a>(keys: impl Iterator<Item = &'a SeriesKey>) -> Self {
        let mut places: [FxHashMap<&str, i32>; IDS] = Default::default();
        let mut names: [Vec<&str>; IDS] = Default::default();
        let mut codes = Vec::new();
        for key in keys {
            let ids: [Option<&str>; IDS] = [
                Some(&key.project),
                Some(&key.run_id),
                Some(&key.metric),
                key.labels.as_deref(),
                Some(&key.launch),
            ];
            let mut row = [-1; IDS];
            for (column, id) in ids.into_iter().enumerate() {
                let Some(id) = id else { continue };
                row[column] = *places[column].entry(id).or_insert_with(|| {
                    names[column].push(id);
                    names[column].len() as i32 - 1
                });
            }
            codes.push(row);
        }
        let dictionaries =
            names.map(|names| Arc::new(StringArray::from_iter_values(names)) as ArrayRef);
        Self { dictionaries, codes }
    }

    /// One column of ids for rows given as runs of one series each.
    pub(super) fn column(
        &self,
        column: usize,
        runs: impl Iterator<Item = (u32, usize)>,
    ) -> Result<ArrayRef, ArrowError> {
        let mut codes: Vec<i32> = Vec::new();
        for (series, rows) in runs {
            codes.extend(std::iter::repeat_n(self.codes[series as usize][column], rows));
        }
        let keys = if codes.contains(&-1) {
            let valid: NullBuffer = codes.iter().map(|&code| code >= 0).collect();
            for code in &mut codes {
                *code = (*code).max(0);
            }
            Int32Array::new(ScalarBuffer::from(codes), Some(valid))
        } else {
            Int32Array::from(codes)
        };
        let values = Arc::clone(&self.dictionaries[column]);
        Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
    }
}

/// Times, [`UNKNOWN_TIME`] as null.
fn time_array(mut times: Vec<i64>) -> ArrayRef {
    let valid = times.contains(&UNKNOWN_TIME).then(|| {
        let valid: NullBuffer = times.iter().map(|&time| time != UNKNOWN_TIME).collect();
        times.iter_mut().filter(|time| **time == UNKNOWN_TIME).for_each(|time| *time = 0);
        valid
    });
    Arc::new(TimestampMicrosecondArray::new(times.into(), valid).with_timezone("UTC"))
}

/// The part of `points` that is `wanted`, which says so of each of its series, in the order in which it stands there, as
/// batches of [`points()`].
pub(crate) fn batches(points: &Points, wanted: &[bool]) -> Result<Vec<RecordBatch>, ArrowError> {
    let rows: Vec<u32> = if wanted.iter().all(|&wanted| wanted) {
        (0..points.len() as u32).collect()
    } else {
        let rows = points.series.iter().enumerate();
        rows.filter(|&(_, &series)| wanted[series as usize]).map(|(row, _)| row as u32).collect()
    };
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = Ids::new(points.keys.iter());
    let batch = |rows: &[u32]| {
        let mut columns = Vec::with_capacity(VALUE + 1);
        for column in 0..IDS {
            let series = rows.iter().map(|&row| (points.series[row as usize], 1));
            columns.push(ids.column(column, series)?);
        }
        let rows = || rows.iter().map(|&row| row as usize);
        columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| points.steps[row]))));
        columns.push(time_array(rows().map(|row| points.times[row]).collect()));
        columns
            .push(Arc::new(Float64Array::from_iter_values(rows().map(|row| points.values[row]))));
        RecordBatch::try_new(self::points(), columns)
    };
    rows.chunks(BATCH_ROWS).map(batch).collect()
}
