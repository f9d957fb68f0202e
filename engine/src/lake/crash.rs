//! Crashes at every moment of what a lake does, on a disk that keeps no more than it was bound to
//! ([`crate::disk::model`]). The code is the code that ships; each moment of it comes out of a kill, and in many ways out of a
//! power cut, and each time another process opens what is left.
//!
//! `RUNLAKE_CRASHES` says how many crashes each test tries, `RUNLAKE_SEED` which.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    os::unix::fs::FileExt as _,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use super::features;
use crate::{
    Filter, MetricId, Points,
    catalog::{Table, TableKind},
    compaction::{self, Compacted, World},
    disk::{
        self,
        model::{Disk, Failing, Fault, Image, Moment, Watched},
    },
    flush::{self, AtOnce, Flushed, Tables},
    log::{
        self, HEADER_BYTES, Mode, NO_LABELS, TAIL_STRIDE,
        frame::Frame,
        owner::Lookout,
        writer::{Settings, Writer},
    },
    names::{Names, RunName},
    os::{self, Host},
    segment,
    tail::TailCache,
};

const METRICS: [&str; 2] = ["loss", "acc"];
/// Logs are mapped: what pwrite mode adds is explored by the proofs of streams.
const SETTINGS: Settings = Settings {
    lake: 0,
    mode: Mode::Mapped,
    spill_bytes: 1 << 20,
    max_block: Duration::from_secs(10),
};
/// What no commit names may go after a day.
pub(super) const TWO_DAYS_US: i64 = 48 * 3600 * 1_000_000;

/// How many crashes a test tries.
pub(super) fn crashes() -> usize {
    std::env::var("RUNLAKE_CRASHES").map_or(200, |said| said.parse().unwrap())
}

/// Random numbers from a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        let said = std::env::var("RUNLAKE_SEED").ok();
        Self(said.map_or(0x5EED, |said| said.parse().unwrap()))
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ mixed >> 31) % limit as u64).unwrap()
    }
}

/// Answers every question in every way, one combination after another.
#[derive(Default)]
struct Odometer {
    answers: Vec<(usize, usize)>,
    at: usize,
}

impl Odometer {
    fn choose(&mut self, limit: usize) -> usize {
        if self.at == self.answers.len() {
            self.answers.push((0, limit));
        }
        self.at += 1;
        self.answers[self.at - 1].0
    }

    /// Goes on to the next combination; false where that was the last.
    fn turn(&mut self) -> bool {
        self.at = 0;
        while let Some((answer, limit)) = self.answers.pop() {
            if answer + 1 < limit {
                self.answers.push((answer + 1, limit));
                return true;
            }
        }
        false
    }
}

/// One frame that a run logged.
#[derive(Debug, Clone)]
enum Said {
    Row(i64),
    Many(Range<i64>),
    Fact(i64),
}

impl Said {
    /// The points and facts of the frame.
    fn entries(&self, run: &str) -> Vec<Entry> {
        let entry = |metric: &str, step| (run.to_owned(), metric.to_owned(), step);
        match self {
            Self::Row(step) => METRICS.map(|metric| entry(metric, *step)).to_vec(),
            Self::Many(steps) => steps.clone().map(|step| entry(METRICS[0], step)).collect(),
            Self::Fact(number) => vec![entry("", *number)],
        }
    }
}

/// A point: run, metric, step. Or a fact: run, nothing, number.
type Entry = (String, String, i64);

fn value(step: i64, metric: &str) -> f64 {
    step as f64 + metric.len() as f64 / 64.0
}

/// What a lake owes to one run.
#[derive(Debug, Clone, Default)]
struct Track {
    /// What was logged, or is being logged.
    said: Vec<Said>,
    /// How many of these were published.
    published: usize,
    /// How many survive a power cut.
    synced: usize,
}

/// What a lake owes.
#[derive(Debug, Clone, Default)]
pub(super) struct Promise {
    is_created: bool,
    runs: BTreeMap<String, Track>,
}

