//! Values of Python as values of the engine: what `log` accepts as a number, what a configuration holds as JSON, and
//! whole arrays.
//!
//! Every function here may run code of the user (`item`, `__float__`, `__array__`), so none is called with a lock held.

use std::borrow::Cow;

use arrow::{
    array::{Array as _, ArrayRef, ArrowPrimitiveType, PrimitiveArray},
    compute,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use numpy::{PyArray1, PyArrayMethods as _};
use pyo3::{
    exceptions::{PyOverflowError, PyTypeError},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{
        PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyType,
    },
};
use pyo3_arrow::input::AnyArray;
use serde_json::{Map, Number, Value};

use crate::error::Class;

/// The largest magnitude below which every integer is a double.
pub(crate) const LARGEST_EXACT: i64 = 1 << 53;

/// What one value of a row means.
#[derive(Debug)]
pub(crate) enum Reading<'py> {
    /// A number as it was.
    Number(f64),
    /// An integer above 2^53, as the nearest double.
    Rounded(f64),
    /// `None`: nothing to log.
    Nothing,
    /// Further values under longer names.
    Nested(Bound<'py, PyDict>),
    /// Text or bytes.
    Text,
    /// Anything else, with what is wrong with it.
    Unfit(String),
}

/// Reads one value of a row. Never fails: what cannot be a number says why.
pub(crate) fn number<'py>(value: &Bound<'py, PyAny>) -> Reading<'py> {
    read(value, true).unwrap_or_else(|error| Reading::Unfit(describe(value.py(), &error)))
}

fn read<'py>(value: &Bound<'py, PyAny>, item: bool) -> PyResult<Reading<'py>> {
    let py = value.py();
    if value.is_none() {
        return Ok(Reading::Nothing);
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(Reading::Number(float.value()));
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(Reading::Number(f64::from(u8::from(truth.is_true()))));
    }
    if value.is_instance_of::<PyInt>() {
        return integer(value);
    }
    if let Ok(nested) = value.cast::<PyDict>() {
        return Ok(Reading::Nested(nested.clone()));
    }
    if value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
    {
        return Ok(Reading::Text);
    }
    if value.is_instance_of::<PyList>() {
        return Ok(Reading::Unfit("a list is no number; log_many takes many values".to_owned()));
    }
    if item && let Some(method) = value.getattr_opt(intern!(py, "item"))? {
        return read(&method.call0()?, false);
    }
    if let Ok(nested) = value.cast::<PyMapping>() {
        return Ok(Reading::Nested(dict_of(nested)?));
    }
    // Fractions, decimals and scalars of further libraries.
    if value.hasattr(intern!(py, "__float__"))? {
        let float = value.call_method0(intern!(py, "__float__"))?;
        return Ok(Reading::Number(float.extract()?));
    }
    if value.hasattr(intern!(py, "__index__"))? {
        return read(&value.call_method0(intern!(py, "__index__"))?, false);
    }
    // What pandas has in the place of None.
    if value.get_type().name()? == "NAType" {
        return Ok(Reading::Nothing);
    }
    Ok(Reading::Unfit("it is no number".to_owned()))
}

fn integer<'py>(value: &Bound<'py, PyAny>) -> PyResult<Reading<'py>> {
    if let Ok(small) = value.extract::<i64>() {
        return Ok(if (-LARGEST_EXACT..=LARGEST_EXACT).contains(&small) {
            Reading::Number(small as f64)
        } else {
            Reading::Rounded(small as f64)
        });
    }
    match value.extract::<f64>() {
        Ok(float) => Ok(Reading::Rounded(float)),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            Ok(Reading::Unfit("it is larger than any double".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// A copy of any mapping as a dict.
pub(crate) fn dict_of<'py>(mapping: &Bound<'py, PyMapping>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(mapping.py());
    dict.update(mapping)?;
    Ok(dict)
}

/// What an exception says, on one line.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    let class = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    let text = error.value(py).str().map(|text| text.to_string_lossy().into_owned());
    match text.unwrap_or_default().lines().next() {
        Some(line) if !line.is_empty() => format!("{class}: {line}"),
        _ => class,
    }
}

/// The name of the type of a value, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    let class = value.get_type();
    match class.fully_qualified_name() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => "object".to_owned(),
    }
}

/// Why a step cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepTrouble {
    /// It has a fraction, which was cut off.
    Fraction,
    /// It is no number, or none that an i64 holds.
    Unfit(String),
}

