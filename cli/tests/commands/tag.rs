use super::lab::{Lab, finished_run};

#[test]
fn a_finished_run_is_tagged_noted_and_renamed() {
    let lab = Lab::new();
    let lake = lab.lake();
    finished_run(&lake, "p", "first", 3);
    drop(lake);
    let runs = "select name, array_to_string(tags, ' '), notes, state, last_step from runs";
    assert_eq!(lab.rows(runs), ["first,test,,finished,2"]);

    lab.run(&["tag", "first", "paper", "baseline"]).ok().prints(&["baseline, paper, test\n"]);
    lab.run(&["tag", "first", "--off", "paper", "new one"])
        .ok()
        .prints(&["baseline, new one, test\n"]);
    lab.run(&["note", "first", "diverged,\nlate"]).ok().prints(&["diverged,\\nlate"]);
    lab.run(&["rename", "first", "学習"]).ok().prints(&["学習", "was first"]);
    assert_eq!(
        lab.rows(
            "select name, array_to_string(tags, ' '), replace(notes, chr(10), ' '), state from runs"
        ),
        ["学習,baseline new one test,\"diverged, late\",finished"]
    );
    // Without a change they show.
    lab.run(&["tag", "学習"]).ok().prints(&["baseline, new one, test"]);
    lab.run(&["note", "学習"]).ok().prints(&["diverged"]);
    lab.run(&["note", "学習", ""]).ok().prints(&["no note"]);
    assert_eq!(lab.rows("select count(*) from runs where notes is null"), ["1"]);
}

#[test]
fn a_run_that_is_not_there_gets_candidates_and_an_empty_name_is_refused() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "calm-otter-17", 1);
    for command in [
        &["tag", "calm-oter-17", "x"],
        &["note", "calm-oter-17", "x"],
        &["rename", "calm-oter-17", "x"],
    ] {
        lab.run(command).failed(1).says(&["calm-otter-17"]);
    }
    lab.run(&["rename", "calm-otter-17", ""]).failed(2);
}