/// A lake on a disk that is watched.
pub(super) struct Trial {
    _folder: tempfile::TempDir,
    pub(super) root: PathBuf,
    pub(super) disk: Watched,
    /// What was promised, from which moment on.
    promises: Mutex<Vec<(usize, Promise)>>,
}

/// In memory where there is such a place.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Trial {
    pub(super) fn new() -> Self {
        let folder = folder();
        let disk = Disk::watch(folder.path());
        let trial = Self {
            root: folder.path().join("runs.lake"),
            _folder: folder,
            disk,
            promises: Mutex::new(vec![(0, Promise::default())]),
        };
        features::create(&trial.root, false, os::now_us()).unwrap();
        trial.promise(|promise| promise.is_created = true);
        trial
    }

    fn promise(&self, change: impl FnOnce(&mut Promise)) {
        let mut promises = self.promises.lock().unwrap();
        let mut promise = promises.last().unwrap().1.clone();
        change(&mut promise);
        promises.push((self.disk.count(), promise));
    }

    fn trainer(&self, run: &str) -> Trainer<'_> {
        let names = Names::default();
        let name = RunName { project: "p".into(), run_id: run.to_owned(), launch: "l".into() };
        Trainer {
            trial: self,
            tables: tables(&self.root),
            id: names.runs.id(&name).unwrap(),
            metrics: METRICS.map(|metric| MetricId(names.metrics.id(metric).unwrap())),
            names,
            writer: Writer::create(&self.root, None, Host::this(), SETTINGS, os::now_us()).unwrap(),
            run: run.to_owned(),
            step: 0,
        }
    }

    /// Crashes at every moment so far, of which there are at least so many.
    fn crash(self, least: usize) {
        assert!(self.disk.count() >= least, "only {} moments", self.disk.count());
        let tried = self.crash_from(0, crashes());
        println!("{tried}: 0 lost, 0 twice");
    }

    /// Crashes at the moments from `first` on, or, where they are too many for `most` crashes, at some of them.
    fn crash_from(self, first: usize, most: usize) -> Tried {
        let moments = self.disk.moments();
        let promises = self.promises.into_inner().unwrap();
        let mut dice = Dice::new();
        let mut tried = Tried::default();
        let of = moments.len() - first;
        for (at, moment) in moments.iter().enumerate().skip(first) {
            // Four crashes are the least that is worth a moment.
            if dice.below(of) * 4 >= most {
                continue;
            }
            let promise = &promises.iter().rev().find(|(from, _)| *from <= at).unwrap().1;
            tried.moment(at, moment, promise, most / of, &mut dice);
        }
        tried
    }
}

/// How many crashes were tried.
#[derive(Default)]
struct Tried {
    crashes: usize,
    moments: usize,
    /// Moments at which everything was tried that may be lost.
    exhausted: usize,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { crashes, moments, exhausted } = self;
        write!(f, "{crashes} crashes at {moments} moments, at {exhausted} in every combination")
    }
}

impl Tried {
    fn add(&mut self, more: &Self) {
        self.crashes += more.crashes;
        self.moments += more.moments;
        self.exhausted += more.exhausted;
    }

    /// Kills and cuts the power at one moment, about `most` times.
    fn moment(
        &mut self,
        at: usize,
        moment: &Moment,
        promise: &Promise,
        most: usize,
        dice: &mut Dice,
    ) {
        self.moments += 1;
        let place = format!("moment {at}, after {}", moment.what);
        let mut odds = Dice(dice.below(usize::MAX) as u64);
        let mut crash = |image: Image, is_cut: bool| {
            self.crashes += 1;
            let is_thorough = self.crashes.is_multiple_of(4);
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                let mut host = Host::this();
                if is_cut {
                    host.boot_id = "after the power cut".to_owned();
                    host.booted_us = i64::MAX;
                }
                if is_thorough {
                    crash_again(&image, &host, &mut odds);
                }
                let (_folder, root) = restart(&image);
                survive(&root, promise, &host, is_thorough);
            }));
            if let Err(failed) = outcome {
                println!("{place}: {}", image.story);
                panic::resume_unwind(failed);
            }
        };
        crash(moment.killed(), false);
        crash(moment.cut(&mut |limit| limit - 1), true);
        let mut odometer = Odometer::default();
        let mut left = most.max(4) - 2;
        while left > 0 {
            crash(moment.cut(&mut |limit| odometer.choose(limit)), true);
            left -= 1;
            if !odometer.turn() {
                self.exhausted += 1;
                break;
            }
            if left > 0 {
                crash(moment.torn(&mut |limit| dice.below(limit)), true);
                left -= 1;
            }
        }
        for _ in 0..left {
            crash(moment.torn(&mut |limit| dice.below(limit)), true);
        }
    }
}

