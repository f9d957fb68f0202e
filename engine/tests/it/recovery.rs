//! However much log a dead writer left, taking it in needs no more memory than a machine surely has.
//!
//! `RUNLAKE_LOG_MIB` says how much; `make prove` takes 4 GiB.

use std::process::Command;

use runlake_engine::{Filter, Lake, LakeOptions, State};

const PATH: &str = "RUNLAKE_TEST_RECOVERY";
/// What a process may take while it takes in any log.
const MEMORY_BYTES: u64 = 256_000_000;

/// Not a test of its own: takes in what dead writers left.
#[test]
fn adopter() {
    let Ok(path) = std::env::var(PATH) else { return };
    Lake::open(path).unwrap().adopt(&mut |_, _| {}).unwrap();
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
}

#[test]
fn a_log_of_any_size_is_taken_in_within_256_mb_of_memory() {
    let mib: usize =
        std::env::var("RUNLAKE_LOG_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(160);
    let folder = tempfile::tempdir().unwrap();
    let mut options = LakeOptions::default();
    (options.create, options.flush_after_bytes) = (true, u64::MAX);
    // Rows come as fast as they can: they wait for the disk, however slow it is.
    (options.flush_after_ms, options.max_block_ms) = (u64::MAX >> 1, 600_000);
    let lake = options.open(folder.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let metric = run.metric("m").unwrap();
    let values: Vec<f64> = (0..1 << 20).map(|at| f64::from(at % 1000) / 8.0).collect();
    for _ in 0..mib.div_ceil(8) {
        run.log_many(metric, None, None, &values).unwrap();
    }
    let stats = run.stats();
    assert_eq!(stats.dropped_rows, 0);
    let path = lake.path().to_owned();
    // The run goes on as far as anybody knows: its process is gone.
    drop((run, lake));

    let adopter = Command::new(std::env::current_exe().unwrap())
        .args(["recovery::adopter", "--exact", "--nocapture"])
        .env(PATH, &path)
        .output()
        .unwrap();
    assert!(adopter.status.success(), "{adopter:?}");
    let said = String::from_utf8(adopter.stdout).unwrap();
    let peak = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{mib} MiB of log, {} points: taken in with {peak} KiB at the peak", stats.points);
    assert!(peak * 1024 <= MEMORY_BYTES, "{peak} KiB");

    let snapshot = Lake::open(&path).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.tail().len(), 0);
    assert_eq!(snapshot.find_run("r").unwrap().state, State::Crashed);
    let series = &snapshot.series(&Filter::default()).unwrap()[0];
    let points = stats.points;
    assert_eq!((series.count, series.first_step, series.last_step), (points, 0, points as i64 - 1));
}
