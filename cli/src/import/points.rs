//! `runlake import points`: a table with one point a line becomes runs.
//!
//! The file is read twice. The first pass checks every cell and meets every run; the second one writes. So a cell that
//! makes no sense is found before anything is written, and each run starts with its whole configuration.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, ValueEnum};
use runlake_engine::{Lake, MetricId, Run, State, UNKNOWN_TIME};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use super::{
    cell::TimeUnit,
    delimited::Delimited,
    parquet::Parquet,
    part::Part,
    record::{Columns, Record, Source},
};
use crate::{failure::Failure, interrupt::Interrupt, number, progress, store, terminal::Terminal};

/// Points of one series that are handed to the lake at once.
const SERIES_BATCH: usize = 8192;
/// Points that wait in memory, all series together.
const WAITING_AT_MOST: usize = 2 << 20;
/// Lines between two looks at Ctrl-C.
const LOOK_EVERY: u64 = 4096;

/// Bring a table with one point a line into the lake: CSV, gzipped CSV or Parquet
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake import points runs.csv.gz --project speedrun --run-column run --metric-column metric \\
      --step-column step --value-column value --config-columns track,recipe
  runlake import points runs.parquet --project p --run-column id --metric-column name \\
      --step-column step --value-column value --time-column wall_time --time-unit ms

The value of the run column becomes the run's id and name. A step may repeat or go back: every line becomes a point, in \
the order of the file. NaN and infinities are values (nan, inf, -inf); a line with an empty value is skipped and \
counted. Where a config column changes within a run, its first value is kept. The runs end as finished.

The whole file is checked before anything is written: a cell that makes no sense is an error that names its line, and \
the lake stays as it was. Importing a file twice would log its points twice: the import refuses where one of its runs \
exists, unless told what to do with --existing. --part lets several processes share one file.")]
pub(super) struct PointsOf {
    /// A table with a header: CSV (also gzipped) or Parquet, told apart by its first bytes
    file: PathBuf,

    /// The project of the runs
    #[arg(long, value_name = "P")]
    project: String,

    /// The column with the run
    #[arg(long, value_name = "C")]
    run_column: String,

    /// The column with the metric's name
    #[arg(long, value_name = "C")]
    metric_column: String,

    /// The column with the step, a whole number
    #[arg(long, value_name = "C")]
    step_column: String,

    /// The column with the value
    #[arg(long, value_name = "C")]
    value_column: String,

    /// The column with the time; without one the time is unknown
    #[arg(long, value_name = "C")]
    time_column: Option<String>,

    /// The unit of times that are plain numbers; other times are read as dates
    #[arg(long, value_enum, default_value = "s", value_name = "UNIT")]
    time_unit: TimeUnit,

    /// Columns that become the run's configuration
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    config_columns: Vec<String>,

    /// What stands between the cells of a text file [default: a tab for .tsv, else a comma]
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,

    /// What to do where a run of the file is already in the project
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT")]
    existing: Existing,

    /// Import only the K-th of N parts of the runs
    #[arg(long, value_name = "K/N")]
    part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// Import nothing
    Refuse,
    /// Import the other runs
    Skip,
    /// Log its points again, as a new attempt: `points` shows the new ones, `points_all` all
    Append,
}

impl PointsOf {
    pub(super) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let started = Instant::now();
        let source = self.source()?;
        let columns = self.columns()?;
        let interrupt = Interrupt::listen()?;

        let mut contents = check(&*source, &columns, self.part.unwrap_or(Part::WHOLE), &interrupt)?;
        let lake = store::open_or_create(store)?;
        let skipped_runs = self.settle_existing(&lake, &mut contents)?;
        let written = self.write(&lake, &*source, &columns, &contents, &interrupt)?;

