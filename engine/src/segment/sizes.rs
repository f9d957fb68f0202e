//! What the parts of a segment take on disk.

use std::{ops::Range, sync::Arc};

use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
    file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader},
};
use rustc_hash::FxHashMap;

use super::{
    SegmentMeta,
    index::IndexRow,
    reader::{self, ReadAt},
};
use crate::{Result, disk};

/// What one metric takes of a segment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MetricSize {
    /// The metric.
    pub metric: Arc<str>,
    /// Its points.
    pub points: u64,
    /// The bytes of its pages. A page that holds points of several metrics counts for each by its share of the rows.
    pub bytes: f64,
}

impl SegmentMeta {
    /// The bytes of the files that lie beside the segment: its side index and its rollups.
    pub fn bytes_beside(&self) -> Result<(u64, u64)> {
        let index = self.index.as_deref().map_or(Ok(0), disk::size)?;
        Ok((index, self.rollup.as_ref().map_or(0, |rollup| rollup.bytes)))
    }

    /// What each metric takes of the file, by name; nothing of a file that somebody else wrote. Reads the end of the file
    /// and its side index, not its points.
    pub fn bytes_by_metric(&self) -> Result<Vec<MetricSize>> {
        let (Some(footer), Some(_)) = (self.footer, &self.index) else { return Ok(Vec::new()) };
        if self.is_expired() {
            return Ok(Vec::new());
        }
        let index = reader::read_index(self)?;
        let file = ReadAt::open(&self.path)?;
        let footer = reader::checked_footer(&file, self.bytes, footer)?;
        let mut sizes: FxHashMap<Arc<str>, MetricSize> = FxHashMap::default();
        for row in index.iter() {
            let metric = &row.key.metric;
            let size = sizes.entry(Arc::clone(metric)).or_insert_with(|| MetricSize {
                metric: Arc::clone(metric),
                points: 0,
                bytes: 0.0,
            });
            size.points += row.summary.count;
        }
        reader::guarded(&self.path, || {
            let policy = PageIndexPolicy::Required;
            let mut metadata = ParquetMetaDataReader::new().with_page_index_policy(policy);
            metadata.try_parse_sized(&footer, self.bytes)?;
            let metadata =
                ArrowReaderMetadata::try_new(metadata.finish()?.into(), ArrowReaderOptions::new())?;
            let metadata = metadata.metadata();
            let pages = metadata
                .offset_index()
                .ok_or_else(|| ParquetError::General("it has no offset index".to_owned()))?;
            let mut first_row = 0;
            for (group, pages) in metadata.row_groups().iter().zip(pages) {
                let rows = first_row..first_row + group.num_rows().cast_unsigned();
                first_row = rows.end;
                for (chunk, pages) in group.columns().iter().zip(pages) {
                    let pages = pages.page_locations();
                    let starts =
                        pages.iter().map(|page| rows.start + page.first_row_index.cast_unsigned());
                    let ends = starts.clone().skip(1).chain([rows.end]);
                    let mut left = compressed(chunk);
                    for ((start, end), page) in starts.zip(ends).zip(pages) {
                        let bytes = u64::from(page.compressed_page_size.cast_unsigned());
                        left = left.saturating_sub(bytes);
                        share(&index, start..end, bytes, &mut sizes);
                    }
                    // The dictionary, which all pages of the group share.
                    share(&index, rows.clone(), left, &mut sizes);
                }
            }
            Ok(())
        })?;
        let mut sizes: Vec<_> = sizes.into_values().collect();
        sizes.sort_by(|a, b| a.metric.cmp(&b.metric));
        Ok(sizes)
    }
}

fn compressed(chunk: &ColumnChunkMetaData) -> u64 {
    u64::try_from(chunk.compressed_size()).unwrap_or(0)
}

/// Gives each metric its share of `bytes` that hold these rows.
#[expect(clippy::cast_precision_loss, reason = "sizes are shown to three digits")]
fn share(
    index: &[IndexRow],
    rows: Range<u64>,
    bytes: u64,
    sizes: &mut FxHashMap<Arc<str>, MetricSize>,
) {
    let all = rows.end.saturating_sub(rows.start).max(1) as f64;
    let from = index.partition_point(|row| row.rows().end <= rows.start);
    for row in index[from..].iter().take_while(|row| row.first_row < rows.end) {
        let part = row.rows().end.min(rows.end) - row.first_row.max(rows.start);
        if let Some(size) = sizes.get_mut(&row.key.metric) {
            size.bytes += bytes as f64 * part as f64 / all;
        }
    }
}
