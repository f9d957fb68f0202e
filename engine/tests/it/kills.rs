//! A process that is killed at any moment loses nothing that it published, and nothing of it is seen twice. One that is
//! stopped holds up nobody.
//!
//! The victims are this test binary again, told by an environment variable what to be. Each of their threads notes in a
//! file how many rows it has logged, after `log` returned: a note outlives its process as a row does, so it is known to
//! the row what must be there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    iter,
    os::unix::{fs::FileExt as _, process::ExitStatusExt as _},
    panic,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use runlake_engine::{Error, Filter, Lake, LakeOptions, Run, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::{logs_are_mapped, points, points_of};

const ROLE: &str = "RUNLAKE_TEST_ROLE";
pub(crate) const THREADS: usize = 4;
/// Points of a row.
const METRICS: usize = 3;
/// Rows that a thread logs as fast as it can before it rests for a moment.
const BURST: i64 = 16;
/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The rows that each thread of a victim has logged.
pub(crate) type Noted = [i64; THREADS];

/// How many kills are asked for.
fn kills() -> u64 {
    std::env::var("RUNLAKE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// What a point of a victim holds, so that no value can be taken for another.
fn value(thread: usize, metric: usize, step: i64) -> f64 {
    step as f64 + (thread * METRICS + metric) as f64 / 64.0
}

fn metric(thread: usize, metric: usize) -> String {
    format!("thread {thread}/metric {metric}")
}

/// Not a test of its own: what the victims of the others do. Without the variable there is nothing to do.
#[test]
fn victim() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [path, run_id, notes, pause_ms] = role.split('|').collect::<Vec<_>>()[..] else {
        panic!("{role}")
    };
    die_of_a_panic();
    die_with_the_parent();
    let pause = Duration::from_millis(pause_ms.parse().unwrap());
    let mut options = LakeOptions::default();
    options.sync_every_ms = 20;
    let lake = options.open(path).unwrap();
    let run = lake.run("p").id(run_id).start().unwrap();
    let notes = File::options().write(true).open(notes).unwrap();
    thread::scope(|scope| {
        // One flush and one merge after another, so that many kills come while one is under way.
        scope.spawn(|| {
            for pause in iter::repeat(pause) {
                thread::sleep(pause);
                lake.flush().unwrap();
            }
        });
        scope.spawn(|| {
            for pause in iter::repeat(pause * 3 / 2) {
                thread::sleep(pause);
                let compacted = lake.compact(false, &mut |_, _| true).unwrap();
                assert_eq!(compacted.problems, [""; 0]);
            }
        });
        for thread in 0..THREADS {
            let (run, notes) = (&run, &notes);
            scope.spawn(move || log_and_note(run, thread, notes, pause / 10));
        }
    });
}

/// Rests for `pause` after each burst, so that the writers of one test share processors and disk, however many they are.
fn log_and_note(run: &Run, thread: usize, notes: &File, pause: Duration) {
    let metrics: Vec<_> = (0..METRICS).map(|at| run.metric(&metric(thread, at)).unwrap()).collect();
    for step in 0_i64.. {
        let row: Vec<_> =
            metrics.iter().enumerate().map(|(at, &id)| (id, value(thread, at, step))).collect();
        run.log(step, &row).unwrap();
        let note = || notes.write_all_at(&(step + 1).to_le_bytes(), 8 * thread as u64).unwrap();
        if logs_are_mapped() {
            note();
        }
        if step % BURST == 0 {
            if !logs_are_mapped() {
                // A row is safe once it is written.
                run.sync().unwrap();
                note();
            }
            thread::sleep(pause);
        }
    }
}

/// Not a test of its own: takes in logs and merges, over and over, until it is killed.
#[test]
fn carer() {
    let Ok(path) = std::env::var(ROLE) else { return };
    die_of_a_panic();
    die_with_the_parent();
    let lake = Lake::open(path).unwrap();
    for _round in 0_u64.. {
        lake.adopt(&mut |_, _| {}).unwrap();
        lake.compact(true, &mut |_, _| true).unwrap();
    }
}

/// A panic of any thread ends the process, so that the parent sees that it did not die of the kill.
fn die_of_a_panic() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        say(panic);
        process::abort();
    }));
}

