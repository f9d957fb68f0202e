//! The writer of a process: its folder, its current file, and the path of a row into it.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a frame is at most 16 MiB, so what is counted in it fits"
)]

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
};

use rustc_hash::FxHashMap;

use super::{
    BLOCK_BYTES, FRAME_BYTES_MAX, LogFile, NO_LABELS,
    concurrent::{
        self, ArcSwap, ArrayQueue, AtomicBool, AtomicI64, AtomicU64, Mutex, MutexGuard, Ordering,
        thread_local,
    },
    frame::{Frame, Space},
    header::{Header, Mode, run_key},
    memory::Block,
    owner::{self, Home, Owner},
};
use crate::{
    Error, Result, disk,
    names::{MetricId, Names},
    os::{self, Host, Lock},
};

/// The blocks of the first file, so that a short run takes little; each full file is followed by one four times larger.
const FIRST_BLOCKS: u32 = concurrent::bound(4, 2) as u32;
/// The blocks of the largest files: 64 MiB.
const LARGEST_BLOCKS: u32 = concurrent::bound(1024, 2) as u32;

/// One process's way into a lake.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The writer, as its folder and the watermarks name it.
    pub(crate) id: uuid::Uuid,
    /// Its folder in the lake.
    pub(crate) home: PathBuf,
    /// The folder of its log files; the same, unless they are on a disk of this host.
    pub(crate) folder: PathBuf,
    key: u64,
    generation: u64,
    host: Host,
    spill_bytes: u64,
    current: ArcSwap<LogFile>,
    /// What changes when files come and go. Taken after `LogFile::defining`, never before it.
    files: Mutex<Files>,
    /// Blocks that threads left half full when they ended.
    left: ArrayQueue<Cursor>,
    /// Files up to this number are sealed by ourselves; a seal on a later one is an adopter's.
    sealed: AtomicU64,
    retired: AtomicBool,
    /// No file can be had; rows are dropped without asking the disk each time.
    starved: AtomicBool,
    /// How many rows of each run, by its key, were not kept. Taken after `files`, never before it.
    dropped: Mutex<FxHashMap<u64, u64>>,
    lock: Mutex<Option<Lock>>,
}

#[derive(Debug)]
struct Files {
    /// All files that no commit holds yet, oldest first; the last one is the current.
    open: Vec<Arc<LogFile>>,
    /// The next file, prepared ahead.
    next: Option<Arc<LogFile>>,
    /// The number that was given last. None is given twice: a reader may have opened a prepared file that was then
    /// replaced by a larger one, and it knows files by their numbers.
    number: u64,
    /// The folder's names changed since they were last made durable.
    unsynced_names: bool,
}

/// Why a frame was not kept.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// The disk takes nothing and the spill is full. Count the row.
    Full(io::Error),
    /// The frame is larger than a frame may be.
    TooLarge(usize),
    /// Somebody took this writer for dead and sealed its log. Log it through a new writer.
    Retired,
    /// A name cannot be written.
    Name(Error),
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the file.
    pub(crate) number: u64,
    /// The byte in it.
    pub(crate) offset: u64,
}

/// The block that a thread fills.
struct Cursor {
    file: Arc<LogFile>,
    block: Block,
    /// The run of the last row, and up to which step the header knows that it came. Threads that log to one run do not
    /// all look at its word in the header then: the others follow the one that is ahead.
    reached: (u32, i64),
}

impl Cursor {
    fn new(file: Arc<LogFile>, block: Block) -> Self {
        Self { file, block, reached: (0, i64::MIN) }
    }

    /// See [`LogFile::reach`].
    #[inline]
    fn reach(&mut self, run: u32, step: i64) {
        if self.reached.0 != run || self.reached.1 < step {
            self.reached = (run, self.file.reach(run, step));
        }
    }
}

/// The blocks of one thread, one for each writer that it logs to.
struct Cursors(Vec<Slot>);

struct Slot {
    key: u64,
    writer: Weak<Writer>,
    cursor: Option<Cursor>,
}

thread_local! {
    static CURSORS: RefCell<Cursors> = const { RefCell::new(Cursors(Vec::new())) };
}

