//! Proofs that threads and processes share a log without losing, doubling or tearing a row.
//!
//! Each test is a small program over the code that ships, of which loom runs every interleaving within the bound that it
//! names, with every value that the memory model lets an atomic show (C11, as far as
//! [loom](https://docs.rs/loom/0.7) has it: no load buffering). With `--cfg shuttle` the same programs run larger, in as
//! many random interleavings as `RUNLAKE_SCHEDULES` says. Files are real ones; a block has 256 bytes and a file two.
//!
//! ```text
//! RUSTFLAGS="--cfg proof"               cargo test -p runlake-engine --lib proofs
//! RUSTFLAGS="--cfg proof --cfg shuttle" cargo test -p runlake-engine --lib proofs
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[cfg(not(shuttle))]
use ::loom::thread;
#[cfg(shuttle)]
use ::shuttle::thread;

use super::{
    HEADER_BYTES, LogFile, Mode, NO_LABELS, Passed, TAIL_STRIDE, blocks_start,
    concurrent::FileExt as _,
    file_bytes, file_name, file_number,
    frame::{self, Frame, Next, Read, RowShape, Space},
    memory::{Memory, Sealed},
    reader::{LogReader, Tails},
    watermark, watermark_within,
    writer::{NotKept, Settings, Writer},
};
use crate::{
    MetricId, disk,
    names::{Names, RunName},
};

/// How often a thread may be interrupted in favour of another one. Most faults of this kind need one or two.
#[derive(Debug, Clone, Copy)]
enum Interrupted {
    AnyNumber,
    AtMost(usize),
}

#[cfg(not(shuttle))]
fn explore(interrupted: Interrupted, program: impl Fn() + Send + Sync + 'static) {
    let mut checker = ::loom::model::Builder::new();
    checker.max_branches = 100_000;
    if let Interrupted::AtMost(times) = interrupted {
        // A number in LOOM_MAX_PREEMPTIONS takes its place.
        checker.preemption_bound = checker.preemption_bound.or(Some(times));
    }
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    checker.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        program();
    });
    println!("{} interleavings, {interrupted:?}", runs.load(std::sync::atomic::Ordering::Relaxed));
}

#[cfg(shuttle)]
fn explore(_: Interrupted, program: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("RUNLAKE_SCHEDULES").map_or(3000, |said| said.parse().unwrap());
    ::shuttle::check_random(program, schedules);
    println!("{schedules} random interleavings");
}

/// A number for loom, and a larger one for shuttle.
const fn size(exhaustive: usize, random: usize) -> usize {
    if cfg!(shuttle) { random } else { exhaustive }
}

/// A lake's folder that is gone at the end.
struct Lake {
    folder: tempfile::TempDir,
    names: Arc<Names>,
    run: u32,
    metric: MetricId,
    other: MetricId,
}

impl Lake {
    fn new() -> Arc<Self> {
        // In memory where there is such a place: a proof makes a hundred thousand lakes.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let names = Names::default();
        let launch = RunName { project: "p".into(), run_id: "r".into(), launch: "l".into() };
        let run = names.runs.id(&launch).unwrap();
        let [metric, other] = ["m", "n"].map(|name| MetricId(names.metrics.id(name).unwrap()));
        Arc::new(Self { folder, names: Arc::new(names), run, metric, other })
    }

    fn writer(&self) -> Arc<Writer> {
        self.writer_in(Mode::Mapped)
    }

    fn writer_in(&self, mode: Mode) -> Arc<Writer> {
        let settings = Settings { lake: 0, mode, spill_bytes: 1 << 20, max_block: Duration::ZERO };
        Writer::create(self.folder.path(), None, crate::os::Host::this(), settings, 0).unwrap()
    }

    /// Logs one row with this step.
    fn log(&self, writer: &Arc<Writer>, step: i64) -> Result<(), NotKept> {
        let points = [(self.metric, step as f64)];
        let row = Frame::Row { run: self.run, labels: NO_LABELS, step, time: 0, points: &points };
        writer.append(&self.names, &row).map(drop)
    }

    /// Logs one row of two metrics with this step: rows of one shape.
    fn log_pair(&self, writer: &Arc<Writer>, step: i64) {
        let points = [(self.metric, step as f64), (self.other, -step as f64)];
        let row = Frame::Row { run: self.run, labels: NO_LABELS, step, time: 0, points: &points };
        writer.append(&self.names, &row).expect("the disk takes it, and nobody adopts");
    }

