//! Images of the disk of a writer under load, as a power cut at any instant might leave them: each page that has changed
//! since a sync is as it was then, as it is now, or torn; those of a log file that has a synced copy also as if they had
//! never been written. Another boot opens each of them.
//!
//! The writer is this test binary again. It notes how many rows are synced, after `sync` returned, and how many it is about
//! to log. Its files are copied while it runs, so that the copies meet it at random instants. `RUNLAKE_IMAGES` says how many
//! images are made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::{Duration, Instant},
};

use runlake_engine::{Lake, LakeOptions, State};

use crate::points;

const ROLE: &str = "RUNLAKE_TEST_IMAGES";
const METRICS: usize = 3;
/// A writer ends after so many rows, which bounds what it writes: about 3 MB of log.
const ROWS: i64 = 30_000;
/// Rows that stand in one flush.
const FLUSH_EVERY: i64 = 4_000;
/// Images that are made of one pair of copies.
const FROM_ONE_PAIR: usize = 20;
const PAGE: usize = 4096;
const SECTOR: usize = 512;
const PATIENCE: Duration = Duration::from_mins(1);

fn value(metric: usize, step: i64) -> f64 {
    step as f64 + metric as f64 / 64.0
}

/// Not a test of its own: what the writer does.
#[test]
fn writer() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (path, notes) = role.split_once('|').unwrap();
    let notes = File::options().write(true).open(notes).unwrap();
    let mut options = LakeOptions::default();
    options.create = true;
    // Nothing is durable but what is noted.
    options.sync_every_ms = 3_600_000;
    let lake = options.open(path).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    run.sync().unwrap();
    let metrics: Vec<_> =
        (0..METRICS).map(|metric| run.metric(&format!("m{metric}")).unwrap()).collect();
    let logged = AtomicI64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let rows = logged.load(Ordering::Acquire);
                run.sync().unwrap();
                notes.write_all_at(&rows.to_le_bytes(), 0).unwrap();
                if rows == ROWS {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        for step in 0..ROWS {
            let row: Vec<_> =
                metrics.iter().enumerate().map(|(at, &id)| (id, value(at, step))).collect();
            notes.write_all_at(&(step + 1).to_le_bytes(), 8).unwrap();
            run.log(step, &row).unwrap();
            logged.store(step + 1, Ordering::Release);
            if step % FLUSH_EVERY == FLUSH_EVERY - 1 {
                lake.flush().unwrap();
            }
            if step % 16 == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
    });
    run.finish(State::Finished).unwrap();
}

/// A process that logs, and the folder in which its lake is.
struct Writer {
    child: Child,
    folder: tempfile::TempDir,
    notes: File,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Writer {
    fn start() -> Self {
        let folder = folder();
        let notes = folder.path().join("notes");
        File::create_new(&notes).unwrap().set_len(16).unwrap();
        let role = format!("{}|{}", folder.path().join("runs.lake").display(), notes.display());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["images::writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let notes = File::open(&notes).unwrap();
        let writer = Self { child, folder, notes };
        let deadline = Instant::now() + PATIENCE;
        while writer.synced() == 0 {
            assert!(Instant::now() < deadline, "the writer syncs nothing");
            thread::sleep(Duration::from_millis(1));
        }
        writer
    }

    fn noted(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        self.notes.read_exact_at(&mut bytes, at).unwrap();
        i64::from_le_bytes(bytes)
    }

    /// How many rows are synced.
    fn synced(&self) -> i64 {
        self.noted(0)
    }

    /// How many rows were logged or are about to be.
    fn begun(&self) -> i64 {
        self.noted(8)
    }

    fn is_done(&self) -> bool {
        self.synced() == ROWS
    }

    fn copy(&self) -> Copy {
        let synced = self.synced();
        let mut files = BTreeMap::new();
        let mut folders = BTreeSet::new();
        let root = self.folder.path().join("runs.lake");
        // As a reader does: what is flushed meanwhile is in a log that is copied first or in a table that is copied
        // second; and a commit is copied before the files that it names, points before facts.
        for first in
            ["log", "tables/points/_delta_log", "tables/points", "tables/facts/_delta_log", ""]
        {
            copy_below(&root, Path::new(first), &mut files, &mut folders);
        }
        Copy { synced, begun: self.begun(), files, folders }
    }
}

/// Copies what stands below `folder` and is not copied yet.
fn copy_below(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
    folders: &mut BTreeSet<PathBuf>,
) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    folders.insert(folder.to_owned());
    for entry in entries {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy_below(root, &path, files, folders);
        } else if !files.contains_key(&path)
            && let Ok(bytes) = fs::read(entry.path())
        {
            files.insert(path, bytes);
        }
    }
}

