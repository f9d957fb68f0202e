//! Decodes rows out of the pages that the engine writes of steps, times and values.
//!
//! ```text
//! page:     page header | zstd frame of: length u32 | definition levels | values
//! ```
//!
//! A chart asks for a few rows each of very many series. The Parquet decoder can give them, but it decodes a page value by value and
//! through several buffers, and sets all of that up anew for each reading. Here a page is read at its place, its zstd frame is decoded,
//! and with that its checksum is checked, and of the values those in demand are put together. Where pages are and how many rows
//! each has comes from the end of the file, which has a checksum of its own.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a page has less than 2^31 bytes, and rows of a file of ours are counted in 64 bits"
)]

use std::ops::Range;

use parquet::{
    basic::{Encoding, PageType},
    file::metadata::{ColumnChunkMetaData, RowGroupMetaData},
};

use super::{
    SegmentMeta,
    column::{each_run, take_levels},
    integers::{self, Bits},
    schema::{STEP, TIME, VALUE},
    stretch::{Opened, pages},
    values::STREAMS,
};
use crate::{Error, Result, UNKNOWN_TIME};

/// No page of ours has more values: that is a row group.
const MOST_VALUES: usize = 1 << 20;

/// A column of which rows are decoded. Keeps the page at which it stands, for the rows that are asked for next.
pub(super) struct PageReader<T> {
    opened: Opened,
    column: usize,
    /// What stands for a row without a value; none where each row has one.
    missing: Option<T>,
    zstd: zstd::bulk::Decompressor<'static>,
    page: Option<Page>,
    /// All of the page, decompressed.
    content: Vec<u8>,
    /// The values of the page, where its encoding gives them only one after the other.
    decoded: Vec<T>,
    /// The dictionary of a row group.
    dictionary: Option<(usize, Vec<T>)>,
}

/// The page that is decoded.
#[derive(Debug)]
struct Page {
    /// Its rows in the file.
    rows: Range<u64>,
    /// Where the values begin of which rows are put together; none where all are decoded.
    split: Option<usize>,
}

/// A page in its file.
#[derive(Debug)]
struct Place {
    group: usize,
    offset: u64,
    bytes: u64,
    rows: Range<u64>,
}

impl<T> std::fmt::Debug for PageReader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageReader").field("column", &self.column).finish_non_exhaustive()
    }
}

impl<T: Bits> PageReader<T> {
    /// Reads a column of a file of ours. A row without a value is an error, or `missing`.
    pub(super) fn new(opened: &Opened, column: usize, missing: Option<T>) -> Result<Self> {
        let zstd = zstd::bulk::Decompressor::new();
        let zstd = zstd.map_err(|source| Error::io("decompress", opened.path(), source))?;
        let (opened, content, decoded) = (opened.clone(), Vec::new(), Vec::new());
        let (page, dictionary) = (None, None);
        Ok(Self { opened, column, missing, zstd, page, content, decoded, dictionary })
    }

    /// Appends what stands in `rows` to `values`. Rows that come in order are decoded once.
    pub(super) fn read(&mut self, mut rows: Range<u64>, values: &mut Vec<T>) -> Result<()> {
        while rows.start < rows.end {
            let page = match self.page.take() {
                Some(page) if page.rows.contains(&rows.start) => page,
                _ => self.decode(&self.find(rows.start)?)?,
            };
            let end = rows.end.min(page.rows.end);
            let within = (rows.start - page.rows.start) as usize..(end - page.rows.start) as usize;
            match page.split {
                None => values.extend_from_slice(&self.decoded[within]),
                Some(start) => {
                    let all = (page.rows.end - page.rows.start) as usize;
                    integers::join(&self.content[start..], all, within, values);
                }
            }
            rows.start = end;
            self.page = Some(page);
        }
        Ok(())
    }

