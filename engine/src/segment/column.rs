//! Encodes one column of a row group into checked Parquet pages.
//!
//! ```text
//! chunk:  [ page header | zstd frame ]*            the dictionary page first, where there is one
//! page:   | length u32 | definition levels (RLE) | values |        before compression; integers are little-endian
//! ```
//!
//! The `parquet` crate writes neither page checksums nor zstd's own. A flipped bit in a page of numbers would then
//! be another number, so pages are written here: each zstd frame carries its content checksum, which every reader
//! of zstd verifies without being asked, and each page header carries the CRC32 that Parquet provides for. Two
//! things follow from having the pages in hand. Ids cost one step a series instead of one hash a row, and the
//! encoding of values is chosen page by page.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a row group has at most 2^20 rows, a page less than 2^31 bytes, and bytes are taken off numbers"
)]

use std::{cell::RefCell, ops::Range};

use bytes::Bytes;
use parquet::{
    basic::{BoundaryOrder, Compression, Encoding, PageType, Type, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriteSpec, PageWriter},
        writer::{ColumnCloseResult, ColumnWriter, get_column_writer},
    },
    data_type::ByteArray,
    errors::{ParquetError, Result},
    file::{
        metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
        statistics::Statistics,
    },
    schema::types::ColumnDescPtr,
};
use rustc_hash::FxHashMap;
use zstd::zstd_safe::{self, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::{
    effort::Effort,
    integers::{deltas, for_each_packed, split, take_varint, varint},
    values::{STREAMS, Values},
};

/// Rows of a page of ids. They are runs, so that a page of them is small however many rows it spans.
const ID_PAGE_ROWS: usize = 128 << 10;

/// Rows of a page of step or value, at most: what a chart of one series has to decode too much of, at either end.
pub(super) const POINT_PAGE_ROWS: usize = 16 << 10;

/// Rows of a page of values that holds short series only, at most. Series of one metric are alike from run to run, and
/// zstd sees that within a page only; so many rows decode in a millisecond.
const SHARED_PAGE_ROWS: usize = 128 << 10;

/// A series is short below so many rows.
const SHORT_ROWS: usize = 4 << 10;

/// Rows of a page of time. All metrics of a row share one time, and zstd only sees that in a large page.
pub(super) const TIME_PAGE_ROWS: usize = 128 << 10;

/// One encoded column of one row group.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

thread_local! {
    /// Contexts that wait for the next file, with their levels: as many as files were open at once. A flush writes four
    /// small files, and a new context asks the processor what it can do, which takes 20 us in a virtual machine.
    static KEPT: RefCell<Vec<(i32, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(Vec::new()) };
}

/// Encodes columns. Holds one zstd context and its buffers, so that pages do not allocate them anew.
pub(super) struct ColumnEncoder {
    zstd: zstd::bulk::Compressor<'static>,
    effort: Effort,
    levels: Vec<i16>,
}

impl std::fmt::Debug for ColumnEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnEncoder").field("effort", &self.effort).finish_non_exhaustive()
    }
}

