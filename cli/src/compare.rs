//! `runlake compare`: what differs between runs.

use std::{io::Write as _, path::Path};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::Float64Type,
};
use clap::Args;
use runlake_query::Session;

use crate::{damage, failure::Failure, number, store, table::Table, terminal::Terminal, text};

/// The columns that stand before those of the runs.
const FIRST: usize = 4;

/// Compare runs: what differs in their configuration, their outcome and their metrics
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake compare @last @last-1
  runlake compare a b c --baseline b               a and c beside b
  runlake compare a b --metric 'val/*' --all       also what is the same
  runlake compare a b --max 'win*' --min latency   which values are better

Of a metric the last value of each run is shown and, where it is known which values are better, the best one. Names that have a word such \
as loss or error are better where they are less, those with accuracy, f1 or score where they are more. In brackets stands the difference to the \
first run, and * marks the best.")]
pub(crate) struct Compare {
    /// The runs; the others are compared with the first
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<String>,

    /// Compare with this run instead
    #[arg(long, value_name = "RUN")]
    baseline: Option<String>,

    /// Only these metrics; * stands for any text; may be given several times
    #[arg(long = "metric", short, value_name = "METRIC")]
    metrics: Vec<String>,

    /// Less is better for these metrics
    #[arg(long, value_name = "METRIC")]
    min: Vec<String>,

    /// More is better for these metrics
    #[arg(long, value_name = "METRIC")]
    max: Vec<String>,

    /// Also what is the same for all
    #[arg(long)]
    all: bool,
}

impl Compare {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let relation = Session::new(store::open(store)?).sql(&self.query())?;
        damage::warn(relation.problems(), terminal);
        let (schema, batches) = relation.collect()?;
        let runs = 1 + (schema.fields().len() - FIRST) / 2;
        let names = || schema.fields().iter().skip(FIRST).take(runs).map(|field| field.name());
        let bold = terminal.bold();
        let mut is_first = true;
        for (part, title) in [
            ("run", "run"),
            ("config", "config"),
            ("metric", "last values"),
            ("best", "best values"),
        ] {
            let mut table = Table::new().text("");
            for name in names() {
                table = table.text(name);
            }
            for batch in &batches {
                let parts = batch.column(0).as_string::<i32>();
                for row in (0..batch.num_rows()).filter(|&row| parts.value(row) == part) {
                    table.row(line(batch, row, runs, matches!(part, "metric" | "best")));
                }
            }
            if table.is_empty() {
                continue;
            }
            let gap = if is_first { "" } else { "\n" };
            is_first = false;
            writeln!(terminal, "{gap}{bold}{title}{bold:#}")?;
            write!(terminal, "{}", table.draw(terminal.columns(), terminal.is_coloured()))?;
        }
        Ok(())
    }

    fn query(&self) -> String {
        let list = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|name| text::sql(name)).collect();
            format!("[{}]", names.join(", "))
        };
        let mut arguments = vec![list(&self.runs)];
        for (name, patterns) in [("metrics", &self.metrics), ("min", &self.min), ("max", &self.max)]
        {
            if !patterns.is_empty() {
                arguments.push(format!("{name} => {}", list(patterns)));
            }
        }
        if let Some(baseline) = &self.baseline {
            arguments.push(format!("baseline => {}", text::sql(baseline)));
        }
        let rows = if self.all { "" } else { " where differs" };
        format!("select * from compare({}){rows}", arguments.join(", "))
    }
}

/// One row of the table: what it is about, and what is known of each run. Numbers that were measured have their difference
/// to the first run beside them.
fn line(batch: &RecordBatch, row: usize, runs: usize, measured: bool) -> Vec<String> {
    let text = |column: usize| {
        let texts = batch.column(column).as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row))
    };
    let (key, best) = (text(1).unwrap_or_default(), text(3));
    let mut cells = vec![key.to_owned()];
    for run in 0..runs {
        let Some(said) = text(FIRST + run) else {
            cells.push(String::new());
            continue;
        };
        let mut cell = vec![match said.parse::<f64>() {
            Ok(value) if measured => number::value(value),
            _ => said.to_owned(),
        }];
        if run > 0 && measured {
            let deltas = batch.column(FIRST + runs + run - 1).as_primitive::<Float64Type>();
            if deltas.is_valid(row) && deltas.value(row) != 0.0 && !deltas.value(row).is_nan() {
                let delta = deltas.value(row);
                let sign = if delta > 0.0 { "+" } else { "" };
                cell.push(format!("({sign}{})", number::value(delta)));
            }
        }
        if best == Some(batch.schema().field(FIRST + run).name().as_str()) {
            cell.push("*".to_owned());
        }
        cells.push(cell.join(" "));
    }
    cells
}
