//! What is logged is seen, once, by every reader, before and after it is flushed.

use runlake_engine::{Filter, Lake, LakeOptions, State};
use serde_json::json;

use crate::points;

fn lake() -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    (folder, lake)
}

#[test]
fn a_row_is_seen_at_once_by_another_reader_and_once_after_a_flush() {
    let (_folder, lake) = lake();
    let reader = Lake::open(lake.path()).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let (loss, lr) = (run.metric("loss").unwrap(), run.metric("lr").unwrap());
    let mut want = Vec::new();
    for step in 0..10_i64 {
        run.log(step, &[(loss, step as f64), (lr, f64::NAN)]).unwrap();
        want.push(("r".to_owned(), "loss".to_owned(), None, step, (step as f64).to_bits()));
        want.push(("r".to_owned(), "lr".to_owned(), None, step, f64::NAN.to_bits()));
        assert_eq!(points(&reader.snapshot().unwrap()), want, "step {step}");
    }
    let before = reader.snapshot().unwrap();
    assert_eq!(lake.flush().unwrap().points, 20);
    let mut sorted = want.clone();
    sorted.sort();
    let flushed = reader.snapshot().unwrap();
    assert!(flushed.tail().is_empty() && flushed.segments().len() == 1);
    assert_eq!(points(&flushed), sorted);
    assert_eq!(points(&before), want, "an older snapshot stays as it was");
    assert_eq!(lake.flush().unwrap().points, 0, "nothing is flushed twice");
}

#[test]
fn many_threads_log_to_one_run_through_many_files_and_nothing_is_lost() {
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    let reader = Lake::open(lake.path()).unwrap();
    const ROWS: i64 = 20_000;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let run = run.clone();
            scope.spawn(move || {
                let metric = run.metric(&format!("m{thread}")).unwrap();
                for step in 0..ROWS {
                    run.log(step, &[(metric, step as f64)]).unwrap();
                }
            });
        }
        for _ in 0..5 {
            lake.flush().unwrap();
            let seen = points(&reader.snapshot().unwrap());
            for thread in 0..4 {
                let metric = format!("m{thread}");
                let mut steps: Vec<i64> =
                    seen.iter().filter(|point| point.1 == metric).map(|point| point.3).collect();
                steps.sort_unstable();
                assert!(
                    steps.iter().copied().eq(0..steps.len() as i64),
                    "a prefix of what the thread logged"
                );
            }
        }
    });
    let seen = points(&reader.snapshot().unwrap());
    assert_eq!(seen.len(), 4 * ROWS as usize);
    assert_eq!(run.stats().rows, 4 * ROWS as u64);
}

#[test]
fn steps_count_on_where_none_is_given_also_after_a_resume() {
    let (folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    run.log_named(None, &[("a", 1.0)]).unwrap();
    run.log_named(7, &[("a", 2.0)]).unwrap();
    run.log_named(None, &[("a", 3.0)]).unwrap();
    run.log_many(run.metric("b").unwrap(), None, None, &[1.0, 2.0]).unwrap();
    run.log_named(None, &[("a", 4.0)]).unwrap();
    let steps: Vec<i64> = points(&lake.snapshot().unwrap()).iter().map(|point| point.3).collect();
    assert_eq!(steps, [0, 7, 8, 9, 10, 11]);
    drop((run, lake));
    for flushed in [false, true] {
        let lake = Lake::open(folder.path().join("runs.lake")).unwrap();
        let run = lake.run("p").id("r").start().unwrap();
        run.log_named(None, &[("a", 5.0)]).unwrap();
        let last = points(&lake.snapshot().unwrap()).iter().map(|point| point.3).max();
        assert_eq!(last, Some(12 + i64::from(flushed)));
        if !flushed {
            lake.flush().unwrap();
            drop((run, lake));
            Lake::open(folder.path().join("runs.lake")).unwrap().adopt(&mut |_, _| {}).unwrap();
        }
    }
}

#[test]
fn behind_the_last_step_that_there_is_comes_that_step_again() {
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    run.log(i64::MAX - 1, &[(metric, 0.0)]).unwrap();
    for value in 1..4 {
        run.log(None, &[(metric, f64::from(value))]).unwrap();
    }
    run.log_many(metric, None, None, &[4.0, 5.0]).unwrap();
    let steps: Vec<i64> = points(&lake.snapshot().unwrap()).iter().map(|point| point.3).collect();
    assert_eq!(steps, [i64::MAX - 1, i64::MAX, i64::MAX, i64::MAX, i64::MAX, i64::MAX]);
}

#[test]
fn large_rows_large_facts_and_bulk_columns_come_back_whole() {
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    let row: Vec<_> =
        (0..20_000).map(|at| (run.metric(&format!("m{at:05}")).unwrap(), f64::from(at))).collect();
    run.log(1, &row).unwrap();
    let values: Vec<f64> = (0..10_000).map(f64::from).collect();
    let steps: Vec<i64> = (0..10_000).rev().collect();
    run.log_many(run.metric("bulk").unwrap(), Some(&steps), Some(&steps), &values).unwrap();
    run.config("text", Some(json!("x".repeat(1 << 20)))).unwrap();
    let check = || {
        let snapshot = lake.snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0]);
        let seen = points(&snapshot);
        assert_eq!(seen.iter().filter(|point| point.1 != "bulk").count(), 20_000);
        let bulk: Vec<_> = seen
            .iter()
            .filter(|point| point.1 == "bulk")
            .map(|point| (point.3, f64::from_bits(point.4)))
            .collect();
        assert!(
            bulk.len() == 10_000
                && bulk.iter().all(|&(step, value)| 9_999.0 - step as f64 == value)
        );
        let text = snapshot.find_run("r").unwrap().config["text"].as_str().unwrap().len();
        assert_eq!(text, 1 << 20);
    };
    check();
    lake.flush().unwrap();
    check();
}

