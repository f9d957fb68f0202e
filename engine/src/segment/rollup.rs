//! Rollups: the long series of a segment once more, at coarser steps.
//!
//! ```text
//! level 2   |             cell               |             cell               |      at least 8 times fewer than below
//! level 1   | cell | cell | cell |  ... cell | cell |  ...                    |      at most one for 128 points
//! points    ................................................................
//!           0      w     2w     3w           8w                             16w     steps
//! ```
//!
//! A cell is the [`Summary`] of all points of a series whose steps lie in `width * n .. width * (n + 1)`. Widths are powers
//! of two, so a cell of one level is a whole number of cells of any other level of any other segment: rollups of several
//! segments merge. Which widths a series has follows from how dense its steps are, as long as its cells are few.
use std::{
    iter::Peekable,
    path::{Path, PathBuf},
    vec,
};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::{
    file::Footer,
    index::Summary,
    reader::{self, Decoder},
    stretch::Opened,
};
use crate::{Error, Result};

/// A series has at most one cell of level 1 for so many points. A cell takes 20 to 50 bytes, so that rollups stay small
/// beside the points.
pub(crate) const POINTS_PER_CELL: u64 = 128;

/// A level has at most one cell for so many of the level below.
const CELLS_PER_CELL: usize = 8;

/// A level with fewer cells than this is left out: the level below it, or the index, is as good.
const LEAST_CELLS: usize = 16;

/// The widest cells: wider ones would have no width in 64 bits.
const MOST_SHIFT: u32 = 62;

/// So many cells of a series may wait for more points before they are merged into wider ones.
const CELLS_WAITING: usize = 4 << 10;

/// One cell: the points of a series in the steps `width * n .. width * (n + 1)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    /// How many steps the cell spans, whether or not they have points; a power of two.
    pub(crate) width: i64,
    /// What its points add up to.
    pub(crate) summary: Summary,
}

impl Cell {
    /// Which of all cells of this width holds `step`; the one from step 0 on is number 0.
    pub(crate) fn number_at(&self, step: i64) -> i64 {
        step.div_euclid(self.width)
    }
}

/// The levels of one series, while its points come.
#[derive(Debug, Default)]
pub(super) struct Pyramid {
    /// The width of the finest cells, as a power of two.
    shift: u32,
    cells: Vec<Summary>,
    points: u64,
}

impl Pyramid {
    /// Adds points of the series, sorted by step and later than those before.
    pub(super) fn push(&mut self, steps: &[i64], times: &[i64], values: &[f64]) {
        if self.points == 0 {
            self.shift = finest(steps);
        }
        self.points += steps.len() as u64;
        let mut from = 0;
        while from < steps.len() {
            let number = steps[from] >> self.shift;
            let cell = steps[from..].partition_point(|&step| step >> self.shift == number);
            let rows = from..from + cell;
            from = rows.end;
            let summary =
                Summary::of_sorted(&steps[rows.clone()], &times[rows.clone()], &values[rows]);
            let Some(summary) = summary else { continue };
            match self.cells.last_mut() {
                Some(last) if last.first.0 >> self.shift == number => *last = last.merge(summary),
                _ => self.cells.push(summary),
            }
            // Points may come thinner than they began.
            while self.cells.len() >= CELLS_WAITING
                && self.cells.len() as u64 > self.points / POINTS_PER_CELL
                && self.shift < MOST_SHIFT
            {
                self.widen();
            }
        }
    }

    fn widen(&mut self) {
        self.shift += 1;
        self.cells = widened(&self.cells, self.shift);
    }

    /// What all points add up to, and the levels, finest first. Leaves nothing, ready for the next series.
    pub(super) fn finish(&mut self) -> Option<(Summary, Vec<Vec<Cell>>)> {
        let summary = self.cells.iter().copied().reduce(Summary::merge)?;
        let most = (self.points / POINTS_PER_CELL) as usize;
        while self.cells.len() > most.max(1) && self.shift < MOST_SHIFT {
            self.widen();
        }
        let mut levels = Vec::new();
        let (mut shift, mut cells) = (self.shift, std::mem::take(&mut self.cells));
        if cells.len() > most {
            cells.clear();
        }
        while cells.len() >= LEAST_CELLS {
            let most = cells.len() / CELLS_PER_CELL;
            let width = 1 << shift;
            levels.push(cells.iter().map(|&summary| Cell { width, summary }).collect());
            while cells.len() > most && shift < MOST_SHIFT {
                shift += 1;
                cells = widened(&cells, shift);
            }
            if cells.len() > most {
                break;
            }
        }
        *self = Self::default();
        Some((summary, levels))
    }
}

/// The cells that these are together when they are `1 << shift` steps wide.
fn widened(cells: &[Summary], shift: u32) -> Vec<Summary> {
    let mut wide: Vec<Summary> = Vec::with_capacity(cells.len() / 2 + 1);
    for &cell in cells {
        match wide.last_mut() {
            Some(last) if last.first.0 >> shift == cell.first.0 >> shift => {
                *last = last.merge(cell);
            }
            _ => wide.push(cell),
        }
    }
    wide
}

