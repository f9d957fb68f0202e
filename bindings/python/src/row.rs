//! From a dict to a row: names become metric ids, values become doubles.
//!
//! A training loop logs the same few keys again and again, as the same `str` objects. So ids are found by the address
//! of the key; each address in the table is kept alive by a reference, or else it could come to stand for another key.
//!
//! The quick pass over a dict runs no code of Python, so a lock may be held over it; values that need such code are set
//! aside and read afterwards, without the lock.
#![expect(
    unsafe_code,
    reason = "the quick pass reads the dict by the C API, at a few nanoseconds a value"
)]

use std::{os::raw::c_int, ptr};

use pyo3::{
    ffi,
    prelude::*,
    types::{PyDict, PyInt, PyString},
};
use runlake_engine::{Definition, LabelsId, MetricId, Run};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    convert::{self, LARGEST_EXACT, Reading},
    trend::Trend,
};

/// So many addresses of keys are remembered. Programs that make keys as they go would else fill the memory.
const MOST_ADDRESSES: usize = 1 << 16;

/// So many metrics get a trend; `finish` draws a few.
const MOST_TRENDS: usize = 64;

/// How deep a row may nest; deeper is most likely a dict that contains itself.
const DEEPEST: usize = 64;

/// One metric of a run, as this process logs it.
#[derive(Debug)]
pub(crate) struct Column {
    id: MetricId,
    pub(crate) name: Box<str>,
    /// The newest value of this process.
    pub(crate) last: f64,
    pub(crate) trend: Trend,
    /// The metric that is its x axis, where rows get that one's last value.
    step_metric: Option<Box<str>>,
}

/// A remembered key.
#[derive(Debug)]
struct Key {
    /// Keeps the address from being given to another object. It is never read.
    _alive: Py<PyAny>,
    place: u32,
}

/// What went wrong with one key of a row. The rest of the row is kept.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// What the complaint is about; it is said once.
    pub(crate) key: String,
    /// The sentence that is said.
    pub(crate) message: String,
}

/// The metrics of a run and the row that is being made.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    list: Vec<Column>,
    by_address: FxHashMap<usize, Key>,
    by_name: FxHashMap<Box<str>, u32>,
    labels: FxHashMap<Box<[u8]>, LabelsId>,
    /// The addresses, places and metrics of the numbers of the last row in their order: most often the next row has the same.
    shape: Vec<(usize, u32, MetricId)>,
    recent: Recent,
    complained: FxHashSet<String>,
    /// What was defined of metrics whose rows get the last value of their x axis.
    definitions: Vec<Definition>,
}

/// Values of the newest rows, all with the same metrics, that the columns do not have yet. Between two rows a training step
/// has had the caches, so that each column that a row touches has to come from memory: they take many rows at once.
#[derive(Debug, Default)]
struct Recent {
    places: Vec<u32>,
    /// Row after row.
    values: Vec<f64>,
}

/// So many values wait for their columns.
const MOST_RECENT: usize = 1024;

/// A row that is being made.
#[derive(Debug, Default)]
pub(crate) struct Row<'py> {
    pub(crate) places: Vec<u32>,
    pub(crate) points: Vec<(MetricId, f64)>,
    /// What only code of Python can read.
    pub(crate) aside: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    pub(crate) complaints: Vec<Complaint>,
}

impl<'py> Row<'py> {
    /// Keeps a key and its value for [`read_aside`]. Both are borrowed from a dict that holds them, under the GIL.
    fn set_aside(&mut self, py: Python<'py>, key: *mut ffi::PyObject, value: *mut ffi::PyObject) {
        // SAFETY: the dict holds `key`, and the GIL is held.
        let key = unsafe { Bound::from_borrowed_ptr(py, key) };
        // SAFETY: as for the key.
        let value = unsafe { Bound::from_borrowed_ptr(py, value) };
        self.aside.push((key, value));
    }
}

