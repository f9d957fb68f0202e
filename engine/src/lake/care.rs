//! Crashes at every moment of what keeps a lake in order: deleting, expiring, merging another lake, the tables for other programs,
//! and collecting what nobody needs. What is committed is durable before, so a crash may leave of each of these a part that makes
//! sense, and whoever does the same again comes to the same end.
//!
//! `RUNLAKE_CRASHES` says how many crashes each test tries, `RUNLAKE_SEED` which.

use std::{collections::BTreeMap, path::Path};

use super::crash::{self, Dice, TWO_DAYS_US};
use crate::{
    Filter, Lake, SeriesInfo, State,
    catalog::{Table, TableKind},
    disk::{self, model::Disk},
};

/// What readers see of a lake.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    /// The points of each run that is not deleted, sorted: metric, step, bits of the value.
    points: BTreeMap<String, Vec<(String, i64, u64)>>,
    /// What the series add up to.
    series: Vec<String>,
    /// The runs.
    runs: Vec<String>,
}

impl Seen {
    /// Reads a lake and verifies everything in it.
    fn of(path: &Path) -> Self {
        use arrow::{
            array::AsArray as _,
            datatypes::{Float64Type, Int32Type, Int64Type},
        };
        let lake = Lake::open(path).unwrap();
        let snapshot = lake.snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0]);
        for segment in snapshot.segments() {
            assert_eq!(segment.verify_points(&mut |_| {}).unwrap(), [""; 0]);
        }
        for segment in snapshot.fact_segments() {
            assert_eq!(segment.verify_facts().unwrap(), [""; 0]);
        }
        for (_, segment) in lake.folded_segments().unwrap() {
            assert_eq!(segment.verify_rows().unwrap(), [""; 0]);
        }
        let mut runs: Vec<String> =
            snapshot.runs().unwrap().iter().map(|run| run.run_id.to_string()).collect();
        runs.sort();
        let mut points: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for batch in snapshot.scan(&Filter::default()).unwrap() {
            let batch = batch.unwrap();
            let text = |column: usize, row: usize| {
                let column = batch.column(column).as_dictionary::<Int32Type>();
                let names = column.values().as_string::<i32>();
                names.value(usize::try_from(column.keys().value(row)).unwrap()).to_owned()
            };
            let steps = batch.column(5).as_primitive::<Int64Type>();
            let values = batch.column(7).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let point = (text(2, row), steps.value(row), values.value(row).to_bits());
                points.entry(text(1, row)).or_default().push(point);
            }
        }
        points.retain(|run_id, _| runs.contains(run_id));
        for points in points.values_mut() {
            points.sort();
        }
        let of = |it: &SeriesInfo| {
            let values = [Some(it.first_value), Some(it.last_value), it.min_value, it.max_value];
            format!("{} {} {} {:?} {values:?}", it.run_id, it.metric, it.count, it.last_step)
        };
        let series = snapshot.series(&Filter::default()).unwrap().iter().map(of).collect();
        Self { points, series, runs }
    }

    fn count(&self, run_id: &str) -> usize {
        self.points.get(run_id).map_or(0, Vec::len)
    }
}

/// Logs runs into a lake and lets them go into a segment. The first one is long enough to have rollups.
fn fill(path: &Path, runs: &[&str], round: i64) {
    let lake = Lake::open_or_create(path).unwrap();
    for (at, id) in runs.iter().enumerate() {
        let launch = format!("launch {round}");
        let run = lake.run("p").id(id).launch(&launch).start().unwrap();
        let steps = if at == 0 { 2100 } else { 9 };
        for step in round * steps / 2..round * steps / 2 + steps {
            run.log_named(step, &[("loss", (step % 17) as f64 + round as f64 / 8.0)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
    }
    lake.flush().unwrap();
    drop(lake);
    Lake::open(path).unwrap().adopt(&mut |_, _| {}).unwrap();
}

fn compact(path: &Path, gc_now: bool) {
    let lake = Lake::open(path).unwrap();
    assert_eq!(lake.compact(gc_now, &mut |_, _| true).unwrap().problems, [""; 0]);
}

/// Deletes a run for good, durably; the next compaction leaves it out.
fn delete(path: &Path, id: &str) {
    let lake = Lake::open(path).unwrap();
    let run = lake.snapshot().unwrap().find_run(id).unwrap();
    lake.edit(&run).unwrap().delete(true).unwrap();
    lake.flush().unwrap();
    drop(lake);
    Lake::open(path).unwrap().adopt(&mut |_, _| {}).unwrap();
}

/// Asserts that what no commit names goes once it is old, of all tables.
fn check_leftovers(path: &Path) {
    crash::compact(&crash::tables(path), true, TWO_DAYS_US);
    compact(path, true);
    for kind in [TableKind::Points, TableKind::Facts] {
        let table = Table::new(path, kind);
        let needed = table.load().unwrap().segments.len();
        let there = ["l0", "l1"].map(|level| disk::list(&table.dir().join(level)).unwrap().len());
        assert_eq!(there[0] + there[1], needed, "leftovers of {} are gone", kind.name());
        assert_eq!(disk::list(&table.dir().join("_staging")).unwrap(), [""; 0]);
    }
}

/// Makes a lake by `prepare`, crashes at the moments of `work` on it, and each time does `work` again on what is left. What is seen
/// in between has to pass `check`, given what was seen before and what is seen in the end.
fn crash_in_the_middle_of(
    prepare: impl Fn(&Path),
    work: impl Fn(&Path),
    check: impl Fn(&Seen, &Seen, &Seen),
) {
    let folder = crash::folder();
    let path = folder.path().join("runs.lake");
    prepare(&path);
    let before = Seen::of(&path);
    let disk = Disk::watch(folder.path());
    work(&path);
    let moments = disk.moments();
    drop(disk);
    let after = Seen::of(&path);
    let mut dice = Dice::new();
    // Each reads and verifies a lake four times.
    let most = crash::crashes() / 4;
    let mut crashes = 0;
    for (at, moment) in moments.iter().enumerate() {
        // A kill and two power cuts are the least that is worth a moment.
        if dice.below(moments.len()) * 3 >= most {
            continue;
        }
        let torn =
            (0..(most / moments.len()).max(2)).map(|_| moment.torn(&mut |limit| dice.below(limit)));
        let images: Vec<_> = torn.chain([moment.killed()]).collect();
        for (nth, image) in images.iter().enumerate() {
            crashes += 1;
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let (_folder, path) = crash::restart(image);
                check(&before, &after, &Seen::of(&path));
                work(&path);
                assert_eq!(Seen::of(&path), after, "done again");
                if nth == 0 {
                    check_leftovers(&path);
                    assert_eq!(Seen::of(&path), after, "collected");
                }
            }));
            if let Err(failed) = outcome {
                println!("moment {at}, after {}: {}", moment.what, image.story);
                std::panic::resume_unwind(failed);
            }
        }
    }
    println!("{crashes} crashes of {} moments: 0 lost, 0 twice, 0 unreadable", moments.len());
}