    /// Logs the rows of one thread: steps of different threads differ.
    fn log_all(&self, writer: &Arc<Writer>, thread: usize, rows: usize) {
        for step in steps(thread, rows) {
            self.log(writer, step).expect("the disk takes it, and nobody adopts");
        }
    }
}

fn steps(thread: usize, rows: usize) -> impl Iterator<Item = i64> {
    (0..rows).map(move |row| (thread * 100 + row) as i64)
}

/// The log files of a writer, oldest first.
fn files(folder: &Path) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        disk::list(folder).unwrap().iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    numbers
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(file_name(number))
}

fn open(folder: &Path, number: u64) -> LogReader {
    LogReader::open(&path(folder, number)).unwrap().expect("it is there")
}

/// The steps that a read finds. Every row is whole and its names are known.
fn read(reader: &mut LogReader) -> Vec<i64> {
    let found = reader.read(Tails::Exact).unwrap();
    assert!(reader.problems().is_empty(), "{:?}", reader.problems());
    let points = &found.points;
    assert!(points.keys.iter().all(|key| (&*key.run_id, &*key.metric) == ("r", "m")));
    assert!(points.values.iter().zip(&points.steps).all(|(&value, &step)| value == step as f64));
    found.points.steps
}

fn read_files(folder: &Path, numbers: &[u64]) -> Vec<i64> {
    numbers.iter().flat_map(|&number| read(&mut open(folder, number))).collect()
}

/// The same rows, each once.
fn assert_each_once(mut found: Vec<i64>, expected: impl IntoIterator<Item = i64>) {
    found.sort_unstable();
    let mut expected: Vec<i64> = expected.into_iter().collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

fn memory(blocks: usize) -> Arc<Memory> {
    Arc::new(Memory::anonymous(file_bytes(blocks)).unwrap())
}

/// Appends frames of 16 bytes that are all 1, all 2 and so on; says how many were taken.
fn append_numbered(memory: &Arc<Memory>, blocks: usize, frames: u8) -> u8 {
    let Some(mut block) = memory.claim(blocks, 1) else { return 0 };
    for frame in 1..=frames {
        if block.append(16, |bytes| bytes.fill(frame)) == Err(Sealed) {
            return frame - 1;
        }
    }
    frames
}

/// Counts the frames in published bytes, which must be whole and in order.
fn count_numbered(bytes: &[u8]) -> u8 {
    let (frames, rest) = bytes.as_chunks::<16>();
    assert!(rest.is_empty());
    for (frame, number) in frames.iter().zip(1..) {
        assert_eq!(*frame, [number; 16]);
    }
    u8::try_from(frames.len()).unwrap()
}

#[test]
fn a_reader_finds_whole_frames_in_the_order_of_their_thread() {
    explore(Interrupted::AnyNumber, || {
        let memory = memory(1);
        let frames = size(3, 12) as u8;
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || append_numbered(&memory, 1, frames))
        };
        let first = count_numbered(memory.published(1, 0));
        let second = count_numbered(memory.published(1, 0));
        assert!(first <= second);
        assert_eq!(writer.join().unwrap(), frames);
        assert_eq!(count_numbered(memory.published(1, 0)), frames);
    });
}

#[test]
fn no_two_threads_get_the_same_block() {
    explore(Interrupted::AnyNumber, || {
        let threads = size(2, 6);
        let memory = memory(threads + 1);
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    let mut block = memory.claim(threads + 1, 1)?;
                    let number = u8::try_from(block.index()).unwrap();
                    block.append(16, |bytes| bytes.fill(number)).unwrap();
                    Some(block.index())
                })
            })
            .collect();
        let got: Vec<usize> = spawned
            .into_iter()
            .map(|thread| thread.join().unwrap().expect("there is room"))
            .collect();
        let different: BTreeSet<usize> = got.iter().copied().collect();
        assert_eq!(different.len(), threads);
        for block in got {
            let number = u8::try_from(block).unwrap();
            assert_eq!(memory.published(threads + 1, block), [number; 16]);
        }
        assert!(memory.claim(threads + 1, 2).is_none(), "one block is left");
    });
}

