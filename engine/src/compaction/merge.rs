//! Several segments become few: the rows of all of them, in the one order of segments.
//!
//! Points are merged series by series, as the side indexes list them, and never held in memory: of each input one batch
//! is decoded, of the output one row group. Points of equal series and step keep the order of the inputs, which is the
//! order of their commits, and within an input theirs, which is the order of logging.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _},
    buffer::ScalarBuffer,
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};

use crate::{
    Error, Fact, Result, SegmentMeta, SeriesKey, UNKNOWN_TIME,
    segment::{self, IndexRows, NewSegment, PointsWriter, Scan},
};

/// The level of what is merged.
pub(super) const LEVEL: u8 = 1;

/// Points between two looks whether to go on.
const LOOK_EVERY: u64 = 16 << 10;

/// A file may grow to this many times its full size so that a run stays whole.
const WHOLE_RUN: u64 = 4;

/// Merges the series that `keeps` names of segments of points, of one project and in the order of their commits, into files
/// that end where a run ends once they hold `full_bytes`. `goes_on` is told first, and now and then, how many points are merged; where it says no,
/// the merge is given up and there is nothing.
pub(super) fn points(
    table: &Path,
    inputs: &[Arc<SegmentMeta>],
    full_bytes: u64,
    keeps: &dyn Fn(&SeriesKey) -> bool,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Vec<NewSegment>>> {
    if !goes_on(0) {
        return Ok(None);
    }
    let mut inputs: Vec<Input> =
        inputs.iter().map(|input| Input::open(input, keeps)).collect::<Result<_>>()?;
    // The next series of each input. Of equal series the one of the first input comes first.
    let mut waiting: BinaryHeap<Reverse<(SeriesKey, usize)>> = BinaryHeap::new();
    for (at, input) in inputs.iter_mut().enumerate() {
        waiting.extend(input.next_series(keeps)?.map(|key| Reverse((key, at))));
    }
    let mut finished = Vec::new();
    let mut output: Option<(PointsWriter, Arc<str>)> = None;
    let (mut done, mut looked_at) = (0, 0);
    while let Some(Reverse((key, first))) = waiting.pop() {
        let mut holders = vec![first];
        while let Some(next) = waiting.peek_mut()
            && next.0.0 == key
        {
            holders.push(PeekMut::pop(next).0.1);
        }
        output = match output {
            Some((writer, run_id)) if ends_before(&writer, run_id != key.run_id, full_bytes) => {
                finished.push(writer.finish()?);
                None
            }
            output => output,
        };
        let (writer, run_id) = match &mut output {
            Some(output) => output,
            none => none.insert((PointsWriter::create(table, LEVEL)?, Arc::clone(&key.run_id))),
        };
        run_id.clone_from(&key.run_id);
        while let Some(part) = next_part(&mut inputs, &holders)? {
            writer.push(&key, &part.steps, &part.times, &part.values)?;
            done += part.steps.len() as u64;
            if done - looked_at >= LOOK_EVERY {
                looked_at = done;
                if !goes_on(done) {
                    return Ok(None);
                }
            }
        }
        for at in holders {
            waiting.extend(inputs[at].next_series(keeps)?.map(|key| Reverse((key, at))));
        }
    }
    if let Some((writer, _)) = output {
        finished.push(writer.finish()?);
    }
    Ok(Some(finished))
}

/// Whether the file ends before the next series, which may begin a new run.
fn ends_before(writer: &PointsWriter, is_new_run: bool, full_bytes: u64) -> bool {
    let full = if is_new_run { full_bytes } else { full_bytes.saturating_mul(WHOLE_RUN) };
    writer.bytes() >= full
}

/// The next points of the series that `holders` are at: as many of one input as come before those of all others.
fn next_part(inputs: &mut [Input], holders: &[usize]) -> Result<Option<Part>> {
    let mut least: Option<(i64, usize)> = None;
    let mut second: Option<(i64, usize)> = None;
    for &at in holders {
        let Some(step) = inputs[at].next_step()? else { continue };
        let next = (step, at);
        if least.is_none_or(|least| next < least) {
            (least, second) = (Some(next), least);
        } else if second.is_none_or(|second| next < second) {
            second = Some(next);
        }
    }
    let Some((_, at)) = least else { return Ok(None) };
    Ok(Some(inputs[at].take_before(|step| second.is_none_or(|second| (step, at) < second))))
}

/// Points of one series.
struct Part {
    steps: ScalarBuffer<i64>,
    times: ScalarBuffer<i64>,
    values: ScalarBuffer<f64>,
}

/// A segment that is read series by series.
struct Input {
    segment: Arc<SegmentMeta>,
    /// Its series that are to come.
    index: IndexRows,
    /// Points of the last one that are still to come.
    left: usize,
    scan: Scan,
    /// What was decoded and not yet taken.
    steps: ScalarBuffer<i64>,
    times: ScalarBuffer<i64>,
    values: ScalarBuffer<f64>,
}

impl Input {
    fn open(segment: &Arc<SegmentMeta>, keeps: &dyn Fn(&SeriesKey) -> bool) -> Result<Self> {
        if segment.index.is_none() {
            // Nobody says that its rows are sorted.
            return Err(Error::corrupt(&segment.path, 0, "it has no side index"));
        }
        Ok(Self {
            segment: Arc::clone(segment),
            index: IndexRows::of(segment)?,
            left: 0,
            scan: segment::scan_rows(segment, keeps)?,
            steps: ScalarBuffer::from(Vec::new()),
            times: ScalarBuffer::from(Vec::new()),
            values: ScalarBuffer::from(Vec::new()),
        })
    }

    /// Begins the next series that is kept; all points before were taken.
    fn next_series(&mut self, keeps: &dyn Fn(&SeriesKey) -> bool) -> Result<Option<SeriesKey>> {
        for row in &mut self.index {
            let row = row?;
            if keeps(&row.key) {
                self.left = usize::try_from(row.summary.count).unwrap_or(usize::MAX);
                return Ok(Some(row.key));
            }
        }
        Ok(None)
    }

    /// The step of the next point of the series; decodes more where that is needed.
    fn next_step(&mut self) -> Result<Option<i64>> {
        if self.left == 0 {
            return Ok(None);
        }
        while self.steps.is_empty() {
            let Some(batch) = self.scan.next() else {
                return Err(Error::corrupt(&self.segment.path, 0, "it ends before its index does"));
            };
            let batch = batch?;
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            self.steps = batch.column(0).as_primitive::<Int64Type>().values().clone();
            self.times = match times.null_count() {
                0 => times.values().clone(),
                _ => times.iter().map(|time| time.unwrap_or(UNKNOWN_TIME)).collect(),
            };
            self.values = batch.column(2).as_primitive::<Float64Type>().values().clone();
        }
        Ok(self.steps.first().copied())
    }

    /// Takes the points of the series up to the first one that does not come `before` others, as far as they are
    /// decoded.
    fn take_before(&mut self, before: impl Fn(i64) -> bool) -> Part {
        let decoded = &self.steps[..self.left.min(self.steps.len())];
        let count = decoded.partition_point(|&step| before(step));
        let part = Part {
            steps: self.steps.slice(0, count),
            times: self.times.slice(0, count),
            values: self.values.slice(0, count),
        };
        let rest = self.steps.len() - count;
        self.steps = self.steps.slice(count, rest);
        self.times = self.times.slice(count, rest);
        self.values = self.values.slice(count, rest);
        self.left -= count;
        part
    }
}

/// Merges the facts that `keeps` names of segments of one project, all of them in memory: facts are few.
pub(super) fn facts(
    table: &Path,
    inputs: &[Arc<SegmentMeta>],
    keeps: &dyn Fn(&Fact) -> bool,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Vec<NewSegment>>> {
    let (mut facts, mut read_facts) = (Vec::new(), 0);
    for input in inputs {
        let read = segment::read_facts(input)?;
        if read.len() as u64 != input.rows {
            let detail =
                format!("{} facts can be read, the catalog says {}", read.len(), input.rows);
            return Err(Error::corrupt(&input.path, 0, detail));
        }
        read_facts += read.len() as u64;
        facts.extend(read.into_iter().filter(keeps));
        if !goes_on(read_facts) {
            return Ok(None);
        }
    }
    if facts.is_empty() {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(vec![segment::write_facts(table, &facts, LEVEL)?]))
}
