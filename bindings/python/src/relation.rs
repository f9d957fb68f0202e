//! `Relation`: the result of a query.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, StructArray},
    compute::{concat_batches, filter_record_batch},
    datatypes::{Field, SchemaRef},
    error::ArrowError,
    row::{OwnedRow, Row, RowConverter, SortField},
    util::display::{ArrayFormatter, FormatOptions},
};
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use pyo3::{
    exceptions::{PyImportError, PyIndexError},
    prelude::*,
    types::{PyCapsule, PyDict, PyList, PyTuple},
};
use pyo3_arrow::ffi::{ArrayIterator, to_stream_pycapsule};
use unicode_width::UnicodeWidthStr as _;

use crate::{error::Class, fetch};

/// So many rows are shown of a relation, half from its start and half from its end.
const SHOWN_ROWS: usize = 20;

/// So many characters are shown of a cell.
const SHOWN_WIDTH: usize = 48;

/// What stands between two columns.
const GAP: u16 = 2;

/// So many rows are turned into Python values at a time while iterating.
const ROWS_AT_ONCE: usize = 4096;

/// The result of a query: rows and named columns, held as Arrow.
///
/// Hand it to any library that reads Arrow (`polars.DataFrame(relation)`, `pyarrow.table(relation)`, DuckDB), or take
/// it with one of its `to_` methods, or iterate over its rows.
#[pyclass(subclass, frozen, name = "Relation", module = "runlake")]
#[derive(Debug)]
pub(crate) struct PyRelation {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl PyRelation {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.schema.fields().iter().map(|field| field.name())
    }

    /// The rows that are shown, and how many of them stand before the gap.
    fn shown(&self) -> PyResult<(RecordBatch, Option<usize>)> {
        let rows = self.rows();
        if rows <= SHOWN_ROWS {
            return Ok((self.slice(0, rows)?, None));
        }
        let head = SHOWN_ROWS / 2;
        let parts = [self.slice(0, head)?, self.slice(rows - head, head)?];
        let shown = concat_batches(&self.schema, &parts).map_err(|error| broken(&error))?;
        Ok((shown, Some(head)))
    }

    fn slice(&self, start: usize, length: usize) -> PyResult<RecordBatch> {
        let mut parts = Vec::new();
        let mut at = 0;
        for batch in &self.batches {
            let (from, to) = (start.max(at), (start + length).min(at + batch.num_rows()));
            if from < to {
                parts.push(batch.slice(from - at, to - from));
            }
            at += batch.num_rows();
        }
        concat_batches(&self.schema, &parts).map_err(|error| broken(&error))
    }

    /// The shown rows as text, with a row of dots for the gap.
    fn cells(&self) -> PyResult<Vec<Vec<String>>> {
        let (shown, gap) = self.shown()?;
        let options = FormatOptions::default().with_null("NULL").with_display_error(true);
        let formatters = shown
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| broken(&error))?;
        let mut cells = Vec::new();
        for row in 0..shown.num_rows() {
            if gap == Some(row) {
                cells.push(vec!["…".to_owned(); shown.num_columns()]);
            }
            let texts = formatters.iter().map(|column| cut(&column.value(row).to_string()));
            cells.push(texts.collect());
        }
        Ok(cells)
    }

    /// The rows that are not among those of `other`. Values compare by their bits, so NaN is NaN.
    fn without(&self, other: &Self) -> Result<Self, ArrowError> {
        if self.schema != other.schema {
            return Ok(Self::new(Arc::clone(&self.schema), self.batches.clone()));
        }
        let fields = self.schema.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let mut known: HashMap<OwnedRow, usize> = HashMap::new();
        for batch in &other.batches {
            for row in &converter.convert_columns(batch.columns())? {
                *known.entry(row.owned()).or_default() += 1;
            }
        }
        let mut batches = Vec::new();
        for batch in &self.batches {
            let rows = converter.convert_columns(batch.columns())?;
            let is_new = |row: Row<'_>| match known.get_mut(&row.owned()) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            };
            let new: BooleanArray = rows.iter().map(is_new).map(Some).collect();
            if new.true_count() > 0 {
                batches.push(filter_record_batch(batch, &new)?);
            }
        }
        Ok(Self::new(Arc::clone(&self.schema), batches))
    }

    fn footer(&self) -> String {
        let (rows, columns) = (self.rows(), self.schema.fields().len());
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        format!("{} row{}, {columns} column{}", grouped(rows), plural(rows), plural(columns))
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.schema.field(column).data_type().is_numeric()
    }
}

#[pymethods]
impl PyRelation {
    /// The same rows once more, without copying: `runlake.Chart` is built on it.
    #[new]
    fn again(relation: &Self) -> Self {
        Self::new(Arc::clone(&relation.schema), relation.batches.clone())
    }