/// Reads a step: an integer, or whatever is one by value (`7.0`, `numpy.int32(7)`, a tensor of one element).
pub(crate) fn step(value: &Bound<'_, PyAny>) -> (Option<i64>, Option<StepTrouble>) {
    if value.is_none() {
        return (None, None);
    }
    if let Ok(step) = value.extract::<i64>() {
        return (Some(step), None);
    }
    match number(value) {
        Reading::Nothing => (None, None),
        // The bounds are powers of two, so the comparison is exact.
        Reading::Number(step) if (-(2_f64.powi(63))..2_f64.powi(63)).contains(&step) => {
            #[expect(clippy::cast_possible_truncation, reason = "its range was checked")]
            let whole = step.floor() as i64;
            (Some(whole), (step.fract() != 0.0).then_some(StepTrouble::Fraction))
        }
        Reading::Unfit(why) => (None, Some(StepTrouble::Unfit(why))),
        _ => (None, Some(StepTrouble::Unfit("it is no 64-bit integer".to_owned()))),
    }
}

/// How deep a configuration may nest; deeper is most likely an object that contains itself.
const DEEPEST: usize = 64;

/// A value of a configuration or summary as JSON. Numbers, text, lists and mappings stay what they are; arrays become
/// lists; dataclasses and namespaces become mappings; NaN and infinities, which JSON lacks, become the text `NaN`,
/// `Infinity`, `-Infinity`; anything else becomes its `str()`, or the name of its type where that fails.
pub(crate) fn json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    json_at(value, 0)
}

/// A mapping, namespace or dataclass as a JSON object.
pub(crate) fn json_object(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Map<String, Value>> {
    match json(value)? {
        Value::Object(map) => Ok(map),
        _ => Err(Class::InvalidArgument.error(format!(
            "{what} must be a mapping such as {{\"lr\": 0.1}}, not {}",
            type_name(value)
        ))),
    }
}

fn json_at(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let py = value.py();
    if depth > DEEPEST {
        return Err(Class::InvalidArgument.error(format!(
            "a value nests deeper than {DEEPEST} levels; does it contain itself?"
        )));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(Value::Bool(truth.is_true()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::String(text.to_string_lossy().into_owned()));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(if let Ok(small) = value.extract::<i64>() {
            Value::from(small)
        } else if let Ok(large) = value.extract::<u64>() {
            Value::from(large)
        } else {
            // Every digit is kept, as text: JSON readers would round it.
            Value::String(value.str()?.to_string_lossy().into_owned())
        });
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(json_float(float.value()));
    }
    if let Ok(mapping) = value.cast::<PyMapping>()
        && !value.is_instance_of::<PyType>()
    {
        return json_map(&dict_of(mapping)?, depth);
    }
    if is_plain_sequence(value)? {
        let items = value.try_iter()?.map(|item| json_at(&item?, depth + 1));
        return items.collect::<PyResult<Vec<_>>>().map(Value::Array);
    }
    if !value.is_instance_of::<PyType>() {
        // Scalars and arrays of numpy and its like.
        if let Some(method) = value.getattr_opt(intern!(py, "tolist"))?
            && let Ok(plain) = method.call0()
        {
            if !plain.get_type().is(value.get_type()) {
                return json_at(&plain, depth + 1);
            }
            // Python has no number such as numpy's longdouble, so it stays what it is.
            if let Ok(number) = value.call_method0(intern!(py, "__float__")) {
                return json_at(&number, depth + 1);
            }
        }
        if let Some(fields) = value.getattr_opt(intern!(py, "__dataclass_fields__"))? {
            let dict = PyDict::new(py);
            for name in fields.try_iter()? {
                let name = name?;
                dict.set_item(&name, value.getattr(name.cast::<PyString>()?)?)?;
            }
            return json_map(&dict, depth);
        }
        if value.get_type().name()? == "Namespace"
            && let Some(fields) = value.getattr_opt(intern!(py, "__dict__"))?
            && let Ok(dict) = fields.cast::<PyDict>()
        {
            return json_map(dict, depth);
        }
    }
    // What cannot say what it is, is its type.
    let text = value.str().map(|text| text.to_string_lossy().into_owned());
    Ok(Value::String(text.unwrap_or_else(|_| format!("<{}>", type_name(value)))))
}

/// True for the containers whose order or emptiness is all there is to them.
fn is_plain_sequence(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static KINDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let kinds = KINDS.get_or_try_init(py, || {
        let builtins = py.import("builtins")?;
        let kinds = ["list", "tuple", "set", "frozenset", "range"];
        let kinds = kinds.iter().map(|kind| builtins.getattr(*kind));
        let kinds = kinds.collect::<PyResult<Vec<_>>>()?;
        Ok::<_, PyErr>(pyo3::types::PyTuple::new(py, kinds)?.into_any().unbind())
    })?;
    value.is_instance(kinds.bind(py))
}

fn json_map(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Value> {
    let mut map = Map::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        map.insert(text_of(&key)?.into_owned(), json_at(&value, depth + 1)?);
    }
    Ok(Value::Object(map))
}

fn json_float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(
        || {
            let text = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            Value::String(text.to_owned())
        },
        Value::Number,
    )
}

/// A key as text: itself where it is text, else its `str()`.
pub(crate) fn text_of<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    match key.cast::<PyString>() {
        Ok(text) => Ok(text.to_string_lossy()),
        Err(_) => Ok(Cow::Owned(key.str()?.to_string_lossy().into_owned())),
    }
}