impl Columns {
    /// Reads what can be read of `data` without running any code of Python; the rest lies in `row.aside` afterwards.
    #[inline]
    pub(crate) fn quick_pass<'py>(
        &mut self,
        run: &Run,
        data: &Bound<'py, PyDict>,
        row: &mut Row<'py>,
    ) {
        let py = data.py();
        let mut position: ffi::Py_ssize_t = 0;
        let mut key: *mut ffi::PyObject = ptr::null_mut();
        let mut value: *mut ffi::PyObject = ptr::null_mut();
        let mut at = 0;
        // SAFETY: `data` is a dict, the GIL is held, and nothing in the loop runs code that could change the dict.
        while unsafe {
            ffi::PyDict_Next(data.as_ptr(), &raw mut position, &raw mut key, &raw mut value)
        } != 0
        {
            let number = match quick_number(value) {
                Quick::Number(number) => Ok(number),
                Quick::Rounded(number) => Err(number),
                Quick::Nothing => continue,
                Quick::Aside => {
                    row.set_aside(py, key, value);
                    continue;
                }
            };
            let (place, id) = match self.shape.get(at) {
                Some(&(address, place, id)) if address == key as usize => (place, id),
                _ => match self.place_of_object(py, run, key, row) {
                    Lookup::Refused => continue,
                    Lookup::NoText => {
                        row.set_aside(py, key, value);
                        continue;
                    }
                    Lookup::Place(place) => {
                        let id = self.metric(place);
                        self.shape.truncate(at);
                        if self.shape.len() == at && self.by_address.contains_key(&(key as usize)) {
                            self.shape.push((key as usize, place, id));
                        }
                        (place, id)
                    }
                },
            };
            at += 1;
            let number = number.unwrap_or_else(|number| {
                row.complaints.push(rounded(&self.list[place as usize].name, number));
                number
            });
            row.points.push((id, number));
            row.places.push(place);
        }
    }

    /// Takes what was defined of a metric. Where it names an x axis, rows with the metric get the last value of that.
    pub(crate) fn define(&mut self, definition: &Definition) {
        self.definitions.retain(|known| known.metric != definition.metric);
        self.definitions.push(definition.clone());
        for column in &mut self.list {
            column.step_metric = step_metric_of(&self.definitions, &column.name);
        }
    }

    /// Adds to a row the last values of the x axes of its metrics, where it does not hold them itself.
    #[inline]
    pub(crate) fn add_step_metrics(&mut self, row: &mut Row<'_>) {
        if !self.definitions.is_empty() {
            self.add_defined(row);
        }
    }

    #[cold]
    fn add_defined(&mut self, row: &mut Row<'_>) {
        self.settle();
        for at in 0..row.places.len() {
            let column = &self.list[row.places[at] as usize];
            let axis = column.step_metric.as_ref().and_then(|name| self.by_name.get(name));
            if let Some(&place) = axis
                && !row.places.contains(&place)
            {
                let axis = &self.list[place as usize];
                row.points.push((axis.id, axis.last));
                row.places.push(place);
            }
        }
    }

    /// Adds a value by name.
    pub(crate) fn put_named(&mut self, run: &Run, row: &mut Row<'_>, name: &str, value: f64) {
        if let Some(place) = self.place_of_name(run, name, row) {
            row.points.push((self.metric(place), value));
            row.places.push(place);
        }
    }

    /// Remembers the values of a row that was logged.
    #[inline]
    pub(crate) fn remember(&mut self, row: &Row<'_>) {
        let is_full = self.recent.values.len() + row.places.len() > MOST_RECENT;
        if is_full || self.recent.places != row.places {
            self.settle();
            self.recent.places.clone_from(&row.places);
        }
        self.recent.values.extend(row.points.iter().map(|(_, value)| value));
    }

    /// Gives the columns what waits for them.
    fn settle(&mut self) {
        let Recent { places, values } = &mut self.recent;
        for (at, &place) in places.iter().enumerate() {
            let column = &mut self.list[place as usize];
            for &value in values.iter().skip(at).step_by(places.len()) {
                column.last = value;
                if (place as usize) < MOST_TRENDS {
                    column.trend.push(value);
                }
            }
        }
        values.clear();
    }

    /// Remembers values of one metric that were logged together.
    pub(crate) fn remember_many(&mut self, place: u32, values: &[f64]) {
        self.settle();
        let column = &mut self.list[place as usize];
        if let Some(&last) = values.last() {
            column.last = last;
        }
        if (place as usize) < MOST_TRENDS {
            for &value in values {
                column.trend.push(value);
            }
        }
    }

    /// The metrics in the order of their first value.
    pub(crate) fn columns(&mut self) -> &[Column] {
        self.settle();
        &self.list
    }

    /// The newest value of a metric, where this process logged one.
    pub(crate) fn last(&mut self, name: &str) -> Option<f64> {
        self.settle();
        let place = *self.by_name.get(name)?;
        Some(self.list[place as usize].last)
    }

    /// True the first time that something is complained about.
    pub(crate) fn is_news(&mut self, key: &str) -> bool {
        !self.complained.contains(key) && self.complained.insert(key.to_owned())
    }

    /// A set of labels that was seen before.
    pub(crate) fn labels(&self, fingerprint: &[u8]) -> Option<LabelsId> {
        self.labels.get(fingerprint).copied()
    }

    /// Remembers a set of labels.
    pub(crate) fn keep_labels(&mut self, fingerprint: Vec<u8>, id: LabelsId) {
        if self.labels.len() == MOST_ADDRESSES {
            self.labels.clear();
        }
        self.labels.insert(fingerprint.into(), id);
    }

    fn place_of_object(
        &mut self,
        py: Python<'_>,
        run: &Run,
        key: *mut ffi::PyObject,
        row: &mut Row<'_>,
    ) -> Lookup {
        if let Some(known) = self.by_address.get(&(key as usize)) {
            return Lookup::Place(known.place);
        }
        // SAFETY: the caller took `key` from a dict that holds it, under the GIL.
        let object = unsafe { Bound::from_borrowed_ptr(py, key) };
        let Ok(text) = object.cast_exact::<PyString>() else { return Lookup::NoText };
        // Half a surrogate pair is no text; the slow pass complains about it.
        let Ok(name) = text.to_str() else { return Lookup::NoText };
        let Some(place) = self.place_of_name(run, name, row) else { return Lookup::Refused };
        // A key that only the dict and we hold was made for this call and will not come again.
        // SAFETY: `key` is alive, see above.
        if unsafe { ffi::Py_REFCNT(key) } > 2 {
            if self.by_address.len() == MOST_ADDRESSES {
                self.by_address.clear();
                self.shape.clear();
            }
            self.by_address.insert(key as usize, Key { _alive: object.into_any().unbind(), place });
        }
        Lookup::Place(place)
    }

    /// The place of a metric, made where the name is new. `None` where the engine refuses the name, each time that it comes,
    /// since a strict run raises each time.
    pub(crate) fn place_of_name(
        &mut self,
        run: &Run,
        name: &str,
        row: &mut Row<'_>,
    ) -> Option<u32> {
        if let Some(&place) = self.by_name.get(name) {
            return Some(place);
        }
        let place = match run.metric(name) {
            Ok(id) => {
                let place = u32::try_from(self.list.len()).ok();
                if place.is_some() {
                    let trend = Trend::default();
                    let step_metric = step_metric_of(&self.definitions, name);
                    let (name, last) = (name.into(), f64::NAN);
                    self.list.push(Column { id, name, last, trend, step_metric });
                }
                place
            }
            Err(error) => {
                row.complaints.push(Complaint {
                    key: name.to_owned(),
                    message: format!("metric {} is left out: {error}", shorten(name)),
                });
                None
            }
        }?;
        self.by_name.insert(name.into(), place);
        Some(place)
    }

    /// The metric at a place.
    pub(crate) fn metric(&self, place: u32) -> MetricId {
        self.list[place as usize].id
    }
}

