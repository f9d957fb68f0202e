//! Merging lakes brings every point once, however often it is killed, and while the sources go on.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use runlake_engine::{Filter, Lake, State};

use crate::{Seen, points};

const ROLE: &str = "RUNLAKE_TEST_MERGES";
const MANY_ROLE: &str = "RUNLAKE_TEST_MERGES_MANY";

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
        let series = lake.snapshot().unwrap().series(&Filter::default()).unwrap();
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

fn node(folder: &Path, node: usize) -> PathBuf {
    folder.join(format!("node-{node}.lake"))
}

/// Not a test of its own: merges all lakes of nodes in a folder, and writes a byte for each part that it copied.
#[test]
fn child_of_many() {
    let Ok(role) = std::env::var(MANY_ROLE) else { return };
    let (folder, lakes) = role.split_once('|').unwrap();
    let (folder, lakes) = (Path::new(folder), lakes.parse::<usize>().unwrap());
    let sources: Vec<Lake> = (0..lakes).map(|it| Lake::open(node(folder, it)).unwrap()).collect();
    let target = Lake::open(folder.join("all.lake")).unwrap();
    let mut copied = |_, _| std::io::stderr().write_all(b".").is_ok();
    target.merge_all(&sources, false, &mut Vec::new(), &mut copied).unwrap();
}

/// Merges all in a process that is killed once it has copied so many parts. False where it was done before that.
fn is_killed_after(parts: usize, folder: &Path, lakes: usize) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["merge::child_of_many", "--exact", "--nocapture"])
        .env(MANY_ROLE, format!("{}|{lakes}", folder.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = child.stderr.take().unwrap();
    let is_killed = told.read_exact(&mut vec![0; parts]).is_ok();
    if is_killed {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(is_killed || status.success());
    is_killed
}

/// `RUNLAKE_LAKES` says how many lakes, `RUNLAKE_KILLS` how many kills.
#[test]
fn lakes_of_many_nodes_become_one_however_often_that_is_killed() {
    let number = |name: &str, usual: usize| {
        std::env::var(name).map_or(usual, |text| text.parse::<usize>().unwrap())
    };
    let (lakes, kills) = (number("RUNLAKE_LAKES", 80), number("RUNLAKE_KILLS", 8).min(100));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut all: Vec<Seen> = Vec::new();
    for at in 0..lakes {
        let lake = Lake::open_or_create(node(folder, at)).unwrap();
        fill(&lake, at as i64 % 7);
        all.extend(points(&lake.snapshot().unwrap()));
    }
    all.sort();
    let (mut killed, mut targets) = (0, 0);
    while killed < kills {
        let target = Lake::open_or_create(folder.join("all.lake")).unwrap();
        targets += 1;
        // So that a merge is killed a few times on its way, before its first commit and behind it.
        let parts = |kill: usize| 1 + (kill * 61) % (lakes * 2).min(400);
        while killed < kills && is_killed_after(parts(killed), folder, lakes) {
            killed += 1;
            let snapshot = Lake::open(target.path()).unwrap().snapshot().unwrap();
            assert_eq!(snapshot.problems(), [""; 0]);
            let seen = points(&snapshot);
            assert!(
                seen.len() <= all.len() && seen.len().is_multiple_of(all.len() / lakes),
                "whole lakes"
            );
        }
        let began = Instant::now();
        let sources: Vec<Lake> =
            (0..lakes).map(|it| Lake::open(node(folder, it)).unwrap()).collect();
        let mut done = Vec::new();
        target.merge_all(&sources, false, &mut done, &mut |_, _| true).unwrap();
        assert_eq!(done.len(), lakes);
        println!(
            "{lakes} lakes: {killed} kills so far, {:.2} s for the rest",
            began.elapsed().as_secs_f64()
        );
        assert_eq!(sorted(&target), all);
        done.clear();
        target.merge_all(&sources, true, &mut done, &mut |_, _| true).unwrap();
        assert!(done.iter().all(|merged| merged.segments == 0), "nothing is left to copy");
        assert_eq!(sorted(&target), all);
        drop(target);
        std::fs::remove_dir_all(folder.join("all.lake")).unwrap();
    }
    println!("{killed} kills of merges of {lakes} lakes into {targets}: equal content");
}

#[test]
fn of_many_lakes_those_before_a_damaged_one_are_merged_and_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let sources: Vec<Lake> =
        (0..5).map(|it| Lake::open_or_create(node(folder.path(), it)).unwrap()).collect();
    for source in &sources {
        fill(source, 0);
    }
    let path = sources[3].snapshot().unwrap().segments()[0].path.clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = Lake::open_or_create(folder.path().join("all.lake")).unwrap();
    let mut done = Vec::new();
    let error = target.merge_all(&sources, false, &mut done, &mut |_, _| true).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(done.len(), 3);
    let of_three: usize = sources[..3].iter().map(|source| sorted(source).len()).sum();
    assert_eq!(sorted(&target).len(), of_three);

    // A merge that is given up says so, and of those behind it nothing.
    let (mut done, mut looks) = (Vec::new(), 0);
    let other = Lake::open_or_create(folder.path().join("other.lake")).unwrap();
    let mut goes_on = |_, _| {
        looks += 1;
        looks < 2
    };
    other.merge_all(&sources[..3], false, &mut done, &mut goes_on).unwrap();
    assert!(done.len() < 3 && done.last().is_some_and(|merged| merged.is_given_up));
    assert_eq!(other.snapshot().unwrap().series(&Filter::default()).unwrap().len(), 0);
}
