//! Hosts that share a lake: what one sees of writers on another, and when it takes in their logs.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use runlake_engine::{Flushed, Lake, LakeOptions, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::points;

const NODE_1: (&str, &str) = ("node1", "11111111-67fd-4c42-9109-ac13300d5154");
const NODE_2: (&str, &str) = ("node2", "22222222-67fd-4c42-9109-ac13300d5154");

fn open(path: &Path, (name, boot_id): (&str, &str)) -> Lake {
    let mut options = LakeOptions::default();
    (options.create, options.host) = (true, Some((name.to_owned(), boot_id.to_owned())));
    options.open(path).unwrap()
}

/// The folders of writers.
fn writers(lake: &Path) -> Vec<PathBuf> {
    fs::read_dir(lake.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A lake in which a run on `host` stopped in the middle, and the folder of its writer.
fn left_on(host: (&str, &str)) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = open(&path, host);
    let run = lake.run("p").id("r").start().unwrap();
    for step in 0..100 {
        run.log_named(step, &[("loss", 0.5)]).unwrap();
    }
    drop((run, lake));
    let writer = writers(&path).remove(0);
    (folder, path, writer)
}

/// Puts a heartbeat so many seconds ago, by a clock that is right.
fn beat(writer: &Path, count: u64, ago: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let bytes = [count.to_le_bytes(), (now - ago * 1_000_000).to_le_bytes()].concat();
    fs::write(writer.join("BEAT"), bytes).unwrap();
}

fn state(lake: &Lake) -> State {
    lake.snapshot().unwrap().find_run("r").unwrap().state
}

fn adopt(lake: &Lake, gone: &[&str]) -> Flushed {
    let gone: Vec<String> = gone.iter().map(|&host| host.to_owned()).collect();
    lake.adopt_hosts(&gone, &mut |_, _| {}).unwrap()
}

/// Asserts that the hundred rows are there, once, and whether a segment holds them.
fn check(path: &Path, adopted: bool) {
    let snapshot = open(path, NODE_2).snapshot().unwrap();
    let mut steps: Vec<i64> = points(&snapshot).iter().map(|point| point.3).collect();
    steps.sort_unstable();
    assert!(steps.into_iter().eq(0..100), "every row once");
    assert_eq!((snapshot.tail().is_empty(), snapshot.problems()), (adopted, &[][..]));
    assert_eq!(writers(path).is_empty(), adopted);
}

#[test]
fn the_state_of_a_run_on_another_host_follows_from_its_heartbeat() {
    let (_folder, path, writer) = left_on(NODE_1);
    // Its lock is free; here that says that it is dead, elsewhere it says nothing.
    assert_eq!(state(&open(&path, NODE_1)), State::Crashed);
    assert_eq!(state(&open(&path, NODE_2)), State::Running, "it was here a moment ago");
    for (ago, state_then) in [
        (5, State::Running),
        (60, State::Unknown),
        (-60, State::Unknown),
        (3600, State::Unknown),
        (3 * 3600, State::Crashed),
    ] {
        beat(&writer, 1, ago);
        assert_eq!(state(&open(&path, NODE_2)), state_then, "{ago} s ago");
    }
    // Its clock is hours behind, but it lives.
    let watching = open(&path, NODE_2);
    assert_eq!(state(&watching), State::Crashed);
    beat(&writer, 2, 3 * 3600);
    assert_eq!(state(&watching), State::Running);
    assert_eq!(watching.health().unwrap().alive.len(), 1);
}

#[test]
fn the_log_of_another_host_is_taken_in_on_request_only_and_never_while_its_heart_beats() {
    let (_folder, path, writer) = left_on(NODE_1);
    let lake = open(&path, NODE_2);
    beat(&writer, 1, 7 * 24 * 3600);
    assert_eq!(adopt(&lake, &[]), Flushed::default());
    assert_eq!(adopt(&lake, &["node3"]), Flushed::default());
    check(&path, false);
    let silent = &lake.health().unwrap().silent;
    assert_eq!((silent.len(), silent[0].host.as_str()), (1, "node1"));
    beat(&writer, 2, 7 * 24 * 3600);
    assert_eq!(adopt(&lake, &["node1"]), Flushed::default(), "it lives");
    check(&path, false);
    // For one that comes now it is silent.
    assert_eq!(adopt(&open(&path, NODE_2), &["node1"]).adopted, 1);
    check(&path, true);
    assert_eq!(state(&lake), State::Crashed);
}

#[test]
fn after_a_boot_a_host_takes_in_what_it_left_but_not_what_another_of_its_name_writes() {
    let (_folder, path, writer) = left_on(NODE_1);
    let again = ("node1", NODE_2.1);
    assert_eq!(state(&open(&path, again)), State::Running, "a host of that name lives");
    assert_eq!(adopt(&open(&path, again), &[]), Flushed::default());
    // As if all had been written before this host was booted.
    let owner = fs::read_to_string(writer.join("owner.json")).unwrap();
    let mut owner: serde_json::Value = serde_json::from_str(&owner).unwrap();
    owner["created_us"] = 0.into();
    fs::write(writer.join("owner.json"), owner.to_string()).unwrap();
    beat(&writer, 7, 100 * 365 * 24 * 3600);
    assert_eq!(state(&open(&path, again)), State::Crashed);
    check(&path, false);
    assert_eq!(adopt(&open(&path, again), &[]).adopted, 1);
    check(&path, true);
}

#[test]
fn a_writer_whose_host_was_given_up_although_it_lives_goes_on_in_another_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = open(&path, NODE_1);
    let run = lake.run("p").id("r").start().unwrap();
    let log = |steps: std::ops::Range<i64>| {
        steps.for_each(|step| run.log_named(step, &[("loss", 0.5)]).unwrap());
    };
    log(0..100);
    let writer = writers(&path).remove(0);
    // It was cut off for a minute, and its lock says nothing over there.
    beat(&writer, 0, 60);
    fs::remove_file(writer.join("LOCK")).unwrap();
    File::create(writer.join("LOCK")).unwrap();
    assert_eq!(adopt(&open(&path, NODE_2), &["node1"]).adopted, 1);
    assert!(!writer.exists());
    lake.flush().unwrap();
    log(100..200);
    assert_eq!((writers(&path).len(), seen_from(&path, NODE_1)), (1, 200));
    assert_eq!(state(&open(&path, NODE_2)), State::Running);
    lake.flush().unwrap();
    drop((run, lake));
    assert_eq!(seen_from(&path, NODE_2), 200);
}

