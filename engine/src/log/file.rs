//! One log file of a living writer: its memory, and which names it has defined.
#![expect(clippy::cast_possible_truncation, reason = "a chunk count is small")]

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use super::{
    concurrent::{self, AtomicBool, AtomicU8, AtomicU64, FileExt as _, Mutex, OnceLock, Ordering},
    file_bytes, file_name,
    frame::Space,
    header::{HEARTBEAT_OFFSET, Header, Mode, PLACE_BYTES, PLACES, PLACES_OFFSET},
    memory::{Block, Memory},
    shape::Shapes,
    stream::Stream,
    synced::Synced,
};
use crate::{Error, Result, disk, names::IDS_MAX, os};

/// The largest log file that is made durable as a whole when its writer ends: one of the first size and the next.
const SETTLED_BYTES: usize = 2 << 20;

/// A log file that this process writes.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// What its header says.
    pub(crate) header: Header,
    /// Where it stands; where it would stand, for a spill.
    pub(crate) path: PathBuf,
    disk: Disk,
    memory: Arc<Memory>,
    defined: [Defined; 3],
    places: Places,
    /// The shapes that it has defined. Held while a name or a shape is defined, so that each is defined once.
    pub(super) defining: Mutex<Shapes>,
    /// It has a name in its folder.
    is_on_disk: AtomicBool,
    /// It got that name and nobody has asked since.
    has_new_name: AtomicBool,
    /// All of it stands on disk, and its memory was given back.
    is_whole: AtomicBool,
    /// The last attempt to write failed: rows wait in memory.
    fails_to_write: AtomicBool,
    synced: AtomicU64,
    /// What the system said when it failed to make the file durable. Its pages may be marked clean since, so that a
    /// second try would succeed without having written anything.
    poisoned: OnceLock<(io::ErrorKind, String)>,
}

/// How the memory of a log file and the disk come together.
#[derive(Debug)]
enum Disk {
    /// The memory is a mapping of this file; what is synced stands in a copy.
    Mapped { file: File, synced: Mutex<Synced> },
    /// Not at all: rows wait for a flush.
    None,
    /// What is published is appended to a file.
    Stream(Mutex<Stream>),
}

impl LogFile {
    /// Creates the file in `folder`, reserved and mapped; and filled, so that no first store into a page costs a page fault in
    /// `log()`, unless somebody waits for it: the kernel may hold up who fills files where the disk is busy.
    pub(crate) fn create(
        folder: &Path,
        header: Header,
        is_awaited: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let path = folder.join(file_name(header.number));
        let bytes = file_bytes(header.blocks as usize);
        // Under another name until the header stands, so that no reader ever meets a log file without one.
        let staged = folder.join(format!(".{}.tmp", header.number));
        let file = disk::create_for_mapping(&staged)?;
        let made = disk::reserve(&file, &staged, bytes as u64)
            .and_then(|()| os::fill(&file, bytes as u64, is_awaited))
            .and_then(|()| disk::mapping(&staged, || Memory::of_file(&file, bytes)))
            .inspect(|memory| {
                if !is_awaited() {
                    memory.prefault();
                }
            })
            .map(|memory| {
                let synced = Mutex::new(Synced::new(header.blocks as usize));
                Self::new(header, path.clone(), Disk::Mapped { file, synced }, memory)
            })
            .and_then(|made| disk::rename(&staged, &path).map(|()| made));
        if made.is_err() {
            let _the_first_error_counts = disk::remove_if_there(&staged);
        }
        made
    }

    /// A file whose rows go to memory. In pwrite mode [`LogFile::write`] brings them to disk; else they are those that
    /// the disk does not take now, and wait there for a flush.
    pub(crate) fn in_memory(folder: &Path, header: Header) -> io::Result<Self> {
        let memory = Memory::anonymous(file_bytes(header.blocks as usize))?;
        let path = folder.join(file_name(header.number));
        let disk = match header.mode {
            Mode::Mapped => Disk::None,
            Mode::Written => Disk::Stream(Mutex::new(Stream::new(header.blocks as usize))),
        };
        Ok(Self::new(header, path, disk, memory))
    }