/// The disk as a crash has left it, and the lake on it.
pub(super) fn restart(image: &Image) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    image.write(folder.path()).unwrap();
    let root = folder.path().join("runs.lake");
    (folder, root)
}

pub(super) fn tables(root: &Path) -> Tables {
    Tables {
        root: root.to_owned(),
        points: Table::new(root, TableKind::Points),
        facts: Table::new(root, TableKind::Facts),
        turn: Mutex::new(()),
        at_once: AtOnce::USUAL,
    }
}

/// A process that logs one run.
struct Trainer<'a> {
    trial: &'a Trial,
    tables: Tables,
    names: Names,
    id: u32,
    metrics: [MetricId; 2],
    writer: Arc<Writer>,
    run: String,
    step: i64,
}

impl Trainer<'_> {
    #[expect(clippy::needless_pass_by_value, reason = "what is said is said once")]
    fn say(&mut self, said: Said) {
        let promise = |change: &dyn Fn(&mut Track)| {
            self.trial.promise(|promise| {
                change(promise.runs.entry(self.run.clone()).or_default());
            });
        };
        promise(&|track| track.said.push(said.clone()));
        let (run, labels) = (self.id, NO_LABELS);
        let outcome = match &said {
            Said::Row(step) => {
                let points: Vec<_> = METRICS
                    .iter()
                    .zip(self.metrics)
                    .map(|(metric, id)| (id, value(*step, metric)))
                    .collect();
                let row = Frame::Row { run, labels, step: *step, time: 7, points: &points };
                self.writer.append(&self.names, &row)
            }
            Said::Many(steps) => {
                let values: Vec<_> = steps.clone().map(|step| value(step, METRICS[0])).collect();
                let many = Frame::Many {
                    run,
                    labels,
                    metric: self.metrics[0].0,
                    step: steps.start,
                    time: 7,
                    steps: None,
                    times: None,
                    values: &values,
                };
                self.writer.append(&self.names, &many)
            }
            Said::Fact(number) => {
                let (kind, key) = ("config", number.to_string());
                let fact = Frame::Fact { run, hlc: *number, kind, key: &key, value: Some("1") };
                self.writer.append(&self.names, &fact)
            }
        };
        outcome.expect("the disk takes it");
        promise(&|track| track.published = track.said.len());
        self.trial.disk.moment("publishing");
    }

    /// Logs rows, and with each a fact.
    fn log(&mut self, rows: i64) {
        for _ in 0..rows {
            self.say(Said::Fact(self.step));
            self.say(Said::Row(self.step));
            self.step += 1;
        }
    }

    /// Logs so many points of one metric in one frame.
    fn log_many(&mut self, points: i64) {
        self.say(Said::Many(self.step..self.step + points));
        self.step += points;
    }

    fn owe_all(&self) {
        self.trial.promise(|promise| {
            let track = promise.runs.get_mut(&self.run).unwrap();
            track.synced = track.said.len();
        });
    }

    fn tend(&self) {
        self.writer.tend(os::now_us());
    }

    fn sync(&self) {
        self.writer.sync().unwrap();
        self.owe_all();
    }

    fn flush(&self) {
        flush::own(&self.tables, &self.writer, &Host::this(), os::now_us(), &|| true).unwrap();
        self.owe_all();
    }

    fn adopt(&self) {
        adopt(&self.tables, &Host::this());
    }

    fn compact(&self, gc_now: bool) {
        compact(&self.tables, gc_now, 0);
    }

    fn close(self) {
        self.writer.close().unwrap();
    }
}

