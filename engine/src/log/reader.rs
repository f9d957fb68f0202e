//! Reads a log file, now and again: each read returns what was published since the last one.
//!
//! Readers use `pread`, never a mapping: a file that somebody cuts short then ends early instead of killing us.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    BLOCK_BYTES, FRAME_BYTES_MAX, HEADER_BYTES, LogFile, Mode, NO_LABELS, Passed, SEALED,
    TAIL_STRIDE, blocks_start,
    concurrent::{FileExt as _, Ordering, fence},
    frame::{self, Next, Read, RowRef, RowShape, ShapeRef, Space},
    header::{
        self, HEARTBEAT_OFFSET, Header, LastStep, PLACE_BYTES, PLACES_OFFSET, RunPlace, run_key,
    },
    tail_bytes,
};
use crate::{Error, Fact, FactKind, Points, Result, SeriesIndex, SeriesKey, disk};

/// What a point takes of a log where little is said about it: a value in single precision, and its share of a long row.
const LEAST_POINT_BYTES: usize = 6;

/// A log file that somebody writes or wrote.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    source: Source,
    /// Its synced copy, where it has one.
    synced: Option<Source>,
    header: Header,
    writer: Arc<str>,
    /// For each block, how many of its bytes were read.
    consumed: Vec<usize>,
    /// For each block whose tail word is not to be believed, how it was when it was last read.
    looks: Vec<Option<Look>>,
    /// Blocks whose tail word makes no sense: only checksums tell what is in them.
    astray: FxHashSet<usize>,
    /// A frame was passed over because it uses a name that is not defined. Said once: a lost name may concern every
    /// row behind it.
    nameless: bool,
    /// The file ends before its tail table does. Said once.
    cut_short: bool,
    /// All names of the file are known, those of parts that were not read yet included.
    looked_ahead: bool,
    /// Which of the problems is a hole in a stream that may still be filled.
    hole: Option<usize>,
    /// What is left out, because tables hold it.
    passed: Passed,
    names: Names,
    heartbeat: i64,
    /// The places of runs in the header, as of the last read.
    places: Vec<RunPlace>,
    problems: Vec<Error>,
}

/// A look at a block whose tail word is not to be believed. Nothing is read again before the word changes.
#[derive(Debug, Clone, Copy)]
struct Look {
    word: u64,
    /// How many blocks belong together.
    blocks: usize,
}

#[derive(Debug, Default)]
struct Names {
    runs: FxHashMap<u32, [Arc<str>; 3]>,
    metrics: FxHashMap<u32, Arc<str>>,
    labels: FxHashMap<u32, Arc<str>>,
    shapes: FxHashMap<u32, Shape>,
}

impl Names {
    fn learn(&mut self, space: Space, id: u32, texts: [&str; 3]) {
        match space {
            Space::Run => drop(self.runs.insert(id, texts.map(Arc::from))),
            Space::Metric => drop(self.metrics.insert(id, texts[0].into())),
            Space::Labels => drop(self.labels.insert(id, texts[0].into())),
        }
    }
}

/// What a read found: blocks in the order of the file, frames in the order of their block.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Points.
    pub(crate) points: Points,
    /// Facts.
    pub(crate) facts: Vec<Fact>,
    /// How many rows the writer could not keep, one fact for each run of the file. Not only what is new: all of it, as
    /// the header says it now.
    pub(crate) dropped: Vec<Fact>,
    /// What made the keys of the points so far.
    pub(crate) index: SeriesIndex,
    series: FxHashMap<(u32, u32, u32), u32>,
    /// The shape of the last row, and the series of its points: most often the next row has the same.
    last: (Shape, Vec<u32>),
}

/// What rows have in common.
#[derive(Debug, Default)]
struct Shape {
    run: u32,
    labels: u32,
    metrics: Vec<[u8; 4]>,
}

impl Shape {
    fn set(&mut self, shape: &ShapeRef<'_>) {
        (self.run, self.labels) = (shape.run, shape.labels);
        self.metrics.clear();
        self.metrics.extend_from_slice(shape.metrics);
    }

    fn get(&self) -> ShapeRef<'_> {
        ShapeRef { run: self.run, labels: self.labels, metrics: &self.metrics }
    }
}

/// How far the tail words of a file can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tails {
    /// The kernel that the writer stored them in still runs: they are exact.
    Exact,
    /// A power cut may lie between: pages went to disk in any order, so only checksums tell what is there.
    Unknown,
}

