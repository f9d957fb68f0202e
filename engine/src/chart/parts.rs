//! The parts that series are stored in, and what they add up to.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use rustc_hash::FxHashMap;

use super::{Bucket, ChartSeries, Key, width::Width};
use crate::{
    Error, Filter, Points, Result, SegmentMeta, SeriesKey, Snapshot,
    segment::{self, Cell, CellReader, CellsOf, POINTS_PER_CELL, PointReader, Stretch, Summary},
};

/// Rows that are read in one go, about: what fits into a cache, and is worth a thread.
const ROWS_AT_ONCE: u64 = 128 << 10;

/// Of fewer points cells are not worth a look: they stand in one page, which is read as fast.
const FEW_POINTS: u64 = 16 << 10;

/// The series of a chart, in the parts that they are stored in.
#[derive(Debug)]
pub(super) struct Parts {
    /// The series, sorted.
    pub(super) keys: Vec<Key>,
    /// Where the parts are, in the order of logging.
    sources: Vec<Source>,
    /// In the order of their sources, and of the rows there.
    all: Vec<Part>,
}

/// Where parts are stored.
#[derive(Debug)]
enum Source {
    /// A segment of ours.
    Segment(Arc<SegmentMeta>),
    /// The live tail, or a segment that somebody else wrote.
    Memory(Vec<Columns>),
}

/// Points of one series, by step, ties in the order of logging.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) steps: Vec<i64>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

/// A part of a series, of one launch and one source.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Which of the series.
    pub(super) slot: usize,
    source: usize,
    /// Its place in the index of the segment, or in memory.
    place: usize,
    rows: Range<u64>,
    /// What all of it adds up to.
    summary: Summary,
    /// The steps that are wanted, both included.
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Part {
    /// Its steps.
    pub(super) fn first(&self) -> i64 {
        self.summary.first.0
    }

    pub(super) fn last(&self) -> i64 {
        self.summary.last.0
    }

    /// How many points it has a step.
    pub(super) fn points_a_step(&self) -> f64 {
        let (first, last) = (self.first() as f64, self.last() as f64);
        self.summary.count as f64 / (last - first + 1.0)
    }

    /// Whether nothing of it is left out.
    fn is_whole(&self) -> bool {
        self.from <= self.first() && self.last() <= self.to
    }

    fn stretch(&self) -> Stretch {
        Stretch { rows: self.rows.clone(), from: self.from, to: self.to }
    }
}

/// A piece of work: some parts of one source, or some rows of one part.
#[derive(Debug)]
pub(super) struct Job {
    source: usize,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Which of the parts that the jobs are about.
    part: usize,
    /// The place of its series in the index of the segment, or in memory.
    place: usize,
    stretch: Stretch,
    /// Whether its cells are worth a look.
    has_cells: bool,
    /// What it adds up to, where that is known and lies in one bucket.
    known: Option<Summary>,
}

impl Job {
    /// Which parts its pieces are of.
    pub(super) fn parts(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().map(|piece| piece.part)
    }
}

/// Buckets with what they hold, by number.
pub(super) type Buckets = Vec<(u64, Summary)>;