/// JSON as plain Python: dicts, lists, text, numbers.
pub(crate) fn from_json<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(small), _) => small.into_pyobject(py)?.into_any(),
            (None, Some(large)) => large.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(from_json(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => from_json_object(py, map)?.into_any(),
    })
}

/// A JSON object as a dict.
pub(crate) fn from_json_object<'py>(
    py: Python<'py>,
    map: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, from_json(py, value)?)?;
    }
    Ok(dict)
}

/// A column of `log_many`: the values and, where some are missing, which ones are there.
#[derive(Debug)]
pub(crate) struct Column<T> {
    pub(crate) values: Vec<T>,
    pub(crate) present: Option<Vec<bool>>,
}

/// Keeps the values at the places where `present` is true.
pub(crate) fn keep<T>(values: &mut Vec<T>, present: &[bool]) {
    let mut places = present.iter();
    values.retain(|_| places.next().copied().unwrap_or(false));
}

/// The values of `log_many` as doubles, without a loop in Python: anything with `__arrow_c_array__`,
/// `__arrow_c_stream__`, or that numpy turns into an array; else a sequence of numbers.
pub(crate) fn doubles(what: &'static str, values: &Bound<'_, PyAny>) -> PyResult<Column<f64>> {
    if let Some(column) = from_arrow::<Float64Type>(what, values, &DataType::Float64)? {
        return Ok(column);
    }
    if let Some(array) = numpy_array(values)? {
        match kind_of(&array)? {
            'f' | 'i' | 'u' | 'b' => {
                return Ok(Column {
                    values: numpy_values(what, &array, "float64")?,
                    present: None,
                });
            }
            'O' => {}
            _ => {
                let dtype = array.getattr(intern!(array.py(), "dtype"))?;
                return Err(unfit(what, &format!("an array of {}", dtype.str()?), "numbers"));
            }
        }
    }
    let mut present = Vec::new();
    let mut column = Vec::new();
    for value in iterate(what, values)? {
        let value = value?;
        match number(&value) {
            Reading::Number(value) | Reading::Rounded(value) => {
                column.push(value);
                present.push(true);
            }
            Reading::Nothing => {
                column.push(f64::NAN);
                present.push(false);
            }
            _ => return Err(unfit(what, &type_name(&value), "numbers")),
        }
    }
    let present = present.contains(&false).then_some(present);
    Ok(Column { values: column, present })
}

/// Steps of `log_many`: integers, or numbers that are whole.
pub(crate) fn integers(what: &'static str, values: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    if let Some(column) = from_arrow::<Int64Type>(what, values, &DataType::Int64)? {
        return complete(what, column);
    }
    if let Some(array) = numpy_array(values)? {
        return numpy_integers(what, &array);
    }
    iterate(what, values)?
        .map(|value| match step(&value?) {
            (Some(step), None) => Ok(step),
            _ => Err(unfit(what, "a value that is no 64-bit integer", "integers")),
        })
        .collect()
}

/// Times of `log_many` as microseconds since 1970 (UTC): integers are microseconds, floats are seconds,
/// `datetime64` and Arrow timestamps are themselves, and so is `datetime.datetime`.
pub(crate) fn times(what: &'static str, values: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
    if let Some(array) = arrow_array(values)? {
        return if array.data_type().is_floating() {
            let column = cast_to::<Float64Type>(what, &array, &DataType::Float64)?;
            seconds(what, &complete(what, column)?)
        } else if array.data_type().is_integer() {
            complete(what, cast_to::<Int64Type>(what, &array, &DataType::Int64)?)
        } else {
            // Where there is a zone, the values are UTC already; casting to no zone would shift them.
            let array = match array.data_type() {
                DataType::Timestamp(unit, Some(_)) => {
                    let utc = DataType::Timestamp(*unit, Some("UTC".into()));
                    compute::cast(&array, &utc).map_err(|error| unfit_arrow(what, &error))?
                }
                _ => array,
            };
            complete(what, cast_to::<TimestampMicrosecondType>(what, &array, &microseconds)?)
        };
    }
    if let Some(array) = numpy_array(values)? {
        return match kind_of(&array)? {
            'O' => iterate(what, values)?.map(|value| time(what, &value?)).collect(),
            'M' => numpy_values(what, &numpy_cast(&array, "datetime64[us]")?, "int64"),
            'f' => seconds(what, &numpy_values::<f64>(what, &array, "float64")?),
            _ => numpy_integers(what, &array),
        };
    }
    iterate(what, values)?.map(|value| time(what, &value?)).collect()
}