const ROLE: &str = "RUNLAKE_TEST_HOSTS";

/// Not a test of its own: logs until it is killed, and notes how many rows `log` has returned from.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    let lake = open(&path, NODE_1);
    let notes = File::options().write(true).open(path.with_file_name("notes")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let loss = run.metric("loss").unwrap();
    for step in 0_i64.. {
        run.log(step, &[(loss, step as f64)]).unwrap();
        notes.write_all_at(&(step + 1).to_le_bytes(), 0).unwrap();
        if step % 16 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A process that is killed when the test ends, however it ends.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_living_writer_that_a_lying_lock_calls_dead_loses_its_log_but_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = open(&path, NODE_1);
    fs::write(folder.path().join("notes"), [0; 8]).unwrap();
    let notes = File::open(folder.path().join("notes")).unwrap();
    let noted = || {
        let mut bytes = [0; 8];
        notes.read_exact_at(&mut bytes, 0).unwrap();
        i64::from_le_bytes(bytes)
    };
    let victim = Command::new(std::env::current_exe().unwrap())
        .args(["hosts::victim", "--exact", "--nocapture"])
        .env(ROLE, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let victim = Victim(victim);
    let signal = |signal| kill_process(Pid::from_child(&victim.0), signal).unwrap();
    let wait_for_more_than = |rows: i64| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while noted() <= rows {
            assert!(Instant::now() < deadline, "it stands still at {rows}");
            thread::sleep(Duration::from_millis(1));
        }
    };
    let check = |when: &str| {
        let snapshot = lake.snapshot().unwrap();
        assert_eq!(snapshot.problems(), [""; 0]);
        let mut steps: Vec<i64> = points(&snapshot).iter().map(|point| point.3).collect();
        steps.sort_unstable();
        let rows = steps.len() as i64;
        assert!(steps.into_iter().eq(0..rows), "{when}: a row is lost, or there twice");
        rows
    };
    for round in 0..8 {
        wait_for_more_than(noted() + 50 + round * 7);
        signal(Signal::STOP);
        let before = writers(&path);
        let [writer] = before.as_slice() else { panic!("{before:?}") };
        // From here on whoever asks for the lock of this writer gets it.
        fs::remove_file(writer.join("LOCK")).unwrap();
        File::create(writer.join("LOCK")).unwrap();
        assert_eq!(adopt(&lake, &[]).adopted, 1);
        assert!(!writer.exists());
        let there = check("taken in");
        // The row at which it was stopped may be there before it is noted.
        assert!((noted()..=noted() + 1).contains(&there));
        signal(Signal::CONT);
        wait_for_more_than(there + 50);
        assert_eq!(state(&lake), State::Running, "it says again that it runs");
        assert!(check("gone on") >= there + 50);
    }
    let last = noted();
    drop(victim);
    assert!(check("killed") >= last);
    assert_eq!(state(&lake), State::Crashed);
}

/// Opens the lake on `host` with its logs in `log_dir`.
fn open_with_logs_in(log_dir: &Path, path: &Path, host: (&str, &str)) -> Lake {
    let mut options = LakeOptions::default();
    (options.create, options.host) = (true, Some((host.0.to_owned(), host.1.to_owned())));
    options.log_dir = Some(log_dir.to_owned());
    options.open(path).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many points a reader on `host` sees.
fn seen_from(path: &Path, host: (&str, &str)) -> usize {
    let snapshot = open(path, host).snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0]);
    points(&snapshot).len()
}