/// The files of a lake at about one instant.
struct Copy {
    /// How many rows were synced before it was begun.
    synced: i64,
    /// How many rows it can hold at most.
    begun: i64,
    files: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// Makes an image between two copies: what was synced at the first is in both of them. Returns the bytes of log files that
/// are as neither copy has them.
fn make(image: &Path, before: &Copy, after: &Copy, dice: &mut Dice) -> usize {
    let mut torn = 0;
    for folder in before.folders.union(&after.folders) {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    for (path, new) in &after.files {
        let path_in = image.join(path);
        let old = before.files.get(path).map_or(&[][..], Vec::as_slice);
        if !is_log(path) {
            // Synced before it got its name.
            fs::write(path_in, new).unwrap();
            continue;
        }
        if old.is_empty() && dice.below(4) == 0 {
            // The name is lost: nobody has synced the folder since.
            continue;
        }
        // Where a log file has a synced copy, nobody has synced the file itself.
        let is_synced = !after.files.contains_key(&path.with_extension("synced"))
            || path.extension().is_some_and(|extension| extension == "synced");
        let mut bytes = new.clone();
        for start in (0..new.len()).step_by(PAGE) {
            let end = (start + PAGE).min(new.len());
            let old = if is_synced || dice.below(2) == 0 { old } else { &[] };
            let was = |range: std::ops::Range<usize>| {
                let mut was =
                    old.get(range.start..range.end.min(old.len())).unwrap_or(&[]).to_vec();
                was.resize(range.len(), 0);
                was
            };
            if was(start..end) == new[start..end] {
                continue;
            }
            match dice.below(3) {
                0 => {}
                1 => bytes[start..end].copy_from_slice(&was(start..end)),
                _ => {
                    torn += 1;
                    for sector in (start..end).step_by(SECTOR).filter(|_| dice.below(2) == 0) {
                        let range = sector..(sector + SECTOR).min(end);
                        bytes[range.clone()].copy_from_slice(&was(range));
                    }
                }
            }
        }
        write_as_of_another_boot(&path_in, bytes);
    }
    // What was removed since may be back.
    for (path, old) in before.files.iter().filter(|(path, _)| !after.files.contains_key(*path)) {
        if is_log(path) && dice.below(2) == 0 {
            write_as_of_another_boot(&image.join(path), old.clone());
        }
    }
    torn
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log" || extension == "synced")
}

/// Writes a log file as one of an earlier boot of this host, which is what a power cut makes of it. The header is drawn in
/// docs/format/log.md.
fn write_as_of_another_boot(path: &Path, mut bytes: Vec<u8>) {
    if bytes.get(72..108).is_some_and(|boot| boot.iter().any(|&byte| byte != 0)) {
        bytes[72..76].copy_from_slice(b"gone");
        let crc = crc32c::crc32c(&bytes[..112]);
        bytes[112..116].copy_from_slice(&crc.to_le_bytes());
    }
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, page) in (0_u64..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, at).unwrap();
        }
    }
}

/// Says of every owner that it lived, and showed itself last, before the last boot: its log is anybody's.
fn age_owners(image: &Path) {
    for entry in fs::read_dir(image.join("log")).unwrap() {
        let folder = entry.unwrap().path();
        let owner = folder.join("owner.json");
        if let Ok(text) = fs::read_to_string(&owner) {
            let (before, boot) = text.split_once("\"boot_id\":\"").unwrap();
            let text = format!("{before}\"boot_id\":\"gone{}", &boot[4..]);
            let (before, created) = text.split_once("\"created_us\":").unwrap();
            let after = created.trim_start_matches(|digit: char| digit.is_ascii_digit());
            fs::write(owner, format!("{before}\"created_us\":1{after}")).unwrap();
            fs::remove_file(folder.join("BEAT")).unwrap();
        }
    }
}

/// Asserts that a lake holds the rows that were synced, whole and once, and none that nobody logged. Returns the rows.
fn check(lake: &Lake, synced: i64, begun: i64) -> BTreeMap<i64, usize> {
    let mut rows: BTreeMap<i64, usize> = BTreeMap::new();
    for (_, metric, _, step, bits) in points(&lake.snapshot().unwrap()) {
        let metric: usize = metric[1..].parse().unwrap();
        assert_eq!(bits, value(metric, step).to_bits(), "step {step} was changed");
        assert!((0..begun).contains(&step), "nobody logged step {step}");
        *rows.entry(step).or_default() += 1;
    }
    let in_part = rows.iter().find(|(_, points)| **points != METRICS);
    assert!(in_part.is_none(), "a step has so many points: {in_part:?}");
    let there = rows.range(..synced).count() as i64;
    assert_eq!(there, synced, "synced rows are lost");
    rows
}

#[test]
fn images_of_a_writer_under_load_hold_what_was_synced_and_nothing_else() {
    let images = std::env::var("RUNLAKE_IMAGES").map_or(100, |said| said.parse().unwrap());
    let mut dice = Dice(0x1234_5678_9ABC_DEF1);
    let mut writer = Writer::start();
    let (mut made, mut writers, mut torn, mut unsynced, mut adopted) = (0, 1, 0, 0, 0);
    while made < images {
        if writer.is_done() {
            writer = Writer::start();
            writers += 1;
        }
        let before = writer.copy();
        thread::sleep(Duration::from_micros(dice.below(20_000) as u64));
        let after = writer.copy();
        for _ in 0..FROM_ONE_PAIR.min(images - made) {
            let folder = folder();
            torn += make(folder.path(), &before, &after, &mut dice);
            age_owners(folder.path());
            let lake = Lake::open(folder.path()).unwrap();
            let rows = check(&lake, before.synced, after.begun);
            unsynced += rows.range(before.synced..).count();
            made += 1;
            if made % 10 == 0 {
                adopted += lake.adopt(&mut |_, _| {}).unwrap().adopted;
                assert_eq!(check(&lake, before.synced, after.begun), rows, "once adopted");
                let lake = Lake::open(folder.path()).unwrap();
                assert_eq!(check(&lake, before.synced, after.begun), rows, "opened again");
            }
        }
    }
    assert!(adopted > 0, "no image was adopted");
    println!(
        "{made} images of {writers} writers, {torn} pages torn: 0 synced rows lost, 0 twice, 0 invented; {unsynced} rows \
         more than were synced, {adopted} logs adopted"
    );
}
