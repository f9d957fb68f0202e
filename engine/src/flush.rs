//! From the log to segments: seal, decode, sort, write, commit, unlink. The same for a log of our own and for one whose
//! owner is dead.
//!
//! The commit carries the watermark of the log with the files that hold its rows, so that every row is in the log or in
//! a segment, never in both and never in neither. A crash before the commit leaves the log and some orphan files; a
//! crash after it leaves log files that are known to be done. Facts are committed first: a reader that sees a run's
//! points knows the run.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Error, Fact, Points, Result, SeriesIndex,
    catalog::{Edit, Outcome, Table, TableVersion, Txn},
    disk,
    log::{
        self, LogFile, Mode, Passed, WHOLE,
        owner::{self, Liveness, Locked, Lookout},
        reader::LogReader,
        writer::Writer,
    },
    os::{self, Hold, Host, Lock, Now},
    segment::{self, NewSegment},
    tail,
};

/// How old a folder is that its writer will not finish making: that takes milliseconds.
const HALF_MADE_US: i64 = 3600 * 1_000_000;
/// How often a flush of our own log begins again because somebody else flushed a part of it meanwhile.
const PATIENCE: u32 = 8;
/// How long a log in pwrite mode that was adopted stays: its owner may be on another host, and live.
const OWNER_MAY_LIVE_US: i64 = 24 * 3600 * 1_000_000;
/// How much a flush takes on at once, which bounds its memory whatever the size of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtOnce {
    /// The bytes that are read from a log file before they are put with the rest.
    pub(crate) read_bytes: usize,
    /// The points that are sorted together, into one segment for each project.
    pub(crate) points: usize,
    /// The bytes of facts that are written together.
    pub(crate) fact_bytes: usize,
    /// The bytes of log in one commit, to the end of a log file: segments wait for it on disk.
    pub(crate) log_bytes: u64,
}

impl AtOnce {
    /// What a flush can do within 256 MB.
    pub(crate) const USUAL: Self =
        Self { read_bytes: 4 << 20, points: 3 << 19, fact_bytes: 16 << 20, log_bytes: 64 << 20 };
}

/// What a fact takes beside its key and value, about.
const FACT_BYTES: usize = size_of::<Fact>();

/// The tables that a flush commits to.
#[derive(Debug)]
pub(crate) struct Tables {
    /// The folder of the lake.
    pub(crate) root: PathBuf,
    /// Points.
    pub(crate) points: Table,
    /// Facts.
    pub(crate) facts: Table,
    /// Held by the one flush of this process that is under way.
    pub(crate) turn: Mutex<()>,
    /// How much it takes on at once.
    pub(crate) at_once: AtOnce,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Points that are in segments now.
    pub points: u64,
    /// Folders of dead writers that are gone.
    pub adopted: u64,
}

/// What is read from logs and waits for a commit, most of it in segments already.
#[derive(Debug)]
struct Batch<'a> {
    tables: &'a Tables,
    points: Points,
    index: SeriesIndex,
    facts: Vec<Fact>,
    fact_bytes: usize,
    /// Segments in the order of logging: a commit keeps their order.
    points_segments: Vec<NewSegment>,
    facts_segments: Vec<NewSegment>,
    points_txns: Vec<Txn>,
    facts_txns: Vec<Txn>,
    /// Points in it, those in segments included.
    rows: u64,
    log_bytes: u64,
}

