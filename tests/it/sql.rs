//! What SQL answers, as files of questions and answers, `tests/sql/*.slt`, in the format of sqllogictest. Each file makes
//! its own lake, by statements that are a word and JSON:
//!
//! * `run {"id": "a", "project": "p", "launch": "1", "config": {..}, "tags": [..], "attributes": {..}}` starts or resumes
//!   a run. Nothing but the id is needed. With `"parent": "b", "fork_step": 3` it is forked from another one.
//! * `log {"run": "a", "metric": "loss", "step": 0, "values": [1.5, "NaN"], "labels": {..}}` logs a value a step.
//! * `say {"run": "a", "summary": {..}}` sets keys of the summary.
//! * `finish {"run": "a"}` ends a run.
//! * `flush {}` moves what was logged into segments.
//!
//! The time of a row is its step in seconds. `RUNLAKE_SQL=update` writes the answers that there are into the files, to be
//! read before they are believed.

use std::{collections::HashMap, fs, path::PathBuf};

use arrow::{
    array::RecordBatch,
    datatypes::DataType,
    util::display::{ArrayFormatter, FormatOptions},
};
use runlake_engine::{Lake, Run, State, json};
use runlake_query::{QueryError, Session};
use serde_json::{Map, Value};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};

/// Where the rows of a file are when it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where the file says.
    AsSaid,
    /// In the log, and nowhere else.
    Log,
    /// In segments, a small one for each statement.
    Segments,
    /// In one segment, as far as a merge can bring them there.
    Merged,
}

/// A lake, what writes to it, and a session that is asked.
struct Desk {
    session: Session,
    runs: HashMap<String, Run>,
    place: Place,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new(place: Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
        Self { session: Session::new(lake), runs: HashMap::new(), place, _folder: folder }
    }

    /// Carries out a statement that changes the lake.
    fn change(&mut self, word: &str, said: &Map<String, Value>) -> runlake_engine::Result<()> {
        let lake = self.session.lake().clone();
        let text = |key: &str| said.get(key).and_then(Value::as_str);
        let map = |key: &str| said.get(key).and_then(Value::as_object).cloned();
        match word {
            "run" => {
                let id = text("id").unwrap();
                self.runs.remove(id);
                let mut run = lake.run(text("project").unwrap_or("p")).id(id).name(id);
                if let Some((parent, step)) = text("parent").zip(said.get("fork_step")) {
                    run = run.fork_from(parent, step.as_i64().unwrap());
                }
                if let Some(launch) = text("launch") {
                    run = run.launch(launch);
                }
                run = run.config(map("config").unwrap_or_default());
                let tags = said.get("tags").and_then(Value::as_array);
                run = run.tags(tags.into_iter().flatten().filter_map(Value::as_str));
                for (key, value) in map("attributes").unwrap_or_default() {
                    run = run.attribute(&key, value);
                }
                self.runs.insert(id.to_owned(), run.start()?);
            }
            "log" => {
                let run = &self.runs[text("run").unwrap()];
                let metric = run.metric(text("metric").unwrap())?;
                let labels = map("labels").map(|labels| run.labels(&labels)).transpose()?;
                let first = said.get("step").map_or(0, |step| step.as_i64().unwrap());
                for (step, value) in (first..).zip(said["values"].as_array().unwrap()) {
                    let value = json::number(value).unwrap();
                    run.log_labelled(step, Some(step * 1_000_000), labels, &[(metric, value)])?;
                }
            }
            "say" => {
                let run = &self.runs[text("run").unwrap()];
                for (key, value) in map("summary").unwrap() {
                    run.summary(&key, Some(value))?;
                }
            }
            "finish" => drop(self.runs[text("run").unwrap()].finish(State::Finished)?),
            other => assert_eq!(other, "flush", "a statement is run, log, say, finish or flush"),
        }
        match self.place {
            Place::Log => {}
            Place::AsSaid if word != "flush" => {}
            _ => drop(lake.flush()?),
        }
        if self.place == Place::Merged {
            lake.compact(true, &mut |_, _| true)?;
        }
        Ok(())
    }
}

impl DB for Desk {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        if let Some((word, said)) = sql.split_once(' ')
            && let Ok(said) = serde_json::from_str(said)
        {
            self.change(word, &said)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let (schema, batches) = self.session.sql(sql)?.collect()?;
        let types = schema.fields().iter().map(|field| match field.data_type() {
            DataType::Utf8 => DefaultColumnType::Text,
            DataType::Float64 => DefaultColumnType::FloatingPoint,
            whole if whole.is_integer() => DefaultColumnType::Integer,
            _ => DefaultColumnType::Any,
        });
        Ok(DBOutput::Rows {
            types: types.collect(),
            rows: batches.iter().flat_map(shown).collect(),
        })
    }
}

/// The rows of a batch as the files have them: a cell is never nothing.
fn shown(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().iter();
    let columns: Vec<_> =
        columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let cell = |column: &ArrayFormatter<'_>, row| match column.value(row).to_string() {
        text if text.is_empty() => "(empty)".to_owned(),
        text => text.replace('\n', "\\n"),
    };
    let row = |row| columns.iter().map(|column| cell(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "slt"));
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    files
}

#[test]
fn questions_have_the_answers_of_their_files_wherever_the_rows_are() {
    if std::env::var("RUNLAKE_SQL").is_ok_and(|what| what == "update") {
        for file in files() {
            let mut runner = Runner::new(|| async { Ok(Desk::new(Place::AsSaid)) });
            let update = runner.update_test_file(
                file,
                "  ",
                sqllogictest::default_validator,
                sqllogictest::default_normalizer,
                sqllogictest::strict_column_validator,
            );
            futures::executor::block_on(update).unwrap();
        }
    }
    for file in files() {
        for place in [Place::AsSaid, Place::Log, Place::Segments, Place::Merged] {
            // Which segments there are is what such a file asks, so it says where rows go itself.
            let says_place = file.file_stem().is_some_and(|name| name == "segments");
            if says_place && place != Place::AsSaid {
                continue;
            }
            let mut runner = Runner::new(move || async move { Ok(Desk::new(place)) });
            runner.with_column_validator(sqllogictest::strict_column_validator);
            if let Err(error) = runner.run_file(&file) {
                panic!("{place:?}: {}", error.display(false));
            }
        }
    }
}

/// A table or a function that no file asks would change without a test.
#[test]
fn every_table_and_function_is_asked_by_a_file() {
    let asked: String = files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let desk = Desk::new(Place::Log);
    let (_, tables) = desk.session.sql("show tables").unwrap().collect().unwrap();
    for table in tables.iter().flat_map(shown).flatten() {
        assert!(asked.contains(&format!("describe {table}\n")), "{table}");
        assert!(asked.matches(&format!("from {table}")).count() > 1, "{table}");
    }
    let ours =
        "asof chart compare history runs_wide ema interpolate label last_known lttb m4 time_bucket";
    for function in ours.split(' ') {
        assert!(asked.contains(&format!("{function}(")), "{function}");
    }
}
