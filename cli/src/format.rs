//! The forms that a result of SQL can take.
//!
//! Floats are written so that they read back bit for bit. JSON has no NaN and no infinities: they are the strings
//! "NaN", "Infinity" and "-Infinity", so that they stay apart from null. CSV writes them as NaN, inf and -inf, a null as
//! nothing, and lists as JSON.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, Float64Array, RecordBatch, StringArray},
    compute::cast,
    csv,
    datatypes::{DataType, Field, FieldRef, Float64Type, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::FileWriter,
    json::{
        self, Encoder, EncoderFactory, EncoderOptions,
        writer::{JsonArray, JsonFormat, LineDelimited, NullableEncoder, make_encoder},
    },
};
use clap::ValueEnum;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use crate::failure::Failure;

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// Comma-separated values with a header
    Csv,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Jsonl,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC file, also known as Feather
    Arrow,
}

impl Format {
    /// The form that a file's name asks for.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "txt" => Some(Self::Table),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            "arrow" | "feather" | "ipc" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// How the names of files of this form end.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// True where the form is of no use on a terminal.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

/// The batches of a result, in order.
pub(crate) type Batches<'a> = &'a mut dyn Iterator<Item = Result<RecordBatch, Failure>>;

/// Writes all of `batches` as CSV.
pub(crate) fn write_csv(
    schema: &Schema,
    batches: Batches<'_>,
    out: impl Write,
) -> Result<(), Failure> {
    let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
    let flat = flat_schema(schema);
    let mut any = false;
    for batch in batches {
        writer.write(&flatten(&batch?, &flat)?)?;
        any = true;
    }
    if !any {
        // The header comes with the first batch.
        writer.write(&RecordBatch::new_empty(flat))?;
    }
    Ok(writer.into_inner().flush()?)
}

/// Writes all of `batches` as one JSON array of objects.
pub(crate) fn write_json(batches: Batches<'_>, out: impl Write) -> Result<(), Failure> {
    let mut out = write_json_as::<JsonArray, _>(batches, out)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes all of `batches` as JSON objects, one a line.
pub(crate) fn write_jsonl(batches: Batches<'_>, out: impl Write) -> Result<(), Failure> {
    Ok(write_json_as::<LineDelimited, _>(batches, out)?.flush()?)
}

fn write_json_as<F: JsonFormat, W: Write>(batches: Batches<'_>, out: W) -> Result<W, Failure> {
    let mut writer = json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(NonFiniteAsText))
        .build::<_, F>(out);
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Writes all of `batches` as one Parquet file.
pub(crate) fn write_parquet(
    schema: SchemaRef,
    batches: Batches<'_>,
    out: impl Write + Send,
) -> Result<(), Failure> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(out, schema, Some(properties))?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    Ok(writer.into_inner()?.flush()?)
}

/// Writes all of `batches` as one Arrow IPC file.
pub(crate) fn write_arrow(
    schema: &Schema,
    batches: Batches<'_>,
    out: impl Write,
) -> Result<(), Failure> {
    let mut writer = FileWriter::try_new(out, schema)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?.flush()?)
}

/// `schema` with text in the place of nested types, which CSV does not have.
fn flat_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        if field.data_type().is_nested() {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        } else {
            Arc::clone(field)
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn flatten(batch: &RecordBatch, flat: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(batch.schema().fields())
        .map(|(column, field)| {
            if field.data_type().is_nested() {
                Ok(Arc::new(json_text(field, column)?) as ArrayRef)
            } else {
                Ok(Arc::clone(column))
            }
        })
        .collect::<Result<_, ArrowError>>()?;
    RecordBatch::try_new(Arc::clone(flat), columns)
}

/// Each value of `column` as JSON text.
pub(crate) fn json_text(field: &FieldRef, column: &dyn Array) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(NonFiniteAsText));
    let mut encoder = make_encoder(field, column, &options)?;
    let mut bytes = Vec::new();
    let mut texts = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        if column.is_null(row) {
            texts.push(None);
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        texts.push(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(texts.into_iter().collect())
}

/// Writes floats that JSON has no number for as text.
#[derive(Debug)]
struct NonFiniteAsText;

impl EncoderFactory for NonFiniteAsText {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let values = match array.data_type() {
            DataType::Float64 => array.as_primitive::<Float64Type>().clone(),
            DataType::Float32 | DataType::Float16 => {
                cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone()
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(Box::new(Floats(values)), array.nulls().cloned())))
    }
}

struct Floats(Float64Array);

impl Encoder for Floats {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        let text: io::Result<()> = if value.is_finite() {
            // The shortest text that reads back as the same bits.
            write!(out, "{value:?}")
        } else if value.is_nan() {
            write!(out, "\"NaN\"")
        } else {
            write!(out, "\"{}Infinity\"", if value < 0.0 { "-" } else { "" })
        };
        text.expect("memory takes every write");
    }
}
