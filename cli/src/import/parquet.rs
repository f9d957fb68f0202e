//! Tables of points as Parquet files.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Float64Type, Int64Type, TimeUnit as ArrowUnit, TimestampMicrosecondType,
    },
};
use indicatif::ProgressBar;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use super::{
    cell::{self, TimeUnit},
    delimited::place,
    record::{Columns, ConfigCells, EachRecord, Record, Source},
};
use crate::{failure::Failure, format, text};

/// Rows that are decoded at a time.
const BATCH: usize = 65_536;

/// A Parquet file.
#[derive(Debug)]
pub(super) struct Parquet {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) time_unit: TimeUnit,
}

impl Source for Parquet {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(
        &self,
        columns: &Columns,
        progress: &ProgressBar,
        each: EachRecord<'_>,
    ) -> Result<(), Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            Failure::new(format!("cannot read {}: {error}", self.path.display()))
        };
        let file = File::open(&self.path).map_err(|error| refused(&error))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| refused(&error))?;
        let names: Vec<String> =
            builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut wanted = vec![&columns.run, &columns.metric, &columns.step, &columns.value];
        wanted.extend(&columns.time);
        wanted.extend(&columns.config);
        let places = wanted
            .iter()
            .map(|column| place(&self.path, &names, column))
            .collect::<Result<Vec<usize>, Failure>>()?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH)
            .build()
            .map_err(|error| refused(&error))?;
        let mut row = 0;
        for batch in reader {
            let batch = batch.map_err(|error| refused(&error))?;
            let part = Part::new(self, &batch, columns, row)?;
            for at in 0..batch.num_rows() {
                part.record(at, each)?;
            }
            row += batch.num_rows() as u64;
            let share = u128::from(self.bytes) * u128::from(row) / u128::from(rows.max(1));
            progress.set_position(u64::try_from(share).unwrap_or(self.bytes));
        }
        Ok(())
    }
}

/// The columns of one batch in the types that points have.
struct Part<'a> {
    source: &'a Parquet,
    columns: &'a Columns,
    /// The rows of the file before this batch.
    before: u64,
    run: StringArray,
    metric: StringArray,
    step: Steps,
    value: Values,
    time: Option<Times>,
    config: Vec<Config>,
}

enum Steps {
    Whole(Int64Array),
    Floats(Float64Array),
    Texts(StringArray),
}

enum Values {
    Numbers(Float64Array),
    Texts(StringArray),
}

enum Times {
    Microseconds(arrow::array::PrimitiveArray<TimestampMicrosecondType>),
    Whole(Int64Array),
    Floats(Float64Array),
    Texts(StringArray),
}

/// A config column as text, to compare, and as JSON, to keep.
struct Config {
    text: StringArray,
    is_text: bool,
}

