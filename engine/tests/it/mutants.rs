//! What the crash tests are worth: each file in `tests/mutants` breaks one rule of how a lake survives crashes, and the
//! tests of crashes and faults must notice.
//!
//! ```text
//! what is broken, in words
//! @@ engine/src/flush.rs
//! -lines that stand there once
//! +lines that take their place
//! ```
//! `RUNLAKE_MUTANTS=all`, or names with commas between, builds the engine with each of them and runs the tests: a minute
//! each, and longer where it takes many crashes to notice. Without it this test says only whether each can be put in
//! place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// How many crashes each test tries, at first and where nobody has noticed.
const CRASHES: [usize; 2] = [200, 2000];
/// No test of a mutant may write a larger file, in units of 1 KiB, or take longer, in seconds.
const MOST_KIB: u32 = 64 << 10;
const MOST_SECONDS: u32 = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Lines that take the place of others.
struct Hunk {
    path: String,
    old: String,
    new: String,
}

struct Mutant {
    name: String,
    title: String,
    hunks: Vec<Hunk>,
}

impl Mutant {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut parts = text.split("\n@@ ");
        let title = parts.next().unwrap().replace('\n', " ");
        let hunk = |part: &str| {
            let (path, lines) = part.split_once('\n').unwrap();
            let (mut old, mut new) = (String::new(), String::new());
            for line in lines.lines() {
                let (sign, line) = line.split_at(1);
                assert!(matches!(sign, "-" | "+"), "{path}: neither taken away nor put in: {line}");
                let side = if sign == "-" { &mut old } else { &mut new };
                side.push_str(line);
                side.push('\n');
            }
            Hunk { path: path.to_owned(), old, new }
        };
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Self { name, title, hunks: parts.map(hunk).collect() }
    }

    fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("tests/mutants")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The files as it would have them.
    fn files(&self) -> BTreeMap<&str, String> {
        let mut files = BTreeMap::new();
        for Hunk { path, old, new } in &self.hunks {
            let text = files
                .entry(path.as_str())
                .or_insert_with(|| fs::read_to_string(root().join(path)).unwrap());
            assert_eq!(
                text.matches(old.as_str()).count(),
                1,
                "{}: these lines should stand once in {path}:\n{old}",
                self.name
            );
            *text = text.replacen(old.as_str(), new, 1);
        }
        files
    }
}

#[test]
fn every_mutant_fits_the_sources() {
    let mutants = Mutant::all();
    assert!(mutants.len() >= 12);
    for mutant in &mutants {
        assert!(!mutant.hunks.is_empty() && !mutant.title.is_empty(), "{}", mutant.name);
        assert!(!mutant.files().is_empty());
    }
}

/// Copies what is needed to build the engine.
fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') || matches!(name.as_str(), "target" | "dist") {
            continue;
        }
        let copy = to.join(name);
        if entry.file_type().unwrap().is_dir() {
            copy_sources(&entry.path(), &copy);
        } else if fs::read(&copy).ok() != fs::read(entry.path()).ok() {
            // What is unchanged keeps its time, and is not built again.
            fs::copy(entry.path(), &copy).unwrap();
        }
    }
}

/// Builds the unit tests of the engine as the mutant would have them. Returns the binary.
fn build(tree: &Path) -> PathBuf {
    let packages =
        std::env::var("RUNLAKE_MUTANT_PACKAGES").unwrap_or_else(|_| "runlake-engine".to_owned());
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["test", "--quiet", "--lib", "--no-run", "--message-format=json"]);
    cargo.args(packages.split(',').flat_map(|package| ["-p", package]));
    let built = cargo.current_dir(tree).stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "the mutant does not build");
    let messages = String::from_utf8(built.stdout).unwrap();
    let executable = messages
        .lines()
        .filter(|line| line.contains("engine#") || line.contains("runlake-engine"))
        .find_map(|line| Some(line.split_once("\"executable\":\"")?.1.split_once('"')?.0));
    PathBuf::from(executable.expect("cargo says where it put the tests"))
}

/// The tests of crashes and faults that fail when each tries so many crashes.
fn failures(tests: &Path, crashes: usize) -> Vec<String> {
    let limited = format!(
        "ulimit -f {MOST_KIB}; exec timeout {MOST_SECONDS} \"$0\" lake::crash lake::faults"
    );
    let mut bash = Command::new("bash");
    let bash = bash.args(["-c", &limited]).arg(tests).env("RUNLAKE_CRASHES", crashes.to_string());
    let ran = bash.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let failed = said.lines().filter_map(|line| {
        line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned)
    });
    let failed: Vec<String> = failed.collect();
    assert!(said.contains("test result:"), "the tests did not end by themselves: {}", ran.status);
    failed
}

#[test]
fn crash_tests_catch_every_mutant() {
    let Ok(wanted) = std::env::var("RUNLAKE_MUTANTS") else { return };
    let target =
        std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from);
    let tree = target.join("mutants");
    copy_sources(root(), &tree);
    assert_eq!(failures(&build(&tree), CRASHES[0]), [""; 0], "without a mutant all is well");
    let mut missed = Vec::new();
    for mutant in Mutant::all() {
        if wanted != "all" && !wanted.split(',').any(|name| name == mutant.name) {
            continue;
        }
        copy_sources(root(), &tree);
        for (path, text) in mutant.files() {
            fs::write(tree.join(path), text).unwrap();
        }
        let tests = build(&tree);
        let caught = CRASHES.iter().find_map(|&crashes| {
            let failed = failures(&tests, crashes);
            (!failed.is_empty()).then_some((crashes, failed))
        });
        match caught {
            Some((crashes, by)) => println!("{}: {crashes} crashes, caught by {by:?}", mutant.name),
            None => missed.push(mutant.name),
        }
    }
    assert_eq!(missed, [""; 0], "nobody notices");
}
