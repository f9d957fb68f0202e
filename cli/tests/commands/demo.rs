use super::lab::Lab;

#[test]
fn the_demo_trains_watches_and_keeps_its_lake() {
    let lab = Lab::new();
    for demo in 1..=2 {
        lab.run(&["demo", "--seconds", "2"]).ok().prints(&[
            "demo.lake",
            "val/loss",
            "momentum",
            "Try next",
            "@last",
        ]);
        let query = "select name, state from runs order by name";
        let said = lab.run(&["sql", query, "--format", "csv", "--store", "demo.lake"]).ok();
        let mut expected = vec!["name,state"];
        for name in ["adam,finished", "momentum,finished", "rmsprop,finished", "sgd,finished"] {
            expected.extend(vec![name; demo]);
        }
        assert_eq!(said.out.lines().collect::<Vec<_>>(), expected);
    }
    assert!(!lab.path().join("runs.lake").exists(), "a demo leaves the real lake alone");
    let query = "select count(*), count(*) filter (where min_value < first_value) from series where metric = 'val/loss'";
    let said = lab.run(&["sql", query, "--format", "csv", "--store", "demo.lake"]).ok();
    let (runs, learned) = said.out.lines().nth(1).and_then(|line| line.split_once(',')).unwrap();
    assert_eq!(runs, "8");
    assert_ne!(learned, "0", "they really train");
}
