//! The program in Rust that README shows is one that compiles, runs, and logs what it says.

use runlake_engine::Lake;
use runlake_query::Session;
use runlake_tests::answer::{Cell, ask};

use crate::child;

/// README's program. What stands between the two lines of dashes is compared with the page.
pub(crate) fn program() -> Result<(), Box<dyn std::error::Error>> {
    // ----
    use runlake_engine::{Lake, State};
    use runlake_query::Session;

    let lake = Lake::open_or_create("runs.lake")?;
    let run = lake.run("digits").name("first try").start()?;
    let loss = run.metric("train/loss")?;
    for step in 0..100 {
        run.log(step, &[(loss, 1.0 / (1.0 + step as f64))])?;
    }
    run.finish(State::Finished)?;

    let relation = Session::new(lake).sql("select name, last_step from runs")?;
    let (schema, batches) = relation.collect()?;
    // ----
    assert_eq!(schema.fields().len(), 2);
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1);
    Ok(())
}

#[test]
fn the_program_in_the_readme_runs_and_logs_what_it_says() {
    let source = include_str!("readme.rs").split("    // ----\n").nth(1).unwrap();
    let source: String = source
        .split_inclusive('\n')
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect();
    let page = include_str!("../../README.md");
    let shown = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown, source);

    let folder = tempfile::tempdir().unwrap();
    let mut command = child::command("readme", "");
    child::finish(command.current_dir(folder.path()).spawn().unwrap());
    let session = Session::new(Lake::open(folder.path().join("runs.lake")).unwrap());
    let (_, rows) = ask(&session, "select name, state, last_step from runs").unwrap();
    assert_eq!(rows, [[Cell::text("first try"), Cell::text("finished"), Cell::Integer(99)]]);
}
