//! What stands in for memory, locks and atomics in the proofs (`cfg(proof)`): those of loom, which tries every order of
//! what threads do and every value that an atomic may still show, or of shuttle (`cfg(shuttle)` beside it), which tries
//! random orders of more threads. The code above is the code that ships.
//!
//! A mapping is memory of this process that all mappings of one file share, and `read_at` reads it as `pread` does: each
//! word for itself, with no order among them. loom is told which bytes are read and written, and fails where one thread
//! may read what another writes.

pub(crate) use std::sync::atomic::AtomicI64;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Weak},
};

#[cfg(not(shuttle))]
pub(crate) use ::loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence},
};
#[cfg(not(shuttle))]
use ::loom::{cell::UnsafeCell, sync::atomic::AtomicPtr};
#[cfg(shuttle)]
use ::shuttle::sync::atomic::AtomicPtr;
#[cfg(shuttle)]
pub(crate) use ::shuttle::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence},
};

use super::{
    BLOCK_BYTES, HEADER_BYTES, TAIL_STRIDE, blocks_start, file_bytes, header::CLAIM_OFFSET,
};

/// A value for each thread of the model.
macro_rules! explored_thread_local {
    (static $name:ident: $kind:ty = const { $value:expr };) => {
        #[cfg(not(shuttle))]
        ::loom::thread_local! { static $name: $kind = $value; }
        #[cfg(shuttle)]
        ::shuttle::thread_local! { static $name: $kind = $value; }
    };
}
pub(crate) use explored_thread_local as thread_local;

/// A pointer that is loaded without a lock. What it pointed to stays, as a reader of the original would keep it.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    current: AtomicPtr<T>,
    kept: std::sync::Mutex<Vec<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { current: AtomicPtr::new(pointer(&value)), kept: std::sync::Mutex::new(vec![value]) }
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        // ORDERING: Acquire, as the crate promises; pairs with `store`.
        let current = self.current.load(Ordering::Acquire);
        let kept = self.kept.lock().unwrap();
        Arc::clone(kept.iter().find(|one| pointer(one) == current).expect("nothing is let go"))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let next = pointer(&value);
        self.kept.lock().unwrap().push(value);
        // ORDERING: AcqRel, as the crate promises; pairs with `load_full`.
        self.current.swap(next, Ordering::AcqRel);
    }
}

fn pointer<T>(value: &Arc<T>) -> *mut T {
    Arc::as_ptr(value).cast_mut()
}

/// A bounded queue.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T>(Mutex<VecDeque<T>>, usize);

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(VecDeque::new()), capacity)
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut queue = self.0.lock().unwrap();
        if queue.len() == self.1 {
            return Err(value);
        }
        queue.push_back(value);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }
}

/// A value that is set once.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    setting: Mutex<()>,
    is_set: AtomicBool,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            setting: Mutex::new(()),
            is_set: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // ORDERING: Acquire pairs with the Release in `get_or_init`: who sees the flag sees the value.
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let _alone = self.setting.lock().unwrap();
            self.value.get_or_init(value);
            self.is_set.store(true, Ordering::Release);
        }
        self.value.get().expect("it was just set")
    }
}

/// Threads that wait until something has changed. In a proof nobody loses patience: who waits in vain, waits for ever,
/// and the checker says so.
#[derive(Debug, Default)]
pub(crate) struct Changed(Condvar);

impl Changed {
    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _most: std::time::Duration,
        mut waits: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while waits(&mut guard) {
            guard = self.0.wait(guard).unwrap();
        }
        guard
    }

    pub(crate) fn notify(&self) {
        self.0.notify_all();
    }
}

/// Who does not want to wait for another thread does it alone.
pub(crate) fn aside(work: impl FnOnce()) -> bool {
    work();
    true
}

/// What is asked of the pages of a mapping; nothing here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Advice {
    DontFork,
    PopulateWrite,
}

/// How a mapping is made.
#[derive(Debug)]
pub(crate) struct MmapOptions(usize);

impl MmapOptions {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn len(&mut self, bytes: usize) -> &mut Self {
        self.0 = bytes;
        self
    }

    pub(crate) fn map_anon(&self) -> io::Result<MmapRaw> {
        Ok(MmapRaw(Arc::new(Pages::new(self.0))))
    }

    pub(crate) fn map_raw(&self, file: &File) -> io::Result<MmapRaw> {
        let identity = identity(file)?;
        MAPPED.with_borrow_mut(|mapped| {
            let pages = mapped.get(&identity).and_then(Weak::upgrade).unwrap_or_else(|| {
                mapped.retain(|_, pages| pages.strong_count() > 0);
                Arc::new(Pages::new(self.0))
            });
            mapped.insert(identity, Arc::downgrade(&pages));
            Ok(MmapRaw(pages))
        })
    }
}

