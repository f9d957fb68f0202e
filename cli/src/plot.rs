//! `runlake plot`: a metric of several runs as a chart in the terminal.

use std::{io::Write as _, path::Path, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use clap::{Args, ValueEnum};
use runlake_engine::{Filter, RunInfo, SeriesInfo, Snapshot};
use runlake_query::Session;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    chart::{Chart, Curve},
    damage,
    failure::Failure,
    number, runs, store, suggestion,
    terminal::Terminal,
    text,
};

/// Draw a metric of one or several runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake plot train/loss                            the newest runs that have it
  runlake plot val/loss --project digits --limit 0   all runs of a project
  runlake plot loss --run @last --run @last-1 --log  two runs, logarithmic
  runlake plot val/loss --smooth 0.9                 the trend of a noisy metric
  runlake plot loss --x time                         by seconds since each run's start")]
pub(crate) struct Plot {
    /// The metric
    metric: String,

    /// Only runs of this project
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// This run; may be given several times
    #[arg(long = "run", short, value_name = "RUN", conflicts_with = "project")]
    runs: Vec<String>,

    /// Draw at most so many runs, the newest, 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    limit: usize,

    /// What runs from left to right
    #[arg(long, value_enum, default_value = "step")]
    x: XAxis,

    /// A logarithmic y axis
    #[arg(long)]
    log: bool,

    /// Smooth with this weight of the past, from 0 to less than 1
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = weight)]
    smooth: f64,

    /// Columns to draw in [default: the terminal's]
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(20..=500))]
    width: Option<u16>,

    /// Lines to draw in
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u16).range(5..=200))]
    height: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum XAxis {
    /// Steps
    Step,
    /// Seconds since the first point of each run
    Time,
}

/// A curve to be: the run and labels it stands for.
struct Subject {
    run: Arc<RunInfo>,
    series: SeriesInfo,
}

impl Plot {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let candidates = self.candidates(&snapshot)?;
        let subjects = subjects(&snapshot, &candidates, &self.metric)?;
        let having: FxHashSet<(&str, &str)> =
            subjects.iter().map(|subject| (&*subject.run.project, &*subject.run.run_id)).collect();
        let limit = if self.limit == 0 || !self.runs.is_empty() { usize::MAX } else { self.limit };
        let drawn: Vec<Arc<RunInfo>> = candidates
            .iter()
            .filter(|run| having.contains(&(&*run.project, &*run.run_id)))
            .take(limit)
            .map(Arc::clone)
            .collect();
        let number_of_runs = having.len();
        let subjects: Vec<Subject> = drawn
            .iter()
            .flat_map(|run| subjects.iter().filter(|subject| Arc::ptr_eq(&subject.run, run)))
            .map(|subject| Subject {
                run: Arc::clone(&subject.run),
                series: subject.series.clone(),
            })
            .collect();

        let curves = self.curves(&Session::new(lake), &subjects)?;
        let chart = Chart {
            title: if self.log { format!("{} (log)", self.metric) } else { self.metric.clone() },
            x_title: match self.x {
                XAxis::Step => "step".to_owned(),
                XAxis::Time => "seconds".to_owned(),
            },
            curves,
            log: self.log,
        };
        let width = self.width.unwrap_or_else(|| terminal.drawing_width());
        let height = self.height.unwrap_or_else(|| {
            let room = terminal
                .rows()
                .unwrap_or(40)
                .saturating_sub(4 + u16::try_from(chart.curves.len().min(10)).unwrap_or(10));
            room.clamp(10, 24)
        });
        let drawing = chart.draw(width, height, terminal.is_coloured()).ok_or_else(|| {
            let what = if self.log { "positive, finite" } else { "finite" };
            Failure::new(format!("metric '{}' has no {what} value to draw", self.metric))
        })?;
        terminal.write_all(drawing.as_bytes())?;
        if drawn.len() < number_of_runs {
            let dim = terminal.dim();
            writeln!(
                terminal,
                "  {dim}the newest {} of {}; --limit 0 draws all{dim:#}",
                drawn.len(),
                number::counted(number_of_runs as u64, "run")
            )?;
        }
        Ok(())
    }

    /// The runs to choose from, newest first or as named.
    fn candidates(&self, snapshot: &Snapshot) -> Result<Vec<Arc<RunInfo>>, Failure> {
        if self.runs.is_empty() {
            return runs::of_project(snapshot, self.project.as_deref());
        }
        let mut found: Vec<Arc<RunInfo>> = Vec::new();
        for name in &self.runs {
            let run = snapshot.find_run(name)?;
            if !found.iter().any(|known| known.project == run.project && known.run_id == run.run_id)
            {
                found.push(run);
            }
        }
        Ok(found)
    }

    fn curves(&self, session: &Session, subjects: &[Subject]) -> Result<Vec<Curve>, Failure> {
        let list = |of: fn(&Subject) -> &str| {
            let distinct: FxHashSet<&str> = subjects.iter().map(of).collect();
            let mut quoted: Vec<String> = distinct.into_iter().map(text::sql).collect();
            quoted.sort_unstable();
            quoted.join(", ")
        };
        let relation = session.sql(&format!(
            "select project, run_id, labels, step, time, value from points \
             where metric = {} and project in ({}) and run_id in ({})",
            text::sql(&self.metric),
            list(|subject| &subject.run.project),
            list(|subject| &subject.run.run_id)
        ))?;
        let place: FxHashMap<(&str, &str, Option<&str>), usize> = subjects
            .iter()
            .enumerate()
            .map(|(at, Subject { run, series })| {
                ((&*run.project, &*run.run_id, series.labels.as_deref()), at)
            })
            .collect();
        let mut points: Vec<Vec<(i64, f64)>> = vec![Vec::new(); subjects.len()];
        let mut reader = relation.reader()?;
        while let Some(batch) = reader.next_batch() {
            let batch = batch?;
            let texts = |at: usize| batch.column(at).as_string::<i32>();
            let (projects, run_ids, labels) = (texts(0), texts(1), texts(2));
            let steps = batch.column(3).as_primitive::<Int64Type>();
            let times = batch.column(4).as_primitive::<TimestampMicrosecondType>();
            let values = batch.column(5).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let label = labels.is_valid(row).then(|| labels.value(row));
                let Some(&at) = place.get(&(projects.value(row), run_ids.value(row), label)) else {
                    continue;
                };
                let x = match self.x {
                    XAxis::Step => steps.value(row),
                    XAxis::Time if times.is_null(row) => continue,
                    XAxis::Time => times.value(row),
                };
                points[at].push((x, values.value(row)));
            }
        }
        let mut names: FxHashMap<&str, usize> = FxHashMap::default();
        for Subject { run, .. } in subjects {
            *names.entry(runs::title(run)).or_default() += 1;
        }
        let is_labelled = subjects.iter().any(|subject| subject.series.labels.is_some());
        Ok(subjects
            .iter()
            .zip(points)
            .map(|(Subject { run, series }, mut points)| {
                points.sort_by_key(|&(x, _)| x);
                let start = points.first().map_or(0, |&(x, _)| x);
                let scaled = |x: i64| match self.x {
                    XAxis::Step => x as f64,
                    XAxis::Time => x.saturating_sub(start) as f64 / 1e6,
                };
                let title = runs::title(run);
                let mut name = match names.get(title) {
                    // A name that two runs share tells neither.
                    Some(2..) if !is_labelled => format!("{title} ({})", run.run_id),
                    _ => title.to_owned(),
                };
                if let Some(labels) = &series.labels {
                    name = format!("{name} {labels}");
                }
                let mut note = format!(
                    "last {} at step {}",
                    number::value(series.last_value),
                    series.last_step
                );
                if let (Some(least), Some(step)) = (series.min_value, series.min_step) {
                    note = format!("{note}, least {} at {step}", number::value(least));
                }
                let mut points: Vec<(f64, f64)> =
                    points.into_iter().map(|(x, value)| (scaled(x), value)).collect();
                smooth(&mut points, self.smooth);
                Curve { name, note, points }
            })
            .collect())
    }
}