impl ColumnEncoder {
    /// An encoder that spends so much.
    pub(super) fn new(effort: Effort) -> Result<Self> {
        let kept = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let at = kept.iter().position(|(level, _)| *level == effort.zstd_level)?;
            Some(kept.swap_remove(at).1)
        });
        // There is none at first, and where the thread is about to end.
        let zstd = if let Ok(Some(zstd)) = kept {
            zstd
        } else {
            let mut zstd = zstd::bulk::Compressor::new(effort.zstd_level)?;
            zstd.include_checksum(true)?;
            zstd
        };
        Ok(Self { zstd, effort, levels: Vec::new() })
    }

    /// Leaves the context to the thread's next file.
    pub(super) fn keep(self) {
        let kept = (self.effort.zstd_level, self.zstd);
        // A thread that is about to end has no next file.
        let _ends = KEPT.try_with(|all| all.borrow_mut().push(kept));
    }

    /// Encodes a column of names from its runs of equal values, dictionary and run lengths.
    pub(super) fn ids<'a>(
        &mut self,
        descr: &ColumnDescPtr,
        runs: impl Iterator<Item = (Option<&'a str>, usize)>,
    ) -> Result<Chunk> {
        let mut codes: FxHashMap<&str, u32> = FxHashMap::default();
        let mut names: Vec<&str> = Vec::new();
        let mut merged: Vec<(Option<u32>, usize)> = Vec::new();
        for (name, rows) in runs {
            let code = name.map(|name| {
                *codes.entry(name).or_insert_with(|| {
                    names.push(name);
                    names.len() as u32 - 1
                })
            });
            match merged.last_mut() {
                Some((last, count)) if *last == code => *count += rows,
                _ => merged.push((code, rows)),
            }
        }

        let mut pages = Pages::new(&mut self.zstd, self.effort.zstd_level);
        let mut index = ColumnIndexBuilder::new(descr.physical_type());
        let mut page = IdPage::default();
        let (mut nulls, mut order) = (0, Order::default());
        for (code, mut rows) in merged {
            while rows > 0 {
                let taken = rows.min(ID_PAGE_ROWS - page.rows);
                page.push(code, taken);
                rows -= taken;
                if page.rows == ID_PAGE_ROWS {
                    nulls += page.finish(&names, &mut pages, &mut index, &mut order)?;
                }
            }
        }
        if page.rows > 0 {
            nulls += page.finish(&names, &mut pages, &mut index, &mut order)?;
        }
        index.set_boundary_order(order.boundary());
        let mut dictionary = Vec::new();
        for name in &names {
            dictionary.extend_from_slice(&(name.len() as u32).to_le_bytes());
            dictionary.extend_from_slice(name.as_bytes());
        }
        let bound =
            |name: Option<&&str>| name.map(|name| ByteArray::from(name.as_bytes().to_vec()));
        let statistics = Statistics::byte_array(
            bound(names.iter().min()),
            bound(names.iter().max()),
            None,
            Some(nulls),
            false,
        );
        pages.dictionary = Some((dictionary, names.len()));
        let mut chunk = pages.finish(descr, Some(statistics))?;
        chunk.close.column_index = Some(index.build()?);
        Ok(chunk)
    }

    /// Encodes a column of integers that never are null and mostly count up. `starts` are the rows at which a series
    /// starts; pages like to start there, so that who wants a series does not decode its neighbours.
    pub(super) fn rising(
        &mut self,
        descr: &ColumnDescPtr,
        values: &[i64],
        starts: &[usize],
    ) -> Result<Chunk> {
        let mut pages = IntegerPages::new(descr, self);
        for page in cut(values.len(), starts, POINT_PAGE_ROWS) {
            let page = &values[page];
            let levels = present_levels(page.len());
            pages.page(page, page.len(), &levels, &deltas(page), Encoding::DELTA_BINARY_PACKED)?;
        }
        pages.finish(descr)
    }

    /// Encodes a column of times, in which `unknown` stands for null.
    pub(super) fn times(
        &mut self,
        descr: &ColumnDescPtr,
        values: &[i64],
        unknown: i64,
    ) -> Result<Chunk> {
        let mut pages = IntegerPages::new(descr, self);
        let mut known = Vec::new();
        for page in values.chunks(TIME_PAGE_ROWS) {
            let mut levels = Runs::new(1);
            known.clear();
            for same in page.chunk_by(|a, b| (*a == unknown) == (*b == unknown)) {
                let is_known = same.first() != Some(&unknown);
                levels.push(is_known.into(), same.len());
                if is_known {
                    known.extend_from_slice(same);
                }
            }
            let (levels, bytes) = (levels.with_length(), split(&known, i64::cast_unsigned));
            pages.page(&known, page.len(), &levels, &bytes, Encoding::BYTE_STREAM_SPLIT)?;
        }
        pages.finish(descr)
    }

    /// Encodes a column of integers with `encoding`.
    pub(super) fn integers(
        &mut self,
        descr: &ColumnDescPtr,
        values: impl Iterator<Item = Option<i64>>,
        encoding: Encoding,
        page_rows: usize,
    ) -> Result<Chunk> {
        let present = self.take_levels(values);
        self.typed(descr, encoding, page_rows, |writer, levels| match writer {
            ColumnWriter::Int64ColumnWriter(writer) => {
                writer.write_batch(&present, Some(levels), None)
            }
            _ => Err(ParquetError::General("not a column of integers".to_owned())),
        })
    }

    /// Encodes a column of floats of which some are null.
    pub(super) fn optional_floats(
        &mut self,
        descr: &ColumnDescPtr,
        values: impl Iterator<Item = Option<f64>>,
        page_rows: usize,
    ) -> Result<Chunk> {
        let present = self.take_levels(values);
        let encoding = Encoding::BYTE_STREAM_SPLIT;
        self.typed(descr, encoding, page_rows, |writer, levels| match writer {
            ColumnWriter::DoubleColumnWriter(writer) => {
                writer.write_batch(&present, Some(levels), None)
            }
            _ => Err(ParquetError::General("not a column of floats".to_owned())),
        })
    }

    /// Encodes a column of texts that do not come in runs.
    pub(super) fn texts<'a>(
        &mut self,
        descr: &ColumnDescPtr,
        values: impl Iterator<Item = Option<&'a str>>,
    ) -> Result<Chunk> {
        let values =
            values.map(|value| value.map(|value| ByteArray::from(value.as_bytes().to_vec())));
        let present = self.take_levels(values);
        self.typed(descr, Encoding::PLAIN, POINT_PAGE_ROWS, |writer, levels| match writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&present, Some(levels), None)
            }
            _ => Err(ParquetError::General("not a column of texts".to_owned())),
        })
    }

    /// Encodes a column of lists of texts, neither of which is ever null.
    pub(super) fn lists(
        &mut self,
        descr: &ColumnDescPtr,
        lists: &[&[String]],
        page_rows: usize,
    ) -> Result<Chunk> {
        // How deep a value is defined: 1 is an empty list, 3 a text in one.
        self.levels.clear();
        let (mut repeated, mut present) = (Vec::new(), Vec::new());
        for list in lists {
            if list.is_empty() {
                self.levels.push(1);
                repeated.push(0);
            }
            for (at, text) in list.iter().enumerate() {
                self.levels.push(3);
                repeated.push(i16::from(at > 0));
                present.push(ByteArray::from(text.as_bytes().to_vec()));
            }
        }
        self.typed(descr, Encoding::PLAIN, page_rows, |writer, levels| match writer {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&present, Some(levels), Some(&repeated))
            }
            _ => Err(ParquetError::General("not a column of texts".to_owned())),
        })
    }

    /// Encodes a column of floats, each page as is best for it. `starts` are the rows at which a series starts;
    /// pages like to start there, for a page of one metric compresses better than a page of two. No statistics: those
    /// of Parquet leave NaN out, and readers then skip rows that they should have seen.
    pub(super) fn floats(
        &mut self,
        descr: &ColumnDescPtr,
        values: &[f64],
        starts: &[usize],
    ) -> Result<Chunk> {
        let cut = value_pages(values.len(), starts);
        let encoded = Values::encode(values, &cut, self.effort.sample, &mut self.zstd)?;
        let mut pages = Pages::new(&mut self.zstd, self.effort.zstd_level);
        for (rows, page) in cut.iter().zip(&encoded.pages) {
            let levels = present_levels(rows.len());
            let streams = if page.encoding == Encoding::BYTE_STREAM_SPLIT { STREAMS } else { 1 };
            pages.data_in_parts(&levels, &page.bytes, streams, rows.len(), page.encoding)?;
        }
        pages.dictionary = encoded.dictionary;
        pages.finish(descr, None)
    }

    /// Splits `values` into definition levels, which are kept here, and what is present.
    fn take_levels<T>(&mut self, values: impl Iterator<Item = Option<T>>) -> Vec<T> {
        self.levels.clear();
        let mut present = Vec::with_capacity(values.size_hint().0);
        for value in values {
            self.levels.push(i16::from(value.is_some()));
            present.extend(value);
        }
        present
    }

    /// Lets the `parquet` crate encode a column whose definition levels are `self.levels`, into our pages.
    fn typed(
        &mut self,
        descr: &ColumnDescPtr,
        encoding: Encoding,
        page_rows: usize,
        write: impl FnOnce(&mut ColumnWriter<'_>, &[i16]) -> Result<usize>,
    ) -> Result<Chunk> {
        // Statistics of floats leave NaN out.
        let statistics = match descr.physical_type() {
            Type::DOUBLE => EnabledStatistics::None,
            _ => EnabledStatistics::Page,
        };
        let properties: WriterPropertiesPtr = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_encoding(encoding)
            .set_statistics_enabled(statistics)
            .set_data_page_size_limit(64 << 20)
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(page_rows.min(4 << 10))
            .build()
            .into();
        let mut pages = Pages::new(&mut self.zstd, self.effort.zstd_level);
        let mut writer =
            get_column_writer(ColumnDescPtr::clone(descr), properties, Box::new(&mut pages));
        write(&mut writer, &self.levels)?;
        let mut close = writer.close()?;
        close.metadata = close.metadata.into_builder().set_compression(pages.codec()?).build()?;
        Ok(Chunk { bytes: pages.bytes.into(), close })
    }
}