/// One time as microseconds since 1970 (UTC); see [`times`].
fn time(what: &'static str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = value.py();
    if value.is_instance_of::<PyInt>() {
        return value.extract();
    }
    let float = match value.getattr_opt(intern!(py, "timestamp"))? {
        Some(method) => method.call0()?,
        None => value.clone(),
    };
    let Reading::Number(float) = number(&float) else {
        return Err(unfit(what, &type_name(value), "times"));
    };
    Ok(seconds(what, &[float])?[0])
}

fn seconds(what: &'static str, values: &[f64]) -> PyResult<Vec<i64>> {
    // 200,000 years around 1970 fit an i64 of microseconds; what lies outside is no time in seconds.
    const LIMIT: f64 = 9.2e12;
    values
        .iter()
        .map(|&seconds| {
            if seconds.abs() < LIMIT {
                #[expect(clippy::cast_possible_truncation, reason = "its range was checked")]
                Ok((seconds * 1e6).round() as i64)
            } else {
                Err(unfit(what, &format!("{seconds}"), "seconds since 1970"))
            }
        })
        .collect()
}

fn arrow_array(values: &Bound<'_, PyAny>) -> PyResult<Option<ArrayRef>> {
    let py = values.py();
    if !values.hasattr(intern!(py, "__arrow_c_array__"))?
        && !values.hasattr(intern!(py, "__arrow_c_stream__"))?
    {
        return Ok(None);
    }
    // pandas exports the NaN of a numpy array as null, but a NaN that was logged is data. Its other arrays tell a null
    // from a NaN, and to numpy both would be NaN.
    if values.get_type().module()?.to_string_lossy().starts_with("pandas") && is_of_numpy(values)? {
        return Ok(None);
    }
    let chunked = values.extract::<AnyArray>()?.into_chunked_array()?;
    let chunks: Vec<_> = chunked.chunks().iter().map(AsRef::as_ref).collect();
    let array = match chunks.as_slice() {
        [] => arrow::array::new_empty_array(chunked.field().data_type()),
        chunks => compute::concat(chunks).map_err(|error| unfit_arrow("values", &error))?,
    };
    Ok(Some(array))
}

fn from_arrow<T: ArrowPrimitiveType>(
    what: &'static str,
    values: &Bound<'_, PyAny>,
    to: &DataType,
) -> PyResult<Option<Column<T::Native>>> {
    arrow_array(values)?.map(|array| cast_to::<T>(what, &array, to)).transpose()
}

fn cast_to<T: ArrowPrimitiveType>(
    what: &'static str,
    array: &ArrayRef,
    to: &DataType,
) -> PyResult<Column<T::Native>> {
    let from = array.data_type();
    if matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Err(unfit(what, &format!("an Arrow array of {from}"), "numbers"));
    }
    // Refuse what does not fit, such as an integer step above 2^63, where the default makes it null.
    let options = compute::CastOptions { safe: false, ..compute::CastOptions::default() };
    let array = compute::cast_with_options(array, to, &options)
        .map_err(|error| unfit_arrow(what, &error))?;
    let array: &PrimitiveArray<T> =
        array.as_any().downcast_ref().expect("the cast made an array of this type");
    let present = array
        .nulls()
        .filter(|nulls| nulls.null_count() > 0)
        .map(|nulls| nulls.iter().collect::<Vec<_>>());
    Ok(Column { values: array.values().to_vec(), present })
}

fn complete<T>(what: &'static str, column: Column<T>) -> PyResult<Vec<T>> {
    match column.present {
        None => Ok(column.values),
        Some(_) => Err(unfit(what, "an array with nulls", "a value for each point")),
    }
}

