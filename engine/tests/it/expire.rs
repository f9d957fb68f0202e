//! The points of old runs go, and what they add up to stays: exact, whatever is done to the lake before and after, and however
//! often it is killed on the way.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use runlake_engine::{Expired, Filter, Lake, SeriesInfo, State};

use crate::{Seen, points};

const ROLE: &str = "RUNLAKE_TEST_EXPIRES";

/// Logs a launch of a run, ends it, and lets its log go into segments of its own.
fn log(path: &Path, run_id: &str, launch: &str, steps: std::ops::Range<i64>) {
    let lake = Lake::open_or_create(path).unwrap();
    let run = lake.run("p").id(run_id).launch(launch).start().unwrap();
    for step in steps {
        let value = ((step * 7919) % 1000) as f64 / 8.0 - 20.0;
        let odd = if step % 5 == 0 { f64::NAN } else { value };
        run.log_named(step, &[("loss", value), ("odd", odd)]).unwrap();
    }
    run.finish(State::Finished).unwrap();
    lake.flush().unwrap();
    drop((run, lake));
    Lake::open(path).unwrap().adopt(&mut |_, _| {}).unwrap();
}

/// Three old runs, one of which went back in steps, and one that goes on; each launch in a segment of its own.
fn lake(folder: &tempfile::TempDir) -> Lake {
    let path = folder.path().join("runs.lake");
    log(&path, "a", "one", 0..5000);
    log(&path, "b", "one", 0..40);
    log(&path, "b", "two", 25..60);
    log(&path, "c", "one", -300..300);
    Lake::open(&path).unwrap()
}

fn expire(lake: &Lake, only: &[&str]) -> Expired {
    let mut expiry = lake.expiry(i64::MAX, None).unwrap();
    expiry.runs.retain(|run| only.contains(&&*run.run_id));
    lake.expire(&expiry, &mut |_, _| true).unwrap()
}

fn sorted(lake: &Lake) -> Vec<Seen> {
    let mut points = points(&lake.snapshot().unwrap());
    points.sort();
    points
}

/// What series add up to, NaN by its bits; the mean as far as the order of adding goes.
fn series(lake: &Lake) -> Vec<String> {
    let of = |it: &SeriesInfo| {
        let bits = [Some(it.first_value), Some(it.last_value), it.last_finite_value];
        let bits = [bits, [it.min_value, it.max_value, None]].concat();
        let bits: Vec<_> = bits.iter().map(|value| value.map(f64::to_bits)).collect();
        let mean = it.mean_value.map(|mean| (mean * 1e6).round());
        let steps = (it.first_step, it.last_step, it.min_step, it.max_step);
        let counts = (it.count, it.nan_count, it.inf_count);
        format!(
            "{} {} {counts:?} {steps:?} {bits:?} {mean:?} {:?}",
            it.run_id, it.metric, it.last_time
        )
    };
    lake.snapshot().unwrap().series(&Filter::default()).unwrap().iter().map(of).collect()
}

fn check(lake: &Lake) {
    let snapshot = lake.snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0]);
    for segment in snapshot.segments() {
        assert_eq!(segment.verify_points(&mut |_| {}).unwrap(), [""; 0]);
    }
}

fn of_runs<'a>(seen: &'a [Seen], runs: &[&str]) -> Vec<&'a Seen> {
    seen.iter().filter(|point| runs.contains(&&*point.0)).collect()
}