fn try_to_adopt(tables: &Tables, host: &Host) -> crate::Result<Flushed> {
    flush::adopt(tables, &Lookout::new(host.clone()), &[], &mut |_, _| {})
}

fn adopt(tables: &Tables, host: &Host) -> u64 {
    try_to_adopt(tables, host).unwrap().adopted
}

fn try_to_compact(tables: &Tables, gc_now: bool, later_us: i64) -> crate::Result<Compacted> {
    let now_us = || os::now_us() + later_us;
    let mut goes_on = |_, _| true;
    let mut world = World { now_us: &now_us, ..World::here(&mut goes_on) };
    compaction::run(
        &tables.root,
        &tables.points,
        &tables.facts,
        &crate::deletion::RunKeys::default(),
        gc_now,
        &mut world,
    )
}

pub(super) fn compact(tables: &Tables, gc_now: bool, later_us: i64) {
    assert_eq!(try_to_compact(tables, gc_now, later_us).unwrap().problems, [""; 0]);
}

/// Everything that a lake holds, sorted, and what of it could not be read.
pub(super) fn read(root: &Path, host: &Host) -> (Vec<Entry>, Vec<String>) {
    let Tables { points, facts, .. } = tables(root);
    let view = TailCache::default().view(root, host, &points, &facts).unwrap();
    let mut entries = Vec::new();
    let mut runs = BTreeSet::new();
    let mut take = |points: &Points| {
        for row in 0..points.len() {
            let key = &points.keys[points.series[row] as usize];
            let step = points.steps[row];
            assert_eq!(points.values[row].to_bits(), value(step, &key.metric).to_bits());
            entries.push((key.run_id.to_string(), key.metric.to_string(), step));
        }
    };
    for segment in &view.points_table.segments {
        segment.check().unwrap();
        segment.check_footer().unwrap();
        let points = segment::read_points(segment, &Filter::default()).unwrap();
        runs.extend(points.keys.iter().map(|key| Arc::clone(&key.run_id)));
        take(&points);
    }
    for points in &view.points {
        take(points);
    }
    let mut facts = Vec::new();
    for segment in &view.facts_table.segments {
        segment.check().unwrap();
        facts.extend(segment::read_facts(segment).unwrap());
    }
    // Other programs see the tables only.
    for run in runs {
        assert!(facts.iter().any(|fact| fact.run_id == run), "points of {run} before its facts");
    }
    facts.extend(view.facts.iter().flat_map(|facts| facts.iter().cloned()));
    entries.extend(facts.iter().map(|fact| (fact.run_id.to_string(), String::new(), fact.hlc)));
    entries.sort();
    (entries, view.problems)
}

/// Asserts that a lake holds what is owed, whole and once, and nothing that was not logged.
fn check(entries: &[Entry], promise: &Promise, owed: impl Fn(&Track) -> usize) {
    let mut there: BTreeMap<&Entry, usize> = BTreeMap::new();
    for entry in entries {
        *there.entry(entry).or_default() += 1;
    }
    for (run, track) in &promise.runs {
        for (at, said) in track.said.iter().enumerate() {
            let entries = said.entries(run);
            let counts: Vec<usize> =
                entries.iter().map(|entry| there.remove(entry).unwrap_or(0)).collect();
            assert!(counts.iter().all(|&count| count <= 1), "{run} {said:?} is there twice");
            assert!(
                counts.iter().all(|&count| count == counts[0]),
                "{run} {said:?} is there in part"
            );
            assert!(at >= owed(track) || counts[0] == 1, "{run} {said:?} is lost");
        }
    }
    assert!(there.is_empty(), "nobody logged {there:?}");
}

