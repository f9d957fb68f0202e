//! Reads parts of series: the points in some steps, and the cells of a rollup that lie in them.
//!
//! The rows of a series stand together, by step, so that a part of it is a range of rows. The page indexes tell which
//! pages hold it, and no other page is read.
#![expect(
    clippy::cast_possible_truncation,
    reason = "what is in memory and in a file of ours is counted in 64 bits"
)]

use std::{ops::Range, path::Path};

use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
        },
    },
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
        page_index::column_index::ColumnIndexMetaData,
    },
};

use super::{
    SegmentMeta,
    file::Footer,
    page::PageReader,
    reader::{self, Decoder, ReadAt},
    rollup::{self, Cell, RollupFile},
    schema::{BATCH_ROWS, STEP, TIME, VALUE},
};
use crate::{Error, Result, UNKNOWN_TIME};

/// Points of one series of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Rows of the series among which they are.
    pub(crate) rows: Range<u64>,
    /// The least of their steps.
    pub(crate) from: i64,
    /// The greatest of their steps.
    pub(crate) to: i64,
}

/// A file of ours with what its end says of it.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    file: ReadAt,
    metadata: ArrowReaderMetadata,
}

impl Opened {
    /// A longer end of a file is parsed again each time, so that what is kept stays small beside what queries use.
    pub(super) const MOST_BYTES: u64 = 4 << 20;

    /// Opens the file, of which `known` is kept from an earlier time.
    pub(super) fn open(
        path: &Path,
        bytes: u64,
        footer: Footer,
        known: Option<ArrowReaderMetadata>,
    ) -> Result<Self> {
        let file = ReadAt::open(path)?;
        if let Some(metadata) = known {
            return Ok(Self { file, metadata });
        }
        let footer = reader::checked_footer(&file, bytes, footer)?;
        let metadata = reader::guarded(path, || {
            let mut metadata =
                ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            metadata.try_parse_sized(&footer, bytes)?;
            ArrowReaderMetadata::try_new(metadata.finish()?.into(), ArrowReaderOptions::new())
        })?;
        Ok(Self { file, metadata })
    }

    /// Opens the points of a segment. None where somebody else wrote it.
    pub(super) fn points(segment: &SegmentMeta) -> Result<Option<Self>> {
        let Some(footer) = segment.footer else { return Ok(None) };
        let opened = Self::open(&segment.path, segment.bytes, footer, segment.opened.get())?;
        if footer.bytes <= Self::MOST_BYTES {
            segment.opened.set(opened.metadata());
        }
        Ok(Some(opened))
    }

    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of the file.
    pub(super) fn get(&self, offset: u64, bytes: u64) -> Result<Bytes> {
        self.file.get(offset, bytes)
    }

    /// What is wrong with the file, and where.
    pub(super) fn corrupt(&self, offset: u64, detail: impl Into<String>) -> Error {
        Error::corrupt(self.path(), offset, detail)
    }

    pub(super) fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    /// Reads all of it, unless it is told otherwise.
    pub(super) fn builder(&self) -> ParquetRecordBatchReaderBuilder<ReadAt> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
            .with_batch_size(BATCH_ROWS.min(8 << 10))
    }

    /// Decodes `columns` of `rows`, ascending and apart.
    fn decode(&self, path: &Path, rows: &[Range<u64>], columns: &[usize]) -> Result<Decoder> {
        let mut groups = Vec::new();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        // Rows of the groups before, of those that are read, and the first range that may reach into the group.
        let (mut first, mut taken, mut next) = (0, 0, 0);
        for (at, group) in self.groups().iter().enumerate() {
            let end = first + group.num_rows().cast_unsigned();
            let before = ranges.len();
            for range in &rows[next..] {
                let (start, stop) = (range.start.max(first), range.end.min(end));
                if start >= end {
                    break;
                }
                if start < stop {
                    let place = |row: u64| (row - first + taken) as usize;
                    ranges.push(place(start)..place(stop));
                }
                if range.end > end {
                    break;
                }
                next += 1;
            }
            if ranges.len() > before {
                groups.push(at);
                taken += end - first;
            }
            first = end;
        }
        let reader = reader::guarded(path, || {
            let builder = self.builder();
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            builder
                .with_batch_size(BATCH_ROWS)
                .with_row_groups(groups)
                .with_projection(mask)
                .with_row_selection(RowSelection::from_consecutive_ranges(
                    ranges.into_iter(),
                    taken as usize,
                ))
                .build()
        })?;
        Ok(Decoder { path: path.to_owned(), reader })
    }
}

