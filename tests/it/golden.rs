//! Lakes that earlier versions wrote are read by this one. A lake in `golden/` never changes; a format that changes gets
//! a lake of its own beside the others.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use runlake_engine::{Lake, State};
use runlake_query::Session;
use runlake_tests::answer::{Cell, Row, ask};

/// A time that all rows count from.
const TIME: i64 = 1_700_000_000_000_000;
const NAN: u64 = 0x7ff8_0000_dead_beef;
/// What stands in the place of the boot in which the lake was written.
const BOOT: &str = "00000000-0000-4000-8000-000000000000";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Writes the lake of version 1: two segments of points, one run of two launches, and the log of a writer that is gone.
/// It was run once; running it again would make another lake.
#[test]
#[ignore = "it writes the lake that the other test reads"]
fn write() {
    let path = folder();
    assert!(!path.exists(), "the lake is there, and stays as it is");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let config = serde_json::json!({"lr": 0.25, "net": {"depth": 3, "name": "größe"}});
    let config = config.as_object().unwrap();
    {
        let lake = Lake::open_or_create(&path).unwrap();
        let run = lake.run("p").id("a").name("first").launch("one").config(config.clone());
        let run = run.tags(["good"]).notes("two launches").start().unwrap();
        let (loss, many) = (run.metric("loss").unwrap(), run.metric("many").unwrap());
        let values = [1.0, 0.5, f64::from_bits(NAN), -0.0, 5e-324];
        for (step, value) in (0..).zip(values) {
            run.log_labelled(step, Some(TIME + step), None, &[(loss, value)]).unwrap();
        }
        let rank = run.labels(serde_json::json!({"rank": 1}).as_object().unwrap()).unwrap();
        run.log_labelled(1, Some(TIME), Some(rank), &[(loss, f64::INFINITY)]).unwrap();
        let (steps, values): (Vec<i64>, Vec<f64>) =
            (0..3000_i32).map(|step| (i64::from(step), f64::from(step) / 8.0)).unzip();
        run.log_many(many, Some(&steps), Some(&vec![runlake_engine::UNKNOWN_TIME; 3000]), &values)
            .unwrap();
        lake.flush().unwrap();
        let again = lake.run("p").id("a").launch("two").start().unwrap();
        for (step, value) in [(3, 7.0), (4, 8.0), (4, 9.0)] {
            again.log_labelled(step, Some(TIME + 10 + step), None, &[(loss, value)]).unwrap();
        }
        again.finish(State::Finished).unwrap();
        lake.flush().unwrap();
    }
    let lake = Lake::open(&path).unwrap();
    let run = lake.run("q").id("b").launch("three").config(config.clone()).start().unwrap();
    let loss = run.metric("loss").unwrap();
    run.log_labelled(-5, Some(TIME), None, &[(loss, f64::NEG_INFINITY)]).unwrap();
    run.log_labelled(6, Some(TIME + 1), None, &[(loss, 2.0)]).unwrap();
    drop((run, lake));

    // Nothing says which machine this was.
    fs::remove_file(path.join(".gitignore")).unwrap();
    let logs = fs::read_dir(path.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    let [log] = logs.as_slice() else { panic!("{logs:?}") };
    let owner = log.join("owner.json");
    let mut says: serde_json::Value = serde_json::from_slice(&fs::read(&owner).unwrap()).unwrap();
    (says["host"]["name"], says["host"]["boot_id"], says["pid"]) =
        ("golden-host".into(), BOOT.into(), 1.into());
    fs::write(owner, says.to_string()).unwrap();
    let file = log.join("000001.log");
    let mut bytes = fs::read(&file).unwrap();
    bytes[72..108].copy_from_slice(BOOT.as_bytes());
    let crc = crc32c::crc32c(&bytes[..112]);
    bytes[112..116].copy_from_slice(&crc.to_le_bytes());
    let mut packed =
        GzEncoder::new(File::create(log.join("000001.log.gz")).unwrap(), Compression::best());
    packed.write_all(&bytes).unwrap();
    packed.finish().unwrap();
    fs::remove_file(file).unwrap();
}

/// Copies a lake and unpacks its log files, which are mostly zeros.
fn unpack(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            unpack(&path, &target);
        } else if path.extension().is_some_and(|ending| ending == "gz") {
            let mut bytes = Vec::new();
            GzDecoder::new(File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
            fs::write(target.with_extension(""), bytes).unwrap();
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

fn points(rows: &[(&str, Option<&str>, i64, i64, f64)]) -> Vec<Row> {
    rows.iter()
        .map(|&(run, labels, step, time, value)| {
            let labels = labels.map_or(Cell::Null, Cell::text);
            vec![
                Cell::text(run),
                labels,
                Cell::Integer(step),
                Cell::Time(TIME + time),
                Cell::value(value),
            ]
        })
        .collect()
}

#[test]
fn a_lake_of_version_1_is_read_and_written() {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("runs.lake");
    unpack(&folder(), &path);
    let session = Session::new(Lake::open(&path).unwrap());
    let rows = |sql: &str| ask(&session, sql).unwrap().1;
    let check = || {
        assert_eq!(session.lake().snapshot().unwrap().problems(), [""; 0]);
        let all = "select run_id, labels, step, time, value from points_all where metric = 'loss' \
             order by run_id, labels nulls first, launch, step, time, value";
        let rank = Some(r#"{"rank":1}"#);
        let expected = points(&[
            ("a", None, 0, 0, 1.0),
            ("a", None, 1, 1, 0.5),
            ("a", None, 2, 2, f64::from_bits(NAN)),
            ("a", None, 3, 3, -0.0),
            ("a", None, 4, 4, 5e-324),
            ("a", None, 3, 13, 7.0),
            ("a", None, 4, 14, 8.0),
            ("a", None, 4, 14, 9.0),
            ("a", rank, 1, 0, f64::INFINITY),
            ("b", None, -5, 0, f64::NEG_INFINITY),
            ("b", None, 6, 1, 2.0),
        ]);
        assert_eq!(rows(all), expected);
        let effective = "select run_id, labels, step, time, value from points where metric = 'loss' and run_id = 'a' \
             and labels is null order by step, value";
        let expected = points(&[
            ("a", None, 0, 0, 1.0),
            ("a", None, 1, 1, 0.5),
            ("a", None, 2, 2, f64::from_bits(NAN)),
            ("a", None, 3, 13, 7.0),
            ("a", None, 4, 14, 8.0),
            ("a", None, 4, 14, 9.0),
        ]);
        assert_eq!(rows(effective), expected);
        let many =
            "select count(*), sum(value), count(time), max(step) from points where metric = 'many'";
        let expected =
            [Cell::Integer(3000), Cell::value(562_312.5), Cell::Integer(0), Cell::Integer(2999)];
        assert_eq!(rows(many), [expected]);
        let series = "select count, nan_count, first_step, last_step, last_value, min_value, max_value from series \
             where run_id = 'a' and metric = 'loss' and labels is null";
        let expected = [
            Cell::Integer(6),
            Cell::Integer(1),
            Cell::Integer(0),
            Cell::Integer(4),
            Cell::value(9.0),
            Cell::value(0.5),
            Cell::value(9.0),
        ];
        assert_eq!(rows(series), [expected]);
        let history =
            "select step, loss, \"loss{rank=1}\" from history('first') where step between 3 and 4";
        let expected = [(3, 7.0), (4, 9.0)]
            .map(|(step, value)| vec![Cell::Integer(step), Cell::value(value), Cell::Null]);
        assert_eq!(rows(history), expected);
        // Whether the writer of run b lives cannot be told from another host, and this is another host.
        let runs = "select run_id, name, state, notes, array_to_string(tags, ','), config, dropped_rows from runs \
             where project in ('p', 'q') order by run_id";
        let config = Cell::text(r#"{"lr":0.25,"net":{"depth":3,"name":"größe"}}"#);
        let [a, b] = <[Row; 2]>::try_from(rows(runs)).unwrap();
        let text = Cell::text;
        assert_eq!(
            a,
            [
                text("a"),
                text("first"),
                text("finished"),
                text("two launches"),
                text("good"),
                config.clone(),
                Cell::Integer(0)
            ]
        );
        assert_eq!(
            (&b[0], &b[2], &b[3], &b[5]),
            (&text("b"), &text("unknown"), &Cell::Null, &config)
        );
    };
    check();
    assert_eq!(session.lake().snapshot().unwrap().segments().len(), 2);

    // A writer of this version goes on in it.
    let run = session.lake().run("new").id("c").start().unwrap();
    run.log_named(0, &[("x", 1.0)]).unwrap();
    check();
    session.lake().flush().unwrap();
    session.lake().adopt(&mut |_, _| {}).unwrap();
    check();
    assert_eq!(rows("select count(*) from points where project = 'new'"), [[Cell::Integer(1)]]);
}
