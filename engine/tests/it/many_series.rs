//! A run with very many series: names are interned, logged, flushed, read and merged at the cost of each, not of all.

use std::{collections::BTreeSet, time::Instant};

use runlake_engine::{Filter, Lake, State};
use serde_json::json;

/// Metrics of one row.
const WIDTH: usize = 1000;
const STEPS: i64 = 3;

/// How many series are asked for; a million in `make prove`.
fn many() -> usize {
    std::env::var("RUNLAKE_SERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// The most memory that this process has had, in MiB, as the kernel counts it.
pub(crate) fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Half of the series differ in their metric, half of them in their labels.
#[test]
fn a_run_of_very_many_series_is_logged_flushed_merged_and_read() {
    let half = many() / 2;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let began = Instant::now();
    let say = |what: &str| {
        let (seconds, peak) = (began.elapsed().as_secs_f64(), peak_mib());
        println!("{:>9} series: {what} after {seconds:.2} s, at most {peak} MiB", 2 * half);
    };
    let metrics: Vec<_> =
        (0..half).map(|at| run.metric(&format!("layer/{at}/norm")).unwrap()).collect();
    let labels: Vec<_> = (0..half)
        .map(|at| run.labels(json!({ "expert": at }).as_object().unwrap()).unwrap())
        .collect();
    let load = run.metric("load").unwrap();
    say("names interned");
    for step in 0..STEPS {
        for (at, part) in metrics.chunks(WIDTH).enumerate() {
            let row: Vec<_> = part.iter().map(|&id| (id, (step + at as i64) as f64)).collect();
            run.log(step, &row).unwrap();
        }
        for (at, &labels) in labels.iter().enumerate() {
            run.log_labelled(Some(step), None, Some(labels), &[(load, at as f64)]).unwrap();
        }
    }
    say("logged");
    run.finish(State::Finished).unwrap();
    lake.flush().unwrap();
    say("flushed");
    // A second, small flush defines names again, since every log file reads alone.
    let again = lake.run("p").id("r").launch("again").start().unwrap();
    for part in metrics.chunks(WIDTH) {
        let row: Vec<_> = part.iter().map(|&id| (id, 0.5)).collect();
        again.log(STEPS, &row).unwrap();
    }
    lake.flush().unwrap();
    say("flushed once more");
    lake.compact(true, &mut |_, _| true).unwrap();
    say("merged");

    let snapshot = Lake::open(&path).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0]);
    let series = snapshot.series(&Filter::default()).unwrap();
    say("summarized");
    assert_eq!(series.len(), 2 * half);
    let (of_metrics, of_labels): (Vec<_>, Vec<_>) =
        series.iter().partition(|series| series.labels.is_none());
    let names: BTreeSet<&str> = of_metrics.iter().map(|series| &*series.metric).collect();
    assert_eq!((names.len(), of_labels.len()), (half, half));
    let counts = STEPS.unsigned_abs();
    assert!(
        of_metrics.iter().all(|series| (series.count, series.last_step) == (counts + 1, STEPS))
    );
    assert!(of_labels.iter().all(|series| (series.count, series.last_step) == (counts, STEPS - 1)));
    let one =
        Filter { metrics: Some(vec![format!("layer/{}/norm", half - 1)]), ..Filter::default() };
    assert_eq!(snapshot.series(&one).unwrap().len(), 1);
    say("one of them found");
}
