//! Damage: bytes that flipped, files that are gone or cut short, formats from the future, folders that cannot be
//! written, queries that make no sense. Nothing panics, nothing wrong is returned as right, and the rest stays readable.

use std::{
    fs,
    path::{Path, PathBuf},
};

use runlake_engine::{Error, Lake, LakeOptions, State};
use runlake_query::{QueryError, Session};
use runlake_tests::{
    answer::{Row, ask},
    random::Random,
};
use tempfile::TempDir;

use crate::child;

/// Runs `a` and `b` of project `p` and `c` of project `q` are in a segment each, their facts too. Run `d` of project `p`
/// is in the log of a writer that is gone.
const RUNS: [(&str, &str); 4] = [("p", "a"), ("p", "b"), ("q", "c"), ("p", "d")];
const STEPS: i64 = 600;
/// Rows of a run: three metrics.
const POINTS: usize = 1800;

/// What is asked about each run.
const QUERIES: [&str; 4] = [
    "select project, run_id, metric, labels, launch, step, time, value from points_all where run_id = '{run}'",
    "select run_id, metric, step, value from points where run_id = '{run}'",
    "select * from series where run_id = '{run}'",
    "select project, name, tags, config from runs where run_id = '{run}'",
];

fn log_run(path: &Path, project: &str, run_id: &str) -> Lake {
    let mut options = LakeOptions::default();
    options.create = true;
    let lake = options.open(path).unwrap();
    let config = serde_json::json!({"lr": 0.25, "name": run_id});
    let run = lake
        .run(project)
        .id(run_id)
        .launch("first")
        .config(config.as_object().unwrap().clone())
        .tags(["damaged"])
        .start()
        .unwrap();
    let metrics = ["loss", "acc", "größe"].map(|name| run.metric(name).unwrap());
    let rank = run.labels(serde_json::json!({"rank": 1}).as_object().unwrap()).unwrap();
    let mut random = Random::new(run_id.len() as u64 + u64::from(run_id.as_bytes()[0]));
    for step in 0..STEPS {
        let row = metrics.map(|metric| (metric, random.value()));
        let labels = (step % 3 == 0).then_some(rank);
        run.log_labelled(step, Some(1_700_000_000_000_000 + step), labels, &row).unwrap();
    }
    run.finish(State::Finished).unwrap();
    lake
}

/// A lake whole, and what it answers; copies of it get damaged.
struct Original {
    _folder: TempDir,
    path: PathBuf,
    answers: Vec<Vec<Vec<Row>>>,
}

/// A copy.
struct Damaged {
    _folder: TempDir,
    path: PathBuf,
}

