//! Forks: what a run shows of those that it was forked from, held against the definition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use runlake_engine::{Error, Run, RunBuilder, State};
use serde_json::json;

use super::{Fixture, log, object};

/// `main` logs `loss` and `acc` at steps 0 to 9; `fork` starts from step 5 of it and logs `loss`.
fn forked(flush: bool) -> (Fixture, Run) {
    let lake = Fixture::new();
    let config = object(json!({ "lr": 0.1, "net": { "width": 8 } }));
    let main = lake.lake.run("p").id("main").launch("one").config(config).start().unwrap();
    for step in 0..10 {
        let value = f64::from(step);
        main.log_named(i64::from(step), &[("loss", value), ("acc", value / 10.0)]).unwrap();
    }
    if flush {
        lake.lake.flush().unwrap();
    }
    let fork = lake.lake.run("p").id("fork").launch("two").fork_from("main", 5);
    let fork = fork.config(object(json!({ "lr": 0.2 }))).start().unwrap();
    fork.log_named(None, &[("loss", 60.0)]).unwrap();
    fork.log_named(None, &[("loss", 70.0)]).unwrap();
    if flush {
        lake.lake.flush().unwrap();
    }
    (lake, main)
}

#[test]
fn a_fork_shows_its_parent_up_to_the_step_and_goes_on_behind_it() {
    for flush in [false, true] {
        let (lake, main) = forked(flush);
        for _ in 0..2 {
            assert_eq!(
                lake.rows("select step, value from points where run_id = 'fork' and metric = 'loss' order by step"),
                ["0|0.0", "1|1.0", "2|2.0", "3|3.0", "4|4.0", "5|5.0", "6|60.0", "7|70.0"]
            );
            assert_eq!(
                lake.rows("select run_id, count(*), max(value) from points where metric = 'acc' group by 1 order by 1"),
                ["fork|6|0.5", "main|10|0.9"]
            );
            assert_eq!(lake.rows("select count(*) from points"), ["34"]);
            assert_eq!(
                lake.rows("select count(*) from points where step > 5 and run_id = 'fork'"),
                ["2"]
            );
            assert_eq!(lake.rows("select count(*) from points_all"), ["22"], "nothing is copied");
            assert_eq!(
                lake.rows("select metric, count, first_step, last_step, max_value from series where run_id = 'fork'"),
                ["acc|6|0|5|0.5", "loss|8|0|7|70.0"]
            );
            assert_eq!(
                lake.rows("select step, acc, loss from history('fork') where step between 4 and 6"),
                ["4|0.4|4.0", "5|0.5|5.0", "6|NULL|60.0"]
            );
            assert_eq!(
                lake.rows(
                    "select run_id, count, last_value from chart('loss', buckets => 1) order by 1"
                ),
                ["fork|8|70.0", "main|10|9.0"]
            );
            assert_eq!(
                lake.rows("select parent_run_id, fork_step, last_step, config, summary from runs where run_id = 'fork'"),
                [r#"main|5|7|{"net":{"width":8},"lr":0.2}|{"acc":0.5,"loss":70.0}"#]
            );
            lake.lake.flush().unwrap();
            lake.lake.compact(true, &mut |_, _| true).unwrap();
        }
        drop(main);
    }
}

#[test]
fn what_becomes_of_a_parent_later_changes_nothing_of_its_forks() {
    let (lake, main) = forked(false);
    let inherited =
        "select step, value from points where run_id = 'fork' and metric = 'acc' and step > 3";
    let before = lake.rows(&format!("{inherited} order by step"));
    main.finish(State::Finished).unwrap();
    let again = lake.lake.run("p").id("main").launch("three").resume_from(2).start().unwrap();
    log(&again, "acc", 3, &[7.0, 7.0, 7.0]);
    assert_eq!(lake.rows(&format!("{inherited} order by step")), before);
    assert_eq!(
        lake.rows(
            "select max(step), max(value) from points where run_id = 'main' and metric = 'acc'"
        ),
        ["5|7.0"]
    );

    // Deleting it takes its points away, and says so.
    assert_eq!(lake.lake.snapshot().unwrap().lost_ancestors().unwrap(), [""; 0]);
    let edit = |deleted: bool| {
        let snapshot = lake.lake.snapshot().unwrap();
        let found =
            if deleted { snapshot.find_deleted_run("main") } else { snapshot.find_run("main") };
        lake.lake.edit(&found.unwrap()).unwrap()
    };
    edit(false).delete(false).unwrap();
    assert_eq!(
        lake.rows("select metric, step from points where run_id = 'fork' order by step"),
        ["loss|6", "loss|7"]
    );
    assert_eq!(
        lake.lake.snapshot().unwrap().lost_ancestors().unwrap(),
        [
            "run p/fork was forked from run main at step 5, which is deleted: it shows no point of it"
        ]
    );
    edit(true).restore().unwrap();
    assert_eq!(lake.rows(&format!("{inherited} order by step")), before);
}

#[test]
fn a_parent_is_a_run_that_is_there_and_a_fork_is_a_new_one() {
    let (lake, _main) = forked(false);
    let fork = |id: &str, parent: &str| lake.lake.run("p").id(id).fork_from(parent, 3).start();
    let error = fork("x", "mian").unwrap_err();
    assert!(matches!(error, Error::Unknown { kind: "run", .. }), "{error}");
    assert!(matches!(
        lake.lake.run("other").id("x").fork_from("main", 3).start(),
        Err(Error::Unknown { .. })
    ));
    for (id, parent) in [("main", "fork"), ("main", "main"), ("fork", "main")] {
        let error = fork(id, parent).unwrap_err();
        assert!(matches!(error, Error::Invalid { what: "fork_from", .. }), "{error}");
    }
    let both = lake.lake.run("p").id("fork").resume_from(3).fork_from("main", 5).start();
    assert!(matches!(both, Err(Error::Invalid { what: "fork_from", .. })));
    // A launcher starts the same fork again, also where its parent is gone.
    let main = lake.lake.snapshot().unwrap().find_run("main").unwrap();
    lake.lake.edit(&main).unwrap().delete(true).unwrap();
    let again = lake.lake.run("p").id("fork").launch("four").fork_from("main", 5).start().unwrap();
    again.log_named(None, &[("loss", 80.0)]).unwrap();
    assert_eq!(
        lake.rows("select last_step, last_value from series where run_id = 'fork'"),
        ["8|80.0"]
    );
}

#[test]
fn a_fork_that_has_logged_nothing_goes_on_behind_its_step_whoever_resumes_it() {
    let (lake, _main) = forked(false);
    drop(lake.lake.run("p").id("late").fork_from("fork", 6).start().unwrap());
    let late = lake.run("late");
    late.log_named(None, &[("loss", 1.0)]).unwrap();
    assert_eq!(
        lake.rows("select step, value from points where run_id = 'late' and metric = 'loss' and step > 4 order by 1"),
        ["5|5.0", "6|60.0", "7|1.0"]
    );
}

#[test]
fn points_that_a_fork_needs_do_not_expire() {
    let (lake, main) = forked(true);
    main.finish(State::Finished).unwrap();
    drop(main);
    lake.lake.flush().unwrap();
    lake.lake.compact(true, &mut |_, _| true).unwrap();
    let expiry = lake.lake.expiry(i64::MAX, None).unwrap();
    assert!(expiry.runs.iter().all(|run| &*run.run_id != "main"), "{:?}", expiry.runs);
}

#[test]
fn a_question_about_a_fork_reads_its_files_and_those_of_its_parent_up_to_the_step() {
    let lake = Fixture::new();
    let main = lake.run("main");
    for first in [0, 10, 20] {
        log(&main, "loss", first, &[1.0; 10]);
        lake.lake.flush().unwrap();
    }
    let other = lake.run("other");
    log(&other, "loss", 0, &[2.0; 10]);
    lake.lake.flush().unwrap();
    let fork = lake.lake.run("p").id("fork").fork_from("main", 12).start().unwrap();
    log(&fork, "loss", 13, &[3.0; 10]);
    lake.lake.flush().unwrap();
    let query = "select count(*) from points where run_id = 'fork'";
    assert_eq!((lake.rows(query), lake.files(query)), (vec!["23".to_owned()], 3));
    for (condition, rows, files) in [
        ("step >= 10", "13", 2),
        ("step > 12", "10", 1),
        ("step < 5", "5", 1),
        ("metric = 'acc'", "0", 0),
    ] {
        let query = format!("{query} and {condition}");
        assert_eq!(
            (lake.rows(&query), lake.files(&query)),
            (vec![rows.to_owned()], files),
            "{query}"
        );
    }
    let query = "select count(*) from points where run_id = 'other'";
    assert_eq!((lake.rows(query), lake.files(query)), (vec!["10".to_owned()], 1));
    let query = "select count(*) from points where run_id in ('main', 'fork') and step < 10";
    assert_eq!(lake.rows(query), ["20"]);
}

#[test]
fn what_lies_behind_the_step_is_not_shown_where_another_part_of_the_series_is_before_it() {
    let lake = Fixture::new();
    let main = lake.run("main");
    log(&main, "loss", 0, &[1.0]);
    lake.lake.flush().unwrap();
    log(&main, "loss", 8, &[2.0]);
    let _fork = lake.lake.run("p").id("fork").fork_from("main", 0).start().unwrap();
    for query in [
        "select step, value from points where run_id = 'fork'",
        "select step, loss from history('fork')",
        "select last_step, last_value from series where run_id = 'fork'",
        "select last_step, last_value from chart('loss', runs => 'fork', buckets => 1)",
    ] {
        assert_eq!(lake.rows(query), ["0|1.0"], "{query}");
    }
}

/// What happens to the runs of a lake.
#[derive(Debug, Clone)]
enum Op {
    /// A launch of a run that is there or new, maybe one that goes back.
    Start {
        run: usize,
        back_to: Option<i64>,
    },
    Fork {
        parent: usize,
        step: i64,
    },
    /// Points of a metric at steps from the first one on, by a launch that may be an old one.
    Log {
        launch: usize,
        metric: usize,
        first: i64,
        count: i64,
    },
    Flush,
    Compact,
    Delete {
        run: usize,
    },
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..3_usize, proptest::option::of(-2..12_i64)).prop_map(|(run, back_to)| Op::Start { run, back_to }),
        3 => (0..8_usize, -2..14_i64).prop_map(|(parent, step)| Op::Fork { parent, step }),
        8 => (0..16_usize, 0..2_usize, -2..12_i64, 1..6_i64)
            .prop_map(|(launch, metric, first, count)| Op::Log { launch, metric, first, count }),
        2 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => (0..8_usize).prop_map(|run| Op::Delete { run }),
    ]
}

