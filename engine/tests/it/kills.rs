//! A process that is killed at any moment loses nothing that it published, and nothing of it is seen twice.
//!
//! The child is this test binary again, told by an environment variable what to be. It writes the number of each row
//! to its standard output *after* `log` returned; the parent kills it and compares.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use runlake_engine::{Filter, Lake, LakeOptions, State};

use crate::{points, points_of};

const ROLE: &str = "RUNLAKE_TEST_ROLE";
const THREADS: u64 = 4;

/// Not a test of its own: what the child of the others does. Without the variable it has nothing to do.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (path, run_id) = role.split_once('|').unwrap();
    let mut options = LakeOptions::default();
    options.sync_every_ms = 20;
    let lake = options.open(path).unwrap();
    let run = lake.run("p").id(run_id).start().unwrap();
    std::thread::scope(|scope| {
        // One flush after another, so that many kills come while one is under way.
        scope.spawn(|| {
            for pause in std::iter::repeat(Duration::from_millis(10)) {
                lake.flush().unwrap();
                std::thread::sleep(pause);
            }
        });
        for thread in 0..THREADS {
            let run = run.clone();
            scope.spawn(move || {
                let metric = run.metric(&format!("m{thread}")).unwrap();
                for step in 0.. {
                    run.log(step, &[(metric, step as f64)]).unwrap();
                    // One write of 16 bytes to a pipe is atomic: a number that arrives was logged before.
                    let mut word = [0; 16];
                    word[..8].copy_from_slice(&thread.to_le_bytes());
                    word[8..].copy_from_slice(&step.to_le_bytes());
                    std::io::stdout().lock().write_all(&word).unwrap();
                    if step % 64 == 0 {
                        std::io::stdout().lock().flush().unwrap();
                    }
                }
            });
        }
    });
}

fn spawn(path: &Path, run_id: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kills::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{}|{run_id}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child after `after`, and returns for each thread how many rows it said it had logged.
fn kill(mut child: Child, after: Duration) -> [i64; THREADS as usize] {
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let bytes = reader.join().unwrap();
    let mut logged = [0; THREADS as usize];
    // The harness prints a few lines first; the words start at the first one that makes sense for thread and step 0.
    let start = bytes
        .windows(16)
        .position(|word| word[..8].iter().all(|b| *b < THREADS as u8) && word[1..] == [0; 15]);
    for word in start.map(|start| bytes[start..].chunks_exact(16)).into_iter().flatten() {
        let thread = u64::from_le_bytes(word[..8].try_into().unwrap());
        let step = i64::from_le_bytes(word[8..].try_into().unwrap());
        assert!(thread < THREADS, "the stream of words is in step");
        logged[thread as usize] = logged[thread as usize].max(step + 1);
    }
    logged
}

fn check(lake: &Lake, run_id: &str, logged: &[i64], when: &str) -> usize {
    let snapshot = lake.snapshot().unwrap();
    assert_eq!(snapshot.problems(), [""; 0], "{when}");
    let mut seen = 0;
    // Only this run is read: what a kill costs does not grow with the lake.
    let filter = Filter { runs: Some(vec![run_id.to_owned()]), ..Filter::default() };
    let points = points_of(&snapshot, &filter);
    for (thread, &least) in logged.iter().enumerate() {
        let metric = format!("m{thread}");
        let mut steps: Vec<i64> =
            points.iter().filter(|point| point.1 == metric).map(|point| point.3).collect();
        steps.sort_unstable();
        assert!(
            steps.iter().copied().eq(0..steps.len() as i64),
            "{when}: thread {thread} lost a row or has one twice"
        );
        assert!(
            steps.len() as i64 >= least,
            "{when}: thread {thread} logged {least} rows, {} are there",
            steps.len()
        );
        seen += steps.len();
    }
    seen
}

#[test]
fn killed_writers_lose_nothing_and_double_nothing() {
    let kills: u64 =
        std::env::var("RUNLAKE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    // Runs whose writers wait to be adopted.
    let mut waiting = Vec::new();
    // A fixed sequence of instants from "before the first row" to "after many flushes".
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut total, mut crashed, mut while_flushing, mut staged) = (0, 0, 0, 0);
    for kill_number in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let run_id = format!("r{kill_number}");
        let logged = kill(spawn(&path, &run_id), Duration::from_millis(random % 250));
        let seen = check(&lake, &run_id, &logged, "as the kill left it");
        if let Ok(run) = lake.snapshot().unwrap().find_run(&run_id) {
            assert_eq!(run.state, State::Crashed);
            crashed += 1;
        } else {
            assert_eq!(seen, 0, "a run that has rows is known");
        }
        // A segment that no commit came for stays where it was written.
        let left = segments_left(&path);
        while_flushing += u64::from(left > staged);
        staged = left;
        total += seen;
        waiting.push((run_id, logged, seen));
        if waiting.len() == 4 || kill_number + 1 == kills {
            lake.adopt(&mut |_, _| {}).unwrap();
            for (run_id, logged, seen) in waiting.drain(..) {
                assert_eq!(check(&lake, &run_id, &logged, "after adoption"), seen);
            }
            assert_eq!(folders_left(&path), [""; 0], "dead folders are gone");
        }
    }
    let snapshot = lake.snapshot().unwrap();
    let rows: u64 = snapshot.segments().iter().map(|segment| segment.rows).sum();
    assert_eq!((rows, snapshot.tail().len()), (total as u64, 0), "all runs together, once");
    println!(
        "{kills} kills, {while_flushing} of them while a segment was written, {total} rows: 0 lost, 0 twice; {crashed} \
         runs read as crashed, {} were killed before they began",
        kills - crashed
    );
}