/// `values` as a numpy array, where numpy is loaded or `values` knows how to become one. A list stays a list where
/// numpy is not in use, so that this never imports it for its own sake.
fn numpy_array<'py>(values: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = values.py();
    if !values.hasattr(intern!(py, "__array__"))? && !values.hasattr(intern!(py, "__buffer__"))? {
        return Ok(None);
    }
    let mut values = values.clone();
    // A tensor that needs a gradient or lives on a device refuses `__array__`.
    for method in ["detach", "cpu"] {
        if let Some(method) = values.getattr_opt(method)? {
            values = method.call0()?;
        }
    }
    let Ok(numpy) = py.import("numpy") else { return Ok(None) };
    match numpy.call_method1(intern!(py, "asarray"), (&values,)) {
        Ok(array) => Ok(Some(array)),
        // Types that numpy lacks, such as bfloat16.
        Err(_) if values.hasattr(intern!(py, "float"))? => {
            let values = values.call_method0(intern!(py, "float"))?;
            numpy.call_method1(intern!(py, "asarray"), (values,)).map(Some)
        }
        Err(error) => Err(error),
    }
}

/// The kind of an array's numbers, as numpy letters it: `f`, `i`, `u`, `b`, `M`, `O`.
fn kind_of(array: &Bound<'_, PyAny>) -> PyResult<char> {
    let py = array.py();
    array.getattr(intern!(py, "dtype"))?.getattr(intern!(py, "kind"))?.extract()
}

/// True for a pandas object whose values lie in a numpy array, and not in one of pandas' own kinds.
fn is_of_numpy(values: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = values.py();
    let Some(dtype) = values.getattr_opt(intern!(py, "dtype"))? else { return Ok(false) };
    dtype.is_instance(&py.import("numpy")?.getattr(intern!(py, "dtype"))?)
}

fn numpy_cast<'py>(array: &Bound<'py, PyAny>, dtype: &str) -> PyResult<Bound<'py, PyAny>> {
    array.call_method1(intern!(array.py(), "astype"), (dtype,))
}

fn numpy_integers(what: &'static str, array: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    match kind_of(array)? {
        'i' | 'b' => numpy_values(what, array, "int64"),
        'u' => {
            let values: Vec<u64> = numpy_values(what, array, "uint64")?;
            values
                .into_iter()
                .map(|value| {
                    let fits = i64::try_from(value).ok();
                    fits.ok_or_else(|| unfit(what, &value.to_string(), "64-bit integers"))
                })
                .collect()
        }
        'f' => {
            let values: Vec<f64> = numpy_values(what, array, "float64")?;
            let whole = |value: f64| value.fract() == 0.0 && value.abs() < 2_f64.powi(63);
            if let Some(odd) = values.iter().find(|&&value| !whole(value)) {
                return Err(unfit(what, &odd.to_string(), "whole numbers"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "all are whole and in range")]
            Ok(values.into_iter().map(|value| value as i64).collect())
        }
        _ => Err(unfit(what, "an array of something else", "integers")),
    }
}

fn numpy_values<T: numpy::Element + Copy>(
    what: &'static str,
    array: &Bound<'_, PyAny>,
    dtype: &str,
) -> PyResult<Vec<T>> {
    let array = numpy_cast(array, dtype)?;
    let dimensions: usize = array.getattr(intern!(array.py(), "ndim"))?.extract()?;
    if dimensions > 1 {
        return Err(unfit(what, &format!("an array of {dimensions} dimensions"), "one dimension"));
    }
    // A scalar is an array of one. What `astype` made is contiguous, so this copies nothing.
    let array = array.call_method1(intern!(array.py(), "reshape"), (-1,))?;
    let array = array.cast_into::<PyArray1<T>>()?;
    array.to_vec().map_err(|error| unfit(what, &error.to_string(), "a contiguous array"))
}

fn iterate<'py>(
    what: &'static str,
    values: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, pyo3::types::PyIterator>> {
    if values.is_instance_of::<PyString>() || values.is_instance_of::<PyDict>() {
        return Err(unfit(what, &type_name(values), "an array or a list"));
    }
    values.try_iter().map_err(|cause| {
        let error = unfit(what, &type_name(values), "an array or a list");
        error.set_cause(values.py(), Some(cause));
        error
    })
}

fn unfit(what: &str, got: &str, wanted: &str) -> PyErr {
    Class::InvalidArgument.error(format!("{what}: {got}, where {wanted} must be"))
}

fn unfit_arrow(what: &str, error: &arrow::error::ArrowError) -> PyErr {
    Class::InvalidArgument.error(format!("{what}: {error}"))
}

/// Says that an argument has the wrong type.
pub(crate) fn wrong_type(message: String) -> PyErr {
    PyTypeError::new_err(message)
}