impl Original {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.lake");
        for (project, run_id) in &RUNS[..3] {
            log_run(&path, project, run_id).flush().unwrap();
        }
        drop(log_run(&path, RUNS[3].0, RUNS[3].1));
        let session = Session::new(Lake::open(&path).unwrap());
        let answers = RUNS.map(|(_, run)| {
            let answers: Vec<_> = QUERIES.map(|query| answer(&session, query, run).unwrap()).into();
            assert_eq!((answers[0].len(), answers[1].len()), (POINTS, POINTS));
            assert_eq!((answers[2].len(), answers[3].len()), (6, 1));
            answers
        });
        let original = Self { _folder: folder, path, answers: answers.into() };
        assert_eq!(
            original.files("log").iter().filter(|file| file.ends_with("000001.log")).count(),
            1
        );
        original
    }

    fn copy(&self) -> Damaged {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.lake");
        copy_all(&self.path, &path);
        Damaged { _folder: folder, path }
    }

    /// The files below a folder of the lake, relative to the lake, in order.
    fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path.join(below)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { &mut folders } else { &mut found }.push(path);
            }
        }
        found.sort();
        found.iter().map(|path| path.strip_prefix(&self.path).unwrap().to_owned()).collect()
    }

    /// The segment of `table` that holds run `a`.
    fn segment(&self, table: &str) -> PathBuf {
        let lake = Lake::open(&self.path).unwrap();
        let snapshot = lake.snapshot().unwrap();
        let segments =
            if table == "points" { snapshot.segments() } else { snapshot.fact_segments() };
        let of_a = |runs: &Vec<String>| runs.as_slice() == ["a"];
        let segment =
            segments.iter().find(|segment| segment.runs.as_ref().is_some_and(of_a)).unwrap();
        segment.path.strip_prefix(&self.path).unwrap().to_owned()
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a query says of a run: its rows, sorted.
fn answer(session: &Session, query: &str, run: &str) -> Result<Vec<Row>, QueryError> {
    let (_, mut rows) = ask(session, &query.replace("{run}", run))?;
    rows.sort();
    Ok(rows)
}

/// The file that an error names.
fn file_of(error: &Error) -> Option<&Path> {
    match error {
        Error::Corrupt { path, .. }
        | Error::SnapshotExpired { path }
        | Error::Unsupported { path, .. }
        | Error::Io { path, .. } => Some(path),
        _ => None,
    }
}

/// How the answers of a damaged lake may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// These queries (by their place) about this run may be errors that name the file.
    Refused(&'static str, [bool; 4]),
    /// Some points or facts of run `d` may be missing, and then the snapshot says that there is a problem with the file.
    Less,
    /// Any query, or opening the lake, may be an error that names the file.
    All,
    /// Nothing may differ.
    None,
}

impl Damaged {
    /// Compares all answers; `what` was done to `file`. Says whether anything was reported.
    fn check(&self, original: &Original, file: &Path, harm: Harm, what: &str) -> bool {
        let file = self.path.join(file);
        let what = format!("{what} of {}", file.display());
        let blames = |error: &Error| {
            let named = file_of(error) == Some(&file);
            assert!(
                named || matches!(error, Error::Io { .. }) && harm == Harm::All,
                "{what}: {error} names another file"
            );
            true
        };
        let lake = match Lake::open(&self.path) {
            Ok(lake) => lake,
            Err(error) => {
                assert_eq!(harm, Harm::All, "{what}: {error}");
                return blames(&error);
            }
        };
        let session = Session::new(lake);
        let problems = match session.lake().snapshot() {
            Ok(snapshot) => snapshot.problems().to_vec(),
            Err(error) => {
                assert_eq!(harm, Harm::All, "{what}: {error}");
                return blames(&error);
            }
        };
        let mut reported = !problems.is_empty();
        if reported {
            assert_eq!(harm, Harm::Less, "{what}: {problems:?}");
            assert!(problems[0].contains(file.to_str().unwrap()), "{what}: {problems:?}");
        }
        for ((_, run), answers) in RUNS.iter().zip(&original.answers) {
            for (at, (query, expected)) in QUERIES.iter().zip(answers).enumerate() {
                match answer(&session, query, run) {
                    Ok(rows) if rows == *expected => {}
                    Ok(rows) => {
                        let less = harm == Harm::Less && *run == "d" && !problems.is_empty();
                        assert!(less, "{what}: {query} of {run} gives {} other rows", rows.len());
                        // Whole rows of points may be missing; those that are there are right.
                        if at < 2 {
                            assert!(
                                rows.iter().all(|row| expected.binary_search(row).is_ok()),
                                "{what}: {query}"
                            );
                        }
                    }
                    Err(QueryError::Engine(error)) => {
                        let refused = match harm {
                            Harm::Refused(of, queries) => of == *run && queries[at],
                            Harm::All => true,
                            Harm::Less | Harm::None => false,
                        };
                        assert!(refused, "{what}: {query} of {run}: {error}");
                        reported |= blames(&error);
                    }
                    Err(error) => panic!("{what}: {query} of {run}: {error:?}"),
                }
            }
        }
        reported
    }
}

/// Flips bits of bytes all over `file`, one at a time, and says how many of the flips were reported, of how many.
fn flip(original: &Original, file: &Path, harm: Harm) -> (usize, usize) {
    let (silent, tried) = silent_flips(original, file, harm);
    (tried - silent.len(), tried)
}

/// Flips bits of bytes all over `file`, one at a time: those that nobody noticed, each with its byte, and how many there were.
/// `RUNLAKE_FLIPS` is how many bytes of a file are tried.
fn silent_flips(original: &Original, file: &Path, harm: Harm) -> (Vec<(usize, u8)>, usize) {
    let flips: usize =
        std::env::var("RUNLAKE_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let whole = fs::read(original.path.join(file)).unwrap();
    let mut random = Random::new(whole.len() as u64);
    let stride = (whole.len() / flips).max(1);
    let mut silent = Vec::new();
    let mut tried = 0;
    for start in (0..whole.len()).step_by(stride) {
        let at = (start + random.below(stride)).min(whole.len() - 1);
        let mask = match random.below(3) {
            0 => 0xff,
            1 => u8::try_from(1 + random.below(255)).unwrap(),
            _ => 1 << random.below(8),
        };
        let mut bytes = whole.clone();
        bytes[at] ^= mask;
        let copy = original.copy();
        fs::write(copy.path.join(file), bytes).unwrap();
        let what = format!("byte {at} ^ {mask:#04x}");
        if !copy.check(original, file, harm, &what) {
            silent.push((at, mask));
        }
        tried += 1;
    }
    (silent, tried)
}

/// Whether a flip in a Parquet file of ours changes nothing that a checksum covers: it lies in the four bytes that the file begins
/// with, in a page header, or among bits of a zstd frame that mean nothing, so that the frame still holds the same.
fn passes(file: &[u8], (flipped, mask): (usize, u8)) -> bool {
    let integer = |at: &mut usize| {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = file[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value / 2;
            }
        }
    };
    let mut page = 4;
    // A page header begins with three integers; page indexes, which come behind all pages, begin with a list.
    while page <= flipped && file[page] == 0x15 {
        let mut at = page;
        let [_kind, _uncompressed, compressed] = [(); 3].map(|()| {
            at += 1;
            integer(&mut at)
        });
        let magic = file[at..].windows(4).position(|bytes| bytes == [0x28, 0xb5, 0x2f, 0xfd]);
        let frame = at + magic.expect("a page is a zstd frame");
        page = frame + compressed;
        if flipped < frame {
            return true;
        }
        if flipped < page {
            let whole = &file[frame..page];
            let mut damaged = whole.to_vec();
            damaged[flipped - frame] ^= mask;
            let content = zstd::decode_all(whole).unwrap();
            return zstd::decode_all(&*damaged).is_ok_and(|damaged| damaged == content);
        }
    }
    flipped < 4
}

/// Cuts `file` at a few places; all of them must be reported.
fn cut(original: &Original, file: &Path, harm: Harm) {
    let whole = fs::read(original.path.join(file)).unwrap();
    for len in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let copy = original.copy();
        fs::write(copy.path.join(file), &whole[..len]).unwrap();
        let reported = copy.check(original, file, harm, &format!("the first {len} bytes"));
        assert!(reported, "the first {len} bytes of {} pass for the whole", file.display());
    }
}