#[test]
fn what_points_add_up_to_stays_as_it_was_and_the_points_of_others_too() {
    for compact_first in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder);
        if compact_first {
            lake.compact(true, &mut |_, _| true).unwrap();
        }
        let (before, known) = (sorted(&lake), series(&lake));
        let plan = lake.expiry(i64::MAX, None).unwrap();
        let mut runs: Vec<_> = plan.runs.iter().map(|run| &*run.run_id).collect();
        runs.sort_unstable();
        assert_eq!((runs, plan.points), (vec!["a", "b", "c"], before.len() as u64));
        assert!(lake.expiry(0, None).unwrap().runs.is_empty(), "they have not ended so long ago");
        assert!(lake.expiry(i64::MAX, Some("q")).unwrap().runs.is_empty());

        let done = expire(&lake, &["a", "b"]);
        assert_eq!(done.points, of_runs(&before, &["a", "b"]).len() as u64);
        assert_eq!(series(&lake), known);
        assert_eq!(sorted(&lake).iter().collect::<Vec<_>>(), of_runs(&before, &["c"]));
        check(&lake);
        assert_eq!(expire(&lake, &["a", "b"]), Expired::default(), "they have no points any more");
        let expired = |lake: &Lake| -> u64 {
            lake.snapshot().unwrap().segments().iter().map(|segment| segment.expired_rows).sum()
        };
        // What a later launch hid does not count, so it was not kept.
        assert_eq!(expired(&lake), done.points - 2 * 15);

        lake.compact(true, &mut |_, _| true).unwrap();
        assert_eq!(series(&lake), known);
        check(&lake);
        let copy = Lake::open_or_create(folder.path().join("all.lake")).unwrap();
        copy.merge(&lake, false, &mut |_, _| true).unwrap();
        assert_eq!((series(&copy), sorted(&copy)), (known.clone(), sorted(&lake)));
        check(&copy);
        assert_eq!(expire(&copy, &["c"]).left_alone, 1, "it would come again");
        expire(&lake, &["c"]);
        copy.merge(&lake, true, &mut |_, _| true).unwrap();
        assert_eq!((series(&copy), sorted(&copy)), (known.clone(), Vec::new()));
        assert_eq!(series(&lake), known);
        check(&copy);
        lake.backup(folder.path().join("copy.lake"), &mut |_, _| true).unwrap();
        let backup = Lake::open(folder.path().join("copy.lake")).unwrap();
        assert_eq!(series(&backup), known);
    }
}

#[test]
fn a_run_whose_points_have_expired_goes_on_and_is_deleted_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    expire(&lake, &["a", "b", "c"]);
    let before = lake.snapshot().unwrap().series(&Filter::default()).unwrap();
    log(lake.path(), "a", "two", 5000..5010);
    let resumed = Lake::open(lake.path()).unwrap();
    let run = resumed.run("p").id("c").launch("two").start().unwrap();
    run.log_named(None, &[("loss", 1.5)]).unwrap();
    run.finish(State::Finished).unwrap();
    drop((run, resumed));
    lake.adopt(&mut |_, _| {}).unwrap();
    lake.compact(true, &mut |_, _| true).unwrap();
    let after = lake.snapshot().unwrap().series(&Filter::default()).unwrap();
    let [before_a, after_a] = [&before, &after].map(|all| all.iter().find(|it| &*it.run_id == "a"));
    let (before_a, after_a) = (before_a.unwrap(), after_a.unwrap());
    assert_eq!((after_a.count, after_a.last_step), (before_a.count + 10, 5009));
    assert_eq!(after_a.first_value, before_a.first_value);
    let last = after.iter().find(|it| &*it.run_id == "c" && &*it.metric == "loss").unwrap();
    assert_eq!((last.last_step, last.last_value), (300, 1.5), "steps go on behind what expired");
    check(&lake);

    let editor = Lake::open(lake.path()).unwrap();
    for id in ["a", "b"] {
        let run = lake.snapshot().unwrap().find_run(id).unwrap();
        editor.edit(&run).unwrap().delete(true).unwrap();
    }
    editor.flush().unwrap();
    drop(editor);
    lake.adopt(&mut |_, _| {}).unwrap();
    lake.compact(true, &mut |_, _| true).unwrap();
    let left = lake.snapshot().unwrap();
    let holders = left.segments().iter().flat_map(|segment| segment.runs.clone().unwrap());
    assert!(holders.into_iter().all(|run| run == "c"), "nothing of the deleted runs is left");
    let ids: Vec<_> = left.series(&Filter::default()).unwrap();
    assert!(ids.len() == 2 && ids.iter().all(|it| &*it.run_id == "c"));
    check(&lake);
}

