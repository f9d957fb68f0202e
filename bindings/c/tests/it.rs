//! The C library as programs in C and C++ use it: the header, both libraries, and the example under a sanitizer.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what helps a test may fail as a test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use arrow::{
    array::AsArray as _,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use runlake_engine::{Filter, Lake, Snapshot, State};

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put the libraries: beside the folder of this test's binary, or in it.
fn library(name: &str) -> PathBuf {
    let binary = std::env::current_exe().expect("a test has a binary");
    let found = binary.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let newest = found
        .filter_map(|path| Some((path.metadata().and_then(|meta| meta.modified()).ok()?, path)))
        .max();
    newest.unwrap_or_else(|| panic!("no {name} near {}", binary.display())).1
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A language that the header is for.
#[derive(Debug, Clone, Copy)]
enum Language {
    C,
    Cpp,
}

impl Language {
    /// The compiler, and what tells it the language.
    fn compiler(self) -> (String, [&'static str; 3]) {
        let (variable, usual, arguments) = match self {
            Self::C => ("CC", "cc", ["-std=c11", "-x", "c"]),
            Self::Cpp => ("CXX", "c++", ["-std=c++11", "-x", "c++"]),
        };
        (std::env::var(variable).unwrap_or_else(|_| usual.to_owned()), arguments)
    }
}

/// Stops the program where it reads or writes what is not its own, or does what C does not define.
const SANITIZED: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Compiles a program of this crate, with warnings as errors, and links it as `link` says.
fn compile(
    language: Language,
    source: &str,
    folder: &Path,
    extra: &[&str],
    link: &[&str],
) -> PathBuf {
    let program = folder.join("program");
    let (compiler, arguments) = language.compiler();
    run(Command::new(compiler)
        .args(["-D_POSIX_C_SOURCE=200809L", "-g", "-O1"])
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"])
        .args(extra)
        .arg("-I")
        .arg(crate_dir().join("include"))
        .args(arguments)
        .arg(crate_dir().join(source))
        // What follows is no source.
        .args(["-x", "none"])
        .args(link)
        .args(["-lpthread", "-ldl", "-lm"])
        .arg("-o")
        .arg(&program));
    program
}

/// Runs the trainer and reads what it logged.
fn train(program: &Path, command: &mut Command) {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("runs.lake");
    let output = run(command.arg(&lake));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("run c-1: 13002 points, 0 rows dropped, runlake {}\n", env!("CARGO_PKG_VERSION")),
        "{}",
        program.display()
    );

    let snapshot = Lake::open(&lake).unwrap().snapshot().unwrap();
    let [info] = &snapshot.runs().unwrap()[..] else { panic!("one run") };
    assert_eq!((&*info.run_id, info.name.as_deref()), ("c-1", Some("from C")));
    assert_eq!((info.state, info.exit_code), (State::Finished, Some(0)));
    assert_eq!(info.tags, ["c", "example"]);
    assert_eq!(info.config["model"]["layers"], 2);
    assert_eq!(info.summary["best"]["val/loss"], 0.5);

    let series = snapshot.series(&Filter::default()).unwrap();
    let mut counts: Vec<_> = series
        .iter()
        .map(|series| (&*series.metric, series.labels.as_deref(), series.count))
        .collect();
    counts.sort_unstable();
    let ranks: Vec<String> = (0..4).map(|rank| format!("{{\"rank\":{rank}}}")).collect();
    let mut expected = vec![("grad/norm", None, 5000)];
    expected.extend(ranks.iter().map(|rank| ("lr", Some(rank.as_str()), 1000)));
    expected.extend(ranks.iter().map(|rank| ("train/loss", Some(rank.as_str()), 1000)));
    expected.push(("val/loss", None, 2));
    assert_eq!(counts, expected);
    let validation = series.iter().find(|series| &*series.metric == "val/loss").unwrap();
    assert_eq!((validation.first_step, validation.last_step), (1000, 1001));
    assert!(validation.last_value.is_nan() && validation.last_finite_value == Some(0.5));
}

#[test]
fn the_header_says_what_the_library_does() {
    let header = crate_dir().join("include/runlake.h");
    let config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).unwrap();
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_dir().join("src/lib.rs"))
        .generate()
        .unwrap()
        .write(&mut text);
    if std::env::var_os("RUNLAKE_WRITE_HEADER").is_some() {
        std::fs::write(&header, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&header).unwrap(),
        String::from_utf8(text).unwrap(),
        "the header is old: run this test once with RUNLAKE_WRITE_HEADER=1"
    );
}

