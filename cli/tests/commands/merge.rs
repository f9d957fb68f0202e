use super::lab::{Lab, finished_run};

#[test]
fn lakes_are_merged_again_and_again_and_at_last_for_good() {
    let (one, two, all) = (Lab::new(), Lab::new(), Lab::new());
    finished_run(&one.lake(), "p", "alpha", 10);
    finished_run(&two.lake(), "p", "beta", 10);
    let sources = [&one, &two].map(|lab| lab.path().join("runs.lake").display().to_string());
    let merge = |more: &[&str]| {
        let sources = sources.iter().map(String::as_str);
        let words = ["merge"].into_iter().chain(sources).chain(["--into", "runs.lake"]);
        all.run(&[&words.collect::<Vec<_>>()[..], more].concat()).ok()
    };
    merge(&[]).prints(&["20 points in 2 segments", ", 0 replaced"]);
    let rows = || {
        all.rows("select name, count(*) from points join runs using (run_id) group by name order by name")
    };
    assert_eq!(rows(), ["alpha,20", "beta,20"]);
    let said = merge(&[]);
    assert_eq!(said.out.matches("nothing new").count(), 2, "{said:#?}");

    // Sources go on: more is logged, and what was there is merged into other files.
    finished_run(&one.lake(), "p", "gamma", 5);
    one.run(&["compact", "--gc-now"]).ok();
    merge(&[]).prints(&["nothing new", "replaced"]);
    assert_eq!(rows(), ["alpha,20", "beta,20", "gamma,10"]);
    all.run(&["verify"]).ok();
    let files = || all.rows("select count(*) from segments where table_name = 'points'").remove(0);
    let before = files();
    all.run(&["compact", "--gc-now"]).ok();
    assert_eq!(files(), before, "they are left alone until the last merge");
    merge(&["--final"]);
    all.run(&["compact", "--gc-now"]).ok();
    assert_eq!(files(), "1");
    assert_eq!(rows(), ["alpha,20", "beta,20", "gamma,10"]);
    all.run(&["merge", "absent.lake", "--into", "runs.lake"]).failed(1).says(&["no lake at"]);
    all.run(&["merge", "runs.lake", "--into", "runs.lake"]).failed(1).says(&["the lake itself"]);
}

#[test]
fn a_backup_of_a_lake_that_is_written_is_one_moment_of_it_and_merges_back() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "old", 10);
    lake.flush().unwrap();
    let live = lake.run("p").name("live").start().unwrap();
    for step in 0..7 {
        live.log_named(step, &[("loss", 0.5)]).unwrap();
    }
    lab.run(&["backup", "copy.lake"]).ok().prints(&["copy.lake: 2 runs and 27 points"]);
    live.log_named(7, &[("loss", 0.5)]).unwrap();
    let count = |store: &str| {
        let sql = ["--store", store, "sql", "select count(*) from points", "--format", "csv"];
        lab.run(&sql).ok().out.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(count("copy.lake"), "27");
    lab.run(&["--store", "copy.lake", "verify"]).ok();
    lab.run(&["backup", "copy.lake"]).failed(1).says(&["copy.lake", "exists"]);

    // What a lake has lost comes back from its backup, and what it has is not doubled.
    live.finish(runlake_engine::State::Finished).unwrap();
    drop((live, lake));
    std::fs::remove_dir_all(lab.path().join("runs.lake")).unwrap();
    let back = ["merge", "copy.lake", "--into", "runs.lake", "--final"];
    lab.run(&back).ok();
    lab.run(&back).ok().prints(&["nothing new"]);
    assert_eq!(count("runs.lake"), "27");
}
