//! What cannot matter is not read, and leaving it out changes no answer.

use super::{Fixture, log};

/// Twelve segments: 3 projects x 4 runs, metrics by run, steps by run.
fn lake() -> Fixture {
    let lake = Fixture::new();
    for project in ["p", "q", "r"] {
        for at in 0..4_i64 {
            let run = lake.lake.run(project).id(&format!("{project}{at}")).start().unwrap();
            log(&run, "loss", at * 100, &[1.0, 2.0]);
            log(&run, &format!("train/m{at}"), at * 100, &[3.0]);
            lake.lake.flush().unwrap();
        }
    }
    lake
}

#[test]
fn conditions_decide_which_files_are_read() {
    let lake = lake();
    let ids: Vec<_> = (0..100).map(|at| format!("'q{at}'")).collect();
    let many = format!("run_id in ({})", ids.join(", "));
    for (condition, files) in [
        ("true", 12),
        ("project = 'q'", 4),
        ("'q' = project", 4),
        ("run_id = 'q1'", 1),
        ("project = 'p' and run_id = 'q1'", 0),
        ("run_id = 'q1' or run_id = 'r2'", 2),
        ("run_id in ('q1', 'r2', 'none')", 2),
        (&*many, 4),
        ("project in ('p', 'r') and run_id like '%3'", 2),
        ("metric = 'train/m2'", 3),
        ("metric like 'train/m%'", 12),
        ("metric like '%m3'", 3),
        ("metric ~ '^train/m[01]$'", 6),
        ("right(metric, 2) = 'm1'", 3),
        ("metric not in ('loss', 'train/m0')", 9),
        ("metric = 'nothing'", 0),
        ("step > 250", 3),
        ("step between 100 and 101", 3),
        ("step < 50 or run_id = 'p3'", 4),
        ("run_id = 'q1' and value > 1", 1),
        ("project = 'q' or value > 1", 12),
        ("run_id <> 'q1'", 11),
    ] {
        for table in ["points", "points_all"] {
            let query = format!("select value from {table} where {condition}");
            assert_eq!(lake.files(&query), files, "{query}");
        }
    }
}

#[test]
fn leaving_out_files_changes_no_answer() {
    let lake = lake();
    // Some rows stay live.
    log(&lake.lake.run("q").id("q1").start().unwrap(), "loss", 500, &[7.0]);
    log(&lake.lake.run("q").id("q9").start().unwrap(), "train/m9", 1, &[7.0]);
    for condition in [
        "project = 'q'",
        "run_id in ('q1', 'r2', 'q9')",
        "metric like 'train/%' and step > 99",
        "metric ~ 'm[19]$' or step = 500",
        "not (project = 'p' or metric = 'loss')",
        "step between 100 and 201 and run_id like 'q%'",
        "(project, metric) in (('p', 'loss'), ('q', 'train/m1'))",
        "metric is null or metric = 'train/m9'",
        "run_id = 'q1' and value is not null and labels is null",
        "time < now()",
    ] {
        let columns = "project, run_id, metric, step, value";
        let pruned = lake
            .rows(&format!("select {columns} from points where {condition} order by {columns}"));
        // A condition that says whatever `random()` says cannot be asked in advance.
        let unpruned = lake.rows(&format!(
            "select {columns} from points where case when random() >= 0 then {condition} end order by {columns}"
        ));
        assert_eq!(pruned, unpruned, "{condition}");
        assert!(!pruned.is_empty(), "{condition}");
    }
}

#[test]
fn counting_all_points_reads_no_file() {
    let lake = lake();
    assert_eq!(lake.rows("select count(*) from points_all"), ["36"]);
    assert_eq!(lake.files("select count(*) from points_all"), 0);
}
