//! One log file of a living writer: its memory, and which names it has defined.
#![expect(clippy::cast_possible_truncation, reason = "a chunk count is small")]

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    file_bytes, file_name,
    frame::Space,
    header::{HEARTBEAT_OFFSET, Header, LAST_STEPS, LAST_STEPS_OFFSET},
    memory::{Block, Memory},
};
use crate::{disk, names::IDS_MAX, os};

/// A log file that this process writes.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// What its header says.
    pub(crate) header: Header,
    /// Where it stands; where it would stand, for a spill.
    pub(crate) path: PathBuf,
    /// The file, or none for a spill, which is memory of this process alone.
    file: Option<File>,
    memory: Arc<Memory>,
    defined: [Defined; 3],
    /// Held while a name is defined, so that each is defined once.
    pub(crate) defining: Mutex<()>,
    synced: AtomicU64,
    /// Set once the system failed to make the file durable: its pages may be marked clean, so that a second try would
    /// succeed without having written anything.
    poisoned: AtomicBool,
}

impl LogFile {
    /// Creates the file in `folder`, reserved and mapped. Durable only after a sync of the file and its folder.
    pub(crate) fn create(folder: &Path, header: Header) -> io::Result<Self> {
        let path = folder.join(file_name(header.number));
        let bytes = file_bytes(header.blocks as usize);
        // Under another name until the header stands, so that no reader ever meets a log file without one.
        let staged = folder.join(format!(".{}.tmp", header.number));
        let file = disk::create_for_mapping(&staged)?;
        let made = os::preallocate(&file, bytes as u64)
            .and_then(|()| Memory::of_file(&file, bytes))
            .map(|memory| Self::new(header, path.clone(), Some(file), memory))
            .and_then(|made| disk::rename(&staged, &path).map(|()| made));
        if made.is_err() {
            let _the_first_error_counts = disk::remove_if_there(&staged);
        }
        made
    }

    /// A file that is memory only, for rows that the disk does not take now.
    pub(crate) fn spill(folder: &Path, header: Header) -> io::Result<Self> {
        let memory = Memory::anonymous(file_bytes(header.blocks as usize))?;
        let path = folder.join(file_name(header.number));
        Ok(Self::new(header, path, None, memory))
    }

    fn new(header: Header, path: PathBuf, file: Option<File>, mut memory: Memory) -> Self {
        memory.put(0, &header.encode());
        Self {
            header,
            path,
            file,
            memory: Arc::new(memory),
            defined: [Defined::default(), Defined::default(), Defined::default()],
            defining: Mutex::new(()),
            synced: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// True for memory of this process alone.
    pub(crate) fn is_spill(&self) -> bool {
        self.file.is_none()
    }

    /// The bytes that it takes, on disk or in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// The number of its blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.header.blocks as usize
    }

    /// Claims blocks in a row.
    pub(crate) fn claim(&self, count: usize) -> Option<Block> {
        self.memory.claim(self.blocks(), count)
    }

    /// True when half of it is claimed: time to prepare the next one.
    pub(crate) fn is_half_full(&self) -> bool {
        self.memory.claimed() * 2 >= u64::from(self.header.blocks)
    }

    /// An upper bound of the bytes logged.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.memory.claimed().min(u64::from(self.header.blocks)) * super::BLOCK_BYTES as u64
    }

    /// Brings its pages in ahead of the first store.
    pub(crate) fn prefault(&self) {
        self.memory.prefault();
    }

    /// See [`Memory::seal`].
    pub(crate) fn seal(&self) {
        self.memory.seal(self.blocks());
    }

    /// See [`Memory::is_sealed`].
    pub(crate) fn is_sealed(&self) -> bool {
        self.memory.is_sealed()
    }

    /// The published bytes of a block.
    pub(crate) fn published(&self, block: usize) -> &[u8] {
        self.memory.published(self.blocks(), block)
    }