    /// The page that holds `row`.
    fn find(&self, row: u64) -> Result<Place> {
        let mut first: u64 = 0;
        for (group, rows) in self.opened.groups().iter().map(RowGroupMetaData::num_rows).enumerate()
        {
            let end = first.saturating_add(rows.cast_unsigned());
            if row < end {
                return self.find_in(group, first..end, row).ok_or_else(|| {
                    self.opened.corrupt(0, format!("no page is said to hold row {row}"))
                });
            }
            first = end;
        }
        Err(self.opened.corrupt(0, format!("it has no row {row}")))
    }

    fn find_in(&self, group: usize, rows: Range<u64>, row: u64) -> Option<Place> {
        let metadata = self.opened.metadata().metadata();
        let pages = metadata.offset_index()?.get(group)?.get(self.column)?.page_locations();
        let start = |page: usize| {
            let first = pages.get(page).map(|page| page.first_row_index.cast_unsigned());
            first.map_or(Some(rows.end), |first| rows.start.checked_add(first))
        };
        let within = (row - rows.start).cast_signed();
        let page = pages.partition_point(|page| page.first_row_index <= within).checked_sub(1)?;
        let (offset, bytes) = (pages[page].offset, pages[page].compressed_page_size);
        let (offset, bytes) = (offset.try_into().ok()?, bytes.try_into().ok()?);
        let rows = start(page)?..start(page + 1)?;
        (rows.contains(&row)).then_some(Place { group, offset, bytes, rows })
    }

    fn decode(&mut self, place: &Place) -> Result<Page> {
        let opened = self.opened.clone();
        let wrong = || opened.corrupt(place.offset, "this page makes no sense");
        let count = (place.rows.end - place.rows.start) as usize;
        let (header, frame) = self.load(place.offset, place.bytes)?;
        let is_data = header.kind == PageType::DATA_PAGE as u64 && header.values == count as u64;
        if !is_data || count > MOST_VALUES {
            return Err(wrong());
        }
        // No encoding takes more.
        let most = (64 << 10) + count * 16;
        self.decompress(&frame, most, place.offset)?;
        let mut present = Vec::new();
        let start = take_levels(&self.content, count, &mut present).ok_or_else(wrong)?;
        let there =
            if present.is_empty() { count } else { present.iter().filter(|it| **it).count() };
        if there < count && self.missing.is_none() {
            let detail = "a point lacks a step or a value";
            return Err(opened.corrupt(place.offset, detail));
        }
        let encoded = self.content.get(start..).unwrap_or_default();
        let has_split = header.encoding == Encoding::BYTE_STREAM_SPLIT as u64;
        if has_split && encoded.len() != there * STREAMS {
            return Err(wrong());
        }
        let rows = place.rows.clone();
        if has_split && there == count {
            return Ok(Page { rows, split: Some(start) });
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        if has_split {
            integers::join(encoded, there, 0..there, &mut decoded);
        } else if header.encoding == Encoding::PLAIN as u64 {
            plain(encoded, there, &mut decoded).ok_or_else(wrong)?;
        } else if header.encoding == Encoding::DELTA_BINARY_PACKED as u64 {
            integers::add_up(encoded, there, &mut decoded).ok_or_else(wrong)?;
        } else if header.encoding == Encoding::RLE_DICTIONARY as u64 {
            let codes = encoded.to_vec();
            let dictionary = self.dictionary_of(place.group)?;
            named(&codes, there, dictionary, &mut decoded).ok_or_else(wrong)?;
        } else {
            return Err(wrong());
        }
        if let Some(missing) = self.missing.filter(|_| there < count) {
            let mut known = decoded.into_iter();
            let mut value = |is_there: bool| if is_there { known.next() } else { None };
            decoded = present.into_iter().map(|it| value(it).unwrap_or(missing)).collect();
        }
        self.decoded = decoded;
        Ok(Page { rows, split: None })
    }

    /// The values that pages of a row group name by number.
    fn dictionary_of(&mut self, group: usize) -> Result<&[T]> {
        if self.dictionary.as_ref().is_none_or(|(known, _)| *known != group) {
            let opened = self.opened.clone();
            let column = opened.groups()[group].column(self.column);
            let (offset, bytes) = dictionary_place(column)
                .ok_or_else(|| opened.corrupt(0, "a dictionary is missing"))?;
            let wrong = || opened.corrupt(offset, "this dictionary makes no sense");
            let (header, frame) = self.load(offset, bytes)?;
            let count = usize::try_from(header.values).unwrap_or(usize::MAX);
            if header.kind != PageType::DICTIONARY_PAGE as u64 || count > MOST_VALUES {
                return Err(wrong());
            }
            // Where the values of the page are decompressed: they were copied.
            self.decompress(&frame, count * 8, offset)?;
            let mut values = Vec::new();
            plain(&self.content, count, &mut values).ok_or_else(wrong)?;
            self.dictionary = Some((group, values));
        }
        Ok(self.dictionary.as_ref().map_or(&[], |(_, values)| values))
    }

    /// The header of a page, and its zstd frame.
    fn load(&self, offset: u64, bytes: u64) -> Result<(Header, bytes::Bytes)> {
        let mut page = self.opened.get(offset, bytes)?;
        let (header, length) = Header::read(&page).ok_or_else(|| {
            self.opened.corrupt(offset, "the header of this page is none of ours")
        })?;
        Ok((header, page.split_off(length)))
    }

    fn decompress(&mut self, frame: &[u8], most: usize, offset: u64) -> Result<()> {
        let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
        let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= most);
        let Some(size) = size else {
            return Err(self.opened.corrupt(offset, "this page does not say how large it is"));
        };
        self.content.clear();
        self.content.reserve(size);
        let done = self.zstd.decompress_to_buffer(frame, &mut self.content);
        done.map(drop).map_err(|source| self.opened.corrupt(offset, source.to_string()))
    }
}

