//! The synced copy of a mapped log file: what a power cut must not take.
//!
//! ```text
//! 000001.log      header, tail table, blocks      the kernel brings its pages to disk when it likes
//! 000001.synced   header,      -    , blocks      the same bytes at the same places, as far as they were synced
//! ```
//!
//! Why the log file is not synced itself: before the kernel writes a page of a shared mapping it takes the right to store
//! into it away, on all processors. The next row then waits in a page fault, which may wait for the filesystem's journal,
//! which waits for the very disk that is being written (Linux, `page_mkclean` and `page_mkwrite`). A copy is written by
//! `pwrite`, of memory that stays as it is, so no thread that logs ever meets a sync.

use std::{fs::File, io, path::Path, sync::Arc};

use super::{BLOCK_BYTES, blocks_start, header::HEARTBEAT_OFFSET, memory::Memory};
use crate::disk;

/// How far a log file was copied.
#[derive(Debug)]
pub(super) struct Synced {
    file: Option<Arc<File>>,
    /// For each block, how many of its bytes are in the copy.
    copied: Vec<usize>,
    /// The file is in the tables: it must not come back.
    is_gone: bool,
}

impl Synced {
    pub(super) fn new(blocks: usize) -> Self {
        Self { file: None, copied: vec![0; blocks], is_gone: false }
    }

    /// Copies what was published since the last time. Not durable before the file is synced.
    pub(super) fn write(
        &mut self,
        staged: &Path,
        path: &Path,
        memory: &Memory,
        head: impl Fn() -> Vec<u8>,
    ) -> io::Result<()> {
        let blocks = self.copied.len();
        let claimed = memory.claimed_of(blocks);
        let is_new = (0..claimed).any(|block| memory.tail(block).0 > self.copied[block]);
        if self.is_gone || !is_new {
            return Ok(());
        }
        // Before the frames: the steps that it names are then never behind those in the copy.
        let file = self.write_head(staged, path, &head())?;
        for (block, copied) in self.copied.iter_mut().enumerate().take(claimed) {
            let start = (blocks_start(blocks) + block * BLOCK_BYTES) as u64;
            let published = memory.published(blocks, block);
            let new = published.get(*copied..).unwrap_or_default();
            disk::write_at(&file, path, new, start + *copied as u64)?;
            *copied = published.len();
        }
        Ok(())
    }

    /// Brings what changes in the header to disk, and makes the file where there is none.
    fn write_head(&mut self, staged: &Path, path: &Path, head: &[u8]) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            disk::write_at(file, path, &head[HEARTBEAT_OFFSET..], HEARTBEAT_OFFSET as u64)?;
            return Ok(Arc::clone(file));
        }
        let put = |file: &File| disk::write_at(file, staged, head, 0);
        let made = Arc::new(disk::create_whole(staged, path, put)?);
        self.file = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The file, and how many bytes of blocks are in it.
    pub(super) fn file(&self) -> Option<(Arc<File>, u64)> {
        let copied = self.copied.iter().map(|&bytes| bytes as u64).sum();
        self.file.clone().map(|file| (file, copied))
    }

    /// Nothing is written any more.
    pub(super) fn give_up(&mut self) {
        self.is_gone = true;
    }

    /// Puts another file in the place of the one that is written. Returns that.
    #[cfg(test)]
    pub(super) fn replace(&mut self, file: File) -> File {
        let before = self.file.replace(Arc::new(file)).expect("something was synced");
        Arc::into_inner(before).expect("nobody syncs")
    }
}
