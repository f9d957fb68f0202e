//! `runlake demo`: a tour that really trains.
//!
//! Four optimisers fit the same small network to two spirals, each in its own thread, and log every step. Meanwhile the
//! table on the screen is the answer to a query in SQL.

mod network;
mod optimiser;
mod spirals;
mod training;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Float64Type, Int64Type},
};
use clap::Args;
use runlake_engine::{Lake, Run};
use runlake_query::Session;
use serde_json::{Map, json};

use crate::{
    chart::{Chart, Curve},
    failure::Failure,
    interrupt::Interrupt,
    number,
    table::Table,
    terminal::Terminal,
    text,
};
use optimiser::Rule;

/// Where the demo keeps its runs unless told otherwise.
const LAKE: &str = "demo.lake";
const PROJECT: &str = "spirals";
/// Between two answers of the standings query.
const REDRAW_EVERY: Duration = Duration::from_millis(250);
/// The same, where nobody sees a table change in place.
const REPORT_EVERY: Duration = Duration::from_secs(3);

const STANDINGS: &str = "\
select r.name, r.state, s.last_step, s.last_value as loss, a.last_value as accuracy
from runs r
join series s on s.project = r.project and s.run_id = r.run_id and s.metric = 'val/loss'
join series a on a.project = r.project and a.run_id = r.run_id and a.metric = 'val/accuracy'
where r.group_name = ";

/// Train four small networks, watch them by SQL, and keep their lake
#[derive(Debug, Args)]
#[command(after_help = "\
Takes half a minute at most and downloads nothing. The runs are kept in ./demo.lake, or in --store DIR.

Examples:
  runlake demo
  runlake --store demo.lake plot val/loss")]
pub(crate) struct Demo {
    /// Train for at most so many seconds
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

impl Demo {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let path = store.map_or_else(|| PathBuf::from(LAKE), Path::to_path_buf);
        let lake = Lake::open_or_create(&path)?;
        let (bold, dim) = (terminal.bold(), terminal.dim());
        writeln!(terminal, "{bold}Four optimisers, one small network, two spirals{bold:#}")?;
        writeln!(
            terminal,
            "{} steps each, {} s at most, in four threads; every step is a row in {}\n",
            number::count(training::STEPS),
            self.seconds,
            lake.path().display()
        )?;
        terminal.flush()?;

        let interrupt = Interrupt::listen()?;
        let started = Instant::now();
        let group = format!("demo-{}", lake.snapshot()?.runs()?.len() / Rule::ALL.len() + 1);
        let runs = Rule::ALL
            .iter()
            .map(|rule| start(&lake, &group, *rule))
            .collect::<Result<Vec<Run>, Failure>>()?;
        // ORDERING: relaxed; a trainer that sees it late trains one step more.
        let stop = AtomicBool::new(false);
        let trained: Result<Vec<()>, Failure> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (run, rule) in runs.iter().zip(Rule::ALL) {
                let stop = &stop;
                threads.push(
                    thread::Builder::new()
                        .name(format!("demo-{}", rule.name()))
                        .spawn_scoped(scope, move || training::train(run, rule, stop))?,
                );
            }
            // A lake opened once more, as another process would.
            let watched = Lake::open(lake.path()).map_err(Failure::from).and_then(|lake| {
                let query = format!("{STANDINGS}{} order by loss", text::sql(&group));
                let done = || threads.iter().all(thread::ScopedJoinHandle::is_finished);
                watch(&Session::new(lake), &query, terminal, || {
                    if interrupt.is_raised()
                        || started.elapsed() > Duration::from_secs(self.seconds)
                    {
                        stop.store(true, Ordering::Relaxed);
                    }
                    done()
                })
            });
            stop.store(true, Ordering::Relaxed);
            let trained = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_panic| Failure::new("a trainer panicked"))?)
                .collect();
            watched.and(trained)
        });
        trained?;
        let seconds = started.elapsed().as_secs_f64();
        if interrupt.is_raised() {
            return Err(Failure::interrupted("interrupted")
                .hint(format!("what was trained is in {}", path.display())));
        }

        let points: u64 = runs.iter().map(|run| run.stats().points).sum();
        let session = Session::new(Lake::open(lake.path())?);
        if let Some(drawing) = chart(&session, &group)?.draw(
            terminal.drawing_width().min(110),
            16,
            terminal.is_coloured(),
        ) {
            writeln!(terminal, "\n{drawing}")?;
        }
        writeln!(
            terminal,
            "{} in {seconds:.1} s, from four threads, kept in {bold}{}{bold:#}\n",
            number::counted(points, "point"),
            path.display()
        )?;
        writeln!(terminal, "{bold}Try next{bold:#}")?;
        let store = text::shell(&path.to_string_lossy());
        for (command, what) in [
            (format!("runlake --store {store} show @last"), "one run: its config and every series"),
            (
                format!("runlake --store {store} plot grad_norm --log"),
                "another metric, logarithmic",
            ),
            (
                format!(
                    "runlake --store {store} sql \"select run_id, min_value, min_step from series where metric = 'val/loss'\""
                ),
                "any question",
            ),
        ] {
            writeln!(terminal, "  {command}\n      {dim}{what}{dim:#}")?;
        }
        Ok(())
    }
}