/// Whatever becomes of the parent, nobody logs on.
fn die_with_the_parent() {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
}

/// This binary as a process that does what the test called `what` does.
fn spawn(what: &str, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("kills::{what}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills `child`, which must not have ended in another way before.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended by itself: {status}");
}

/// A process that logs until it is killed.
pub(crate) struct Victim {
    child: Child,
    pub(crate) run_id: String,
    notes: File,
}

impl Victim {
    /// Starts one that flushes and merges all the time.
    pub(crate) fn start(lake: &Path, run_id: &str) -> Self {
        Self::start_with_pause(lake, run_id, Duration::from_millis(10))
    }

    /// Starts one that rests for `pause` between two flushes. Its notes are beside the lake.
    fn start_with_pause(lake: &Path, run_id: &str, pause: Duration) -> Self {
        let path = lake.with_file_name(format!("{run_id}.notes"));
        let notes = File::create_new(&path).unwrap();
        notes.set_len(8 * THREADS as u64).unwrap();
        let role = format!("{}|{run_id}|{}|{}", lake.display(), path.display(), pause.as_millis());
        let notes = File::open(&path).unwrap();
        Self { child: spawn("victim", &role), run_id: run_id.to_owned(), notes }
    }

    pub(crate) fn noted(&self) -> Noted {
        let mut noted = [0; THREADS];
        for (thread, rows) in noted.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.notes.read_exact_at(&mut bytes, 8 * thread as u64).unwrap();
            *rows = i64::from_le_bytes(bytes);
        }
        noted
    }

    /// Waits until each thread has logged more than `rows` rows.
    pub(crate) fn wait_for_more_than(&self, rows: Noted) {
        let deadline = Instant::now() + PATIENCE;
        while self.noted().iter().zip(rows).any(|(now, then)| *now <= then) {
            assert!(Instant::now() < deadline, "{} stands still at {rows:?}", self.run_id);
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(mut self) -> (String, Noted) {
        kill(&mut self.child);
        let noted = self.noted();
        (self.run_id, noted)
    }
}

/// How many rows may be there that a thread had not noted yet.
fn unnoted() -> i64 {
    if logs_are_mapped() { 1 } else { BURST + 1 }
}

/// Asserts that every row of a run that was noted is there, whole and once, and at most one more of each thread: the
/// one that was logged and not noted yet. Returns how many points there are.
pub(crate) fn check(lake: &Lake, run_id: &str, noted: Noted, when: &str) -> usize {
    let snapshot = lake.snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0], "{run_id}, {when}");
    // Only this run is read: what a kill costs does not grow with the lake.
    let filter = Filter { runs: Some(vec![run_id.to_owned()]), ..Filter::default() };
    let mut series: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
    let points = points_of(&snapshot, &filter);
    let seen = points.len();
    for (_, metric, _, step, bits) in points {
        series.entry(metric).or_default().push((step, bits));
    }
    for (thread, noted) in noted.into_iter().enumerate() {
        let columns: Vec<_> = (0..METRICS)
            .map(|at| {
                let mut points = series.remove(&metric(thread, at)).unwrap_or_default();
                points.sort_unstable();
                let rows = points.len() as i64;
                let expected = (0..rows).map(|step| (step, value(thread, at, step).to_bits()));
                assert!(
                    points.iter().copied().eq(expected),
                    "{run_id}, {when}: thread {thread} lost a row, or one is there twice or changed"
                );
                rows
            })
            .collect();
        assert_eq!(columns, [columns[0]; METRICS], "{run_id}, {when}: a row is there in part");
        assert!(
            (noted..=noted + unnoted()).contains(&columns[0]),
            "{run_id}, {when}: thread {thread} logged {noted} rows, {} are there",
            columns[0]
        );
    }
    assert!(series.is_empty(), "{run_id}, {when}: nobody logged {series:?}");
    seen
}