impl Parts {
    /// The parts of the series that `filter` wants. Reads indexes, and all of files that somebody else wrote.
    pub(super) fn of(snapshot: &Snapshot, filter: &Filter) -> Result<Self> {
        let (hidden, inherited) = (snapshot.hidden(filter)?, snapshot.inherited(filter)?);
        let chosen = filter.chosen();
        let stored = (!inherited.is_empty()).then(|| inherited.filter());
        let mut slots: FxHashMap<Key, usize> = FxHashMap::default();
        let mut slot = |key: &SeriesKey| {
            let key = (
                Arc::clone(&key.project),
                Arc::clone(&key.run_id),
                Arc::clone(&key.metric),
                key.labels.clone(),
            );
            let next = slots.len();
            *slots.entry(key).or_insert(next)
        };
        let to = |key: &SeriesKey| match hidden.first_hidden_step(key) {
            Some(i64::MIN) => None,
            Some(step) => Some(step - 1),
            None => Some(i64::MAX),
        };
        // The series that show what is stored as `key`, each with the last step that it shows.
        let shown = |key: &SeriesKey| {
            let own = chosen.wants(key).then(|| to(key)).flatten().map(|to| (key.clone(), to));
            let heirs = inherited.heirs(key).iter().map(|heir| (heir.name(key), heir.last));
            own.into_iter().chain(heirs).collect::<Vec<_>>()
        };
        let (mut sources, mut parts) = (Vec::new(), Vec::new());
        // What has expired has no points to draw, and at its ends a chart asks for them.
        let drawn = |it: &&Arc<SegmentMeta>| {
            let is_inherited = || stored.as_ref().is_some_and(|stored| stored.may_want(it));
            (filter.may_want(it) || is_inherited()) && !it.is_expired()
        };
        for segment in snapshot.segments().iter().filter(drawn) {
            if segment.index.is_none() {
                let points = segment::read_series(segment, |key| !shown(key).is_empty())?;
                take(&points, &mut slot, shown, &mut sources, &mut parts);
                continue;
            }
            let index = segment::read_index(segment)?;
            // What several runs show of one series are several parts of the same rows. A source has rows once, so each run has its own.
            let mut of_heirs: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
            for (place, row) in index.iter().enumerate() {
                let (source, first) = (sources.len(), row.summary.first.0);
                let part = |slot, to| {
                    let (rows, summary, from) = (row.rows(), row.summary, i64::MIN);
                    Part { slot, source, place, rows, summary, from, to }
                };
                let own = chosen.wants(&row.key).then(|| to(&row.key)).flatten();
                if let Some(to) = own.filter(|to| first <= *to) {
                    parts.push(part(slot(&row.key), to));
                }
                let heirs = inherited.heirs(&row.key).iter();
                for heir in heirs.filter(|heir| first <= heir.last) {
                    let part = part(slot(&heir.name(&row.key)), heir.last);
                    of_heirs.entry(&heir.run_id).or_default().push(part);
                }
            }
            sources.push(Source::Segment(Arc::clone(segment)));
            for own in of_heirs.into_values() {
                let source = sources.len();
                parts.extend(own.into_iter().map(|part| Part { source, ..part }));
                sources.push(Source::Segment(Arc::clone(segment)));
            }
        }
        for points in snapshot.tail() {
            if points.keys.iter().any(|key| !shown(key).is_empty()) {
                take(points, &mut slot, shown, &mut sources, &mut parts);
            }
        }
        let mut sorted: Vec<(Key, usize)> = slots.into_iter().collect();
        sorted.sort_unstable();
        let mut places = vec![0; sorted.len()];
        for (place, (_, slot)) in sorted.iter().enumerate() {
            places[*slot] = place;
        }
        for part in &mut parts {
            part.slot = places[part.slot];
        }
        let keys = sorted.into_iter().map(|(key, _)| key).collect();
        Ok(Self { keys, sources, all: parts })
    }

    /// The parts that have points from step `from` to step `to`, as far as their ends tell, cut to these.
    pub(super) fn within(&self, from: i64, to: i64) -> Vec<Part> {
        let cut =
            |part: &Part| Part { from: part.from.max(from), to: part.to.min(to), ..part.clone() };
        let parts = self.all.iter().map(cut);
        parts.filter(|part| part.from.max(part.first()) <= part.to.min(part.last())).collect()
    }

    /// The series with the buckets that `drawn` has for each; those without are left out.
    pub(super) fn series(&self, drawn: impl Iterator<Item = Vec<Bucket>>) -> Vec<ChartSeries> {
        let keys = self.keys.iter().cloned();
        keys.zip(drawn)
            .filter(|(_, buckets)| !buckets.is_empty())
            .map(|((project, run_id, metric, labels), buckets)| ChartSeries {
                project,
                run_id,
                metric,
                labels,
                buckets,
            })
            .collect()
    }