    fn new(header: Header, path: PathBuf, disk: Disk, mut memory: Memory) -> Self {
        memory.put(0, &header.encode());
        let is_mapped = matches!(disk, Disk::Mapped { .. });
        Self {
            header,
            path,
            disk,
            memory: Arc::new(memory),
            defined: [Defined::default(), Defined::default(), Defined::default()],
            places: Places::default(),
            defining: Mutex::default(),
            is_on_disk: AtomicBool::new(is_mapped),
            has_new_name: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            fails_to_write: AtomicBool::new(false),
            synced: AtomicU64::new(0),
            poisoned: OnceLock::new(),
        }
    }

    /// True for rows that no thread brings to disk: a flush does.
    pub(crate) fn is_spill(&self) -> bool {
        matches!(self.disk, Disk::None)
    }

    /// The bytes that it takes of this process's memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        // ORDERING: Relaxed: who misses the flag waits for memory that is there already, and is woken.
        let is_elsewhere =
            matches!(self.disk, Disk::Mapped { .. }) || self.is_whole.load(Ordering::Relaxed);
        if is_elsewhere { 0 } else { self.memory.len() as u64 }
    }

    /// Brings to disk what is published, in pwrite mode; a mapped file is there already. True once all of it is there and
    /// nothing can be added. Never for a thread that logs.
    pub(crate) fn write(&self) -> io::Result<bool> {
        let Disk::Stream(stream) = &self.disk else { return Ok(true) };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = self.path.with_file_name(format!(".{}.tmp", self.header.number));
        let written = stream.write(&staged, &self.path, &self.memory, || self.head());
        // ORDERING: Relaxed, here and below: flags that stand alone.
        if stream.file().is_some() && !self.is_on_disk.swap(true, Ordering::Relaxed) {
            self.has_new_name.store(true, Ordering::Relaxed);
        }
        self.fails_to_write.store(written.is_err(), Ordering::Relaxed);
        if matches!(written, Ok(true)) && !self.is_whole.swap(true, Ordering::Relaxed) {
            self.memory.give_back(self.blocks());
        }
        written
    }

    /// Copies what is published to where [`LogFile::sync`] makes it durable. Not in pwrite mode, which has no copy.
    pub(crate) fn copy_to_sync(&self) -> io::Result<()> {
        let Disk::Mapped { synced, .. } = &self.disk else { return Ok(()) };
        let mut synced = synced.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = synced.file().is_none();
        let staged = self.path.with_file_name(format!(".{}.synced.tmp", self.header.number));
        let path = super::synced_path(&self.path);
        synced.write(&staged, &path, &self.memory, || self.head())?;
        if is_first && synced.file().is_some() {
            // ORDERING: Relaxed, the flag stands alone.
            self.has_new_name.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// True where the file has a name in its folder.
    pub(crate) fn is_on_disk(&self) -> bool {
        // ORDERING: Relaxed, the flag stands alone.
        self.is_on_disk.load(Ordering::Relaxed)
    }

    /// True once after the file got its name.
    pub(crate) fn take_new_name(&self) -> bool {
        // ORDERING: Relaxed, the flag stands alone.
        self.has_new_name.swap(false, Ordering::Relaxed)
    }

    /// True where a run has logged a row here, as far as the places in the header tell.
    pub(crate) fn has_rows(&self) -> bool {
        (0..PLACES).any(|place| {
            let at = PLACES_OFFSET + place * PLACE_BYTES;
            // ORDERING: Relaxed, a hint.
            self.memory.word(at).load(Ordering::Relaxed) != 0
                && self.memory.signed_word(at + 8).load(Ordering::Relaxed) != i64::MIN
        })
    }

    /// The contents of a sealed file in pwrite mode, also where not all of it could be written; `None` in other modes.
    pub(crate) fn contents(&self) -> io::Result<Option<Vec<u8>>> {
        let Disk::Stream(stream) = &self.disk else { return Ok(None) };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = self.head();
        if let Some((file, end)) = stream.file() {
            let mut at = bytes.len();
            bytes.resize(usize::try_from(end).unwrap_or(at).max(at), 0);
            while at < bytes.len() {
                match file.read_at(&mut bytes[at..], at as u64) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(more) => at += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        bytes.append(&mut stream.rest(&self.memory));
        Ok(Some(bytes))
    }

    /// Removes the file: the tables hold it.
    pub(crate) fn remove(&self) -> Result<()> {
        // A thread that is about to write must not bring it back.
        match &self.disk {
            Disk::Stream(stream) => {
                stream.lock().unwrap_or_else(PoisonError::into_inner).give_up();
            }
            Disk::Mapped { synced, .. } => {
                synced.lock().unwrap_or_else(PoisonError::into_inner).give_up();
            }
            Disk::None => {}
        }
        super::remove(&self.path)
    }

    /// The header as a reader may find it now.
    fn head(&self) -> Vec<u8> {
        let mut head = self.header.encode().to_vec();
        head.resize(super::HEADER_BYTES, 0);
        let mut put = |at: usize, word: u64| head[at..at + 8].copy_from_slice(&word.to_le_bytes());
        let signed =
            |at: usize| self.memory.signed_word(at).load(Ordering::Relaxed).cast_unsigned();
        put(HEARTBEAT_OFFSET, signed(HEARTBEAT_OFFSET));
        for at in (0..PLACES).map(|place| PLACES_OFFSET + place * PLACE_BYTES) {
            // ORDERING: Acquire pairs with the Release in `place_run`; the others are lone numbers.
            let key = self.memory.word(at).load(Ordering::Acquire);
            if key == 0 {
                break;
            }
            put(at, key);
            put(at + 8, signed(at + 8));
            put(at + 16, self.memory.word(at + 16).load(Ordering::Relaxed));
        }
        head
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
        (0..self.blocks()).map(|block| self.memory.tail(block).0 as u64).sum()
    }

    /// The names that the file has defined in `space`.
    #[inline]
    pub(crate) fn defined(&self, space: Space) -> &Defined {
        &self.defined[space as usize]
    }

    /// Keeps the highest step that a run reached, where the run has a place in the header. Returns up to which step
    /// that is done, which need not be asked for again.
    #[inline]
    pub(crate) fn reach(&self, run: u32, step: i64) -> i64 {
        let Some(place) = self.places.of(run) else { return step };
        let word = self.memory.signed_word(PLACES_OFFSET + place * PLACE_BYTES + 8);
        // ORDERING: Relaxed, a hint for a later resume; the row itself is what counts. The load spares the
        // read-modify-write on the common path of a second metric row at one step.
        match word.load(Ordering::Relaxed) {
            before if before < step => word.fetch_max(step, Ordering::Relaxed).max(step),
            before => before,
        }
    }

    /// Gives a run its place in the header, where one is left. Called under `defining`.
    pub(crate) fn place_run(&self, run: u32, key: u64) {
        let Some((place, known)) = self.place_of(key) else { return };
        if !known {
            let at = PLACES_OFFSET + place * PLACE_BYTES;
            // ORDERING: Relaxed for the step, then Release for the key: who sees the key sees a step that was set.
            self.memory.signed_word(at + 8).store(i64::MIN, Ordering::Relaxed);
            self.memory.word(at).store(key, Ordering::Release);
        }
        self.places.set(run, place);
    }

    /// The place of the run with this key, and true; or the first that is nobody's, and false.
    fn place_of(&self, key: u64) -> Option<(usize, bool)> {
        (0..PLACES).find_map(|place| {
            // ORDERING: Relaxed: keys are stored under `defining`, and who counts rows of a run only misses a place
            // that another thread is about to give it.
            let there =
                self.memory.word(PLACES_OFFSET + place * PLACE_BYTES).load(Ordering::Relaxed);
            (there == key || there == 0).then_some((place, there == key))
        })
    }

    /// Says how many rows of a run could not be kept; false where the run has no place in the header.
    pub(crate) fn say_dropped(&self, key: u64, rows: u64) -> bool {
        let Some((place, true)) = self.place_of(key) else { return false };
        // ORDERING: Relaxed, a lone number.
        self.memory.word(PLACES_OFFSET + place * PLACE_BYTES + 16).store(rows, Ordering::Relaxed);
        true
    }

    /// Says that the writer lives.
    pub(crate) fn beat(&self, now_us: i64) {
        // ORDERING: Relaxed, a lone number.
        self.memory.signed_word(HEARTBEAT_OFFSET).store(now_us, Ordering::Relaxed);
    }

    /// Makes durable what [`LogFile::copy_to_sync`] or [`LogFile::write`] brought to disk before. Does nothing where nothing
    /// is new. After a failure every call fails, with the same words, while there are rows that no successful sync came
    /// after.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let (at, path) = match &self.disk {
            Disk::Mapped { synced, .. } => {
                let synced = synced.lock().unwrap_or_else(PoisonError::into_inner);
                (synced.file(), super::synced_path(&self.path))
            }
            Disk::Stream(stream) => {
                let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                (stream.file(), self.path.clone())
            }
            Disk::None if self.published_bytes() == 0 => return Ok(()),
            Disk::None => {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "rows wait in memory for the disk to take them",
                ));
            }
        };
        // What was not written is reported by whoever tried.
        let Some((file, written)) = at else { return Ok(()) };
        // ORDERING: Relaxed: `synced` is touched by the syncing thread only, the atomic is for `Sync`.
        if self.synced.load(Ordering::Relaxed) == written {
            return Ok(());
        }
        let (kind, said) = match self.poisoned.get() {
            Some(poisoned) => poisoned,
            None => match disk::sync_data(&file, &path) {
                Ok(()) => {
                    self.synced.store(written, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => self.poisoned.get_or_init(|| (error.kind(), error.to_string())),
            },
        };
        Err(io::Error::new(*kind, said.as_str()))
    }

    /// Makes a sealed file durable itself, so that its copy can go: the log of a run that has ended may stay for long. Only
    /// a small one, which takes no time; where it fails, the copy stays.
    pub(crate) fn settle(&self) -> Result<()> {
        let Disk::Mapped { file, synced } = &self.disk else { return Ok(()) };
        let mut synced = synced.lock().unwrap_or_else(PoisonError::into_inner);
        let is_synced = synced.file().is_some_and(|(_, copied)| copied == self.published_bytes());
        if !is_synced || self.is_poisoned() || self.memory.len() > SETTLED_BYTES {
            return Ok(());
        }
        disk::sync_data(file, &self.path).map_err(|e| Error::io("sync", &self.path, e))?;
        synced.give_up();
        disk::remove_if_there(&super::synced_path(&self.path)).map(drop)
    }

    /// True where rows wait for a disk that does not take them.
    pub(crate) fn is_stuck(&self) -> bool {
        // ORDERING: Relaxed, the flag stands alone.
        self.is_spill() || self.fails_to_write.load(Ordering::Relaxed)
    }

    /// True once a sync failed: rows go on into a new file.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.get().is_some()
    }
}

