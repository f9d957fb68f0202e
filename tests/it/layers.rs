//! The layers of ARCHITECTURE.md, held against manifests and sources; and that the pages link to what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which crates of the workspace may use which: the picture of the code map. Nobody uses `tests` and `benches`.
const CRATES: [(&str, &str, &[&str]); 7] = [
    ("engine", "runlake-engine", &[]),
    ("query", "runlake-query", &["runlake-engine"]),
    ("cli", "runlake-cli", &["runlake-engine", "runlake-query"]),
    ("bindings/python", "runlake-python", &["runlake-cli", "runlake-engine", "runlake-query"]),
    ("bindings/c", "runlake-c", &["runlake-engine"]),
    ("tests", "runlake-tests", &["runlake-cli", "runlake-engine", "runlake-query"]),
    ("benches", "runlake-benches", &["runlake-engine", "runlake-query", "runlake-tests"]),
];

/// What the engine may be built from: arrow, parquet and small leaf crates. Another one needs a reason that outlives
/// the week, and is no async runtime, SQL, HTTP or Python.
const ENGINE_MAY_USE: [&str; 28] = [
    "allocation-counter",
    "arc-swap",
    "arrow",
    "boxcar",
    "bytes",
    "crc32c",
    "crc32fast",
    "crossbeam",
    "csv",
    "flate2",
    "memmap2",
    "papaya",
    "parquet",
    "petname",
    "proptest",
    "rustc-hash",
    "rustix",
    "serde",
    "serde_json",
    "strsim",
    "tempfile",
    "thiserror",
    "tracing",
    "tracing-subscriber",
    "uuid",
    "zstd",
    "loom",
    "shuttle",
];

/// Crates that one member names and nobody else, by the start of their names.
const ONLY_IN: [(&str, &str); 4] = [
    ("datafusion", "runlake-query"),
    ("tokio", "runlake-query"),
    ("pyo3", "runlake-python"),
    ("numpy", "runlake-python"),
];

/// Where `unsafe` may stand. In the last one a test exchanges a file below the engine, so that a sync fails.
const UNSAFE_IN: [&str; 4] =
    ["bindings/", "engine/src/log/memory.rs", "engine/src/os.rs", "engine/tests/it/log.rs"];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "lib_internal"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below the root with this ending, relative to it, without what is built or hidden.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.')
                || matches!(name.as_str(), "target" | "dist" | "node_modules" | "__pycache__")
            {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name.ends_with(ending) {
                found.push(entry.path().strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The crates that a manifest names as dependencies, of all kinds.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (_, name) = section.rsplit_once("dependencies").unwrap_or(("", "no section"));
            inside = name.is_empty();
            // `[dependencies.name]`
            found.extend(name.strip_prefix('.').map(str::to_owned));
        } else if inside && !line.starts_with('#') {
            let named = line.split_once("package = \"").and_then(|(_, rest)| rest.split_once('"'));
            let name = named.map_or_else(
                || line.split(['.', '=', ' ']).next().unwrap_or_default(),
                |(name, _)| name,
            );
            if !name.is_empty() {
                found.insert(name.trim_matches('"').to_owned());
            }
        }
    }
    found
}

/// What is wrong with the dependencies of a member of the workspace.
fn wrong_dependencies(member: &str, manifest: &str) -> Vec<String> {
    let allowed = CRATES.iter().find(|(_, name, _)| *name == member).map(|(.., allowed)| *allowed);
    let Some(allowed) = allowed else { return vec![format!("{member} is not in the picture")] };
    let mut wrong = Vec::new();
    for used in dependencies(manifest) {
        let ours = used.starts_with("runlake-") && !allowed.contains(&used.as_str());
        let engine = member == "runlake-engine" && !ENGINE_MAY_USE.contains(&used.as_str());
        let only = ONLY_IN.iter().any(|&(name, only)| used.starts_with(name) && member != only);
        if ours || engine || only {
            wrong.push(format!("{member} must not use {used}"));
        }
    }
    wrong
}

#[test]
fn crates_use_only_what_stands_below_them() {
    let workspace = text("Cargo.toml");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let members: Vec<&str> =
        members.trim_end_matches(']').split(", ").map(|name| name.trim_matches('"')).collect();
    assert_eq!(members, CRATES.map(|(folder, ..)| folder));
    for (folder, name, _) in CRATES {
        let manifest = text(&format!("{folder}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{name}\"")));
        assert_eq!(wrong_dependencies(name, &manifest), [""; 0]);
    }
}

