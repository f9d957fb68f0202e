//! Reads a whole segment and compares everything that is said of it with what it holds.
//!
//! Checksums tell whether bytes are those that were written. This tells whether what was written is right: the order of
//! rows, the side index, the rollups, and the bounds in the catalog, each against a recount of the points.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};

use super::{
    SegmentMeta,
    index::{IndexRow, Summary},
    reader::IndexRows,
    reader::{self, Id, Scan},
    rollup::Level,
    schema::{IDS, STEP, TIME, VALUE},
};
use crate::{Error, Filter, Result, SeriesKey, UNKNOWN_TIME};

/// One wrong row makes all that follow wrong: the first few tell.
const MOST_SAID: usize = 10;

impl SegmentMeta {
    /// Compares everything that is said of a segment of points, by its checksums, its side index, its rollups and the
    /// catalog, with a recount of its points. Returns what is wrong, one line each; an error where it cannot be read.
    /// `watch` is told now and then how many rows were read.
    ///
    /// Nothing is said of a file that somebody else wrote, and so nothing can be wrong but that it cannot be read.
    pub fn verify_points(&self, watch: &mut dyn FnMut(u64)) -> Result<Vec<String>> {
        self.check()?;
        self.check_footer()?;
        if self.is_expired() {
            return self.verify_expired();
        }
        let mut recount = Recount::begin(self)?;
        let mut rows = 0;
        for batch in Scan::any(self, &Filter::default())? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            recount.take(&batch)?;
            watch(rows);
        }
        recount.finish()
    }

    /// The same of a segment whose points have expired: that there are none, and that the cells of each level of a series add up
    /// to what its index says.
    fn verify_expired(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let rows = reader::count_rows(self)?;
        if rows > 0 {
            wrong.push(format!("{}: its points have expired, and {rows} are there", self.name));
        }
        let levels = match &self.rollup {
            Some(rollup) => rollup.levels()?,
            None => Vec::new(),
        };
        let mut levels: Vec<Level> = levels.into_iter().map(Level::new).collect();
        let mut expired_rows = 0;
        for (at, row) in (0..).zip(IndexRows::of(self)?) {
            let IndexRow { key, summary, .. } = row?;
            expired_rows += summary.count;
            for (number, level) in (1..).zip(&mut levels) {
                let cells = level.take(at)?.into_iter().map(|cell| cell.summary);
                if let Some(sum) = cells.reduce(Summary::merge)
                    && !summary.agrees_with(&sum)
                {
                    let (name, key) = (&self.name, named(&key));
                    wrong.push(format!(
                        "{name}: the index says {summary:?} of series {key}, its rollups of level {number} {sum:?}"
                    ));
                }
            }
        }
        for (number, level) in (1..).zip(&mut levels) {
            if let Some(cell) = level.next() {
                let (series, _) = cell?;
                wrong.push(format!(
                    "{}: level {number} has cells of series {series}, which is not there",
                    self.name
                ));
            }
        }
        if expired_rows != self.expired_rows {
            let (name, said) = (&self.name, self.expired_rows);
            wrong.push(format!(
                "{name}: {expired_rows} points have expired by its index, the catalog says {said}"
            ));
        }
        wrong.truncate(MOST_SAID);
        Ok(wrong)
    }

    /// The same of a file of a folded table: checksums and the number of rows.
    pub fn verify_rows(&self) -> Result<Vec<String>> {
        self.check()?;
        self.check_footer()?;
        let read = reader::count_rows(self)?;
        Ok(if read == self.rows {
            Vec::new()
        } else {
            vec![format!("{}: it holds {read} rows, the catalog says {}", self.name, self.rows)]
        })
    }

    /// The same of a segment of facts: checksums and the number of rows.
    pub fn verify_facts(&self) -> Result<Vec<String>> {
        self.check()?;
        self.check_footer()?;
        let read = reader::read_facts(self)?.len() as u64;
        // Of a file that somebody else wrote, rows that say nothing of a run are left out.
        Ok(if self.crc32c.is_none() || read == self.rows {
            Vec::new()
        } else {
            vec![format!("{}: it holds {read} facts, the catalog says {}", self.name, self.rows)]
        })
    }
}

