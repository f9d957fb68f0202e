//! Lets the points of old runs go and keeps what they add up to: side index and rollups.
//!
//! Segment by segment: one commit puts what is left of it in its stead, the points of the other runs in one file and what is known of
//! the expired ones in another, which has no rows. So a point is there or has been added up, never both and never neither, however
//! often it is killed; whoever expires the same runs again goes on with the segments that still hold points of them.

use std::{path::Path, sync::Arc};

use super::{ASKED, LEAVE_FREE_BYTES, RunKeys, Table, World, limits_for, merge, purge, take_turn};
use crate::{Error, Result, SegmentMeta, SeriesKey, segment};

/// What came of the points of old runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// Points that went.
    pub points: u64,
    /// Segments that held them.
    pub segments: u64,
    /// Segments that came from lakes that are merged again, and so stay as they are: expire there.
    pub left_alone: u64,
    /// True where another process was merging, so that nothing was done.
    pub is_busy: bool,
    /// True where it was given up before all was done.
    pub is_given_up: bool,
    /// True where it was left because the disk is almost full.
    pub lacks_space: bool,
    /// Segments that were left alone because they could not be read, one line each.
    pub problems: Vec<String>,
}

/// How many points of each of the `runs` are there, and about what they take on disk. Reads side indexes.
pub(crate) fn weigh(
    segments: &[Arc<SegmentMeta>],
    runs: &RunKeys,
    mut add: impl FnMut(&SeriesKey, u64, f64),
) -> Result<()> {
    for segment in purge::holders_among(segments, runs).filter(|it| holds_points(it)) {
        let bytes_a_point = segment.bytes as f64 / segment.rows.max(1) as f64;
        for row in segment::IndexRows::of(segment)? {
            let row = row?;
            let (key, count) = (&row.key, row.summary.count);
            if runs.contains(&(Arc::clone(&key.project), Arc::clone(&key.run_id))) {
                add(key, count, count as f64 * bytes_a_point);
            }
        }
    }
    Ok(())
}

/// Whether points can expire in it. Of files of other programs nobody knows how they are sorted.
fn holds_points(segment: &SegmentMeta) -> bool {
    segment.index.is_some() && !segment.is_expired()
}

/// Lets the points of `runs` go, of which none stands in a log. `hidden_from` says which of them do not count.
pub(crate) fn expire(
    lake: &Path,
    table: &Table,
    runs: &RunKeys,
    hidden_from: &dyn Fn(&SeriesKey) -> Option<i64>,
    world: &mut World<'_>,
) -> Result<Expired> {
    let mut done = Expired::default();
    let Some(_turn) = take_turn(lake)? else {
        done.is_busy = true;
        return Ok(done);
    };
    let expires =
        |key: &SeriesKey| runs.contains(&(Arc::clone(&key.project), Arc::clone(&key.run_id)));
    let version = table.load()?;
    let holders: Vec<_> = purge::holders_among(&version.segments, runs)
        .filter(|segment| holds_points(segment))
        .cloned()
        .collect();
    let all = holders.iter().map(|segment| segment.rows).sum();
    let full_bytes = limits_for(table, ASKED).full_bytes;
    let mut read = 0;
    for segment in holders {
        let before = read;
        read += segment.rows;
        if segment.source.is_some() {
            done.left_alone += 1;
            continue;
        }
        if (world.free_bytes)(table.dir())? < segment.bytes.saturating_add(LEAVE_FREE_BYTES) {
            done.lacks_space = true;
            break;
        }
        let mut goes_on = |rows| (world.goes_on)(before + rows, all);
        let inputs = [Arc::clone(&segment)];
        let written =
            merge::points(table.dir(), &inputs, full_bytes, &|key| !expires(key), &mut goes_on)
                .and_then(|kept| {
                    let (dir, level) = (table.dir(), merge::LEVEL);
                    let sides =
                        segment::without_points(dir, level, &segment, &expires, hidden_from)?;
                    Ok((kept, sides))
                });
        let (mut new, sides) = match written {
            Ok((Some(kept), sides)) => (kept, sides),
            Ok((None, _)) => {
                done.is_given_up = true;
                break;
            }
            // Damage does not spread: the segment stays as it is.
            Err(error @ (Error::Corrupt { .. } | Error::SnapshotExpired { .. })) => {
                done.problems.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let kept: u64 = new.iter().map(segment::NewSegment::rows).sum();
        if kept == segment.rows {
            continue;
        }
        new.extend(sides);
        if purge::replace(table, &segment, new, "expire", world)? {
            done.points += segment.rows - kept;
            done.segments += 1;
        }
    }
    Ok(done)
}