#[test]
fn what_is_not_deleted_survives_that_the_rest_is_left_out() {
    crash_in_the_middle_of(
        |path| {
            for round in 0..3 {
                fill(path, &["a", "b", "c"], round);
            }
            compact(path, true);
            fill(path, &["b", "d"], 4);
            delete(path, "b");
        },
        |path| compact(path, false),
        |before, _, seen| assert_eq!(seen, before),
    );
}

#[test]
fn points_survive_or_have_expired_and_are_added_up() {
    crash_in_the_middle_of(
        |path| {
            for round in 0..3 {
                fill(path, &["a", "b"], round);
                fill(path, &["c"], round);
            }
        },
        |path| {
            let lake = Lake::open(path).unwrap();
            let mut expiry = lake.expiry(i64::MAX, None).unwrap();
            expiry.runs.retain(|run| &*run.run_id != "b");
            assert_eq!(lake.expire(&expiry, &mut |_, _| true).unwrap().problems, [""; 0]);
        },
        |before, after, seen| {
            assert_eq!((&seen.series, &seen.runs), (&before.series, &before.runs));
            assert_eq!(seen.points.get("b"), before.points.get("b"));
            for run in ["a", "c"] {
                assert_eq!(after.count(run), 0);
                let left = seen.points.get(run).cloned().unwrap_or_default();
                assert!(left.iter().all(|point| before.points[run].contains(point)));
            }
        },
    );
}

#[test]
fn another_lake_comes_whole_and_once() {
    let source = crash::folder();
    let source = source.path().join("source.lake");
    fill(&source, &["x", "y"], 0);
    fill(&source, &["x"], 1);
    crash_in_the_middle_of(
        |path| {
            fill(path, &["a"], 0);
            let (lake, source) = (Lake::open(path).unwrap(), Lake::open(&source).unwrap());
            lake.merge(&source, false, &mut |_, _| true).unwrap();
            drop(lake);
            // The source goes on: files leave, and others come.
            fill(source.path(), &["y", "z"], 2);
            compact(source.path(), true);
        },
        |path| {
            let (lake, source) = (Lake::open(path).unwrap(), Lake::open(&source).unwrap());
            lake.merge(&source, false, &mut |_, _| true).unwrap();
        },
        |before, after, seen| {
            assert_eq!(seen.points.get("a"), before.points.get("a"));
            // Facts come first: a run may be known before its points are there.
            assert!(seen.runs == before.runs || seen.runs == after.runs);
            assert!(seen.series == before.series || seen.series == after.series);
            assert!(seen.points == before.points || seen.points == after.points);
        },
    );
}

#[test]
fn tables_for_other_programs_are_the_old_ones_or_the_new_ones() {
    let folded = |path: &Path| -> Vec<(&str, u64)> {
        let segments = Lake::open(path).unwrap().folded_segments().unwrap();
        segments.iter().map(|(table, segment)| (*table, segment.rows)).collect()
    };
    crash_in_the_middle_of(
        |path| {
            fill(path, &["a", "b"], 0);
            compact(path, true);
            assert_eq!(folded(path).len(), 2, "nothing was configured");
            fill(path, &["b", "c"], 1);
        },
        |path| {
            compact(path, true);
            assert_eq!(folded(path), [("series", 3), ("runs", 3)]);
        },
        |before, _, seen| assert_eq!(seen, before),
    );
}

#[test]
fn nothing_that_is_needed_is_collected() {
    crash_in_the_middle_of(
        |path| {
            for round in 0..4 {
                fill(path, &["a", "b"], round);
            }
            compact(path, false);
            fill(path, &["c"], 9);
        },
        |path| compact(path, true),
        |before, _, seen| assert_eq!(seen, before),
    );
}