/// A point of a metric: step and value.
type Point = (usize, i64, f64);

#[derive(Debug, Default)]
struct Launch {
    back_to: Option<i64>,
    points: Vec<Point>,
}

/// A run as it is defined.
#[derive(Debug, Default)]
struct Model {
    launches: Vec<Launch>,
    /// The parent, the step, and how many launches the parent had.
    fork: Option<(usize, i64, usize)>,
    is_deleted: bool,
}

/// The points that count of a run in its first launches, in the order of logging within a launch.
fn effective(runs: &[Model], run: usize, launches: usize) -> Vec<Point> {
    let Model { launches: all, fork, .. } = &runs[run];
    let hidden = |later: &[Launch], (metric, step, _): Point| {
        later.iter().any(|launch| {
            launch.back_to.is_some_and(|kept| kept < step)
                || launch.points.iter().any(|point| point.0 == metric && point.1 <= step)
        })
    };
    let mut points = Vec::new();
    if let Some((parent, fork_step, begun)) = *fork
        && !runs[parent].is_deleted
    {
        points.extend(
            effective(runs, parent, begun).into_iter().filter(|point| point.1 <= fork_step),
        );
        points.retain(|point| !hidden(&all[..launches], *point));
    }
    for at in 0..launches {
        let own = all[at].points.iter().copied();
        points.extend(own.filter(|point| !hidden(&all[at + 1..launches], *point)));
    }
    points
}