    /// The names of the columns.
    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.names())
    }

    /// The types of the columns, as Arrow names them.
    #[getter]
    fn types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.schema.fields().iter().map(|field| field.data_type().to_string()))
    }

    /// The Arrow C stream of the rows; see the Arrow PyCapsule interface.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let row = Field::new_struct("", self.schema.fields().clone(), false);
        let batches = self.batches.clone().into_iter();
        let structs = batches.map(|batch| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(StructArray::from(batch)))
        });
        let reader = ArrayIterator::new(structs, Arc::new(row));
        Ok(to_stream_pycapsule(py, Box::new(reader), requested_schema)?)
    }

    /// All rows as a `pyarrow.Table`, without copying.
    fn to_arrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        import(slf.py(), "pyarrow", "pyarrow")?.call_method1("table", (slf,))
    }

    /// All rows as a `pandas.DataFrame`.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        import(slf.py(), "pandas", "pandas pyarrow")?;
        import(slf.py(), "pyarrow", "pandas pyarrow")?;
        frames(slf.py())?.call_method1("to_pandas", (Self::to_arrow(slf)?,))
    }

    /// All columns as numpy arrays, by name. Whole numbers and truths of which some are missing are masked arrays.
    fn to_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        import(slf.py(), "numpy", "numpy pyarrow")?;
        import(slf.py(), "pyarrow", "numpy pyarrow")?;
        frames(slf.py())?.call_method1("to_numpy", (Self::to_arrow(slf)?,))
    }

    /// All rows as a `polars.DataFrame`.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        import(slf.py(), "polars", "polars")?.call_method1("DataFrame", (slf,))
    }

    /// The rows that `earlier` has not, as often as they are more; all of them where its columns are others.
    #[pyo3(name = "_since")]
    fn since(&self, py: Python<'_>, earlier: &Self) -> PyResult<Self> {
        py.detach(|| self.without(earlier)).map_err(|error| broken(&error))
    }

    /// The rows as a chart, to be saved as a page or a picture, or shown by a notebook: lines of the columns `y` over
    /// the column `x`, one for each value of the columns `by`. Where they are not given: `x` is a column of that name,
    /// `step`, or the first of times or numbers, `y` all other numbers, `by` all texts. Each value of a column `metric`
    /// has axes of its own.
    #[pyo3(signature = (x=None, y=None, by=None))]
    fn plot<'py>(
        slf: &Bound<'py, Self>,
        x: Option<Bound<'py, PyAny>>,
        y: Option<Bound<'py, PyAny>>,
        by: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("runlake._chart")?.getattr("Chart")?.call1((slf, x, y, by))
    }

    /// All rows as a list of tuples. Times are aware `datetime` objects in UTC, missing values are `None`.
    fn fetchall<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = PyList::empty(py);
        for batch in &self.batches {
            // Many rows take a while, and Ctrl-C is looked for by Python code only.
            py.check_signals()?;
            for row in tuples(py, batch)? {
                rows.append(row)?;
            }
        }
        Ok(rows)
    }

    /// The first row as a tuple, or `None` where there is none.
    fn fetchone<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        Ok(tuples(py, &self.slice(0, 1)?)?.into_iter().next())
    }

    /// The rows as dicts, column name to value.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = PyList::empty(py);
        for batch in &self.batches {
            py.check_signals()?;
            for row in tuples(py, batch)? {
                let dict = PyDict::new(py);
                for (name, value) in self.names().zip(row.iter_borrowed()) {
                    dict.set_item(name, value)?;
                }
                rows.append(dict)?;
            }
        }
        Ok(rows)
    }

    /// The number of rows.
    fn __len__(&self) -> usize {
        self.rows()
    }

    /// True, also without rows: a result is a result. Ask `len()` for rows.
    #[expect(clippy::unused_self, reason = "it is a method to Python")]
    fn __bool__(&self) -> bool {
        true
    }

    /// The row at `index` as a tuple; from the end where it is negative.
    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyTuple>> {
        let rows = self.rows();
        let place = if index < 0 { rows.checked_add_signed(index) } else { index.try_into().ok() };
        let Some(place) = place.filter(|&place| place < rows) else {
            return Err(PyIndexError::new_err(format!("row {index} of {}", self.footer())));
        };
        let row = tuples(py, &self.slice(place, 1)?)?.into_iter().next();
        row.ok_or_else(|| PyIndexError::new_err(format!("row {index} of {}", self.footer())))
    }

    /// Iterates over the rows as tuples.
    fn __iter__(slf: Bound<'_, Self>) -> Rows {
        Rows { relation: slf.unbind(), next: 0, ready: Vec::new() }
    }

    /// The first and last rows as a table, as wide as the terminal at most.
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let names: Vec<String> = self.names().map(|name| cut(name)).collect();
        let cells = self.cells()?;
        let shown = fitting(&widths(&names, &cells), terminal_width(py)?);
        let line = |cells: &[String]| -> Vec<String> {
            let cells = cells.iter().take(shown).cloned();
            cells.chain((shown < names.len()).then(|| "…".to_owned())).collect()
        };
        let mut table = Table::new();
        table
            .load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')))
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty()
            .set_header(line(&names));
        for row in &cells {
            table.add_row(line(row));
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            if at < shown && self.is_numeric(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.push(if shown < names.len() {
            format!("{}, {shown} of them shown", self.footer())
        } else {
            self.footer()
        });
        Ok(lines.join("\n"))
    }

    /// The first and last rows as a table for notebooks.
    fn _repr_html_(&self) -> PyResult<String> {
        let mut html = String::from("<table>\n<thead><tr>");
        for name in self.names() {
            html.extend(["<th>", &escaped(&cut(name)), "</th>"]);
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in self.cells()? {
            html.push_str("<tr>");
            for (column, text) in row.iter().enumerate() {
                let side = if self.is_numeric(column) { "right" } else { "left" };
                html.extend(["<td style=\"text-align: ", side, "\">", &escaped(text), "</td>"]);
            }
            html.push_str("</tr>\n");
        }
        html.extend(["</tbody>\n</table>\n<p>", &self.footer(), "</p>"]);
        Ok(html)
    }
}

/// The rows of a relation, one by one.
#[pyclass(name = "Rows", module = "runlake._native")]
#[derive(Debug)]
pub(crate) struct Rows {
    relation: Py<PyRelation>,
    next: usize,
    /// Rows that are ready, last one first.
    ready: Vec<Py<PyTuple>>,
}

#[pymethods]
impl Rows {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        if self.ready.is_empty() {
            let relation = self.relation.get();
            let batch = relation.slice(self.next, ROWS_AT_ONCE)?;
            self.next += batch.num_rows();
            let rows = tuples(py, &batch)?;
            self.ready = rows.into_iter().rev().map(Bound::unbind).collect();
        }
        Ok(self.ready.pop())
    }
}

