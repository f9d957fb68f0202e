//! What stays of series whose points have expired: their rows of the side index and their rollups, beside a data file without
//! rows.

use std::path::Path;

use super::{
    SegmentMeta, reader,
    reader::IndexRows,
    rollup::{Cell, Level, Pyramid},
    writer::{NewSegment, SidesWriter},
};
use crate::{Result, SeriesKey};

/// Writes of the series of `segment` that `wants` names what they add up to and no point. Of a series into which hiding cuts, as
/// `hidden_from` says, only what counts is kept. `None` where there is no such series.
pub(crate) fn without_points(
    table: &Path,
    level: u8,
    segment: &SegmentMeta,
    wants: &dyn Fn(&SeriesKey) -> bool,
    hidden_from: &dyn Fn(&SeriesKey) -> Option<i64>,
) -> Result<Option<NewSegment>> {
    let levels = match &segment.rollup {
        Some(rollup) => rollup.levels()?,
        None => Vec::new(),
    };
    let mut levels: Vec<Level> = levels.into_iter().map(Level::new).collect();
    let mut kept = SidesWriter::new(table, level);
    for (at, row) in (0..).zip(IndexRows::of(segment)?) {
        let row = row?;
        let cells: Vec<Vec<Cell>> =
            levels.iter_mut().map(|level| level.take(at)).collect::<Result<_>>()?;
        if !wants(&row.key) {
            continue;
        }
        let (first, last) = (row.summary.first.0, row.summary.last.0);
        match hidden_from(&row.key) {
            Some(from) if from <= first => {}
            // What has expired before cannot be cut any more.
            Some(from) if from <= last && !segment.is_expired() => {
                let points = reader::read_series(segment, |key| *key == row.key)?;
                let rows = points.steps.partition_point(|&step| step < from);
                let mut pyramid = Pyramid::default();
                pyramid.push(&points.steps[..rows], &points.times[..rows], &points.values[..rows]);
                if let Some((summary, cells)) = pyramid.finish() {
                    kept.push(row.key, summary, cells)?;
                }
            }
            _ => {
                let cells = cells.into_iter().take_while(|cells| !cells.is_empty()).collect();
                kept.push(row.key, row.summary, cells)?;
            }
        }
    }
    kept.finish()
}