    /// The work of putting `parts` into buckets of steps, in the order of logging.
    pub(super) fn jobs(&self, parts: &[Part], width: Width) -> Vec<Job> {
        self.cut(parts, |part| {
            let one = width.number(part.first()) == width.number(part.last());
            let known = (part.is_whole() && one).then_some(part.summary);
            let most = part.points_a_step() * width.cell as f64 * 2.0;
            let cells = known.is_none()
                && part.summary.count > FEW_POINTS
                && most >= POINTS_PER_CELL as f64;
            (cells, known)
        })
    }

    /// The work of reading all points of `parts`, in the order of logging.
    pub(super) fn readings(&self, parts: &[Part]) -> Vec<Job> {
        self.cut(parts, |_| (false, None))
    }

    fn cut(&self, parts: &[Part], plan: impl Fn(&Part) -> (bool, Option<Summary>)) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut cost = u64::MAX;
        for (at, part) in parts.iter().enumerate() {
            let has_rollup = match &self.sources[part.source] {
                Source::Segment(segment) => segment.rollup.is_some(),
                Source::Memory(_) => false,
            };
            let (cells, known) = plan(part);
            let has_cells = cells && has_rollup;
            let at_once = if known.is_some() || has_cells { u64::MAX } else { ROWS_AT_ONCE };
            let mut stretch = part.stretch();
            while stretch.rows.start < stretch.rows.end {
                let rows = (stretch.rows.end - stretch.rows.start).min(at_once);
                let own = match (known.is_some(), has_cells) {
                    (true, _) => 0,
                    // Pages at both ends, and a cell for so many points.
                    (_, true) => 8192 + rows / POINTS_PER_CELL,
                    _ => rows,
                };
                if cost.saturating_add(own) > ROWS_AT_ONCE
                    || jobs.last().is_none_or(|job| job.source != part.source)
                {
                    jobs.push(Job { source: part.source, pieces: Vec::new() });
                    cost = 0;
                }
                cost += own;
                let end = stretch.rows.start + rows;
                let own = Stretch { rows: stretch.rows.start..end, ..stretch };
                stretch.rows.start = end;
                if let Some(job) = jobs.last_mut() {
                    let place = part.place;
                    job.pieces.push(Piece { part: at, place, stretch: own, has_cells, known });
                }
            }
        }
        jobs
    }

    /// For each piece of a job, its buckets.
    pub(super) fn summarize(&self, job: &Job, width: Width) -> Result<Vec<Buckets>> {
        let mut buckets: Vec<Buckets> = vec![Vec::new(); job.pieces.len()];
        // What has to be read point by point, with the piece that it belongs to.
        let mut raw: Vec<(usize, Stretch)> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, Piece { stretch, has_cells, known, .. }) in job.pieces.iter().enumerate() {
            match (known, has_cells) {
                (Some(summary), _) => buckets[at].push((width.number(summary.first.0), *summary)),
                (None, true) => open.push(at),
                (None, false) => raw.push((at, stretch.clone())),
            }
        }
        if let (Source::Segment(segment), false) = (&self.sources[job.source], open.is_empty()) {
            open = cells(segment, &job.pieces, open, width, &mut buckets, &mut raw)?;
        }
        raw.extend(open.into_iter().map(|at| (at, job.pieces[at].stretch.clone())));
        self.each(job, raw, false, |at, steps, times, values| {
            fold(width, steps, times, values, &mut buckets[at]);
        })?;
        for buckets in &mut buckets {
            settle(buckets);
        }
        Ok(buckets)
    }

    /// Gives `take` the place of each piece of a job with its steps, times and values.
    pub(super) fn read(
        &self,
        job: &Job,
        times: bool,
        take: impl FnMut(usize, &[i64], &[i64], &[f64]),
    ) -> Result<()> {
        let raw = job.pieces.iter().enumerate().map(|(at, piece)| (at, piece.stretch.clone()));
        self.each(job, raw.collect(), times, take)
    }

    fn each(
        &self,
        job: &Job,
        raw: Vec<(usize, Stretch)>,
        times: bool,
        mut take: impl FnMut(usize, &[i64], &[i64], &[f64]),
    ) -> Result<()> {
        if raw.is_empty() {
            return Ok(());
        }
        match &self.sources[job.source] {
            Source::Memory(series) => {
                for (at, Stretch { rows, from, to }) in raw {
                    let Columns { steps, times, values } = &series[job.pieces[at].place];
                    let own = in_memory(rows.start)..in_memory(rows.end);
                    let within = &steps[own.clone()];
                    let first = own.start + within.partition_point(|step| *step < from);
                    let end = own.start + within.partition_point(|step| *step <= to);
                    if first < end {
                        take(at, &steps[first..end], &times[first..end], &values[first..end]);
                    }
                }
                Ok(())
            }
            Source::Segment(segment) => {
                let Some(reader) = PointReader::open(segment)? else {
                    let detail = "it has a side index, and nothing is known of its end";
                    return Err(Error::corrupt(&segment.path, 0, detail));
                };
                let mut raw: Vec<(usize, Stretch)> =
                    raw.into_iter().map(|(at, stretch)| (at, reader.narrow(stretch))).collect();
                raw.sort_by_key(|(_, stretch)| (stretch.rows.start, stretch.rows.end));
                let (pieces, stretches): (Vec<_>, Vec<_>) = raw.into_iter().unzip();
                reader.read(&stretches, times, |at, steps, times, values| {
                    take(pieces[at], steps, times, values);
                })
            }
        }
    }
}