        let seconds = started.elapsed().as_secs_f64();
        writeln!(
            terminal,
            "{} and {} in {seconds:.1} s ({} points a second) into {}",
            number::counted(written.runs, "run"),
            number::counted(written.points, "point"),
            number::rate(written.points, seconds),
            lake.path().display()
        )?;
        if contents.empty_values > 0 {
            writeln!(
                terminal,
                "{} with an empty value skipped",
                number::counted(contents.empty_values, "line")
            )?;
        }
        if skipped_runs > 0 {
            writeln!(
                terminal,
                "{} skipped, as the project has them",
                number::counted(skipped_runs, "run")
            )?;
        }
        for (column, runs) in columns.config.iter().zip(&contents.varying) {
            if *runs > 0 {
                writeln!(
                    terminal,
                    "column '{column}' changes within {}; the first value was kept",
                    number::counted(*runs, "run")
                )?;
            }
        }
        Ok(())
    }

    /// Tells by its first bytes what the file is.
    fn source(&self) -> Result<Box<dyn Source>, Failure> {
        let refused = |error: std::io::Error| {
            Failure::new(format!("cannot read {}: {error}", self.file.display()))
        };
        let metadata = fs::metadata(&self.file).map_err(refused)?;
        if !metadata.is_file() {
            return Err(Failure::new(format!("{} is not a file", self.file.display())).hint(
                "an import reads its file twice, so it takes no pipe: write it to a file first",
            ));
        }
        let mut magic = Vec::new();
        File::open(&self.file)
            .and_then(|file| file.take(4).read_to_end(&mut magic))
            .map_err(refused)?;
        let (path, bytes, time_unit) = (self.file.clone(), metadata.len(), self.time_unit);
        if magic == b"PAR1" {
            return Ok(Box::new(Parquet { path, bytes, time_unit }));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_tabbed = name.split('.').any(|part| part == "tsv");
        let delimiter = match self.delimiter {
            None if is_tabbed => b'\t',
            None => b',',
            Some(delimiter) => u8::try_from(delimiter)
                .map_err(|_not_one_byte| Failure::usage("a delimiter is one ASCII character"))?,
        };
        Ok(Box::new(Delimited {
            path,
            is_gzipped: magic.starts_with(&[0x1f, 0x8b]),
            delimiter,
            bytes,
            time_unit,
        }))
    }

    fn columns(&self) -> Result<Columns, Failure> {
        let config: Vec<String> =
            self.config_columns.iter().map(|name| name.trim().to_owned()).collect();
        if config.iter().any(String::is_empty) {
            return Err(Failure::usage("--config-columns has an empty name"));
        }
        Ok(Columns {
            run: self.run_column.clone(),
            metric: self.metric_column.clone(),
            step: self.step_column.clone(),
            value: self.value_column.clone(),
            time: self.time_column.clone(),
            config,
        })
    }

    /// Decides about the runs that the project has already. Returns how many are skipped.
    fn settle_existing(&self, lake: &Lake, contents: &mut Contents) -> Result<u64, Failure> {
        if self.existing == Existing::Append {
            return Ok(0);
        }
        let known = lake.snapshot()?.runs()?;
        let known: FxHashSet<&str> = known
            .iter()
            .filter(|run| *run.project == *self.project)
            .map(|run| &*run.run_id)
            .collect();
        let twice: Vec<usize> = (0..contents.runs.len())
            .filter(|&at| contents.runs[at].is_wanted && known.contains(&*contents.runs[at].id))
            .collect();
        if twice.is_empty() {
            return Ok(0);
        }
        if self.existing == Existing::Refuse {
            let first = &contents.runs[twice[0]].id;
            return Err(Failure::new(format!(
                "project '{}' has {} of this file already, such as '{first}'; nothing was imported",
                self.project,
                number::counted(twice.len() as u64, "run")
            ))
            .hint("--existing skip imports only the others")
            .hint("--existing append logs them again, as a new attempt"));
        }
        for &at in &twice {
            contents.runs[at].is_wanted = false;
        }
        Ok(twice.len() as u64)
    }

    /// The second pass.
    fn write(
        &self,
        lake: &Lake,
        source: &dyn Source,
        columns: &Columns,
        contents: &Contents,
        interrupt: &Interrupt,
    ) -> Result<Written, Failure> {
        let bar = progress::bytes("importing", source.bytes());
        let mut writers = Writers {
            lake,
            project: &self.project,
            columns,
            open: Vec::new(),
            complete: Vec::new(),
            waiting: 0,
        };
        writers.open.resize_with(contents.runs.len(), || None);
        let mut written = Written::default();
        let mut lines = 0_u64;
        let mut last = None;
        let done = source.read(columns, &bar, &mut |record| {
            lines += 1;
            if lines.is_multiple_of(LOOK_EVERY) && interrupt.is_raised() {
                return Err(Failure::interrupted("interrupted"));
            }
            let Some(value) = record.value else { return Ok(()) };
            let at = contents.find(&mut last, record.run).ok_or_else(|| changed(source))?;
            let plan = &contents.runs[at];
            if !plan.is_wanted {
                return Ok(());
            }
            written.points += 1;
            if writers.log(at, plan, record, value)? {
                written.runs += 1;
            }
            Ok(())
        });
        bar.finish_and_clear();
        match done.and_then(|()| writers.finish(State::Finished)) {
            Ok(()) if written.points == contents.wanted_points() => Ok(written),
            Ok(()) => Err(changed(source)),
            Err(failure) => {
                let state = if failure.exit_code() == 130 { State::Killed } else { State::Failed };
                // The first failure is what the user has to know.
                writers.finish(state).unwrap_or_default();
                Err(failure.hint(format!(
                    "{} were written completely; the others read as {}",
                    number::counted(written.runs, "run"),
                    state.as_str()
                )))
            }
        }
    }
}

