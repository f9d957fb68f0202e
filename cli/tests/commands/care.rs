use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use runlake_engine::{Filter, Lake};

use super::lab::{Lab, finished_run};

/// The segments of the lake's points.
fn segments(lake: &Lake) -> Vec<PathBuf> {
    lake.snapshot().unwrap().segments().iter().map(|segment| segment.path.clone()).collect()
}

/// The files under `folder` whose names end so, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes one bit of a file.
/// Changes one byte where it stands: a file that became shorter would be taken from under a writer that maps it.
fn flip(path: &Path, offset: usize) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset as u64).unwrap();
}

#[test]
fn compact_takes_in_what_dead_writers_left() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 100);
    // A process that logs and ends leaves its log behind.
    lab.run(&["demo", "--seconds", "1", "--store", "runs.lake"]).ok();
    let lake = Lake::open(lab.path().join("runs.lake")).unwrap();
    let all = |lake: &Lake| -> usize {
        let snapshot = lake.snapshot().unwrap();
        snapshot.scan(&Filter::default()).unwrap().map(|batch| batch.unwrap().num_rows()).sum()
    };
    let before = all(&lake);
    lab.run(&["compact", "--gc-now"]).ok().prints(&["taken in", " now ("]);
    assert_eq!(all(&lake), before);
    lab.run(&["compact"])
        .ok()
        .prints(&["0 logs taken in, with 0 points", "0 segments merged into 0, 0 B freed"]);
    lab.run(&["verify"]).ok().prints(&["are sound"]);
}

#[test]
fn compact_merges_segments_and_frees_what_they_replaced() {
    let lab = Lab::new();
    let lake = lab.lake();
    for name in ["a", "b", "c"] {
        finished_run(&lake, "p", name, 100);
        lake.flush().unwrap();
    }
    let query = "select * from points_all order by run_id, metric, step";
    let before = lab.rows(query);
    assert_eq!(before.len(), 600);
    // Three segments of points and three of facts.
    lab.run(&["compact"])
        .ok()
        .prints(&["6 segments merged into 2, 0 B freed", "600 points in 1 segment now ("]);
    assert_eq!(lab.rows(query), before);
    let replaced = lab.path().join("runs.lake/tables/points/l0");
    assert_eq!(files(&replaced, ".parquet").len(), 3, "they stay for an hour");

    let said = lab.run(&["compact", "--gc-now"]).ok().prints(&["0 segments merged into 0, "]);
    assert!(!said.out.contains(" 0 B freed"), "{said:#?}");
    assert_eq!(files(&replaced, ".parquet").len(), 0);
    assert_eq!(lab.rows(query), before);
    lab.run(&["verify"]).ok().prints(&["600 points in 1 segment and 0 in logs are sound"]);
}

#[test]
fn compact_leaves_a_damaged_segment_alone_and_names_it() {
    let lab = Lab::new();
    let lake = lab.lake();
    for name in ["a", "b", "c"] {
        finished_run(&lake, "p", name, 1000);
        lake.flush().unwrap();
    }
    let damaged = &segments(&lake)[0];
    flip(damaged, usize::try_from(fs::metadata(damaged).unwrap().len()).unwrap() / 3);
    let name = damaged.file_name().unwrap().to_str().unwrap();
    lab.run(&["compact"]).ok().prints(&["left as it is: ", name, "6,000 points in 2 segments"]);
}