impl<'a> Batch<'a> {
    fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            points: Points::default(),
            index: SeriesIndex::default(),
            facts: Vec::new(),
            fact_bytes: 0,
            points_segments: Vec::new(),
            facts_segments: Vec::new(),
            points_txns: Vec::new(),
            facts_txns: Vec::new(),
            rows: 0,
            log_bytes: 0,
        }
    }

    /// Reads a log file; what a table has already taken in is left out for that table.
    fn take(&mut self, reader: &mut LogReader, host: &Host, passed: Passed) -> Result<()> {
        reader.pass(passed);
        let at_once = self.tables.at_once;
        let mut all = false;
        while !all {
            let found;
            (found, all) = reader.read_part(tail::trust(reader, host), at_once.read_bytes)?;
            if passed.points != WHOLE {
                self.rows += found.points.len() as u64;
                if self.points.is_empty() {
                    (self.points, self.index) = (found.points, found.index);
                } else {
                    self.points.extend(&mut self.index, &found.points);
                }
            }
            if passed.facts != WHOLE {
                // The header counts for the file as a whole.
                let dropped = if all { found.dropped } else { Vec::new() };
                for fact in found.facts.into_iter().chain(dropped) {
                    self.fact_bytes += FACT_BYTES
                        + fact.key.len()
                        + fact.value.as_ref().map_or(0, |text| text.len());
                    self.facts.push(fact);
                }
            }
            if self.points.len() >= at_once.points {
                self.write_points()?;
            }
            if self.fact_bytes >= at_once.fact_bytes {
                self.write_facts()?;
            }
        }
        self.log_bytes += log::file_bytes(reader.header().blocks as usize) as u64;
        Ok(())
    }

    /// Moves the watermarks of a writer to `version`, from where they were when its log was read.
    fn pass(&mut self, writer: &str, version: i64, marks: Marks) {
        for (txns, mark) in
            [(&mut self.points_txns, marks.points), (&mut self.facts_txns, marks.facts)]
        {
            if mark.unwrap_or(0) < version {
                txns.retain(|txn| txn.app_id != writer);
                // Whoever else flushed a part of the log meanwhile has moved the mark, and came first.
                let expected_below = mark.unwrap_or(0) + 1;
                txns.push(Txn { app_id: writer.to_owned(), version, expected_below });
            }
        }
    }

    /// Sorts the points in memory and writes them.
    fn write_points(&mut self) -> Result<()> {
        self.index = SeriesIndex::default();
        let sorted = std::mem::take(&mut self.points).sort();
        for project in sorted.projects() {
            let table = self.tables.points.dir();
            self.points_segments.push(segment::write_points(table, &sorted, project, 0)?);
        }
        Ok(())
    }

    /// Sorts the facts in memory and writes them.
    fn write_facts(&mut self) -> Result<()> {
        self.fact_bytes = 0;
        let mut sorted = std::mem::take(&mut self.facts);
        sorted.sort_by(|a, b| a.project.cmp(&b.project));
        for project in sorted.chunk_by(|a, b| a.project == b.project) {
            self.facts_segments.push(segment::write_facts(self.tables.facts.dir(), project, 0)?);
        }
        Ok(())
    }

    /// Writes what is left and commits both tables. False where another flush of the same logs came first.
    fn commit(mut self, now_us: i64) -> Result<bool> {
        self.write_facts()?;
        self.write_points()?;
        let tables = self.tables;
        Ok(commit(&tables.facts, self.facts_segments, self.facts_txns, now_us)?
            && commit(&tables.points, self.points_segments, self.points_txns, now_us)?)
    }
}

/// The watermarks of a writer.
#[derive(Debug, Clone, Copy)]
struct Marks {
    points: Option<i64>,
    facts: Option<i64>,
}

impl Marks {
    fn of(points: &TableVersion, facts: &TableVersion, writer: &str) -> Self {
        let mark = |table: &TableVersion| table.txns.get(writer).copied();
        Self { points: mark(points), facts: mark(facts) }
    }

    /// The same once a commit has moved them.
    fn moved_to(self, version: i64) -> Self {
        Self { points: self.points.max(Some(version)), facts: self.facts.max(Some(version)) }
    }

    fn passed(self, number: u64) -> Passed {
        Passed::of(self.points, self.facts, number)
    }

    /// True where somebody took in a part of a file: its owner takes in whole files only.
    fn are_within_a_file(self) -> bool {
        [self.points, self.facts].into_iter().flatten().any(|mark| mark & i64::from(u32::MAX) != 0)
    }
}

/// Commits the segments with the watermarks of the logs that they came from. False where another flush of the same logs
/// came first.
fn commit(table: &Table, segments: Vec<NewSegment>, txns: Vec<Txn>, now_us: i64) -> Result<bool> {
    if txns.is_empty() {
        return Ok(true);
    }
    let edit = Edit {
        adds: Vec::new(),
        removes: Vec::new(),
        txns,
        operation: "flush",
        data_change: true,
        takes_place: false,
    };
    Ok(segment::commit(table, segments, edit, now_us)? != Outcome::Superseded)
}