/// The folders of writers. One that a kill left half made holds no row and keeps its temporary name for an hour, since
/// its writer might be about to rename it.
fn folders_left(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.join("log")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// How many segments killed flushes have left half made.
fn segments_left(path: &Path) -> usize {
    let staging = |table: &str| std::fs::read_dir(path.join("tables").join(table).join("_staging"));
    ["points", "facts"].into_iter().filter_map(|table| staging(table).ok()).flatten().count()
}

#[test]
fn an_adopter_that_is_killed_leaves_every_row_where_the_next_one_finds_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    let mut total = 0;
    for round in 0..6_u64 {
        let run_id = format!("r{round}");
        let logged = kill(spawn(&path, &run_id), Duration::from_millis(150));
        total += check(&lake, &run_id, &logged, "before");
        let mut adopter = Command::new(std::env::current_exe().unwrap())
            .args(["kills::adopter", "--exact", "--nocapture"])
            .env(ROLE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + round * 7));
        adopter.kill().unwrap();
        adopter.wait().unwrap();
        check(&lake, &run_id, &logged, "after the adopter was killed");
        assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
    }
    lake.adopt(&mut |_, _| {}).unwrap();
    assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
}

/// What the child of the test above does.
#[test]
fn adopter() {
    let Ok(path) = std::env::var(ROLE) else { return };
    Lake::open(path).unwrap().adopt(&mut |_, _| {}).unwrap();
}

#[test]
fn thirty_two_writers_at_once_share_a_lake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.lake");
    let lake = Lake::open_or_create(&path).unwrap();
    let children: Vec<_> =
        (0..32).map(|at| (format!("w{at}"), spawn(&path, &format!("w{at}")))).collect();
    std::thread::sleep(Duration::from_millis(500));
    // Their pipes are full by now; each child waits in the middle of its work when it is killed.
    let mut total = 0;
    for (run_id, child) in children {
        let logged = kill(child, Duration::ZERO);
        total += check(&lake, &run_id, &logged, "killed among others");
    }
    lake.adopt(&mut |_, _| {}).unwrap();
    assert_eq!(points(&lake.snapshot().unwrap()).len(), total);
}