#[test]
fn verify_names_the_damaged_file_and_exits_with_1_and_the_rest_stays_readable() {
    let lab = Lab::new();
    let lake = lab.lake();
    for project in ["sound", "damaged"] {
        finished_run(&lake, project, "a", 1000);
        lake.flush().unwrap();
    }
    lab.run(&["verify"])
        .ok()
        .prints(&["2 runs", "4,000 points in 2 segments and 0 in logs are sound"]);

    let path = segments(&lake)
        .into_iter()
        .find(|path| path.to_string_lossy().contains("damaged"))
        .unwrap_or_else(|| segments(&lake)[1].clone());
    flip(&path, usize::try_from(fs::metadata(&path).unwrap().len()).unwrap() / 3);
    let said = lab.run(&["verify"]).failed(1).says(&["1 part damaged"]);
    assert!(said.out.contains(path.file_name().unwrap().to_str().unwrap()), "{said:#?}");
    assert_eq!(lab.rows("select count(*) from points where project = 'sound'"), ["2000"]);

    fs::remove_file(&path).unwrap();
    let said = lab.run(&["verify"]).failed(1);
    assert!(said.out.contains(path.file_name().unwrap().to_str().unwrap()), "{said:#?}");
}

#[test]
fn a_damaged_commit_is_named() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "a", 100);
    lake.flush().unwrap();
    let commit = files(&lab.path().join("runs.lake/tables/points/_delta_log"), ".json").remove(0);
    flip(&commit, 1);
    let name = commit.file_name().unwrap().to_str().unwrap();
    lab.run(&["verify"]).failed(1).says(&[name, "corrupt"]);
    lab.run(&["doctor"]).ok().prints(&[name, "something is damaged"]);
    lab.run(&["sql", "select * from points"]).failed(1).says(&[name, "runlake verify"]);
}

#[test]
fn a_damaged_log_is_named_and_its_other_rows_stay() {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake.run("p").name("live").start().unwrap();
    for step in 0..100 {
        run.log_named(step, &[("loss", 0.5)]).unwrap();
    }
    lab.run(&["verify"]).ok().prints(&["1 run, 0 points in 0 segments and 100 in logs are sound"]);
    let log = files(&lab.path().join("runs.lake/log"), ".log").remove(0);
    // Somewhere among the rows: behind the last bytes that are not zero lies nothing.
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    flip(&log, end - 40);
    let name = log.file_name().unwrap().to_str().unwrap();
    lab.run(&["verify"]).failed(1).says(&["1 part damaged"]).prints(&[name]);
    // Whoever is answered from the rest is told so.
    for arguments in [
        &[][..],
        &["runs"],
        &["show", "live"],
        &["plot", "loss"],
        &["sql", "select count(*) from points"],
    ] {
        lab.run(arguments).ok().says(&["warning: ", name, "`runlake verify`"]);
    }
    let left: usize = lab.rows("select count(*) from points")[0].parse().unwrap();
    assert!((90..100).contains(&left), "{left} rows are left");
}

#[test]
fn doctor_says_which_lake_why_and_who_writes() {
    let lab = Lab::new();
    lab.run(&["doctor"]).ok().prints(&["runs.lake", "there is no lake yet"]);
    let lake = lab.lake();
    let run = lake.run("p").name("live").start().unwrap();
    run.log_named(0, &[("loss", 0.5)]).unwrap();
    lab.run(&["doctor"]).ok().prints(&[
        "looked at",
        " free",
        "locks",
        &format!("process {}", std::process::id()),
        "1 run;",
        "1 in logs",
    ]);
    let other = lab.path().join("other.lake");
    Lake::open_or_create(&other).unwrap();
    lab.run(&["doctor", "--store", "other.lake"]).ok().prints(&[
        "other.lake",
        "0 runs",
        "all is well",
    ]);
}

#[test]
fn init_makes_a_lake_once_and_shares_it_if_asked_to() {
    let lab = Lab::new();
    lab.run(&["init"]).ok().prints(&["a new lake at ", "runs.lake"]);
    lab.run(&["doctor"]).ok().prints(&["with nobody"]);
    lab.run(&["init"]).failed(1).says(&["there is a lake already"]);
    lab.run(&["--store", "ours.lake", "init", "--group"]).ok().prints(&["shared with group "]);
    lab.run(&["--store", "ours.lake", "doctor"]).ok().prints(&["with group "]);
}