/// As [`check`], for a run whose process is gone; says whether the run is known: it may have died before it began.
fn check_crashed(lake: &Lake, run_id: &str, noted: Noted) -> (usize, bool) {
    let seen = check(lake, run_id, noted, "as the kill left it");
    let run = lake.snapshot().unwrap().find_run(run_id);
    if matches!(run, Err(Error::Unknown { .. })) {
        assert_eq!(seen, 0, "a run that has rows is known");
        return (seen, false);
    }
    assert_eq!(run.unwrap().state, State::Crashed, "{run_id}");
    (seen, true)
}

/// Numbers from a seed: the same instants in every test run.
struct Instants(u64);

impl Instants {
    const fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % limit.as_micros() as u64)
    }
}

pub(crate) fn lake_in(folder: &Path) -> (PathBuf, Lake) {
    let path = folder.join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    (path, lake)
}

/// How many segments killed processes have left half made.
fn left_behind(path: &Path) -> usize {
    let staging = |table: &str| fs::read_dir(path.join("tables").join(table).join("_staging"));
    ["points", "facts"].into_iter().filter_map(|table| staging(table).ok()).flatten().count()
}

/// The folders of writers. One that a kill left half made holds no row and keeps its temporary name for an hour, since
/// its writer might be about to rename it.
fn folders_left(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.join("log")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Takes in what the dead left, merges, and removes what was replaced.
pub(crate) fn care(lake: &Lake) {
    lake.adopt(&mut |_, _| {}).unwrap();
    let compacted = lake.compact(true, &mut |_, _| true).unwrap();
    assert_eq!(compacted.problems, [""; 0]);
}

#[test]
fn killed_writers_lose_nothing_and_double_nothing() {
    let rounds = kills().div_ceil(2);
    let folder = tempfile::tempdir().unwrap();
    let (path, lake) = lake_in(folder.path());
    let mut instants = Instants::new();
    let mut runs = Vec::new();
    let (mut total, mut crashed, mut while_writing) = (0, 0, 0);
    for round in 0..rounds {
        // Two at once, so that their commits meet. From "before the first row" to "after many flushes and merges".
        let victims = ["a", "b"].map(|name| Victim::start(&path, &format!("{round}{name}")));
        thread::sleep(instants.below(Duration::from_millis(160)));
        if round % 4 == 3 {
            care(&lake);
        }
        let before = left_behind(&path);
        for victim in victims {
            thread::sleep(instants.below(Duration::from_millis(40)));
            let (run_id, noted) = victim.kill();
            let (seen, is_known) = check_crashed(&lake, &run_id, noted);
            total += seen;
            crashed += u64::from(is_known);
            runs.push((run_id, noted, seen));
        }
        // A segment that no commit came for stays where it was written.
        while_writing += u64::from(left_behind(&path) > before);
        if round % 4 == 3 || round + 1 == rounds {
            care(&lake);
            for (run_id, noted, seen) in runs.iter().rev().take(8) {
                assert_eq!(check(&lake, run_id, *noted, "after adoption"), *seen);
            }
            if logs_are_mapped() {
                assert_eq!(folders_left(&path), [""; 0], "dead folders are gone");
            }
        }
    }
    let lake = Lake::open(&path).unwrap();
    for (run_id, noted, seen) in &runs {
        assert_eq!(check(&lake, run_id, *noted, "at the end"), *seen);
    }
    let snapshot = lake.snapshot().unwrap();
    let rows: u64 = snapshot.segments().iter().map(|segment| segment.rows).sum();
    assert_eq!((rows, snapshot.tail().len()), (total as u64, 0), "all runs together, once");
    println!(
        "{} kills, in {while_writing} of {rounds} rounds while a segment was written: {total} points, 0 lost, 0 twice; \
         {crashed} runs read as crashed, the others were killed before they began",
        runs.len()
    );
}

#[test]
fn whoever_is_killed_while_it_takes_in_or_merges_leaves_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lake) = lake_in(folder.path());
    let mut instants = Instants::new();
    let mut runs = Vec::new();
    let mut total = 0;
    let rounds = kills().div_ceil(4);
    for round in 0..rounds {
        let victim = Victim::start(&path, &format!("r{round}"));
        victim.wait_for_more_than([100; THREADS]);
        let (run_id, noted) = victim.kill();
        total += check(&lake, &run_id, noted, "before");
        let mut carer = spawn("carer", path.to_str().unwrap());
        thread::sleep(instants.below(Duration::from_millis(60)));
        kill(&mut carer);
        check(&lake, &run_id, noted, "after the adopter was killed");
        runs.push((run_id, noted));
    }
    care(&lake);
    for (run_id, noted) in runs {
        check(&lake, &run_id, noted, "at the end");
    }
    assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
    println!("{rounds} adopters were killed: {total} points, 0 lost, 0 twice");
}