impl<'a> Part<'a> {
    fn new(
        source: &'a Parquet,
        batch: &RecordBatch,
        columns: &'a Columns,
        before: u64,
    ) -> Result<Self, Failure> {
        let column = |name: &str| -> Result<ArrayRef, Failure> {
            let column = batch.column_by_name(name).ok_or_else(|| {
                Failure::new(format!("{} has no column '{name}'", source.path.display()))
            })?;
            Ok(match column.data_type() {
                DataType::Dictionary(_, values) => cast(source, name, column, values)?,
                _ => ArrayRef::clone(column),
            })
        };
        let texts = |name: &str, column: &ArrayRef| -> Result<StringArray, Failure> {
            Ok(cast(source, name, column, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let floats = |name: &str, column: &ArrayRef| -> Result<Float64Array, Failure> {
            Ok(cast(source, name, column, &DataType::Float64)?
                .as_primitive::<Float64Type>()
                .clone())
        };
        let whole = |name: &str, column: &ArrayRef| -> Result<Int64Array, Failure> {
            Ok(cast(source, name, column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        let step = column(&columns.step)?;
        let value = column(&columns.value)?;
        let time = match &columns.time {
            None => None,
            Some(name) => {
                let column = column(name)?;
                Some(match column.data_type() {
                    data_type if is_text(data_type) => Times::Texts(texts(name, &column)?),
                    data_type if data_type.is_floating() => Times::Floats(floats(name, &column)?),
                    data_type if data_type.is_integer() => Times::Whole(whole(name, &column)?),
                    _ => {
                        let utc = DataType::Timestamp(ArrowUnit::Microsecond, Some("UTC".into()));
                        let times = cast(source, name, &column, &utc)?;
                        Times::Microseconds(
                            times.as_primitive::<TimestampMicrosecondType>().clone(),
                        )
                    }
                })
            }
        };
        let config = columns
            .config
            .iter()
            .map(|name| {
                let column = column(name)?;
                if is_text(column.data_type()) {
                    return Ok(Config { text: texts(name, &column)?, is_text: true });
                }
                let (at, _) =
                    batch.schema_ref().column_with_name(name).expect("it was found above");
                let field =
                    batch.schema_ref().field(at).clone().with_data_type(column.data_type().clone());
                Ok(Config { text: format::json_text(&field.into(), &column)?, is_text: false })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            source,
            columns,
            before,
            run: texts(&columns.run, &column(&columns.run)?)?,
            metric: texts(&columns.metric, &column(&columns.metric)?)?,
            step: match step.data_type() {
                data_type if is_text(data_type) => Steps::Texts(texts(&columns.step, &step)?),
                data_type if data_type.is_floating() => {
                    Steps::Floats(floats(&columns.step, &step)?)
                }
                _ => Steps::Whole(whole(&columns.step, &step)?),
            },
            value: match value.data_type() {
                data_type if is_text(data_type) => Values::Texts(texts(&columns.value, &value)?),
                _ => Values::Numbers(floats(&columns.value, &value)?),
            },
            time,
            config,
        })
    }

    fn record(&self, at: usize, each: EachRecord<'_>) -> Result<(), Failure> {
        let bad = |column: &str, cell: &dyn std::fmt::Display, what: &str| {
            Failure::new(format!(
                "{} row {}, column '{column}': '{}' {what}",
                self.source.path.display(),
                self.before + at as u64 + 1,
                text::cut(&text::printable(&cell.to_string()), 60)
            ))
        };
        for (texts, column) in
            [(&self.run, &self.columns.run), (&self.metric, &self.columns.metric)]
        {
            if texts.is_null(at) || texts.value(at).is_empty() {
                return Err(bad(column, &"", "is empty"));
            }
            if texts.value(at).len() > 512 {
                return Err(bad(column, &texts.value(at), "is longer than 512 bytes"));
            }
        }
        let column = &self.columns.step;
        let step = match &self.step {
            Steps::Whole(steps) if steps.is_valid(at) => Ok(steps.value(at)),
            Steps::Floats(steps) if steps.is_valid(at) => {
                cell::whole(steps.value(at)).map_err(|what| bad(column, &steps.value(at), what))
            }
            Steps::Texts(steps) if steps.is_valid(at) => cell::step(steps.value(at).trim())
                .map_err(|what| bad(column, &steps.value(at), what)),
            _ => Err(bad(column, &"", "is not a step")),
        }?;
        let value = match &self.value {
            Values::Numbers(values) => values.is_valid(at).then(|| values.value(at)),
            Values::Texts(values) if values.is_null(at) => None,
            Values::Texts(values) => cell::value(values.value(at).trim())
                .map_err(|what| bad(&self.columns.value, &values.value(at), what))?,
        };
        let unit = self.source.time_unit;
        let time = match (&self.time, &self.columns.time) {
            (Some(Times::Microseconds(times)), _) if times.is_valid(at) => Some(times.value(at)),
            (Some(Times::Whole(times)), Some(column)) if times.is_valid(at) => Some(
                unit.whole_microseconds(times.value(at))
                    .ok_or_else(|| bad(column, &times.value(at), "is not a time"))?,
            ),
            (Some(Times::Floats(times)), Some(column)) if times.is_valid(at) => Some(
                unit.microseconds(times.value(at))
                    .ok_or_else(|| bad(column, &times.value(at), "is not a time"))?,
            ),
            (Some(Times::Texts(times)), Some(column)) if times.is_valid(at) => {
                cell::time(times.value(at).trim(), unit)
                    .map_err(|what| bad(column, &times.value(at), what))?
            }
            _ => None,
        };
        each(&Record {
            run: self.run.value(at),
            metric: self.metric.value(at),
            step,
            time,
            value,
            config: &Row { config: &self.config, at },
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Casts exactly: what does not fit is an error, not a null.
fn cast(
    source: &Parquet,
    name: &str,
    column: &ArrayRef,
    to: &DataType,
) -> Result<ArrayRef, Failure> {
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(
        |error| Failure::new(format!("{} column '{name}': {error}", source.path.display())),
    )
}

/// The config cells of one row.
struct Row<'a> {
    config: &'a [Config],
    at: usize,
}

impl ConfigCells for Row<'_> {
    fn text(&self, at: usize) -> &str {
        let texts = &self.config[at].text;
        if texts.is_valid(self.at) { texts.value(self.at) } else { "" }
    }

    fn value(&self, at: usize) -> Value {
        let config = &self.config[at];
        if config.text.is_null(self.at) {
            return Value::Null;
        }
        let text = config.text.value(self.at);
        if config.is_text {
            return Value::String(text.to_owned());
        }
        serde_json::from_str(text).unwrap_or_else(|_not_json| Value::String(text.to_owned()))
    }
}