/// Removes `file`.
fn remove(original: &Original, file: &Path, harm: Harm) -> bool {
    let copy = original.copy();
    fs::remove_file(copy.path.join(file)).unwrap();
    copy.check(original, file, harm, "the loss")
}

#[test]
fn a_segment_of_points_that_is_damaged_is_reported_and_the_others_are_read() {
    let original = Original::new();
    let segment = original.segment("points");
    // Points are in it; what a series adds up to and what a run is are not.
    let harm = Harm::Refused("a", [true, true, false, false]);
    let (silent, tried) = silent_flips(&original, &segment, harm);
    // A part of the file is read, so that what checks it are its pages and its end.
    let whole = fs::read(original.path.join(&segment)).unwrap();
    let missed: Vec<_> = silent.into_iter().filter(|&flip| !passes(&whole, flip)).collect();
    assert!(missed.is_empty(), "{missed:x?} of {tried}");
    cut(&original, &segment, harm);
    assert!(remove(&original, &segment, harm));
}

#[test]
fn a_side_index_that_is_damaged_is_reported_and_the_points_are_read() {
    let original = Original::new();
    let index =
        Path::new("tables/points/_index").join(original.segment("points").file_name().unwrap());
    let harm = Harm::Refused("a", [false, true, true, false]);
    let (reported, tried) = flip(&original, &index, harm);
    assert_eq!(reported, tried);
    cut(&original, &index, harm);
    assert!(remove(&original, &index, harm));
}