/// The least and the greatest value of each page of a column of integers, with the row of the group at which it starts.
/// Nothing where the file says nothing of its pages.
pub(super) fn pages(
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
) -> Vec<(u64, Option<(i64, i64)>)> {
    let locations = metadata.offset_index().and_then(|index| index.get(group)?.get(column));
    let bounds = metadata.column_index().and_then(|index| index.get(group)?.get(column));
    let Some(locations) = locations else { return Vec::new() };
    let bound = |page: usize| match bounds {
        Some(ColumnIndexMetaData::INT64(index)) if (page as u64) < index.num_pages() => {
            Some((*index.min_value(page)?, *index.max_value(page)?))
        }
        _ => None,
    };
    let starts = locations.page_locations().iter().map(|page| page.first_row_index);
    starts.enumerate().map(|(page, start)| (start.cast_unsigned(), bound(page))).collect()
}

/// The points of a segment of ours.
#[derive(Debug)]
pub(crate) struct PointReader {
    opened: Opened,
}

impl PointReader {
    /// Opens the segment. None where somebody else wrote it.
    pub(crate) fn open(segment: &SegmentMeta) -> Result<Option<Self>> {
        Ok(Opened::points(segment)?.map(|opened| Self { opened }))
    }

    /// The same stretch with fewer rows, where whole pages at its ends lie outside of its steps.
    pub(crate) fn narrow(&self, stretch: Stretch) -> Stretch {
        let Stretch { mut rows, from, to } = stretch;
        let (whole, mut first) = (rows.clone(), 0);
        for (at, group) in self.opened.groups().iter().enumerate() {
            let end = first + group.num_rows().cast_unsigned();
            if whole.start < end && first < whole.end {
                let pages = pages(self.opened.metadata.metadata(), at, STEP);
                for (page, (start, bounds)) in pages.iter().enumerate() {
                    let start = first + start;
                    let stop = pages.get(page + 1).map_or(end, |(start, _)| first + start);
                    // The bounds of a page that the series shares with others are not its own.
                    let own = whole.start <= start && stop <= whole.end;
                    let Some((least, greatest)) = bounds.filter(|_| own) else { continue };
                    if greatest < from {
                        rows.start = rows.start.max(stop);
                    } else if least > to {
                        rows.end = rows.end.min(start);
                    }
                }
            }
            first = end;
        }
        rows.end = rows.end.max(rows.start);
        Stretch { rows, from, to }
    }

    /// Reads `stretches`, by their rows, and gives `take` the place of each there with its steps, times and values, by
    /// step, ties in the order of logging. Without `times` all are unknown.
    pub(crate) fn read(
        &self,
        stretches: &[Stretch],
        times: bool,
        mut take: impl FnMut(usize, &[i64], &[i64], &[f64]),
    ) -> Result<()> {
        let mut step_pages = PageReader::new(&self.opened, STEP, None)?;
        let mut value_pages = PageReader::new(&self.opened, VALUE, None)?;
        let mut time_pages = if times {
            Some(PageReader::new(&self.opened, TIME, Some(UNKNOWN_TIME))?)
        } else {
            None
        };
        let (mut steps, mut known, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Stretch { rows, from, to }) in stretches.iter().enumerate() {
            steps.clear();
            step_pages.read(rows.clone(), &mut steps)?;
            let first = steps.partition_point(|step| step < from);
            let end = steps.partition_point(|step| step <= to);
            // Steps that are not in order are corrupt, and their places mean nothing.
            if first >= end {
                continue;
            }
            let within = rows.start + first as u64..rows.start + end as u64;
            values.clear();
            value_pages.read(within.clone(), &mut values)?;
            if let Some(time_pages) = &mut time_pages {
                known.clear();
                time_pages.read(within, &mut known)?;
            } else if known.len() < values.len() {
                known.resize(values.len(), UNKNOWN_TIME);
            }
            take(at, &steps[first..end], &known[..values.len()], &values);
        }
        Ok(())
    }
}

/// The cells of a series that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellsOf {
    /// The place of the series in the index.
    pub(crate) series: u64,
    /// Cells that end before this step are not wanted.
    pub(crate) from: i64,
    /// Cells that start after this step are not wanted.
    pub(crate) to: i64,
}

/// The rollups of a segment of ours.
#[derive(Debug)]
pub(crate) struct CellReader<'a> {
    path: &'a Path,
    opened: Opened,
    /// The row groups of each level, finest first.
    levels: Vec<Vec<usize>>,
}

