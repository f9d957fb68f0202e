//! What a log file in pwrite mode is on disk: one stream, to which frames are appended in the order in which they may be
//! read.
//!
//! ```text
//! | header 4096 B | frame | frame | ... |      the same frames, the same salt; no tail table, no blocks
//! ```
//!
//! Rows are published in memory that is laid out as a mapped file is. Whoever comes first, the write thread, a sync, a
//! snapshot or a flush, takes what is new and appends it; one at a time, and never a thread that logs.

use std::{fs::File, io, path::Path, sync::Arc};

use super::{
    BLOCK_BYTES, HEADER_BYTES, blocks_start,
    frame::{self, Measure},
    header::HEARTBEAT_OFFSET,
    memory::Memory,
};
use crate::disk;

/// How far a log file has come on its way to disk.
#[derive(Debug)]
pub(super) struct Stream {
    file: Option<Arc<File>>,
    /// The bytes of the file that count.
    end: u64,
    /// Frames in the order of the stream. The first `written` bytes are in the file. After a failure the same bytes go
    /// to the same place again, since a reader may have seen a part of them there.
    taken: Vec<u8>,
    written: usize,
    /// For each block, how many of its bytes were looked through for names, and how many for everything else.
    names_to: Vec<usize>,
    rows_to: Vec<usize>,
    /// The header as it stands in the file.
    head: Vec<u8>,
    /// Nothing is published any more, and everything was taken.
    is_final: bool,
    /// The file is in the tables: it must not come back.
    is_gone: bool,
}

impl Stream {
    pub(super) fn new(blocks: usize) -> Self {
        Self {
            file: None,
            end: HEADER_BYTES as u64,
            taken: Vec::new(),
            written: 0,
            names_to: vec![0; blocks],
            rows_to: vec![0; blocks],
            head: Vec::new(),
            is_final: false,
            is_gone: false,
        }
    }

    /// Takes what was published since the last time.
    ///
    /// A reader must meet a name before the rows that use it. So the tails for rows are read first and those for names
    /// second, and names are taken first: a name was published before any row that uses it, so the second look finds the
    /// names of all rows of the first one. And a thread's rows must stay in its order. It fills one block after the
    /// other, so the tails for rows are read from the last block to the first: who sees a row of a later block sees all
    /// of the earlier ones.
    fn take(&mut self, memory: &Memory) {
        if self.is_final {
            return;
        }
        let blocks = self.rows_to.len();
        let is_sealed = memory.is_sealed();
        let mut rows_to = self.rows_to.clone();
        let mut all_sealed = is_sealed;
        for block in (0..memory.claimed_of(blocks)).rev() {
            let (published, sealed) = memory.tail(block);
            rows_to[block] = published;
            all_sealed &= sealed;
        }
        let (mut bytes, mut rows) = (Vec::new(), Vec::new());
        // Asked again: a name may stand in a block that was claimed meanwhile.
        for (block, rows_to) in rows_to.iter().copied().enumerate().take(memory.claimed_of(blocks))
        {
            let (from, (published, _)) = (self.rows_to[block], memory.tail(block));
            bytes.clear();
            memory.copy(
                blocks_start(blocks) + block * BLOCK_BYTES + from,
                published - from,
                &mut bytes,
            );
            let mut at = 0;
            while let Some(Measure { len, is_name }) = frame::measure(&bytes[at..]) {
                let frame = &bytes[at..at + len];
                if is_name {
                    if from + at >= self.names_to[block] {
                        self.taken.extend(frame);
                    }
                } else if from + at < rows_to {
                    rows.extend(frame);
                }
                at += len;
            }
            self.names_to[block] = published;
        }
        self.taken.append(&mut rows);
        self.rows_to = rows_to;
        self.is_final = all_sealed;
    }

    /// Appends what was published, and what an earlier attempt left. True once all of the file is on disk.
    pub(super) fn write(
        &mut self,
        staged: &Path,
        path: &Path,
        memory: &Memory,
        head: impl Fn() -> Vec<u8>,
    ) -> io::Result<bool> {
        if self.is_gone {
            return Ok(true);
        }
        loop {
            if self.written == self.taken.len() {
                self.taken.clear();
                self.written = 0;
                self.take(memory);
            }
            // Before the frames: the steps that it names are then never behind those in the file.
            self.write_head(staged, path, head())?;
            if self.taken.is_empty() {
                self.taken.shrink_to(BLOCK_BYTES);
                return Ok(self.is_final);
            }
            let file = self.file.as_ref().expect("its header stands");
            let rest = &self.taken[self.written..];
            // What a failed write has brought to disk is written once more.
            disk::write_at(file, path, rest, self.end)?;
            self.end += rest.len() as u64;
            self.written = self.taken.len();
        }
    }

    /// Brings what changes in the header to disk, and makes the file where there is none.
    fn write_head(&mut self, staged: &Path, path: &Path, head: Vec<u8>) -> io::Result<()> {
        if self.head == head {
            return Ok(());
        }
        if let Some(file) = &self.file {
            disk::write_at(file, path, &head[HEARTBEAT_OFFSET..], HEARTBEAT_OFFSET as u64)?;
        } else {
            let put = |file: &File| disk::write_at(file, staged, &head, 0);
            self.file = Some(Arc::new(disk::create_whole(staged, path, put)?));
        }
        self.head = head;
        Ok(())
    }

    /// The file, and how many of its bytes count.
    pub(super) fn file(&self) -> Option<(Arc<File>, u64)> {
        self.file.clone().map(|file| (file, self.end))
    }

    /// What is published and not on disk yet, in the order of the stream.
    pub(super) fn rest(&mut self, memory: &Memory) -> Vec<u8> {
        self.take(memory);
        self.taken[self.written..].to_vec()
    }

    /// Nothing is written any more.
    pub(super) fn give_up(&mut self) {
        self.is_gone = true;
    }
}
