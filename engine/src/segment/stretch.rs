//! Reads parts of series: the points in some steps, and the cells of a rollup that lie in them.
//!
//! The rows of a series stand together, by step, so that a part of it is a range of rows. The page indexes tell which
//! pages hold it, and no other page is read.
#![expect(
    clippy::cast_possible_truncation,
    reason = "what is in memory and in a file of ours is counted in 64 bits"
)]

use std::{ops::Range, path::Path};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
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
    reader::{self, Decoder, ReadAt, as_column},
    rollup::{self, Cell, RollupFile},
    schema::{self, BATCH_ROWS, STEP, TIME, VALUE},
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

    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    fn groups(&self) -> &[RowGroupMetaData] {
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
fn pages(
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
pub(crate) struct PointReader<'a> {
    path: &'a Path,
    opened: Opened,
}

impl<'a> PointReader<'a> {
    /// Opens the segment. None where somebody else wrote it.
    pub(crate) fn open(segment: &'a SegmentMeta) -> Result<Option<Self>> {
        let (Some(footer), path) = (segment.footer, &*segment.path) else { return Ok(None) };
        let opened = Opened::open(path, segment.bytes, footer, segment.opened.get())?;
        if footer.bytes <= Opened::MOST_BYTES {
            segment.opened.set(opened.metadata());
        }
        Ok(Some(Self { path, opened }))
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
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for Stretch { rows, .. } in stretches.iter().filter(|it| !it.rows.is_empty()) {
            match ranges.last_mut() {
                Some(last) if rows.start <= last.end => last.end = last.end.max(rows.end),
                _ => ranges.push(rows.clone()),
            }
        }
        if ranges.is_empty() {
            return Ok(());
        }
        let rows: u64 = ranges.iter().map(|rows| rows.end - rows.start).sum();
        let (mut steps, mut values) =
            (Vec::with_capacity(rows as usize), Vec::with_capacity(rows as usize));
        let mut known = Vec::new();
        let columns: &[usize] = if times { &[STEP, TIME, VALUE] } else { &[STEP, VALUE] };
        for batch in self.opened.decode(self.path, &ranges, columns)? {
            let batch = batch?;
            let column = |at: usize| {
                let field = schema::points();
                let field = field.field(at);
                as_column(&batch, field.name(), field.data_type(), self.path)
            };
            let (step, value) = (column(STEP)?, column(VALUE)?);
            if step.null_count() + value.null_count() > 0 {
                let detail = "a point lacks a step or a value";
                return Err(Error::corrupt(self.path, 0, detail));
            }
            steps.extend_from_slice(step.as_primitive::<Int64Type>().values());
            values.extend_from_slice(value.as_primitive::<Float64Type>().values());
            if times {
                let time = column(TIME)?;
                let time = time.as_primitive::<TimestampMicrosecondType>();
                known.extend(time.iter().map(|time| time.unwrap_or(UNKNOWN_TIME)));
            }
        }
        if steps.len() as u64 != rows {
            let detail = format!("{rows} rows were asked for, and {} are there", steps.len());
            return Err(Error::corrupt(self.path, 0, detail));
        }
        if !times {
            known.resize(steps.len(), UNKNOWN_TIME);
        }
        // Where each range starts in what was read.
        let (mut range, mut read) = (0, 0);
        for (at, Stretch { rows, from, to }) in stretches.iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            while ranges[range].end < rows.end {
                read += (ranges[range].end - ranges[range].start) as usize;
                range += 1;
            }
            let start = read + (rows.start - ranges[range].start) as usize;
            let own = start..start + (rows.end - rows.start) as usize;
            let within = &steps[own.clone()];
            let first = own.start + within.partition_point(|step| step < from);
            let end = own.start + within.partition_point(|step| step <= to);
            // Steps that are not in order are corrupt, and their places mean nothing.
            if first < end {
                take(at, &steps[first..end], &known[first..end], &values[first..end]);
            }
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