/// What of a segment was seen so far.
struct Recount<'a> {
    segment: &'a SegmentMeta,
    /// What the side index says, where there is one.
    index: Option<Arc<[IndexRow]>>,
    /// Series that have ended.
    ended: usize,
    /// The series that is being read.
    series: Option<(SeriesKey, Summary)>,
    levels: Vec<Recounted>,
    rows: u64,
    nan_count: u64,
    steps: Option<Range<i64>>,
    wrong: Vec<String>,
}

/// One level of rollups beside the points that it is about.
struct Recounted {
    level: Level,
    /// The points of the cell that is being read.
    recount: Option<Summary>,
}

impl<'a> Recount<'a> {
    fn begin(segment: &'a SegmentMeta) -> Result<Self> {
        let index = match &segment.index {
            Some(_) => Some(reader::read_index(segment)?),
            None => None,
        };
        let levels = match &segment.rollup {
            Some(rollup) => rollup.levels()?,
            None => Vec::new(),
        };
        let levels =
            levels.into_iter().map(|cells| Recounted { level: Level::new(cells), recount: None });
        Ok(Self {
            segment,
            index,
            ended: 0,
            series: None,
            levels: levels.collect(),
            rows: 0,
            nan_count: 0,
            steps: None,
            wrong: Vec::new(),
        })
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        if self.wrong.len() < MOST_SAID {
            self.wrong.push(format!("{}: {what}", self.segment.name));
        }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let ids: [Id<'_>; IDS] = std::array::from_fn(|column| Id::of(batch.column(column)));
        let steps = batch.column(STEP).as_primitive::<Int64Type>();
        let times = batch.column(TIME).as_primitive::<TimestampMicrosecondType>();
        let values = batch.column(VALUE).as_primitive::<Float64Type>();
        self.rows += batch.num_rows() as u64;
        if self.index.is_none() {
            return Ok(());
        }
        let nulls = |column: &dyn arrow::array::Array| column.null_count() > 0;
        if nulls(steps)
            || nulls(values)
            || ids.iter().enumerate().any(|(at, id)| at != 3 && nulls(id.codes))
        {
            return Err(Error::corrupt(
                &self.segment.path,
                0,
                "a point lacks a name, a step or a value",
            ));
        }
        let times: Vec<i64> = times.iter().map(|time| time.unwrap_or(UNKNOWN_TIME)).collect();
        let codes = |row: usize| -> [Option<usize>; IDS] {
            std::array::from_fn(|column| ids[column].code(row))
        };
        let mut from = 0;
        while from < batch.num_rows() {
            let same = codes(from);
            let rows = from..(from + 1..batch.num_rows())
                .find(|&row| codes(row) != same)
                .unwrap_or_else(|| batch.num_rows());
            from = rows.end;
            let Some(key) = key_at(batch, rows.start) else { continue };
            self.points(
                key,
                &steps.values()[rows.clone()],
                &times[rows.clone()],
                &values.values()[rows],
            )?;
        }
        Ok(())
    }

    /// Points of one series, which may go on.
    fn points(
        &mut self,
        key: SeriesKey,
        steps: &[i64],
        times: &[i64],
        values: &[f64],
    ) -> Result<()> {
        let before = match &self.series {
            Some((series, summary)) if *series == key => Some(summary.last.0),
            _ => None,
        };
        if before.is_none() {
            if self.series.as_ref().is_some_and(|(last, _)| *last > key) {
                self.say(format_args!("series {} comes after a later one", named(&key)));
            }
            self.end_series()?;
        }
        if !steps.is_sorted()
            || before.is_some_and(|last| steps.first().is_some_and(|&step| step < last))
        {
            self.say(format_args!("the steps of series {} are not sorted", named(&key)));
        }
        let points = || steps.iter().zip(times).zip(values).map(|((&s, &t), &v)| (s, t, v));
        let Some(summary) = Summary::of_points(points()) else { return Ok(()) };
        self.series = Some(match self.series.take() {
            Some((_, earlier)) => (key, earlier.merge(summary)),
            None => (key, summary),
        });
        for level in 0..self.levels.len() {
            for (step, time, value) in points() {
                self.climb(level, step, time, value)?;
            }
        }
        Ok(())
    }

    /// Adds a point to the cell of this level in which it lies, where the series has cells.
    fn climb(&mut self, level: usize, step: i64, time: i64, value: f64) -> Result<()> {
        let series = self.ended as u64;
        let Some(cell) = self.levels[level].level.peek(series)? else { return Ok(()) };
        let mut recount = self.levels[level].recount;
        if recount.is_some_and(|recount| cell.number_at(step) != cell.number_at(recount.first.0)) {
            self.end_cell(level)?;
            recount = None;
            if self.levels[level].level.peek(series)?.is_none() {
                self.say(format_args!(
                    "level {} has no cell for step {step} of a series that it has",
                    level + 1
                ));
                return Ok(());
            }
        }
        self.levels[level].recount = Some(match recount {
            None => Summary::of(step, time, value),
            Some(mut recount) => {
                recount.push(step, time, value);
                recount
            }
        });
        Ok(())
    }

    fn end_cell(&mut self, level: usize) -> Result<()> {
        let Some(recount) = self.levels[level].recount.take() else { return Ok(()) };
        let Some(cell) = self.levels[level].level.peek(self.ended as u64)? else { return Ok(()) };
        self.levels[level].level.next();
        if !cell.summary.agrees_with(&recount) {
            let (level, step) = (level + 1, recount.first.0);
            let series = self.ended;
            self.say(format_args!(
                "the rollup at step {step} of its series {series}, level {level}, says {:?}, its points {recount:?}",
                cell.summary
            ));
        }
        Ok(())
    }

    fn end_series(&mut self) -> Result<()> {
        let Some((key, summary)) = self.series.take() else { return Ok(()) };
        for level in 0..self.levels.len() {
            self.end_cell(level)?;
            if self.levels[level].level.peek(self.ended as u64)?.is_some() {
                self.say(format_args!(
                    "level {} has more cells of series {} than it has points",
                    level + 1,
                    named(&key)
                ));
                while self.levels[level].level.peek(self.ended as u64)?.is_some() {
                    self.levels[level].level.next();
                }
            }
        }
        self.nan_count += summary.nan_count;
        let seen = summary.first.0..summary.last.0;
        self.steps = Some(match self.steps.take() {
            Some(steps) => steps.start.min(seen.start)..steps.end.max(seen.end),
            None => seen,
        });
        let row = self.index.as_ref().and_then(|index| index.get(self.ended).cloned());
        match row {
            Some(row) if row.key != key => {
                let (key, row) = (named(&key), named(&row.key));
                self.say(format_args!("series {key} is {row} in the index"));
            }
            Some(row) if !row.summary.agrees_with(&summary) => self.say(format_args!(
                "the index says {:?} of series {}, its points {summary:?}",
                row.summary,
                named(&key)
            )),
            Some(_) => {}
            None => self.say(format_args!("the index does not know series {}", named(&key))),
        }
        self.ended += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>> {
        self.end_series()?;
        let segment = self.segment;
        if let Some(index) = &self.index {
            let missing = index.len().saturating_sub(self.ended);
            if missing > 0 {
                self.say(format_args!("the index knows {missing} series that have no points"));
            }
            for level in 0..self.levels.len() {
                if let Some(cell) = self.levels[level].level.next() {
                    let (series, _) = cell?;
                    self.say(format_args!(
                        "level {} has cells of series {series}, which is not there",
                        level + 1
                    ));
                }
            }
            if let (Some(seen), Some((least, greatest))) = (self.steps.clone(), segment.step_bounds)
                && (seen.start < least || seen.end > greatest)
            {
                self.say(format_args!(
                    "its steps are {} to {}, the catalog says {least} to {greatest}",
                    seen.start, seen.end
                ));
            }
        }
        if self.rows != segment.rows && segment.crc32c.is_some() {
            let rows = self.rows;
            self.say(format_args!("it holds {rows} points, the catalog says {}", segment.rows));
        }
        Ok(self.wrong)
    }
}

fn key_at(batch: &RecordBatch, row: usize) -> Option<SeriesKey> {
    let name = |column: usize| {
        let column: &ArrayRef = batch.column(column);
        let id = Id::of(column);
        id.code(row).map(|code| Arc::<str>::from(id.names.value(code)))
    };
    let (project, run_id, metric, launch) = (name(0)?, name(1)?, name(2)?, name(4)?);
    Some(SeriesKey { project, run_id, metric, labels: name(3), launch })
}

fn named(key: &SeriesKey) -> String {
    match &key.labels {
        Some(labels) => format!("{}/{} {} {labels}", key.project, key.run_id, key.metric),
        None => format!("{}/{} {}", key.project, key.run_id, key.metric),
    }
}