/// The x axis of a metric, where one was defined.
fn step_metric_of(definitions: &[Definition], metric: &str) -> Option<Box<str>> {
    let axis = Definition::of(definitions, metric)?.step_metric.as_deref()?;
    (axis != metric).then(|| axis.into())
}

enum Lookup {
    Place(u32),
    Refused,
    NoText,
}

enum Quick {
    Number(f64),
    Rounded(f64),
    Nothing,
    Aside,
}

/// Reads floats, integers, bools and `None`, which takes no code of Python.
#[inline]
fn quick_number(value: *mut ffi::PyObject) -> Quick {
    // SAFETY: `value` is alive (the dict holds it) and the GIL is held; so in all calls below.
    if unsafe { ffi::PyFloat_Check(value) } != 0 {
        // SAFETY: it is a float, so this reads its field and cannot fail.
        return Quick::Number(unsafe { ffi::PyFloat_AsDouble(value) });
    }
    // SAFETY: see above.
    if unsafe { ffi::PyLong_Check(value) } != 0 {
        let mut overflow: c_int = 0;
        // SAFETY: it is an int; bools are ints.
        let whole = unsafe { ffi::PyLong_AsLongLongAndOverflow(value, &raw mut overflow) };
        if overflow != 0 {
            return Quick::Aside;
        }
        return if (-LARGEST_EXACT..=LARGEST_EXACT).contains(&whole) {
            Quick::Number(whole as f64)
        } else {
            Quick::Rounded(whole as f64)
        };
    }
    // SAFETY: `None` lives for ever.
    if value == unsafe { ffi::Py_None() } { Quick::Nothing } else { Quick::Aside }
}