const METRICS: [&str; 2] = ["acc", "loss"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_that_is_asked_of_a_fork_follows_from_what_counts_of_its_parent(
        ops in proptest::collection::vec(any_op(), 1..28),
    ) {
        let lake = Fixture::new();
        let mut runs: Vec<Model> = Vec::new();
        // Open launches: the run, the place of the launch in it, and what logs.
        let mut open: Vec<(usize, usize, Run)> = Vec::new();
        let mut value = 0.0;
        for op in ops {
            match op {
                Op::Start { run, back_to } => {
                    // Whoever resumes a deleted run restores it, which other tests look at.
                    let run = if run < runs.len() && !runs[run].is_deleted { run } else { runs.len() };
                    if run == runs.len() {
                        runs.push(Model::default());
                    }
                    let builder = lake.lake.run("p").id(&format!("r{run}"));
                    let builder = back_to.into_iter().fold(builder, RunBuilder::resume_from);
                    open.push((run, runs[run].launches.len(), builder.start().unwrap()));
                    runs[run].launches.push(Launch { back_to, points: Vec::new() });
                }
                Op::Fork { parent, step } if parent < runs.len() && !runs[parent].is_deleted => {
                    let builder = lake.lake.run("p").id(&format!("r{}", runs.len()));
                    let run = builder.fork_from(&format!("r{parent}"), step).start().unwrap();
                    open.push((runs.len(), 0, run));
                    let fork = Some((parent, step, runs[parent].launches.len()));
                    runs.push(Model { fork, launches: vec![Launch::default()], is_deleted: false });
                }
                Op::Log { launch, metric, first, count } if !open.is_empty() => {
                    let at = launch % open.len();
                    let (run, place, logs) = &open[at];
                    for step in first..first + count {
                        value += 1.0;
                        logs.log_named(step, &[(METRICS[metric], value)]).unwrap();
                        runs[*run].launches[*place].points.push((metric, step, value));
                    }
                }
                Op::Delete { run } if run < runs.len() && !runs[run].is_deleted => {
                    let found = lake.lake.snapshot().unwrap().find_run(&format!("r{run}")).unwrap();
                    lake.lake.edit(&found).unwrap().delete(false).unwrap();
                    runs[run].is_deleted = true;
                }
                Op::Flush => drop(lake.lake.flush().unwrap()),
                Op::Compact => drop(lake.lake.compact(true, &mut |_, _| true).unwrap()),
                Op::Fork { .. } | Op::Log { .. } | Op::Delete { .. } => {}
            }
        }

        let (mut points, mut series, mut buckets) = (Vec::new(), Vec::new(), Vec::new());
        for run in (0..runs.len()).filter(|run| !runs[*run].is_deleted) {
            let all = effective(&runs, run, runs[run].launches.len());
            let mut own: Vec<String> = Vec::new();
            for (at, metric) in METRICS.iter().enumerate() {
                let mut mine: Vec<Point> = all.iter().copied().filter(|point| point.0 == at).collect();
                own.extend(mine.iter().map(|(_, step, value)| format!("r{run}|{metric}|{step}|{value:?}")));
                // Stable: of one step the last logged is last.
                mine.sort_by_key(|point| point.1);
                let last: BTreeMap<i64, f64> = mine.iter().map(|point| (point.1, point.2)).collect();
                let Some((last_step, last_value)) = last.last_key_value() else { continue };
                let value = |pick: fn(f64, f64) -> f64| mine.iter().map(|point| point.2).reduce(pick).unwrap();
                series.push(format!(
                    "r{run}|{metric}|{}|{}|{last_step}|{last_value:?}|{:?}|{:?}",
                    mine.len(), mine[0].1, value(f64::min), value(f64::max)
                ));
                let steps: BTreeSet<i64> = mine.iter().map(|point| point.1).collect();
                buckets.extend(steps.into_iter().filter(|_| at == 1).map(|step| {
                    let count = mine.iter().filter(|point| point.1 == step).count();
                    format!("r{run}|{step}|{count}|{:?}", last[&step])
                }));
                let history: Vec<_> = last.iter().map(|(step, value)| format!("{step}|{value:?}")).collect();
                let query = format!("select step, {metric} from history('r{run}', metrics => '{metric}') order by 1");
                prop_assert_eq!(lake.rows(&query), history, "{}", query);
            }
            own.sort();
            let query = format!("select run_id, metric, step, value from points where run_id = 'r{run}'");
            let mut found = lake.rows(&query);
            found.sort();
            prop_assert_eq!(&found, &own, "{}", query);
            let late = |row: &&String| row.split('|').nth(2).unwrap().parse::<i64>().unwrap() > 4;
            let query = format!("{query} and step > 4 and metric like 'l%'");
            let mut found = lake.rows(&query);
            found.sort();
            let expected: Vec<String> =
                own.iter().filter(|row| row.contains("|loss|")).filter(late).cloned().collect();
            prop_assert_eq!(found, expected, "{}", query);
            points.extend(own);
        }
        let mut found = lake.rows("select run_id, metric, step, value from points");
        found.sort();
        points.sort();
        prop_assert_eq!(found, points);
        let mut found = lake.rows(
            "select run_id, metric, count, first_step, last_step, last_value, min_value, max_value from series",
        );
        found.sort();
        series.sort();
        prop_assert_eq!(found, series);
        let of_loss = |launch: &Launch| launch.points.iter().any(|point| point.0 == 1);
        if runs.iter().flat_map(|run| &run.launches).any(of_loss) {
            let mut found = lake.rows(
                "select run_id, first_step, count, last_value from chart('loss', buckets => 100)",
            );
            found.sort();
            buckets.sort();
            prop_assert_eq!(found, buckets);
        }
    }
}