#[test]
fn what_is_published_when_a_seal_returns_is_final_and_what_was_refused_is_not_there() {
    explore(Interrupted::AnyNumber, || {
        let memory = memory(2);
        let frames = size(2, 10) as u8;
        let spawned: Vec<_> = (0..2)
            .map(|_| {
                let memory = Arc::clone(&memory);
                thread::spawn(move || append_numbered(&memory, 2, frames))
            })
            .collect();
        memory.seal(2);
        let count = |block| u32::from(count_numbered(memory.published(2, block)));
        let sealed = count(0) + count(1);
        let taken: u32 = spawned.into_iter().map(|thread| u32::from(thread.join().unwrap())).sum();
        assert_eq!(sealed, taken);
        assert_eq!(count(0) + count(1), sealed);
        assert!(memory.claim(2, 1).is_none());
    });
}

#[test]
fn two_that_seal_one_file_agree_on_what_is_in_it() {
    explore(Interrupted::AnyNumber, || {
        let memory = memory(1);
        let seal = {
            let memory = Arc::clone(&memory);
            move || {
                memory.seal(1);
                count_numbered(memory.published(1, 0))
            }
        };
        let other = thread::spawn(seal.clone());
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || append_numbered(&memory, 1, 2))
        };
        let mine = seal();
        let (theirs, taken) = (other.join().unwrap(), writer.join().unwrap());
        assert_eq!((mine, theirs), (taken, taken));
    });
}

/// A writer whose file is full: each thread that logs next must go on in another one.
fn full_writer(lake: &Lake) -> Arc<Writer> {
    let writer = lake.writer();
    let current = writer.current();
    while current.claim(1).is_some() {}
    writer
}

/// Logs `rows` rows from each of so many threads at once, this one among them.
fn log_at_once(lake: &Arc<Lake>, writer: &Arc<Writer>, threads: usize, rows: usize) {
    let spawned: Vec<_> = (1..threads)
        .map(|me| {
            let (lake, writer) = (Arc::clone(lake), Arc::clone(writer));
            thread::spawn(move || lake.log_all(&writer, me, rows))
        })
        .collect();
    lake.log_all(writer, 0, rows);
    spawned.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn threads_that_define_the_same_names_lose_and_double_nothing() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let (threads, rows) = (size(2, 4), size(2, 6));
        log_at_once(&lake, &writer, threads, rows);
        let found = read_files(&writer.folder, &files(&writer.folder));
        assert_each_once(found, (0..threads).flat_map(|me| steps(me, rows)));
    });
}

/// The steps of pairs in log files; both points of a row are there, in their order.
fn read_pairs(folder: &Path) -> Vec<i64> {
    let mut found = Vec::new();
    for number in files(folder) {
        let mut reader = open(folder, number);
        let points = reader.read(Tails::Exact).unwrap().points;
        assert!(reader.problems().is_empty(), "{:?}", reader.problems());
        for (at, (step, value)) in points.steps.iter().zip(&points.values).enumerate() {
            let (metric, sign) = [("m", 1.0), ("n", -1.0)][at % 2];
            assert_eq!(&*points.keys[points.series[at] as usize].metric, metric);
            assert_eq!(*value, sign * *step as f64);
        }
        found.extend(points.steps.iter().step_by(2));
    }
    found
}

#[test]
fn threads_that_give_one_shape_a_number_at_once_lose_and_double_nothing() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        lake.log_pair(&writer, -1);
        let rows = size(2, 9);
        let other = {
            let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
            thread::spawn(move || steps(1, rows).for_each(|step| lake.log_pair(&writer, step)))
        };
        steps(0, rows).for_each(|step| lake.log_pair(&writer, step));
        let during = read_pairs(&writer.folder);
        assert!(steps(0, rows).all(|step| during.contains(&step)), "what this thread logged");
        other.join().unwrap();
        let logged = steps(0, rows).chain(steps(1, rows)).chain([-1]);
        assert_each_once(read_pairs(&writer.folder), logged);
    });
}

#[test]
fn a_stream_holds_a_shape_before_the_rows_that_need_it() {
    explore(Interrupted::AtMost(1), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        let rows = size(2, 9);
        let other = {
            let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
            thread::spawn(move || steps(1, rows).for_each(|step| lake.log_pair(&writer, step)))
        };
        writer.write().unwrap();
        let first = read_pairs(&writer.folder);
        other.join().unwrap();
        writer.write().unwrap();
        assert!(read_streams(&writer.folder).starts_with(&first), "what was written stays");
        assert_eq!(read_pairs(&writer.folder), steps(1, rows).collect::<Vec<_>>());
    });
}