const CHUNK_WORDS: usize = concurrent::bound(64, 1);
const CHUNK_IDS: usize = CHUNK_WORDS * 64;
const CHUNKS: usize = concurrent::bound(IDS_MAX as usize / CHUNK_IDS, 1);

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
            let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
            // ORDERING: Release pairs with the Acquire in `has`.
            chunk[id % CHUNK_IDS / 64].fetch_or(1 << (id % 64), Ordering::Release);
        }
    }
}

/// Which place in the header each run has, read without a lock.
#[derive(Debug)]
struct Places(Box<[OnceLock<Box<[AtomicU8; CHUNK_IDS]>>]>);

// A place and the absence of one fit a byte.
const _: () = assert!(PLACES < u8::MAX as usize);

impl Default for Places {
    fn default() -> Self {
        Self((0..CHUNKS).map(|_| OnceLock::new()).collect())
    }
}

impl Places {
    /// The place of a run, where it has one.
    #[inline]
    fn of(&self, run: u32) -> Option<usize> {
        let chunk = self.0.get(run as usize / CHUNK_IDS)?.get()?;
        // ORDERING: Relaxed: a place is set before its run counts as defined, and `Defined` orders that.
        let place = chunk[run as usize % CHUNK_IDS].load(Ordering::Relaxed);
        usize::from(place).checked_sub(1)
    }

