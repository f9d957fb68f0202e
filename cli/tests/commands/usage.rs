use super::lab::{Lab, finished_run};

const COMMANDS: [&[&str]; 23] = [
    &["sql"],
    &["runs"],
    &["show"],
    &["tail"],
    &["plot"],
    &["compare"],
    &["tag"],
    &["note"],
    &["rename"],
    &["import"],
    &["import", "points"],
    &["export"],
    &["merge"],
    &["backup"],
    &["rm"],
    &["restore"],
    &["expire"],
    &["init"],
    &["compact"],
    &["verify"],
    &["stats"],
    &["doctor"],
    &["demo"],
];

#[test]
fn every_command_explains_itself_with_examples_and_takes_a_store() {
    let lab = Lab::new();
    lab.run(&["--help"]).ok().prints(&[
        "Examples:",
        "--store <DIR>",
        "runlake sql",
        "runlake demo",
    ]);
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        lab.run(&arguments).ok().prints(&["Examples:", "--store <DIR>", "Usage: runlake "]);
    }
    assert_eq!(std::fs::read_dir(lab.path()).unwrap().count(), 0, "help writes nothing");
}

#[test]
fn wrong_usage_exits_with_2_and_suggests() {
    let lab = Lab::new();
    for (arguments, hint) in [
        (vec!["sqll", "select 1"], "'sql'"),
        (vec!["polt", "loss"], "'plot'"),
        (vec!["sql"], "<QUERY>"),
        (vec!["sql", "select 1", "--formt", "csv"], "'--format'"),
        (vec!["sql", "select 1", "--format", "jsn"], "'json'"),
        (vec!["plot", "loss", "--width", "3"], "20..=500"),
        (vec!["plot", "loss", "--project", "p", "--run", "r"], "cannot be used with"),
    ] {
        let said = lab.run(&arguments);
        assert_eq!(said.code, Some(2), "{said:#?}");
        assert!(said.err.starts_with("error: ") && said.err.contains(hint), "{said:#?}");
        assert_eq!(said.out, "");
    }
}

#[test]
fn without_a_lake_every_reading_command_says_where_it_looked() {
    let lab = Lab::new();
    for arguments in [
        vec!["sql", "select 1"],
        vec!["runs"],
        vec!["show", "@last"],
        vec!["tail", "@last"],
        vec!["plot", "loss"],
        vec!["compare", "a", "b"],
        vec!["tag", "a", "b"],
        vec!["note", "a", "b"],
        vec!["rename", "a", "b"],
        vec!["compact"],
        vec!["verify"],
    ] {
        lab.run(&arguments).failed(1).says(&[
            "no lake at",
            "hint: looked at",
            "runs.lake",
            "runlake demo",
        ]);
    }
    assert_eq!(std::fs::read_dir(lab.path()).unwrap().count(), 0, "reading creates nothing");
}

#[test]
fn the_lake_is_the_argument_else_the_environment_else_the_nearest_one_upward() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "here", "a", 3);
    let other = lab.path().join("elsewhere.lake");
    finished_run(&runlake_engine::Lake::open_or_create(&other).unwrap(), "elsewhere", "b", 3);
    let deep = lab.path().join("src/train");
    std::fs::create_dir_all(&deep).unwrap();
    let project = |arguments: &[&str], store: Option<&str>| {
        let mut command = lab.command(&["sql", "select project from runs", "--format", "csv"]);
        command
            .args(arguments)
            .current_dir(&deep)
            .envs(store.map(|store| ("RUNLAKE_STORE", store)));
        super::lab::said(command.output().unwrap()).ok().out
    };
    assert_eq!(project(&[], None), "project\nhere\n");
    assert_eq!(project(&[], Some(other.to_str().unwrap())), "project\nelsewhere\n");
    assert_eq!(
        project(&["--store", "../../runs.lake"], Some(other.to_str().unwrap())),
        "project\nhere\n"
    );
}

#[test]
fn a_project_that_is_mistyped_is_suggested() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "digits", "a", 3);
    lab.run(&["runs", "--project", "digit"])
        .failed(1)
        .says(&["no project 'digit'", "did you mean 'digits'?"]);
}
