//! Merging lakes brings every point once, however often it is killed, and while the sources go on.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use runlake_engine::{Lake, State};

use crate::{Seen, points};

const ROLE: &str = "RUNLAKE_TEST_MERGES";

fn sorted(lake: &Lake) -> Vec<Seen> {
    let mut points = points(&lake.snapshot().unwrap());
    points.sort();
    points
}

/// Logs two runs of a lake once more and flushes: steps repeat, with other values, so that the order of files matters.
fn fill(lake: &Lake, round: i64) {
    for run_id in ["a", "b"] {
        let run =
            lake.run("p").id(&format!("{run_id}-{}", lake.uuid())).launch("one").start().unwrap();
        for step in round * 10..round * 10 + 25 {
            run.log_named(step, &[("loss", (round * 1000 + step) as f64)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
    }
    lake.flush().unwrap();
}

fn merge(target: &Lake, source: &Lake, is_last: bool) -> runlake_engine::Merged {
    target.merge(source, is_last, &mut |_, _| true).unwrap()
}

/// Not a test of its own: what the child of a later one does.
#[test]
fn child() {
    let Ok(paths) = std::env::var(ROLE) else { return };
    let (target, source) = paths.split_once('|').unwrap();
    merge(&Lake::open(target).unwrap(), &Lake::open(source).unwrap(), false);
}

fn killed_merge(target: &Path, source: &Path, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["merge::child", "--exact", "--nocapture"])
        .env(ROLE, format!("{}|{}", target.display(), source.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_at_any_moment_a_merge_is_done_or_was_never_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let lake = |name: &str| Lake::open_or_create(folder.path().join(name)).unwrap();
    let (target, sources) = (lake("all.lake"), [lake("one.lake"), lake("two.lake")]);
    let kills =
        std::env::var("RUNLAKE_KILLS").map_or(16, |text| text.parse::<u64>().unwrap().min(200));
    for round in 0..kills {
        let source = &sources[round as usize % 2];
        if round % 3 == 0 {
            fill(source, round as i64);
        }
        if round % 5 == 4 {
            source.compact(true, &mut |_, _| true).unwrap();
        }
        let before = sorted(&target);
        killed_merge(target.path(), source.path(), Duration::from_millis(3 + round % 13 * 4));
        let (after, whole) = (sorted(&target), sorted(source));
        // What came is all of the source or nothing of it.
        let mine = |seen: &[Seen]| -> Vec<Seen> {
            seen.iter().filter(|point| point.0.ends_with(source.uuid())).cloned().collect()
        };
        assert!(mine(&after) == whole || mine(&after) == mine(&before), "round {round}");
    }
    for source in &sources {
        merge(&target, source, false);
        assert_eq!(merge(&target, source, false).segments, 0, "nothing is left to do");
    }
    let told = |lake: &Lake| {
        let series = lake.snapshot().unwrap().series(&runlake_engine::Filter::default()).unwrap();
        series
            .iter()
            .map(|it| format!("{} {} {}", it.run_id, it.count, it.last_value))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<Seen> = sources.iter().flat_map(sorted).collect();
    all.sort();
    let mut expected: Vec<String> = sources.iter().flat_map(told).collect();
    expected.sort();
    assert_eq!(sorted(&target), all);
    assert_eq!(told(&target), expected, "of two values of one step the same one counts");

    // From the last merge on the files are the target's own.
    for source in &sources {
        merge(&target, source, true);
    }
    target.compact(true, &mut |_, _| true).unwrap();
    assert_eq!(target.snapshot().unwrap().segments().len(), 1);
    assert_eq!(sorted(&target), all);
    assert_eq!(told(&target), expected);
}

#[test]
fn two_merges_of_one_source_at_once_bring_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let lake = |name: &str| Lake::open_or_create(folder.path().join(name)).unwrap();
    let (target, source) = (lake("all.lake"), lake("one.lake"));
    for round in 0..6 {
        fill(&source, round);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    merge(
                        &Lake::open(target.path()).unwrap(),
                        &Lake::open(source.path()).unwrap(),
                        false,
                    )
                });
            }
        });
        assert_eq!(sorted(&target), sorted(&source), "round {round}");
    }
}

#[test]
fn a_damaged_file_of_a_source_is_named_and_does_not_come() {
    let folder = tempfile::tempdir().unwrap();
    let lake = |name: &str| Lake::open_or_create(folder.path().join(name)).unwrap();
    let (target, source) = (lake("all.lake"), lake("one.lake"));
    fill(&source, 0);
    let path = source.snapshot().unwrap().segments()[0].path.clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = target.merge(&source, false, &mut |_, _| true).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(target.snapshot().unwrap().segments().is_empty());
}

#[test]
fn runs_that_go_on_elsewhere_are_unknown_here() {
    let folder = tempfile::tempdir().unwrap();
    let lake = |name: &str| Lake::open_or_create(folder.path().join(name)).unwrap();
    let (target, source) = (lake("all.lake"), lake("one.lake"));
    let run = source.run("p").id("live").start().unwrap();
    run.log_named(0, &[("loss", 1.0)]).unwrap();
    source.flush().unwrap();
    merge(&target, &source, false);
    let state = |lake: &Lake| lake.snapshot().unwrap().find_run("live").unwrap().state;
    assert_eq!((state(&source), state(&target)), (State::Running, State::Unknown));
    run.finish(State::Finished).unwrap();
    source.flush().unwrap();
    merge(&target, &source, false);
    assert_eq!(state(&target), State::Finished);
}
