//! What fuzzers run: each function takes any bytes and panics where the engine breaks a promise.
//!
//! Compiled for cargo-fuzz (`cfg(fuzzing)`, which it sets) and for the tests of this crate, which run every input that is
//! kept in `fuzz/seeds/`; no part of what ships.

mod operations;

use std::path::Path;

use crate::{catalog, log, segment};

/// Frames of the log, as they stand in a block.
pub fn frames(input: &[u8]) {
    log::fuzzing::frames(input);
}

/// A log file, read by its host, by another boot and by an adopter.
pub fn log_file(input: &[u8]) {
    log::fuzzing::log_file(input, Folder::new().path());
}

/// A commit of the catalog, a checkpoint, or the hint of one.
pub fn commit(input: &[u8]) {
    catalog::fuzzing::commit(input, Folder::new().path());
}

/// A segment and its side index.
pub fn segment(input: &[u8]) {
    segment::fuzzing::segment(input, Folder::new().path());
}

/// A lake that is logged to, flushed, merged, closed, killed and read, beside a map that has to agree.
pub fn operations(input: &[u8]) {
    operations::run(input);
}

/// A folder for the files of one input, gone with it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        // In memory where there is such a place: a fuzzer makes a thousand a second.
        let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self(made.expect("there is room for a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "seeds are files of the repository, not of a lake")]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::{
        Filter, Lake, LakeOptions, LogMode, Points, SeriesIndex, State, segment::tests as segments,
    };

    /// A fuzz target, by the name of its folder.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 5] = [
        ("frames", frames),
        ("log_file", log_file),
        ("commit", commit),
        ("segment", segment),
        ("operations", operations),
    ];

    fn seeds(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
    }

    #[test]
    fn every_seed_keeps_the_promises_that_fuzzers_look_after() {
        if std::env::var_os("RUNLAKE_WRITE_SEEDS").is_some() {
            write_seeds();
        }
        for (target, run) in TARGETS {
            let mut count = 0;
            for entry in fs::read_dir(seeds(target)).unwrap() {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                run(&fs::read(path).unwrap());
                count += 1;
            }
            assert!(count > 0, "{target} has seeds");
        }
    }

    /// Writes what fuzzers start from: files of a small lake, and a few sequences of operations. Uuids and times in
    /// them differ from call to call.
    fn write_seeds() {
        let keep = |target: &str, name: &str, input: &[u8]| {
            fs::create_dir_all(seeds(target)).unwrap();
            fs::write(seeds(target).join(name), input).unwrap();
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.lake");
        let lake = Lake::open_or_create(&path).unwrap();
        let log_to = |lake: &Lake| {
            let run = lake.run("p").id("r").launch("one").tags(["a"]).start().unwrap();
            let (loss, acc) = (run.metric("loss").unwrap(), run.metric("val/läuft").unwrap());
            let rank = serde_json::json!({"rank": 1});
            let rank = run.labels(rank.as_object().unwrap()).unwrap();
            for step in 0..40_i32 {
                // Every other row is exact in single precision.
                let points = [(loss, f64::from(step)), (acc, f64::from(step % 2) * 0.1)];
                run.log(i64::from(step), &points).unwrap();
            }
            run.log_labelled(Some(-3), Some(5), Some(rank), &[(loss, f64::NAN)]).unwrap();
            run.log_many(acc, None, None, &[0.25; 30]).unwrap();
            run.log_many(loss, Some(&[7, 7]), Some(&[1, 2]), &[1.0, -0.0]).unwrap();
            run.config("lr", Some(0.1.into())).unwrap();
            run.summary("best", None).unwrap();
            run.finish(State::Finished).unwrap();
        };
        log_to(&lake);
        let files = |folder: &Path| {
            let mut paths: Vec<_> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        };
        let first_log = |lake: &Path| {
            let writer = files(&lake.join("log")).remove(0);
            fs::read(writer.join("000001.log")).unwrap()
        };
        let image = first_log(&path);
        keep("log_file", "as-written", &log::fuzzing::describe(&image, 0));
        keep("log_file", "mended", &log::fuzzing::describe(&image, 1));
        keep("log_file", "cut-short", &log::fuzzing::describe(&image, 3));
        let written = folder.path().join("written.lake");
        let options = LakeOptions { create: true, log_mode: LogMode::Pwrite, ..Default::default() };
        log_to(&options.open(&written).unwrap());
        let stream = first_log(&written);
        keep("log_file", "stream", &log::fuzzing::describe(&stream, 0));
        keep("log_file", "stream-mended", &log::fuzzing::describe(&stream, 1));
        let block = &image[log::blocks_start(4)..][..log::BLOCK_BYTES];
        let end = block.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        keep("frames", "block", &[&[1], &block[..end.next_multiple_of(8)]].concat());

        lake.flush().unwrap();
        log_to(&lake);
        lake.flush().unwrap();
        let snapshot = lake.snapshot().unwrap();
        let points = &snapshot.segments()[0];
        let table = path.join("tables/points");
        keep("segment", "points", &segment::fuzzing::describe(&table, points, 0));
        keep("segment", "foreign-points", &segment::fuzzing::describe(&table, points, 1));
        let (facts, table) = (&snapshot.fact_segments()[0], path.join("tables/facts"));
        keep("segment", "facts", &segment::fuzzing::describe(&table, facts, 2));
        keep("segment", "foreign-facts", &segment::fuzzing::describe(&table, facts, 3));
        let mut many = (Points::default(), SeriesIndex::default());
        for at in 0..400_u32 {
            let key = segments::key_of("r", ["a", "b", "c"][at as usize % 3], None, "one");
            let series = many.1.intern(&mut many.0, key);
            many.0.push(series, (at / 2).into(), (at * at).into(), f64::from(at).sqrt());
        }
        let many = segments::segment_of(folder.path(), &many.0.sort(), 1);
        keep("segment", "merged-points", &segment::fuzzing::describe(folder.path(), &many, 0));

        lake.compact(true, &mut |_, _| true).unwrap();
        for (at, path) in files(&path.join("tables/points/_delta_log")).iter().enumerate() {
            let commit = fs::read(path).unwrap();
            keep("commit", &format!("points-{at}"), &[&[1], commit.as_slice()].concat());
        }
        let checkpoint = folder.path().join("checkpoint");
        let held = [(2, "checkpoint", "00000000000000000000.checkpoint.parquet")];
        fs::create_dir(&checkpoint).unwrap();
        catalog::fuzzing::write_checkpoint(&path.join("tables/points"), &checkpoint);
        for (kind, name, file) in held.into_iter().chain([(3, "hint", "_last_checkpoint")]) {
            let bytes = fs::read(checkpoint.join(file)).unwrap();
            keep("commit", name, &[&[kind], bytes.as_slice()].concat());
        }
        assert!(lake.snapshot().unwrap().series(&Filter::default()).unwrap().len() > 2);

        for (name, acts) in operations::EXAMPLES {
            keep("operations", name, acts);
        }
    }
}