    /// Seals a file that its dead owner mapped on this host, so that an owner who is not dead after all notices.
    pub(crate) fn seal_orphan(path: &Path, header: &Header) -> io::Result<()> {
        let file = disk::open_for_mapping(path)?;
        let bytes = file_bytes(header.blocks as usize);
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short"));
        }
        Memory::of_file(&file, bytes)?.seal(header.blocks as usize);
        Ok(())
    }

    /// What a reader of the file would find at `offset`: tail words and published bytes, zeros elsewhere.
    pub(crate) fn copy(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut image = vec![0; super::blocks_start(self.blocks())];
        let header = self.header.encode();
        image[..header.len()].copy_from_slice(&header);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset >= image.len() {
            let (block, from) = (
                (offset - image.len()) / super::BLOCK_BYTES,
                (offset - image.len()) % super::BLOCK_BYTES,
            );
            let bytes = if block < self.blocks() { self.published(block) } else { &[] };
            return bytes.iter().skip(from).take(len).copied().collect();
        }
        for block in 0..self.blocks() {
            let at = super::HEADER_BYTES + block * super::TAIL_STRIDE;
            let word = super::tail_word(self.published(block).len());
            image[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        image.into_iter().skip(offset).take(len).collect()
    }

    /// How many bytes are published in all blocks together.
    pub(crate) fn published_bytes(&self) -> u64 {
        (0..self.blocks()).map(|block| self.published(block).len() as u64).sum()
    }

    /// The names that the file has defined in `space`.
    #[inline]
    pub(crate) fn defined(&self, space: Space) -> &Defined {
        &self.defined[space as usize]
    }

    /// Keeps the highest step that a run reached, where the run has a place in the header.
    #[inline]
    pub(crate) fn reach(&self, run: u32, step: i64) {
        if (run as usize) < LAST_STEPS {
            let word = self.memory.signed_word(LAST_STEPS_OFFSET + run as usize * 16 + 8);
            // ORDERING: Relaxed, a hint for a later resume; the row itself is what counts. The load spares the
            // read-modify-write on the common path of a second metric row at one step.
            if word.load(Ordering::Relaxed) < step {
                word.fetch_max(step, Ordering::Relaxed);
            }
        }
    }

    /// Gives a run its place in the header, where one is left. Called under `defining`.
    pub(crate) fn place_run(&self, run: u32, key: u64, last_step: Option<i64>) {
        if (run as usize) < LAST_STEPS {
            let at = LAST_STEPS_OFFSET + run as usize * 16;
            // ORDERING: Relaxed for the step, then Release for the key: who sees the key sees a step that was set.
            self.memory.signed_word(at + 8).store(last_step.unwrap_or(i64::MIN), Ordering::Relaxed);
            self.memory.word(at).store(key, Ordering::Release);
        }
    }

    /// Says that the writer lives.
    pub(crate) fn beat(&self, now_us: i64) {
        // ORDERING: Relaxed, a lone number.
        self.memory.signed_word(HEARTBEAT_OFFSET).store(now_us, Ordering::Relaxed);
    }

    /// Makes everything durable that was published before the call. Does nothing where nothing is new.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "rows wait in memory for the disk to take them",
            ));
        };
        let published = self.published_bytes();
        // ORDERING: Relaxed: `synced` is touched by the syncing thread only, the atomic is for `Sync`.
        if self.synced.load(Ordering::Relaxed) == published {
            return Ok(());
        }
        match os::sync_data(file) {
            Ok(()) => {
                self.synced.store(published, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                // ORDERING: Relaxed, a flag that is looked at between rows; no data hangs on it.
                self.poisoned.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// True once a sync failed: rows go on into a new file.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }
}

const CHUNK_WORDS: usize = 64;
const CHUNK_IDS: usize = CHUNK_WORDS * 64;
const CHUNKS: usize = IDS_MAX as usize / CHUNK_IDS;

/// A set of ids that only grows, read without a lock.
#[derive(Debug)]
pub(crate) struct Defined(Box<[OnceLock<Box<[AtomicU64; CHUNK_WORDS]>>]>);

impl Default for Defined {
    fn default() -> Self {
        Self((0..CHUNKS).map(|_| OnceLock::new()).collect())
    }
}

impl Defined {
    /// True where `id` was added before; who sees that also sees the frame that defines it.
    #[inline]
    pub(crate) fn has(&self, id: u32) -> bool {
        let id = id as usize;
        let Some(chunk) = self.0.get(id / CHUNK_IDS).and_then(OnceLock::get) else { return false };
        // ORDERING: Acquire pairs with the Release in `add`: the definition was published before the bit was set.
        chunk[id % CHUNK_IDS / 64].load(Ordering::Acquire) & 1 << (id % 64) != 0
    }

    /// Adds `id`, once its definition is published.
    pub(crate) fn add(&self, id: u32) {
        let id = id as usize;
        if let Some(chunk) = self.0.get(id / CHUNK_IDS) {
            let chunk = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK_WORDS]));
            // ORDERING: Release pairs with the Acquire in `has`.
            chunk[id % CHUNK_IDS / 64].fetch_or(1 << (id % 64), Ordering::Release);
        }
    }
}
