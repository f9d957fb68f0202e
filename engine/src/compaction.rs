//! Keeps a table small in files: segments of flushes are merged into larger ones, and files that nobody needs any more
//! are removed.
//!
//! A merge changes no row. Its files are written and placed, and one commit puts them in the stead of their inputs, or,
//! where somebody else has merged one of those, nothing happens. The inputs stay on disk for whoever still reads an older
//! version; [`collect`] removes them later. Killed between any two steps, it leaves a table with the same rows and some
//! files that no commit names, which are collected too.

mod collect;
mod expire;
mod merge;
mod plan;
mod purge;

pub use expire::Expired;

pub(crate) use collect::collect;
pub(crate) use expire::{expire, weigh};

use std::{path::Path, sync::Arc};

use rustc_hash::FxHashSet;

use crate::{
    Error, Result, SegmentMeta,
    catalog::{Edit, Outcome, Table, TableKind},
    deletion::RunKeys,
    disk,
    os::{self, Hold, Lock},
    segment,
};
use plan::{Limits, Stretch};

/// Held by whoever merges, so that no two do the same work. Nothing but work depends on it.
const LOCK: &str = "LOCK";

/// Room that a merge leaves on the disk: rows come first.
const LEAVE_FREE_BYTES: u64 = 256 << 20;

/// What a compaction takes on where somebody asked for one.
const ASKED: Limits = Limits {
    full_bytes: 64 << 20,
    most_inputs: 64,
    most_bytes: 256 << 20,
    least_new: 0,
    is_thrifty: true,
};

/// What a writer takes on by itself: a few seconds of one core, once flushes have left many files.
const UNASKED: Limits = Limits { most_inputs: 32, most_bytes: 32 << 20, least_new: 16, ..ASKED };

/// The limits for a table: facts are merged in memory.
fn limits_for(table: &Table, limits: Limits) -> Limits {
    if table.kind() == TableKind::Points {
        return limits;
    }
    Limits { full_bytes: 8 << 20, most_bytes: 16 << 20, ..limits }
}

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Segments that were merged, of both tables.
    pub merged: u64,
    /// The segments that they became.
    pub into: u64,
    /// Points of deleted runs that were left out for good.
    pub purged_points: u64,
    /// Files of the tables `runs`, `config` and `series` that were written anew, one a project.
    pub folded: u64,
    /// Files that were removed.
    pub freed_files: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// True where another process was merging, so that this one did not.
    pub is_busy: bool,
    /// True where a merge was left out because the disk is almost full.
    pub lacks_space: bool,
    /// Segments that were left alone because they could not be read, one line each.
    pub problems: Vec<String>,
}

/// The world around a compaction.
pub(crate) struct World<'a> {
    /// Microseconds since 1970 (UTC).
    pub(crate) now_us: &'a dyn Fn() -> i64,
    /// Bytes that can still be written beside a folder.
    pub(crate) free_bytes: &'a dyn Fn(&Path) -> Result<u64>,
    /// Told now and then how many rows are merged, of about how many; says whether to go on.
    pub(crate) goes_on: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl<'a> World<'a> {
    /// The real one.
    pub(crate) fn here(goes_on: &'a mut dyn FnMut(u64, u64) -> bool) -> Self {
        let free_bytes = &|folder: &Path| {
            os::free_bytes(folder).map_err(|error| Error::io("look at", folder, error))
        };
        Self { now_us: &os::now_us, free_bytes, goes_on }
    }
}

/// Leaves `doomed` runs out, merges whatever is there and worth it, until few files are left, and then removes what nobody
/// needs: what was replaced an hour ago, or just now with `gc_now`, and what killed processes left a day ago.
pub(crate) fn run(
    lake: &Path,
    points: &Table,
    facts: &Table,
    doomed: &RunKeys,
    gc_now: bool,
    world: &mut World<'_>,
) -> Result<Compacted> {
    let mut done = Compacted::default();
    if points.load()?.version.is_none() && facts.load()?.version.is_none() {
        return Ok(done);
    }
    if let Some(_turn) = take_turn(lake)? {
        purge::purge(points, facts, doomed, &mut done, world)?;
        let mut rows = 0;
        for table in [facts, points] {
            let mut merging = Merging::new(table, limits_for(table, ASKED), rows);
            while merging.next(&mut done, world)? {}
            // So far with little writing; now what that has left.
            merging.limits.is_thrifty = false;
            while merging.next(&mut done, world)? {}
            rows = merging.rows;
        }
    } else {
        done.is_busy = true;
    }
    for table in [points, facts] {
        collect(table, gc_now, (world.now_us)(), &mut done)?;
    }
    Ok(done)
}

