use std::{collections::BTreeMap, fs::File, io::Write as _, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use parquet::arrow::ArrowWriter;
use runlake_engine::{Filter, Lake};

use super::lab::{Lab, Said, said, spawn};

/// One line of a table of points.
#[derive(Debug, Clone)]
struct Line {
    run: String,
    metric: String,
    step: i64,
    value: Option<f64>,
}

/// (run, metric) to its points, in the order of logging among equal steps.
type Points = BTreeMap<(String, String), Vec<(i64, u64)>>;

/// A table that has everything that real ones have, from a seed.
fn table(seed: u64, lines: usize) -> Vec<Line> {
    let mut state = seed;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let runs = ["2024-10-10_Muon-eb5659d0", "läufe/ñ", "a,b \"quoted\"", "学習", "r5", "r6", "r7"];
    let metrics = ["train/loss", "val loss", "grad,norm", "lr", "ms"];
    (0..lines)
        .map(|at| {
            let run = next(7);
            let metric = next(if at < lines / 2 { 3 } else { 5 });
            let value = match next(20) {
                0 => Some(f64::NAN),
                1 => Some(f64::INFINITY),
                2 => Some(f64::NEG_INFINITY),
                3 => Some(-0.0),
                4 => Some(5e-324),
                5 => Some(f64::MAX),
                6 => None,
                7 => Some(next(1000) as f64),
                _ => Some(f64::from_bits(
                    0x3f00_0000_0000_0000 | next(1 << 30) << 20 | next(1 << 20),
                )),
            };
            Line {
                run: runs[usize::try_from(run).unwrap()].to_owned(),
                metric: metrics[usize::try_from(metric).unwrap()].to_owned(),
                // Steps advance, repeat and go back.
                step: i64::try_from(at / 10).unwrap() - next(5).cast_signed(),
                value,
            }
        })
        .collect()
}

fn expected(lines: &[Line]) -> Points {
    let mut points = Points::new();
    for line in lines {
        if let Some(value) = line.value {
            points
                .entry((line.run.clone(), line.metric.clone()))
                .or_default()
                .push((line.step, value.to_bits()));
        }
    }
    for points in points.values_mut() {
        points.sort_by_key(|&(step, _)| step);
    }
    points
}

/// What a lake holds, read by the engine, whose order among equal steps is that of logging.
fn imported(lake: &Lake) -> Points {
    let mut points = Points::new();
    for batch in lake.snapshot().unwrap().scan(&Filter::default()).unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str| {
            let column = cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
            column.as_string::<i32>().clone()
        };
        let (runs, metrics) = (text("run_id"), text("metric"));
        let steps = batch.column_by_name("step").unwrap().as_primitive::<Int64Type>();
        let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let key = (runs.value(row).to_owned(), metrics.value(row).to_owned());
            points.entry(key).or_default().push((steps.value(row), values.value(row).to_bits()));
        }
    }
    for points in points.values_mut() {
        points.sort_by_key(|&(step, _)| step);
    }
    points
}