#[test]
fn logs_on_a_disk_of_the_host_are_read_and_taken_in_there_and_left_alone_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = (folder.path().join("runs.lake"), folder.path().join("disk"));
    let lake = open_with_logs_in(&disk, &path, NODE_1);
    let run = lake.run("p").id("r").start().unwrap();
    let log = |steps: std::ops::Range<i64>| {
        steps.for_each(|step| run.log_named(step, &[("loss", 0.5)]).unwrap());
    };
    log(0..100);
    let writer = writers(&path).remove(0);
    assert_eq!(names(&writer), ["BEAT", "owner.json"]);
    let logs = disk.join(writer.file_name().unwrap());
    assert_eq!(names(&logs), ["000001.log", "LOCK", "owner.json"]);
    assert_eq!((seen_from(&path, NODE_1), seen_from(&path, NODE_2)), (100, 0));
    assert_eq!(state(&open(&path, NODE_1)), State::Running);
    lake.flush().unwrap();
    log(100..150);
    assert_eq!((seen_from(&path, NODE_1), seen_from(&path, NODE_2)), (150, 100));
    assert_eq!(state(&open(&path, NODE_2)), State::Running);
    let alive = open(&path, NODE_2).health().unwrap().alive;
    let process = std::process::id();
    assert_eq!(alive, [format!("node1, process {process}, its log in {}", logs.display())]);
    assert_eq!(adopt(&open(&path, NODE_1), &[]), Flushed::default(), "it lives");

    drop((run, lake));
    assert_eq!(state(&open(&path, NODE_1)), State::Crashed);
    assert_eq!(adopt(&open(&path, NODE_2), &["node1"]), Flushed::default(), "it may live");
    beat(&writer, 9, 60);
    assert_eq!(state(&open(&path, NODE_2)), State::Unknown);
    assert_eq!(adopt(&open(&path, NODE_2), &[]), Flushed::default());
    assert_eq!(seen_from(&path, NODE_1), 150);
    assert_eq!(adopt(&open(&path, NODE_1), &[]).adopted, 1);
    assert_eq!((seen_from(&path, NODE_1), seen_from(&path, NODE_2)), (150, 150));
    assert_eq!((names(&disk), writers(&path)), (Vec::new(), Vec::new()));
    // Who logs nothing leaves nothing.
    let lake = open_with_logs_in(&disk, &path, NODE_1);
    let run = lake.run("p").id("resumed").start().unwrap();
    assert_eq!(names(&disk).len(), 1);
    lake.flush().unwrap();
    drop((run, lake));
    assert_eq!((names(&disk), writers(&path)), (Vec::new(), Vec::new()));
}