impl LogReader {
    /// Opens the file; `None` where it is gone.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let Some(source) = Source::open(path)? else { return Ok(None) };
        let synced = Source::open(&super::synced_path(path))?;
        let is_empty =
            |source: &Source| Ok(source.at(path, 0, HEADER_BYTES)?.iter().all(|&byte| byte == 0));
        if is_empty(&source)? && synced.as_ref().map_or(Ok(true), is_empty)? {
            // After a power cut a file may be there of which nothing was made durable, not even the header.
            return Ok(None);
        }
        Self::new(path, source, synced).map(Some)
    }

    /// Reads a sealed file of this process, also where some of it waits in memory for the disk to take it.
    pub(crate) fn of_own(file: &Arc<LogFile>) -> Result<Self> {
        if file.is_spill() {
            return Self::new(&file.path, Source::Spill(Arc::clone(file)), None);
        }
        let contents = file.contents().map_err(|error| Error::io("read", &file.path, error))?;
        if let Some(bytes) = contents {
            return Self::new(&file.path, Source::Bytes(bytes), None);
        }
        Self::open(&file.path)?.ok_or_else(|| {
            Error::io("open", &file.path, std::io::Error::from(std::io::ErrorKind::NotFound))
        })
    }

    fn new(path: &Path, source: Source, synced: Option<Source>) -> Result<Self> {
        let head = |source: &Source| {
            let head = source.at(path, 0, HEADER_BYTES)?;
            Header::decode(&head).map_err(|(offset, detail)| Error::corrupt(path, offset, detail))
        };
        // A power cut may have taken the header of the one, and not of the other.
        let header = head(&source).or_else(|error| synced.as_ref().map_or(Err(error), head))?;
        Ok(Self {
            path: path.to_owned(),
            source,
            synced,
            writer: header.writer.to_string().into(),
            consumed: vec![0; header.blocks as usize],
            looks: vec![None; header.blocks as usize],
            astray: FxHashSet::default(),
            nameless: false,
            cut_short: false,
            looked_ahead: false,
            hole: None,
            passed: Passed::default(),
            header,
            names: Names::default(),
            heartbeat: 0,
            places: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// What the header says.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What could not be read so far: the good rest was.
    pub(crate) fn problems(&self) -> &[Error] {
        &self.problems
    }

    /// When the writer last showed that it lives, as of the last read; microseconds since 1970 (UTC).
    pub(crate) fn heartbeat(&self) -> i64 {
        self.heartbeat
    }

    /// How many bytes of a stream were read, to the end of its last whole frame.
    pub(crate) fn end(&self) -> u64 {
        (HEADER_BYTES + self.consumed.first().unwrap_or(&0)) as u64
    }

    /// Leaves out what tables hold. Where that is not what it was, the next read begins at the start again; true then.
    pub(crate) fn pass(&mut self, passed: Passed) -> bool {
        let is_changed = self.header.mode == Mode::Written && self.passed != passed;
        if is_changed {
            self.passed = passed;
            self.consumed.fill(0);
            self.problems.clear();
            self.hole = None;
        }
        is_changed
    }

    /// The last step of the run with this key, from the header alone.
    pub(crate) fn last_step(&self, key: u64) -> Result<LastStep> {
        let last =
            |source: &Source| Ok(header::last_step(&source.at(&self.path, 0, HEADER_BYTES)?, key));
        let synced = self.synced.as_ref().map_or(Ok(LastStep::None), last)?;
        Ok(last(&self.source)?.max(synced))
    }

    /// Reads what was published since the last call.
    pub(crate) fn read(&mut self, tails: Tails) -> Result<Found> {
        self.read_part(tails, usize::MAX).map(|(found, _all)| found)
    }

    /// As [`LogReader::read`], but no more than about `most` bytes, and whether that was all. For files whose contents are
    /// final: what is in memory at once does not grow with the file.
    pub(crate) fn read_part(&mut self, tails: Tails, most: usize) -> Result<(Found, bool)> {
        let mut found = Found::default();
        let (mut spans, all) = self.fetch(tails, most)?;
        // As many as there may be: growing would touch twice the memory, and what is never touched costs nothing.
        let bytes: usize = spans.iter().map(|span| span.bytes.len()).sum();
        found.points.reserve(bytes / LEAST_POINT_BYTES);
        let (mut at, mut offset) = (0, 0);
        // The spans before this one were read before the last look at all blocks, so that look has found their names.
        let mut named_below = 0;
        while let Some(span) = spans.get(at) {
            // `learn` has been here and checked the sums.
            let Next::Frame(frame, len) =
                frame::again(span.bytes.get(offset..).unwrap_or_default())
            else {
                (at, offset) = (at + 1, 0);
                continue;
            };
            let position = span.start + offset as u64;
            if !self.take(&frame, position, &mut found) {
                // The name was published in a block at which we had looked before, or in one that is still to come:
                // look at all blocks once more. The name was published before this frame, so that cannot miss it.
                let known = at >= named_below && {
                    let more = if most == usize::MAX {
                        self.fetch(tails, most)?.0
                    } else {
                        self.look_ahead(tails, most)?;
                        Vec::new()
                    };
                    named_below = spans.len();
                    spans.extend(more);
                    spans.get(at).is_some_and(|span| {
                        let bytes = span.bytes.get(offset..).unwrap_or_default();
                        matches!(frame::again(bytes), Next::Frame(frame, _)
                            if self.take(&frame, position, &mut found))
                    })
                };
                if !known && !self.nameless {
                    self.nameless = true;
                    let detail = "a frame uses a name that is not defined; it and others like it are left out";
                    self.problems.push(Error::corrupt(&self.path, position, detail));
                }
            }
            offset += len;
        }
        found.dropped = self.dropped();
        Ok((found, all))
    }

    /// Learns the names that stand in parts which were not read yet, and forgets everything else of them.
    fn look_ahead(&mut self, tails: Tails, most: usize) -> Result<()> {
        if std::mem::replace(&mut self.looked_ahead, true) {
            return Ok(());
        }
        let before = (self.consumed.clone(), self.looks.clone(), self.astray.clone());
        let problems = self.problems.len();
        while !self.fetch(tails, most)?.1 {}
        (self.consumed, self.looks, self.astray) = before;
        self.problems.truncate(problems);
        Ok(())
    }

    /// What the header says of rows that were not kept.
    fn dropped(&self) -> Vec<Fact> {
        let places = (0..).zip(&self.places).filter(|(_, place)| place.dropped > 0);
        let fact = |(at, place): (u64, &RunPlace)| {
            let mut runs = self.names.runs.values();
            let [project, run_id, launch] =
                runs.find(|[project, run_id, _]| run_key(project, run_id) == place.key)?;
            let offset = PLACES_OFFSET as u64 + at * PLACE_BYTES as u64;
            Some(Fact {
                project: Arc::clone(project),
                run_id: Arc::clone(run_id),
                kind: FactKind::Dropped,
                key: Arc::clone(&self.writer),
                value: Some(place.dropped.to_string().into()),
                launch: Arc::clone(launch),
                hlc: self.heartbeat.max(self.header.created_us),
                writer: Arc::clone(&self.writer),
                position: (self.header.number << 32 | offset).cast_signed(),
            })
        };
        places.filter_map(fact).collect()
    }

    /// Adds what a frame says to `found`; false where it uses a name that is not known.
    fn take(&self, frame: &Read<'_>, position: u64, found: &mut Found) -> bool {
        match frame {
            Read::Row(_) | Read::Many(_) if position < self.passed.points => true,
            Read::Fact { .. } if position < self.passed.facts => true,
            Read::Row(row) => {
                // All or nothing: a row is atomic.
                let known = found.see(self, row).is_some();
                if known {
                    let Points { series, steps, times, values, .. } = &mut found.points;
                    series.extend_from_slice(&found.last.1);
                    steps.extend(std::iter::repeat_n(row.step, row.values.len()));
                    times.extend(std::iter::repeat_n(row.time, row.values.len()));
                    row.values.extend(values);
                }
                known
            }
            Read::Many(many) => {
                let Some(at) = found.series(self, many.run, many.labels, many.metric) else {
                    return false;
                };
                let Points { series, steps, times, values, .. } = &mut found.points;
                series.extend(std::iter::repeat_n(at, many.len()));
                many.extend(steps, times, values);
                true
            }
            Read::Fact { run, hlc, kind, key, value } => {
                let Some([project, run_id, launch]) = self.names.runs.get(run) else {
                    return false;
                };
                found.facts.push(Fact {
                    project: Arc::clone(project),
                    run_id: Arc::clone(run_id),
                    kind: FactKind::from(*kind),
                    key: Arc::from(*key),
                    value: value.map(Arc::from),
                    launch: Arc::clone(launch),
                    hlc: *hlc,
                    writer: Arc::clone(&self.writer),
                    position: (self.header.number << 32 | position).cast_signed(),
                });
                true
            }
            Read::Name { .. } | Read::Shape { .. } | Read::Other => true,
        }
    }

    /// Reads the new bytes of all blocks, or of as many as have `most` bytes, and learns the names in them. Says whether
    /// those were all.
    fn fetch(&mut self, tails: Tails, most: usize) -> Result<(Vec<Span>, bool)> {
        if self.header.mode == Mode::Written {
            return self.fetch_stream(tails, most);
        }
        let blocks = self.consumed.len();
        let head = self.source.at(&self.path, 0, blocks_start(blocks))?;
        let synced = self.synced.as_ref().filter(|_| tails == Tails::Unknown);
        if head.len() < blocks_start(blocks) && synced.is_none() && !self.cut_short {
            // A missing word must not pass for that of a block in which nothing stands.
            self.cut_short = true;
            let detail = "the file was cut short";
            self.problems.push(Error::corrupt(&self.path, head.len() as u64, detail));
        }
        // The tails are read before the bytes below them, by two system calls in this order; a row that is seen was
        // published before the second one.
        fence(Ordering::Acquire);
        let synced_head =
            synced.map(|synced| synced.at(&self.path, 0, HEADER_BYTES)).transpose()?;
        self.note(&head, &synced_head.unwrap_or_default());
        let mut spans = Vec::new();
        let (mut block, mut bytes) = (0, 0);
        while block < blocks {
            if bytes >= most {
                return Ok((spans, false));
            }
            let room = (blocks - block) * BLOCK_BYTES;
            let from = self.consumed[block];
            // A block has taken others with it only for a frame that is larger than one.
            let sane = |tail: &usize| (from..=room.min(FRAME_BYTES_MAX)).contains(tail);
            let word = Self::word(&head, block);
            let mut tail = tail_bytes(word).filter(sane);
            if tail.is_none() && tails == Tails::Exact && !self.astray.contains(&block) {
                // A word that makes no sense may be a torn read: ask again before calling it corrupt.
                let head = self.source.at(&self.path, 0, blocks_start(blocks))?;
                tail = tail_bytes(Self::word(&head, block)).filter(sane);
                if tail.is_none() {
                    let at = (HEADER_BYTES + block * TAIL_STRIDE) as u64;
                    self.problems.push(Error::corrupt(
                        &self.path,
                        at,
                        "a tail word makes no sense",
                    ));
                    self.astray.insert(block);
                }
            }
            let start = (blocks_start(blocks) + block * BLOCK_BYTES) as u64;
            let look = self.looks[block];
            if let Some(look) = look
                && look.word == word
            {
                block += look.blocks;
                continue;
            }
            let limit = match tail {
                // A word that has changed since the last look is the word of a writer that lives.
                // So is one that is sealed, which is final: what was written behind it was logged again elsewhere.
                Some(tail) if tails == Tails::Exact || look.is_some() || word & SEALED != 0 => tail,
                _ => self.extent(start, tails)?.max(tail.unwrap_or(0)).min(room),
            };
            // A frame that is larger than a block has taken the blocks behind it too.
            let together = limit.div_ceil(BLOCK_BYTES).max(1);
            if tails == Tails::Unknown || tail.is_none() {
                self.looks[block] = Some(Look { word, blocks: together });
            }
            if limit > from {
                let published = tail.map_or(0, |tail| tail - from);
                let read = self.fetch_block(
                    start + from as u64,
                    limit - from,
                    published,
                    tails,
                    &mut spans,
                )?;
                self.consumed[block] = from + read;
                bytes += read;
            }
            block += together;
        }
        Ok((spans, true))
    }

    /// Takes over what changes in a header, and in that of the synced copy where it is to be asked too.
    fn note(&mut self, head: &[u8], synced: &[u8]) {
        let beat = |head: &[u8]| {
            let beat = head.get(HEARTBEAT_OFFSET..).and_then(<[u8]>::first_chunk);
            beat.map_or(0, |&beat| i64::from_le_bytes(beat))
        };
        self.heartbeat = beat(head).max(beat(synced));
        // Places are given from the first on and never change hands, so one of both has all of them.
        let places = |head| header::places(head).take_while(|place| place.key != 0);
        self.places = places(head).collect();
        for (at, place) in places(synced).enumerate() {
            match self.places.get_mut(at) {
                Some(known) => known.dropped = known.dropped.max(place.dropped),
                None => self.places.push(place),
            }
        }
    }

    /// Reads what a stream holds beyond what was read. Its end may be torn: somebody may be writing it, or was killed at
    /// that. A bad frame with a good one behind it is damage where we see the file as its writer left it; else its bytes
    /// may be on their way, so reading stops there, and comes back.
    fn fetch_stream(&mut self, tails: Tails, most: usize) -> Result<(Vec<Span>, bool)> {
        if let Some(hole) = self.hole.take() {
            drop(self.problems.remove(hole));
        }
        let head = self.source.at(&self.path, 0, HEADER_BYTES)?;
        self.note(&head, &[]);
        let first = self.end();
        // The largest frame has room in any part.
        let len = self.source.rest(&self.path, first)?;
        let part = len.min(most.max(2 * FRAME_BYTES_MAX));
        let mut bytes = self.source.at(&self.path, first, part)?;
        let mut good = self.learn(&bytes);
        if self.next_frame(&bytes, good, bytes.len()).is_some() {
            // A torn read looks like damage: ask again before calling it corrupt.
            bytes = self.source.at(&self.path, first, part)?;
            good = self.learn(&bytes);
        }
        let (mut spans, mut at) = (Vec::new(), 0);
        loop {
            let part = bytes.get(at..good).unwrap_or_default().to_vec();
            spans.push(Span { start: first + at as u64, bytes: part });
            let Some(next) = self.next_frame(&bytes, good, bytes.len()) else { break };
            let reason = match self.next(&bytes, good) {
                Next::Bad(reason) => reason,
                _ => "bytes are missing",
            };
            if tails == Tails::Unknown {
                self.hole = Some(self.problems.len());
            }
            self.problems.push(Error::corrupt(&self.path, first + good as u64, reason));
            if tails == Tails::Unknown {
                break;
            }
            at = next;
            good = at + self.learn(bytes.get(at..).unwrap_or_default());
        }
        self.consumed[0] += good;
        Ok((spans, part == len || good == 0))
    }

    /// Reads `len` bytes of one block, of which the first `published` must be whole frames. Where they are not, says so
    /// and goes on behind the damage. Returns how many bytes are done with.
    fn fetch_block(
        &mut self,
        first: u64,
        len: usize,
        published: usize,
        tails: Tails,
        spans: &mut Vec<Span>,
    ) -> Result<usize> {
        let mut bytes = self.bytes_of_block(first, len, tails)?;
        let mut good = self.learn(&bytes);
        if good < published {
            // A torn read looks like damage: ask again before calling it corrupt.
            bytes = self.bytes_of_block(first, len, tails)?;
            good = self.learn(&bytes);
        }
        if good >= published {
            if good > 0 {
                // What was asked for may be far more than what stands there.
                bytes.truncate(good);
                bytes.shrink_to_fit();
                spans.push(Span { start: first, bytes });
            }
            return Ok(good);
        }
        let mut at = 0;
        loop {
            if at < good {
                let bytes = bytes.get(at..good).unwrap_or_default().to_vec();
                spans.push(Span { start: first + at as u64, bytes });
            }
            if good >= published {
                return Ok(good);
            }
            let reason = match self.next(&bytes, good) {
                Next::Bad(reason) => reason,
                _ => "published bytes are missing",
            };
            self.problems.push(Error::corrupt(&self.path, first + good as u64, reason));
            let Some(next) = self.next_frame(&bytes, good, published) else {
                return Ok(published);
            };
            at = next;
            good = at + self.learn(bytes.get(at..).unwrap_or_default());
        }
    }

    /// The bytes of a block. After a power cut those that were synced stand in the copy, whatever became of the file.
    fn bytes_of_block(&mut self, first: u64, len: usize, tails: Tails) -> Result<Vec<u8>> {
        let mut bytes = self.source.at(&self.path, first, len)?;
        if let Some(synced) = self.synced.as_ref().filter(|_| tails == Tails::Unknown) {
            let mut copy = synced.at(&self.path, first, len)?;
            copy.truncate(self.learn(&copy));
            bytes.resize(bytes.len().max(copy.len()), 0);
            bytes[..copy.len()].copy_from_slice(&copy);
        }
        Ok(bytes)
    }

    fn next<'a>(&self, bytes: &'a [u8], at: usize) -> Next<'a> {
        frame::next(self.header.salt, bytes.get(at..).unwrap_or_default())
    }

    /// Where the next frame begins after one at `bad` that is damaged, below `published`. Most likely its length is
    /// whole; else every place is tried at which a frame can stand, for as long as a block is.
    fn next_frame(&self, bytes: &[u8], bad: usize, published: usize) -> Option<usize> {
        let len = bytes.get(bad..)?.first_chunk().map_or(0, |&len| u32::from_le_bytes(len));
        let behind = bad.checked_add((len as usize).next_multiple_of(8))?;
        let places = (bad + 8..published).step_by(8).take(BLOCK_BYTES / 8);
        std::iter::once(behind)
            .filter(|at| (bad + 8..published).contains(at))
            .chain(places)
            .find(|&at| matches!(self.next(bytes, at), Next::Frame(..)))
    }

    fn word(head: &[u8], block: usize) -> u64 {
        let word = head.get(HEADER_BYTES + block * TAIL_STRIDE..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |&word| u64::from_le_bytes(word))
    }

    /// How many bytes belong to a block where its tail word is not to be believed: those of several blocks if the frame
    /// that it begins with has taken them.
    fn extent(&self, start: u64, tails: Tails) -> Result<usize> {
        let extent = |source: &Source| -> Result<usize> {
            let len = source.at(&self.path, start, 4)?;
            let len = len.first_chunk().map_or(0, |&len| u32::from_le_bytes(len)) as usize;
            let believed = if len <= FRAME_BYTES_MAX { len } else { 0 };
            Ok(believed.max(1).next_multiple_of(BLOCK_BYTES))
        };
        let synced = self.synced.as_ref().filter(|_| tails == Tails::Unknown);
        Ok(extent(&self.source)?.max(synced.map_or(Ok(0), extent)?))
    }

    /// Walks over frames, learns the names among them, and says how many bytes are good.
    fn learn(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0;
        while let Next::Frame(frame, len) =
            frame::next(self.header.salt, bytes.get(good..).unwrap_or_default())
        {
            match frame {
                Read::Name { space, id, texts } => self.names.learn(space, id, texts),
                Read::Shape { id, shape } => self.names.shapes.entry(id).or_default().set(&shape),
                Read::Row(_) | Read::Many(_) | Read::Fact { .. } | Read::Other => {}
            }
            good = (good + len).min(bytes.len());
        }
        good
    }
}

