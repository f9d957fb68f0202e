//! What fuzzers run on segments: any bytes as a file and its side index.
#![expect(clippy::panic, reason = "a fuzzer takes a panic for a finding")]

use std::path::Path;

use super::{
    ALL_COLUMNS, PointReader, SegmentMeta, SeriesRows, Stretch, read_facts, read_index, scan,
};
use crate::{Error, Filter, SeriesKey, catalog::Add, disk};

/// The catalog knows nothing of the file: somebody else wrote it.
const FOREIGN: u8 = 1;
/// The file is one of facts.
const FACTS: u8 = 2;
/// So many rows are looked at: a few bytes can say that a value repeats a billion times.
const MOST_ROWS: usize = 1 << 16;

/// Reads a byte of flags, what the catalog says of the rows (u64), the bytes of the footer and of the index (u32 each),
/// the index, and the file. The catalog has the right checksums, so that nothing is refused for those. The table lies in
/// `folder`, which is empty.
pub(crate) fn segment(input: &[u8], folder: &Path) {
    let Some(([flags, rest @ ..], bytes)) = input.split_first_chunk::<17>() else { return };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let (rows, footer, index) = (number(&rest[..8]), number(&rest[8..12]), number(&rest[12..]));
    let index = usize::try_from(index).unwrap_or(usize::MAX).min(bytes.len());
    let (index, file) = bytes.split_at(index);
    let meta = lay_down(folder, *flags, rows, footer, index, file);
    if flags & FOREIGN == 0 {
        meta.check().expect("the catalog has the checksums that the files have");
    }
    readable(meta.check_footer());
    if flags & FACTS != 0 {
        readable(read_facts(&meta));
        return;
    }
    let all = Filter::default();
    let found = rows_of(&meta, &all);
    if found.is_some_and(|found| found > MOST_ROWS) {
        return;
    }
    let Some(index) = readable(read_index(&meta)) else { return };
    if let Some(found) = found {
        let said: u64 = index.iter().map(|row| row.summary.count).sum();
        assert!(flags & FOREIGN != 0 || said == found as u64, "{said} rows, {found} found");
    }
    let Some(one) = index.last().map(|row| row.key.clone()) else { return };
    let filter = Filter { metrics: Some(vec![one.metric.to_string()]), ..all };
    let index = readable(meta.read_index()).flatten();
    let wanted = rows_of(&meta, &filter);
    if let (Some(index), Some(wanted)) = (&index, wanted) {
        let of_wanted = index.series().filter(|series| filter.wants(series.key));
        let said: u64 = of_wanted.map(|series| series.rows.end - series.rows.start).sum();
        assert_eq!(said, wanted as u64);
    }
    if let (Some(index), Some(Some(reader))) = (index, readable(PointReader::open(&meta))) {
        let all =
            |series: SeriesRows<'_>| Stretch { rows: series.rows, from: i64::MIN, to: i64::MAX };
        let stretches: Vec<_> = index.series().map(all).collect();
        readable(reader.read(&stretches, true, |_, steps, times, values| {
            assert!(steps.len() == times.len() && steps.len() == values.len());
        }));
    }
    let of_one = |key: &SeriesKey| *key == one;
    readable(super::read_series(&meta, of_one));
}

/// What was read, unless it is damaged.
fn readable<T>(read: Result<T, Error>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(Error::Corrupt { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// How many rows a scan finds, and a few more than [`MOST_ROWS`] at most; none where it fails.
fn rows_of(meta: &SegmentMeta, filter: &Filter) -> Option<usize> {
    let mut rows = 0;
    for batch in readable(scan(meta, filter, &ALL_COLUMNS))? {
        rows += readable(batch)?.num_rows();
        if rows > MOST_ROWS {
            break;
        }
    }
    Some(rows)
}

/// Puts the files into the folder of a table, and says of them what a commit would.
fn lay_down(
    table: &Path,
    flags: u8,
    rows: u64,
    footer: u64,
    index: &[u8],
    file: &[u8],
) -> SegmentMeta {
    let (name, side) = ("l0/segment.parquet", "_index/segment.parquet");
    for (name, bytes) in [(name, file), (side, index)] {
        let path = table.join(name);
        disk::create_dirs(path.parent().unwrap_or(table)).expect("the folder can be written");
        disk::create_with(&path, bytes).expect("the folder is empty");
    }
    let end = usize::try_from(footer).unwrap_or(usize::MAX).min(file.len());
    let end = file.get(file.len() - end..).unwrap_or_default();
    let crc = |bytes: &[u8]| format!("{:08x}", crc32c::crc32c(bytes));
    let tag = |name: &str, value: String| (format!("runlake.{name}"), Some(value));
    let mut tags = vec![
        tag("rows", rows.to_string()),
        tag("crc32c", crc(file)),
        tag("footer", format!("{footer}:{}", crc(end))),
    ];
    if flags & FACTS == 0 {
        tags.push(tag("index", crc(index)));
    }
    let add = Add {
        path: name.to_owned(),
        partition_values: [].into(),
        size: file.len().try_into().expect("inputs are small"),
        modification_time: 0,
        data_change: true,
        stats: None,
        tags: (flags & FOREIGN == 0).then(|| tags.into_iter().collect()),
    };
    SegmentMeta::from_add(table, &add, 1)
}

/// The input that describes a segment of `table`.
#[cfg(test)]
pub(crate) fn describe(table: &Path, meta: &SegmentMeta, flags: u8) -> Vec<u8> {
    let file = disk::read(&table.join(&meta.name)).expect("it was written");
    let index = meta.index.as_ref().map(|path| disk::read(path).expect("it was written"));
    let index = index.unwrap_or_default();
    let footer = meta.footer.map_or(0, |footer| footer.bytes);
    let short = |len: u64| u32::try_from(len).expect("seeds are small").to_le_bytes();
    let mut input = vec![flags];
    input.extend(meta.rows.to_le_bytes());
    input.extend(short(footer));
    input.extend(short(index.len() as u64));
    input.extend(index);
    input.extend(file);
    input
}