/// Where the dictionary of a column of a row group stands, and how many bytes it has.
fn dictionary_place(column: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let offset = u64::try_from(column.dictionary_page_offset()?).ok()?;
    let end = u64::try_from(column.data_page_offset()).ok()?;
    Some((offset, end.checked_sub(offset)?))
}

/// Appends `count` values that stand as they are.
fn plain<T: Bits>(bytes: &[u8], count: usize, values: &mut Vec<T>) -> Option<()> {
    let bytes = bytes.as_chunks::<8>().0.get(..count)?;
    values.extend(bytes.iter().map(|bytes| T::of(u64::from_le_bytes(*bytes))));
    Some(())
}

/// Appends `count` values of the dictionary: the width of their numbers stands in front of these.
fn named<T: Bits>(bytes: &[u8], count: usize, names: &[T], values: &mut Vec<T>) -> Option<()> {
    let (&width, runs) = bytes.split_first()?;
    let mut known = true;
    each_run(runs, width, count, |code, rows| match names.get(code as usize) {
        Some(&value) => values.extend(std::iter::repeat_n(value, rows)),
        None => known = false,
    })?;
    known.then_some(())
}

/// What a page says of itself, in front.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    kind: u64,
    /// Values, missing ones included.
    values: u64,
    encoding: u64,
}

impl Header {
    /// Reads the header of the only page in `bytes`, and says how long it is. In thrift's compact form, and of that only what the engine
    /// writes: no checksum covers a header, and what is left out or said twice is damage.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        /// The next field, a number; and fields that are structs, for data and for a dictionary.
        const NUMBER: u8 = 0x15;
        const DATA: u8 = 0x1c;
        const DICTIONARY: u8 = 0x3c;
        fn tag(bytes: &mut &[u8]) -> Option<u8> {
            let (&tag, rest) = bytes.split_first()?;
            *bytes = rest;
            Some(tag)
        }
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            let value = (tag(bytes)? == NUMBER).then(|| integers::take_varint(bytes))??;
            (value % 2 == 0).then_some(value / 2)
        }
        let mut rest = bytes;
        let (kind, _size, frame) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        // A checksum may be negative.
        (tag(&mut rest)? == NUMBER).then(|| integers::take_varint(&mut rest))??;
        let is_known =
            tag(&mut rest)? == if kind == PageType::DATA_PAGE as u64 { DATA } else { DICTIONARY };
        let (values, encoding) = (number(&mut rest)?, number(&mut rest)?);
        if kind == PageType::DATA_PAGE as u64 {
            let levels = [number(&mut rest)?, number(&mut rest)?];
            if levels != [Encoding::RLE as u64; 2] {
                return None;
            }
        }
        let ends = [tag(&mut rest)?, tag(&mut rest)?];
        let is_whole = is_known && ends == [0; 2] && frame == rest.len() as u64;
        is_whole.then(|| (Self { kind, values, encoding }, bytes.len() - rest.len()))
    }
}