/// New bytes of one block, and where in the file they start.
struct Span {
    start: u64,
    bytes: Vec<u8>,
}

impl Found {
    /// Makes `self.last` that of `row`; `None` where the row uses a name or a shape that is not known.
    fn see(&mut self, reader: &LogReader, row: &RowRef<'_>) -> Option<()> {
        let shape = match row.shape {
            RowShape::Here(shape) => shape,
            RowShape::Numbered(number) => reader.names.shapes.get(&number)?.get(),
        };
        if shape.metrics.len() != row.values.len() {
            return None;
        }
        if self.last.0.get() == shape {
            return Some(());
        }
        let (mut last, mut series) = std::mem::take(&mut self.last);
        series.clear();
        for &metric in shape.metrics {
            let metric = u32::from_le_bytes(metric);
            series.push(self.series(reader, shape.run, shape.labels, metric)?);
        }
        last.set(&shape);
        self.last = (last, series);
        Some(())
    }

    /// The series of these ids as an index into the keys of the points found.
    fn series(&mut self, reader: &LogReader, run: u32, labels: u32, metric: u32) -> Option<u32> {
        if let Some(&series) = self.series.get(&(run, labels, metric)) {
            return Some(series);
        }
        let [project, run_id, launch] = reader.names.runs.get(&run)?;
        let labels_text = if labels == NO_LABELS {
            None
        } else {
            Some(Arc::clone(reader.names.labels.get(&labels)?))
        };
        let key = SeriesKey {
            project: Arc::clone(project),
            run_id: Arc::clone(run_id),
            metric: Arc::clone(reader.names.metrics.get(&metric)?),
            labels: labels_text,
            launch: Arc::clone(launch),
        };
        let series = self.index.intern(&mut self.points, key);
        self.series.insert((run, labels, metric), series);
        Some(series)
    }
}