std::thread_local! {
    /// What is mapped, by device and inode. A checker runs all threads of a model on one thread of the system.
    static MAPPED: RefCell<BTreeMap<(u64, u64), Weak<Pages>>> = const { RefCell::new(BTreeMap::new()) };
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A mapping of a log file.
#[derive(Debug)]
pub(crate) struct MmapRaw(Arc<Pages>);

/// The memory behind all mappings of a file.
#[derive(Debug)]
struct Pages {
    /// The words of the header from the claim word on, then the tail words.
    words: Vec<AtomicU64>,
    /// Signed words of the header: hints, whose order is not explored.
    hints: Vec<AtomicI64>,
    /// All bytes; those of words stay zero.
    bytes: Vec<std::sync::atomic::AtomicU64>,
    /// One for each eight bytes, by which loom knows who reads and writes them.
    #[cfg(not(shuttle))]
    cells: Vec<UnsafeCell<()>>,
}

const HEADER_WORDS: usize = (HEADER_BYTES - CLAIM_OFFSET) / 8;

impl Pages {
    fn new(len: usize) -> Self {
        let blocks =
            (0..).find(|&blocks| file_bytes(blocks) >= len).expect("files grow with blocks");
        Self {
            words: (0..HEADER_WORDS + blocks).map(|_| AtomicU64::new(0)).collect(),
            hints: (0..HEADER_WORDS).map(|_| AtomicI64::new(0)).collect(),
            bytes: (0..len / 8).map(|_| std::sync::atomic::AtomicU64::new(0)).collect(),
            #[cfg(not(shuttle))]
            cells: (0..blocks * BLOCK_BYTES / 8).map(|_| UnsafeCell::new(())).collect(),
        }
    }

    fn blocks(&self) -> usize {
        self.words.len() - HEADER_WORDS
    }
}

impl MmapRaw {
    pub(crate) fn len(&self) -> usize {
        self.0.bytes.len() * 8
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.0.bytes[0].as_ptr().cast()
    }

    pub(crate) fn advise(&self, _advice: Advice) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        match offset.checked_sub(HEADER_BYTES) {
            None => &self.0.words[(offset - CLAIM_OFFSET) / 8],
            Some(tail) => &self.0.words[HEADER_WORDS + tail / TAIL_STRIDE],
        }
    }

    pub(crate) fn signed_word(&self, offset: usize) -> &AtomicI64 {
        &self.0.hints[(offset - CLAIM_OFFSET) / 8]
    }

    /// These bytes are about to be written.
    pub(crate) fn writes(&self, offset: usize, len: usize) {
        #[cfg(not(shuttle))]
        for cell in self.cells(offset, len) {
            cell.with_mut(|_| ());
        }
    }

    /// These bytes are about to be read.
    pub(crate) fn reads(&self, offset: usize, len: usize) {
        #[cfg(not(shuttle))]
        for cell in self.cells(offset, len) {
            cell.with(|_| ());
        }
    }

    #[cfg(not(shuttle))]
    fn cells(&self, offset: usize, len: usize) -> &[UnsafeCell<()>] {
        let start = blocks_start(self.0.blocks());
        let at = |offset: usize| offset.saturating_sub(start) / 8;
        &self.0.cells[at(offset)..at((offset + len).next_multiple_of(8))]
    }
}

/// Reading from a file at a place, as `std::os::unix::fs::FileExt` does.
pub(crate) trait FileExt {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl FileExt for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let identity = identity(self)?;
        let pages = MAPPED.with_borrow(|mapped| mapped.get(&identity).and_then(Weak::upgrade));
        let Some(map) = pages.map(MmapRaw) else {
            return std::os::unix::fs::FileExt::read_at(self, bytes, offset);
        };
        let offset = usize::try_from(offset).unwrap().min(map.len());
        let len = bytes.len().min(map.len() - offset);
        map.reads(offset, len);
        for (byte, at) in bytes[..len].iter_mut().zip(offset..) {
            let eight = map.0.bytes[at / 8].load(Ordering::Relaxed);
            *byte = eight.to_ne_bytes()[at % 8];
        }
        for block in 0..map.0.blocks() {
            let at = HEADER_BYTES + block * TAIL_STRIDE;
            if let Some(place) =
                at.checked_sub(offset).and_then(|at| bytes[..len].get_mut(at..at + 8))
            {
                // ORDERING: Relaxed: the system copies words in any order.
                let word = map.word(at).load(Ordering::Relaxed);
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        Ok(len)
    }
}