#[test]
fn facts_fold_to_the_newest_word_and_survive_a_flush() {
    let (_folder, lake) = lake();
    let run = lake
        .run("p")
        .id("r1")
        .name("first")
        .config(json!({"lr": 0.1, "net": {"depth": 3}}).as_object().unwrap().clone())
        .tags(["a", "b"])
        .group("g")
        .notes("n")
        .start()
        .unwrap();
    run.config("lr", Some(json!(0.2))).unwrap();
    run.summary("best", Some(json!(1.5))).unwrap();
    run.tag("a", false).unwrap();
    let check = |state: State| {
        let info = Lake::open(lake.path()).unwrap().snapshot().unwrap().find_run("first").unwrap();
        assert_eq!(json!(info.config), json!({"net": {"depth": 3}, "lr": 0.2}));
        assert_eq!(
            (info.tags.as_slice(), info.group_name.as_deref(), info.notes.as_deref()),
            (&["b".to_owned()][..], Some("g"), Some("n"))
        );
        assert_eq!(
            (info.summary["best"].as_f64(), info.state, info.launches.len()),
            (Some(1.5), state, 1)
        );
        assert!(info.created_at.is_some());
    };
    check(State::Running);
    lake.flush().unwrap();
    check(State::Running);
    run.finish(State::Finished).unwrap();
    check(State::Finished);
}

#[test]
fn a_reader_never_writes_and_a_writer_that_logged_nothing_leaves_nothing() {
    let (folder, lake) = lake();
    let path = lake.path().to_owned();
    assert!(lake.snapshot().unwrap().segments().is_empty());
    drop(lake);
    let mut names: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".gitignore", "LAKE"]);
    assert!(Lake::open(folder.path().join("elsewhere.lake")).is_err());
    assert!(!folder.path().join("elsewhere.lake").exists());
}

#[test]
fn labels_are_canonical_and_make_series_of_their_own() {
    let (_folder, lake) = lake();
    let run = lake.run("p").id("r").start().unwrap();
    let loss = run.metric("loss").unwrap();
    let one = run.labels(json!({"rank": 1, "layer": "a"}).as_object().unwrap()).unwrap();
    let same = run.labels(json!({"layer": "a", "rank": 1}).as_object().unwrap()).unwrap();
    assert_eq!(one, same);
    run.log_labelled(1, None, Some(one), &[(loss, 1.0)]).unwrap();
    run.log(1, &[(loss, 2.0)]).unwrap();
    let labels: Vec<_> =
        points(&lake.snapshot().unwrap()).into_iter().map(|point| point.2).collect();
    assert_eq!(labels, [Some(r#"{"layer":"a","rank":1}"#.to_owned()), None]);
    let only = Filter { metrics: Some(vec!["nothing".to_owned()]), ..Filter::default() };
    assert_eq!(lake.snapshot().unwrap().scan(&only).unwrap().count(), 0);
}

#[test]
fn the_log_flushes_by_itself_when_it_is_large() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = LakeOptions::default();
    (options.create, options.flush_after_bytes) = (true, 256 << 10);
    let lake = options.open(folder.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let loss = run.metric("loss").unwrap();
    let mut step = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while lake.snapshot().unwrap().segments().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no flush came");
        for _ in 0..1000 {
            run.log(step, &[(loss, 0.5)]).unwrap();
            step += 1;
        }
    }
    assert_eq!(points(&lake.snapshot().unwrap()).len() as i64, step);
}