/// Flushes what this process has logged so far. After each commit `goes_on` says whether to go on; what is left then
/// stays in the log.
pub(crate) fn own(
    tables: &Tables,
    writer: &Writer,
    host: &Host,
    now_us: i64,
    goes_on: &dyn Fn() -> bool,
) -> Result<Flushed> {
    let _turn = tables.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let files = writer.seal_below();
    let mut flushed = Flushed::default();
    for _ in 0..PATIENCE {
        if own_files(tables, writer, &files, host, now_us, goes_on, &mut flushed)? {
            return Ok(flushed);
        }
        // Somebody takes us for dead and has taken in a part of the log meanwhile. What is mapped is all his: the writer
        // finds its files sealed and moves on. In pwrite mode what he has not seen is left to us.
        if writer.mode() == Mode::Mapped {
            tracing::warn!(writer = %writer.id, "another process has adopted this log");
            return Ok(flushed);
        }
        writer.note_taken();
    }
    let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
    Err(Error::io("flush", &writer.folder, busy))
}

/// Flushes sealed files of this process. False where another flush of the same log came first.
fn own_files(
    tables: &Tables,
    writer: &Writer,
    files: &[Arc<LogFile>],
    host: &Host,
    now_us: i64,
    goes_on: &dyn Fn() -> bool,
    flushed: &mut Flushed,
) -> Result<bool> {
    let id = writer.id.to_string();
    let (points_table, facts_table) = (tables.points.load()?, tables.facts.load()?);
    let mut marks = Marks::of(&points_table, &facts_table, &id);
    if marks.are_within_a_file() {
        writer.note_taken();
    }
    let mut batch = Batch::new(tables);
    let mut unreadable = Vec::new();
    for (at, file) in files.iter().enumerate() {
        // An earlier flush may have failed between its two commits.
        let passed = marks.passed(file.header.number);
        let version = log::watermark(file.header.number);
        if !passed.is_whole() {
            let mut reader = match LogReader::of_own(file) {
                // Whoever takes us for dead has removed it, once he had committed it.
                Err(error) if error.is_not_found() => return Ok(false),
                opened => opened?,
            };
            batch.take(&mut reader, host, passed)?;
            unreadable.extend(reader.problems().first().map(|_| file.path.clone()));
            batch.pass(&id, version, marks);
        }
        if batch.log_bytes >= tables.at_once.log_bytes || at + 1 == files.len() {
            let points = batch.rows;
            if !std::mem::replace(&mut batch, Batch::new(tables)).commit(now_us)? {
                return Ok(false);
            }
            marks = marks.moved_to(version);
            flushed.points += points;
            for path in unreadable.drain(..) {
                quarantine(&tables.root, &id, &path)?;
            }
            writer.forget(file.header.number)?;
            if !goes_on() {
                break;
            }
        }
    }
    Ok(true)
}

/// A folder whose owner is dead, locked by us.
struct Orphan {
    id: String,
    folder: PathBuf,
    /// Where its log files are; nowhere that could be reached, if the user says that its host is gone.
    logs: Option<PathBuf>,
    /// Its log files by number, oldest first.
    files: Vec<(u64, PathBuf)>,
    bytes: u64,
    _lock: Option<Lock>,
}

/// What logs of dead writers there are, without a look into them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orphans {
    /// Folders.
    pub(crate) writers: u64,
    /// Bytes of log.
    pub(crate) bytes: u64,
}

