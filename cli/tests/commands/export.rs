use std::fs;

use super::lab::{Lab, finished_run};

/// A lake with two runs of `digits` and one of `other`.
fn lab() -> Lab {
    let lab = Lab::new();
    let lake = lab.lake();
    for (project, run) in [("digits", "a"), ("digits", "b"), ("other", "c")] {
        finished_run(&lake, project, run, 10);
    }
    lake.flush().unwrap();
    lab
}

#[test]
fn an_export_is_the_four_tables_and_reads_back_as_they_are() {
    let lab = lab();
    lab.run(&["export", "-o", "out"]).ok().prints(&["3 runs and 60 points in out"]);
    for table in ["runs", "config", "series", "points"] {
        assert!(lab.path().join("out").join(format!("{table}.parquet")).exists(), "{table}");
    }
    lab.run(&["export", "--format", "csv", "-o", "csv"]).ok();
    let points = fs::read_to_string(lab.path().join("csv/points.csv")).unwrap();
    let sql = "select * from points order by project, run_id, metric, labels, step";
    assert_eq!(points, lab.run(&["sql", sql, "--format", "csv"]).ok().out);
}

#[test]
fn an_export_of_some_runs_holds_those_only() {
    let lab = lab();
    let rows = |folder: &str, table: &str| {
        let path = lab.path().join(folder).join(format!("{table}.jsonl"));
        fs::read_to_string(path).unwrap().lines().count()
    };
    let to = |folder| ["--format", "jsonl", "-o", folder];
    let export = |arguments: &[&str], folder| {
        lab.run(&[&["export"], arguments, &to(folder)].concat()).ok();
        (rows(folder, "runs"), rows(folder, "series"), rows(folder, "points"))
    };
    assert_eq!(export(&["--project", "digits"], "one"), (2, 4, 40));
    assert_eq!(export(&["--run", "a", "--run", "other/c"], "two"), (2, 4, 40));
    assert_eq!(export(&["--run", "a", "--project", "other"], "three"), (0, 0, 0));
}

#[test]
fn an_export_overwrites_nothing_and_names_what_is_not_there() {
    let lab = lab();
    fs::create_dir(lab.path().join("full")).unwrap();
    fs::write(lab.path().join("full/mine.txt"), "mine").unwrap();
    lab.run(&["export", "-o", "full"]).failed(1).says(&["full is not empty"]);
    assert_eq!(fs::read_dir(lab.path().join("full")).unwrap().count(), 1);
    lab.run(&["export", "--run", "absent", "-o", "new"]).failed(1).says(&["no run 'absent'"]);
    lab.run(&["export", "--project", "absent", "-o", "new"]).failed(1).says(&["'absent'"]);
    assert!(!lab.path().join("new").exists(), "what fails writes nothing");
}