impl<'a> CellReader<'a> {
    /// Opens the rollups; none where the segment has none.
    pub(crate) fn open(segment: &'a SegmentMeta) -> Result<Option<Self>> {
        let Some(RollupFile { path, bytes, footer, .. }) = &segment.rollup else { return Ok(None) };
        let opened = Opened::open(path, *bytes, *footer, segment.opened_rollup.get())?;
        if footer.bytes <= Opened::MOST_BYTES {
            segment.opened_rollup.set(opened.metadata());
        }
        let levels = rollup::levels(opened.metadata(), path)?;
        Ok(Some(Self { path, opened, levels }))
    }

    /// How many levels there are.
    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Reads the cells of a level, the finest of which is 0, of each of `wanted`, by series, and gives `take` the place of
    /// the series there with each cell, by step. More cells than wanted may come.
    pub(crate) fn read(
        &self,
        level: usize,
        wanted: &[CellsOf],
        mut take: impl FnMut(usize, Cell),
    ) -> Result<()> {
        let ranges = self.rows(level, wanted);
        if ranges.is_empty() {
            return Ok(());
        }
        for batch in self.opened.decode(self.path, &ranges, &rollup::CHART_COLUMNS)? {
            for (series, cell) in rollup::decode(&batch?, self.path)? {
                if let Ok(at) = wanted.binary_search_by_key(&series, |wanted| wanted.series) {
                    take(at, cell);
                }
            }
        }
        Ok(())
    }

