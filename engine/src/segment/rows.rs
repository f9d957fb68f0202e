//! Writes the files of the folded tables: few rows, for programs that know nothing of facts and segments.

use std::{borrow::Cow, path::PathBuf};

use parquet::{basic::Encoding, errors::ParquetError, schema::types::SchemaDescriptor};
use uuid::Uuid;

use super::{
    column::{Chunk, ColumnEncoder, POINT_PAGE_ROWS},
    meta,
    schema::FileKind,
    writer::{NewSegment, Staged},
};
use crate::{
    Result,
    catalog::{Table, TableKind},
};

/// The level of what is folded: it is made from segments, as a merge is.
const LEVEL: u8 = 1;

/// One column of some rows.
#[derive(Debug)]
pub(crate) enum Column<'a> {
    /// Texts of which many are equal.
    Names(Vec<Option<&'a str>>),
    /// Texts that differ.
    Texts(Vec<Option<Cow<'a, str>>>),
    /// Lists of texts.
    Lists(Vec<&'a [String]>),
    /// Whole numbers, or times in microseconds since 1970 (UTC).
    Integers(Vec<Option<i64>>),
    /// Numbers.
    Doubles(Vec<Option<f64>>),
}

/// Writes rows of one project of a folded table, sorted by run, as one file in the staging folder.
#[derive(Debug)]
pub(crate) struct RowsWriter {
    table: PathBuf,
    project: String,
    name: Uuid,
    file: Staged,
    rows: u64,
    /// The first run and the last.
    runs: Option<(String, String)>,
}

impl RowsWriter {
    /// Begins a file of `table`.
    pub(crate) fn create(table: &Table, project: &str) -> Result<Self> {
        let kind = match table.kind() {
            TableKind::Points => FileKind::Points,
            TableKind::Facts => FileKind::Facts,
            TableKind::Runs => FileKind::Runs,
            TableKind::Config => FileKind::Config,
            TableKind::Series => FileKind::Series,
        };
        let name = Uuid::now_v7();
        let file = Staged::create(table.dir(), &format!("{name}.parquet"), kind, LEVEL)?;
        let (table, project) = (table.dir().to_owned(), project.to_owned());
        Ok(Self { table, project, name, file, rows: 0, runs: None })
    }

    /// Appends rows: the runs that they are about, sorted, and the columns after `project` and `run_id`.
    pub(crate) fn push(&mut self, runs: &[&str], columns: &[Column<'_>]) -> Result<()> {
        let (Some(&first), Some(&last)) = (runs.first(), runs.last()) else { return Ok(()) };
        self.rows += runs.len() as u64;
        let (before, after) = self.runs.get_or_insert_with(|| (first.to_owned(), String::new()));
        debug_assert!(&**before <= first && &**after <= first, "runs come in order");
        last.clone_into(after);
        let project = self.project.as_str();
        self.file
            .writer
            .row_group(|encoder, schema| encode(project, runs, columns, encoder, schema))
    }

    /// Ends the file and makes it durable; `None` where it has no row.
    pub(crate) fn finish(self) -> Result<Option<NewSegment>> {
        let Some((first, last)) = &self.runs else { return Ok(None) };
        let sum = self.file.writer.finish()?;
        let name = format!("l{LEVEL}/{}.parquet", self.name);
        let add = meta::describe_rows(&name, &self.project, self.rows, (first, last), sum);
        Ok(Some(NewSegment::new(&self.table, add, vec![(self.file.guard.release(), name)])))
    }
}

fn encode(
    project: &str,
    runs: &[&str],
    columns: &[Column<'_>],
    encoder: &mut ColumnEncoder,
    schema: &SchemaDescriptor,
) -> Result<Vec<Chunk>, ParquetError> {
    let names = runs.iter().map(|run_id| (Some(*run_id), 1));
    let mut chunks = vec![
        encoder.ids(&schema.column(0), std::iter::once((Some(project), runs.len())))?,
        encoder.ids(&schema.column(1), names)?,
    ];
    for column in columns {
        let descr = schema.column(chunks.len());
        chunks.push(match column {
            Column::Names(names) => encoder.ids(&descr, names.iter().map(|name| (*name, 1)))?,
            Column::Texts(texts) => encoder.texts(&descr, texts.iter().map(Option::as_deref))?,
            Column::Lists(lists) => encoder.lists(&descr, lists, POINT_PAGE_ROWS)?,
            Column::Integers(values) => encoder.integers(
                &descr,
                values.iter().copied(),
                Encoding::DELTA_BINARY_PACKED,
                POINT_PAGE_ROWS,
            )?,
            Column::Doubles(values) => {
                encoder.optional_floats(&descr, values.iter().copied(), POINT_PAGE_ROWS)?
            }
        });
    }
    Ok(chunks)
}