/// Asserts that a lake survives a crash: another process opens it, finds what is owed, and takes it in, and then it is a
/// lake as any other.
fn survive(root: &Path, promise: &Promise, host: &Host, is_thorough: bool) {
    let is_cut = host.boot_id != Host::this().boot_id;
    let owed = |track: &Track| if is_cut { track.synced } else { track.published };
    if features::read(root).unwrap().is_none() {
        assert!(!promise.is_created, "the lake is lost");
        features::create(root, false, os::now_us()).unwrap();
    }
    let (entries, problems) = read(root, host);
    check(&entries, promise, owed);
    assert!(is_cut || problems.is_empty(), "a kill damages nothing: {problems:?}");
    let same = |when: &str| assert_eq!(read(root, host).0, entries, "{when}");

    adopt(&tables(root), host);
    same("once adopted");
    assert_eq!(adopt(&tables(root), host), 0);
    same("adopted twice");
    assert_eq!(disk::list(&root.join("log")).unwrap(), [""; 0], "dead folders are gone");
    if !is_thorough {
        return;
    }
    compact(&tables(root), true, TWO_DAYS_US);
    same("compacted");
    let (points, facts) = (tables(root).points, tables(root).facts);
    if points.load().unwrap().version.is_none() && facts.load().unwrap().version.is_none() {
        // Nothing was ever committed, so nobody has collected either.
        return;
    }
    for table in [points, facts] {
        let needed = table.load().unwrap().segments.len();
        let there = ["l0", "l1"].map(|level| disk::list(&table.dir().join(level)).unwrap().len());
        assert_eq!(there[0] + there[1], needed, "leftovers are gone");
        assert_eq!(disk::list(&table.dir().join("_staging")).unwrap(), [""; 0]);
    }
}

/// Cuts the power once more while another process takes in what a crash has left: what was there at the first look is
/// there at every later one.
fn crash_again(image: &Image, host: &Host, dice: &mut Dice) {
    let (folder, root) = restart(image);
    if features::read(&root).unwrap().is_none() {
        return;
    }
    let (entries, _) = read(&root, host);
    let disk = Disk::watch(folder.path());
    adopt(&tables(&root), host);
    compact(&tables(&root), true, TWO_DAYS_US);
    let moments = disk.moments();
    drop(disk);
    for _ in 0..8.min(moments.len()) {
        let moment = &moments[dice.below(moments.len())];
        let image = moment.torn(&mut |limit| dice.below(limit));
        let (_folder, root) = restart(&image);
        let host = Host { boot_id: "after the second".to_owned(), ..host.clone() };
        let when = || format!("again after {}: {}", moment.what, image.story);
        assert_eq!(read(&root, &host).0, entries, "{}", when());
        adopt(&tables(&root), &host);
        assert_eq!(read(&root, &host).0, entries, "adopted {}", when());
    }
}

#[test]
fn rows_that_are_logged_synced_and_flushed_survive() {
    let trial = Trial::new();
    let mut trainer = trial.trainer("a");
    trainer.log(3);
    trainer.sync();
    trainer.log(3);
    trainer.tend();
    trainer.sync();
    trainer.log(2);
    trainer.flush();
    trainer.log(2);
    trainer.sync();
    trainer.log(2);
    trainer.flush();
    trainer.log(1);
    trainer.close();
    trial.crash(100);
}

#[test]
fn rows_that_a_power_cut_has_left_are_found_also_where_it_took_their_tail_words() {
    let trial = Trial::new();
    let mut trainer = trial.trainer("a");
    trainer.log(5);
    let (_folder, root) = restart(&trial.disk.moments().last().unwrap().killed());
    let writer = root.join("log").join(trainer.writer.id.to_string());
    let file = disk::open_for_mapping(&writer.join(log::file_name(1))).unwrap();
    file.write_all_at(&[0; 4 * TAIL_STRIDE], HEADER_BYTES as u64).unwrap();
    // Only its words were not written: all of the rows stand there.
    trainer.owe_all();
    let promise = trial.promises.lock().unwrap().last().unwrap().1.clone();
    let mut host = Host::this();
    (host.boot_id, host.booted_us) = ("after the power cut".to_owned(), i64::MAX);
    survive(&root, &promise, &host, true);
}

#[test]
fn rows_in_a_log_that_rolls_over_survive() {
    let trial = Trial::new();
    let mut trainer = trial.trainer("a");
    trainer.log(1);
    // Twelve such frames fill the first file; the next one is prepared ahead.
    for round in 0..14 {
        trainer.log_many(2048);
        if round % 4 == 1 {
            trainer.tend();
            trainer.sync();
        }
    }
    trainer.log(1);
    trainer.sync();
    trainer.flush();
    trainer.log(1);
    trial.crash(50);
}

