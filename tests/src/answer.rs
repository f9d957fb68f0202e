//! Answers of SQL as rows that compare bit for bit.

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType},
};
use runlake_engine::UNKNOWN_TIME;
use runlake_query::Session;
use serde_json::Value;

/// A value of a row. Floats are their bits: NaN equals itself and -0.0 is not 0.0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// NULL.
    Null,
    /// Text; the texts of a list are joined by commas.
    Text(String),
    /// BIGINT.
    Integer(i64),
    /// TIMESTAMP, in microseconds.
    Time(i64),
    /// DOUBLE.
    Bits(u64),
}

/// A row.
pub type Row = Vec<Cell>;

impl Cell {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A value.
    pub fn value(value: f64) -> Self {
        Self::Bits(value.to_bits())
    }

    /// A time; null where it is not known.
    pub fn time(time: i64) -> Self {
        if time == UNKNOWN_TIME { Self::Null } else { Self::Time(time) }
    }

    /// JSON in one spelling: keys sorted.
    pub fn json(value: &Value) -> Self {
        let mut value = value.clone();
        value.sort_all_objects();
        Self::Text(value.to_string())
    }

    /// This text of JSON in one spelling.
    #[must_use]
    pub fn into_json(self) -> Self {
        match self {
            Self::Text(text) => match serde_json::from_str(&text) {
                Ok(value) => Self::json(&value),
                Err(_no_json) => Self::Text(text),
            },
            other => other,
        }
    }
}

/// What `sql` answers: the names of its columns and its rows, in their order.
///
/// # Errors
/// What the query says.
pub fn ask(session: &Session, sql: &str) -> runlake_query::Result<(Vec<String>, Vec<Row>)> {
    let (schema, batches) = session.sql(sql)?.collect()?;
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok((names, batches.iter().flat_map(rows).collect()))
}

/// The rows of a batch.
pub fn rows(batch: &RecordBatch) -> Vec<Row> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        for (at, row) in rows.iter_mut().enumerate() {
            row.push(if column.is_null(at) {
                Cell::Null
            } else {
                match column.data_type() {
                    DataType::Utf8 => Cell::text(column.as_string::<i32>().value(at)),
                    DataType::Int64 => Cell::Integer(column.as_primitive::<Int64Type>().value(at)),
                    DataType::Float64 => {
                        Cell::value(column.as_primitive::<Float64Type>().value(at))
                    }
                    DataType::Timestamp(..) => {
                        Cell::Time(column.as_primitive::<TimestampMicrosecondType>().value(at))
                    }
                    DataType::List(_) => {
                        let list = column.as_list::<i32>().value(at);
                        let texts: Vec<_> = list.as_string::<i32>().iter().flatten().collect();
                        Cell::text(&texts.join(","))
                    }
                    other => unreachable!("results hold plain types, and this is {other}"),
                }
            });
        }
    }
    rows
}