/// Cuts `rows` rows of values into pages: large ones where many short series follow one another.
fn value_pages(rows: usize, starts: &[usize]) -> Vec<Range<usize>> {
    let ends = starts.iter().copied().skip(1).chain([rows]);
    let mut stretches: Vec<(Range<usize>, bool)> = Vec::new();
    for (start, end) in starts.iter().copied().zip(ends) {
        let is_short = end - start < SHORT_ROWS;
        match stretches.last_mut() {
            Some((last, was_short)) if *was_short == is_short => last.end = end,
            _ => stretches.push((start..end, is_short)),
        }
    }
    // A few short series between long ones are not worth pages of their own.
    let mut merged: Vec<(Range<usize>, bool)> = Vec::new();
    for (stretch, is_short) in stretches {
        let shares = is_short && stretch.len() >= POINT_PAGE_ROWS;
        match merged.last_mut() {
            Some((last, shared)) if *shared == shares => last.end = stretch.end,
            _ => merged.push((stretch, shares)),
        }
    }
    let mut pages = Vec::new();
    for (stretch, shares) in merged {
        let most = if shares { SHARED_PAGE_ROWS } else { POINT_PAGE_ROWS };
        let first = starts.partition_point(|&start| start < stretch.start);
        let within: Vec<usize> = starts[first..]
            .iter()
            .take_while(|&&start| start < stretch.end)
            .map(|start| start - stretch.start)
            .collect();
        let cut = cut(stretch.len(), &within, most).into_iter();
        pages.extend(cut.map(|page| page.start + stretch.start..page.end + stretch.start));
    }
    pages
}

