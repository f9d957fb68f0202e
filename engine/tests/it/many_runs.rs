//! A lake of very many short runs: each costs what it costs in a small lake, to log as to find.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use runlake_engine::{Filter, Lake, State};

use crate::{many_series::peak_mib, points_of};

/// Metrics of a row.
const METRICS: usize = 10;
const STEPS: usize = 2;
/// Runs that are under way at once.
const AT_ONCE: usize = 16;

/// How many runs are asked for; a hundred thousand in `make prove`.
fn many() -> usize {
    std::env::var("RUNLAKE_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn id(run: usize) -> String {
    format!("run-{run:06}")
}

fn log(lake: &Lake, run: usize) {
    let begun = lake.run("p").id(&id(run)).start().unwrap();
    begun.config("lr", Some((run as f64).into())).unwrap();
    let metrics: Vec<_> =
        (0..METRICS).map(|at| begun.metric(&format!("metric/{at}")).unwrap()).collect();
    for step in 0..STEPS {
        let row: Vec<_> = metrics.iter().map(|&id| (id, (run + step) as f64)).collect();
        begun.log(step as i64, &row).unwrap();
    }
    begun.finish(State::Finished).unwrap();
}

#[test]
fn a_lake_of_very_many_short_runs_is_logged_flushed_merged_and_read() {
    let runs = many();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    let mut began = Instant::now();
    let mut say = |what: &str| {
        println!(
            "{runs:>9} runs: {what} in {:.3} s, at most {} MiB",
            began.elapsed().as_secs_f64(),
            peak_mib()
        );
        began = Instant::now();
    };
    let quarters = (0..4).map(|quarter| runs * quarter / 4..runs * (quarter + 1) / 4);
    for quarter in quarters {
        let next = AtomicUsize::new(quarter.start);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        // ORDERING: Relaxed, it counts.
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        if run >= quarter.end {
                            return;
                        }
                        log(&lake, run);
                    }
                });
            }
        });
        say("a quarter of them logged");
    }
    lake.flush().unwrap();
    say("flushed");
    let read = |say: &mut dyn FnMut(&str)| {
        let snapshot = Lake::open(&path).unwrap().snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0]);
        say("opened");
        let one = Filter {
            runs: Some(vec![id(runs / 2)]),
            metrics: Some(vec!["metric/3".to_owned()]),
            ..Filter::default()
        };
        let points = points_of(&snapshot, &one);
        let values: Vec<f64> = points.iter().map(|point| f64::from_bits(point.4)).collect();
        assert_eq!(values, [(runs / 2) as f64, (runs / 2 + 1) as f64]);
        say("points of one series read");
        let series = snapshot.series(&Filter { metrics: None, ..one.clone() }).unwrap();
        assert_eq!(series.len(), METRICS);
        say("series of one run summarized");
        assert_eq!(&*snapshot.find_run(&id(runs / 2)).unwrap().run_id, id(runs / 2));
        say("one run found");
        let known = snapshot.runs().unwrap();
        assert_eq!(known.len(), runs);
        assert!(known.iter().all(|run| run.state == State::Finished));
        say("all runs listed");
        let series = snapshot.series(&Filter { runs: None, ..one }).unwrap();
        assert_eq!(series.len(), runs);
        assert!(series.iter().all(|series| series.count == STEPS as u64));
        say("one series of each run summarized");
    };
    read(&mut say);
    lake.compact(true, &mut |_, _| true).unwrap();
    say("merged");
    read(&mut say);
}
