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
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    BLOCK_BYTES, FRAME_BYTES_MAX, LogFile, NO_LABELS,
    concurrent::{
        self, ArcSwap, ArrayQueue, AtomicBool, AtomicI64, AtomicU64, Changed, Mutex, MutexGuard,
        Ordering, thread_local,
    },
    frame::{Frame, Space},
    header::{Header, Mode, run_key},
    memory::{Block, Sealed},
    owner::{self, Home, Owner},
    shape::{Form, Known},
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

/// How long a flush waits for a next file.
const FLUSH_WAITS: Duration = Duration::from_secs(10);
/// From this size on a file follows another one because rows come fast. The next one is made at once then: when this one is
/// half full it would be too late.
const HASTY_BLOCKS: u32 = 16;

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
    settings: Settings,
    mode: Mode,
    current: ArcSwap<LogFile>,
    /// What changes when files come and go. Taken after `LogFile::defining`, never before it. Nobody asks the disk for
    /// anything while it is held: a thread that logs may wait for it.
    files: Mutex<Files>,
    /// A next file was made or refused, or memory became free.
    changed: Changed,
    /// Blocks that threads left half full when they ended.
    left: ArrayQueue<Cursor>,
    /// Files up to this number are sealed by ourselves; a seal on a later one is an adopter's.
    sealed: AtomicU64,
    retired: AtomicBool,
    /// Somebody else committed a part of this log, in pwrite mode: it goes on in another folder.
    taken: AtomicBool,
    /// A thread that logs waits for the next file.
    awaited: AtomicBool,
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
    /// The next file is being made, by another thread or without the lock.
    making: bool,
    /// Somebody has waited for it in vain: the disk stands still, so nobody waits again before it is done.
    late: bool,
    /// Why the last one could not be made.
    refused: Option<io::Error>,
    /// Names in the folder are not durable, although that was tried.
    unsynced_names: bool,
}

/// How a writer keeps rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// The number of the lake in this process.
    pub(crate) lake: u64,
    /// The mode to begin with; where files cannot be mapped after all, it is pwrite mode.
    pub(crate) mode: Mode,
    /// How much memory may hold rows that the disk does not take, or, in pwrite mode, has not taken yet.
    pub(crate) spill_bytes: u64,
    /// How long a thread that logs waits, where rows come faster than the disk takes them.
    pub(crate) max_block: Duration,
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
    Name(Box<Error>),
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
    /// Which names the file has defined, as far as rows that came here tell.
    known: Known,
}

/// What has to be defined in the file before a frame can be written.
enum Undefined {
    Name(Space, u32),
    /// The shape of the row.
    Shape,
}

/// Why a frame is not published where a thread stands.
enum NotHere {
    /// It has so many bytes, for which there is no room.
    NoRoom(usize),
    Sealed,
}

impl Cursor {
    /// The block that follows the one at which the thread stood.
    fn new(file: Arc<LogFile>, block: Block, before: Option<Self>) -> Self {
        let mut known = Known::default();
        if let Some(before) = before {
            let is_same_file = Arc::ptr_eq(&before.file, &file);
            known = before.known;
            if !is_same_file {
                known.forget();
            }
        }
        Self { file, block, reached: (0, i64::MIN), known }
    }

    /// The number of the shape of a row, by which it is written here; `None` for what is written in full.
    #[inline]
    fn shape(&mut self, frame: &Frame<'_>) -> Result<Option<u32>, Undefined> {
        match self.known.form(frame) {
            Some(Form::Numbered(number)) => return Ok(Some(number)),
            Some(Form::Repeated) => return Err(Undefined::Shape),
            Some(Form::Full | Form::Later) => return Ok(None),
            None => {}
        }
        if let Some((space, id)) = first_undefined(&self.file, frame) {
            return Err(Undefined::Name(space, id));
        }
        self.known.keep(frame);
        Ok(None)
    }

