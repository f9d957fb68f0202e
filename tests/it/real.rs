//! Real runs: every point of the table of nanoGPT speedruns comes back bit for bit.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::{Float64Type, Int64Type},
};
use flate2::read::MultiGzDecoder;
use runlake_engine::Lake;
use runlake_query::Session;

use crate::child;

const POINTS: i64 = 3_060_513;
const RUNS: i64 = 735;

/// A run and a metric.
type Key = (String, String);
/// Steps and the bits of values.
type Points = Vec<(i64, u64)>;
/// For each run and metric, the steps and the bits of the values; sorted, since equal steps have no promised order.
type Table = BTreeMap<Key, Points>;

/// The table itself, or nothing where it is not at hand.
fn source() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RUNLAKE_REAL_DATA") else {
        println!("skipped: RUNLAKE_REAL_DATA is not set");
        return None;
    };
    Some(Path::new(&folder).join("nanogpt_speedruns.csv.gz"))
}

fn read(file: &Path) -> Table {
    let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(File::open(file).unwrap()));
    let mut table = Table::new();
    let mut record = csv::StringRecord::new();
    // Lines of a run and metric stand together, mostly: most lines need no look at the map.
    let mut last: Option<(Key, Points)> = None;
    while reader.read_record(&mut record).unwrap() {
        let point = (record[3].parse().unwrap(), record[6].parse::<f64>().unwrap().to_bits());
        match &mut last {
            Some(((run, metric), points)) if *run == record[2] && *metric == record[5] => {
                points.push(point);
            }
            _ => {
                if let Some((key, points)) = last.take() {
                    table.entry(key).or_default().extend(points);
                }
                last = Some(((record[2].to_owned(), record[5].to_owned()), vec![point]));
            }
        }
    }
    if let Some((key, points)) = last {
        table.entry(key).or_default().extend(points);
    }
    sorted(table)
}

fn sorted(mut table: Table) -> Table {
    for points in table.values_mut() {
        points.sort_unstable();
    }
    table
}

/// What SQL says of every point.
fn answer(session: &Session) -> Table {
    let mut table = Table::new();
    let relation = session.sql("select run_id, metric, step, value from points_all").unwrap();
    for batch in relation.reader().unwrap() {
        let batch = batch.unwrap();
        let (runs, metrics) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let steps = batch.column(2).as_primitive::<Int64Type>();
        let values = batch.column(3).as_primitive::<Float64Type>();
        assert_eq!(values.null_count(), 0);
        let mut row = 0;
        while row < batch.num_rows() {
            let (run, metric) = (runs.value(row), metrics.value(row));
            let end = (row..batch.num_rows())
                .find(|&at| runs.value(at) != run || metrics.value(at) != metric)
                .unwrap_or_else(|| batch.num_rows());
            let points = table.entry((run.to_owned(), metric.to_owned())).or_default();
            points.extend((row..end).map(|at| (steps.value(at), values.value(at).to_bits())));
            row = end;
        }
    }
    sorted(table)
}

fn count(session: &Session, sql: &str) -> i64 {
    let (_, batches) = session.sql(sql).unwrap().collect().unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Imports the table, with as many processes at once as there are `parts`, and compares.
fn import(file: &Path, expected: &Table, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("runs.lake");
    let children: Vec<_> = parts
        .iter()
        .map(|part| {
            child::runlake(&[
                "--store",
                store.to_str().unwrap(),
                "import",
                "points",
                file.to_str().unwrap(),
                "--project",
                "speedruns",
                "--run-column",
                "run",
                "--metric-column",
                "metric",
                "--step-column",
                "step",
                "--value-column",
                "value",
                "--part",
                part,
            ])
        })
        .collect();
    for child in children {
        child::finish(child);
    }
    let session = Session::new(Lake::open(&store).unwrap());
    assert_eq!(count(&session, "select count(*) from points_all"), POINTS);
    assert_eq!(count(&session, "select count(*) from points"), POINTS);
    assert_eq!(
        count(&session, "select count(*) from runs where name = run_id and state = 'finished'"),
        RUNS
    );
    let found = answer(&session);
    assert_eq!(found.len(), expected.len());
    for (key, points) in expected {
        assert!(found.get(key) == Some(points), "{key:?} in {parts:?}");
    }
}

#[test]
fn every_point_of_the_real_runs_comes_back_from_one_import_and_from_two_at_once() {
    let Some(file) = source() else { return };
    let expected = read(&file);
    assert_eq!(i64::try_from(expected.values().map(Vec::len).sum::<usize>()).unwrap(), POINTS);
    assert!(
        expected.values().flatten().any(|&(_, bits)| f64::from_bits(bits).is_nan()),
        "the table has NaN"
    );
    assert!(
        expected.values().any(|points| points.windows(2).any(|two| two[0].0 == two[1].0)),
        "the table has steps that repeat"
    );
    import(&file, &expected, &["1/1"]);
    import(&file, &expected, &["1/2", "2/2"]);
}