/// A row of what is in memory.
fn in_memory(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// Takes the series of points that are in memory and `shown`: as a source of their own, by series and step.
fn take(
    points: &Points,
    slot: &mut impl FnMut(&SeriesKey) -> usize,
    shown: impl Fn(&SeriesKey) -> Vec<(SeriesKey, i64)>,
    sources: &mut Vec<Source>,
    parts: &mut Vec<Part>,
) {
    let shown: Vec<_> = points.keys.iter().map(shown).collect();
    let mut series: Vec<Columns> = Vec::new();
    series.resize_with(points.keys.len(), Columns::default);
    for (row, &code) in points.series.iter().enumerate() {
        let code = code as usize;
        if !shown[code].is_empty() {
            let columns = &mut series[code];
            columns.steps.push(points.steps[row]);
            columns.times.push(points.times[row]);
            columns.values.push(points.values[row]);
        }
    }
    for (place, (columns, shown)) in series.iter_mut().zip(&shown).enumerate() {
        columns.sort();
        let Columns { steps, times, values } = &*columns;
        let Some(summary) = Summary::of_sorted(steps, times, values) else { continue };
        for (key, to) in shown.iter().filter(|(_, to)| summary.first.0 <= *to) {
            let (slot, source) = (slot(key), sources.len());
            let rows = 0..summary.count;
            parts.push(Part { slot, source, place, rows, summary, from: i64::MIN, to: *to });
        }
    }
    sources.push(Source::Memory(series));
}

impl Columns {
    /// Sorts by step; ties keep their order, which is that of logging.
    fn sort(&mut self) {
        if self.steps.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|&row| self.steps[row]);
        self.pick(&order);
    }

    /// Sorts by step and keeps of each step the latest logged.
    pub(super) fn settle(&mut self) {
        if self.steps.is_sorted_by(|a, b| a < b) {
            return;
        }
        self.sort();
        let next = |row: usize| self.steps.get(row + 1);
        let rows = 0..self.steps.len();
        let last: Vec<usize> = rows.filter(|&row| next(row) != Some(&self.steps[row])).collect();
        self.pick(&last);
    }

    fn pick(&mut self, rows: &[usize]) {
        self.steps = rows.iter().map(|&row| self.steps[row]).collect();
        self.times = rows.iter().map(|&row| self.times[row]).collect();
        self.values = rows.iter().map(|&row| self.values[row]).collect();
    }
}