/// Counts the logs that nobody will go on with, but for what is in the tables already.
pub(crate) fn orphans(tables: &Tables, lookout: &Lookout) -> Result<Orphans> {
    let mut orphans = Orphans::default();
    // Where the catalog cannot be read, all of a log counts. Whoever takes it in is told what is wrong.
    let known = |table: &Table| table.load().unwrap_or_default();
    let (points_table, facts_table) = (known(&tables.points), known(&tables.facts));
    for (id, folder) in writers(&tables.root)? {
        if !is_orphan(&folder, lookout, &[])? {
            continue;
        }
        let marks = Marks::of(&points_table, &facts_table, &id);
        let (mut bytes, mut is_kept) = (0, false);
        for (number, path) in owner::log_files(&folder, lookout.host())? {
            let passed = marks.passed(number);
            bytes += disk::size(&path).unwrap_or(0).saturating_sub(passed.points.min(passed.facts));
            is_kept |= passed != Passed::default() && !passed.is_whole();
        }
        // One that was adopted in pwrite mode stays for a while, and nothing is to be done about it.
        if bytes > 0 || !is_kept {
            orphans.writers += 1;
            orphans.bytes += bytes;
        }
    }
    Ok(orphans)
}

/// Whether the log of a writer may be taken in: nobody goes on with it, or if somebody does, no row is lost. `gone` are
/// hosts of which the user knows that they are.
fn is_orphan(folder: &Path, lookout: &Lookout, gone: &[String]) -> Result<bool> {
    let is_gone = || owner::read(folder).is_some_and(|owner| gone.contains(&owner.host.name));
    let liveness = lookout.liveness(folder, Now::read())?;
    if lookout.logs(folder).is_none() {
        // Its log is on a disk that is not here. To forget it takes a word that it is gone.
        return Ok(liveness != Liveness::Alive && is_gone());
    }
    Ok(match liveness {
        Liveness::Alive => false,
        Liveness::Silent | Liveness::Lost => is_gone(),
        // A writer that maps its log cannot be told from another host that the log was taken from it.
        Liveness::Expired => is_gone() || !is_mapped(folder, lookout.host())?,
        Liveness::Dead => true,
    })
}