#[test]
fn a_trainer_in_c_logs_through_the_static_library_under_a_sanitizer() {
    let folder = tempfile::tempdir().unwrap();
    let library = library("librunlake.a");
    let library = library.to_str().expect("a path in UTF-8");
    let program = compile(Language::C, "examples/trainer.c", folder.path(), &SANITIZED, &[library]);
    train(&program, &mut Command::new(&program));
}

#[test]
fn what_cannot_be_done_is_a_status_with_a_message_in_c_and_in_cpp() {
    let library = library("librunlake.a");
    let library = library.to_str().expect("a path in UTF-8");
    for language in [Language::C, Language::Cpp] {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(language, "tests/statuses.c", folder.path(), &SANITIZED, &[library]);
        let output = run(Command::new(&program).arg(folder.path()));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "2 points, 3 rows dropped\n", "{language:?}");
    }
}

/// Whoever loads the library gets no names but those in the header: no other zstd, no other allocator.
#[test]
fn the_shared_library_has_the_names_of_the_header_and_no_others() {
    let output =
        run(Command::new("nm").args(["-D", "--defined-only"]).arg(library("librunlake.so")));
    let listed = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let header = std::fs::read_to_string(crate_dir().join("include/runlake.h")).unwrap();
    let called = header.lines().filter(|line| !line.trim_start().starts_with("//"));
    let called: BTreeSet<&str> = called
        .filter_map(|line| {
            let (before, _) = line.split_once('(')?;
            before.rsplit([' ', '*']).next().filter(|name| name.starts_with("runlake_"))
        })
        .collect();
    assert_eq!(names, called);
}

#[test]
fn a_trainer_in_c_logs_through_the_shared_library() {
    let folder = tempfile::tempdir().unwrap();
    let library = library("librunlake.so");
    let library_path = library.to_str().expect("a path in UTF-8");
    let program = compile(Language::C, "examples/trainer.c", folder.path(), &[], &[library_path]);
    let beside = library.parent().expect("a file is in a folder");
    train(&program, Command::new(&program).env("LD_LIBRARY_PATH", beside));
}

/// The steps of each metric, in order; each value is its step.
fn steps(snapshot: &Snapshot) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for batch in snapshot.scan(&Filter::default()).unwrap() {
        let batch = batch.unwrap();
        let metrics = cast(batch.column_by_name("metric").unwrap(), &DataType::Utf8).unwrap();
        let steps = batch.column_by_name("step").unwrap().as_primitive::<Int64Type>();
        let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let step = steps.value(row);
            assert_eq!(values.value(row).to_bits(), (step as f64).to_bits());
            let metric = metrics.as_string::<i32>().value(row);
            found.entry(metric.to_owned()).or_default().push(step);
        }
    }
    for steps in found.values_mut() {
        steps.sort_unstable();
    }
    found
}

/// A fork stops none of the threads: the child gets a copy of whatever they were in the middle of, and no threads.
#[test]
fn children_forked_while_threads_log_lose_nothing_and_leave_the_parent_alone() {
    let children = std::env::var("RUNLAKE_KILLS").ok().and_then(|text| text.parse().ok());
    let children: usize = children.unwrap_or(24);
    let folder = tempfile::tempdir().unwrap();
    let library = library("librunlake.a");
    let library_path = library.to_str().expect("a path in UTF-8");
    let program = compile(Language::C, "tests/fork.c", folder.path(), &[], &[library_path]);
    let lake = folder.path().join("runs.lake");
    let output = run(Command::new(&program).arg(&lake).arg(children.to_string()));
    let logged: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();

    let lake = Lake::open(&lake).unwrap();
    for when in ["as they left it", "taken in"] {
        let snapshot = lake.snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0], "{when}");
        assert_eq!(snapshot.find_run("forks").unwrap().state, State::Finished, "{when}");
        let steps = steps(&snapshot);
        let rows_of = |kind: &str| {
            let of_kind = steps.iter().filter(|(metric, _)| metric.starts_with(kind));
            of_kind.map(|(_, steps)| steps.len() as u64).collect::<Vec<_>>()
        };
        assert_eq!(rows_of("child/"), vec![200; 2 * children], "{when}");
        assert_eq!(rows_of("parent/").len(), 4, "{when}");
        assert_eq!(rows_of("parent/").iter().sum::<u64>(), logged, "{when}");
        for (metric, steps) in steps {
            let expected = (0_i64..).take(steps.len());
            assert!(steps.iter().copied().eq(expected), "{when}: {metric} {steps:?}");
        }
        lake.adopt(&mut |_, _| {}).unwrap();
    }
    println!("{children} forks while 4 threads logged {logged} rows: 0 lost, 0 twice");
}