#[test]
fn rows_of_a_dead_writer_survive_their_adoption() {
    let trial = Trial::new();
    let mut dead = trial.trainer("a");
    dead.log(3);
    dead.sync();
    dead.log(2);
    drop(dead);
    let mut trainer = trial.trainer("b");
    trainer.log(1);
    trainer.adopt();
    trainer.log(1);
    trainer.flush();
    trial.crash(100);
}

#[test]
fn rows_survive_merges_and_the_removal_of_what_was_merged() {
    let trial = Trial::new();
    let mut trainer = trial.trainer("a");
    for _ in 0..4 {
        trainer.log(2);
        trainer.flush();
    }
    trainer.log(1);
    trainer.compact(false);
    trainer.compact(true);
    trainer.flush();
    trainer.compact(true);
    trial.crash(200);
}

#[test]
fn rows_of_two_writers_survive() {
    let trial = Trial::new();
    let (mut one, mut other) = (trial.trainer("a"), trial.trainer("b"));
    for _ in 0..2 {
        one.log(1);
        other.log(1);
        one.sync();
        other.log(1);
        one.flush();
        other.sync();
        other.flush();
    }
    one.close();
    other.log(1);
    other.adopt();
    trial.crash(200);
}

#[test]
fn rows_survive_that_a_checkpoint_forgets_how_far_a_log_was_flushed() {
    let trial = Trial::new();
    let mut dead = trial.trainer("a");
    dead.log(2);
    dead.flush();
    dead.log(2);
    dead.sync();
    drop(dead);
    let mut trainer = trial.trainer("b");
    trainer.adopt();
    trainer.tables.points.checkpoint(os::now_us()).unwrap();
    trainer.tables.facts.checkpoint(os::now_us()).unwrap();
    trainer.log(1);
    trainer.flush();
    trial.crash(100);
}

#[test]
fn rows_that_a_sync_failed_to_keep_are_not_taken_for_synced() {
    let trial = Trial::new();
    let mut trainer = trial.trainer("a");
    trainer.log(2);
    trainer.sync();
    trainer.log(2);
    trial.disk.fail(Some(Fault { failing: Failing::Syncs, after: 0, times: 1 }));
    trainer.writer.sync().unwrap_err();
    trainer.log(2);
    trainer.writer.sync().unwrap_err();
    trainer.flush();
    trainer.log(1);
    trainer.sync();
    trial.crash(50);
}

/// A process dies at every operation of `work`, for which it has prepared, another one goes on with what it sees, and then
/// the power is cut: what the first one had done need not be durable.
fn die_in_the_middle_of(
    prepare: impl Fn(&mut Trainer<'_>),
    work: impl Fn(&Trainer<'_>) -> crate::Result<()>,
    go_on: impl Fn(&Tables),
) {
    let mut tried = Tried::default();
    // All operations where many crashes are asked for.
    let every = (2000 / crashes()).clamp(1, 8);
    for after in (0..).step_by(every) {
        let trial = Trial::new();
        let mut dead = trial.trainer("a");
        dead.log(1);
        dead.flush();
        dead.log(2);
        dead.sync();
        drop(dead);
        let mut dying = trial.trainer("b");
        dying.log(1);
        dying.sync();
        prepare(&mut dying);
        trial.disk.fail(Some(Fault { failing: Failing::Dead, after, times: u64::MAX }));
        // Dead or not, nobody is there to be told.
        drop(work(&dying));
        drop(dying);
        let is_done = trial.disk.asked() <= after;
        trial.disk.fail(None);
        if is_done {
            break;
        }
        let first = trial.disk.count();
        go_on(&tables(&trial.root));
        tried.add(&trial.crash_from(first, crashes() / 8));
    }
    println!("{tried}: 0 lost, 0 twice");
}

/// What another process does first.
fn adopt_and_merge(tables: &Tables) {
    adopt(tables, &Host::this());
    compact(tables, true, 0);
}

#[test]
fn rows_survive_a_process_that_dies_while_it_takes_in_those_of_another() {
    let work = |dying: &Trainer<'_>| try_to_adopt(&dying.tables, &Host::this()).map(drop);
    die_in_the_middle_of(|_| {}, work, adopt_and_merge);
}

#[test]
fn rows_survive_a_process_that_dies_while_it_flushes_its_own() {
    let work = |dying: &Trainer<'_>| {
        let Trainer { tables, writer, .. } = dying;
        flush::own(tables, writer, &Host::this(), os::now_us(), &|| true).map(drop)
    };
    die_in_the_middle_of(|_| {}, work, adopt_and_merge);
}

#[test]
fn rows_survive_a_process_that_dies_while_it_merges() {
    let prepare = |dying: &mut Trainer<'_>| {
        for _ in 0..2 {
            dying.log(1);
            dying.flush();
        }
    };
    let work = |dying: &Trainer<'_>| try_to_compact(&dying.tables, false, 0).map(drop);
    // Whoever collects next rests on a merge that nobody has made durable.
    die_in_the_middle_of(prepare, work, |tables| compact(tables, true, 0));
}