#[test]
fn a_segment_of_facts_that_is_damaged_is_reported_and_points_and_other_runs_are_read() {
    let original = Original::new();
    let segment = original.segment("facts");
    let harm = Harm::Refused("a", [false, false, false, true]);
    let (reported, tried) = flip(&original, &segment, harm);
    assert_eq!(reported, tried, "facts are read as a whole, and so is their checksum");
    cut(&original, &segment, harm);
    assert!(remove(&original, &segment, harm));

    // A run that is not in it is found by its name, and which run is the newest cannot be told.
    let copy = original.copy();
    fs::remove_file(copy.path.join(&segment)).unwrap();
    let session = Session::new(Lake::open(&copy.path).unwrap());
    let rows = |run: &str| ask(&session, &format!("select step from history('{run}')"));
    assert_eq!(rows("b").unwrap().1.len(), POINTS / 3);
    for run in ["a", "@last", "no such run"] {
        assert!(matches!(rows(run), Err(QueryError::Engine(_))), "{run}");
    }
    assert!(ask(&session, "select run_id from runs").is_err(), "all runs are not known");
}

#[test]
fn a_log_that_is_damaged_is_reported_and_its_good_rows_are_read_and_flushed() {
    let original = Original::new();
    let log = original.files("log").into_iter().find(|file| file.ends_with("000001.log")).unwrap();
    let (reported, tried) = flip(&original, &log, Harm::Less);
    // Most of the file was never written.
    assert!(reported > 0 && reported < tried, "{reported} of {tried}");

    // Cut short within the header, the tail table and the rows. (Behind the rows there is nothing to lose, and of an
    // empty file nothing was ever durable.)
    let whole = fs::read(original.path.join(&log)).unwrap();
    let rows = u32::from_le_bytes(whole[4096..4100].try_into().unwrap()) as usize;
    assert!(rows > 10_000, "the first block has {rows} bytes of rows");
    for len in [1, 100, 4096 + 4, 8192, 8192 + rows / 5, 8192 + rows - 50] {
        let copy = original.copy();
        fs::write(copy.path.join(&log), &whole[..len]).unwrap();
        let what = format!("the first {len} bytes");
        assert!(copy.check(&original, &log, Harm::Less, &what), "{what}");
        rows_survive_adoption(&copy);
    }

    // A byte in the middle of the rows: all others are there, also once they are flushed, and the file is kept.
    let mut bytes = fs::read(original.path.join(&log)).unwrap();
    bytes[8192 + rows / 2] ^= 0x10;
    let copy = original.copy();
    fs::write(copy.path.join(&log), bytes).unwrap();
    assert!(copy.check(&original, &log, Harm::Less, "a byte"));
    let rows = rows_survive_adoption(&copy);
    assert!((POINTS - 3..POINTS).contains(&rows), "{rows} points");
}

/// Takes in the damaged log of run `d`: its good rows are there before and after, and the file is kept.
fn rows_survive_adoption(copy: &Damaged) -> usize {
    let session = Session::new(Lake::open(&copy.path).unwrap());
    let rows = || answer(&session, QUERIES[0], "d").unwrap();
    let before = rows();
    session.lake().adopt(&mut |_, _| {}).unwrap();
    assert_eq!(rows(), before);
    assert!(session.lake().snapshot().unwrap().tail().is_empty());
    assert_eq!(session.lake().health().unwrap().quarantined.len(), 1);
    before.len()
}

#[test]
fn what_says_who_wrote_a_log_may_be_damaged_and_the_log_is_read() {
    let original = Original::new();
    let owner =
        original.files("log").into_iter().find(|file| file.ends_with("owner.json")).unwrap();
    assert_eq!(flip(&original, &owner, Harm::None).0, 0);
    assert!(!remove(&original, &owner, Harm::None));
}

#[test]
fn a_log_file_that_is_gone_takes_its_rows_and_nothing_else() {
    let original = Original::new();
    let copy = original.copy();
    let log = original.files("log").into_iter().find(|file| file.ends_with("000001.log")).unwrap();
    fs::remove_file(copy.path.join(log)).unwrap();
    let session = Session::new(Lake::open(&copy.path).unwrap());
    for ((_, run), answers) in RUNS.iter().zip(&original.answers).take(3) {
        for (query, expected) in QUERIES.iter().zip(answers) {
            assert_eq!(answer(&session, query, run).unwrap(), *expected);
        }
    }
    session.lake().adopt(&mut |_, _| {}).unwrap();
}

