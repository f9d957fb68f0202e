//! What cannot matter is not read, and leaving it out changes no answer.

use runlake_engine::{Lake, State};

use super::{Fixture, log, rows};

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

/// One segment of 20 runs with 3 metrics of 40 points each, two of them resumed, and a live tail.
fn packed() -> Fixture {
    let lake = Fixture::new();
    for at in 0..20_i64 {
        let run = lake.run(&format!("r{at:02}"));
        let rank = run.labels(&super::object(serde_json::json!({"rank": at % 3}))).unwrap();
        let [loss, acc, lr] = ["train/loss", "eval/acc", "lr"].map(|it| run.metric(it).unwrap());
        for step in at..at + 40 {
            run.log(step, &[(loss, step as f64), (acc, 0.5)]).unwrap();
            run.log_labelled(step, None, Some(rank), &[(lr, 0.1)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
    }
    for id in ["r03", "r04"] {
        let again = lake.lake.run("p").id(id).launch("again").start().unwrap();
        log(&again, "train/loss", 20, &[-1.0, -2.0, f64::NAN]);
    }
    lake.lake.flush().unwrap();
    lake.lake.compact(false, &mut |_, _| true).unwrap();
    log(&lake.run("r05"), "train/loss", 100, &[5.0]);
    log(&lake.run("live"), "train/loss", 0, &[1.0, 2.0]);
    lake
}

/// Rows that a query takes out of files, before any condition is applied to them.
fn rows_read(lake: &Fixture, sql: &str) -> usize {
    let plan = lake.rows(&format!("explain analyze {sql}")).join("\n");
    let scans = plan.lines().filter(|line| line.contains("file_type=segment"));
    let rows = scans.map(|scan| {
        let (_, rest) = scan.split_once("output_rows=").unwrap();
        rest.split([',', ' ', ']']).next().unwrap().parse::<usize>().unwrap()
    });
    rows.sum()
}

#[test]
fn conditions_decide_which_rows_of_a_file_are_read() {
    let lake = packed();
    let ids: Vec<_> = (5..100).map(|at| format!("'r{at:02}'")).collect();
    let many = format!("run_id in ({}) and metric = 'lr'", ids.join(", "));
    for (condition, rows) in [
        ("run_id = 'r07' and metric = 'train/loss'", 40),
        ("run_id = 'r07'", 120),
        ("metric ~ '^eval/' and run_id like 'r1%'", 400),
        ("metric like '%loss' and right(run_id, 1) = '9'", 80),
        ("label(labels, 'rank')::int = 2", 240),
        ("labels is not null and run_id < 'r02'", 80),
        ("metric = 'eval/acc' and step < 2", 80),
        ("(run_id = 'r01' and metric = 'lr') or (run_id = 'r02' and step > 40)", 160),
        (&*many, 600),
        ("metric = 'nothing' or step > 1000", 0),
    ] {
        for table in ["points", "points_all"] {
            let query = format!(
                "select project, run_id, metric, labels, step, value from {table} where {condition}"
            );
            assert_eq!(rows_read(&lake, &query), rows, "{query}");
        }
    }
}

#[test]
fn leaving_out_rows_changes_no_answer() {
    let lake = packed();
    for condition in [
        "run_id = 'r03' and metric = 'train/loss'",
        "run_id in ('r04', 'r05', 'live', 'none')",
        "metric ~ '^train' and step > 30",
        "label(labels, 'rank')::int = 1",
        "labels is null and run_id > 'r17'",
        "metric like 'tr%' and value < 0",
        "isnan(value)",
        "run_id = 'r05' or (metric = 'lr' and step between 50 and 52)",
    ] {
        let columns = "project, run_id, metric, labels, step, value";
        for table in ["points", "points_all"] {
            let pruned = lake.rows(&format!(
                "select {columns} from {table} where {condition} order by {columns}"
            ));
            let unpruned = lake.rows(&format!(
                "select {columns} from {table} where case when random() >= 0 then {condition} end order by {columns}"
            ));
            assert_eq!(pruned, unpruned, "{condition} of {table}");
            assert!(!pruned.is_empty(), "{condition}");
        }
    }
}

#[test]
fn points_that_stand_in_order_are_not_sorted_again() {
    let lake = packed();
    for (query, sorts) in [
        ("select step, value from points where run_id = 'r07' and metric = 'lr' order by step", 0),
        ("select * from points where run_id = 'r07' order by metric, labels nulls first, step", 0),
        ("select run_id, metric from points where run_id like 'r0%' order by run_id, metric", 1),
        ("select step, value from points where run_id = 'r07' order by step", 1),
        ("select value from points where metric = 'lr' and run_id > 'r17' order by value", 1),
    ] {
        let plan = lake.rows(&format!("explain {query}")).join("\n");
        assert_eq!(plan.matches("SortExec").count(), sorts, "{plan}");
    }
}

#[test]
fn what_is_known_of_whole_series_is_told_without_their_points() {
    let lake = packed();
    // Into r03 and r04 hiding cuts, so that their points are read.
    let runs: Vec<_> =
        (0..20).filter(|at| ![3, 4].contains(at)).map(|at| format!("'r{at:02}'")).collect();
    let sql = &*format!(
        "select run_id, count, last_value, min_value, max_value, mean_value from series \
         where metric = 'train/loss' and run_id in ('live', {}) order by run_id",
        runs.join(", ")
    );
    let before = lake.rows(sql);
    assert_eq!(before.len(), 19);
    assert_eq!(before[1], "r00|40|39.0|0.0|39.0|19.5");
    assert_eq!(before[4], "r05|41|5.0|5.0|44.0|24.024390243902438");
    let counts = "select count(*), min(step), max(step) from points_all";
    assert_eq!(rows_read(&lake, "select count(*) from points_all"), 0);
    assert_eq!(lake.rows(counts), ["2409|0|100"]);
    for segment in lake.lake.snapshot().unwrap().segments() {
        std::fs::remove_file(&segment.path).unwrap();
    }
    let again = runlake_query::Session::new(Lake::open(lake.path()).unwrap());
    assert_eq!(rows(&again, sql), before);
}