#[test]
fn threads_that_roll_over_at_once_lose_and_double_nothing() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = full_writer(&lake);
        let (threads, rows) = (size(2, 4), size(2, 9));
        log_at_once(&lake, &writer, threads, rows);
        let numbers = files(&writer.folder);
        assert!(
            cfg!(shuttle) || numbers == [1, 2],
            "one of the threads has rolled over: {numbers:?}"
        );
        let found = read_files(&writer.folder, &numbers);
        assert_each_once(found, (0..threads).flat_map(|me| steps(me, rows)));
    });
}

#[test]
fn a_flush_takes_what_is_published_and_the_rest_is_logged_elsewhere() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let (threads, rows) = (size(1, 3), size(3, 8));
        lake.log(&writer, -1).unwrap();
        let spawned: Vec<_> = (0..threads)
            .map(|me| {
                let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
                thread::spawn(move || lake.log_all(&writer, me, rows))
            })
            .collect();
        let taken: Vec<u64> = writer.seal_below().iter().map(|file| file.header.number).collect();
        let flushed = read_files(&writer.folder, &taken);
        spawned.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(read_files(&writer.folder, &taken), flushed, "what was sealed is final");
        let left: Vec<u64> =
            files(&writer.folder).into_iter().filter(|number| !taken.contains(number)).collect();
        assert!(left.iter().all(|left| taken.iter().all(|taken| taken < left)));
        let found = [flushed, read_files(&writer.folder, &left)].concat();
        assert_each_once(found, (0..threads).flat_map(|me| steps(me, rows)).chain([-1]));
        assert!(!writer.is_retired(), "a seal of our own is not taken for an adopter's");
    });
}

#[test]
fn a_live_reader_sees_each_row_once_in_order_and_always_with_its_names() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let (threads, rows) = (2, size(1, 3));
        let spawned: Vec<_> = (0..threads)
            .map(|me| {
                let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
                thread::spawn(move || lake.log_all(&writer, me, rows))
            })
            .collect();
        // Files come while it looks; each keeps the order of a thread.
        let mut readers: BTreeMap<u64, (LogReader, Vec<i64>)> = BTreeMap::new();
        let mut look = || {
            for number in files(&writer.folder) {
                let new = || (open(&writer.folder, number), Vec::new());
                let (reader, seen) = readers.entry(number).or_insert_with(new);
                seen.extend(read(reader));
            }
        };
        (0..size(2, 12)).for_each(|_| look());
        spawned.into_iter().for_each(|thread| thread.join().unwrap());
        look();
        for (_, seen) in readers.values() {
            let of_thread = |me| seen.iter().filter(move |&&step| step / 100 == me as i64);
            assert!((0..threads).all(|me| of_thread(me).is_sorted()));
        }
        let seen = readers.into_values().flat_map(|(_, seen)| seen).collect();
        assert_each_once(seen, (0..threads).flat_map(|me| steps(me, rows)));
    });
}

#[test]
fn an_owner_that_is_adopted_while_it_lives_moves_on_and_each_row_counts_once() {
    explore(Interrupted::AtMost(3), || {
        let lake = Lake::new();
        let (writer, next) = (lake.writer(), lake.writer());
        // So many that the owner rolls over, maybe after the adopter has looked for its files.
        let rows = size(5, 12);
        lake.log(&writer, -1).unwrap();
        let spawned: Vec<_> = (0..size(1, 3))
            .map(|me| {
                let (lake, writer, next) =
                    (Arc::clone(&lake), Arc::clone(&writer), Arc::clone(&next));
                thread::spawn(move || {
                    for step in steps(me, rows) {
                        match lake.log(&writer, step) {
                            Err(NotKept::Retired) => lake.log(&next, step).unwrap(),
                            kept => kept.unwrap(),
                        }
                    }
                })
            })
            .collect();
        // What an adopter does with a folder whose owner it takes for dead.
        let taken = files(&writer.folder);
        let mut readers: Vec<LogReader> =
            taken.iter().map(|&number| open(&writer.folder, number)).collect();
        for (&number, reader) in taken.iter().zip(&readers) {
            LogFile::seal_orphan(&path(&writer.folder, number), reader.header()).unwrap();
        }
        let adopted: Vec<i64> = readers.iter_mut().flat_map(read).collect();
        spawned.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(read_files(&writer.folder, &taken), adopted, "what was sealed is final");
        let left: Vec<u64> =
            files(&writer.folder).into_iter().filter(|number| !taken.contains(number)).collect();
        let found = [
            adopted,
            read_files(&writer.folder, &left),
            read_files(&next.folder, &files(&next.folder)),
        ];
        assert_each_once(
            found.concat(),
            (0..size(1, 3)).flat_map(|me| steps(me, rows)).chain([-1]),
        );
        // Once every file is somebody else's, whoever logs next finds out.
        for number in files(&writer.folder) {
            let path = path(&writer.folder, number);
            LogFile::seal_orphan(&path, open(&writer.folder, number).header()).unwrap();
        }
        assert!(matches!(lake.log(&writer, -2), Err(NotKept::Retired)));
    });
}

