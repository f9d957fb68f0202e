//! Cells of a result as Python values.

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{
        DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyList, PyString},
};
use pyo3_arrow::PyScalar;

use crate::error::Class;

/// A column as Python values, one for each row.
pub(crate) fn column<'py>(py: Python<'py>, column: &ArrayRef) -> PyResult<Vec<Bound<'py, PyAny>>> {
    macro_rules! primitives {
        ($kind:ty) => {
            column
                .as_primitive::<$kind>()
                .iter()
                .map(|value| Ok(value.into_pyobject(py)?.into_any()))
                .collect()
        };
    }
    match column.data_type() {
        DataType::Null => Ok(vec![py.None().into_bound(py); column.len()]),
        DataType::Boolean => column
            .as_boolean()
            .iter()
            .map(|value| Ok(value.into_pyobject(py)?.into_any()))
            .collect(),
        DataType::Int8 => primitives!(Int8Type),
        DataType::Int16 => primitives!(Int16Type),
        DataType::Int32 => primitives!(Int32Type),
        DataType::Int64 => primitives!(Int64Type),
        DataType::UInt8 => primitives!(UInt8Type),
        DataType::UInt16 => primitives!(UInt16Type),
        DataType::UInt32 => primitives!(UInt32Type),
        DataType::UInt64 => primitives!(UInt64Type),
        DataType::Float32 => primitives!(Float32Type),
        DataType::Float64 => primitives!(Float64Type),
        DataType::Utf8 => texts(py, column.as_string::<i32>().iter()),
        DataType::LargeUtf8 => texts(py, column.as_string::<i64>().iter()),
        DataType::Utf8View => texts(py, column.as_string_view().iter()),
        DataType::Timestamp(TimeUnit::Microsecond, zone) if is_utc(zone.as_deref()) => column
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|time| time.map_or_else(|| Ok(py.None().into_bound(py)), |time| moment(py, time)))
            .collect(),
        DataType::List(_) => lists(py, column, |row| column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => lists(py, column, |row| column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => {
            lists(py, column, |row| column.as_fixed_size_list().value(row))
        }
        DataType::Struct(fields) => {
            let structs = column.as_struct();
            let parts = structs
                .columns()
                .iter()
                .map(|part| self::column(py, part))
                .collect::<PyResult<Vec<_>>>()?;
            (0..column.len())
                .map(|row| {
                    if structs.is_null(row) {
                        return Ok(py.None().into_bound(py));
                    }
                    let dict = PyDict::new(py);
                    for (field, part) in fields.iter().zip(&parts) {
                        dict.set_item(field.name(), &part[row])?;
                    }
                    Ok(dict.into_any())
                })
                .collect()
        }
        DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Float16 => (0..column.len())
            .map(|row| {
                let scalar = PyScalar::try_from_array_ref(column.slice(row, 1))?;
                scalar.into_pyobject(py)?.call_method0("as_py")
            })
            .collect(),
        // Intervals, maps, unions: Python has no type of its own for them.
        _ => {
            let options = FormatOptions::default().with_display_error(true);
            let formatter = ArrayFormatter::try_new(column, &options)
                .map_err(|error| Class::QueryFailed.error(error.to_string()))?;
            (0..column.len())
                .map(|row| {
                    if column.is_null(row) {
                        return Ok(py.None().into_bound(py));
                    }
                    Ok(PyString::new(py, &formatter.value(row).to_string()).into_any())
                })
                .collect()
        }
    }
}

/// A column of lists as Python lists; `list` gives the one of a row.
fn lists<'py>(
    py: Python<'py>,
    column: &ArrayRef,
    list: impl Fn(usize) -> ArrayRef,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    (0..column.len())
        .map(|row| {
            if column.is_null(row) {
                return Ok(py.None().into_bound(py));
            }
            Ok(PyList::new(py, self::column(py, &list(row))?)?.into_any())
        })
        .collect()
}

/// Text repeats in results: names of runs and metrics. Equal neighbours share one object.
fn texts<'py, 'a>(
    py: Python<'py>,
    values: impl Iterator<Item = Option<&'a str>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut last: Option<(&str, Bound<'py, PyAny>)> = None;
    values
        .map(|value| {
            let Some(value) = value else { return Ok(py.None().into_bound(py)) };
            if let Some((text, object)) = &last
                && *text == value
            {
                return Ok(object.clone());
            }
            let object = PyString::new(py, value).into_any();
            last = Some((value, object.clone()));
            Ok(object)
        })
        .collect()
}

fn is_utc(zone: Option<&str>) -> bool {
    matches!(zone, Some("UTC" | "+00:00" | "Z"))
}

/// A time as an aware `datetime`. Times that `datetime` cannot hold stay microseconds.
fn moment(py: Python<'_>, microseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (epoch, delta) = EPOCH.get_or_try_init(py, || {
        let module = py.import("datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        let epoch = module.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        Ok::<_, PyErr>((epoch.unbind(), module.getattr("timedelta")?.unbind()))
    })?;
    let seconds = microseconds.div_euclid(1_000_000);
    let rest = microseconds.rem_euclid(1_000_000);
    let delta = delta.bind(py).call1((0, seconds, rest));
    match delta.and_then(|delta| epoch.bind(py).add(delta)) {
        Ok(moment) => Ok(moment),
        Err(_) => Ok(microseconds.into_pyobject(py)?.into_any()),
    }
}