    /// The rows of a level in the pages that may hold wanted cells.
    fn rows(&self, level: usize, wanted: &[CellsOf]) -> Vec<Range<u64>> {
        let metadata = self.opened.metadata.metadata();
        let mut starts = Vec::with_capacity(self.opened.groups().len());
        let mut rows = 0;
        for group in self.opened.groups() {
            starts.push(rows);
            rows += group.num_rows().cast_unsigned();
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &group in self.levels.get(level).into_iter().flatten() {
            let end = self.opened.groups()[group].num_rows().cast_unsigned();
            let series = pages(metadata, group, rollup::SERIES);
            let firsts = pages(metadata, group, rollup::FIRST_STEP);
            let lasts = pages(metadata, group, rollup::LAST_STEP);
            if series.is_empty() {
                // Nothing is said of its pages.
                ranges.push(starts[group]..starts[group] + end);
            }
            for (page, &(start, bounds)) in series.iter().enumerate() {
                let stop = series.get(page + 1).map_or(end, |(start, _)| *start);
                let holds = bounds.is_none_or(|(least, greatest)| {
                    let (least, greatest) = (least.cast_unsigned(), greatest.cast_unsigned());
                    let from = wanted.partition_point(|wanted| wanted.series < least);
                    let to = wanted.partition_point(|wanted| wanted.series <= greatest);
                    // Of a page of one series the steps are known as well, where columns are cut alike.
                    let alike = |pages: &[(u64, Option<(i64, i64)>)]| {
                        let same = |at: usize| pages.get(at).map(|page| page.0);
                        let alike = same(page) == Some(start)
                            && same(page + 1) == series.get(page + 1).map(|page| page.0);
                        pages.get(page).filter(|_| alike)?.1
                    };
                    let steps = alike(&firsts).zip(alike(&lasts)).filter(|_| least == greatest);
                    let steps = steps.map(|((first, _), (_, last))| (first, last));
                    wanted[from..to].iter().any(|wanted| {
                        steps.is_none_or(|(first, last)| first <= wanted.to && last >= wanted.from)
                    })
                });
                if !holds {
                    continue;
                }
                let rows = starts[group] + start..starts[group] + stop;
                match ranges.last_mut() {
                    Some(last) if last.end == rows.start => last.end = rows.end,
                    _ => ranges.push(rows),
                }
            }
        }
        // Groups of different levels come in any order, those of one in that of the file.
        ranges.sort_unstable_by_key(|rows| rows.start);
        ranges
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_sign_loss, reason = "shares are from 0 to 1")]
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Points, SeriesIndex, SortedPoints, disk,
        segment::index::Kept,
        segment::tests::{any_points, any_value, key_of, segment_of},
    };

    /// A point by its bits.
    type Point = (i64, i64, u64);

    /// What `stretches` of the segment give, one after the other.
    fn read(segment: &SegmentMeta, stretches: &[Stretch], times: bool) -> Result<Vec<Vec<Point>>> {
        let mut points = vec![Vec::new(); stretches.len()];
        let reader = PointReader::open(segment)?.expect("the file is ours");
        reader.read(stretches, times, |at, steps, times, values| {
            let rows = steps.iter().zip(times).zip(values);
            points[at].extend(rows.map(|((step, time), value)| (*step, *time, value.to_bits())));
        })?;
        Ok(points)
    }

    fn points_of(sorted: &SortedPoints, stretch: &Stretch) -> Vec<Point> {
        let rows = stretch.rows.start as usize..stretch.rows.end as usize;
        rows.filter(|row| (stretch.from..=stretch.to).contains(&sorted.steps[*row]))
            .map(|row| (sorted.steps[row], sorted.times[row], sorted.values[row].to_bits()))
            .collect()
    }

    /// Of each series the steps of one share of it to another.
    fn stretches(sorted: &SortedPoints, shares: &[(f64, f64)]) -> Vec<Stretch> {
        let series = sorted.series.iter().zip(shares.iter().cycle());
        series
            .map(|(series, (a, b))| {
                let step = |share: f64| {
                    let last = (series.rows.len() - 1) as f64;
                    sorted.steps[series.rows.start + (last * share) as usize]
                };
                let rows = series.rows.start as u64..series.rows.end as u64;
                Stretch { rows, from: step(a.min(*b)), to: step(a.max(*b)) }
            })
            .collect()
    }

    fn shares() -> impl Strategy<Value = Vec<(f64, f64)>> {
        proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..8)
    }

    /// Some series: a few long, with gaps in their steps and unknown times, some short, some of few different values.
    fn long_and_short() -> impl Strategy<Value = SortedPoints> {
        let length = prop_oneof![1..300_usize, 5_000..40_000_usize];
        let values = prop_oneof![
            proptest::collection::vec(any_value(), 1..4),
            proptest::collection::vec(any::<f64>(), 100..101),
            (1..3_i32).prop_map(|seed| (0..40_000)
                .map(|row| f64::from((row * seed) as f32).sin())
                .collect()),
        ];
        let gaps = proptest::collection::vec(0..4_i64, 1..4);
        let series = (length, values, gaps, 1..5_usize);
        proptest::collection::vec(series, 1..6).prop_map(|all| {
            let (mut points, mut index) = (Points::default(), SeriesIndex::default());
            for (at, (length, values, gaps, known)) in all.into_iter().enumerate() {
                let series =
                    index.intern(&mut points, key_of(&format!("r{at}"), "loss", None, "one"));
                let mut step = 0;
                for row in 0..length {
                    let time = if row % known == 0 { step * 7 } else { UNKNOWN_TIME };
                    points.push(series, step, time, values[row % values.len()]);
                    step += gaps[row % gaps.len()];
                }
            }
            points.sort()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_steps_of_any_series_are_read_bit_for_bit(
            sorted in prop_oneof![long_and_short(), any_points(300).prop_map(Points::sort)],
            shares in shares(),
        ) {
            let table = tempfile::tempdir().unwrap();
            let segment = segment_of(table.path(), &sorted, 1);
            let stretches = stretches(&sorted, &shares);
            let expected: Vec<_> = stretches.iter().map(|it| points_of(&sorted, it)).collect();
            prop_assert_eq!(&read(&segment, &stretches, true).unwrap(), &expected);
            let unknown = |points: Vec<Point>| {
                points.into_iter().map(|(step, _, value)| (step, UNKNOWN_TIME, value)).collect::<Vec<_>>()
            };
            let expected: Vec<_> = expected.into_iter().map(unknown).collect();
            prop_assert_eq!(read(&segment, &stretches, false).unwrap(), expected);
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_changes_nothing() {
        let table = tempfile::tempdir().unwrap();
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        for (run, values) in [("a", 7), ("b", 1 << 20)] {
            let series = index.intern(&mut points, key_of(run, "loss", None, "one"));
            for step in 0..600 {
                points.push(series, step * step, step, f64::from((step * 7919 % values) as f32));
            }
        }
        let sorted = points.sort();
        let segment = segment_of(table.path(), &sorted, 0);
        let stretches = stretches(&sorted, &[(0.0, 1.0), (0.3, 0.6)]);
        let expected = read(&segment, &stretches, true).unwrap();
        let bytes = disk::read(&segment.path).unwrap();
        // Each byte is hit, and each of its bits in one or another.
        for bit in (0..bytes.len() * 8).step_by(5) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk::write_over(&segment.path, &flipped).unwrap();
            let fresh = SegmentMeta { opened: Kept::default(), ..segment.clone() };
            if let Ok(points) = read(&fresh, &stretches, true) {
                assert!(points == expected, "bit {bit}");
            }
        }
    }
}