/// The rows of a batch.
fn tuples<'py>(py: Python<'py>, batch: &RecordBatch) -> PyResult<Vec<Bound<'py, PyTuple>>> {
    let mut columns = batch
        .columns()
        .iter()
        .map(|column| Ok(fetch::column(py, column)?.into_iter()))
        .collect::<PyResult<Vec<_>>>()?;
    (0..batch.num_rows())
        .map(|_| {
            let cells: Vec<_> = columns.iter_mut().filter_map(Iterator::next).collect();
            PyTuple::new(py, cells)
        })
        .collect()
}

/// What turns Arrow into what pandas and numpy have, in Python.
fn frames(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("runlake._frames")
}

/// Imports an optional package, or says how to install it.
fn import<'py>(py: Python<'py>, package: &str, install: &str) -> PyResult<Bound<'py, PyModule>> {
    py.import(package).map_err(|cause| {
        let error = PyImportError::new_err(format!(
            "this needs {package}, which is not installed: pip install {install}"
        ));
        error.set_cause(py, Some(cause));
        error
    })
}

fn broken(error: &ArrowError) -> PyErr {
    Class::QueryFailed.error(format!("the result cannot be shown: {error}"))
}

/// The width of each column.
fn widths(names: &[String], cells: &[Vec<String>]) -> Vec<usize> {
    let widest = |at: usize| {
        let cells = cells.iter().map(|row| row[at].width());
        cells.chain([names[at].width()]).max().unwrap_or(0)
    };
    (0..names.len()).map(widest).collect()
}

/// How many of the first columns fit, with room for a mark where some do not. At least one, whatever its width.
fn fitting(widths: &[usize], width: usize) -> usize {
    let mut used = 0;
    let whole: usize = widths.iter().map(|width| width + usize::from(GAP)).sum();
    let room = if whole <= width { width } else { width.saturating_sub(usize::from(GAP) + 1) };
    let fits = |column: &&usize| {
        used += **column + usize::from(GAP);
        used <= room
    };
    widths.iter().take_while(fits).count().max(widths.len().min(1))
}

/// The columns of the terminal, `$COLUMNS`, or enough for most tables.
fn terminal_width(py: Python<'_>) -> PyResult<usize> {
    let size = py.import("shutil")?.call_method1("get_terminal_size", ((120, 24),))?;
    size.getattr("columns")?.extract()
}

/// A text on one line, cut where it is long.
fn cut(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    match text.char_indices().nth(SHOWN_WIDTH) {
        Some(_) => text.chars().take(SHOWN_WIDTH - 1).chain(['…']).collect(),
        None => text,
    }
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