/// The width, as a power of two, of the finest cells of which these steps fill no more than there may be.
fn finest(steps: &[i64]) -> u32 {
    // Two steps share a cell of width 1 << shift where all bits from `shift` on are equal. So one look at each neighbour
    // tells for every width how many borders there are.
    let mut borders = [0_u64; 65];
    for pair in steps.windows(2) {
        borders[64 - (pair[0] ^ pair[1]).leading_zeros() as usize] += 1;
    }
    let most = steps.len() as u64 / POINTS_PER_CELL;
    let mut cells = 1 + borders.iter().skip(1).sum::<u64>();
    (0..MOST_SHIFT)
        .find(|&shift| {
            let enough = cells <= most.max(1);
            cells -= borders[shift as usize + 1];
            enough
        })
        .unwrap_or(MOST_SHIFT)
}

/// The rollups of a segment in their file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RollupFile {
    /// The file, absolute.
    pub(super) path: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    /// The checksum of all of it.
    pub(super) crc32c: u32,
    /// Its end.
    pub(super) footer: Footer,
}

impl RollupFile {
    /// The cells of each level, finest first.
    pub(super) fn levels(&self) -> Result<Vec<Cells>> {
        let path = &self.path;
        let opened = Opened::open(path, self.bytes, self.footer, None)?;
        let level = |groups: Vec<usize>| {
            let reader =
                reader::guarded(path, || opened.builder().with_row_groups(groups).build())?;
            let decoder = Decoder { path: path.clone(), reader };
            Ok(Cells {
                decoder: Some(decoder),
                path: path.clone(),
                decoded: Vec::new().into_iter(),
            })
        };
        levels(opened.metadata(), path)?.into_iter().map(level).collect()
    }
}

/// The place of `series` in a file of rollups.
pub(super) const SERIES: usize = 1;
/// The place of `first_step`.
pub(super) const FIRST_STEP: usize = 6;
/// The place of `last_step`.
pub(super) const LAST_STEP: usize = 7;
/// The columns that a chart takes: all but the level, the times and the last finite value.
pub(super) const CHART_COLUMNS: [usize; 14] =
    [SERIES, 2, 3, 4, 5, FIRST_STEP, LAST_STEP, 11, 12, 13, 14, 16, 17, 18];

/// The row groups of each level, finest first. A row group has cells of one level, which its statistics tell.
pub(super) fn levels(metadata: &ArrowReaderMetadata, path: &Path) -> Result<Vec<Vec<usize>>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, group) in metadata.metadata().row_groups().iter().enumerate() {
        let level = group.column(0).statistics().and_then(|it| it.min_bytes_opt());
        let level = level.and_then(|bytes| Some(i64::from_le_bytes(*bytes.first_chunk()?)));
        let known = level.and_then(|level| usize::try_from(level.checked_sub(1)?).ok());
        let Some(level) = known.filter(|&level| level <= MOST_SHIFT as usize) else {
            return Err(Error::corrupt(path, 0, format!("row group {at} is of no level")));
        };
        if groups.len() <= level {
            groups.resize_with(level + 1, Vec::new);
        }
        groups[level].push(at);
    }
    Ok(groups)
}

/// The cells of a batch, each with the place of its series in the index. Of columns that were not decoded nothing is known.
pub(super) fn decode(batch: &RecordBatch, path: &Path) -> Result<Vec<(u64, Cell)>> {
    let series = reader::integers(batch, "series", path)?;
    let widths = reader::integers(batch, "width", path)?;
    let summaries = reader::take_summaries(batch, path)?;
    let cells = summaries.into_iter().enumerate().map(|(row, summary)| {
        let width = widths.value(row);
        if width.count_ones() != 1 || width < 0 {
            let detail = format!("a cell cannot be {width} steps wide");
            return Err(Error::corrupt(path, 0, detail));
        }
        let last = (summary.last.0, summary.last.1);
        let last_finite = if last.1.is_finite() { Some(last) } else { summary.last_finite };
        let summary = Summary { last_finite, ..summary };
        Ok((series.value(row).cast_unsigned(), Cell { width, summary }))
    });
    cells.collect()
}

/// The cells of one level, each with the place of its series in the index, by series and step. Ends after an error.
#[derive(Debug)]
pub(super) struct Cells {
    path: PathBuf,
    decoder: Option<Decoder>,
    decoded: vec::IntoIter<(u64, Cell)>,
}