#[test]
fn a_file_whose_sync_failed_takes_no_more_rows_and_its_owner_goes_on() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let rows = size(2, 8);
        let other = {
            let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
            thread::spawn(move || lake.log_all(&writer, 0, rows))
        };
        writer.abandon(&writer.current());
        let before = read_files(&writer.folder, &[1]);
        other.join().unwrap();
        assert_eq!(read_files(&writer.folder, &[1]), before);
        assert_each_once(read_files(&writer.folder, &files(&writer.folder)), steps(0, rows));
        assert!(!writer.is_retired());
    });
}

#[test]
fn threads_that_end_leave_their_blocks_to_one_thread_each() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let log = |me| {
            let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
            thread::spawn(move || lake.log_all(&writer, me, 1))
        };
        log(0).join().unwrap();
        let (one, two) = (log(1), log(2));
        one.join().unwrap();
        two.join().unwrap();
        let found = read_files(&writer.folder, &files(&writer.folder));
        assert_each_once(found, (0..3).flat_map(|me| steps(me, 1)));
    });
}

#[test]
fn a_writer_that_is_closed_keeps_what_it_took_and_refuses_the_rest() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer();
        lake.log(&writer, -1).unwrap();
        let other = {
            let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
            thread::spawn(move || {
                let log = |&step: &i64| match lake.log(&writer, step) {
                    Err(NotKept::Retired) => false,
                    kept => kept.is_ok() || panic!("the disk takes it"),
                };
                steps(0, size(2, 8)).filter(log).collect::<Vec<_>>()
            })
        };
        writer.close().unwrap();
        let kept = other.join().unwrap();
        let found = read_files(&writer.folder, &files(&writer.folder));
        assert_each_once(found, kept.into_iter().chain([-1]));
        assert_eq!(files(&writer.folder), [1], "nobody adds a file to a folder that was let go");
    });
}

/// The bytes of a log file.
fn image(path: &Path) -> Vec<u8> {
    let mut image = vec![0; file_bytes(2)];
    let read = disk::open(path).unwrap().read_at(&mut image, 0).unwrap();
    assert_eq!(read, image.len());
    image
}

/// Which of so many things are chosen: all choices that there are, or so many of them.
fn choices(of: usize, most: usize) -> impl Iterator<Item = u64> {
    let all = 1_u64 << of;
    // An odd number leads through all of them, in an order that mixes.
    (0..all.min(most as u64)).map(move |at| (at * 0x9E37_79B1) % all)
}