#[test]
fn a_stopped_writer_holds_up_nobody_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lake) = lake_in(folder.path());
    let mut instants = Instants::new();
    let rounds = kills().div_ceil(12);
    let mut total = 0;
    for round in 0..rounds {
        let stopped = Victim::start(&path, &format!("{round} stopped"));
        stopped.wait_for_more_than([0; THREADS]);
        thread::sleep(instants.below(Duration::from_millis(40)));
        stopped.signal(Signal::STOP);

        // Others log, flush, commit and are taken in; whoever reads sees all of them, and what the stopped one logged.
        let others = ["a", "b"].map(|name| Victim::start(&path, &format!("{round}{name}")));
        for other in &others {
            other.wait_for_more_than([200; THREADS]);
        }
        let noted = stopped.noted();
        check(&lake, &stopped.run_id, noted, "while it is stopped");
        assert_eq!(
            lake.snapshot().unwrap().find_run(&stopped.run_id).unwrap().state,
            State::Running,
            "who is stopped lives"
        );
        let others = others.map(|other| {
            let (run_id, noted) = other.kill();
            let (seen, _) = check_crashed(&lake, &run_id, noted);
            (run_id, noted, seen)
        });
        care(&lake);
        for (run_id, noted, seen) in &others {
            assert_eq!(check(&lake, run_id, *noted, "taken in"), *seen);
            total += seen;
        }
        assert_eq!(stopped.noted(), noted, "it was stopped all the time");
        check(&lake, &stopped.run_id, noted, "after the others were taken in");

        stopped.signal(Signal::CONT);
        stopped.wait_for_more_than(noted.map(|rows| rows + 100));
        let (run_id, noted) = stopped.kill();
        total += check_crashed(&lake, &run_id, noted).0;
        care(&lake);
        check(&lake, &run_id, noted, "taken in");
    }
    assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
    println!("{rounds} writers were stopped and went on: {total} points, 0 lost, 0 twice");
}

#[test]
fn thirty_two_writers_at_once_share_a_lake_while_some_of_them_are_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lake) = lake_in(folder.path());
    // So many share the processors: with less rest they would do nothing but flush.
    let pause = Duration::from_millis(400);
    let start = |at| Victim::start_with_pause(&path, &format!("w{at}"), pause);
    let victims: Vec<_> = (0..32).map(start).collect();
    let (stopped, living) = victims.split_at(8);
    for victim in &victims {
        victim.wait_for_more_than([0; THREADS]);
    }
    for victim in stopped {
        victim.signal(Signal::STOP);
    }
    for victim in living {
        victim.wait_for_more_than(victim.noted());
    }
    for victim in stopped {
        check(&lake, &victim.run_id, victim.noted(), "stopped among others");
    }
    let killed: Vec<_> = victims.into_iter().map(Victim::kill).collect();
    let mut total = 0;
    for (run_id, noted) in &killed {
        total += check_crashed(&lake, run_id, *noted).0;
    }
    care(&lake);
    for (run_id, noted) in killed {
        check(&lake, &run_id, noted, "taken in");
    }
    assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
}