/// Cuts `rows` rows into pages of at most `most`; a page that would overflow ends where its last series starts,
/// unless that would make it small.
fn cut(rows: usize, starts: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut pages = Vec::new();
    let mut first = 0;
    let mut starts = starts.iter().copied().peekable();
    while first < rows {
        let limit = rows.min(first + most);
        let mut end = limit;
        if limit < rows {
            let mut last = None;
            while let Some(start) = starts.next_if(|&start| start <= limit) {
                last = Some(start);
            }
            end = last.filter(|&start| start >= first + most / 8).unwrap_or(limit);
        }
        pages.push(first..end);
        first = end;
    }
    pages
}

/// The definition levels of a page without nulls, with their length.
fn present_levels(rows: usize) -> Vec<u8> {
    let mut levels = Runs::new(1);
    levels.push(1, rows);
    levels.with_length()
}

/// A page of ids that is being filled.
#[derive(Default)]
struct IdPage {
    runs: Vec<(Option<u32>, usize)>,
    rows: usize,
}

impl IdPage {
    fn push(&mut self, code: Option<u32>, rows: usize) {
        self.runs.push((code, rows));
        self.rows += rows;
    }

    /// Writes the page and returns the number of nulls in it.
    fn finish(
        &mut self,
        names: &[&str],
        pages: &mut Pages<'_>,
        index: &mut ColumnIndexBuilder,
        order: &mut Order<String>,
    ) -> Result<u64> {
        let codes = || self.runs.iter().filter_map(|&(code, _)| code);
        let width = width_of(codes().max().unwrap_or(0));
        let (mut levels, mut values) = (Runs::new(1), Runs::new(width));
        let mut nulls = 0;
        for &(code, rows) in &self.runs {
            levels.push(u32::from(code.is_some()), rows);
            match code {
                Some(code) => values.push(code, rows),
                None => nulls += rows,
            }
        }
        let values = values.finish();
        let name = |code: u32| names[code as usize];
        let bounds = codes().map(name).min().zip(codes().map(name).max());
        order.see(bounds.map(|(min, max)| (min.to_owned(), max.to_owned())));
        let (min, max) = bounds.unwrap_or_default();
        index.append(
            bounds.is_none(),
            min.as_bytes().to_vec(),
            max.as_bytes().to_vec(),
            nulls as i64,
        );
        let levels = levels.with_length();
        pages.data(&[&levels, &[width], &values], self.rows, Encoding::RLE_DICTIONARY)?;
        *self = Self::default();
        Ok(nulls as u64)
    }
}