#[test]
fn after_a_crash_any_mixture_of_pages_reads_as_rows_that_were_logged_each_once() {
    explore(Interrupted::AtMost(1), || {
        let lake = Lake::new();
        let writer = lake.writer();
        let (threads, rows) = (size(1, 2), size(4, 2));
        log_at_once(&lake, &writer, threads, rows);
        let whole = image(&path(&writer.folder, 1));
        let logged = read(&mut open(&writer.folder, 1));
        // What a crash may take away: tail words, and pieces of blocks. The header was made durable with the file.
        let mut pieces: Vec<_> =
            (0..2).map(|block| HEADER_BYTES + block * TAIL_STRIDE).map(|at| at..at + 8).collect();
        let blocks = blocks_start(2)..file_bytes(2);
        pieces.extend(blocks.step_by(32).map(|at| at..at + 32));
        pieces.retain(|piece| whole[piece.clone()].iter().any(|&byte| byte != 0));
        assert!(pieces.len() > 4, "{} pieces", pieces.len());
        let crashed = lake.folder.path().join("crashed.log");
        for kept in choices(pieces.len(), size(1 << 14, 64)) {
            let mut image = whole.clone();
            let lost = pieces.iter().enumerate().filter(|(at, _)| kept >> at & 1 == 0);
            let lost: Vec<_> = lost.map(|(_, piece)| piece.clone()).collect();
            lost.iter().for_each(|piece| image[piece.clone()].fill(0));
            disk::create_with(&crashed, &image).unwrap();
            let mut reader = LogReader::open(&crashed).unwrap().unwrap();
            let points = reader.read(Tails::Unknown).unwrap().points;
            let mut rows = points.values.iter().zip(&points.steps);
            assert!(rows.all(|(&value, &step)| value == step as f64), "torn: {points:?}");
            let mut found = points.steps;
            found.sort_unstable();
            assert!(found.windows(2).all(|two| two[0] != two[1]), "twice: {found:?}");
            assert!(found.iter().all(|step| logged.contains(step)), "made up: {found:?}");
            if lost.iter().all(|piece| piece.start < blocks_start(2)) {
                assert_each_once(found, logged.iter().copied());
            }
            assert!(disk::remove_if_there(&crashed).unwrap());
        }
    });
}

/// The rows of a stream, of which each stands behind the names that it uses.
fn read_stream(folder: &Path, number: u64) -> Vec<i64> {
    let path = path(folder, number);
    let Some(bytes) = disk::read_if_there(&path).unwrap() else { return Vec::new() };
    let salt = open(folder, number).header().salt;
    let (mut rest, mut named, mut steps) = (&bytes[HEADER_BYTES..], BTreeSet::new(), Vec::new());
    let mut shapes = BTreeMap::new();
    while let Next::Frame(frame, len) = frame::next(salt, rest) {
        match frame {
            Read::Name { space, id, .. } => {
                assert!(named.insert((space as u8, id)), "a name is written once");
            }
            Read::Shape { id, shape } => {
                assert!(shapes.insert(id, shape).is_none(), "a shape is written once");
            }
            Read::Row(row) => {
                let shape = match row.shape {
                    RowShape::Here(shape) => shape,
                    RowShape::Numbered(number) => shapes[&number],
                };
                assert!(named.contains(&(Space::Run as u8, shape.run)));
                let mut metrics = shape.metrics.iter().map(|&id| u32::from_le_bytes(id));
                assert!(metrics.all(|metric| named.contains(&(Space::Metric as u8, metric))));
                steps.push(row.step);
            }
            _ => panic!("nobody writes {frame:?}"),
        }
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "a stream ends with a whole frame");
    steps
}

fn read_streams(folder: &Path) -> Vec<i64> {
    files(folder).into_iter().flat_map(|number| read_stream(folder, number)).collect()
}

/// Logs from so many threads while this one writes now and then; what is on disk in the end, in its order.
fn log_and_write(lake: &Arc<Lake>, writer: &Arc<Writer>, threads: usize, rows: usize) -> Vec<i64> {
    let spawned: Vec<_> = (0..threads)
        .map(|me| {
            let (lake, writer) = (Arc::clone(lake), Arc::clone(writer));
            thread::spawn(move || lake.log_all(&writer, me, rows))
        })
        .collect();
    writer.write().unwrap();
    let first = read_streams(&writer.folder);
    spawned.into_iter().for_each(|thread| thread.join().unwrap());
    writer.write().unwrap();
    let all = read_streams(&writer.folder);
    assert!(all.starts_with(&first), "what was written stays");
    for me in 0..threads {
        assert!(all.iter().filter(|&&step| step / 100 == me as i64).is_sorted());
    }
    all
}

#[test]
fn a_stream_holds_each_row_once_and_behind_its_names() {
    explore(Interrupted::AtMost(1), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        let (threads, rows) = (2, size(1, 6));
        let all = log_and_write(&lake, &writer, threads, rows);
        assert_each_once(all, (0..threads).flat_map(|me| steps(me, rows)));
    });
}

