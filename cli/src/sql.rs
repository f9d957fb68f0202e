//! `runlake sql`: any question, in SQL.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use runlake_query::{Relation, Session};

use crate::{
    damage,
    failure::Failure,
    format::{Batches, Format},
    number, output, store,
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
  runlake sql \"select count(*) from points_all\" --version 12
  echo \"show tables\" | runlake sql -

Tables: runs, config, metrics, points, points_all, series, segments; functions: runs_wide('project'), history('run').
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

    /// Ask the lake as it stood after this commit, without what was in logs; table segments names versions
    #[arg(long, value_name = "N")]
    version: Option<u64>,
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
        let lake = store::open(store)?;
        let session = match self.version {
            Some(version) => {
                let snapshot = lake.snapshot_at(version)?;
                Session::at(lake, snapshot)
            }
            None => Session::new(lake),
        };
        let relation = session.sql(&query)?;
        damage::warn(relation.problems(), terminal);
        let limit = match self.rows {
            Some(0) => None,
            None if terminal.is_interactive() && self.output.is_none() => Some(ROWS_ON_A_TERMINAL),
            rows => rows,
        };
        match self.output {
            Some(path) => {
                output::write_file(&path, format, &relation, limit, &mut || true).map(drop)
            }
            None if format == Format::Table => print_table(&relation, limit, terminal),
            None => output::write(format, &relation, limit, terminal.out(), &mut || true).map(drop),
        }
    }
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
    let (table, is_whole) = output::tabulate(&schema, batches, limit)?;
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