#[test]
fn a_log_that_went_away_with_its_host_is_forgotten_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = (folder.path().join("runs.lake"), folder.path().join("disk"));
    let lake = open_with_logs_in(&disk, &path, NODE_1);
    let run = lake.run("p").id("r").start().unwrap();
    run.log_named(0, &[("loss", 0.5)]).unwrap();
    lake.flush().unwrap();
    run.log_named(1, &[("loss", 0.5)]).unwrap();
    drop((run, lake));
    fs::remove_dir_all(&disk).unwrap();
    let writer = writers(&path).remove(0);
    beat(&writer, 9, 60);
    // Perhaps it is there in another container of this host.
    assert_eq!(state(&open(&path, NODE_1)), State::Unknown);
    assert_eq!(adopt(&open(&path, NODE_1), &[]), Flushed::default());
    assert!(writer.exists());
    assert_eq!(adopt(&open(&path, NODE_2), &["node1"]).adopted, 1);
    assert_eq!(writers(&path), Vec::<PathBuf>::new());
    assert_eq!(state(&open(&path, NODE_2)), State::Crashed);
    assert_eq!(seen_from(&path, NODE_2), 1, "what was flushed");
}

#[test]
fn a_damaged_log_on_another_filesystem_is_put_aside_in_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no /dev/shm");
        return;
    };
    let path = folder.path().join("runs.lake");
    let lake = open_with_logs_in(memory.path(), &path, NODE_1);
    let run = lake.run("p").id("r").start().unwrap();
    for step in 0..100 {
        run.log_named(step, &[("loss", 0.5)]).unwrap();
    }
    drop((run, lake));
    let logs = memory.path().join(writers(&path).remove(0).file_name().unwrap());
    let log = File::options().write(true).open(logs.join("000001.log")).unwrap();
    // In the value of the last row.
    let bytes = fs::read(logs.join("000001.log")).unwrap();
    let published = u32::from_le_bytes(bytes[4096..4100].try_into().unwrap());
    log.write_all_at(&[0xFF], 8192 + u64::from(published) - 3).unwrap();
    let lake = open(&path, NODE_1);
    assert_eq!(adopt(&lake, &[]).adopted, 1);
    assert_eq!(points(&lake.snapshot().unwrap()).len(), 99);
    assert_eq!(lake.health().unwrap().quarantined.len(), 1);
    assert_eq!(names(memory.path()), [""; 0]);
}

#[test]
fn a_path_that_somebody_planted_leads_to_nothing_that_is_not_a_log_of_that_writer() {
    let (folder, path, writer) = left_on(NODE_1);
    let id = writer.file_name().unwrap().to_str().unwrap();
    let owner = fs::read_to_string(writer.join("owner.json")).unwrap();
    let log = fs::read(writer.join("000001.log")).unwrap();
    fs::remove_dir_all(&writer).unwrap();
    // What looks like a log in folders that are not this writer's.
    let precious = folder.path().join("precious");
    let named = folder.path().join("named").join(id);
    let other = folder.path().join("other").join(id);
    for folder in [&precious, &named, &other] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("LOCK"), "").unwrap();
        fs::write(folder.join("000001.log"), &log).unwrap();
        fs::write(folder.join(".x.tmp"), "").unwrap();
    }
    fs::write(other.join("owner.json"), &owner).unwrap();
    for logs in [
        precious.clone(),
        named.clone(),
        other.clone(),
        folder.path().join("named/../other").join(id),
        PathBuf::from("../../../named").join(id),
    ] {
        let mut owner: serde_json::Value = serde_json::from_str(&owner).unwrap();
        owner["logs"] = logs.to_str().into();
        fs::create_dir_all(&writer).unwrap();
        fs::write(writer.join("owner.json"), owner.to_string()).unwrap();
        assert_eq!(seen_from(&path, NODE_1), 0, "{}", logs.display());
        adopt(&open(&path, NODE_1), &[]);
        adopt(&open(&path, NODE_1), &["node1"]);
        adopt(&open(&path, NODE_2), &["node1"]);
        for folder in [&precious, &named, &other] {
            assert!(folder.join("LOCK").exists() && folder.join(".x.tmp").exists());
            assert_eq!(fs::read(folder.join("000001.log")).unwrap(), log);
        }
    }
}