#[test]
fn a_commit_that_is_damaged_or_missing_is_reported() {
    let original = Original::new();
    for table in ["points", "facts"] {
        let log = Path::new("tables").join(table).join("_delta_log");
        let middle = log.join("00000000000000000001.json");
        let (reported, tried) = flip(&original, &middle, Harm::All);
        // The name of the field that holds the checksum is not covered by it.
        assert!(reported * 10 >= tried * 9, "{reported} of {tried}");
        cut(&original, &middle, Harm::All);
        assert!(remove(&original, &middle, Harm::All));
        assert!(remove(&original, &log.join("00000000000000000000.json"), Harm::All));
    }
}

#[test]
fn a_reader_that_has_the_catalog_goes_on_when_a_commit_is_lost() {
    let original = Original::new();
    let copy = original.copy();
    let session = Session::new(Lake::open(&copy.path).unwrap());
    let query = QUERIES[0];
    assert_eq!(answer(&session, query, "a").unwrap(), original.answers[0][0]);
    fs::remove_file(copy.path.join("tables/points/_delta_log/00000000000000000001.json")).unwrap();
    assert_eq!(answer(&session, query, "a").unwrap(), original.answers[0][0]);
}

#[test]
fn a_checkpoint_that_is_damaged_is_passed_over_while_commits_say_the_same() {
    // The log of the catalog is written many times: in memory, where there is such a folder.
    let memory = Path::new("/dev/shm");
    let folder =
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let loss = run.metric("loss").unwrap();
    for step in 0..112 {
        run.log(step, &[(loss, step as f64)]).unwrap();
        lake.flush().unwrap();
    }
    drop((run, lake));
    let log = path.join("tables/points/_delta_log");
    let checkpoint = log.join("00000000000000000100.checkpoint.parquet");
    let hint = log.join("_last_checkpoint");
    let sum = || {
        let session = Session::new(Lake::open(&path).unwrap());
        ask(&session, "select count(*), sum(value) from points").map(|(_, rows)| rows)
    };
    let right = sum().unwrap();
    let whole = fs::read(&checkpoint).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 16) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        fs::write(&checkpoint, bytes).unwrap();
        assert_eq!(sum().unwrap(), right, "byte {at}");
    }
    fs::write(&checkpoint, &whole).unwrap();
    for hint_says in
        ["", "{", "{\"version\":7}", "{\"version\":100,\"size\":1,\"runlakeCrc32c\":1}"]
    {
        fs::write(&hint, hint_says).unwrap();
        assert_eq!(sum().unwrap(), right, "{hint_says}");
    }
    // Without the commits that it stands for, a damaged checkpoint is an error that names it.
    fs::remove_file(&hint).unwrap();
    for version in 0..=100 {
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    fs::write(&checkpoint, &whole).unwrap();
    assert_eq!(sum().unwrap(), right);
    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    match sum() {
        Err(QueryError::Engine(error)) => {
            assert_eq!(file_of(&error), Some(checkpoint.as_path()), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_file_lake_is_checked_and_a_lake_without_it_is_none() {
    let original = Original::new();
    let (reported, tried) = flip(&original, Path::new("LAKE"), Harm::All);
    assert!(reported * 10 >= tried * 9, "{reported} of {tried}");
    let copy = original.copy();
    fs::write(copy.path.join("LAKE"), "").unwrap();
    assert!(
        matches!(Lake::open(&copy.path), Err(Error::Corrupt { path, .. }) if path == copy.path.join("LAKE"))
    );
    fs::remove_file(copy.path.join("LAKE")).unwrap();
    assert!(matches!(Lake::open(&copy.path), Err(Error::NoLake { .. })));
}

#[test]
fn formats_and_features_of_later_versions_are_refused_as_far_as_they_matter() {
    let original = Original::new();
    let lake_of = |change: &dyn Fn(&mut serde_json::Value)| {
        let copy = original.copy();
        let file = copy.path.join("LAKE");
        let mut lake: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        // A checksum of somebody else's making would have to be right; none is none.
        lake.as_object_mut().unwrap().remove("crc32c");
        change(&mut lake);
        fs::write(&file, lake.to_string()).unwrap();
        copy
    };
    let later: [(&str, serde_json::Value); 2] =
        [("format", 2.into()), ("reader_features", serde_json::json!(["another kind of column"]))];
    for (key, value) in later {
        let copy = lake_of(&|lake| lake[key] = value.clone());
        let error = Lake::open(&copy.path).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("upgrade runlake"), "{error}");
    }

    let copy =
        lake_of(&|lake| lake["writer_features"] = serde_json::json!(["rows in another order"]));
    assert!(!copy.check(&original, Path::new("LAKE"), Harm::None, "a writer feature"));
    let lake = Lake::open(&copy.path).unwrap();
    let before = tree(&copy.path);
    for refused in [lake.run("p").start().map(drop), lake.adopt(&mut |_, _| {}).map(drop)] {
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    }
    assert_eq!(tree(&copy.path), before, "nothing was written");

    // A commit that asks readers for something new.
    let copy = original.copy();
    let commit = "tables/points/_delta_log/00000000000000000003.json";
    fs::write(copy.path.join(commit), "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"x\"],\"writerFeatures\":[\"x\"]}}\n").unwrap();
    assert!(copy.check(&original, Path::new(commit), Harm::All, "a reader feature"));
}

/// The files below a folder and their sizes.
fn tree(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.push((entry.path(), entry.metadata().unwrap().len()));
    }
    found.sort();
    found
}

/// What a child does in a lake that it may read and not write.
pub(crate) fn read_only(path: &Path) {
    assert!(fs::write(path.join("try"), "").is_err(), "the folder can be written after all");
    let session = Session::new(Lake::open(path).unwrap());
    for (_, run) in RUNS {
        let sql = format!("select step from points where run_id = '{run}'");
        assert_eq!(ask(&session, &sql).unwrap().1.len(), POINTS, "{run}");
    }
    let lake = session.lake();
    assert_eq!(lake.health().unwrap().dead, 1);
    for refused in [lake.run("p").start().map(drop), lake.adopt(&mut |_, _| {}).map(drop)] {
        let Err(Error::Io { path: named, source, .. }) = &refused else { panic!("{refused:?}") };
        assert!(named.starts_with(path), "{refused:?}");
        let kinds = [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::PermissionDenied];
        assert!(kinds.contains(&source.kind()), "{refused:?}");
    }
    assert_eq!(ask(&session, "select count(*) from runs").unwrap().1.len(), 1);
}

#[test]
fn a_lake_that_cannot_be_written_is_read_and_says_so_to_writers() {
    let original = Original::new();
    let before = tree(&original.path);
    let command = child::command("read only", &original.path);
    // Root may write where modes forbid it, so the child sees the lake mounted read-only.
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" \"$0\"";
    let mut command = match child::with_mount(&command, mount, &original.path) {
        Some(mounted) => mounted,
        None if rustix::process::geteuid().is_root() => {
            println!("skipped: root writes everywhere, and this system lets nobody mount");
            return;
        }
        None => {
            set_modes(&original.path, 0o555);
            command
        }
    };
    let output = command.output().unwrap();
    set_modes(&original.path, 0o755);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(tree(&original.path), before);
}

fn set_modes(folder: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    for (path, _) in tree(folder) {
        if path.is_dir() {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_query_that_makes_no_sense_is_an_error_and_the_next_one_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let lake = log_run(&folder.path().join("runs.lake"), "p", "a");
    let session = Session::new(lake);
    for query in [
        "",
        "selekt 1",
        "select",
        "select * from nothing",
        "select nothing from points",
        "select * from history('nobody')",
        "select step + run_id from points where value / 0 > 'x'::double",
        "drop table points",
        "insert into points values (1)",
        "copy points to 'x.parquet'",
        "select * from 'x.parquet'",
        "select 1; select 2",
        "\u{0}\u{1}\u{fffd}",
        "select ((((((((((((((((((((((((((((((((((((((((((",
    ] {
        let error = ask(&session, query).expect_err(query);
        assert!(!matches!(error, QueryError::Internal { .. }), "{query}: {error:?}");
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(ask(&session, "select step from points").unwrap().1.len(), POINTS);
}