fn csv_of(lines: &[Line]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["run", "step", "metric", "value", "lr"]).unwrap();
    for line in lines {
        let value = line.value.map_or_else(String::new, |value| format!("{value:?}"));
        writer
            .write_record([&line.run, &line.step.to_string(), &line.metric, &value, "0.25"])
            .unwrap();
    }
    writer.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn write_parquet(path: &Path, lines: &[Line]) {
    let columns: [(&str, ArrayRef); 5] = [
        (
            "run",
            Arc::new(lines.iter().map(|line| Some(line.run.as_str())).collect::<StringArray>()),
        ),
        ("step", Arc::new(lines.iter().map(|line| Some(line.step)).collect::<Int64Array>())),
        (
            "metric",
            Arc::new(lines.iter().map(|line| Some(line.metric.as_str())).collect::<StringArray>()),
        ),
        ("value", Arc::new(lines.iter().map(|line| line.value).collect::<Float64Array>())),
        ("lr", Arc::new(lines.iter().map(|_| Some(0.25)).collect::<Float64Array>())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

const COLUMNS: [&str; 10] = [
    "--project",
    "p",
    "--run-column",
    "run",
    "--metric-column",
    "metric",
    "--step-column",
    "step",
    "--value-column",
    "value",
];

fn import(lab: &Lab, file: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["import", "points", file];
    arguments.extend(COLUMNS);
    arguments.extend(more);
    lab.run(&arguments)
}

#[test]
fn csv_gzipped_csv_and_parquet_are_imported_bit_for_bit_in_the_order_of_the_file() {
    let lines = table(1, 20_000);
    let expected = expected(&lines);
    let points: usize = expected.values().map(Vec::len).sum();
    let empty = lines.len() - points;
    for file in ["t.csv", "t.csv.gz", "t.parquet"] {
        let lab = Lab::new();
        match file {
            "t.csv" => drop(lab.file(file, csv_of(&lines))),
            "t.csv.gz" => drop(lab.file(file, gzipped(&csv_of(&lines)))),
            _ => write_parquet(&lab.path().join(file), &lines),
        }
        let said = import(&lab, file, &["--config-columns", "lr"]).ok();
        let counts = format!("7 runs and {},{:03} points in ", points / 1000, points % 1000);
        assert!(
            said.out.starts_with(&counts) && said.out.contains(" points a second"),
            "{said:#?}"
        );
        assert!(
            said.out.contains(&format!("{empty} lines with an empty value skipped")),
            "{said:#?}"
        );
        assert!(imported(&lab.lake()) == expected, "{file}");
        assert_eq!(
            lab.rows("select distinct state, name = run_id, config->>'lr' from runs"),
            ["finished,true,0.25"],
            "{file}"
        );
        assert_eq!(
            lab.rows("select count(*) from points where time is not null"),
            ["0"],
            "times are unknown"
        );
    }
}

#[test]
fn two_processes_import_two_parts_into_one_lake() {
    let lab = Lab::new();
    let lines = table(2, 20_000);
    lab.file("t.csv", csv_of(&lines));
    let children: Vec<_> = ["1/2", "2/2"]
        .iter()
        .map(|part| {
            let mut command = lab.command(&["import", "points", "t.csv"]);
            spawn(command.args(COLUMNS).args(["--part", part]))
        })
        .collect();
    for child in children {
        said(child.wait_with_output().unwrap()).ok();
    }
    assert!(imported(&lab.lake()) == expected(&lines));
    assert_eq!(lab.rows("select count(*) from runs"), ["7"]);
}

#[test]
fn a_file_that_was_imported_is_refused_unless_told_otherwise() {
    let lab = Lab::new();
    let lines: Vec<Line> = table(3, 500);
    lab.file("t.csv", csv_of(&lines));
    import(&lab, "t.csv", &[]).ok();
    let count = || lab.rows("select count(*) from points_all")[0].parse::<usize>().unwrap();
    let once = count();

    import(&lab, "t.csv", &[]).failed(1).says(&[
        "7 runs of this file already",
        "--existing skip",
        "--existing append",
    ]);
    assert_eq!(count(), once);

    let more = [&lines[..], &[Line { run: "new".to_owned(), ..lines[0].clone() }]].concat();
    lab.file("more.csv", csv_of(&more));
    import(&lab, "more.csv", &["--existing", "skip"]).ok().prints(&["7 runs skipped"]);
    let with_new = expected(&more).values().map(Vec::len).sum::<usize>();
    assert_eq!(count(), with_new);

    import(&lab, "t.csv", &["--existing", "append"]).ok();
    assert_eq!(count(), with_new + once);
    // The second copy is a new attempt, which hides the first one.
    assert_eq!(lab.rows("select count(*) from points"), [with_new.to_string()]);
}

#[test]
fn a_cell_that_makes_no_sense_names_its_place_and_nothing_is_imported() {
    let header = "run,step,metric,value,when\n";
    for (line, says) in [
        ("a,1,loss,abc,0", "line 4, column 'value': 'abc' is not a number"),
        ("a,1.5,loss,1,0", "line 4, column 'step': '1.5' is not a whole number"),
        ("a,,loss,1,0", "line 4, column 'step': '' is not a step"),
        (",1,loss,1,0", "line 4, column 'run': '' is empty"),
        ("a,1,,1,0", "line 4, column 'metric': '' is empty"),
        ("a,1,loss,1,yesterday", "line 4, column 'when': 'yesterday' is not a time"),
        ("a,1,loss", "line 4: 3 cells where the header has 5"),
    ] {
        let lab = Lab::new();
        lab.file(
            "t.csv",
            format!("{header}a,0,loss,0.5,0\na,1,loss,0.25,1\n{line}\na,2,loss,0.1,2\n"),
        );
        import(&lab, "t.csv", &["--time-column", "when"]).failed(1).says(&["t.csv", says]);
        assert!(!lab.path().join("runs.lake").exists(), "nothing was imported");
    }
}

#[test]
fn a_bad_cell_of_parquet_names_its_row() {
    let lab = Lab::new();
    let columns: [(&str, ArrayRef); 4] = [
        ("run", Arc::new(StringArray::from(vec!["a", "a"]))),
        ("step", Arc::new(Float64Array::from(vec![1.0, 1.5]))),
        ("metric", Arc::new(StringArray::from(vec!["m", "m"]))),
        ("value", Arc::new(Int64Array::from(vec![3, 4]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(
        File::create(lab.path().join("t.parquet")).unwrap(),
        batch.schema(),
        None,
    )
    .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    import(&lab, "t.parquet", &[])
        .failed(1)
        .says(&["t.parquet row 2, column 'step': '1.5' is not a whole number"]);
}

#[test]
fn a_column_or_file_that_is_mistyped_is_said() {
    let lab = Lab::new();
    lab.file("t.csv", "run,step,metric,valeu\na,1,loss,1\n");
    import(&lab, "t.csv", &[]).failed(1).says(&[
        "has no column 'value'",
        "did you mean 'valeu'?",
        "its columns are run, step, metric, valeu",
    ]);
    import(&lab, "none.csv", &[]).failed(1).says(&["cannot read none.csv"]);
    lab.file("t.parquet", "PAR1 and nothing more");
    import(&lab, "t.parquet", &[]).failed(1).says(&["cannot read t.parquet"]);
    assert!(!lab.path().join("runs.lake").exists());
}

#[test]
fn times_and_config_are_kept_with_their_types() {
    let lab = Lab::new();
    lab.file(
        "t.tsv",
        "run\tstep\tmetric\tvalue\twhen\tlr\topt\tsize\n\
         a\t0.0\tloss\t0.5\t2026-01-31T09:26:56.25Z\t0.25\tadam\t7\n\
         a\t1e1\tloss\tinf\t1769851616.5\t0.5\tadam\t7\n",
    );
    import(&lab, "t.tsv", &["--time-column", "when", "--config-columns", "lr,opt,size"])
        .ok()
        .prints(&[
            "1 run and 2 points",
            "column 'lr' changes within 1 run; the first value was kept",
        ]);
    assert_eq!(
        lab.rows("select step, value, time from points order by step"),
        ["0,0.5,2026-01-31T09:26:56.250Z", "10,inf,2026-01-31T09:26:56.500Z"]
    );
    assert_eq!(
        lab.rows("select config from runs"),
        [r#""{""lr"":0.25,""opt"":""adam"",""size"":7}""#]
    );
}

#[test]
fn all_of_the_real_runs_are_imported_bit_for_bit() {
    let Some(folder) = std::env::var_os("RUNLAKE_REAL_DATA") else {
        println!("skipped: RUNLAKE_REAL_DATA names no folder");
        return;
    };
    let file = Path::new(&folder).join("nanogpt_speedruns.csv.gz");
    let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(File::open(&file).unwrap()));
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.unwrap();
        lines.push(Line {
            run: record[2].to_owned(),
            step: record[3].parse().unwrap(),
            metric: record[5].to_owned(),
            value: Some(record[6].parse().unwrap()),
        });
    }
    let expected = expected(&lines);
    let lab = Lab::new();
    let said =
        import(&lab, file.to_str().unwrap(), &["--config-columns", "track,recipe,total_steps"])
            .ok();
    println!("{}", said.out.trim());
    assert!(said.out.starts_with("735 runs and 3,060,513 points in "), "{said:#?}");
    assert_eq!(lab.rows("select count(*) from points_all"), ["3060513"]);
    assert_eq!(lab.rows("select count(*), count(distinct run_id) from runs"), ["735,735"]);
    let nan = lines.iter().filter(|line| line.value.is_some_and(f64::is_nan)).count();
    assert_eq!(lab.rows("select count(*) from points where isnan(value)"), [nan.to_string()]);
    assert!(imported(&lab.lake()) == expected);
}
