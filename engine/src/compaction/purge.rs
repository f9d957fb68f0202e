//! Leaves runs that were deleted for good out of the files of a lake.
//!
//! Points go first, then what is said of the runs: as long as a point of a run is anywhere, the fact that it is deleted has
//! to stay, or the point would be seen again. A crash between any two steps leaves runs that are deleted as before.

use std::sync::Arc;

use super::{ASKED, Compacted, Edit, Outcome, RunKeys, Table, World, limits_for, merge};
use crate::{Filter, Result, SegmentMeta, segment};

/// Rewrites the segments that hold `doomed` runs without them. The caller sees to it that nothing of them is in a log.
pub(super) fn purge(
    points: &Table,
    facts: &Table,
    doomed: &RunKeys,
    done: &mut Compacted,
    world: &mut World<'_>,
) -> Result<()> {
    if doomed.is_empty() {
        return Ok(());
    }
    let is_doomed = |project: &Arc<str>, run_id: &Arc<str>| {
        doomed.contains(&(Arc::clone(project), Arc::clone(run_id)))
    };
    for segment in holders(points, doomed)? {
        if segment.index.is_none() || segment.source.is_some() {
            // Another program wrote it, and nobody says how it is sorted; or it came from a lake that is merged again, and would
            // come again. Its points stay hidden.
            return Ok(());
        }
        let index = segment::read_index(&segment)?;
        let rows = index.iter().filter(|row| is_doomed(&row.key.project, &row.key.run_id));
        let rows: u64 = rows.map(|row| row.summary.count).sum();
        if rows == 0 {
            continue;
        }
        let keeps = |key: &crate::SeriesKey| !is_doomed(&key.project, &key.run_id);
        if segment.is_expired() {
            let (dir, level) = (points.dir(), merge::LEVEL);
            let kept = segment::without_points(dir, level, &segment, &keeps, &|_| None)?;
            if !replace(points, &segment, Vec::from_iter(kept), "delete", world)? {
                return Ok(());
            }
            continue;
        }
        let full_bytes = limits_for(points, ASKED).full_bytes;
        let mut goes_on = |rows| (world.goes_on)(rows, segment.rows);
        let inputs = [Arc::clone(&segment)];
        let kept = merge::points(points.dir(), &inputs, full_bytes, &keeps, &mut goes_on)?;
        let Some(kept) = kept else { return Ok(()) };
        if !replace(points, &segment, kept, "delete", world)? {
            return Ok(());
        }
        done.purged_points += rows;
    }
    for segment in holders(facts, doomed)? {
        let keeps = |fact: &crate::Fact| !is_doomed(&fact.project, &fact.run_id);
        let mut goes_on = |rows| (world.goes_on)(rows, segment.rows);
        let inputs = [Arc::clone(&segment)];
        let kept = merge::facts(facts.dir(), &inputs, &keeps, &mut goes_on)?;
        let Some(kept) = kept else { return Ok(()) };
        if !replace(facts, &segment, kept, "delete", world)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The segments that may hold one of the runs.
fn holders(table: &Table, doomed: &RunKeys) -> Result<Vec<Arc<SegmentMeta>>> {
    Ok(holders_among(&table.load()?.segments, doomed).cloned().collect())
}

/// Those of `segments` that may hold one of the runs.
pub(super) fn holders_among<'a>(
    segments: &'a [Arc<SegmentMeta>],
    runs: &RunKeys,
) -> impl Iterator<Item = &'a Arc<SegmentMeta>> {
    let (projects, runs) = runs.iter().map(|(p, r)| (p.to_string(), r.to_string())).unzip();
    let filter = Filter { projects: Some(projects), runs: Some(runs), metrics: None };
    segments.iter().filter(move |segment| filter.may_want(segment))
}

/// Commits what is kept of a segment in its stead; false where somebody else replaced it.
pub(super) fn replace(
    table: &Table,
    segment: &SegmentMeta,
    kept: Vec<segment::NewSegment>,
    operation: &'static str,
    world: &World<'_>,
) -> Result<bool> {
    let edit = Edit {
        adds: Vec::new(),
        removes: vec![segment.name.clone()],
        txns: Vec::new(),
        operation,
        data_change: true,
        takes_place: true,
    };
    let outcome = segment::commit(table, kept, edit, (world.now_us)())?;
    Ok(outcome != Outcome::Superseded)
}