/// The pages of a column of integers, with what the index and the statistics say of them.
struct IntegerPages<'z> {
    pages: Pages<'z>,
    index: ColumnIndexBuilder,
    order: Order<i64>,
    bounds: Option<(i64, i64)>,
    nulls: usize,
}

impl<'z> IntegerPages<'z> {
    fn new(descr: &ColumnDescPtr, encoder: &'z mut ColumnEncoder) -> Self {
        Self {
            pages: Pages::new(&mut encoder.zstd, encoder.effort.zstd_level),
            index: ColumnIndexBuilder::new(descr.physical_type()),
            order: Order::default(),
            bounds: None,
            nulls: 0,
        }
    }

    /// Writes a page of `rows` rows of which `present` are not null.
    fn page(
        &mut self,
        present: &[i64],
        rows: usize,
        levels: &[u8],
        bytes: &[u8],
        encoding: Encoding,
    ) -> Result<()> {
        let nulls = rows - present.len();
        let bounds = present.iter().copied().min().zip(present.iter().copied().max());
        self.order.see(bounds);
        let place = |bound: i64| bound.to_le_bytes().to_vec();
        let (min, max) =
            bounds.map_or_else(Default::default, |(min, max)| (place(min), place(max)));
        self.index.append(bounds.is_none(), min, max, nulls as i64);
        self.nulls += nulls;
        self.bounds = match (self.bounds, bounds) {
            (Some(all), Some(here)) => Some((all.0.min(here.0), all.1.max(here.1))),
            (all, here) => all.or(here),
        };
        self.pages.data(&[levels, bytes], rows, encoding)
    }

    fn finish(mut self, descr: &ColumnDescPtr) -> Result<Chunk> {
        self.index.set_boundary_order(self.order.boundary());
        let (min, max) = self.bounds.unzip();
        let statistics = Statistics::int64(min, max, None, Some(self.nulls as u64), false);
        let mut chunk = self.pages.finish(descr, Some(statistics))?;
        chunk.close.column_index = Some(self.index.build()?);
        Ok(chunk)
    }
}

/// Whether the bounds of pages only ever rise.
#[derive(Default)]
struct Order<T> {
    last: Option<(T, T)>,
    falls: bool,
}

impl<T: PartialOrd> Order<T> {
    fn see(&mut self, bounds: Option<(T, T)>) {
        let Some((min, max)) = bounds else { return };
        if let Some((last_min, last_max)) = &self.last {
            self.falls |= min < *last_min || max < *last_max;
        }
        self.last = Some((min, max));
    }

    fn boundary(&self) -> BoundaryOrder {
        if self.falls { BoundaryOrder::UNORDERED } else { BoundaryOrder::ASCENDING }
    }
}

/// The least number of bits that hold `value`; 1 for 0, because a width of 0 is where readers differ.
pub(super) fn width_of(value: u32) -> u8 {
    (u32::BITS - value.leading_zeros()).max(1) as u8
}

