use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{Float64Type, Int64Type},
    ipc::reader::FileReader,
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::lab::{Lab, finished_run, spawn};

const EXACT: &str = "select step, value from points order by step";

/// Values whose bits are easily lost.
const VALUES: [f64; 11] = [
    0.1,
    -0.0,
    5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1.0 / 3.0,
    123_456_789_012_345_680.0,
    2.0,
];

fn exact_lab() -> Lab {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake.run("p").name("exact").start().unwrap();
    for (step, value) in (0..).zip(VALUES) {
        run.log_named(step, &[("v", value)]).unwrap();
    }
    lab
}

fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

fn values_of(batches: &[RecordBatch]) -> Vec<f64> {
    let mut values = Vec::new();
    for batch in batches {
        assert_eq!(
            batch.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(),
            ["step", "value"]
        );
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().null_count(), 0);
        values.extend(batch.column(1).as_primitive::<Float64Type>().values());
    }
    values
}

#[test]
fn a_version_is_the_lake_as_it_stood_and_one_that_is_not_there_is_named() {
    let lab = Lab::new();
    let lake = lab.lake();
    for run in ["a", "b", "c"] {
        finished_run(&lake, "p", run, 10);
        lake.flush().unwrap();
    }
    let count = "select count(*) from points";
    for (version, points) in [("0", "20"), ("1", "40"), ("2", "60")] {
        lab.run(&["sql", count, "--version", version, "--format", "csv"]).ok().prints(&[points]);
    }
    lab.run(&["sql", count, "--version", "7"])
        .failed(1)
        .says(&["no version 7 is kept; there are 0 to 2"]);
}

#[test]
fn every_format_reads_back_bit_for_bit() {
    let lab = exact_lab();

    let csv = lab.run(&["sql", EXACT, "--format", "csv"]).ok().out;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("step,value"));
    let read = lines.map(|line| line.split_once(',').unwrap().1.parse().unwrap());
    assert_eq!(bits(read), bits(VALUES));

    let number = |value: &serde_json::Value| match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap(),
    };
    let json: Vec<serde_json::Value> =
        serde_json::from_str(&lab.run(&["sql", EXACT, "--format", "json"]).ok().out).unwrap();
    assert_eq!(bits(json.iter().map(|row| number(&row["value"]))), bits(VALUES));
    let jsonl = lab.run(&["sql", EXACT, "--format", "jsonl"]).ok().out;
    let rows: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, json);

    lab.run(&["sql", EXACT, "-o", "v.parquet"]).ok();
    let file = File::open(lab.path().join("v.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(bits(values_of(&reader.map(Result::unwrap).collect::<Vec<_>>())), bits(VALUES));

    lab.run(&["sql", EXACT, "-o", "v.arrow"]).ok();
    let reader =
        FileReader::try_new(File::open(lab.path().join("v.arrow")).unwrap(), None).unwrap();
    assert_eq!(bits(values_of(&reader.map(Result::unwrap).collect::<Vec<_>>())), bits(VALUES));

    // Redirected, binary formats go to stdout as well.
    let out = lab.command(&["sql", EXACT, "--format", "parquet"]).output().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(out.stdout));
    let reader = reader.unwrap().build().unwrap();
    assert_eq!(bits(values_of(&reader.map(Result::unwrap).collect::<Vec<_>>())), bits(VALUES));
}

#[test]
fn a_table_aligns_numbers_and_shows_null_and_lists() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 3);
    let said = lab.run(&["sql", "select name, tags, notes, 12.5 x, 7 y from runs"]).ok();
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "name  tags      notes     x  y");
    assert_eq!(lines[2], "a     [\"test\"]  NULL   12.5  7");
    assert_eq!(lines.len(), 3, "{said:#?}");
}

#[test]
fn a_redirected_table_has_every_row_and_rows_limits_it() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 500);
    let query = "select step from points where metric = 'train/loss' order by step";
    assert_eq!(lab.run(&["sql", query]).ok().out.lines().count(), 2 + 500);
    assert_eq!(lab.run(&["sql", query, "--rows", "7"]).ok().out.lines().count(), 2 + 7);
    assert_eq!(lab.run(&["sql", query, "--format", "csv"]).ok().out.lines().count(), 1 + 500);
}

#[test]
fn lists_are_json_in_csv_and_an_empty_result_keeps_its_header() {
    let lab = Lab::new();
    finished_run(&lab.lake(), "p", "a", 3);
    let csv = lab.run(&["sql", "select name, tags, notes from runs", "--format", "csv"]).ok().out;
    assert_eq!(csv, "name,tags,notes\na,\"[\"\"test\"\"]\",\n");
    let none = "select name, tags from runs where name = 'none'";
    assert_eq!(lab.run(&["sql", none, "--format", "csv"]).ok().out, "name,tags\n");
    assert_eq!(lab.run(&["sql", none, "--format", "json"]).ok().out, "[]\n");
    assert_eq!(lab.run(&["sql", none, "--format", "jsonl"]).ok().out, "");
}

#[test]
fn the_query_can_come_from_standard_input() {
    let lab = exact_lab();
    let said =
        lab.run_with_input(&["sql", "-", "--format", "csv"], "select count(*) n\nfrom points");
    assert_eq!(said.ok().out, format!("n\n{}\n", VALUES.len()));
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let lab = exact_lab();
    lab.file("out.csv", "what was there");
    lab.run(&["sql", "select cast(project as int) from points", "-o", "out.csv"]).failed(1);
    assert_eq!(std::fs::read_to_string(lab.path().join("out.csv")).unwrap(), "what was there");
    lab.run(&["sql", EXACT, "-o", "out.csv"]).ok();
    let written = std::fs::read_to_string(lab.path().join("out.csv")).unwrap();
    assert_eq!(written, lab.run(&["sql", EXACT, "--format", "csv"]).ok().out);
    let left: Vec<_> =
        std::fs::read_dir(lab.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".runlake-")), "{left:?}");
    lab.run(&["sql", EXACT, "-o", "no/such/folder.csv"])
        .failed(1)
        .says(&["cannot write no/such/folder.csv"]);
}

#[test]
fn a_query_that_is_wrong_says_what_and_suggests() {
    let lab = exact_lab();
    lab.run(&["sql", "select valeu from points"]).failed(1).says(&["valeu", "did you mean value?"]);
    lab.run(&["sql", "select * from point"]).failed(1).says(&["point", "did you mean points"]);
    lab.run(&["sql", "selct 1"]).failed(1).says(&["cannot parse the query"]);
    lab.run(&["sql", "drop table points"]).failed(1).says(&["read-only"]);
    lab.run(&["sql", "select * from history('exct')"]).failed(1).says(&[
        "exct",
        "did you mean",
        "exact",
    ]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let lab = Lab::new();
    let lake = lab.lake();
    let run = lake.run("p").start().unwrap();
    let metric = run.metric("v").unwrap();
    run.log_many(metric, None, None, &vec![0.5; 300_000]).unwrap();
    for format in ["csv", "jsonl", "json", "table", "arrow"] {
        let mut child =
            spawn(&mut lab.command(&["sql", "select * from points", "--format", format]));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = Vec::new();
        out.read_until(b'\n', &mut line).unwrap();
        drop(out);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{format}");
    }
}