    fn set(&self, run: u32, place: usize) {
        if let Some(chunk) = self.0.get(run as usize / CHUNK_IDS) {
            let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU8::new(0))));
            // ORDERING: Relaxed, as in `of`.
            chunk[run as usize % CHUNK_IDS].store(place as u8 + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::header::{self, LastStep, Mode};

    fn file(folder: &Path) -> LogFile {
        let header = Header {
            blocks: 4,
            salt: 7,
            mode: Mode::Mapped,
            number: 1,
            created_us: 0,
            file: uuid::Uuid::nil(),
            writer: uuid::Uuid::nil(),
            boot_id: String::new(),
        };
        LogFile::create(folder, header, &|| true).unwrap()
    }

    #[test]
    fn a_sync_that_failed_once_never_passes_for_one_that_succeeded() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(folder.path());
        let mut block = log.claim(1).unwrap();
        block.append(16, |bytes| bytes.fill(1)).unwrap();
        let sync = |log: &LogFile| log.copy_to_sync().and_then(|()| log.sync());
        sync(&log).unwrap();
        block.append(16, |bytes| bytes.fill(2)).unwrap();
        // A device that cannot be synced stands in for a disk that fails.
        let device = disk::open_for_mapping(Path::new("/dev/zero")).unwrap();
        let Disk::Mapped { synced, .. } = &mut log.disk else { panic!("it is mapped") };
        let sound = synced.get_mut().unwrap().replace(device);
        let first = sync(&log).unwrap_err().to_string();
        let Disk::Mapped { synced, .. } = &mut log.disk else { panic!("it is mapped") };
        drop(synced.get_mut().unwrap().replace(sound));
        assert!(log.is_poisoned());
        assert_eq!(sync(&log).unwrap_err().to_string(), first);
    }

    #[test]
    fn a_header_tells_the_last_steps_of_as_many_runs_as_have_places_whatever_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let log = file(folder.path());
        let head = || disk::read(&log.path).unwrap()[..super::super::HEADER_BYTES].to_vec();
        let numbers = (0..PLACES as u32).map(|at| at * 1000);
        for (key, run) in (1..).zip(numbers) {
            assert_eq!(header::last_step(&head(), key), LastStep::None);
            log.place_run(run, key);
            assert_eq!(header::last_step(&head(), key), LastStep::None);
            log.reach(run, 7);
            log.reach(run, 5);
            assert_eq!(header::last_step(&head(), key), LastStep::Reached(7));
        }
        // The same run in another launch shares the place; a run too many has none.
        log.place_run(1, 1);
        log.reach(1, 8);
        assert_eq!(header::last_step(&head(), 1), LastStep::Reached(8));
        log.place_run(2, 1_000_000);
        log.reach(2, 9);
        assert_eq!(header::last_step(&head(), 1_000_000), LastStep::Unknown);
        assert!(log.say_dropped(2, 3) && !log.say_dropped(1_000_000, 1));
        assert_eq!(header::places(&head()).map(|place| place.dropped).sum::<u64>(), 3);
    }
}