/// Whether the table has so many files of flushes that its writers merge some.
pub(crate) fn is_due(table: &Table) -> Result<bool> {
    let limits = limits_for(table, UNASKED);
    let stretches = plan::stretches(&table.load()?.segments, &FxHashSet::default(), &limits);
    Ok(plan::plan(&stretches, &limits).is_some())
}

/// Makes one small merge where that is due and nobody else merges, and then removes what was replaced an hour ago.
pub(crate) fn run_once(lake: &Path, table: &Table, world: &mut World<'_>) -> Result<Compacted> {
    let mut done = Compacted::default();
    let Some(_turn) = take_turn(lake)? else {
        done.is_busy = true;
        return Ok(done);
    };
    if Merging::new(table, limits_for(table, UNASKED), 0).next(&mut done, world)? {
        collect(table, false, (world.now_us)(), &mut done)?;
    }
    Ok(done)
}

/// Takes the lock of those who merge; none where somebody else has it.
pub(crate) fn take_turn(lake: &Path) -> Result<Option<Lock>> {
    let path = lake.join("tables").join(LOCK);
    Lock::try_take(disk::open_to_lock(&path)?, Hold::Exclusive)
        .map_err(|error| Error::io("lock", &path, error))
}

/// Merges of one table, one after the other.
struct Merging<'a> {
    table: &'a Table,
    limits: Limits,
    /// Segments that could not be read.
    broken: FxHashSet<String>,
    /// The version at the first look. What others commit later is left for later: whoever merged that too would follow
    /// a busy writer for ever.
    began_at: Option<u64>,
    /// What was merged here since.
    made: FxHashSet<String>,
    /// Rows that were merged so far.
    rows: u64,
}

impl<'a> Merging<'a> {
    fn new(table: &'a Table, limits: Limits, rows: u64) -> Self {
        let (broken, made) = (FxHashSet::default(), FxHashSet::default());
        Self { table, limits, broken, began_at: None, made, rows }
    }

    /// Makes the next merge. False where there is none to make, or no room, or it was given up, or somebody else was
    /// faster and may go on.
    fn next(&mut self, done: &mut Compacted, world: &mut World<'_>) -> Result<bool> {
        let version = self.table.load()?;
        let began_at = *self.began_at.get_or_insert_with(|| version.version.unwrap_or(0));
        let late = version.segments.iter().filter(|segment| segment.version > began_at);
        let late = late.map(|segment| &segment.name).filter(|name| !self.made.contains(*name));
        let left_alone = self.broken.iter().chain(late).cloned().collect();
        let stretches = plan::stretches(&version.segments, &left_alone, &self.limits);
        let Some(inputs) = plan::plan(&stretches, &self.limits) else { return Ok(false) };
        let bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
        if (world.free_bytes)(self.table.dir())? < bytes.saturating_add(LEAVE_FREE_BYTES) {
            done.lacks_space = true;
            return Ok(false);
        }
        let (before, all) = (self.rows, self.rows + rows_to_merge(&stretches));
        let mut goes_on = |rows| (world.goes_on)(before + rows, all);
        let (dir, full_bytes) = (self.table.dir(), self.limits.full_bytes);
        let merged = if self.table.kind() == TableKind::Points {
            merge::points(dir, inputs, full_bytes, &|_| true, &mut goes_on)
        } else {
            merge::facts(dir, inputs, &|_| true, &mut goes_on)
        };
        let segments = match merged {
            Ok(Some(segments)) => segments,
            Ok(None) => return Ok(false),
            Err(error) => {
                // Damage does not spread: the file stays where it is, and the others are merged without it.
                let Some(name) = unreadable(&error, inputs) else { return Err(error) };
                self.broken.insert(name);
                done.problems.push(error.to_string());
                return Ok(true);
            }
        };
        let into = segments.len() as u64;
        let made: Vec<_> = segments.iter().map(|segment| segment.add.name()).collect();
        let edit = Edit {
            adds: Vec::new(),
            removes: inputs.iter().map(|input| input.name.clone()).collect(),
            txns: Vec::new(),
            operation: "compact",
            data_change: false,
            takes_place: true,
        };
        match segment::commit(self.table, segments, edit, (world.now_us)())? {
            Outcome::Superseded => return Ok(false),
            Outcome::Committed(_) => self.made.extend(made),
        }
        done.merged += inputs.len() as u64;
        done.into += into;
        self.rows += inputs.iter().map(|input| input.rows).sum::<u64>();
        Ok(true)
    }
}

