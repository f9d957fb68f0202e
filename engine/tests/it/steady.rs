//! What a row costs is stores and one reading of the clock: in the steady state `log` asks neither the allocator nor
//! the system for anything. That it takes no lock either is shown beside the writer, which knows its locks.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use runlake_engine::{Lake, MetricId, Run};

const ROLE: &str = "RUNLAKE_TEST_STEADY";
/// Names of files that are nowhere: to ask for them shows in a trace where the rows begin and where they end.
const BEGIN: &str = "/rows of the steady state begin";
const END: &str = "/rows of the steady state end";
/// So many fill most of the first file, so that blocks are changed, and not the file.
const ROWS: i64 = 1500;

/// A run whose names the log knows and whose thread has a block and rows of one shape: the steady state.
fn settled(lake: &Path) -> (Run, Vec<(MetricId, f64)>) {
    let run = Lake::open_or_create(lake).unwrap().run("p").start().unwrap();
    let row: Vec<_> =
        (0..10).map(|at| (run.metric(&format!("metric {at}")).unwrap(), 0.5)).collect();
    run.log(None, &row).unwrap();
    run.log(None, &row).unwrap();
    (run, row)
}

fn log_rows(run: &Run, row: &[(MetricId, f64)]) {
    for step in 2..2 + ROWS {
        run.log(step, row).unwrap();
    }
}

/// Not a test of its own: the process that the next one traces.
#[test]
fn traced() {
    let Ok(lake) = std::env::var(ROLE) else { return };
    let (run, row) = settled(Path::new(&lake));
    assert!(fs::metadata(BEGIN).is_err());
    log_rows(&run, &row);
    assert!(fs::metadata(END).is_err());
}

#[test]
fn no_allocation_lock_or_system_call() {
    let folder = tempfile::tempdir().unwrap();
    let (run, row) = settled(&folder.path().join("counted.lake"));
    let counted = allocation_counter::measure(|| log_rows(&run, &row));
    assert_eq!((counted.count_total, counted.count_current), (0, 0), "{ROWS} rows allocated");
    let control = allocation_counter::measure(|| drop(run.log_named(None, &[("metric 0", 1.0)])));
    assert!(control.count_total > 0, "an allocation is not seen");

    let trace = folder.path().join("trace");
    let child = Command::new("strace")
        .args(["-ff", "-qq", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["steady::traced", "--exact", "--test-threads=1"])
        .env(ROLE, folder.path().join("traced.lake"))
        .stdout(Stdio::null())
        .status();
    match child {
        Ok(status) if status.success() => {}
        why => {
            println!(
                "system calls not counted: strace (a package of that name) does not run here: {why:?}"
            );
            return;
        }
    }
    // Each thread has a file of its own; one of them logged the rows.
    let traces = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let traces = traces.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let trace = traces.into_iter().find(|trace| trace.contains(BEGIN)).expect("a thread logged");
    let calls = trace.lines().skip_while(|line| !line.contains(BEGIN)).skip(1);
    let calls: Vec<_> = calls.take_while(|line| !line.contains(END)).collect();
    assert!(trace.contains(END));
    assert_eq!(calls, [""; 0], "{ROWS} rows called the system");
}