fn changed(source: &dyn Source) -> Failure {
    Failure::new(format!("{} changed while it was read", source.path().display()))
}

/// What the first pass found.
struct Contents {
    /// In the order in which they first appear.
    runs: Vec<RunPlan>,
    places: FxHashMap<Box<str>, usize>,
    empty_values: u64,
    /// For each config column, the runs in which it changes.
    varying: Vec<u64>,
}

/// One run of the file.
struct RunPlan {
    id: Box<str>,
    is_wanted: bool,
    points: u64,
    /// For each config column its first value that is not empty, and whether a later one differs.
    config: Vec<Option<ConfigCell>>,
}

struct ConfigCell {
    text: Box<str>,
    value: Value,
    varies: bool,
}

#[derive(Debug, Default)]
struct Written {
    runs: u64,
    points: u64,
}

/// The first pass: checks every cell.
fn check(
    source: &dyn Source,
    columns: &Columns,
    part: Part,
    interrupt: &Interrupt,
) -> Result<Contents, Failure> {
    let bar = progress::bytes("checking", source.bytes());
    let mut contents = Contents {
        runs: Vec::new(),
        places: FxHashMap::default(),
        empty_values: 0,
        varying: vec![0; columns.config.len()],
    };
    let mut lines = 0_u64;
    let mut last = None;
    source.read(columns, &bar, &mut |record| {
        lines += 1;
        if lines.is_multiple_of(LOOK_EVERY) && interrupt.is_raised() {
            return Err(Failure::interrupted("interrupted; nothing was imported"));
        }
        let at = match contents.find(&mut last, record.run) {
            Some(at) => at,
            None => contents.add(record.run, part, columns.config.len()),
        };
        let plan = &mut contents.runs[at];
        if plan.is_wanted {
            match record.value {
                Some(_) => plan.points += 1,
                None => contents.empty_values += 1,
            }
            plan.note_config(record);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    contents.runs.iter_mut().for_each(|plan| plan.is_wanted &= plan.points > 0);
    for plan in &contents.runs {
        for (varying, cell) in contents.varying.iter_mut().zip(&plan.config) {
            *varying += u64::from(cell.as_ref().is_some_and(|cell| cell.varies));
        }
    }
    Ok(contents)
}

impl Contents {
    /// The place of `run`; `last` remembers the line before, which mostly belongs to the same run.
    fn find(&self, last: &mut Option<usize>, run: &str) -> Option<usize> {
        if let Some(at) = *last
            && *self.runs[at].id == *run
        {
            return Some(at);
        }
        *last = self.places.get(run).copied();
        *last
    }

    fn add(&mut self, run: &str, part: Part, config_columns: usize) -> usize {
        let at = self.runs.len();
        let mut config = Vec::new();
        config.resize_with(config_columns, || None);
        self.runs.push(RunPlan { id: run.into(), is_wanted: part.has(at), points: 0, config });
        self.places.insert(run.into(), at);
        at
    }

    fn wanted_points(&self) -> u64 {
        self.runs.iter().filter(|plan| plan.is_wanted).map(|plan| plan.points).sum()
    }
}

impl RunPlan {
    fn note_config(&mut self, record: &Record<'_>) {
        for (at, cell) in self.config.iter_mut().enumerate() {
            let text = record.config.text(at);
            match cell {
                _ if text.is_empty() => {}
                Some(cell) => cell.varies |= *cell.text != *text,
                None => {
                    let value = record.config.value(at);
                    *cell = Some(ConfigCell { text: text.into(), value, varies: false });
                }
            }
        }
    }
}

/// The runs that are being written.
struct Writers<'a> {
    lake: &'a Lake,
    project: &'a str,
    columns: &'a Columns,
    /// For each run of the file its writer, once it has begun and until it is complete.
    open: Vec<Option<Writer>>,
    /// The runs of which every point was logged.
    complete: Vec<Run>,
    /// The points that wait in the writers.
    waiting: usize,
}

struct Writer {
    run: Run,
    left: u64,
    series: Vec<Waiting>,
    places: FxHashMap<Box<str>, usize>,
}

/// The points of one series that the lake does not have yet.
struct Waiting {
    metric: MetricId,
    steps: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Writers<'_> {
    /// Logs a point of run `at`. Returns true where it was the last one of its run.
    fn log(
        &mut self,
        at: usize,
        plan: &RunPlan,
        record: &Record<'_>,
        value: f64,
    ) -> Result<bool, Failure> {
        let writer = match &mut self.open[at] {
            Some(writer) => writer,
            slot => slot.insert(Writer::start(self.lake, self.project, self.columns, plan)?),
        };
        let place = writer.place_of(record.metric)?;
        let series = &mut writer.series[place];
        series.steps.push(record.step);
        series.times.push(record.time.unwrap_or(UNKNOWN_TIME));
        series.values.push(value);
        self.waiting += 1;
        if series.values.len() >= SERIES_BATCH {
            self.waiting -= writer.flush_series(place)?;
        }
        writer.left = writer.left.checked_sub(1).ok_or_else(|| {
            Failure::new(format!("run '{}' has more points than at the first reading", plan.id))
        })?;
        if writer.left == 0 {
            self.waiting -= writer.flush()?;
            // A run that ends flushes the log. One flush at the end of the import is better than one a run.
            self.complete.extend(self.open[at].take().map(|writer| writer.run));
            return Ok(true);
        }
        if self.waiting >= WAITING_AT_MOST {
            for writer in self.open.iter_mut().flatten() {
                self.waiting -= writer.flush()?;
            }
        }
        Ok(false)
    }

    /// Ends all runs, those that are not complete as `state`.
    fn finish(&mut self, state: State) -> Result<(), Failure> {
        let mut open: Vec<Writer> = self.open.iter_mut().filter_map(Option::take).collect();
        for writer in &mut open {
            writer.flush()?;
        }
        self.lake.flush()?;
        for run in self.complete.drain(..) {
            run.finish(State::Finished)?;
        }
        for writer in open {
            writer.run.finish(state)?;
        }
        self.lake.flush()?;
        Ok(())
    }
}

impl Writer {
    fn start(
        lake: &Lake,
        project: &str,
        columns: &Columns,
        plan: &RunPlan,
    ) -> Result<Self, Failure> {
        let config: Map<String, Value> = columns
            .config
            .iter()
            .zip(&plan.config)
            .filter_map(|(column, cell)| Some((column.clone(), cell.as_ref()?.value.clone())))
            .collect();
        let run = lake.run(project).id(&plan.id).name(&plan.id).config(config).start()?;
        Ok(Self { run, left: plan.points, series: Vec::new(), places: FxHashMap::default() })
    }

    fn place_of(&mut self, metric: &str) -> Result<usize, Failure> {
        if let Some(&place) = self.places.get(metric) {
            return Ok(place);
        }
        let waiting = Waiting {
            metric: self.run.metric(metric)?,
            steps: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
        };
        self.series.push(waiting);
        self.places.insert(metric.into(), self.series.len() - 1);
        Ok(self.series.len() - 1)
    }

    fn flush(&mut self) -> Result<usize, Failure> {
        let mut flushed = 0;
        for at in 0..self.series.len() {
            flushed += self.flush_series(at)?;
        }
        Ok(flushed)
    }

    fn flush_series(&mut self, at: usize) -> Result<usize, Failure> {
        let waiting = &mut self.series[at];
        let points = waiting.values.len();
        if points > 0 {
            self.run.log_many(
                waiting.metric,
                Some(&waiting.steps),
                Some(&waiting.times),
                &waiting.values,
            )?;
            waiting.steps.clear();
            waiting.times.clear();
            waiting.values.clear();
        }
        Ok(points)
    }
}