/// Parquet's hybrid of run lengths and bit packing.
///
/// ```text
/// run:     varint(rows << 1)       | value in whole bytes
/// packed:  varint(groups << 1 | 1) | groups * 8 values of `width` bits, least significant first
/// ```
#[derive(Debug)]
pub(super) struct Runs {
    width: u8,
    bytes: Vec<u8>,
    /// Values that wait to be packed. A run may only follow a whole number of groups of eight.
    pending: Vec<u32>,
}

impl Runs {
    pub(super) fn new(width: u8) -> Self {
        Self { width, bytes: Vec::new(), pending: Vec::new() }
    }

    pub(super) fn push(&mut self, value: u32, mut rows: usize) {
        let odd = self.pending.len() % 8;
        if odd > 0 {
            let filling = rows.min(8 - odd);
            self.pending.extend(std::iter::repeat_n(value, filling));
            rows -= filling;
        }
        if rows >= 8 {
            self.pack();
            varint(&mut self.bytes, (rows as u64) << 1);
            let size = usize::from(self.width).div_ceil(8);
            self.bytes.extend_from_slice(&value.to_le_bytes()[..size]);
        } else {
            self.pending.extend(std::iter::repeat_n(value, rows));
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.pack();
        self.bytes
    }

    /// The levels of a data page: their length, then they.
    fn with_length(self) -> Vec<u8> {
        let levels = self.finish();
        let mut bytes = Vec::with_capacity(4 + levels.len());
        bytes.extend_from_slice(&(levels.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&levels);
        bytes
    }

    fn pack(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let groups = self.pending.len().div_ceil(8);
        self.pending.resize(groups * 8, 0);
        varint(&mut self.bytes, (groups as u64) << 1 | 1);
        let (mut bits, mut held) = (0_u64, 0_u32);
        for &value in &self.pending {
            bits |= u64::from(value) << held;
            held += u32::from(self.width);
            while held >= 8 {
                self.bytes.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        self.pending.clear();
    }
}

/// Gives `take` each of the first `count` numbers that [`Runs`] of this width hold, with how often it comes. None where the bytes
/// make no sense, or hold fewer.
pub(super) fn each_run(
    mut bytes: &[u8],
    width: u8,
    count: usize,
    mut take: impl FnMut(u32, usize),
) -> Option<()> {
    let mut left = count;
    while left > 0 {
        let head = take_varint(&mut bytes)?;
        let many = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let (value, behind) = bytes.split_at_checked(usize::from(width).div_ceil(8))?;
            bytes = behind;
            let mut number = [0; 4];
            number.get_mut(..value.len())?.copy_from_slice(value);
            let rows = many.min(left);
            take(u32::from_le_bytes(number), rows);
            left -= rows;
        } else {
            let (packed, behind) = bytes.split_at_checked(many.checked_mul(usize::from(width))?)?;
            bytes = behind;
            let rows = many.checked_mul(8)?.min(left);
            for_each_packed(packed, width, rows, |number| take(number as u32, 1))?;
            left -= rows;
        }
        if many == 0 {
            return None;
        }
    }
    Some(())
}

/// Reads the definition levels of a page of `rows` rows, with their length, and says where they end. `present` gets whether each row
/// has a value, unless all have one: then nothing.
pub(super) fn take_levels(content: &[u8], rows: usize, present: &mut Vec<bool>) -> Option<usize> {
    let (length, rest) = content.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let levels = rest.get(..length)?;
    let mut runs: Vec<(u32, usize)> = Vec::new();
    each_run(levels, 1, rows, |level, rows| match runs.last_mut() {
        Some((last, count)) if *last == level => *count += rows,
        _ => runs.push((level, rows)),
    })?;
    if runs.iter().any(|(level, _)| *level != 1) {
        let each = runs.into_iter().map(|(level, rows)| std::iter::repeat_n(level == 1, rows));
        present.extend(each.flatten());
    }
    Some(4 + length)
}

/// Compresses `content` into one zstd frame, in which a block ends at each of `ends`.
pub(super) fn frame(
    zstd: &mut zstd::bulk::Compressor<'static>,
    content: &[u8],
    ends: &[usize],
) -> Result<Vec<u8>> {
    if ends.is_empty() {
        return Ok(zstd.compress(content)?);
    }
    let failed = |code| ParquetError::General(zstd_safe::get_error_name(code).to_owned());
    let context = zstd.context_mut();
    context.reset(zstd_safe::ResetDirective::SessionOnly).map_err(failed)?;
    context.set_pledged_src_size(Some(content.len() as u64)).map_err(failed)?;
    // A block that ends early costs three bytes, and its tables some more.
    let mut frame =
        Vec::with_capacity(zstd_safe::compress_bound(content.len()) + 512 * (ends.len() + 1));
    let mut from = 0;
    for &end in ends.iter().chain([&content.len()]) {
        let directive = if end == content.len() {
            ZSTD_EndDirective::ZSTD_e_end
        } else {
            ZSTD_EndDirective::ZSTD_e_flush
        };
        let mut input = InBuffer::around(&content[from..end]);
        loop {
            let written = frame.len();
            let mut output = OutBuffer::around_pos(&mut frame, written);
            let left =
                context.compress_stream2(&mut output, &mut input, directive).map_err(failed)?;
            if left == 0 {
                break;
            }
            frame.reserve(left);
        }
        from = end;
    }
    Ok(frame)
}

/// The pages of one column of one row group, as they are written.
struct Pages<'z> {
    zstd: &'z mut zstd::bulk::Compressor<'static>,
    level: i32,
    bytes: Vec<u8>,
    uncompressed: usize,
    rows: usize,
    encodings: Vec<Encoding>,
    offsets: OffsetIndexBuilder,
    /// What the dictionary page holds and how many values that is. It stands first but is known last.
    dictionary: Option<(Vec<u8>, usize)>,
}

impl<'z> Pages<'z> {
    fn new(zstd: &'z mut zstd::bulk::Compressor<'static>, level: i32) -> Self {
        Self {
            zstd,
            level,
            bytes: Vec::new(),
            uncompressed: 0,
            rows: 0,
            encodings: vec![Encoding::RLE],
            offsets: OffsetIndexBuilder::new(),
            dictionary: None,
        }
    }

    fn codec(&self) -> Result<Compression> {
        Ok(Compression::ZSTD(ZstdLevel::try_new(self.level)?))
    }

    /// Appends one data page made of `parts`.
    fn data(&mut self, parts: &[&[u8]], rows: usize, encoding: Encoding) -> Result<()> {
        self.data_in_parts(&[], &parts.concat(), 1, rows, encoding)
    }

    /// Appends one data page of levels and values, which consist of `streams` of equal length. Each of these becomes a block of
    /// its own in the zstd frame, and so gets its own Huffman table: the bytes of one stream are alike, and unlike those of the next.
    fn data_in_parts(
        &mut self,
        levels: &[u8],
        values: &[u8],
        streams: usize,
        rows: usize,
        encoding: Encoding,
    ) -> Result<()> {
        let start = self.bytes.len();
        let content = [levels, values].concat();
        let stream = values.len() / streams;
        let ends: Vec<usize> = (1..streams).map(|at| levels.len() + at * stream).collect();
        self.page(PageType::DATA_PAGE, &content, &ends, rows, encoding)?;
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(start as i64, (self.bytes.len() - start) as i32);
        self.rows += rows;
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        Ok(())
    }

    /// Appends one page, in whose zstd frame a block ends at each of `ends`, and returns the length of its header.
    fn page(
        &mut self,
        kind: PageType,
        content: &[u8],
        ends: &[usize],
        values: usize,
        encoding: Encoding,
    ) -> Result<usize> {
        let frame = frame(self.zstd, content, ends)?;
        let length = |bytes: usize| {
            i32::try_from(bytes).map_err(|source| {
                ParquetError::General(format!("a page of {bytes} bytes: {source}"))
            })
        };
        let crc = crc32fast::hash(&frame) as i32;
        let start = self.bytes.len();
        // The thrift compact form of Parquet's PageHeader. Fields go up, each named by its distance to the last.
        let mut header = Struct::new(&mut self.bytes);
        header.integer(1, kind as i32);
        header.integer(2, length(content.len())?);
        header.integer(3, length(frame.len())?);
        header.integer(4, crc);
        header.begin(if kind == PageType::DICTIONARY_PAGE { 7 } else { 5 });
        let mut fields = Struct::new(&mut self.bytes);
        fields.integer(1, length(values)?);
        fields.integer(2, encoding as i32);
        if kind == PageType::DATA_PAGE {
            fields.integer(3, Encoding::RLE as i32);
            fields.integer(4, Encoding::RLE as i32);
        }
        fields.end();
        self.bytes.push(0);
        let header = self.bytes.len() - start;
        self.bytes.extend_from_slice(&frame);
        self.uncompressed += header + content.len();
        Ok(header)
    }

    /// Puts the dictionary in front and describes the column.
    fn finish(mut self, descr: &ColumnDescPtr, statistics: Option<Statistics>) -> Result<Chunk> {
        let data = std::mem::take(&mut self.bytes);
        if let Some((dictionary, values)) = self.dictionary.take() {
            self.page(PageType::DICTIONARY_PAGE, &dictionary, &[], values, Encoding::PLAIN)?;
            if !self.encodings.contains(&Encoding::PLAIN) {
                self.encodings.push(Encoding::PLAIN);
            }
        }
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&data);
        let codec = self.codec()?;
        let mut offsets = self.offsets.build();
        for location in &mut offsets.page_locations {
            location.offset += shift as i64;
        }
        let mut metadata = ColumnChunkMetaData::builder(ColumnDescPtr::clone(descr))
            .set_compression(codec)
            .set_encodings(self.encodings)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(self.bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(shift as i64)
            .set_dictionary_page_offset((shift > 0).then_some(0));
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: self.bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets),
        };
        Ok(Chunk { bytes: self.bytes.into(), close })
    }
}

