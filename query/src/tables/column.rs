//! Columns of the small tables: their types and how they are built.

use std::{iter, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringBuilder,
        StringViewArray, TimestampMicrosecondArray, UInt32Array,
    },
    compute::take,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

/// The type of a column of text.
pub(super) const TEXT: DataType = DataType::Utf8View;
/// The type of a column of whole numbers.
pub(super) const INTEGER: DataType = DataType::Int64;
/// The type of a column of numbers.
pub(super) const DOUBLE: DataType = DataType::Float64;
/// The type of a column of what is true or false.
pub(super) const BOOLEAN: DataType = DataType::Boolean;

/// The type of a column of lists of texts.
pub(super) fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// The type of a column of times.
pub(super) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A schema of columns that may all hold nulls.
pub(super) fn schema(
    columns: impl IntoIterator<Item = (impl Into<String>, DataType)>,
) -> SchemaRef {
    let fields: Vec<_> =
        columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect();
    Arc::new(Schema::new(fields))
}

pub(super) fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

/// Texts, each of which stands in so many rows one after the other.
pub(super) fn runs_of_texts<T: AsRef<str>>(
    runs: impl Iterator<Item = (Option<T>, usize)>,
) -> ArrayRef {
    let mut place = 0..;
    let mut rows: Vec<u32> = Vec::new();
    let texts = runs.map(|(text, count)| {
        rows.extend(iter::repeat_n(place.next().unwrap_or(u32::MAX), count));
        text
    });
    let texts: StringViewArray = texts.collect();
    // A text is checked and copied once, and a row is a view of it.
    take(&texts, &UInt32Array::from(rows), None).expect("each row has the place of a text")
}

pub(super) fn lists<T: AsRef<str>>(
    values: impl Iterator<Item = Option<impl IntoIterator<Item = T>>>,
) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for texts in values {
        lists.append_option(texts.map(|texts| texts.into_iter().map(Some)));
    }
    Arc::new(lists.finish())
}

pub(super) fn integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

pub(super) fn doubles(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

pub(super) fn booleans(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

/// Times in microseconds since 1970 (UTC).
pub(super) fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// A count as SQL has it.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
