//! `runlake export`: runs and their points as files for other programs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use runlake_engine::{Error, Lake, Snapshot};
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

/// How often somebody who waits is asked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The tables that are written, and how each is sorted.
const TABLES: [(&str, &str); 4] = [
    ("runs", "project, created_at, run_id"),
    ("config", "project, run_id, key"),
    ("series", "project, run_id, metric, labels"),
    ("points", "project, run_id, metric, labels, step"),
];

/// What an export is of, which form it has and where it goes.
#[derive(Debug)]
pub struct Exporting<'a> {
    /// Only these runs; all where there are none.
    pub runs: &'a [String],
    /// Only runs of this project.
    pub project: Option<&'a str>,
    /// The form of the files.
    pub format: Format,
    /// The folder for the files, which must be empty or missing.
    pub folder: &'a Path,
}

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Runs.
    pub runs: u64,
    /// Points.
    pub points: u64,
}

/// Writes the tables `runs`, `config`, `series` and `points` of one snapshot into files, as `runlake export` does. `go_on` is
/// asked now and then, with the name of a table, whether to go on.
pub fn export(
    lake: Lake,
    snapshot: Snapshot,
    what: &Exporting<'_>,
    go_on: &mut dyn FnMut(&str) -> bool,
) -> Result<Exported, Failure> {
    let folder = what.folder;
    let wanted = what.wanted(&snapshot)?;
    let refused = |error: std::io::Error| {
        Failure::new(format!("cannot write to {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(refused)?;
    if fs::read_dir(folder).map_err(refused)?.next().is_some() {
        let detail = format!("{} is not empty", folder.display());
        return Err(Failure::new(detail.clone())
            .hint("name a folder that is empty or does not exist: nothing is overwritten")
            .caused_by(Error::Invalid { what: "folder", detail }));
    }
    let session = Session::at(lake, snapshot);
    let ending = what.format.ending();
    let mut written = Vec::new();
    for (table, order) in TABLES {
        let query = format!("select * from {table} where {wanted} order by {order}");
        let path = folder.join(format!("{table}.{ending}"));
        let mut go_on = || go_on(table);
        let relation = session.sql_while(&query, LOOK_EVERY, &mut go_on)?;
        written.push(output::write_file(&path, what.format, &relation, None, &mut go_on)?);
    }
    Ok(Exported { runs: written[0], points: written[3] })
}

impl Export {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let what = Exporting {
            runs: &self.run,
            project: self.project.as_deref(),
            format: self.format,
            folder: &self.output,
        };
        let bar = progress::things("writing", TABLES.len() as u64);
        let exported = export(lake, snapshot, &what, &mut |table| {
            let at = TABLES.iter().position(|(name, _)| *name == table).unwrap_or_default();
            bar.set_position(at as u64);
            true
        });
        bar.finish_and_clear();
        let Exported { runs, points } = exported?;
        writeln!(
            terminal,
            "{} and {} in {}",
            number::counted(runs, "run"),
            number::counted(points, "point"),
            self.output.display()
        )?;
        Ok(())
    }
}

impl Exporting<'_> {
    /// Which rows are wanted, in SQL.
    fn wanted(&self, snapshot: &Snapshot) -> Result<String, Failure> {
        let mut conditions = Vec::new();
        if let Some(project) = self.project {
            let runs = snapshot.runs()?;
            if !runs.iter().any(|run| *run.project == *project) {
                let (kind, name) = ("project", project.to_owned());
                let unknown =
                    Error::Unknown { kind, name, candidates: Vec::new(), ambiguous: false };
                return Err(Failure::new(format!("no run is in project '{project}'"))
                    .hint("`runlake runs` lists all runs")
                    .caused_by(unknown));
            }
            conditions.push(format!("project = {}", text::sql(project)));
        }
        if !self.runs.is_empty() {
            let mut runs = Vec::new();
            for name in self.runs {
                let run = snapshot.find_run(name)?;
                let (project, id) = (text::sql(&run.project), text::sql(&run.run_id));
                runs.push(format!("(project = {project} and run_id = {id})"));
            }
            conditions.push(format!("({})", runs.join(" or ")));
        }
        Ok(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") })
    }
}
