//! `runlake export`: runs and their points as files for other programs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use runlake_engine::Snapshot;
use runlake_query::Session;

use crate::{
    damage, failure::Failure, format::Format, number, output, progress, store, terminal::Terminal,
    text,
};

/// Write runs, their configuration and their points to files for other programs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake export -o everything
  runlake export --project digits --format csv -o digits
  runlake export --run @last --run calm-otter-17 --format jsonl -o two-runs

Writes DIR/runs, DIR/config, DIR/series and DIR/points, each in the one format. Points are those that count, sorted by project, \
run, metric, labels and step. Of a lake that is written meanwhile, all four show the same moment. Nothing is overwritten: \
DIR must be empty or missing.")]
pub(crate) struct Export {
    /// Only this run; may be given several times
    #[arg(long, value_name = "RUN")]
    run: Vec<String>,

    /// Only runs of this project
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// The form of the files: parquet, csv, json, jsonl or arrow
    #[arg(long, short, value_enum, default_value = "parquet")]
    format: Format,

    /// The folder for the files; made where it is missing
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// The tables that are written, and how each is sorted.
const TABLES: [(&str, &str); 4] = [
    ("runs", "project, created_at, run_id"),
    ("config", "project, run_id, key"),
    ("series", "project, run_id, metric, labels"),
    ("points", "project, run_id, metric, labels, step"),
];

impl Export {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let folder = &self.output;
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let wanted = self.wanted(&snapshot)?;
        let refused = |error: std::io::Error| {
            Failure::new(format!("cannot write to {}: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(refused)?;
        if fs::read_dir(folder).map_err(refused)?.next().is_some() {
            return Err(Failure::new(format!("{} is not empty", folder.display()))
                .hint("name a folder that is empty or does not exist: nothing is overwritten"));
        }
        let session = Session::at(lake, snapshot);
        let ending = self.format.ending();
        let bar = progress::things("writing", TABLES.len() as u64);
        let mut written = Vec::new();
        for (table, order) in TABLES {
            bar.set_message(table);
            let query = format!("select * from {table} where {wanted} order by {order}");
            let path = folder.join(format!("{table}.{ending}"));
            let rows = output::write_file(&path, self.format, &session.sql(&query)?, None)?;
            written.push(rows);
            bar.inc(1);
        }
        bar.finish_and_clear();
        writeln!(
            terminal,
            "{} and {} in {}",
            number::counted(written[0], "run"),
            number::counted(written[3], "point"),
            folder.display()
        )?;
        Ok(())
    }

    /// Which rows are wanted, in SQL.
    fn wanted(&self, snapshot: &Snapshot) -> Result<String, Failure> {
        let mut conditions = Vec::new();
        if let Some(project) = &self.project {
            let runs = snapshot.runs()?;
            if !runs.iter().any(|run| *run.project == **project) {
                return Err(Failure::new(format!("no run is in project '{project}'"))
                    .hint("`runlake runs` lists all runs"));
            }
            conditions.push(format!("project = {}", text::sql(project)));
        }
        if !self.run.is_empty() {
            let mut runs = Vec::new();
            for name in &self.run {
                let run = snapshot.find_run(name)?;
                let (project, id) = (text::sql(&run.project), text::sql(&run.run_id));
                runs.push(format!("(project = {project} and run_id = {id})"));
            }
            conditions.push(format!("({})", runs.join(" or ")));
        }
        Ok(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") })
    }
}
