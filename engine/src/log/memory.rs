//! The memory of a log file: a shared mapping, or a piece of our own memory where the disk takes nothing.
//!
//! This is the one place of the log with `unsafe`. Words that several threads touch are atomics; the bytes of a block
//! belong to the one thread that claimed it until it publishes them, and are never written again.
#![expect(unsafe_code, reason = "a mapping is raw memory; everything above it is safe")]

use std::{fs::File, io, mem::ManuallyDrop, sync::Arc};

#[cfg(not(proof))]
use super::concurrent::Watched as _;
use super::{
    BLOCK_BYTES, HEADER_BYTES, SEALED, TAIL_STRIDE, blocks_start,
    concurrent::{Advice, AtomicI64, AtomicU64, MmapOptions, MmapRaw, Ordering},
    header::CLAIM_OFFSET,
    tail_bytes, tail_word,
};
#[cfg(not(proof))]
use memmap2::UncheckedAdvice;

use crate::os;

/// A fixed number of bytes that begin as zeros, or as the file that they map.
#[derive(Debug)]
pub(crate) struct Memory {
    map: ManuallyDrop<MmapRaw>,
    generation: u64,
}

impl Memory {
    /// Maps the file, shared with every process that maps it. A forked child does not inherit the mapping.
    pub(crate) fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        Self::new(MmapOptions::new().len(bytes).map_raw(file)?)
    }

    /// Memory of this process alone.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Self> {
        Self::new(MmapOptions::new().len(bytes).map_anon()?.into())
    }

    fn new(map: MmapRaw) -> io::Result<Self> {
        os::watch_forks();
        map.advise(Advice::DontFork)?;
        Ok(Self { map: ManuallyDrop::new(map), generation: os::fork_generation() })
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Brings the pages in ahead of the first store, which would otherwise cost a page fault in `log()`. Best effort:
    /// kernels before 5.14 do not know how.
    pub(crate) fn prefault(&self) {
        let _best_effort = self.map.advise(Advice::PopulateWrite);
    }

    /// The word at `offset`, which is a multiple of 8.
    #[cfg(not(proof))]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(
            offset.is_multiple_of(8) && offset + 8 <= self.len(),
            "words are aligned and inside the mapping"
        );
        // SAFETY: the pointer is inside the mapping (asserted).
        let word = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: a mapping begins at a page, so the word is aligned (asserted); it lives as long as `self`; words are
        // only ever reached as atomics, since no block covers the header and the tail table.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    #[cfg(proof)]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        self.map.word(offset)
    }

    /// The word at `offset` as a signed number.
    #[cfg(not(proof))]
    pub(crate) fn signed_word(&self, offset: usize) -> &AtomicI64 {
        let word = self.word(offset);
        // SAFETY: AtomicI64 has the size and alignment of AtomicU64, and both are only accessed atomically.
        unsafe { AtomicI64::from_ptr(word.as_ptr().cast()) }
    }

    #[cfg(proof)]
    pub(crate) fn signed_word(&self, offset: usize) -> &AtomicI64 {
        self.map.signed_word(offset)
    }

    /// Copies `bytes` to `offset`. For the header, before anybody else knows of the file.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        assert!(
            offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len()),
            "the header fits"
        );
        // SAFETY: the pointer is inside the mapping (asserted).
        let place = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: source and target are valid for the length (asserted) and cannot overlap, since `&mut self` excludes
        // any reference into the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }

    /// Claims `count` blocks in a row, or none where the file is full or sealed.
    pub(crate) fn claim(self: &Arc<Self>, blocks: usize, count: usize) -> Option<Block> {
        // ORDERING: AcqRel pairs with `seal`: a claim that comes after the seal sees it, and a claim that comes before
        // is sealed through its tail word. Uniqueness needs the atomicity only.
        let first = self.word(CLAIM_OFFSET).fetch_add(count as u64, Ordering::AcqRel);
        // The word counts on when the file is full; it cannot reach the seal bit in the life of a file.
        let first = usize::try_from(first).ok().filter(|first| first & (1 << 63) == 0)?;
        let last = first.checked_add(count).filter(|&last| last <= blocks)?;
        let start = blocks_start(blocks);
        Some(Block {
            memory: Arc::clone(self),
            tail: HEADER_BYTES + first * TAIL_STRIDE,
            index: first,
            start: start + first * BLOCK_BYTES,
            end: start + last * BLOCK_BYTES,
            published: 0,
        })
    }

    /// True once [`Memory::seal`] was called on this file, by any process.
    pub(crate) fn is_sealed(&self) -> bool {
        // ORDERING: Acquire pairs with the AcqRel of `seal`.
        self.word(CLAIM_OFFSET).load(Ordering::Acquire) & SEALED != 0
    }

    /// The number of blocks that were claimed; more than there are where claims failed.
    pub(crate) fn claimed(&self) -> u64 {
        // ORDERING: Relaxed, a hint for when to prepare the next file.
        self.word(CLAIM_OFFSET).load(Ordering::Relaxed) & !SEALED
    }

    /// Takes all blocks away from their owners: whatever they publish from here on fails, and they log it again
    /// elsewhere. What is published at return is final.
    pub(crate) fn seal(&self, blocks: usize) {
        // ORDERING: AcqRel: later claims see the seal; everything published before is visible to us.
        self.word(CLAIM_OFFSET).fetch_or(SEALED, Ordering::AcqRel);
        for block in 0..blocks {
            // ORDERING: AcqRel pairs with the Release of `Block::append`: the frames below the returned tail are
            // visible, and a publish that comes later fails because it expects a word without the seal.
            self.word(HEADER_BYTES + block * TAIL_STRIDE).fetch_or(SEALED, Ordering::AcqRel);
        }
    }

    /// How many of `blocks` blocks were claimed.
    pub(crate) fn claimed_of(&self, blocks: usize) -> usize {
        usize::try_from(self.claimed()).unwrap_or(blocks).min(blocks)
    }

    /// How many bytes of block `index` are published, and whether it is sealed.
    pub(crate) fn tail(&self, index: usize) -> (usize, bool) {
        // ORDERING: Acquire pairs with the Release of `Block::append`: the bytes below the tail are visible.
        let tail = self.word(HEADER_BYTES + index * TAIL_STRIDE).load(Ordering::Acquire);
        (tail_bytes(tail).unwrap_or(0), tail & SEALED != 0)
    }

    /// Copies `len` published bytes from `offset` on behind `out`.
    pub(crate) fn copy(&self, offset: usize, len: usize, out: &mut Vec<u8>) {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len()),
            "what is published is inside the mapping"
        );
        self.map.reads(offset, len);
        let start = out.len();
        out.resize(start + len, 0);
        // SAFETY: the pointer is inside the mapping (asserted).
        let bytes = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: the source is valid for `len` bytes (asserted), the target has just been made as long, and they are
        // different memory. Bytes below a tail are never written again.
        unsafe { std::ptr::copy_nonoverlapping(bytes, out[start..].as_mut_ptr(), len) };
    }

    /// Gives the pages of the blocks back to the system; header and tail words stay. Only for memory of this process,
    /// once its contents stand elsewhere: they read as zeros from then on.
    pub(crate) fn give_back(&self, blocks: usize) {
        // A page that holds a tail word stays: losing it would break a seal.
        let start = blocks_start(blocks).next_multiple_of(os::page_bytes());
        if start >= self.len() {
            return;
        }
        #[cfg(not(proof))]
        // SAFETY: the range is inside the mapping (checked) and holds bytes of blocks only, which any values are valid
        // for. Nobody reads them through a reference (`copy` reads through pointers). A thread that stopped while it
        // filled a block may lose what it stored there; the block is sealed, so its publish fails.
        let _best_effort = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, self.len() - start)
        };
    }

    /// The bytes of block `index` that are published, whoever reads. Not of memory that may be given back.
    pub(crate) fn published(&self, blocks: usize, index: usize) -> &[u8] {
        // ORDERING: Acquire pairs with the Release of `Block::append`: the bytes below the tail are visible.
        let tail = self.word(HEADER_BYTES + index * TAIL_STRIDE).load(Ordering::Acquire);
        let start = blocks_start(blocks) + index * BLOCK_BYTES;
        let len = tail_bytes(tail).unwrap_or(0).min(self.len().saturating_sub(start));
        self.map.reads(start, len);
        // SAFETY: `start` is at most the length of the mapping (a block begins inside it, or `len` is 0).
        let bytes = unsafe { self.map.as_mut_ptr().add(start.min(self.len())) };
        // SAFETY: the range is inside the mapping; the bytes below a tail are never written again.
        unsafe { std::slice::from_raw_parts(bytes, len) }
    }
}