    /// Publishes a frame whose names are defined, a row by the number of its shape where it has one.
    #[inline]
    fn append(&mut self, frame: &Frame<'_>, shape: Option<u32>) -> Result<Place, NotHere> {
        let like = shape.and_then(|number| frame.like(number));
        let bytes = like.map_or_else(|| frame.bytes(), |like| like.bytes());
        if bytes > self.block.room() {
            return Err(NotHere::NoRoom(bytes));
        }
        // Before the row is there: whoever finds a row finds that its run has come as far, and a resume hides none.
        match *frame {
            Frame::Row { run, step, .. } => self.reach(run, step),
            Frame::Many { run, step, steps: None, values, .. } => {
                self.reach(run, step.saturating_add(values.len() as i64 - 1));
            }
            Frame::Many { run, steps: Some(steps), .. } => {
                self.reach(run, steps.iter().copied().max().unwrap_or(i64::MIN));
            }
            Frame::Name { .. } | Frame::Shape { .. } | Frame::Fact { .. } => {}
        }
        let salt = self.file.header.salt;
        let appended = self.block.append(bytes, |out| match &like {
            Some(like) => like.write(salt, out),
            None => frame.write(salt, out),
        });
        let offset = appended.map_err(|Sealed| NotHere::Sealed)?;
        Ok(Place { number: self.file.header.number, offset: offset as u64 })
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
    /// The writer, its lake, and the generation of forks in which it was made.
    key: u64,
    lake: u64,
    generation: u64,
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
            self.0.push(Slot {
                key: writer.key,
                lake: writer.settings.lake,
                generation: writer.generation,
                writer: Arc::downgrade(writer),
                cursor,
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// Appends a frame where this thread stands in the log of a lake, if that takes a store and nothing else: there is room, and
/// its names are defined. False where it takes more than that. A writer that is retired need not be told from one that is
/// not: its blocks are sealed.
#[inline]
pub(crate) fn append_here(lake: u64, frame: &Frame<'_>) -> bool {
    let appended = CURSORS.try_with(|cursors| {
        let mut cursors = cursors.try_borrow_mut().ok()?;
        let mine = |slot: &&mut Slot| slot.lake == lake && slot.generation == os::fork_generation();
        let place = cursors
            .0
            .iter_mut()
            .filter(mine)
            .find_map(|slot| Some(&mut slot.cursor).filter(|cursor| cursor.is_some()))?;
        let cursor = place.as_mut()?;
        let shape = cursor.shape(frame).ok()?;
        let appended = cursor.append(frame, shape);
        if matches!(appended, Err(NotHere::Sealed)) {
            *place = None;
        }
        appended.ok()
    });
    appended.ok().flatten().is_some()
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
        settings: Settings,
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
        let make = |mode| {
            let header = header(id, &host, mode, 1, FIRST_BLOCKS, now_us);
            match mode {
                // Filling it would hold up whoever starts a run.
                Mode::Mapped => LogFile::create(&folder, header, &|| true),
                Mode::Written => LogFile::in_memory(&folder, header),
            }
        };
        let first = make(settings.mode).or_else(|error| {
            if disk::is_full(&error) || settings.mode == Mode::Written {
                return Err(error);
            }
            tracing::warn!(folder = %folder.display(), %error, "the log cannot be mapped; it is written from memory");
            make(Mode::Written)
        });
        let first = first.map_err(|error| Error::io("create a log in", &folder, error))?;
        first.beat(now_us);
        let mode = first.header.mode;
        let first = Arc::new(first);
        Ok(Arc::new(Self {
            id,
            home,
            folder,
            // ORDERING: Relaxed, a counter.
            key: KEYS.fetch_add(1, Ordering::Relaxed).cast_unsigned(),
            generation: os::fork_generation(),
            host,
            settings,
            mode,
            current: ArcSwap::new(Arc::clone(&first)),
            files: Mutex::new(Files {
                open: vec![first],
                next: None,
                number: 1,
                making: false,
                late: false,
                refused: None,
                unsynced_names: true,
            }),
            changed: Changed::default(),
            left: ArrayQueue::new(64),
            sealed: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            dropped: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// How it brings rows to disk.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
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
            Some(self.append_at(&mut cursors.slot(self).cursor, names, frame))
        });
        // A thread that logs from a destructor of its own has no place to keep a block any more.
        cached.ok().flatten().unwrap_or_else(|| self.append_at(&mut None, names, frame))
    }

    fn append_at(
        self: &Arc<Self>,
        cursor: &mut Option<Cursor>,
        names: &Names,
        frame: &Frame<'_>,
    ) -> Result<Place, NotKept> {
        loop {
            let Some(here) = cursor else {
                self.claim(cursor)?;
                continue;
            };
            let shape = match here.shape(frame) {
                Ok(shape) => shape,
                Err(Undefined::Name(space, id)) => {
                    self.define(cursor, names, space, id)?;
                    continue;
                }
                Err(Undefined::Shape) => {
                    self.define_shape(cursor, frame)?;
                    continue;
                }
            };
            match here.append(frame, shape) {
                Ok(place) => return Ok(place),
                Err(NotHere::Sealed) => *cursor = None,
                Err(NotHere::NoRoom(bytes)) if bytes <= BLOCK_BYTES => self.claim(cursor)?,
                Err(NotHere::NoRoom(bytes)) => {
                    // In the file that has just defined the frame's names. The thread then goes on in what the frame
                    // leaves of these blocks: its earlier block stands before them, and later rows must not.
                    let (file, blocks) = (Arc::clone(&here.file), bytes.div_ceil(BLOCK_BYTES));
                    if let Some(block) = file.claim(blocks) {
                        *cursor = Some(Cursor::new(file, block, cursor.take()));
                    } else {
                        *cursor = None;
                        self.roll_over(&file, blocks)?;
                    }
                }
            }
        }
    }

    /// Moves a cursor to a new block of the current file, or of the one that follows.
    fn claim(self: &Arc<Self>, cursor: &mut Option<Cursor>) -> Result<(), NotKept> {
        loop {
            let file = self.current.load_full();
            if let Some(block) = file.claim(1) {
                *cursor = Some(Cursor::new(file, block, cursor.take()));
                return Ok(());
            }
            self.roll_over(&file, 1)?;
        }
    }

    /// Gives `id` its meaning in the cursor's file, or moves the cursor to where there is room to do so.
    fn define(
        self: &Arc<Self>,
        cursor: &mut Option<Cursor>,
        names: &Names,
        space: Space,
        id: u32,
    ) -> Result<(), NotKept> {
        let Some(Cursor { file, block, .. }) = cursor else { return Ok(()) };
        let unknown = || {
            NotKept::Name(Box::new(Error::Invalid {
                what: "metric",
                detail: format!("id {id} is not of this lake"),
            }))
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
            return self.claim(cursor);
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

    /// Gives the shape of the last row, which came before, its number in the cursor's file, or moves the cursor as `define`
    /// does. A row can do without it, so nobody waits here for who defines something.
    fn define_shape(
        self: &Arc<Self>,
        cursor: &mut Option<Cursor>,
        row: &Frame<'_>,
    ) -> Result<(), NotKept> {
        let Some(Cursor { file, block, known, .. }) = cursor else { return Ok(()) };
        if row.shape(0).bytes() > block.room() {
            return self.claim(cursor);
        }
        let Ok(mut shapes) = file.defining.try_lock() else {
            known.settle(Form::Later);
            return Ok(());
        };
        let form = if let Some(number) = shapes.number(known.names()) {
            Form::Numbered(number)
        } else if let Some(next) = shapes.next(known.names()) {
            let (frame, salt) = (row.shape(next), file.header.salt);
            if block.append(frame.bytes(), |out| frame.write(salt, out)).is_err() {
                drop(shapes);
                *cursor = None;
                return Ok(());
            }
            shapes.add(known.names());
            Form::Numbered(next)
        } else {
            Form::Full
        };
        drop(shapes);
        known.settle(form);
        Ok(())
    }

    /// Makes another file the current one, unless that has happened already. The only place on the path of a row that
    /// may wait, and then no longer than `max_block`; the background sees to it that it seldom does.
    fn roll_over(self: &Arc<Self>, full: &Arc<LogFile>, blocks: usize) -> Result<(), NotKept> {
        let mut files = self.files();
        if !self.is_current(full) {
            return Ok(());
        }
        // Whoever closed the writer has let the folder go: a file that came later might be in nobody's hands.
        if self.is_retired() {
            return Err(NotKept::Retired);
        }
        // ORDERING: Acquire pairs with the Release in `seal_own`: a seal of our own is not taken for somebody else's.
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
        let wanted = next_blocks(full).max(least);
        let next = match self.mode {
            Mode::Mapped => {
                files = self.await_next(files, full, wanted, least);
                if self.is_retired() || !self.is_current(full) {
                    return Ok(());
                }
                match files.next.take_if(|next| next.header.blocks >= least) {
                    Some(next) => next,
                    None => self.spill(&mut files, least)?,
                }
            }
            Mode::Written => {
                // A file begins on disk once the one before it is whole there: nothing may be added to that any more.
                self.seal_own(full);
                let mut next = None;
                files = self.changed.wait_while(files, self.settings.max_block, |files| {
                    let waits = self.is_current(full) && !self.is_retired();
                    next = waits.then(|| self.room(files, full, wanted, least));
                    next == Some(0)
                });
                match next {
                    None => return Ok(()),
                    Some(0) => return self.starve(io::ErrorKind::TimedOut.into()),
                    Some(blocks) => self.in_memory(&mut files, blocks).map_err(NotKept::Full)?,
                }
            }
        };
        let blocks = next.header.blocks;
        let follows = next_blocks(&next);
        self.follow(&mut files, next);
        if self.mode == Mode::Mapped
            && blocks >= HASTY_BLOCKS
            && files.next.is_none()
            && !files.making
        {
            files = self.begin_next(files, follows);
        }
        drop(files);
        Ok(())
    }

    /// Lets another thread make the next file.
    fn begin_next<'a>(
        self: &'a Arc<Self>,
        mut files: MutexGuard<'a, Files>,
        blocks: u32,
    ) -> MutexGuard<'a, Files> {
        let number = files.begin();
        drop(files);
        let writer = Arc::clone(self);
        let begun = concurrent::aside(move || {
            let _prepared = writer.make_next(number, blocks);
        });
        files = self.files();
        if !begun {
            files.making = false;
            self.changed.notify();
        }
        files
    }

    fn is_current(&self, file: &Arc<LogFile>) -> bool {
        Arc::ptr_eq(&self.current.load(), file)
    }

    /// Puts the next file behind the last one.
    fn follow(&self, files: &mut Files, next: Arc<LogFile>) {
        self.starved.store(false, Ordering::Relaxed);
        files.open.push(Arc::clone(&next));
        self.current.store(next);
    }

    /// Waits until a next file of at least `least` blocks is prepared, or none is to be had for now. Another thread makes
    /// it where nobody does: a disk that stands still must not hold up one that logs.
    fn await_next<'a>(
        self: &'a Arc<Self>,
        mut files: MutexGuard<'a, Files>,
        full: &Arc<LogFile>,
        wanted: u32,
        least: u32,
    ) -> MutexGuard<'a, Files> {
        if files.next.as_ref().is_some_and(|next| next.header.blocks >= least) {
            return files;
        }
        // ORDERING: Relaxed, here and below: a hint to whoever makes the file.
        self.awaited.store(true, Ordering::Relaxed);
        if !files.making {
            files = self.begin_next(files, wanted);
        }
        if !files.late {
            files = self.changed.wait_while(files, self.settings.max_block, |files| {
                files.making && self.is_current(full)
            });
        }
        // Not where somebody else has gone on meanwhile: what is being made now has only begun.
        files.late = files.making && self.is_current(full);
        self.awaited.store(files.late, Ordering::Relaxed);
        files
    }

    /// Makes a file on disk the next one. `number` comes from [`Files::begin`].
    fn make_next(&self, number: u64, blocks: u32) -> Option<Arc<LogFile>> {
        // Nobody has written into one that is too small, and the disk may need the room.
        let small = self.files().next.take();
        if let Some(small) = small {
            drop(disk::remove_if_there(&small.path));
        }
        let now_us = os::now_us();
        let header = header(self.id, &self.host, Mode::Mapped, number, blocks, now_us);
        // ORDERING: Relaxed, a hint.
        let is_awaited = || self.awaited.load(Ordering::Relaxed);
        let made = LogFile::create(&self.folder, header, &is_awaited).map(Arc::new);
        let mut files = self.files();
        (files.making, files.late) = (false, false);
        self.awaited.store(false, Ordering::Relaxed);
        // Numbers count up: behind a file with a higher number this one would be taken for flushed.
        let is_wanted = files.number == number && !self.is_retired();
        let made = match made {
            Ok(file) if is_wanted => {
                file.beat(now_us);
                files.next = Some(Arc::clone(&file));
                Some(file)
            }
            Ok(late) => {
                drop(files);
                drop(disk::remove_if_there(&late.path));
                None
            }
            Err(error) => {
                files.refused = Some(error);
                if is_wanted {
                    files.number -= 1;
                }
                None
            }
        };
        self.changed.notify();
        made
    }

    /// Memory for rows that the disk does not take. Small at first and larger with each, as on disk: what one has taken
    /// is given back once it is flushed, and only then.
    fn spill(&self, files: &mut Files, least: u32) -> Result<Arc<LogFile>, NotKept> {
        let error = files.refused.take().unwrap_or_else(|| io::ErrorKind::TimedOut.into());
        let last = files.open.iter().rfind(|file| file.is_spill());
        let wanted = last.map_or(FIRST_BLOCKS, |last| next_blocks(last)).max(least);
        let current = self.current.load_full();
        match self.room(files, &current, wanted, least) {
            0 => self.starve(error),
            blocks => {
                tracing::warn!(folder = %self.folder.display(), %error, "the disk takes no log; rows wait in memory");
                self.in_memory(files, blocks).map_err(NotKept::Full)
            }
        }
    }

    /// How many blocks a file in memory behind `full` may have, of those wanted; 0 where they are fewer than `least`.
    fn room(&self, files: &Files, full: &LogFile, wanted: u32, least: u32) -> u32 {
        let taken: u64 = files.open.iter().map(|file| file.memory_bytes()).sum();
        let free = super::blocks_within(self.settings.spill_bytes.saturating_sub(taken));
        let blocks = match self.mode {
            Mode::Mapped => wanted.min(free),
            // Several, so that one can be filled while another is written. Where all are written, one is always to be
            // had, and it grows as long as no row finds room: a row and its names must fit into one.
            Mode::Written => {
                let part = super::blocks_within(self.settings.spill_bytes / 4).max(FIRST_BLOCKS);
                match taken {
                    0 if !full.has_rows() => wanted,
                    0 => wanted.min(part.max(least)),
                    _ => wanted.min(part.max(least)).min(free),
                }
            }
        };
        if blocks >= least { blocks } else { 0 }
    }

    fn in_memory(&self, files: &mut Files, blocks: u32) -> io::Result<Arc<LogFile>> {
        let number = files.number + 1;
        let now_us = os::now_us();
        let header = header(self.id, &self.host, self.mode, number, blocks, now_us);
        let file = LogFile::in_memory(&self.folder, header)?;
        files.number = number;
        file.beat(now_us);
        Ok(Arc::new(file))
    }

    /// Nothing can be kept until the disk takes something again.
    fn starve<T>(&self, error: io::Error) -> Result<T, NotKept> {
        if !self.starved.swap(true, Ordering::Relaxed) {
            tracing::warn!(folder = %self.folder.display(), %error, "the disk takes no rows and memory is full; rows are lost");
        }
        Err(NotKept::Full(error))
    }

    /// Seals a file as one's own.
    fn seal_own(&self, file: &LogFile) {
        // ORDERING: Release pairs with the Acquire in `roll_over`: who sees the seal sees whose it is.
        self.sealed.fetch_max(file.header.number, Ordering::Release);
        file.seal();
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the background does between rows: shows that the writer lives, says which rows were not kept, prepares the
    /// next file, and asks a disk that was full again. True where a file was prepared: the next one may be wanted soon.
    pub(crate) fn tend(&self, now_us: i64) -> bool {
        let current = self.current.load_full();
        current.beat(now_us);
        self.say_dropped();
        if self.mode == Mode::Written {
            return false;
        }
        let waits = current.is_spill() || self.starved.load(Ordering::Relaxed);
        let mut files = self.files();
        if files.making || !waits && (files.next.is_some() || !current.is_half_full()) {
            return false;
        }
        let number = files.begin();
        drop(files);
        let blocks = if waits { FIRST_BLOCKS } else { next_blocks(&current) };
        if self.make_next(number, blocks).is_none() {
            return false;
        }
        if waits {
            // Rows wait in memory: a real file ends that.
            let mut files = self.files();
            if let Some(next) = files.next.take() {
                self.follow(&mut files, next);
            }
        }
        !waits
    }

    /// Brings to disk what is published, in pwrite mode. Waits for the disk: never for a thread that logs.
    pub(crate) fn write(&self) -> io::Result<()> {
        if self.mode == Mode::Mapped {
            return Ok(());
        }
        let open = self.files().open.clone();
        for file in open {
            let held = file.memory_bytes();
            let written = file.write();
            if file.memory_bytes() < held {
                self.starved.store(false, Ordering::Relaxed);
                // Under the lock, so that nobody who has just found no room misses it.
                let _nobody_decides_now = self.files();
                self.changed.notify();
            }
            // A file begins on disk once the one before it is whole there. So a reader that finds this one has all of
            // that one, and one number and one byte say how far it came.
            if !written? {
                break;
            }
        }
        Ok(())
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
    fn say_dropped(&self) {
        let open = self.files().open.clone();
        let dropped = self.dropped().clone();
        #[expect(clippy::iter_over_hash_type, reason = "each run has its own place")]
        for (key, rows) in dropped {
            let mut on_disk = open.iter().rev().filter(|file| file.is_on_disk());
            let _where = on_disk.find(|file| file.say_dropped(key, rows));
        }
    }

    fn dropped(&self) -> MutexGuard<'_, FxHashMap<u64, u64>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what was published before the call. After a failure rows go on into a new file, and every call
    /// fails until the rows of the failed one are flushed.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<()> {
        self.write().map_err(|error| Error::io("write to", &self.folder, error))?;
        let (open, unsynced_names) = {
            let mut files = self.files();
            (files.open.clone(), std::mem::take(&mut files.unsynced_names))
        };
        let mut failed = None;
        for file in &open {
            if let Err(error) = file.copy_to_sync() {
                failed = failed.or_else(|| Some(Error::io("copy", &file.path, error)));
            }
        }
        let new_names = open.iter().filter(|file| file.take_new_name()).count();
        if unsynced_names || new_names > 0 {
            let elsewhere = (self.home != self.folder).then_some(&self.home);
            let mut folders =
                [&self.folder].into_iter().chain(elsewhere).flat_map(|it| it.ancestors().take(2));
            let synced = folders.try_for_each(disk::sync_dir);
            if synced.is_err() {
                self.files().unsynced_names = true;
                return synced;
            }
        }
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
    pub(super) fn abandon(self: &Arc<Self>, file: &Arc<LogFile>) {
        self.seal_own(file);
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
        self.files().open.iter().any(|file| file.is_stuck() || file.is_poisoned())
    }

    /// Rolls over, seals every file before the new one, and returns those: their contents are final. A writer that is
    /// retired gives all of them.
    pub(crate) fn seal_below(&self) -> Vec<Arc<LogFile>> {
        let mut files = self.files();
        if self.is_retired() {
            files.open.iter().for_each(|file| self.seal_own(file));
            return files.open.clone();
        }
        let current = self.current.load_full();
        let waits = current.published_bytes() > 0;
        let blocks =
            if current.is_half_full() { next_blocks(&current) } else { current.header.blocks };
        // Where no file can be had, what stands before the current one is flushed all the same.
        let mut next = None;
        if waits && self.mode == Mode::Mapped {
            if files.next.is_none() && !files.making {
                let number = files.begin();
                drop(files);
                let _prepared = self.make_next(number, blocks);
                files = self.files();
            }
            // Rows in memory are not seen before they are flushed, so this waits longer than a thread that logs.
            files = self.changed.wait_while(files, FLUSH_WAITS, |files| files.making);
            next = files.next.take_if(|_| self.is_current(&current));
        }
        // What is in memory is flushed with the others: whoever logs meanwhile waits until that has made room. In mapped
        // mode once it stands alone: then the tables take rows, although the disk has no file for a log.
        let is_alone = || self.is_current(&current) && current.is_spill() && files.open.len() == 1;
        if waits && next.is_none() && (self.mode == Mode::Written || is_alone()) {
            self.seal_own(&current);
            let blocks = self.room(&files, &current, blocks, 1);
            next = Some(blocks)
                .filter(|&blocks| blocks > 0)
                .and_then(|blocks| self.in_memory(&mut files, blocks).ok());
        }
        if let Some(next) = next {
            self.follow(&mut files, next);
        }
        let current = self.current.load_full();
        let is_below = |file: &&Arc<LogFile>| {
            file.header.number < current.header.number
                || (self.mode == Mode::Written || file.is_spill()) && file.is_sealed()
        };
        let below: Vec<_> = files.open.iter().filter(is_below).cloned().collect();
        drop(files);
        for file in &below {
            self.seal_own(file);
        }
        below
    }

    /// Somebody else has committed a part of this log.
    pub(crate) fn note_taken(&self) {
        // ORDERING: Relaxed, the flag stands alone.
        self.taken.store(true, Ordering::Relaxed);
    }

    /// True once somebody else has committed a part of this log: go on in another one.
    pub(crate) fn is_taken(&self) -> bool {
        // ORDERING: Relaxed, the flag stands alone.
        self.taken.load(Ordering::Relaxed)
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
        self.starved.store(false, Ordering::Relaxed);
        self.changed.notify();
        done.iter().try_for_each(|file| file.remove())
    }

    /// Takes no more rows: from here on they go to another writer.
    pub(crate) fn retire(&self) {
        let mut files = self.files();
        self.retired.store(true, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `roll_over`.
        self.sealed.store(u64::MAX, Ordering::Release);
        let next = files.next.take();
        let open = files.open.clone();
        drop(files);
        self.changed.notify();
        for file in &open {
            file.seal();
        }
        if let Some(next) = next {
            drop(disk::remove_if_there(&next.path));
        }
    }

    /// Seals everything and lets the folder go: whoever comes by may adopt it. A folder without a row is removed.
    pub(crate) fn close(&self) -> Result<()> {
        self.retire();
        let written = self.write();
        let open = std::mem::take(&mut self.files().open);
        if open.iter().all(|file| file.published_bytes() == 0) {
            open.iter().try_for_each(|file| file.remove())?;
            owner::remove(&self.home)?;
            owner::remove(&self.folder)?;
        } else {
            for file in &open {
                if let Err(error) = file.settle() {
                    tracing::warn!(%error, "a log keeps its copy");
                }
            }
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        written.map_err(|error| Error::io("write to", &self.folder, error))
    }
}

impl Files {
    /// The number of a file that is going to be made.
    fn begin(&mut self) -> u64 {
        self.making = true;
        self.number += 1;
        self.number
    }
}

/// The blocks of the file that follows a full one.
fn next_blocks(full: &LogFile) -> u32 {
    (full.header.blocks * 4).min(LARGEST_BLOCKS)
}

fn header(
    writer: uuid::Uuid,
    host: &Host,
    mode: Mode,
    number: u64,
    blocks: u32,
    created_us: i64,
) -> Header {
    let file = uuid::Uuid::new_v4();
    Header {
        blocks,
        salt: crc32c::crc32c(file.as_bytes()),
        mode,
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
        Frame::Name { .. } | Frame::Shape { .. } => return None,
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
        let settings = Settings {
            lake: 0,
            mode: Mode::Mapped,
            spill_bytes: 0,
            max_block: Duration::from_millis(100),
        };
        let writer = Writer::create(folder.path(), None, Host::this(), settings, 0).unwrap();
        let names = Names::default();
        let name = |name: &str| name.to_owned();
        let run = RunName { project: name("p"), run_id: name("r"), launch: name("l") };
        let run = names.runs.id(&run).unwrap();
        let points = [(MetricId(names.metrics.id("loss").unwrap()), 0.5)];
        let row = Frame::Row { run, labels: NO_LABELS, step: 0, time: 0, points: &points };
        // The second one has the shape of the first, which gets a number.
        writer.append(&names, &row).unwrap();
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
