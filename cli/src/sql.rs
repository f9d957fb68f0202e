//! `runlake sql`: any question, in SQL.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array as _, RecordBatch},
    datatypes::Schema,
    util::display::{ArrayFormatter, FormatOptions},
};
use clap::Args;
use runlake_query::{Relation, Session};

use crate::{
    damage,
    failure::Failure,
    format::{self, Batches, Format},
    number, store,
    table::Table,
    terminal::Terminal,
};

/// How many rows a terminal gets unless told otherwise.
const ROWS_ON_A_TERMINAL: usize = 100;

/// Answer a question in SQL
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake sql \"select name, state, last_step from runs\"
  runlake sql \"select step, value from points where metric = 'train/loss'\" --format csv
  runlake sql \"select * from series\" -o series.parquet
  echo \"show tables\" | runlake sql -

Tables: runs, config, points, points_all, series, segments; functions: runs_wide('project'), history('run').
\"select * from points\" has the points that count; points_all has every point ever logged.

Numbers in CSV and JSON read back bit for bit. JSON has no NaN and no infinities: they are written as the strings \
\"NaN\", \"Infinity\" and \"-Infinity\"; null is SQL's null.")]
pub(crate) struct Sql {
    /// The query; - reads it from standard input
    query: String,

    /// The form of the result [default: the ending of -o FILE, else table]
    #[arg(long, short, value_enum)]
    format: Option<Format>,

    /// Write the result to a file, whole or not at all
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Rows of a table to show, 0 for all [default: 100 on a terminal, else all]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
}

impl Sql {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let named = self.output.as_deref().and_then(Format::of_file);
        let format = self.format.or(named).unwrap_or(Format::Table);
        if format.is_binary() && self.output.is_none() && terminal.is_interactive() {
            return Err(Failure::usage("this format is not for a terminal")
                .hint("name a file with -o FILE, or send the output to another program"));
        }
        let query = match self.query.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|error| {
                    Failure::from(error).context("cannot read the query from standard input")
                })?;
                text
            }
            _ => self.query,
        };
        let relation = Session::new(store::open(store)?).sql(&query)?;
        damage::warn(relation.problems(), terminal);
        let limit = match self.rows {
            Some(0) => None,
            None if terminal.is_interactive() && self.output.is_none() => Some(ROWS_ON_A_TERMINAL),
            rows => rows,
        };
        match self.output {
            Some(path) => write_file(&path, format, &relation, limit),
            None if format == Format::Table => print_table(&relation, limit, terminal),
            None => write(format, &relation, limit, terminal.out()),
        }
    }
}

fn write(
    format: Format,
    relation: &Relation,
    limit: Option<usize>,
    out: impl std::io::Write + Send,
) -> Result<(), Failure> {
    let schema = relation.schema();
    let mut reader = relation.reader()?;
    let batches: Batches<'_> =
        &mut std::iter::from_fn(|| reader.next_batch().map(|batch| batch.map_err(Failure::from)));
    match format {
        Format::Table => {
            let (table, _) = tabulate(&schema, batches, limit)?;
            let mut out = out;
            out.write_all(table.draw(None, false).as_bytes())?;
            Ok(out.flush()?)
        }
        Format::Csv => format::write_csv(&schema, batches, out),
        Format::Json => format::write_json(batches, out),
        Format::Jsonl => format::write_jsonl(batches, out),
        Format::Parquet => format::write_parquet(schema, batches, out),
        Format::Arrow => format::write_arrow(&schema, batches, out),
    }
}

/// Writes beside `path` and renames, so that `path` is never half a result. What is no plain file is written to.
fn write_file(
    path: &Path,
    format: Format,
    relation: &Relation,
    limit: Option<usize>,
) -> Result<(), Failure> {
    let refused =
        |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(refused)?;
        return write(format, relation, limit, std::io::BufWriter::new(file));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        .prefix(".runlake-")
        .permissions(permissions())
        .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))
        .map_err(refused)?;
    write(format, relation, limit, std::io::BufWriter::new(draft.as_file_mut()))?;
    draft.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// What a new file usually gets; the umask takes away from it.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

fn print_table(
    relation: &Relation,
    limit: Option<usize>,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let schema = relation.schema();
    let mut reader = relation.reader()?;
    let batches: Batches<'_> =
        &mut std::iter::from_fn(|| reader.next_batch().map(|batch| batch.map_err(Failure::from)));
    let (table, is_whole) = tabulate(&schema, batches, limit)?;
    let width = terminal.columns();
    // One row that does not fit is read from top to bottom.
    let is_upright = table.len() == 1 && !table.left_out(width).is_empty();
    let drawn = if is_upright {
        table.draw_down(terminal.bold())
    } else {
        table.draw(width, terminal.is_coloured())
    };
    terminal.write_all(drawn.as_bytes())?;
    let mut notes = Vec::new();
    if is_whole {
        notes.push(number::counted(table.len() as u64, "row"));
    } else {
        notes.push(format!(
            "the first {}; --rows 0 shows all",
            number::counted(table.len() as u64, "row")
        ));
    }
    let left_out = table.left_out(width);
    if !left_out.is_empty() && !is_upright {
        notes.push(format!("no room for {}", left_out.join(", ")));
    }
    let dim = terminal.dim();
    if terminal.is_interactive() {
        writeln!(terminal, "{dim}({}){dim:#}", notes.join("; "))?;
    }
    Ok(())
}

/// The first rows as text, and whether those are all.
fn tabulate(
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