/// Whether a log file of a writer is written through a mapping.
fn is_mapped(folder: &Path, host: &Host) -> Result<bool> {
    for (_, path) in owner::log_files(folder, host)? {
        let is_written = match LogReader::open(&path) {
            Ok(reader) => reader.is_none_or(|reader| reader.header().mode == Mode::Written),
            // Whoever writes it may know better.
            Err(_unreadable) => false,
        };
        if !is_written {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders of writers.
pub(crate) fn writers(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let logs = root.join("log");
    let names = disk::list(&logs)?.into_iter().filter(|name| uuid::Uuid::parse_str(name).is_ok());
    Ok(names.map(|name| (name.clone(), logs.join(name))).collect())
}

/// Flushes the logs of dead writers, many in one commit, and removes their folders. Hosts that are `gone` have no other
/// writers. `watch` is told after each commit how many writers are done, of how many.
pub(crate) fn adopt(
    tables: &Tables,
    lookout: &Lookout,
    gone: &[String],
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Flushed> {
    let _turn = tables.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let now_us = os::now_us();
    let mut flushed = Flushed::default();
    remove_half_made(&tables.root, now_us)?;
    let all = writers(&tables.root)?;
    let total = all.len() as u64;
    let mut looked_at = 0;
    let mut waiting = all.into_iter();
    loop {
        let mut held = Vec::new();
        let mut bytes = 0;
        while bytes < tables.at_once.log_bytes
            && let Some((id, folder)) = waiting.next()
        {
            looked_at += 1;
            if is_orphan(&folder, lookout, gone)?
                && let Some(orphan) = hold(id, folder, lookout)?
            {
                bytes += orphan.bytes;
                held.push(orphan);
            }
        }
        if held.is_empty() {
            return Ok(flushed);
        }
        let (points, adopted) = adopt_held(tables, lookout.host(), now_us, &held)?;
        flushed.points += points;
        flushed.adopted += adopted;
        watch(looked_at, total);
    }
}

/// Removes the folders of writers that were killed before they came to log anything.
fn remove_half_made(root: &Path, now_us: i64) -> Result<()> {
    let logs = root.join("log");
    for name in disk::list(&logs)?.iter().filter(|name| disk::is_temporary(name)) {
        let folder = logs.join(name);
        match disk::modified_us(&folder) {
            Ok(modified_us) if now_us.saturating_sub(modified_us) > HALF_MADE_US => {}
            Err(error) if !error.is_not_found() => return Err(error),
            // Its writer is about to give it its name, or has done so since the folder was listed.
            _ => continue,
        }
        if let Locked::Held(_) | Locked::Gone = owner::lock(&folder, Hold::Exclusive)? {
            // A power cut may have given a folder with logs its first name again. What was logged there was not synced.
            for name in disk::list(&folder)?.iter().filter(|name| log::file_number(name).is_some())
            {
                log::remove(&folder.join(name))?;
            }
            owner::remove(&folder)?;
        }
    }
    Ok(())
}

fn hold(id: String, folder: PathBuf, lookout: &Lookout) -> Result<Option<Orphan>> {
    let Some(logs) = lookout.logs(&folder) else {
        return Ok(Some(Orphan {
            id,
            folder,
            logs: None,
            files: Vec::new(),
            bytes: 0,
            _lock: None,
        }));
    };
    let lock = match owner::lock(&logs, Hold::Exclusive)? {
        Locked::Held(lock) => lock,
        Locked::Busy => return Ok(None),
        Locked::Gone => {
            // An adopter was killed between its last two steps.
            disk::remove_empty_dir(&folder)?;
            // Or a power cut has taken the name of the lock and left others. It has taken the owner for certain.
            match owner::lock_anew(&logs)? {
                Locked::Held(lock) => lock,
                Locked::Busy | Locked::Gone => return Ok(None),
            }
        }
    };
    // Nobody else adopts it now. Who looks whether the owner lives must not take us for him.
    if !lock.share().map_err(|error| Error::io("lock", &logs, error))? {
        return Ok(None);
    }
    let files = owner::log_files(&folder, lookout.host())?;
    let bytes = files.iter().map(|(_, path)| disk::size(path).unwrap_or(0)).sum();
    Ok(Some(Orphan { id, folder, logs: Some(logs), files, bytes, _lock: Some(lock) }))
}

fn adopt_held(tables: &Tables, host: &Host, now_us: i64, held: &[Orphan]) -> Result<(u64, u64)> {
    let (points_table, facts_table) = (tables.points.load()?, tables.facts.load()?);
    let mut batch = Batch::new(tables);
    let mut taken = Vec::new();
    let mut points = 0;
    let mut stay = Vec::new();
    for orphan in held {
        let mut marks = Marks::of(&points_table, &facts_table, &orphan.id);
        let last = orphan.files.last().map(|(number, _)| *number);
        for (number, path) in orphan.files.iter().cloned() {
            let passed = marks.passed(number);
            let mut read = ReadOrphan { version: log::watermark(number), whole: true };
            if !passed.is_whole() {
                let modified_us = disk::modified_us(&path).unwrap_or(now_us);
                let is_old = now_us.saturating_sub(modified_us) > OWNER_MAY_LIVE_US;
                let is_last = last == Some(number);
                let known = passed.points.min(passed.facts);
                // Nothing has come since. An empty file is none of a living owner: its header comes before its name.
                if known > 0 && !is_old && disk::size(&path).is_ok_and(|bytes| bytes <= known) {
                    stay.push(&orphan.folder);
                    continue;
                }
                read = match read_orphan(&path, number, is_last, host, passed, &mut batch) {
                    Err(Error::Corrupt { .. }) => ReadOrphan { whole: false, ..read },
                    read => read?,
                };
                batch.pass(&orphan.id, read.version, marks);
                // The owner may live all the same, and go on in a stream: it stays until nobody can.
                if read.version != log::watermark(number) && !is_old {
                    stay.push(&orphan.folder);
                    continue;
                }
            }
            taken.push(Taken { writer: &orphan.id, path, whole: read.whole });
            if batch.log_bytes >= tables.at_once.log_bytes {
                let full = std::mem::replace(&mut batch, Batch::new(tables));
                match settle(full, &mut taken, now_us)? {
                    Some(more) => points += more,
                    None => return Ok((points, 0)),
                }
                marks = marks.moved_to(read.version);
            }
        }
    }
    match settle(batch, &mut taken, now_us)? {
        Some(more) => points += more,
        None => return Ok((points, 0)),
    }
    let done = held.iter().filter(|orphan| !stay.contains(&&orphan.folder));
    let mut adopted = 0;
    for Orphan { folder, logs, .. } in done {
        // The lake's first: what is left of a folder elsewhere is nothing that anybody would miss.
        owner::remove(folder)?;
        if let Some(logs) = logs.as_ref().filter(|logs| *logs != folder) {
            owner::remove(logs)?;
        }
        adopted += 1;
    }
    Ok((points, adopted))
}

/// A log file of a dead writer that was read.
struct Taken<'a> {
    writer: &'a str,
    path: PathBuf,
    /// All of it could be read.
    whole: bool,
}

/// Commits what was read of dead writers' files and removes the files. How many points that were; `None` where another
/// flush of the same logs came first.
fn settle(batch: Batch<'_>, taken: &mut Vec<Taken<'_>>, now_us: i64) -> Result<Option<u64>> {
    let (tables, points) = (batch.tables, batch.rows);
    if !batch.commit(now_us)? {
        return Ok(None);
    }
    // What we remove may rest on commits of others: they must be durable first.
    tables.facts.sync()?;
    tables.points.sync()?;
    for Taken { writer, path, whole } in taken.drain(..) {
        if whole {
            log::remove(&path)?;
        } else {
            quarantine(&tables.root, writer, &path)?;
        }
    }
    Ok(Some(points))
}

/// What came of reading the log file of a dead writer.
struct ReadOrphan {
    /// The watermark to which that leads.
    version: i64,
    /// All of it could be read.
    whole: bool,
}

/// Reads the log file of a dead writer. Of a stream, if it is the `last` file, only what is there now: its owner may not
/// be dead after all.
fn read_orphan(
    path: &Path,
    number: u64,
    is_last: bool,
    host: &Host,
    passed: Passed,
    batch: &mut Batch<'_>,
) -> Result<ReadOrphan> {
    let mut read = ReadOrphan { version: log::watermark(number), whole: true };
    let Some(mut reader) = LogReader::open(path)? else { return Ok(read) };
    let mode = reader.header().mode;
    if mode == Mode::Mapped && reader.header().boot_id == host.boot_id {
        match LogFile::seal_orphan(path, reader.header()) {
            Ok(()) => {}
            // Nothing can be sealed, and no owner can go on in it either. What is left of it is taken in.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => read.whole = false,
            Err(error) => return Err(Error::io("seal", path, error)),
        }
    }
    batch.take(&mut reader, host, passed)?;
    for problem in reader.problems() {
        tracing::warn!(%problem, "a part of a log is lost; the file is kept in quarantine");
    }
    if mode == Mode::Written && is_last {
        read.version = log::watermark_within(number, reader.end());
    }
    read.whole &= reader.problems().is_empty();
    Ok(read)
}

/// Keeps a file that failed a check, out of the way.
fn quarantine(root: &Path, writer: &str, path: &Path) -> Result<()> {
    let folder = root.join("quarantine");
    disk::create_dirs(&folder)?;
    let carry = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        disk::carry(path, &folder.join(format!("{writer}-{name}")))
    };
    let copy = log::synced_path(path);
    if disk::exists(&copy)? {
        carry(&copy)?;
    }
    carry(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Filter,
        catalog::TableKind,
        log::{
            NO_LABELS,
            frame::{Frame, Space},
            header::Header,
            owner::Owner,
        },
    };

    const BLOCKS: u32 = 48;
    const VALUES: usize = 100;

    /// A log file in which every block but the last is full of points, and the last one defines the names of all.
    fn fill(folder: &Path, writer: uuid::Uuid, number: u64, host: &Host) -> i64 {
        let header = Header {
            blocks: BLOCKS,
            salt: 7,
            mode: Mode::Mapped,
            number,
            created_us: 0,
            file: uuid::Uuid::new_v4(),
            writer,
            boot_id: host.boot_id.clone(),
        };
        let file = LogFile::create(folder, header, &|| true).unwrap();
        let mut blocks: Vec<_> = (0..BLOCKS).map(|_| file.claim(1).unwrap()).collect();
        let mut last = blocks.pop().unwrap();
        let name = |space, texts| Frame::Name { space, id: 0, texts };
        for frame in [name(Space::Run, ["p", "r", "one"]), name(Space::Metric, ["m", "", ""])] {
            last.append(frame.bytes(), |out| frame.write(7, out)).unwrap();
        }
        let mut step = (number.cast_signed() - 1) << 32;
        for block in &mut blocks {
            loop {
                let frame = Frame::Many {
                    run: 0,
                    labels: NO_LABELS,
                    metric: 0,
                    step,
                    time: 0,
                    steps: None,
                    times: None,
                    values: &[0.5; VALUES],
                };
                if block.room() < frame.bytes() {
                    break;
                }
                block.append(frame.bytes(), |out| frame.write(7, out)).unwrap();
                step += i64::try_from(VALUES).unwrap();
            }
        }
        step & i64::from(u32::MAX)
    }

    #[test]
    fn a_log_is_taken_in_part_by_part_however_large_and_wherever_its_names_stand() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::this();
        let id = uuid::Uuid::now_v7();
        let owner = Owner {
            writer: id.to_string(),
            host: host.clone(),
            pid: 0,
            created_us: 0,
            version: String::new(),
            logs: None,
        };
        let folder = owner::create(root.path(), &owner).unwrap().folder;
        let each = [1, 2, 3].map(|number| fill(&folder, id, number, &host));
        let at_once =
            AtOnce { read_bytes: 100_000, points: 20_000, fact_bytes: 1000, log_bytes: 4 << 20 };
        let tables = Tables {
            root: root.path().to_owned(),
            points: Table::new(root.path(), TableKind::Points),
            facts: Table::new(root.path(), TableKind::Facts),
            turn: Mutex::default(),
            at_once,
        };
        let flushed = adopt(&tables, &Lookout::new(host), &[], &mut |_, _| {}).unwrap();
        assert_eq!(
            (flushed.points, flushed.adopted),
            (each.iter().sum::<i64>().cast_unsigned(), 1)
        );
        assert!(!folder.exists());
        let table = tables.points.load().unwrap();
        // Two files of 3 MiB are more than a commit takes on, so the third comes in one of its own.
        assert_eq!(table.version, Some(1));
        let most = at_once.points + (at_once.read_bytes + log::BLOCK_BYTES) / 8;
        let mut steps = Vec::new();
        for segment in &table.segments {
            assert!(segment.rows <= most as u64, "{} rows were in memory at once", segment.rows);
            steps.extend(segment::read_points(segment, &Filter::default()).unwrap().steps);
        }
        // In the order of logging, also from segment to segment.
        let logged =
            (0..).zip(each).flat_map(|(file, steps)| (0..steps).map(move |it| file << 32 | it));
        assert!(steps.into_iter().eq(logged), "every row once, in order");
    }

    #[test]
    fn silence_alone_makes_no_orphan_of_a_log_that_another_host_maps() {
        let root = tempfile::tempdir().unwrap();
        let other = Host::called("other".to_owned(), "another boot".to_owned());
        let id = uuid::Uuid::now_v7();
        let owner = Owner {
            writer: id.to_string(),
            host: other.clone(),
            pid: 0,
            created_us: os::now_us(),
            version: String::new(),
            logs: None,
        };
        let folder = owner::create(root.path(), &owner).unwrap().folder;
        let lookout = Lookout::new(Host::this());
        let is_orphan = |gone: &[String]| is_orphan(&folder, &lookout, gone).unwrap();
        let named = |name: &str| [name.to_owned()];
        assert!(!is_orphan(&named("other")), "it was there a moment ago");
        // We have watched it for longer than its lease.
        let now = Now::read();
        let lookout = Lookout::new(Host::this());
        let long_ago = Now { steady_us: now.steady_us - 601 * 1_000_000, ..now };
        assert_eq!(lookout.liveness(&folder, long_ago).unwrap(), Liveness::Alive);
        assert_eq!(lookout.liveness(&folder, now).unwrap(), Liveness::Expired);
        let is_orphan = |gone: &[String]| super::is_orphan(&folder, &lookout, gone).unwrap();
        assert!(is_orphan(&[]), "there is nothing that could be mapped");
        fill(&folder, id, 1, &other);
        assert!(!is_orphan(&[]) && !is_orphan(&named("node3")));
        assert!(is_orphan(&named("other")));
    }
}