#[test]
fn a_dependency_that_is_not_in_the_picture_is_found() {
    let wrong = |member, manifest| wrong_dependencies(member, manifest);
    assert_eq!(
        wrong("runlake-query", "[dependencies]\nrunlake-engine.workspace = true\n"),
        [""; 0]
    );
    for (member, manifest, says) in [
        ("runlake-engine", "[dependencies]\ntokio = \"1\"\n", "runlake-engine must not use tokio"),
        (
            "runlake-engine",
            "[dev-dependencies]\nhyper.workspace = true\n",
            "runlake-engine must not use hyper",
        ),
        (
            "runlake-engine",
            "[dependencies.runlake-query]\npath = \"x\"\n",
            "runlake-engine must not use runlake-query",
        ),
        (
            "runlake-engine",
            "[target.'cfg(unix)'.dependencies]\nx = { version = \"1\", package = \"datafusion-common\" }\n",
            "runlake-engine must not use datafusion-common",
        ),
        (
            "runlake-query",
            "[dependencies]\nrunlake-cli.workspace = true\n",
            "runlake-query must not use runlake-cli",
        ),
        (
            "runlake-cli",
            "[dependencies]\ndatafusion.workspace = true\n",
            "runlake-cli must not use datafusion",
        ),
        (
            "runlake-cli",
            "[dependencies]\npyo3-arrow = \"0.19\"\n",
            "runlake-cli must not use pyo3-arrow",
        ),
        (
            "runlake-query",
            "[dependencies]\nrunlake-tests = \"1\"\n",
            "runlake-query must not use runlake-tests",
        ),
        ("runlake-new", "", "runlake-new is not in the picture"),
    ] {
        assert_eq!(wrong(member, manifest), [says]);
    }
}

/// Source without comments and without what stands in quotes. Lines stay lines.
fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(raw) = raw_text(rest).filter(|_| !out.ends_with(is_of_a_word)) {
            raw
        } else if first == '"' {
            text_len(&rest[1..]) + 1
        } else if first == '\'' {
            // A character, unless it is a lifetime.
            let mut letters = rest[1..].char_indices();
            match (letters.next(), letters.next()) {
                (Some((_, '\\')), _) => rest[3..].find('\'').map_or(1, |at| at + 4),
                (_, Some((at, '\''))) => at + 2,
                _ => 1,
            }
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(rest[..skip].chars().filter(|&letter| letter == '\n'));
        out.push(' ');
        rest = &rest[skip..];
    }
    out
}

/// The length of the raw text that `rest` begins with.
fn raw_text(rest: &str) -> Option<usize> {
    let quoted = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br"))?;
    let hashes = quoted.len() - quoted.trim_start_matches('#').len();
    let inner = quoted[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(rest.len() - inner.len() + len)
}

/// The length of a text up to and with its closing quote.
fn text_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words of `code`, in order.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter| !is_of_a_word(letter)).filter(|word| !word.is_empty())
}