/// Puts the cells of the pieces `open` into buckets, the coarsest that lie in one bucket each. What the first and the last
/// cell have only in part is added to what has to be read. Returns the pieces that have no such cells.
fn cells(
    segment: &SegmentMeta,
    pieces: &[Piece],
    open: Vec<usize>,
    width: Width,
    buckets: &mut [Buckets],
    raw: &mut Vec<(usize, Stretch)>,
) -> Result<Vec<usize>> {
    let Some(reader) = CellReader::open(segment)? else { return Ok(open) };
    let mut open = open;
    open.sort_by_key(|&at| pieces[at].place);
    for level in (0..reader.levels()).rev() {
        let of = |at: &usize| {
            let Piece { place, stretch, .. } = &pieces[*at];
            CellsOf { series: *place as u64, from: stretch.from, to: stretch.to }
        };
        let wanted: Vec<CellsOf> = open.iter().map(of).collect();
        let mut found: Vec<Option<bool>> = vec![None; open.len()];
        reader.read(level, &wanted, |place, cell| {
            let at = open[place];
            let fits = found[place].get_or_insert(true);
            *fits &= cell.width <= width.cell;
            if *fits {
                put(cell, &pieces[at].stretch, at, width, &mut buckets[at], raw);
            }
        })?;
        let mut left = Vec::new();
        for (place, at) in open.into_iter().enumerate() {
            match found[place] {
                Some(true) => {}
                // Cells of one width and then wider ones: what was taken of them is not used.
                Some(false) => {
                    buckets[at].clear();
                    raw.retain(|(piece, _)| *piece != at);
                    left.push(at);
                }
                None => left.push(at),
            }
        }
        open = left;
        if open.is_empty() {
            break;
        }
    }
    Ok(open)
}

/// Puts one cell into its bucket as far as it is wanted.
fn put(
    cell: Cell,
    stretch: &Stretch,
    at: usize,
    width: Width,
    buckets: &mut Buckets,
    raw: &mut Vec<(usize, Stretch)>,
) {
    let (first, last) = (cell.summary.first.0, cell.summary.last.0);
    let Stretch { from, to, .. } = *stretch;
    if from <= first && last <= to {
        push(buckets, width.number(first), cell.summary);
    } else if first <= to && from <= last {
        let rows = stretch.rows.clone();
        raw.push((at, Stretch { rows, from: from.max(first), to: to.min(last) }));
    }
}

/// Puts points of one series, by step, into buckets.
fn fold(width: Width, steps: &[i64], times: &[i64], values: &[f64], buckets: &mut Buckets) {
    let mut at = 0;
    while let Some(&step) = steps.get(at) {
        let number = width.number(step);
        let last = width.last(number);
        // A bucket has few points where points are read at all; only its last one at an end may have many.
        let near = steps[at..].iter().take(64).take_while(|step| **step <= last).count();
        let end = match near {
            64 => at + steps[at..].partition_point(|step| *step <= last),
            near => at + near,
        };
        let rows = at..end;
        at = end;
        let summary = Summary::of_sorted(&steps[rows.clone()], &times[rows.clone()], &values[rows]);
        if let Some(summary) = summary {
            push(buckets, number, summary);
        }
    }
}

/// Adds to a bucket, which is most often the last or a new one.
fn push(buckets: &mut Buckets, number: u64, summary: Summary) {
    match buckets.last_mut() {
        Some((last, before)) if *last == number => *before = before.merge(summary),
        _ => buckets.push((number, summary)),
    }
}

/// Sorts buckets and merges those of one number. No two of these hold points of one step, so their order says nothing.
fn settle(buckets: &mut Buckets) {
    if buckets.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    buckets.sort_by_key(|(number, _)| *number);
    buckets.dedup_by(|(number, later), (before, summary)| {
        let same = number == before;
        if same {
            *summary = summary.merge(*later);
        }
        same
    });
}
