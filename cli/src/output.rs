//! Where the result of a query goes: a stream, or a file that is whole or not there.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use arrow::{
    array::{Array as _, RecordBatch},
    datatypes::Schema,
    util::display::{ArrayFormatter, FormatOptions},
};
use runlake_query::Relation;

use crate::{
    failure::Failure,
    format::{self, Batches, Format},
    table::Table,
};

/// How often somebody who waits for rows is asked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Writes the rows of `relation`, or the first `limit` of a table, to `out`, as long as `go_on` says so. Returns how many rows
/// were read.
pub(crate) fn write(
    format: Format,
    relation: &Relation,
    limit: Option<usize>,
    mut out: impl Write + Send,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<u64, Failure> {
    let schema = relation.schema();
    let mut reader = relation.reader()?;
    let mut rows = 0;
    let batches: Batches<'_> = &mut std::iter::from_fn(|| {
        let batch = reader.next_batch_while(LOOK_EVERY, &mut *go_on)?;
        rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        Some(batch.map_err(Failure::from))
    });
    match format {
        Format::Table => {
            let (table, _) = tabulate(&schema, batches, limit)?;
            out.write_all(table.draw(None, false).as_bytes())?;
            out.flush()?;
        }
        Format::Csv => format::write_csv(&schema, batches, out)?,
        Format::Json => format::write_json(batches, out)?,
        Format::Jsonl => format::write_jsonl(batches, out)?,
        Format::Parquet => format::write_parquet(schema, batches, out)?,
        Format::Arrow => format::write_arrow(&schema, batches, out)?,
    }
    Ok(rows)
}

/// Writes beside `path` and renames, so that `path` is never half a result. What is no plain file is written to.
pub(crate) fn write_file(
    path: &Path,
    format: Format,
    relation: &Relation,
    limit: Option<usize>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<u64, Failure> {
    let refused =
        |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(refused)?;
        return write(format, relation, limit, BufWriter::new(file), go_on);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        .prefix(".runlake-")
        .permissions(permissions())
        .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))
        .map_err(refused)?;
    let rows = write(format, relation, limit, BufWriter::new(draft.as_file_mut()), go_on)?;
    draft.persist(path).map_err(|error| refused(error.error))?;
    Ok(rows)
}

/// What a new file usually gets; the umask takes away from it.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

/// The first rows as text, and whether those are all.
pub(crate) fn tabulate(
    schema: &Schema,
    batches: Batches<'_>,
    limit: Option<usize>,
) -> Result<(Table, bool), Failure> {
    let mut table = schema.fields().iter().fold(Table::new(), |table, field| {
        if field.data_type().is_numeric() {
            table.number(field.name())
        } else {
            table.text(field.name())
        }
    });
    for batch in batches {
        let batch = batch?;
        let room = limit.map_or(usize::MAX, |limit| limit - table.len());
        tabulate_rows(&mut table, &batch.slice(0, room.min(batch.num_rows())))?;
        if room < batch.num_rows() {
            return Ok((table, false));
        }
    }
    Ok((table, true))
}

fn tabulate_rows(table: &mut Table, batch: &RecordBatch) -> Result<(), Failure> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
        let mut texts = Vec::with_capacity(batch.num_rows());
        if field.data_type().is_nested() {
            let json = format::json_text(field, column)?;
            texts.extend((0..json.len()).map(|row| {
                if json.is_null(row) { "NULL".to_owned() } else { json.value(row).to_owned() }
            }));
        } else {
            let formatter = ArrayFormatter::try_new(column, &options)?;
            for row in 0..batch.num_rows() {
                texts.push(formatter.value(row).try_to_string()?);
            }
        }
        columns.push(texts.into_iter());
    }
    for _ in 0..batch.num_rows() {
        table.row(
            columns.iter_mut().map(|column| column.next().expect("every column has every row")),
        );
    }
    Ok(())
}