/// Takes the pages of the `parquet` crate's own column writer, uncompressed, and writes them as ours.
impl PageWriter for &mut Pages<'_> {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec> {
        let Page::DataPage { buf, num_values, encoding, .. } = page.compressed_page() else {
            return Err(ParquetError::General(
                "only data pages of version 1 are written".to_owned(),
            ));
        };
        let offset = self.bytes.len();
        let header = self.page(PageType::DATA_PAGE, buf, &[], *num_values as usize, *encoding)?;
        let written = self.bytes.len() - offset;
        let mut spec = PageWriteSpec::new();
        spec.page_type = PageType::DATA_PAGE;
        spec.uncompressed_size = header + buf.len();
        spec.compressed_size = written;
        spec.num_values = *num_values;
        spec.offset = offset as u64;
        spec.bytes_written = written as u64;
        Ok(spec)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One struct in thrift's compact form.
struct Struct<'b> {
    bytes: &'b mut Vec<u8>,
    last: u8,
}

impl<'b> Struct<'b> {
    const I32: u8 = 5;
    const STRUCT: u8 = 12;

    fn new(bytes: &'b mut Vec<u8>) -> Self {
        Self { bytes, last: 0 }
    }

    fn field(&mut self, id: u8, kind: u8) {
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    fn integer(&mut self, id: u8, value: i32) {
        self.field(id, Self::I32);
        let zigzag = (value << 1 ^ value >> 31).cast_unsigned();
        varint(self.bytes, zigzag.into());
    }

    /// Begins a field that is a struct; its fields and its end follow, then those of this struct.
    fn begin(mut self, id: u8) {
        self.field(id, Self::STRUCT);
    }

    fn end(self) {
        self.bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_tile_the_rows_and_like_to_start_with_a_series() {
        assert!(cut(0, &[], 16).is_empty());
        assert_eq!(cut(17, &[0, 5], 16), [0..5, 5..17]);
        assert_eq!(cut(20, &[0, 5, 12], 16), [0..12, 12..20]);
        assert_eq!(
            cut(40, &[0, 1], 16),
            [0..16, 16..32, 32..40],
            "a tiny page is worse than a mixed one"
        );
        assert_eq!(cut(40, &[0, 16, 30], 16), [0..16, 16..30, 30..40]);
    }
}