/// Rows of a segment of ours by their numbers: its steps, times and values, as far as somebody asks for them. Rows that are asked for
/// in order are decoded once.
#[derive(Debug)]
pub struct PointRows {
    opened: Opened,
    steps: Option<PageReader<i64>>,
    times: Option<PageReader<i64>>,
    values: Option<PageReader<f64>>,
}

/// A page of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPage {
    /// Its rows.
    pub rows: Range<u64>,
    /// The least of its steps.
    pub least: i64,
    /// The greatest.
    pub greatest: i64,
}

impl SegmentMeta {
    /// Whether rows of the file can be read by [`SegmentMeta::point_rows`]: the engine wrote it, and its end is known.
    pub fn has_point_rows(&self) -> bool {
        self.footer.is_some()
    }

    /// Opens the file, to read rows of it. None where somebody else wrote it.
    pub fn point_rows(&self) -> Result<Option<PointRows>> {
        let opened = Opened::points(self)?;
        Ok(opened.map(|opened| PointRows { opened, steps: None, times: None, values: None }))
    }

    /// The pages of steps, as far as anything is said of them.
    pub fn step_pages(&self) -> Result<Vec<StepPage>> {
        let Some(opened) = Opened::points(self)? else { return Ok(Vec::new()) };
        let mut known = Vec::new();
        let mut first: u64 = 0;
        for (at, group) in opened.groups().iter().enumerate() {
            let end = first.saturating_add(group.num_rows().cast_unsigned());
            let pages = pages(opened.metadata().metadata(), at, STEP);
            for (page, (start, bounds)) in pages.iter().enumerate() {
                let stop = pages.get(page + 1).map_or(end, |(next, _)| first.saturating_add(*next));
                let rows = first.saturating_add(*start)..stop;
                known.extend(bounds.map(|(least, greatest)| StepPage { rows, least, greatest }));
            }
            first = end;
        }
        Ok(known)
    }
}

impl PointRows {
    /// Appends the steps of `rows`.
    pub fn steps(&mut self, rows: Range<u64>, steps: &mut Vec<i64>) -> Result<()> {
        read(&mut self.steps, &self.opened, STEP, None, rows, steps)
    }

    /// Appends the times of `rows`, in microseconds since 1970 (UTC), or [`UNKNOWN_TIME`].
    pub fn times(&mut self, rows: Range<u64>, times: &mut Vec<i64>) -> Result<()> {
        read(&mut self.times, &self.opened, TIME, Some(UNKNOWN_TIME), rows, times)
    }

    /// Appends the values of `rows`.
    pub fn values(&mut self, rows: Range<u64>, values: &mut Vec<f64>) -> Result<()> {
        read(&mut self.values, &self.opened, VALUE, None, rows, values)
    }
}

fn read<T: Bits>(
    pages: &mut Option<PageReader<T>>,
    opened: &Opened,
    column: usize,
    missing: Option<T>,
    rows: Range<u64>,
    values: &mut Vec<T>,
) -> Result<()> {
    let pages = match pages {
        Some(pages) => pages,
        None => pages.insert(PageReader::new(opened, column, missing)?),
    };
    pages.read(rows, values)
}