/// About how many rows merges will read.
fn rows_to_merge(stretches: &[Stretch]) -> u64 {
    let stretches = stretches.iter().filter(|stretch| stretch.len() > 1);
    stretches.flatten().map(|segment| segment.rows).sum()
}

/// The input that an error says cannot be read.
fn unreadable(error: &Error, inputs: &[Arc<SegmentMeta>]) -> Option<String> {
    let (Error::Corrupt { path, .. } | Error::SnapshotExpired { path }) = error else {
        return None;
    };
    let input = inputs.iter().find(|it| it.path == *path || it.index.as_ref() == Some(path))?;
    Some(input.name.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        Fact, FactKind, Filter, Points, SeriesIndex, SeriesKey,
        segment::{
            NewSegment, Summary,
            tests::{any_points, key_of, rows_of, sorted_rows},
        },
    };

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    /// A lake with a table of points, and the points that were ever flushed to it, in the order of logging.
    struct Bench {
        lake: tempfile::TempDir,
        points: Table,
        facts: Table,
        logged: Points,
        index: SeriesIndex,
    }

    impl Bench {
        fn new() -> Self {
            let lake = tempfile::tempdir().unwrap();
            let points = Table::new(lake.path(), TableKind::Points);
            let facts = Table::new(lake.path(), TableKind::Facts);
            let (logged, index) = (Points::default(), SeriesIndex::default());
            Self { lake, points, facts, logged, index }
        }

        /// With four flushes that repeat and go back in steps.
        fn filled() -> Self {
            let mut bench = Self::new();
            for round in 0..4 {
                bench.flush(&some_points(round));
            }
            bench
        }

        fn flush(&mut self, points: &Points) {
            self.logged.extend(&mut self.index, points);
            flush(&self.points, points);
        }

        fn run(&self, gc_now: bool) -> Compacted {
            self.run_at(gc_now, os::now_us())
        }

        fn run_at(&self, gc_now: bool, now_us: i64) -> Compacted {
            let (goes_on, now_us) = (&mut |_, _| true, &|| now_us);
            let mut world = World { now_us, ..World::here(goes_on) };
            run(
                self.lake.path(),
                &self.points,
                &self.facts,
                &RunKeys::default(),
                gc_now,
                &mut world,
            )
            .unwrap()
        }

        /// Asserts that a new reader finds the points that were logged, in the order of logging, and a sound table.
        fn check(&self, when: &str) {
            let table = Table::new(self.lake.path(), TableKind::Points);
            let (mut read, mut index) = (Points::default(), SeriesIndex::default());
            for segment in &table.load().unwrap().segments {
                segment.check().unwrap();
                read.extend(
                    &mut index,
                    &segment::read_points(segment, &Filter::default()).unwrap(),
                );
            }
            assert_eq!(
                sorted_rows(&read.sort()),
                sorted_rows(&self.logged.clone().sort()),
                "{when}"
            );
        }

        /// The files in the folders of the table.
        fn files(&self) -> BTreeSet<String> {
            let folders = ["_staging", "_index", "_rollups", "l0", "l1"].into_iter();
            let names = |folder: &str| disk::list(&self.points.dir().join(folder)).unwrap();
            folders
                .flat_map(|folder| {
                    names(folder).into_iter().map(move |it| format!("{folder}/{it}"))
                })
                .collect()
        }

        /// The files that the newest version needs.
        fn needed(&self) -> BTreeSet<String> {
            let segments = &self.points.load().unwrap().segments;
            let names = segments.iter().map(|it| it.name.clone());
            let indexes = segments
                .iter()
                .map(|it| format!("_index/{}", it.path.file_name().unwrap().to_str().unwrap()));
            names.chain(indexes).collect()
        }
    }

    fn some_points(round: i64) -> Points {
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        for run in ["a", "b"] {
            for metric in ["loss", "acc"] {
                let series = index.intern(&mut points, key_of(run, metric, None, "one"));
                for step in [round * 2, round * 2 + 1, 3, 3] {
                    points.push(series, step, step, round as f64);
                }
            }
        }
        points
    }

    fn flush(table: &Table, points: &Points) {
        let sorted = points.clone().sort();
        let segments =
            sorted.projects().map(|it| segment::write_points(table.dir(), &sorted, it, 0));
        let segments = segments.collect::<Result<Vec<_>>>().unwrap();
        let _outcome = segment::commit(table, segments, edit(&[]), os::now_us()).unwrap();
    }

    fn edit(inputs: &[Arc<SegmentMeta>]) -> Edit {
        Edit {
            adds: Vec::new(),
            removes: inputs.iter().map(|input| input.name.clone()).collect(),
            txns: Vec::new(),
            operation: "test",
            data_change: inputs.is_empty(),
            takes_place: true,
        }
    }

    fn of_project(mut points: Points, project: &str) -> Points {
        points.keys.iter_mut().for_each(|key| key.project = project.into());
        points
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_merge_is_the_sort_of_all_that_was_flushed(
            flushes in proptest::collection::vec((any_points(120), 0..2_usize), 2..7),
        ) {
            let mut bench = Bench::new();
            for (points, project) in flushes {
                bench.flush(&of_project(points, ["p", "q"][project]));
            }
            let before = bench.points.load().unwrap().segments.len();
            let done = bench.run(false);
            bench.check("after the merge");
            let segments = bench.points.load().unwrap().segments.clone();
            let projects: BTreeSet<_> = segments.iter().map(|segment| segment.project.clone()).collect();
            prop_assert_eq!(projects.len(), segments.len(), "one file is left of each project");
            prop_assert_eq!(before as u64 - done.merged + done.into, segments.len() as u64);
            for segment in &segments {
                let points = segment::read_points(segment, &Filter::default()).unwrap();
                let rows = rows_of(&points);
                let by_order = |row: &(SeriesKey, i64, i64, u64)| (row.0.clone(), row.1);
                prop_assert!(rows.is_sorted_by_key(by_order));
                for row in segment::read_index(segment).unwrap().iter() {
                    let mine = rows.iter().filter(|point| point.0 == row.key);
                    let mine = mine.map(|point| (point.1, point.2, f64::from_bits(point.3)));
                    let expected = Summary::of_points(mine).unwrap();
                    prop_assert!(row.summary.agrees_with(&expected), "{row:?} {expected:?}");
                }
            }
            prop_assert_eq!(bench.run(false), Compacted::default(), "there is nothing left to do");
        }

        #[test]
        fn full_files_end_where_a_run_ends(flushes in proptest::collection::vec(any_points(60), 2..5)) {
            let mut bench = Bench::new();
            for points in &flushes {
                bench.flush(points);
            }
            let inputs = bench.points.load().unwrap().segments.clone();
            // The first bytes of a file make it full, so that every run has its own.
            let merged = merge::points(bench.points.dir(), &inputs, 4, &|_| true, &mut |_| true);
            let merged = merged.unwrap().unwrap();
            let runs: BTreeSet<_> = bench.logged.keys.iter().map(|key| Arc::clone(&key.run_id)).collect();
            prop_assert_eq!(merged.len(), runs.len());
            let outcome = segment::commit(&bench.points, merged, edit(&inputs), 0).unwrap();
            prop_assert!(matches!(outcome, Outcome::Committed(_)));
            for segment in &bench.points.load().unwrap().segments {
                prop_assert_eq!(segment.runs.as_ref().map(Vec::len), Some(1));
            }
            bench.check("after the merge");
        }
    }

    #[test]
    fn series_longer_than_batches_and_row_groups_are_merged_point_by_point() {
        let mut bench = Bench::new();
        for round in 0..3 {
            let (mut points, mut index) = (Points::default(), SeriesIndex::default());
            let series = index.intern(&mut points, key_of("a", "loss", None, "one"));
            // The steps of the three lie between one another, and every seventh is in all of them.
            for at in 0..400_000 {
                let step = if at % 7 == 0 { at * 3 } else { at * 3 + round };
                points.push(series, step, step * 1000, (at * round) as f64);
            }
            bench.flush(&points);
        }
        let done = bench.run(false);
        assert_eq!((done.merged, done.into), (3, 1));
        bench.check("after the merge");
    }

    #[test]
    fn killed_after_any_step_a_merge_leaves_the_same_points_and_only_leftovers() {
        type Step = fn(Vec<NewSegment>, &Bench, Edit);
        let steps: [(&str, Step); 4] = [
            ("written", |merged, _, _| merged.into_iter().for_each(|it| drop(it.keep()))),
            ("the index is placed", |merged, bench, _| {
                for segment in merged {
                    let name = segment.add.name().replace("l1/", "");
                    let staged = name.replace(".parquet", ".index.parquet");
                    disk::create_dirs(&bench.points.dir().join("_index")).unwrap();
                    let staged = bench.points.dir().join("_staging").join(staged);
                    disk::place(&staged, &bench.points.dir().join("_index").join(name)).unwrap();
                    drop(segment.keep());
                }
            }),
            ("placed", |merged, _, _| {
                for mut segment in merged {
                    segment.place().unwrap();
                    drop(segment.keep());
                }
            }),
            ("committed", |merged, bench, edit| {
                let outcome = segment::commit(&bench.points, merged, edit, os::now_us()).unwrap();
                assert!(matches!(outcome, Outcome::Committed(_)));
            }),
        ];
        for (step, kill_after) in steps {
            let mut bench = Bench::filled();
            let inputs = bench.points.load().unwrap().segments.clone();
            let merged = merge::points(bench.points.dir(), &inputs, 4, &|_| true, &mut |_| true);
            kill_after(merged.unwrap().unwrap(), &bench, edit(&inputs));
            bench.check(step);
            assert!(bench.needed().is_subset(&bench.files()) && bench.needed() != bench.files());
            bench.flush(&some_points(9));
            bench.run(false);
            bench.check(step);
            bench.run_at(false, os::now_us() + 2 * DAY_US);
            bench.check(step);
            assert_eq!(bench.files(), bench.needed(), "{step}");
        }
    }

    #[test]
    fn a_collection_that_is_killed_between_two_files_is_finished_by_the_next_one() {
        let bench = Bench::filled();
        bench.run(false);
        let garbage: Vec<String> = bench.files().difference(&bench.needed()).cloned().collect();
        assert_eq!(garbage.len(), 8, "four segments and their indexes");
        for file in garbage.iter().filter(|file| file.starts_with("l0")).take(2) {
            disk::remove_if_there(&bench.points.dir().join(file)).unwrap();
        }
        bench.check("killed");
        assert_eq!(bench.run(true).freed_files, 6);
        assert_eq!(bench.files(), bench.needed());
        bench.check("finished");
    }

    #[test]
    fn what_is_collected_is_what_nobody_needs_and_nothing_younger() {
        let bench = Bench::filled();
        let dir = bench.points.dir().to_owned();
        let leftovers = [
            "l0/placed.parquet",
            "l1/placed.parquet",
            "_index/placed.parquet",
            "_staging/half.parquet",
            "_delta_log/.5f.tmp",
        ];
        let replaced = bench.needed();
        let now_us = os::now_us();
        assert_eq!(bench.run_at(false, now_us).merged, 4);
        for name in leftovers {
            disk::create_with(&dir.join(name), b"1234").unwrap();
        }
        disk::create_with(&dir.join("mine.txt"), b"somebody's own").unwrap();
        let commits = || disk::list(&dir.join("_delta_log")).unwrap();
        let before = commits();

        let hour_us = 3600 * 1_000_000;
        assert_eq!(bench.run_at(false, now_us + hour_us - 2000).freed_files, 0, "before the hour");
        assert!(replaced.is_subset(&bench.files()));
        let bytes: u64 = replaced.iter().map(|name| disk::size(&dir.join(name)).unwrap()).sum();
        let done = bench.run_at(false, now_us + hour_us + 2000);
        assert_eq!((done.freed_files, done.freed_bytes), (8, bytes), "after the hour");
        assert!(replaced.is_disjoint(&bench.files()));

        let is_there = |name: &&str| disk::exists(&dir.join(name)).unwrap();
        assert_eq!(bench.run_at(true, now_us + DAY_US - hour_us), Compacted::default());
        assert!(leftovers.iter().all(is_there), "a flush may be about to commit them");
        let done = bench.run_at(false, now_us + DAY_US + hour_us);
        assert_eq!((done.freed_files, done.freed_bytes), (5, 20), "after a day");
        assert_eq!(bench.files(), bench.needed());
        assert!(is_there(&"mine.txt"));
        assert_eq!(commits(), before.into_iter().filter(|it| it != ".5f.tmp").collect::<Vec<_>>());
        bench.check("at the end");
    }

    #[test]
    fn of_two_merges_of_one_file_the_first_wins_and_the_other_leaves_nothing() {
        let bench = Bench::filled();
        let other = Table::new(bench.lake.path(), TableKind::Points);
        let mut is_first = true;
        let mut faster = |_: u64, _: u64| {
            // Before our merge reads anything, somebody else makes the same merge.
            if std::mem::take(&mut is_first) {
                let mut goes_on = |_: u64, _: u64| true;
                let mut merging = Merging::new(&other, ASKED, 0);
                assert!(
                    merging
                        .next(&mut Compacted::default(), &mut World::here(&mut goes_on))
                        .unwrap()
                );
            }
            true
        };
        let mut done = Compacted::default();
        let mut merging = Merging::new(&bench.points, ASKED, 0);
        assert!(!merging.next(&mut done, &mut World::here(&mut faster)).unwrap());
        assert_eq!(done, Compacted::default());
        bench.check("after both");
        assert_eq!(bench.run(true).freed_files, 8, "the four inputs and their indexes");
        assert_eq!(bench.files(), bench.needed());
    }

    #[test]
    fn a_flush_during_a_merge_stays_after_it() {
        let mut bench = Bench::filled();
        let (other, late) = (Table::new(bench.lake.path(), TableKind::Points), some_points(1));
        let mut is_first = true;
        let mut flushes = |_: u64, _: u64| {
            if std::mem::take(&mut is_first) {
                flush(&other, &late);
            }
            true
        };
        let mut done = Compacted::default();
        let mut merging = Merging::new(&bench.points, ASKED, 0);
        assert!(merging.next(&mut done, &mut World::here(&mut flushes)).unwrap());
        bench.logged.extend(&mut bench.index, &late);
        assert_eq!(bench.points.load().unwrap().segments.len(), 2);
        bench.check("after the merge");
        bench.run(false);
        bench.check("after another");
    }

    #[test]
    fn a_compaction_ends_however_fast_others_flush() {
        let mut bench = Bench::filled();
        let other = Table::new(bench.lake.path(), TableKind::Points);
        let mut late = Vec::new();
        let mut flushes = |_: u64, _: u64| {
            assert!(late.len() < 100, "what comes later is merged too, and there is no end");
            late.push(some_points(7));
            flush(&other, &late[late.len() - 1]);
            true
        };
        let mut world = World::here(&mut flushes);
        let done = run(
            bench.lake.path(),
            &bench.points,
            &bench.facts,
            &RunKeys::default(),
            false,
            &mut world,
        )
        .unwrap();
        assert_eq!((done.merged, done.into), (4, 1));
        for points in &late {
            bench.logged.extend(&mut bench.index, points);
        }
        assert_eq!(bench.points.load().unwrap().segments.len(), 1 + late.len());
        bench.check("after the merge");
        bench.run(false);
        bench.check("after another");
    }

    #[test]
    fn a_merge_that_is_given_up_or_finds_no_room_leaves_the_table_as_it_was() {
        let bench = Bench::filled();
        let (files, lake) = (bench.files(), bench.lake.path());
        let mut looks = 0;
        let mut gives_up = |_, _| {
            looks += 1;
            false
        };
        let mut world = World::here(&mut gives_up);
        let done =
            run(lake, &bench.points, &bench.facts, &RunKeys::default(), false, &mut world).unwrap();
        assert_eq!((done, bench.files()), (Compacted::default(), files.clone()));
        assert!(looks > 0);

        let mut goes_on = |_, _| true;
        let mut world = World { free_bytes: &|_| Ok(1000), ..World::here(&mut goes_on) };
        let done =
            run(lake, &bench.points, &bench.facts, &RunKeys::default(), false, &mut world).unwrap();
        assert!(done.lacks_space && done.merged == 0);
        assert_eq!(bench.files(), files);

        let turn = take_turn(lake).unwrap().expect("nobody merges");
        assert!(bench.run(false).is_busy);
        assert_eq!(bench.files(), files);
        drop(turn);
        assert_eq!(bench.run(false).merged, 4);
        bench.check("at the end");
    }

    #[test]
    fn a_damaged_segment_stays_where_it_is_and_the_others_are_merged_around_it() {
        for damage_index in [false, true] {
            let bench = Bench::filled();
            let damaged = Arc::clone(&bench.points.load().unwrap().segments[1]);
            let path = if damage_index { damaged.index.as_ref().unwrap() } else { &damaged.path };
            let mut bytes = disk::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            disk::replace(path, &bytes).unwrap();
            let done = bench.run(false);
            assert_eq!((done.merged, done.into), (2, 1));
            let [problem] = &done.problems[..] else { panic!("{done:?}") };
            assert!(problem.contains(path.to_str().unwrap()), "{problem}");
            let left = bench.points.load().unwrap().segments.clone();
            assert_eq!(left.iter().map(|it| it.level).collect::<Vec<_>>(), [0, 0, 1]);
            assert_eq!(left[1].name, damaged.name);
        }
    }

    #[test]
    fn a_writer_merges_by_itself_once_flushes_have_left_many_files() {
        let mut bench = Bench::new();
        for round in (0..).take(UNASKED.least_new) {
            assert!(!is_due(&bench.points).unwrap());
            bench.flush(&some_points(round));
        }
        assert!(is_due(&bench.points).unwrap());
        let mut goes_on = |_, _| true;
        let mut world = World::here(&mut goes_on);
        let done = run_once(bench.lake.path(), &bench.points, &mut world).unwrap();
        assert_eq!((done.merged, done.into), (UNASKED.least_new as u64, 1));
        assert!(!is_due(&bench.points).unwrap());
        bench.check("after the merge");
    }

    #[test]
    fn facts_stay_what_was_said() {
        let bench = Bench::new();
        let fact = |run_id: &str, key: &str, value: Option<&str>, hlc| Fact {
            project: "p".into(),
            run_id: run_id.into(),
            kind: FactKind::Config,
            key: key.into(),
            value: value.map(Into::into),
            launch: "one".into(),
            hlc,
            writer: "w".into(),
            position: hlc,
        };
        let said = [
            [fact("b", "lr", Some("0.1"), 1), fact("a", "lr", Some("7"), 2)],
            [fact("b", "lr", Some("0.2"), 9), fact("a", "lr", None, 3)],
            [fact("b", "lr", Some("0.3"), 5), fact("a", "é", Some("\"x\""), 4)],
        ];
        for facts in &said {
            let segment = segment::write_facts(bench.facts.dir(), facts, 0).unwrap();
            let _outcome = segment::commit(&bench.facts, vec![segment], edit(&[]), 0).unwrap();
        }
        assert_eq!(bench.run(true).merged, 3);
        let segments = bench.facts.load().unwrap().segments.clone();
        assert_eq!((segments.len(), segments[0].level, segments[0].rows), (1, 1, 6));
        let mut read = segment::read_facts(&segments[0]).unwrap();
        read.sort_by_key(|fact| fact.hlc);
        let mut said = said.concat();
        said.sort_by_key(|fact| fact.hlc);
        assert_eq!(read, said);
        assert_eq!(disk::list(&bench.facts.dir().join("l0")).unwrap(), [""; 0]);
    }
}