fn start(lake: &Lake, group: &str, rule: Rule) -> Result<Run, Failure> {
    let mut config = Map::new();
    config.insert("optimiser".to_owned(), json!({"name": rule.name(), "lr": rule.learning_rate()}));
    config.insert("model".to_owned(), json!({"hidden": network::HIDDEN, "layers": 2}));
    config.insert("batch_size".to_owned(), json!(training::BATCH));
    let run = lake
        .run(PROJECT)
        .name(rule.name())
        .group(group)
        .job_type("demo")
        .tags(["demo"])
        .config(config)
        .start()?;
    Ok(run)
}

/// Shows the standings until `done`: in place on a terminal, else now and then.
fn watch(
    session: &Session,
    query: &str,
    terminal: &mut Terminal,
    mut done: impl FnMut() -> bool,
) -> Result<(), Failure> {
    let pause = if terminal.is_interactive() { REDRAW_EVERY } else { REPORT_EVERY };
    let mut lines = 0;
    loop {
        let is_last = done();
        let table = standings(session, query)?;
        if !table.is_empty() {
            let drawn = table.draw(terminal.columns(), terminal.is_coloured());
            if terminal.is_interactive() && lines > 0 {
                // Up to the first line of the table before, and clear what follows.
                write!(terminal, "\u{1b}[{lines}A\u{1b}[J")?;
            }
            write!(terminal, "{drawn}")?;
            if !terminal.is_interactive() {
                writeln!(terminal)?;
            }
            terminal.flush()?;
            lines = drawn.lines().count();
        }
        if is_last {
            return Ok(());
        }
        let next = Instant::now() + pause;
        while Instant::now() < next && !done() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn standings(session: &Session, query: &str) -> Result<Table, Failure> {
    let (_, batches) = session.sql(query)?.collect()?;
    let mut table = Table::new()
        .text("run")
        .text("state")
        .number("step")
        .number("val/loss")
        .number("val/accuracy");
    for batch in batches {
        let texts = |at: usize| batch.column(at).as_string::<i32>();
        let steps = batch.column(2).as_primitive::<Int64Type>();
        let numbers = |at: usize| batch.column(at).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            table.row([
                texts(0).value(row).to_owned(),
                texts(1).value(row).to_owned(),
                steps.value(row).to_string(),
                format!("{:.4}", numbers(3).value(row)),
                format!("{:.1} %", numbers(4).value(row) * 100.0),
            ]);
        }
    }
    Ok(table)
}

fn chart(session: &Session, group: &str) -> Result<Chart, Failure> {
    let query = format!(
        "select r.name, p.step, p.value from points p \
         join runs r on r.project = p.project and r.run_id = p.run_id \
         where p.metric = 'val/loss' and r.group_name = {} order by r.name, p.step",
        text::sql(group)
    );
    let (_, batches) = session.sql(&query)?.collect()?;
    let mut curves: Vec<Curve> = Vec::new();
    for batch in batches {
        let names = batch.column(0).as_string::<i32>();
        let steps = batch.column(1).as_primitive::<Int64Type>();
        let values = batch.column(2).as_primitive::<Float64Type>();
        for row in (0..batch.num_rows()).filter(|&row| names.is_valid(row)) {
            let name = names.value(row);
            if curves.last().is_none_or(|curve| curve.name != name) {
                curves.push(Curve {
                    name: name.to_owned(),
                    note: String::new(),
                    points: Vec::new(),
                });
            }
            let curve = curves.last_mut().expect("one was just pushed");
            curve.points.push((steps.value(row) as f64, values.value(row)));
            curve.note = format!("last {}", number::value(values.value(row)));
        }
    }
    Ok(Chart { title: "val/loss (log)".to_owned(), x_title: "step".to_owned(), curves, log: true })
}