/// Where the bytes come from.
#[derive(Debug)]
enum Source {
    File(File),
    Spill(Arc<LogFile>),
    Bytes(Vec<u8>),
}

impl Source {
    /// Opens the file; `None` where there is none.
    fn open(path: &Path) -> Result<Option<Self>> {
        match disk::open(path) {
            Ok(file) => Ok(Some(Self::File(file))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes there are from `offset` on.
    fn rest(&self, path: &Path, offset: u64) -> Result<usize> {
        let bytes = match self {
            Self::File(file) => {
                file.metadata().map_err(|error| Error::io("look at", path, error))?.len()
            }
            Self::Spill(spill) => super::file_bytes(spill.blocks()) as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
        };
        Ok(usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    /// Up to `len` bytes from `offset` on; fewer where the file ends.
    fn at(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
        let file = match self {
            Self::File(file) => file,
            Self::Spill(spill) => return Ok(spill.copy(offset, len)),
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                return Ok(bytes[from..from.saturating_add(len).min(bytes.len())].to_vec());
            }
        };
        let mut bytes = vec![0; len];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match disk::reading(path, || file.read_at(rest, offset + done as u64)) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{frame::Frame, header::Mode, tail_word};

    /// A log file of so many blocks, none of which holds anything.
    fn empty(blocks: u32) -> (Header, Vec<u8>) {
        let header = Header {
            blocks,
            salt: 7,
            mode: Mode::Mapped,
            number: 1,
            created_us: 0,
            file: uuid::Uuid::nil(),
            writer: uuid::Uuid::nil(),
            boot_id: String::new(),
        };
        let mut image = vec![0; blocks_start(blocks as usize)];
        image[..header.encode().len()].copy_from_slice(&header.encode());
        (header, image)
    }

    fn reader(folder: &Path, image: &[u8]) -> LogReader {
        let path = folder.join("000001.log");
        disk::create_with(&path, image).unwrap();
        LogReader::open(&path).unwrap().unwrap()
    }

    #[test]
    fn a_tail_word_beyond_the_largest_frame_makes_no_sense_and_reserves_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut image) = empty(1 << 16);
        let word = tail_word((1 << 31) - 8);
        image[HEADER_BYTES..][..8].copy_from_slice(&word.to_le_bytes());
        let mut reader = reader(folder.path(), &image);
        assert!(reader.read(Tails::Exact).unwrap().points.is_empty());
        let [problem] = reader.problems() else { panic!("{:?}", reader.problems()) };
        assert!(problem.to_string().contains("a tail word makes no sense"), "{problem}");
    }

    #[test]
    fn blocks_that_a_header_only_claims_hold_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (_, image) = empty(1 << 16);
        let mut reader = reader(folder.path(), &image[..HEADER_BYTES]);
        let (spans, all) = reader.fetch(Tails::Unknown, usize::MAX).unwrap();
        assert!(all && spans.is_empty(), "{} spans of nothing", spans.len());
    }

    #[test]
    fn a_name_that_is_lost_is_looked_for_once_not_for_each_of_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (header, mut image) = empty(1024);
        let points = [(crate::MetricId(5), 1.0)];
        let mut bytes = Vec::new();
        for step in 0..900 {
            let row = Frame::Row { run: 1, labels: NO_LABELS, step, time: 0, points: &points };
            let start = bytes.len();
            bytes.resize(start + row.bytes(), 0);
            row.write(header.salt, &mut bytes[start..]);
        }
        assert!(bytes.len() < BLOCK_BYTES);
        let word = tail_word(bytes.len());
        image[HEADER_BYTES..][..8].copy_from_slice(&word.to_le_bytes());
        image.extend(bytes);
        let mut reader = reader(folder.path(), &image);
        let before = bytes_read();
        assert!(reader.read(Tails::Exact).unwrap().points.is_empty());
        assert_eq!(reader.problems().len(), 1, "{:?}", reader.problems());
        assert!(bytes_read() - before < 4 * image.len() as u64, "the file was read twice");
    }

    /// What this thread has read so far, from files or caches, as the kernel counts it.
    fn bytes_read() -> u64 {
        let counts = disk::read(Path::new("/proc/thread-self/io")).unwrap();
        let counts = String::from_utf8(counts).unwrap();
        let line = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.parse().unwrap()
    }
}