/// What `code` names directly below the root of its crate: `crate::disk`, `use crate::{Error, log::file}`.
fn named_at_root(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let leading =
        |text: &str| text.chars().take_while(|&letter| is_of_a_word(letter)).collect::<String>();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_of_a_word) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(leading(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut begins = true;
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                letter if begins && is_of_a_word(letter) => {
                    names.insert(leading(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// The code of a file without its tests, which stand last and may use anything.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or(code)
}

/// Which modules stand on which line of a picture, from the top, and which are joined by arrows.
#[derive(Debug, Default)]
struct Picture {
    line: BTreeMap<String, usize>,
    joined: BTreeSet<(String, String)>,
}

impl Picture {
    /// Reads the block that follows `title`. A part of a line that is several words without an arrow is a remark.
    fn after(title: &str, page: &str) -> Self {
        let (_, rest) = page.split_once(title).expect("the page has that part");
        let block = rest.split("```").nth(1).expect("a picture follows");
        let mut picture = Self::default();
        for (number, line) in block.lines().enumerate() {
            for part in line.split("  ").map(str::trim).filter(|part| !part.is_empty()) {
                let names: Vec<&str> = part.split(" ◄─► ").collect();
                if names.iter().any(|name| name.contains(' ')) {
                    continue;
                }
                for name in &names {
                    picture.line.insert((*name).to_owned(), number);
                }
                for two in names.windows(2) {
                    picture.joined.insert((two[0].to_owned(), two[1].to_owned()));
                    picture.joined.insert((two[1].to_owned(), two[0].to_owned()));
                }
            }
        }
        picture
    }

    /// Whether `module` may use `other`.
    fn allows(&self, module: &str, other: &str) -> bool {
        module == other
            || self.joined.contains(&(module.to_owned(), other.to_owned()))
            || matches!((self.line.get(module), self.line.get(other)), (Some(mine), Some(theirs)) if mine < theirs)
    }
}

/// In which module the names stand that `lib.rs` re-exports.
fn exports(front: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for line in code(front).split(';') {
        let Some((module, names)) =
            line.split_once("pub use ").and_then(|(_, line)| line.split_once("::"))
        else {
            continue;
        };
        exports.extend(words(names).map(|name| (name.to_owned(), module.to_owned())));
    }
    exports
}

/// What is wrong with what a file of `module` uses.
fn wrong_uses(
    picture: &Picture,
    exports: &BTreeMap<String, String>,
    module: &str,
    source: &str,
) -> Vec<String> {
    let code = code(source);
    let named = named_at_root(without_tests(&code));
    let used = named.iter().map(|name| exports.get(name).unwrap_or(name));
    let wrong: BTreeSet<&String> = used.filter(|used| !picture.allows(module, used)).collect();
    wrong.into_iter().map(|used| format!("{module} must not use {used}")).collect()
}

#[test]
fn modules_of_the_engine_use_only_what_stands_below_them() {
    let picture = Picture::after("### Inside the engine", &text("ARCHITECTURE.md"));
    let front = text("engine/src/lib.rs");
    let exports = exports(&front);
    assert_eq!(exports["SegmentMeta"], "segment");
    let modules: BTreeSet<String> = code(&front)
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(
        modules,
        picture.line.keys().cloned().collect(),
        "the picture shows the modules that there are"
    );
    let mut wrong = Vec::new();
    for path in files(".rs") {
        let Ok(below) = path.strip_prefix("engine/src") else { continue };
        let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let source = text(path.to_str().unwrap());
        wrong.extend(wrong_uses(&picture, &exports, module, &source));
        // `super` must not be a way around `crate`.
        let depth = below.iter().count();
        let up = ["super::", "super::super::"][depth - 1];
        if without_tests(&code(&source)).contains(up) {
            wrong
                .push(format!("{}: say crate:: for what is outside of the module", path.display()));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_use_that_is_not_in_the_picture_is_found() {
    let page = "### Inside\n\n```\n   store\n   run ◄─► lake      what users hold\n   log     segment ◄─► catalog\n   disk    error\n```\n";
    let picture = Picture::after("### Inside", page);
    assert_eq!(picture.line.len(), 8, "{picture:?}");
    let exports = exports("mod error;\npub use error::{Error, Result};\npub use run::Run;\n");
    let wrong = |module, source| wrong_uses(&picture, &exports, module, source);
    let fine = "use crate::{Error, disk::{self, sync}, log::file};\n// crate::store\nlet s = \"crate::store\";\n";
    assert_eq!(wrong("lake", fine), [""; 0]);
    assert_eq!(wrong("segment", "use crate::catalog::Add;"), [""; 0]);
    for (module, source, says) in [
        ("log", "use crate::segment;", "log must not use segment"),
        ("log", "use crate::{Result, Run};", "log must not use run"),
        ("disk", "fn f() -> crate::Result<()> {}", "disk must not use error"),
        (
            "catalog",
            "use crate::{\n    disk,\n    lake::{Core, log},\n};",
            "catalog must not use lake",
        ),
        ("error", "pub use crate::store as x;", "error must not use store"),
        ("log", "let x = r#\"a \" b\"#; crate::lake::f();", "log must not use lake"),
    ] {
        assert_eq!(wrong(module, source), [says], "{source}");
    }
    assert_eq!(wrong("disk", "#[cfg(test)]\nmod tests { use crate::store; }"), [""; 0]);
}

/// Whether `unsafe` stands in the code, outside comments and texts.
fn is_unsafe(source: &str) -> bool {
    words(&code(source)).any(|word| word == "unsafe")
}

#[test]
fn unsafe_stands_only_where_it_is_earned() {
    for path in files(".rs") {
        let path = path.to_str().unwrap();
        let allowed = UNSAFE_IN.iter().any(|place| path.starts_with(place));
        assert!(allowed || !is_unsafe(&text(path)), "{path} is no place for unsafe");
    }
    assert!(is_unsafe("fn f() { unsafe { g() } }") && is_unsafe("let a = 'x'; unsafe {}"));
    assert!(!is_unsafe(
        "// unsafe\nlet s = \"an unsafe text\"; let c = '\"'; #![deny(unsafe_code)]"
    ));
}

/// What is wrong with the name of a file, or with a module in it.
fn wrong_name(path: &Path, source: &str) -> Option<String> {
    let parts = path
        .iter()
        .filter_map(|part| part.to_str())
        .map(|part| part.split('.').next().unwrap_or(part));
    let code = code(source);
    let all: Vec<&str> = words(&code).collect();
    let modules = all.windows(2).filter(|two| two[0] == "mod").map(|two| two[1]);
    let empty = parts.chain(modules).find(|name| EMPTY_NAMES.contains(name));
    match (path.file_name().and_then(|name| name.to_str()), empty) {
        (Some("mod.rs"), _) => {
            Some(format!("{}: a module is name.rs beside name/", path.display()))
        }
        (_, Some(empty)) => {
            Some(format!("{}: '{empty}' says nothing of what is inside", path.display()))
        }
        _ => None,
    }
}

#[test]
fn names_of_modules_say_what_is_inside() {
    // Modules of the package that stands in for wandb have the names that programs import.
    let is_ours = |path: &PathBuf| !path.to_str().unwrap().contains("/as_wandb/site/");
    for path in files(".rs").into_iter().chain(files(".py")).filter(is_ours) {
        let source =
            if path.ends_with(".py") { String::new() } else { text(path.to_str().unwrap()) };
        assert_eq!(wrong_name(&path, &source), None);
    }
    for (path, source) in
        [("a/mod.rs", ""), ("a/utils.rs", ""), ("common/x.rs", ""), ("a/b.rs", "mod helper { }")]
    {
        assert!(wrong_name(Path::new(path), source).is_some(), "{path}");
    }
}

/// The places in this repository that a page links to.
fn links(page: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for (at, _) in page.match_indices("](") {
        let rest = &page[at + 2..];
        let target = rest.split(')').next().unwrap_or_default();
        // A link may have a title: `[text](target "title")`.
        let target = target.split([' ', '#']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            links.push(target);
        }
    }
    links
}

#[test]
fn pages_link_to_what_is_there() {
    for path in files(".md") {
        let folder = root().join(path.parent().unwrap());
        for link in links(&text(path.to_str().unwrap())) {
            assert!(
                folder.join(link).exists(),
                "{} links to {link}, which is not there",
                path.display()
            );
        }
    }
    assert_eq!(links("[a](b.md#c), [d](https://e.f) ![g](h/i.png) [j](#k)"), ["b.md", "h/i.png"]);
}

/// The tests that a page names as links, `[name](file)`, which are not in that file.
fn missing_tests(page: &str, text_of: impl Fn(&str) -> String) -> Vec<String> {
    let mut missing = Vec::new();
    for (at, _) in page.match_indices("[`") {
        let Some((name, rest)) = page[at + 2..].split_once("`](") else { continue };
        let file = rest.split(')').next().unwrap_or_default();
        let text = text_of(file.trim_start_matches("../"));
        let is_marked = |lines: &str| {
            lines
                .lines()
                .rev()
                .take_while(|line| !line.contains('}'))
                .any(|line| line.trim() == "#[test]")
        };
        let in_rust =
            text.split_once(&format!("fn {name}(")).is_some_and(|(before, _)| is_marked(before));
        let in_python = name.starts_with("test_") && text.contains(&format!("\ndef {name}("));
        if !in_rust && !in_python {
            missing.push(format!("{name} in {file}"));
        }
    }
    missing
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let page = text("docs/invariants.md");
    assert_eq!(missing_tests(&page, text), [""; 0]);
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| I")).collect();
    assert_eq!(rows.len(), 14);
    for (number, row) in (1..).zip(rows) {
        assert!(row.starts_with(&format!("| I{number} |")) && row.contains("[`"), "{row}");
    }
    let source = |_: &str| {
        "#[test]\nfn there() {}\n    #[test]\n    /// Words.\n    fn below(x in 0..9) {}\nfn unmarked() {}\ndef test_a(x):\n"
            .to_owned()
    };
    let named = "[`there`](a.rs) [`below`](a.rs) [`unmarked`](a.rs) [`gone`](../a.rs)";
    assert_eq!(missing_tests(named, source), ["unmarked in a.rs", "gone in ../a.rs"]);
}

/// Ways in which a file could lose what it holds.
const CUTS_SHORT: [&str; 4] = ["set_len", "ftruncate", "truncate(true", "File::create("];

#[test]
fn no_file_is_cut_short_or_begun_again() {
    let cuts = |source: &str| {
        let code = code(source);
        let kept = without_tests(&code);
        let is_named =
            |way: &&str| kept.match_indices(way).any(|(at, _)| !kept[..at].ends_with(is_of_a_word));
        CUTS_SHORT.into_iter().find(is_named)
    };
    // The disk in memory, on which crashes are played, is compiled for tests only.
    let model = Path::new("engine/src/disk/model.rs");
    let ships = |path: &&PathBuf| path.starts_with("engine/src") && path.as_path() != model;
    for path in files(".rs").iter().filter(ships) {
        assert_eq!(cuts(&text(path.to_str().unwrap())), None, "{}", path.display());
    }
    assert_eq!(cuts("fn f() { file.set_len(0) }\n"), Some("set_len"));
    assert_eq!(cuts("let file = File::create(path)?;"), Some("File::create("));
    assert_eq!(cuts("let file = LogFile::create(path)?;"), None);
    assert_eq!(cuts("#[cfg(test)]\nmod tests { fn f() { File::create(p) } }"), None);
}