impl Iterator for Cells {
    type Item = Result<(u64, Cell)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(cell) = self.decoded.next() {
                return Some(Ok(cell));
            }
            let batch = self.decoder.as_mut()?.next();
            let taken = match batch {
                Some(Ok(batch)) => decode(&batch, &self.path),
                Some(Err(error)) => Err(error),
                None => {
                    self.decoder = None;
                    return None;
                }
            };
            match taken {
                Ok(cells) => self.decoded = cells.into_iter(),
                Err(error) => {
                    self.decoder = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The cells of one level, series by series in the order of the index.
#[derive(Debug)]
pub(super) struct Level(Peekable<Cells>);

impl Level {
    pub(super) fn new(cells: Cells) -> Self {
        Self(cells.peekable())
    }

    /// The next cell, if it is of this series.
    pub(super) fn peek(&mut self, series: u64) -> Result<Option<Cell>> {
        match self.0.peek() {
            Some(Ok((of, cell))) => Ok((*of == series).then_some(*cell)),
            Some(Err(_)) => match self.0.next() {
                Some(Err(error)) => Err(error),
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// The next cell, whatever series it is of.
    pub(super) fn next(&mut self) -> Option<Result<(u64, Cell)>> {
        self.0.next()
    }

    /// All cells of this series, where they come next.
    pub(super) fn take(&mut self, series: u64) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        while let Some(cell) = self.peek(series)? {
            cells.push(cell);
            self.0.next();
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::tests::any_value;

    /// A series of `count` points whose steps grow by what `gaps` says, again and again.
    fn series(
        count: usize,
        start: i64,
        gaps: &[i64],
        values: &[f64],
    ) -> (Vec<i64>, Vec<i64>, Vec<f64>) {
        let mut step = start;
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        for (time, at) in (0..).zip(0..count) {
            columns.0.push(step);
            columns.1.push(time);
            columns.2.push(values[at % values.len()]);
            step = step.saturating_add(gaps[at % gaps.len()]);
        }
        columns
    }

    /// Everything but the sum, which depends on the order of adding; NaN by its bits.
    fn text(summary: &Summary) -> String {
        let (first, last) = (summary.first.1.to_bits(), summary.last.1.to_bits());
        format!("{first:x} {last:x} {:?}", Summary { sum: 0.0, ..*summary })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_cell_is_a_recount_of_its_points_and_every_point_is_in_one_cell_of_each_level(
            count in 1..40_000_usize,
            start in prop_oneof![-70_000..70_000_i64, any::<i64>()],
            gaps in proptest::collection::vec(prop_oneof![4 => 0..3_i64, 2 => 1..200_i64, 1 => 0..1_i64 << 40], 1..5),
            values in proptest::collection::vec(any_value(), 1..50),
            cuts in proptest::collection::vec(0..40_000_usize, 0..4),
        ) {
            let (steps, times, values) = series(count, start, &gaps, &values);
            let mut pyramid = Pyramid::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(count)).collect();
            cuts.extend([0, count]);
            cuts.sort_unstable();
            for cut in cuts.windows(2) {
                let rows = cut[0]..cut[1];
                pyramid.push(&steps[rows.clone()], &times[rows.clone()], &values[rows]);
            }
            let (summary, levels) = pyramid.finish().unwrap();
            let points = || steps.iter().zip(&times).zip(&values).map(|((&s, &t), &v)| (s, t, v));
            prop_assert_eq!(text(&summary), text(&Summary::of_points(points()).unwrap()));
            prop_assert!(pyramid.finish().is_none());
            let mut below = (1, count as u64 / POINTS_PER_CELL * CELLS_PER_CELL as u64);
            for cells in &levels {
                let width = cells[0].width;
                prop_assert!(width.count_ones() == 1 && width > below.0 - 1);
                prop_assert!(cells.len() as u64 * CELLS_PER_CELL as u64 <= below.1);
                below = (width + 1, cells.len() as u64);
                let mut expected = std::collections::BTreeMap::<i64, Vec<_>>::new();
                for point in points() {
                    expected.entry(point.0.div_euclid(width)).or_default().push(point);
                }
                prop_assert_eq!(cells.len(), expected.len());
                for (cell, (number, points)) in cells.iter().zip(expected) {
                    prop_assert_eq!((cell.width, cell.number_at(cell.summary.first.0)), (width, number));
                    let recount = Summary::of_points(points.iter().copied()).unwrap();
                    prop_assert_eq!(text(&cell.summary), text(&recount));
                    let finite = points.iter().map(|point| point.2).filter(|value| value.is_finite());
                    let bound = finite.map(f64::abs).sum::<f64>() * points.len() as f64 * f64::EPSILON;
                    let error = (cell.summary.sum - recount.sum).abs();
                    prop_assert!(error <= bound || !bound.is_finite());
                }
            }
        }
    }

    #[test]
    fn a_dense_series_has_a_level_for_each_eightfold_and_a_short_one_none() {
        let widths = |count, gap| -> Vec<(i64, usize)> {
            let (steps, times, values) = series(count, 0, &[gap], &[1.0]);
            let mut pyramid = Pyramid::default();
            pyramid.push(&steps, &times, &values);
            let levels = pyramid.finish().unwrap().1;
            levels.iter().map(|cells| (cells[0].width, cells.len())).collect()
        };
        assert_eq!(widths(1 << 20, 1), [(128, 8192), (1024, 1024), (8192, 128), (65_536, 16)]);
        // Logged every hundred steps, a cell of as many points is as much wider, to the next power of two.
        assert_eq!(widths(1 << 14, 100), [(16_384, 100)]);
        assert_eq!(widths(2047, 1), []);
        assert_eq!(widths(2048, 1), [(128, 16)]);
        assert_eq!(widths(100_000, 0), []);
    }
}
