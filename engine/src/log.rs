//! The log: append-only files that make rows safe the moment they are published.
//!
//! A writer process owns one folder, `log/<writer uuid>/`, and nobody else writes there. A log file is preallocated
//! and mapped; a thread claims a 64 KiB block of it with one `fetch_add`, fills it privately, and publishes each frame
//! with one compare-and-swap on the block's tail word. Whoever wants to take a block away seals its tail word with
//! `fetch_or`: the owner's next publish then fails and it logs the row again elsewhere. Nobody ever waits for anybody.
//!
//! ```text
//! file   | header 4096 | tail table: 128 bytes a block, padded to 4096 | block 0 | block 1 | ... |
//! block  | frame | frame | ... |      65,536 bytes; a frame that is larger takes several blocks in a row
//! tail   bits 0..=30: bytes published in the block    bits 32..=62: the same once more    bit 63: sealed
//! ```
//!
//! `docs/format/log.md` draws every field. Why not one shared tail: a producer that dies or is stopped between claim
//! and publish would leave a hole that blocks all others.

mod concurrent;
#[cfg(proof)]
mod explored;
mod file;
pub(crate) mod frame;
#[cfg(all(any(test, fuzzing), not(proof)))]
pub(crate) mod fuzzing;
pub(crate) mod header;
pub(crate) mod heartbeat;
mod memory;
mod mode;
pub(crate) mod owner;
#[cfg(all(test, proof))]
mod proofs;
pub(crate) mod reader;
mod shape;
mod stream;
mod synced;
pub(crate) mod writer;

#[cfg(not(proof))]
use std::io;
use std::path::{Path, PathBuf};

#[cfg(not(proof))]
use crate::os;
use crate::{Result, disk};
#[cfg(not(proof))]
use concurrent::FileExt as _;

pub(crate) use file::LogFile;
pub(crate) use header::{LastStep, Mode, run_key};
pub(crate) use mode::Choice;
pub use mode::LogMode;

/// Whether the file at `path` can be mapped, so that who reads it sees at once what is stored there.
#[cfg(not(proof))]
pub(crate) fn can_be_mapped(path: &Path) -> bool {
    let stored = || -> io::Result<bool> {
        let file = disk::open_for_mapping(path)?;
        os::preallocate(&file, 4096)?;
        memory::Memory::of_file(&file, 4096)?.put(0, b"seen");
        let mut seen = [0; 4];
        Ok(file.read_at(&mut seen, 0)? == 4 && seen == *b"seen")
    };
    stored().unwrap_or(false)
}

/// The bytes of a block.
pub(crate) const BLOCK_BYTES: usize = concurrent::bound(64 << 10, 256);
/// The bytes between two tail words: two cache lines, since processors fetch lines in pairs.
pub(crate) const TAIL_STRIDE: usize = 128;
/// The bytes of the header.
pub(crate) const HEADER_BYTES: usize = concurrent::bound(4096, 512);
/// The most bytes that one frame may have; what is larger belongs into blobs.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 20;
/// Bit of a tail word and of the claim word: nothing may be added any more.
pub(crate) const SEALED: u64 = 1 << 63;
/// The tail word of a block of which `published` bytes are published. It says the number twice: no checksum covers it,
/// and a damaged word that passed for a smaller number would lose rows without a trace.
pub(crate) fn tail_word(published: usize) -> u64 {
    let published = published as u64;
    published << 32 | published
}

/// How many bytes of a block are published, by its tail word; `None` where no writer stores such a word.
pub(crate) fn tail_bytes(word: u64) -> Option<usize> {
    let (once, again) = (word & u64::from(u32::MAX), (word & !SEALED) >> 32);
    usize::try_from(once).ok().filter(|_| once == again && once.is_multiple_of(8))
}

/// The id that stands for "no labels".
pub(crate) const NO_LABELS: u32 = u32::MAX;

/// The name of the log file with this number, in its writer's folder.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:06}.log")
}

/// The number of the log file with this name, where it is one.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok().filter(|&number: &u64| number > 0 && number < 1 << 31)
}

/// Where the synced copy of a mapped log file stands.
pub(crate) fn synced_path(log: &Path) -> PathBuf {
    log.with_extension(SYNCED)
}

/// The ending of the name of a synced copy.
const SYNCED: &str = "synced";

/// True where a file of this name stands beside a log file and goes away with it.
pub(crate) fn is_synced_copy(name: &str) -> bool {
    name.strip_suffix(SYNCED).is_some_and(|name| file_number(&format!("{name}log")).is_some())
}

/// Removes a log file that the tables hold. Its copy goes first: it means nothing without the file.
pub(crate) fn remove(log: &Path) -> Result<()> {
    disk::remove_if_there(&synced_path(log))?;
    disk::remove_if_there(log).map(drop)
}

/// The watermark that a table holds once it has taken in the whole file with this number. The low 32 bits count the
/// bytes taken from the next file: 0 but where a file in pwrite mode was adopted, which its owner may go on with.
pub(crate) fn watermark(number: u64) -> i64 {
    (number << 32).cast_signed()
}

/// The watermark that a table holds once it has taken in so many bytes of the file with this number, and all before it.
pub(crate) fn watermark_within(number: u64, bytes: u64) -> i64 {
    ((number - 1) << 32 | bytes).cast_signed()
}

/// How much of a log file each table holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Passed {
    /// Bytes of the file whose rows are in table `points`; [`WHOLE`] where no more will come.
    pub(crate) points: u64,
    /// The same of the facts.
    pub(crate) facts: u64,
}

/// All bytes of a log file.
pub(crate) const WHOLE: u64 = u64::MAX;

impl Passed {
    /// What watermarks, that of table `points` first, say of the file with this number.
    pub(crate) fn of(points: Option<i64>, facts: Option<i64>, number: u64) -> Self {
        let bytes = |mark: Option<i64>| match mark.unwrap_or(0).cast_unsigned() {
            mark if mark >= number << 32 => WHOLE,
            mark if mark >> 32 == number - 1 => mark & u64::from(u32::MAX),
            _ => 0,
        };
        Self { points: bytes(points), facts: bytes(facts) }
    }

    /// True where both tables hold all of the file.
    pub(crate) fn is_whole(self) -> bool {
        self == Self { points: WHOLE, facts: WHOLE }
    }
}

/// Where the blocks begin in a file of `blocks` blocks.
pub(crate) fn blocks_start(blocks: usize) -> usize {
    HEADER_BYTES + (blocks * TAIL_STRIDE).next_multiple_of(4096)
}

/// The bytes of a file of `blocks` blocks.
pub(crate) fn file_bytes(blocks: usize) -> usize {
    blocks_start(blocks) + blocks * BLOCK_BYTES
}

/// The blocks of the largest file that takes at most so many bytes.
pub(crate) fn blocks_within(bytes: u64) -> u32 {
    // What the padding of the tail table may take is left out of the division.
    let blocks = bytes.saturating_sub(2 * HEADER_BYTES as u64) / (BLOCK_BYTES + TAIL_STRIDE) as u64;
    u32::try_from(blocks).unwrap_or(u32::MAX)
}