#[test]
fn a_run_that_is_logged_to_keeps_its_points() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let plan = lake.expiry(i64::MAX, None).unwrap();
    let trainer = Lake::open(lake.path()).unwrap();
    let run = trainer.run("p").id("a").launch("two").start().unwrap();
    assert!(lake.expiry(i64::MAX, None).unwrap().runs.iter().all(|run| &*run.run_id != "a"));
    let before = sorted(&lake);
    lake.expire(&plan, &mut |_, _| true).unwrap();
    assert_eq!(sorted(&lake).iter().collect::<Vec<_>>(), of_runs(&before, &["a"]));
    run.finish(State::Finished).unwrap();
}

#[test]
fn what_is_given_up_leaves_the_rest_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(&folder);
    let (all, known) = (sorted(&lake).len(), series(&lake));
    let plan = lake.expiry(i64::MAX, None).unwrap();
    let mut segments = 0;
    let done = lake
        .expire(&plan, &mut |done, _| {
            segments += u64::from(done > 0);
            segments < 2
        })
        .unwrap();
    assert!(done.is_given_up && done.points > 0 && (done.points as usize) < all, "{done:?}");
    assert_eq!(series(&lake), known);
    check(&lake);
    let rest = lake.expire(&plan, &mut |_, _| true).unwrap();
    assert_eq!((done.points + rest.points) as usize, all);
    assert_eq!((series(&lake), sorted(&lake)), (known, Vec::new()));
    check(&lake);
}

/// Such a lake, with one more run, which is deleted for good: the next compaction leaves it out.
fn lake_with_deleted(folder: &tempfile::TempDir) -> Lake {
    let lake = lake(folder);
    log(lake.path(), "d", "one", 0..700);
    let editor = Lake::open(lake.path()).unwrap();
    let run = lake.snapshot().unwrap().find_run("d").unwrap();
    editor.edit(&run).unwrap().delete(true).unwrap();
    editor.flush().unwrap();
    drop(editor);
    lake.adopt(&mut |_, _| {}).unwrap();
    lake
}

/// Not a test of its own: what the child of a later one does.
#[test]
fn child() {
    let Ok(path) = std::env::var(ROLE) else { return };
    let lake = Lake::open(path).unwrap();
    let plan = lake.expiry(i64::MAX, None).unwrap();
    lake.expire(&plan, &mut |_, _| true).unwrap();
    // Leaves deleted runs out, merges, writes the tables for other programs, and collects.
    lake.compact(true, &mut |_, _| true).unwrap();
}

#[test]
fn killed_at_any_moment_of_expiring_deleting_folding_and_collecting_nothing_is_lost_or_there_twice()
{
    let kills: u64 =
        std::env::var("RUNLAKE_KILLS").map_or(16, |text| text.parse::<u64>().unwrap().min(200));
    let mut folder = tempfile::tempdir().unwrap();
    let mut there = lake_with_deleted(&folder);
    let mut known = series(&there);
    let is_whole = |lake: &Lake| lake.folded_segments().unwrap().len() == 2;
    let (mut halfway, mut rounds) = (0, 0);
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["expire::child", "--exact", "--nocapture"])
            .env(ROLE, there.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + round % 11 * 5));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(series(&there), known, "kill {round}");
        check(&there);
        for (_, segment) in there.folded_segments().unwrap() {
            assert_eq!(segment.verify_rows().unwrap(), [""; 0]);
        }
        if sorted(&there).is_empty() && is_whole(&there) {
            rounds += 1;
            folder = tempfile::tempdir().unwrap();
            there = lake_with_deleted(&folder);
            known = series(&there);
        } else {
            halfway += 1;
        }
    }
    let plan = there.expiry(i64::MAX, None).unwrap();
    there.expire(&plan, &mut |_, _| true).unwrap();
    there.compact(true, &mut |_, _| true).unwrap();
    assert_eq!((series(&there), sorted(&there)), (known, Vec::new()));
    check(&there);
    assert!(is_whole(&there), "series and runs; nothing was configured");
    println!("{kills} kills, {halfway} before all was done, {rounds} times all: 0 lost, 0 twice");
}