impl Drop for Cursors {
    /// Leaves half full blocks to the threads that come later, so that many short threads do not take a block each.
    fn drop(&mut self) {
        for slot in self.0.drain(..) {
            // A forked child must not touch its parent's queue, which may have been copied in the middle of a push.
            let writer =
                slot.writer.upgrade().filter(|writer| writer.generation == os::fork_generation());
            if let (Some(writer), Some(cursor)) = (writer, slot.cursor) {
                // Where the queue is full, the rest of the block stays unused.
                drop(writer.left.push(cursor));
            }
        }
    }
}

impl Cursors {
    fn slot(&mut self, writer: &Arc<Writer>) -> &mut Slot {
        let at = self.0.iter().position(|slot| slot.key == writer.key).unwrap_or_else(|| {
            self.0.retain(|slot| slot.writer.strong_count() > 0);
            // Only a thread's first block may be one that another thread began: later ones would come before rows that
            // this thread logged already, and the order of its rows is the order of their places.
            let cursor = writer.left.pop().filter(|cursor| !cursor.file.is_sealed());
            self.0.push(Slot { key: writer.key, writer: Arc::downgrade(writer), cursor });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "block {} of file {}", self.block.index(), self.file.header.number)
    }
}

impl Writer {
    /// Creates a folder for this process in the lake and its first log file.
    pub(crate) fn create(
        lake: &Path,
        log_dir: Option<&Path>,
        host: Host,
        spill_bytes: u64,
        now_us: i64,
    ) -> Result<Arc<Self>> {
        static KEYS: AtomicI64 = AtomicI64::new(1);
        let id = uuid::Uuid::now_v7();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let owner = Owner {
            writer: id.to_string(),
            host: host.clone(),
            pid: std::process::id(),
            created_us: now_us,
            version,
            logs: log_dir.map(|log_dir| log_dir.join(id.to_string())),
        };
        let Home { folder: home, logs: folder, lock } = owner::create(lake, &owner)?;
        let first = LogFile::create(&folder, header(id, &host, 1, FIRST_BLOCKS, now_us), false)
            .map_err(|error| Error::io("create a log in", &folder, error))?;
        first.beat(now_us);
        let first = Arc::new(first);
        Ok(Arc::new(Self {
            id,
            home,
            folder,
            // ORDERING: Relaxed, a counter.
            key: KEYS.fetch_add(1, Ordering::Relaxed).cast_unsigned(),
            generation: os::fork_generation(),
            host,
            spill_bytes,
            current: ArcSwap::new(Arc::clone(&first)),
            files: Mutex::new(Files {
                open: vec![first],
                next: None,
                number: 1,
                unsynced_names: true,
            }),
            left: ArrayQueue::new(64),
            sealed: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            dropped: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// The generation of forks in which it was made; in another one it belongs to the parent.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// True once somebody else sealed its log, or it was closed: log through a new writer.
    pub(crate) fn is_retired(&self) -> bool {
        // ORDERING: Relaxed: who misses the flag finds the sealed file and comes to the same end.
        self.retired.load(Ordering::Relaxed)
    }

    /// The file that takes rows now.
    #[cfg(all(test, proof))]
    pub(super) fn current(&self) -> Arc<LogFile> {
        self.current.load_full()
    }

    /// Appends a frame and publishes it. In the steady state: no lock, no allocation, no system call.
    pub(crate) fn append(
        self: &Arc<Self>,
        names: &Names,
        frame: &Frame<'_>,
    ) -> Result<Place, NotKept> {
        let bytes = frame.bytes();
        if bytes > FRAME_BYTES_MAX {
            return Err(NotKept::TooLarge(bytes));
        }
        let cached = CURSORS.try_with(|cursors| {
            let mut cursors = cursors.try_borrow_mut().ok()?;
            Some(self.append_at(&mut cursors.slot(self).cursor, names, frame, bytes))
        });
        // A thread that logs from a destructor of its own has no place to keep a block any more.
        cached.ok().flatten().unwrap_or_else(|| self.append_at(&mut None, names, frame, bytes))
    }

    fn append_at(
        &self,
        cursor: &mut Option<Cursor>,
        names: &Names,
        frame: &Frame<'_>,
        bytes: usize,
    ) -> Result<Place, NotKept> {
        loop {
            let Some(here) = cursor else {
                *cursor = Some(self.claim()?);
                continue;
            };
            let Cursor { file, block, .. } = here;
            if let Some((space, id)) = first_undefined(file, frame) {
                self.define(cursor, names, space, id)?;
                continue;
            }
            if bytes > block.room() {
                *cursor = Some(if bytes <= BLOCK_BYTES {
                    self.claim()?
                } else {
                    // In the file that has just defined the frame's names. The thread then goes on in what the frame
                    // leaves of these blocks: its earlier block stands before them, and later rows must not.
                    let (file, blocks) = (Arc::clone(file), bytes.div_ceil(BLOCK_BYTES));
                    let Some(block) = file.claim(blocks) else {
                        *cursor = None;
                        self.roll_over(&file, blocks)?;
                        continue;
                    };
                    Cursor::new(file, block)
                });
                continue;
            }
            let salt = file.header.salt;
            let appended = block.append(bytes, |out| frame.write(salt, out));
            let Ok(offset) = appended else {
                *cursor = None;
                continue;
            };
            match *frame {
                Frame::Row { run, step, .. } => here.reach(run, step),
                Frame::Many { run, step, steps: None, values, .. } => {
                    here.reach(run, step.saturating_add(values.len() as i64 - 1));
                }
                Frame::Many { run, steps: Some(steps), .. } => {
                    here.reach(run, steps.iter().copied().max().unwrap_or(i64::MIN));
                }
                Frame::Name { .. } | Frame::Fact { .. } => {}
            }
            return Ok(Place { number: here.file.header.number, offset: offset as u64 });
        }
    }

    /// A block of the current file, or of the one that follows.
    fn claim(&self) -> Result<Cursor, NotKept> {
        loop {
            let file = self.current.load_full();
            if let Some(block) = file.claim(1) {
                return Ok(Cursor::new(file, block));
            }
            self.roll_over(&file, 1)?;
        }
    }

    /// Gives `id` its meaning in the cursor's file, or moves the cursor to where there is room to do so.
    fn define(
        &self,
        cursor: &mut Option<Cursor>,
        names: &Names,
        space: Space,
        id: u32,
    ) -> Result<(), NotKept> {
        let Some(Cursor { file, block, .. }) = cursor else { return Ok(()) };
        let unknown = || {
            NotKept::Name(Error::Invalid {
                what: "metric",
                detail: format!("id {id} is not of this lake"),
            })
        };
        let texts = match space {
            Space::Run => {
                let run = names.runs.name(id).ok_or_else(unknown)?;
                [run.project.as_str(), &run.run_id, &run.launch]
            }
            Space::Metric => [names.metrics.name(id).ok_or_else(unknown)?.as_str(), "", ""],
            Space::Labels => [names.labels.name(id).ok_or_else(unknown)?.as_str(), "", ""],
        };
        let frame = Frame::Name { space, id, texts };
        let bytes = frame.bytes();
        if bytes > BLOCK_BYTES {
            return Err(NotKept::TooLarge(bytes));
        }
        if bytes > block.room() {
            *cursor = Some(self.claim()?);
            return Ok(());
        }
        let once = file.defining.lock().unwrap_or_else(PoisonError::into_inner);
        if file.defined(space).has(id) {
            return Ok(());
        }
        let salt = file.header.salt;
        if block.append(bytes, |out| frame.write(salt, out)).is_ok() {
            if space == Space::Run {
                file.place_run(id, run_key(texts[0], texts[1]));
            }
            file.defined(space).add(id);
        } else {
            drop(once);
            *cursor = None;
        }
        Ok(())
    }

    /// Makes another file the current one, unless that has happened already. The only place on the path of a row that
    /// may wait for the disk; the background prepares the next file ahead so that it seldom does.
    fn roll_over(&self, full: &Arc<LogFile>, blocks: usize) -> Result<(), NotKept> {
        let mut files = self.files();
        if !Arc::ptr_eq(&self.current.load(), full) {
            return Ok(());
        }
        // Whoever closed the writer has let the folder go: a file that came later might be in nobody's hands.
        if self.is_retired() {
            return Err(NotKept::Retired);
        }
        // ORDERING: Acquire pairs with the Release in `seal_below` and `abandon`: a seal of our own is not taken for
        // somebody else's.
        if full.is_sealed() && full.header.number > self.sealed.load(Ordering::Acquire) {
            self.retired.store(true, Ordering::Relaxed);
            return Err(NotKept::Retired);
        }
        // ORDERING: Relaxed, a hint that spares the disk a question for each row.
        if self.starved.load(Ordering::Relaxed) {
            return Err(NotKept::Full(io::Error::from(io::ErrorKind::StorageFull)));
        }
        // A frame of several blocks needs names beside it, which go into blocks of their own.
        let least = if blocks == 1 { 1 } else { blocks as u32 + FIRST_BLOCKS };
        self.follow(&mut files, next_blocks(full).max(least), least)
    }

    /// Puts the next file, prepared or new, behind the last one. It has `wanted` blocks, or if the disk takes none, at
    /// least `least` in memory.
    fn follow(&self, files: &mut Files, wanted: u32, least: u32) -> Result<(), NotKept> {
        let next = match files.next.take_if(|next| next.header.blocks >= least) {
            Some(next) => next,
            None => match self.create_file(files, wanted) {
                Ok(file) => file,
                Err(error) => self.spill(files, least, error)?,
            },
        };
        self.starved.store(false, Ordering::Relaxed);
        files.unsynced_names |= !next.is_spill();
        files.open.push(Arc::clone(&next));
        self.current.store(next);
        Ok(())
    }

    fn create_file(&self, files: &mut Files, blocks: u32) -> io::Result<Arc<LogFile>> {
        if let Some(small) = files.next.take() {
            // Nobody has written into it, and the disk may need the room.
            drop(disk::remove_if_there(&small.path));
        }
        let now_us = os::now_us();
        let number = files.number + 1;
        let file = LogFile::create(
            &self.folder,
            header(self.id, &self.host, number, blocks, now_us),
            false,
        )?;
        files.number = number;
        file.beat(now_us);
        Ok(Arc::new(file))
    }

    /// Memory for rows that the disk does not take. Small at first and larger with each, as on disk: what one has taken
    /// is given back once it is flushed, and only then.
    fn spill(
        &self,
        files: &mut Files,
        least: u32,
        error: io::Error,
    ) -> Result<Arc<LogFile>, NotKept> {
        let spills = || files.open.iter().filter(|file| file.is_spill());
        let taken: u64 = spills().map(|file| file.bytes()).sum();
        let last = spills().next_back();
        let wanted = last.map_or(FIRST_BLOCKS, |last| next_blocks(last)).max(least);
        let blocks = wanted.min(super::blocks_within(self.spill_bytes.saturating_sub(taken)));
        let number = files.number + 1;
        let header = header(self.id, &self.host, number, blocks, os::now_us());
        if blocks >= least
            && let Ok(file) = LogFile::spill(&self.folder, header)
        {
            files.number = number;
            tracing::warn!(folder = %self.folder.display(), %error, "the disk takes no log; rows wait in memory");
            return Ok(Arc::new(file));
        }
        // Where there is no room for a large frame, there may be some for a row.
        if blocks == 0 {
            self.starved.store(true, Ordering::Relaxed);
        }
        Err(NotKept::Full(error))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the background does between rows: shows that the writer lives, says which rows were not kept, prepares the
    /// next file, and asks a disk that was full again. True where a file was prepared: the next one may be wanted soon.
    pub(crate) fn tend(&self, now_us: i64) -> bool {
        let current = self.current.load_full();
        current.beat(now_us);
        let mut files = self.files();
        self.say_dropped(&files);
        if current.is_spill() || self.starved.load(Ordering::Relaxed) {
            // Rows wait in memory: a real file ends that, if there is one to be had.
            if let Ok(file) = self.create_file(&mut files, FIRST_BLOCKS) {
                files.next = Some(file);
                drop(self.follow(&mut files, FIRST_BLOCKS, FIRST_BLOCKS));
            }
        } else if files.next.is_none() && current.is_half_full() {
            // Without the lock: a thread that comes to the end of the file meanwhile makes one itself, with a number of
            // its own, and this one goes.
            files.number += 1;
            let number = files.number;
            drop(files);
            let header = header(self.id, &self.host, number, next_blocks(&current), now_us);
            let Ok(file) = LogFile::create(&self.folder, header, true) else { return false };
            file.beat(now_us);
            let mut files = self.files();
            if files.number == number && !self.is_retired() {
                files.next = Some(Arc::new(file));
            } else {
                drop(disk::remove_if_there(&file.path));
            }
            return true;
        }
        false
    }

    /// Counts rows of a run that were not kept.
    pub(crate) fn count_dropped(&self, key: u64, rows: u64) {
        *self.dropped().entry(key).or_default() += rows;
    }

    /// How many rows of a run were not kept.
    pub(crate) fn dropped_rows(&self, key: u64) -> u64 {
        self.dropped().get(&key).copied().unwrap_or(0)
    }

    /// Writes into headers which rows were not kept, for each run into the newest file on disk that knows it. A header
    /// takes that while nothing else finds room; the same number once more does no harm.
    fn say_dropped(&self, files: &Files) {
        #[expect(clippy::iter_over_hash_type, reason = "each run has its own place")]
        for (&key, &rows) in &*self.dropped() {
            let mut on_disk = files.open.iter().rev().filter(|file| !file.is_spill());
            let _where = on_disk.find(|file| file.say_dropped(key, rows));
        }
    }

    fn dropped(&self) -> MutexGuard<'_, FxHashMap<u64, u64>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what was published before the call. After a failure rows go on into a new file, and every call
    /// fails until the rows of the failed one are flushed.
    pub(crate) fn sync(&self) -> Result<()> {
        let (open, unsynced_names) = {
            let mut files = self.files();
            (files.open.clone(), std::mem::take(&mut files.unsynced_names))
        };
        if unsynced_names {
            let elsewhere = (self.home != self.folder).then_some(&self.home);
            let mut folders =
                [&self.folder].into_iter().chain(elsewhere).flat_map(|it| it.ancestors().take(2));
            let synced = folders.try_for_each(disk::sync_dir);
            if synced.is_err() {
                self.files().unsynced_names = true;
                return synced;
            }
        }
        let mut failed = None;
        for file in open {
            if let Err(error) = file.sync() {
                if file.is_poisoned() && !file.is_sealed() {
                    self.abandon(&file);
                }
                failed = failed.or_else(|| Some(Error::io("sync", &file.path, error)));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes a file whose sync failed out of use: from here on every row goes into another one.
    pub(super) fn abandon(&self, file: &Arc<LogFile>) {
        // ORDERING: Release pairs with the Acquire in `roll_over`: who sees the seal sees whose it is.
        self.sealed.fetch_max(file.header.number, Ordering::Release);
        file.seal();
        // Here, so that no row waits for it; where no file can be had, the next row asks again.
        drop(self.roll_over(file, 1));
    }

    /// The bytes that no commit holds yet; an upper bound.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.files().open.iter().map(|file| file.claimed_bytes()).sum()
    }

    /// When the oldest of them was created, in microseconds since 1970 (UTC).
    pub(crate) fn oldest_us(&self) -> Option<i64> {
        let files = self.files();
        files.open.iter().find(|file| file.published_bytes() > 0).map(|file| file.header.created_us)
    }

    /// True where rows stand that no sync makes durable, only a flush: in memory, because the disk did not take them,
    /// or in a file whose sync failed.
    pub(crate) fn is_stranded(&self) -> bool {
        self.files().open.iter().any(|file| file.is_spill() || file.is_poisoned())
    }

    /// Rolls over, seals every file before the new one, and returns those: their contents are final.
    pub(crate) fn seal_below(&self) -> Vec<Arc<LogFile>> {
        let mut files = self.files();
        let current = self.current.load_full();
        if current.published_bytes() > 0 && !current.is_spill()
            || files.open.len() > 1 && current.is_spill()
        {
            let blocks =
                if current.is_half_full() { next_blocks(&current) } else { current.header.blocks };
            // Where no file can be had, what stands before the current one is flushed all the same.
            if let Ok(next) = self.create_or_take(&mut files, blocks) {
                files.unsynced_names = true;
                files.open.push(Arc::clone(&next));
                self.current.store(next);
            }
        }
        let current = self.current.load_full().header.number;
        // ORDERING: Release pairs with the Acquire in `roll_over`.
        self.sealed.fetch_max(current - 1, Ordering::Release);
        let below: Vec<_> =
            files.open.iter().filter(|file| file.header.number < current).cloned().collect();
        drop(files);
        for file in &below {
            file.seal();
        }
        below
    }

    fn create_or_take(&self, files: &mut Files, blocks: u32) -> io::Result<Arc<LogFile>> {
        match files.next.take() {
            Some(next) => Ok(next),
            None => self.create_file(files, blocks),
        }
    }

    /// Removes the files up to `number`, which a commit of both tables holds.
    pub(crate) fn forget(&self, number: u64) -> Result<()> {
        let done: Vec<_> = {
            let mut files = self.files();
            let (done, open) = std::mem::take(&mut files.open)
                .into_iter()
                .partition(|f| f.header.number <= number);
            files.open = open;
            done
        };
        for file in done {
            disk::remove_if_there(&file.path)?;
        }
        Ok(())
    }

    /// Gives up a log whose folder is gone: a host that could not seal it was told that this one is dead. What is logged
    /// from here on goes through a new writer.
    pub(crate) fn retire(&self) {
        let files = self.files();
        // ORDERING: Relaxed: who misses the flag finds the sealed file and comes to the same end.
        self.retired.store(true, Ordering::Relaxed);
        for file in &files.open {
            file.seal();
        }
    }

    /// Seals everything and lets the folder go: whoever comes by may adopt it. A folder without a row is removed.
    pub(crate) fn close(&self) -> Result<()> {
        let mut files = self.files();
        self.retired.store(true, Ordering::Relaxed);
        self.sealed.store(u64::MAX, Ordering::Release);
        if let Some(next) = files.next.take() {
            disk::remove_if_there(&next.path)?;
        }
        for file in &files.open {
            file.seal();
        }
        let empty = files.open.iter().all(|file| file.published_bytes() == 0);
        let paths: Vec<_> = files.open.drain(..).map(|file| file.path.clone()).collect();
        if empty {
            for path in paths {
                disk::remove_if_there(&path)?;
            }
            owner::remove(&self.home)?;
            owner::remove(&self.folder)?;
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}

/// The blocks of the file that follows a full one.
fn next_blocks(full: &LogFile) -> u32 {
    (full.header.blocks * 4).min(LARGEST_BLOCKS)
}

fn header(writer: uuid::Uuid, host: &Host, number: u64, blocks: u32, created_us: i64) -> Header {
    let file = uuid::Uuid::new_v4();
    Header {
        blocks,
        salt: crc32c::crc32c(file.as_bytes()),
        mode: Mode::Mapped,
        number,
        created_us,
        file,
        writer,
        boot_id: host.boot_id.clone(),
    }
}

/// The first name that the frame uses and the file has not defined.
#[inline]
fn first_undefined(file: &LogFile, frame: &Frame<'_>) -> Option<(Space, u32)> {
    let missing = |space: Space, id: u32| (!file.defined(space).has(id)).then_some((space, id));
    let (run, labels) = match *frame {
        Frame::Row { run, labels, points, .. } => {
            let metrics = file.defined(Space::Metric);
            if let Some(&(MetricId(id), _)) = points.iter().find(|(id, _)| !metrics.has(id.0)) {
                return Some((Space::Metric, id));
            }
            (run, labels)
        }
        Frame::Many { run, labels, metric, .. } => {
            if let Some(missing) = missing(Space::Metric, metric) {
                return Some(missing);
            }
            (run, labels)
        }
        Frame::Fact { run, .. } => (run, NO_LABELS),
        Frame::Name { .. } => return None,
    };
    missing(Space::Run, run)
        .or_else(|| (labels != NO_LABELS).then(|| missing(Space::Labels, labels)).flatten())
}

#[cfg(all(test, not(proof)))]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::names::RunName;

    /// Of no allocation and no system call `tests/it/steady.rs` knows.
    #[test]
    fn a_row_of_the_steady_state_takes_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::create(folder.path(), None, Host::this(), 0, 0).unwrap();
        let names = Names::default();
        let name = |name: &str| name.to_owned();
        let run = RunName { project: name("p"), run_id: name("r"), launch: name("l") };
        let run = names.runs.id(&run).unwrap();
        let points = [(MetricId(names.metrics.id("loss").unwrap()), 0.5)];
        let row = Frame::Row { run, labels: NO_LABELS, step: 0, time: 0, points: &points };
        writer.append(&names, &row).unwrap();

        let file = writer.current.load_full();
        let held = (
            writer.files(),
            writer.dropped(),
            writer.lock.lock().unwrap(),
            file.defining.lock().unwrap(),
        );
        let (done, rows) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let _place = writer.append(&names, &row).unwrap();
                }
                done.send(()).unwrap();
            });
            let logged = rows.recv_timeout(Duration::from_mins(1));
            drop(held);
            logged.expect("a row waits for a lock that another thread holds");
        });
    }
}
