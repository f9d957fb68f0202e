//! What is logged is what SQL answers, bit for bit, wherever the rows are by then.

use std::{fs::File, path::Path};

use arrow::ipc::reader::FileReader;
use runlake_engine::Lake;
use runlake_query::Session;
use runlake_tests::{
    answer::{self, Cell, Row, ask},
    model::Model,
    script::{Player, SITTINGS, Script},
};

use crate::child;

const POINTS: &str = "select project, run_id, metric, labels, step, time, value from points";
const POINTS_ALL: &str =
    "select project, run_id, metric, labels, launch, attempt, step, time, value from points_all";
const SERIES: &str = "select project, run_id, metric, labels, count, nan_count, inf_count, first_step, last_step, \
     first_value, last_value, last_finite_value, min_value, min_step, max_value, max_step, last_time, mean_value \
     from series order by project, run_id, metric, labels nulls first";
const RUNS: &str =
    "select project, run_id, name, state, last_step, tags, dropped_rows, config from runs";

/// Where the rows of a script are.
struct Stage<'a> {
    seed: u64,
    name: &'a str,
}

impl Stage<'_> {
    /// Asserts that two lists of rows are the same, and shows the first that is not.
    fn same(&self, what: &str, mut got: Vec<Row>, expected: &[Row]) {
        got.sort();
        let Self { seed, name } = self;
        if let Some(at) =
            (0..got.len().max(expected.len())).find(|&at| got.get(at) != expected.get(at))
        {
            panic!(
                "seed {seed}, {name}, {what}: row {at} is\n{:?}\nand should be\n{:?}\n({} rows, {} expected)",
                got.get(at),
                expected.get(at),
                got.len(),
                expected.len()
            );
        }
    }

    /// Asserts that `session` answers what `model` says.
    fn check(&self, session: &Session, model: &Model) {
        let ask = |sql: &str| {
            ask(session, sql)
                .unwrap_or_else(|error| panic!("seed {}, {}: {sql}: {error}", self.seed, self.name))
        };
        let snapshot = session.lake().snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0], "seed {}, {}", self.seed, self.name);
        self.same("points_all", ask(POINTS_ALL).1, &model.points_all());
        self.same("points", ask(POINTS).1, &model.points());
        self.series(ask(SERIES).1, model);
        self.runs(ask(RUNS).1, model);
        for run in model.run_keys() {
            let name = format!("{}/{}", run.0, run.1).replace('\'', "''");
            let (columns, rows) = ask(&format!("select * from history('{name}')"));
            let (expected_columns, expected) = model.history(&run);
            assert_eq!(
                columns[2..],
                expected_columns,
                "seed {}, {}, history of {name}",
                self.seed,
                self.name
            );
            assert!(rows.is_sorted_by_key(|row| row[0].clone()), "a history is ordered by step");
            self.same(&format!("history of {name}"), rows, &expected);
        }
    }

    fn series(&self, mut rows: Vec<Row>, model: &Model) {
        let expected = model.series();
        for (row, expected) in rows.iter_mut().zip(&expected) {
            let mean = row.pop().unwrap();
            let Some((value, off)) = expected.mean else { continue };
            let Cell::Bits(bits) = mean else { panic!("seed {}: no mean in {row:?}", self.seed) };
            let mean = f64::from_bits(bits);
            assert!(
                (mean - value).abs() <= off,
                "seed {}: mean {mean} and not {value} in {row:?}",
                self.seed
            );
        }
        self.same(
            "series",
            rows,
            &expected.into_iter().map(|series| series.row).collect::<Vec<_>>(),
        );
    }

    fn runs(&self, mut rows: Vec<Row>, model: &Model) {
        let expected = model.runs();
        for row in &mut rows {
            let config = row.pop().unwrap();
            row.push(config.into_json());
            // A run that was given no name has one all the same, which follows from its id.
            let given = expected
                .iter()
                .find(|run| run[..2] == row[..2])
                .is_some_and(|run| run[2] != Cell::Null);
            assert_ne!(row[2], Cell::Null, "seed {}: {row:?}", self.seed);
            if !given {
                row[2] = Cell::Null;
            }
        }
        self.same("runs", rows, &expected);
    }

    /// Asserts that a process that has nothing to do with this one answers the same.
    fn check_elsewhere(&self, path: &Path, model: &Model) {
        let answers = tempfile::tempdir().unwrap();
        for (what, sql, expected) in
            [("points_all", POINTS_ALL, model.points_all()), ("points", POINTS, model.points())]
        {
            let file = answers.path().join("answer.arrow");
            let line = [
                "--store",
                path.to_str().unwrap(),
                "sql",
                sql,
                "--format",
                "arrow",
                "-o",
                file.to_str().unwrap(),
            ];
            child::finish(child::runlake(&line));
            let reader = FileReader::try_new(File::open(&file).unwrap(), None).unwrap();
            let rows = reader.flat_map(|batch| answer::rows(&batch.unwrap())).collect();
            self.same(&format!("{what} in another process"), rows, &expected);
        }
    }
}