#[test]
fn the_rows_of_a_thread_stay_in_order_in_a_stream_also_where_it_goes_on_in_another_block() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        let rows = size(3, 20);
        let all = log_and_write(&lake, &writer, 1, rows);
        assert_eq!(all, steps(0, rows).collect::<Vec<_>>());
    });
}

#[test]
fn a_stream_is_whole_before_the_next_one_begins() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        lake.log(&writer, -1).unwrap();
        let current = writer.current();
        while current.claim(1).is_some() {}
        // Two rows have room in the first file, the third has not.
        let rows = size(3, 20);
        let all = log_and_write(&lake, &writer, 1, rows);
        assert!(files(&writer.folder).len() > 1);
        assert_eq!(all, (-1..rows as i64).collect::<Vec<_>>());
    });
}

#[test]
fn two_that_write_one_log_at_once_write_each_row_once() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        lake.log(&writer, 0).unwrap();
        let other = {
            let writer = Arc::clone(&writer);
            thread::spawn(move || writer.write().unwrap())
        };
        lake.log(&writer, 1).unwrap();
        writer.write().unwrap();
        assert_eq!(read_streams(&writer.folder), [0, 1], "what was logged before is there");
        other.join().unwrap();
        assert_eq!(read_streams(&writer.folder), [0, 1]);
    });
}

#[test]
fn of_a_stream_its_adopter_takes_the_first_part_and_its_owner_the_rest() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let (writer, next) = (lake.writer_in(Mode::Written), lake.writer_in(Mode::Written));
        let rows = size(2, 14);
        lake.log(&writer, -1).unwrap();
        writer.write().unwrap();
        let owner = {
            let (lake, writer, next) = (Arc::clone(&lake), Arc::clone(&writer), Arc::clone(&next));
            thread::spawn(move || {
                for step in steps(0, rows) {
                    match lake.log(&writer, step) {
                        Err(NotKept::Retired) => lake.log(&next, step).unwrap(),
                        kept => kept.unwrap(),
                    }
                    writer.write().unwrap();
                }
            })
        };
        // What an adopter does, and the watermark that it commits.
        let taken = files(&writer.folder);
        let mut mark = 0;
        let mut found = Vec::new();
        for &number in &taken {
            let mut reader = open(&writer.folder, number);
            found.extend(read(&mut reader));
            mark = if taken.last() == Some(&number) {
                watermark_within(number, reader.end())
            } else {
                watermark(number)
            };
        }
        // What the owner does when it finds that watermark.
        writer.retire();
        for file in writer.seal_below() {
            let mut reader = LogReader::of_own(&file).unwrap();
            reader.pass(Passed::of(Some(mark), Some(mark), file.header.number));
            found.extend(read(&mut reader));
        }
        owner.join().unwrap();
        next.write().unwrap();
        found.extend(read_streams(&next.folder));
        assert_each_once(found, steps(0, rows).chain([-1]));
    });
}

#[test]
fn a_flush_takes_a_stream_with_what_is_not_written_yet_and_the_rest_is_logged_elsewhere() {
    explore(Interrupted::AtMost(2), || {
        let lake = Lake::new();
        let writer = lake.writer_in(Mode::Written);
        let (threads, rows) = (size(1, 3), size(2, 8));
        lake.log(&writer, -1).unwrap();
        let spawned: Vec<_> = (0..threads)
            .map(|me| {
                let (lake, writer) = (Arc::clone(&lake), Arc::clone(&writer));
                thread::spawn(move || {
                    for step in steps(me, rows) {
                        lake.log(&writer, step).unwrap();
                        writer.write().unwrap();
                    }
                })
            })
            .collect();
        let taken = writer.seal_below();
        let mut found: Vec<i64> =
            taken.iter().flat_map(|file| read(&mut LogReader::of_own(file).unwrap())).collect();
        let last = taken.last().expect("there is a row").header.number;
        writer.forget(last).unwrap();
        spawned.into_iter().for_each(|thread| thread.join().unwrap());
        writer.write().unwrap();
        let left = files(&writer.folder);
        assert!(
            left.iter().all(|&number| number > last),
            "{left:?}: what is in the tables is back"
        );
        found.extend(read_streams(&writer.folder));
        assert_each_once(found, (0..threads).flat_map(|me| steps(me, rows)).chain([-1]));
    });
}