/// Lets one of several threads go on at a time, and decides by chance which.
struct Turns {
    state: Mutex<Turn>,
    passed: Condvar,
}

struct Turn {
    whose: usize,
    threads: Vec<usize>,
    dice: Dice,
}

thread_local! {
    static ME: Cell<usize> = const { Cell::new(0) };
}

impl Turns {
    fn new(threads: usize, dice: Dice) -> Arc<Self> {
        let turn = Turn { whose: 0, threads: (0..threads).collect(), dice };
        Arc::new(Self { state: Mutex::new(turn), passed: Condvar::new() })
    }

    /// Passes the turn on, perhaps to oneself.
    fn pass(&self) {
        let mut turn = self.state.lock().unwrap();
        if turn.threads.contains(&ME.get()) {
            let next = turn.threads.len();
            let next = turn.dice.below(next);
            turn.whose = turn.threads[next];
            self.passed.notify_all();
            drop(self.passed.wait_while(turn, |turn| turn.whose != ME.get()).unwrap());
        }
    }

    /// Does `work` as one of the threads.
    fn take_part(&self, me: usize, work: impl FnOnce()) {
        ME.set(me);
        let turn = self.state.lock().unwrap();
        drop(self.passed.wait_while(turn, |turn| turn.whose != me).unwrap());
        let done = panic::catch_unwind(AssertUnwindSafe(work));
        let mut turn = self.state.lock().unwrap();
        turn.threads.retain(|&thread| thread != me);
        turn.whose = turn.threads.first().copied().unwrap_or(usize::MAX);
        drop(turn);
        self.passed.notify_all();
        if let Err(failed) = done {
            panic::resume_unwind(failed);
        }
    }
}

#[test]
fn rows_survive_whatever_the_order_in_which_two_processes_work() {
    let mut dice = Dice::new();
    let mut all = Tried::default();
    for _ in 0..(crashes() / 60).clamp(4, 1000) {
        let trial = Trial::new();
        let turns = Turns::new(2, Dice(dice.below(usize::MAX) as u64));
        trial.disk.call_between({
            let turns = Arc::clone(&turns);
            move || turns.pass()
        });
        thread::scope(|scope| {
            for (me, run) in ["a", "b"].into_iter().enumerate() {
                let (trial, turns) = (&trial, &turns);
                scope.spawn(move || {
                    turns.take_part(me, || {
                        trial.disk.enter();
                        let mut trainer = trial.trainer(run);
                        trainer.log(1);
                        trainer.sync();
                        trainer.flush();
                        trainer.log(2);
                        trainer.sync();
                        if me == 0 {
                            trainer.compact(true);
                            trainer.flush();
                        }
                        // The other one adopts what is left, if it still works by then.
                        drop(trainer);
                        adopt(&tables(&trial.root), &Host::this());
                        compact(&tables(&trial.root), true, 0);
                    });
                });
            }
        });
        all.add(&trial.crash_from(0, 60));
    }
    println!("{all}: 0 lost, 0 twice");
}