/// What a child does: one sitting, and then it is gone with its rows in its log.
pub(crate) fn sit(path: &Path, seed: u64, number: usize) {
    let script = Script::new(seed);
    let lake = Lake::open(path).unwrap();
    let player = Player::start(&lake, &script, number);
    // The second of the children leaves a segment of its own behind as well.
    player.play(|| {
        if number == 2 {
            lake.flush().unwrap();
        }
    });
    player.end();
}

fn round_trip(seed: u64) {
    let script = Script::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    // One reader stays open throughout, so that it sees everything arrive; others come fresh.
    let session = Session::new(Lake::open(&path).unwrap());
    let fresh = || Session::new(Lake::open(&path).unwrap());
    let mut model = Model::default();
    let stage = |name| Stage { seed, name };

    let player = Player::start(&lake, &script, 0);
    model.start(&script, 0);
    player.play(|| {
        model.play(&script, 0, 0);
        stage("all in the live log").check(&session, &model);
        lake.flush().unwrap();
        stage("all in segments").check(&session, &model);
    });
    model.play(&script, 0, 1);
    stage("half in segments").check(&session, &model);
    stage("half in segments").check_elsewhere(&path, &model);
    lake.flush().unwrap();
    stage("in segments of two flushes").check(&fresh(), &model);

    player.end();
    drop(lake);
    model.end(&script, 0);
    stage("after the writer").check(&session, &model);

    for number in 1..SITTINGS {
        let argument = format!("{}|{seed}|{number}", path.display());
        child::finish(child::command("sitting", argument).spawn().unwrap());
        model.start(&script, number);
        model.play(&script, number, 0);
        model.play(&script, number, 1);
        model.end(&script, number);
        stage("after another process").check(&session, &model);
    }
    stage("in the log of dead writers").check(&fresh(), &model);
    session.lake().adopt(&mut |_, _| {}).unwrap();
    stage("adopted").check(&session, &model);
    stage("adopted").check(&fresh(), &model);
    stage("adopted").check_elsewhere(&path, &model);
    assert!(session.lake().snapshot().unwrap().tail().is_empty(), "everything is in segments");

    let before = session.lake().snapshot().unwrap().segments().len();
    session.lake().compact(false, &mut |_, _| true).unwrap();
    assert!(session.lake().snapshot().unwrap().segments().len() < before, "segments are merged");
    stage("compacted").check(&session, &model);
    stage("compacted").check(&fresh(), &model);
    session.lake().compact(true, &mut |_, _| true).unwrap();
    stage("what was replaced is removed").check(&fresh(), &model);
    stage("what was replaced is removed").check_elsewhere(&path, &model);
}

/// Several seeds; `RUNLAKE_SEEDS=100` tries so many, `RUNLAKE_SEEDS=41..42` that one.
#[test]
fn what_is_logged_is_what_sql_answers_bit_for_bit_at_every_stage() {
    let asked = std::env::var("RUNLAKE_SEEDS").unwrap_or_else(|_| "3".to_owned());
    let (first, end) = asked.split_once("..").unwrap_or(("0", &asked));
    let (first, end): (u64, u64) = (first.parse().unwrap(), end.parse().unwrap());
    for seed in first..end {
        println!("seed {seed}");
        round_trip(seed);
    }
}
