//! `runlake stats`: what a lake takes on disk, and what for.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use clap::Args;
use runlake_engine::{Lake, SegmentMeta, Snapshot};

use crate::{damage, failure::Failure, number, progress, store, table::Table, terminal::Terminal};

/// Show what the lake takes on disk: by table, level, project and metric
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake stats
  runlake stats --metrics 0

Bytes of a metric are those of the pages that hold its points. Files that were replaced by a merge and wait to be removed count \
as other files; `runlake compact --gc-now` frees them.")]
pub(crate) struct Stats {
    /// Show at most so many metrics, the largest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    metrics: usize,
}

/// Files or points, and what they take.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    files: u64,
    points: u64,
    bytes: f64,
}

impl Size {
    fn add(&mut self, files: u64, points: u64, bytes: f64) {
        self.files += files;
        self.points += points;
        self.bytes += bytes;
    }
}

impl Stats {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let segments = snapshot.segments();
        let bar = progress::things("reading", segments.len() as u64);
        let mut projects: BTreeMap<String, Size> = BTreeMap::new();
        let mut metrics: BTreeMap<(String, String), Size> = BTreeMap::new();
        for segment in segments {
            let project = segment.project.clone().unwrap_or_default();
            projects.entry(project.clone()).or_default().add(1, segment.rows, float(segment.bytes));
            for size in segment.bytes_by_metric()? {
                let key = (project.clone(), size.metric.to_string());
                metrics.entry(key).or_default().add(1, size.points, size.bytes);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();

        print(&files(&snapshot, &lake)?, "files", terminal)?;
        let mut table = sizes(&["project"]);
        for (project, size) in projects {
            row(&mut table, vec![project], size);
        }
        print(&table, "points by project", terminal)?;
        let mut all: Vec<_> = metrics.into_iter().collect();
        all.sort_by(|a, b| b.1.bytes.total_cmp(&a.1.bytes));
        let shown = if self.metrics == 0 { all.len() } else { self.metrics.min(all.len()) };
        let left_out = all.split_off(shown);
        let mut table = sizes(&["project", "metric"]);
        for ((project, metric), size) in all {
            row(&mut table, vec![project, metric], size);
        }
        print(&table, "points by metric", terminal)?;
        if !left_out.is_empty() {
            let what = number::counted(left_out.len() as u64, "metric");
            writeln!(terminal, "and {what} that take less; --metrics 0 shows all")?;
        }
        Ok(())
    }
}

fn print(table: &Table, title: &str, terminal: &mut Terminal) -> Result<(), Failure> {
    let bold = terminal.bold();
    let drawn = table.draw(terminal.columns(), terminal.is_coloured());
    Ok(write!(terminal, "{bold}{title}{bold:#}\n{drawn}\n")?)
}

/// What the files of the lake take, by what they are.
fn files(snapshot: &Snapshot, lake: &Lake) -> Result<Table, Failure> {
    let folded = lake.folded_segments()?;
    let lake = lake.path();
    let mut kinds: BTreeMap<String, Size> = BTreeMap::new();
    let mut known = 0.0;
    let mut add = |kind: String, files: u64, points: u64, bytes: u64| {
        kinds.entry(kind).or_default().add(files, points, float(bytes));
        known += float(bytes);
    };
    for (table, segments) in [("facts", snapshot.fact_segments()), ("points", snapshot.segments())]
    {
        for segment in segments {
            let SegmentMeta { level, rows, bytes, .. } = **segment;
            add(format!("{table}, level {level}"), 1, rows, bytes);
            let (index, rollups) = segment.bytes_beside()?;
            if index > 0 {
                add(format!("{table}, indexes"), 1, 0, index);
            }
            if rollups > 0 {
                add(format!("{table}, rollups"), 1, 0, rollups);
            }
        }
        let (files, bytes) = under(&lake.join("tables").join(table).join("_delta_log"))?;
        add(format!("{table}, commits"), files, 0, bytes);
    }
    for (table, segment) in &folded {
        add((*table).to_owned(), 1, 0, segment.bytes);
    }
    for table in ["config", "runs", "series"] {
        let (files, bytes) = under(&lake.join("tables").join(table).join("_delta_log"))?;
        if files > 0 {
            add(format!("{table}, commits"), files, 0, bytes);
        }
    }
    let (files, bytes) = under(&lake.join("log"))?;
    add("logs".to_owned(), files, 0, bytes);
    let (all_files, all_bytes) = under(lake)?;
    let known_files: u64 = kinds.values().map(|size| size.files).sum();
    let other = Size {
        files: all_files.saturating_sub(known_files),
        points: 0,
        bytes: (float(all_bytes) - known).max(0.0),
    };
    let mut table = Table::new().text("what").number("files").number("bytes").number("B a point");
    let points = snapshot.segments().iter().map(|segment| segment.rows).sum::<u64>().max(1);
    let all = Size { files: all_files, points: 0, bytes: float(all_bytes) };
    let rows =
        kinds.into_iter().chain([("other files".to_owned(), other), ("all".to_owned(), all)]);
    for (kind, size) in rows {
        let bytes_a_point = format!("{:.4}", size.bytes / float(points));
        table.row([
            kind,
            number::count(size.files),
            number::bytes(whole(size.bytes)),
            bytes_a_point,
        ]);
    }
    Ok(table)
}

/// The files below a folder and their bytes. What goes meanwhile is left out.
fn under(folder: &Path) -> Result<(u64, u64), Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(Failure::from(error).context(folder.display())),
    };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => {
                let (more_files, more_bytes) = under(&entry.path())?;
                files += more_files;
                bytes += more_bytes;
            }
            Ok(found) if found.is_file() => {
                files += 1;
                bytes += found.len();
            }
            _ => {}
        }
    }
    Ok((files, bytes))
}

fn sizes(names: &[&str]) -> Table {
    let table = names.iter().fold(Table::new(), |table, name| table.text(name));
    table.number("points").number("bytes").number("B a point")
}

fn row(table: &mut Table, mut texts: Vec<String>, size: Size) {
    texts.push(number::count(size.points));
    texts.push(number::bytes(whole(size.bytes)));
    texts.push(format!("{:.3}", size.bytes / float(size.points.max(1))));
    table.row(texts);
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown to a few digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes on a disk, shown to a few digits"
)]
fn whole(bytes: f64) -> u64 {
    bytes.round() as u64
}