fn rounded(name: &str, value: f64) -> Complaint {
    Complaint {
        key: format!("{name}\0rounded"),
        message: format!(
            "{}: an integer above 2**53 is logged as the nearest double, {value:.0}",
            shorten(name)
        ),
    }
}

/// Reads what was set aside, and what nests in it, into names and values. Runs code of the user.
pub(crate) fn read_aside(row: &mut Row<'_>) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    // The last one is read first, so everything is pushed in reverse.
    let mut pending: Vec<(String, Bound<'_, PyAny>, usize)> = Vec::new();
    for (key, value) in std::mem::take(&mut row.aside).into_iter().rev() {
        match name_of(&key) {
            Some(name) => pending.push((name, value, 1)),
            None => row.complaints.push(unnamed(&key)),
        }
    }
    while let Some((name, value, depth)) = pending.pop() {
        match convert::number(&value) {
            Reading::Number(number) => found.push((name, number)),
            Reading::Rounded(number) => {
                row.complaints.push(rounded(&name, number));
                found.push((name, number));
            }
            Reading::Nothing => {}
            Reading::Nested(_) if depth > DEEPEST => row.complaints.push(Complaint {
                message: format!(
                    "{}: dicts nest deeper than {DEEPEST} levels here; does one contain itself? It is left out",
                    shorten(&name)
                ),
                key: name,
            }),
            Reading::Nested(nested) => {
                let start = pending.len();
                for (key, value) in nested.iter() {
                    match name_of(&key) {
                        Some(key) => pending.push((format!("{name}.{key}"), value, depth + 1)),
                        None => row.complaints.push(unnamed(&key)),
                    }
                }
                pending[start..].reverse();
            }
            Reading::Text => row.complaints.push(Complaint {
                message: format!(
                    "{}: text is not kept yet, only numbers are (a later version keeps it as an object); to say \
                     something once about the run, use run.config or run.summary",
                    shorten(&name)
                ),
                key: name,
            }),
            Reading::Unfit(why) => row.complaints.push(Complaint {
                message: format!(
                    "{}: a value of type {} is left out: {why}",
                    shorten(&name),
                    convert::type_name(&value)
                ),
                key: name,
            }),
        }
    }
    found
}

/// Text is a name, and so is an integer: `{"layer": {0: .1}}` logs `layer.0`.
fn name_of(key: &Bound<'_, PyAny>) -> Option<String> {
    if let Ok(text) = key.cast::<PyString>() {
        return text.to_str().ok().map(str::to_owned);
    }
    let whole = key.cast::<PyInt>().ok()?;
    Some(whole.str().ok()?.to_string_lossy().into_owned())
}

fn unnamed(key: &Bound<'_, PyAny>) -> Complaint {
    let shown =
        key.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned());
    let kind = convert::type_name(key);
    Complaint {
        message: if kind == "str" {
            format!("key {} is no valid UTF-8 and is left out", shorten(&shown))
        } else {
            format!("key {} of type {kind} is left out: a key must be a str", shorten(&shown))
        },
        key: format!("{shown}\0key"),
    }
}

/// A name in quotes, cut where it is long.
pub(crate) fn shorten(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("'{}…'", &name[..end]),
        None => format!("'{name}'"),
    }
}