/// A block, or several in a row, that one thread owns. Not `Clone`: that there is one `Block` for each claim is what
/// makes filling it sound.
#[derive(Debug)]
pub(crate) struct Block {
    memory: Arc<Memory>,
    tail: usize,
    index: usize,
    start: usize,
    end: usize,
    published: usize,
}

/// A publish came after the seal. Log the frame again, elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed;

impl Block {
    /// The number of the block in its file.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The bytes that are left.
    pub(crate) fn room(&self) -> usize {
        self.end - self.start - self.published
    }

    /// Appends `len` bytes (a multiple of 8, at most `room`) that `fill` writes, and publishes them at once. Returns
    /// where in the file they stand.
    #[inline]
    pub(crate) fn append(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<usize, Sealed> {
        assert!(len <= self.room() && len.is_multiple_of(8), "the caller has asked for room");
        let offset = self.start + self.published;
        self.memory.map.writes(offset, len);
        // SAFETY: `claim` gave out the range start..end once, inside the mapping, and `len` bytes of it are left.
        let place = unsafe { self.memory.map.as_mut_ptr().add(offset) };
        // SAFETY: nobody else touches the range: other claims are disjoint, readers stop at the tail word, which is
        // below it. `&mut self` excludes a second slice of this block. Any bytes are valid `u8`.
        fill(unsafe { std::slice::from_raw_parts_mut(place, len) });
        let (before, after) = (tail_word(self.published), tail_word(self.published + len));
        // ORDERING: Release pairs with the Acquire of readers and of `seal`: who sees the new tail sees the frame. On
        // failure nothing is read through the word, so Relaxed.
        let tail = self.memory.word(self.tail);
        let swapped = tail.compare_exchange(before, after, Ordering::Release, Ordering::Relaxed);
        if swapped.is_ok() {
            self.published += len;
            return Ok(offset);
        }
        // It is logged again elsewhere. After a power cut tail words are not believed, and whole frames are taken for published
        // wherever they stand: this one must not be whole.
        // SAFETY: as above; the slice that `fill` got is gone.
        unsafe { std::slice::from_raw_parts_mut(place, len) }.fill(0);
        Err(Sealed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A forked child has no such mapping: the addresses may hold something else by now, which must not be unmapped.
        if self.generation == os::fork_generation() {
            // SAFETY: the map was not dropped before, and is not used after, since `self` is being dropped.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::file_bytes;

    const BLOCKS: usize = 3;

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::anonymous(file_bytes(BLOCKS)).unwrap())
    }

    #[test]
    fn every_block_is_claimed_once_and_a_full_file_gives_none() {
        let memory = memory();
        let (a, b) = (memory.claim(BLOCKS, 1).unwrap(), memory.claim(BLOCKS, 2).unwrap());
        assert_eq!(
            (a.index(), b.index(), a.room(), b.room()),
            (0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES)
        );
        assert!(memory.claim(BLOCKS, 1).is_none());
    }

    #[test]
    fn what_is_published_is_seen_and_what_comes_after_the_seal_is_not() {
        let memory = memory();
        let mut block = memory.claim(BLOCKS, 1).unwrap();
        block.append(16, |bytes| bytes.fill(7)).unwrap();
        memory.seal(BLOCKS);
        assert_eq!(block.append(16, |bytes| bytes.fill(8)), Err(Sealed));
        assert_eq!(memory.published(BLOCKS, 0), [7; 16]);
        assert!(memory.is_sealed() && memory.claim(BLOCKS, 1).is_none());
    }
}