fn weight(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(weight) if (0.0..1.0).contains(&weight) => Ok(weight),
        _ => Err("a weight is from 0 to less than 1".to_owned()),
    }
}

/// Replaces each finite value by the exponential moving average up to it, without the bias of the start. Gaps stay.
fn smooth(points: &mut [(f64, f64)], weight: f64) {
    let (mut mean, mut past) = (0.0, 0.0);
    for (_, value) in points {
        if value.is_finite() {
            mean = weight * mean + (1.0 - weight) * *value;
            past = weight * past + (1.0 - weight);
            *value = mean / past;
        }
    }
}

/// The series of `metric` that `candidates` have. None at all is an error with suggestions.
fn subjects(
    snapshot: &Snapshot,
    candidates: &[Arc<RunInfo>],
    metric: &str,
) -> Result<Vec<Subject>, Failure> {
    let mut filter = Filter {
        projects: Some(distinct(candidates.iter().map(|run| &*run.project))),
        runs: Some(distinct(candidates.iter().map(|run| &*run.run_id))),
        metrics: Some(vec![metric.to_owned()]),
    };
    let of_run: FxHashMap<(&str, &str), &Arc<RunInfo>> =
        candidates.iter().map(|run| ((&*run.project, &*run.run_id), run)).collect();
    let subjects: Vec<Subject> = snapshot
        .series(&filter)?
        .into_iter()
        .filter_map(|series| {
            let run = *of_run.get(&(&*series.project, &*series.run_id))?;
            Some(Subject { run: Arc::clone(run), series })
        })
        .collect();
    if !subjects.is_empty() {
        return Ok(subjects);
    }
    filter.metrics = None;
    let all = snapshot.series(&filter)?;
    let metrics = distinct(all.iter().map(|series| &*series.metric));
    let failure = Failure::new(format!("no metric '{metric}'"));
    Err(match suggestion::question(metric, metrics.iter().map(String::as_str)) {
        Some(question) => failure.hint(question),
        None if metrics.is_empty() => failure.hint("no points have been logged yet"),
        None if metrics.len() <= 20 => failure.hint(format!("there are {}", metrics.join(", "))),
        None => {
            failure.hint("`runlake sql \"select distinct metric from series\"` lists the metrics")
        }
    })
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_starts_unbiased_follows_and_keeps_gaps() {
        let mut points = vec![(0.0, 4.0), (1.0, 8.0), (2.0, f64::NAN), (3.0, 8.0)];
        smooth(&mut points, 0.5);
        assert_eq!(points[0].1, 4.0);
        assert!((points[1].1 - 20.0 / 3.0).abs() < 1e-12);
        assert!(points[2].1.is_nan());
        assert!(points[1].1 < points[3].1 && points[3].1 < 8.0);
        let mut same = vec![(0.0, 4.0), (1.0, 8.0)];
        smooth(&mut same, 0.0);
        assert_eq!(same, [(0.0, 4.0), (1.0, 8.0)]);
        assert!(weight("1").is_err() && weight("x").is_err() && weight("0.99").is_ok());
    }
}
