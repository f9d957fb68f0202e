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
        self, LogFile,
        owner::{self, Liveness, Taken},
        reader::LogReader,
        writer::Writer,
    },
    os::{Hold, Host},
    segment::{self, NewSegment},
    tail,
};

/// How old a folder is that its writer will not finish making: that takes milliseconds.
const HALF_MADE_US: i64 = 3600 * 1_000_000;
/// The most bytes of log that one commit takes in, which bounds the memory of a flush.
const BYTES_AT_ONCE: u64 = 64 << 20;

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

/// What is read from logs and waits for a commit.
#[derive(Debug, Default)]
struct Batch {
    points: Points,
    index: SeriesIndex,
    facts: Vec<Fact>,
    points_txns: Vec<Txn>,
    facts_txns: Vec<Txn>,
    bytes: u64,
}

impl Batch {
    /// Reads a log file whose contents are final; what a table has already taken in is left out for that table.
    fn take(&mut self, reader: &mut LogReader, host: &Host, done: Done) -> Result<()> {
        let found = reader.read(tail::trust(reader, host))?;
        if !done.points {
            self.points.extend(&mut self.index, &found.points);
        }
        if !done.facts {
            self.facts.extend(found.facts);
            self.facts.extend(found.dropped);
        }
        self.bytes += log::file_bytes(reader.header().blocks as usize) as u64;
        Ok(())
    }

    /// Moves the watermarks of a writer to the end of the file with this number.
    fn pass(&mut self, writer: &str, number: u64, done: Done) {
        let version = log::watermark(number);
        for (txns, done) in
            [(&mut self.points_txns, done.points), (&mut self.facts_txns, done.facts)]
        {
            if !done {
                txns.retain(|txn| txn.app_id != writer);
                txns.push(Txn { app_id: writer.to_owned(), version, expected_below: version });
            }
        }
    }

    /// Writes the segments and commits both tables. False where another flush of the same logs came first.
    fn commit(self, tables: &Tables, now_us: i64) -> Result<bool> {
        let mut facts = Vec::new();
        let mut sorted = self.facts;
        sorted.sort_by(|a, b| a.project.cmp(&b.project));
        for project in sorted.chunk_by(|a, b| a.project == b.project) {
            facts.push(segment::write_facts(tables.facts.dir(), project, 0)?);
        }
        let sorted = self.points.sort();
        let mut points = Vec::new();
        for project in sorted.projects() {
            points.push(segment::write_points(tables.points.dir(), &sorted, project, 0)?);
        }
        Ok(commit(&tables.facts, facts, self.facts_txns, now_us)?
            && commit(&tables.points, points, self.points_txns, now_us)?)
    }
}

/// Which tables hold a log file already.
#[derive(Debug, Clone, Copy)]
struct Done {
    points: bool,
    facts: bool,
}

impl Done {
    fn of(points: &TableVersion, facts: &TableVersion, writer: &str, number: u64) -> Self {
        let passed = |table: &TableVersion| {
            table.txns.get(writer).is_some_and(|&mark| mark >= log::watermark(number))
        };
        Self { points: passed(points), facts: passed(facts) }
    }
}

/// Commits the segments with the watermarks of the logs that they came from. False where another flush of the same logs
/// came first.
fn commit(table: &Table, segments: Vec<NewSegment>, txns: Vec<Txn>, now_us: i64) -> Result<bool> {
    if txns.is_empty() {
        return Ok(true);
    }
    let edit =
        Edit { adds: Vec::new(), removes: Vec::new(), txns, operation: "flush", data_change: true };
    Ok(segment::commit(table, segments, edit, now_us)? != Outcome::Superseded)
}

/// Flushes what this process has logged so far.
pub(crate) fn own(tables: &Tables, writer: &Writer, host: &Host, now_us: i64) -> Result<Flushed> {
    let _turn = tables.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let files = writer.seal_below();
    let id = writer.id.to_string();
    let mut flushed = Flushed::default();
    let mut batch = Batch::default();
    let mut unreadable = Vec::new();
    let (points_table, facts_table) = (tables.points.load()?, tables.facts.load()?);
    for (at, file) in files.iter().enumerate() {
        // An earlier flush may have failed between its two commits.
        let done = Done::of(&points_table, &facts_table, &id, file.header.number);
        if !(done.points && done.facts) {
            let mut reader = open(file)?;
            batch.take(&mut reader, host, done)?;
            unreadable.extend(reader.problems().first().map(|_| file.path.clone()));
            batch.pass(&id, file.header.number, done);
        }
        if batch.bytes >= BYTES_AT_ONCE || at + 1 == files.len() {
            let points = batch.points.len() as u64;
            if !std::mem::take(&mut batch).commit(tables, now_us)? {
                // Somebody took us for dead and adopted the log: it is in the tables already. The writer finds its
                // files sealed and moves on.
                tracing::warn!(writer = %id, "another process has adopted this log");
                return Ok(flushed);
            }
            flushed.points += points;
            for path in unreadable.drain(..) {
                quarantine(&tables.root, &id, &path)?;
            }
            writer.forget(file.header.number)?;
        }
    }
    Ok(flushed)
}

fn open(file: &Arc<LogFile>) -> Result<LogReader> {
    if file.is_spill() {
        return LogReader::of_spill(file);
    }
    LogReader::open(&file.path)?.ok_or_else(|| {
        Error::io("open", &file.path, std::io::Error::from(std::io::ErrorKind::NotFound))
    })
}

/// A folder whose owner is dead, locked by us.
struct Orphan {
    id: String,
    folder: PathBuf,
    /// Its log files, oldest first.
    numbers: Vec<u64>,
    bytes: u64,
    _lock: crate::os::Lock,
}

/// What logs of dead writers there are, without a look into them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orphans {
    /// Folders.
    pub(crate) writers: u64,
    /// Bytes of log.
    pub(crate) bytes: u64,
}

/// Counts the logs of dead writers.
pub(crate) fn orphans(root: &Path, host: &Host) -> Result<Orphans> {
    let mut orphans = Orphans::default();
    for (_, folder) in writers(root)? {
        if owner::liveness(&folder, host)? == Liveness::Dead {
            orphans.writers += 1;
            for name in disk::list(&folder)?.iter().filter(|name| log::file_number(name).is_some())
            {
                orphans.bytes += disk::size(&folder.join(name)).unwrap_or(0);
            }
        }
    }
    Ok(orphans)
}

/// The folders of writers.
pub(crate) fn writers(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let logs = root.join("log");
    let names = disk::list(&logs)?.into_iter().filter(|name| uuid::Uuid::parse_str(name).is_ok());
    Ok(names.map(|name| (name.clone(), logs.join(name))).collect())
}

/// Flushes the logs of dead writers, many in one commit, and removes their folders. `watch` is told after each commit
/// how many writers are done, of how many.
pub(crate) fn adopt(
    tables: &Tables,
    host: &Host,
    now_us: i64,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Flushed> {
    let _turn = tables.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flushed = Flushed::default();
    remove_half_made(&tables.root, now_us)?;
    let all = writers(&tables.root)?;
    let total = all.len() as u64;
    let mut looked_at = 0;
    let mut waiting = all.into_iter();
    loop {
        let mut held = Vec::new();
        let mut bytes = 0;
        while bytes < BYTES_AT_ONCE
            && let Some((id, folder)) = waiting.next()
        {
            looked_at += 1;
            if let Some(orphan) = hold(id, folder, host)? {
                bytes += orphan.bytes;
                held.push(orphan);
            }
        }
        if held.is_empty() {
            return Ok(flushed);
        }
        let (points, adopted) = adopt_held(tables, host, now_us, &held)?;
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
        if let Taken::Held(_) | Taken::Gone = owner::lock(&folder, Hold::Exclusive)? {
            owner::remove(&folder)?;
        }
    }
    Ok(())
}

fn hold(id: String, folder: PathBuf, host: &Host) -> Result<Option<Orphan>> {
    if owner::liveness(&folder, host)? != Liveness::Dead {
        return Ok(None);
    }
    let lock = match owner::lock(&folder, Hold::Exclusive)? {
        Taken::Held(lock) => lock,
        Taken::Busy => return Ok(None),
        Taken::Gone => {
            // An adopter was killed between its last two steps.
            disk::remove_empty_dir(&folder)?;
            return Ok(None);
        }
    };
    let mut numbers: Vec<u64> =
        disk::list(&folder)?.iter().filter_map(|name| log::file_number(name)).collect();
    numbers.sort_unstable();
    let bytes = numbers
        .iter()
        .map(|&number| disk::size(&folder.join(log::file_name(number))).unwrap_or(0))
        .sum();
    Ok(Some(Orphan { id, folder, numbers, bytes, _lock: lock }))
}

fn adopt_held(tables: &Tables, host: &Host, now_us: i64, held: &[Orphan]) -> Result<(u64, u64)> {
    let (points_table, facts_table) = (tables.points.load()?, tables.facts.load()?);
    let mut batch = Batch::default();
    let mut unreadable = Vec::new();
    for orphan in held {
        for &number in &orphan.numbers {
            let done = Done::of(&points_table, &facts_table, &orphan.id, number);
            if done.points && done.facts {
                continue;
            }
            let path = orphan.folder.join(log::file_name(number));
            match read_orphan(&path, host, done, &mut batch) {
                Ok(true) => {}
                Ok(false) | Err(Error::Corrupt { .. }) => unreadable.push((orphan, path)),
                Err(error) => return Err(error),
            }
            batch.pass(&orphan.id, number, done);
        }
    }
    let points = batch.points.len() as u64;
    if !batch.commit(tables, now_us)? {
        return Ok((0, 0));
    }
    // What we remove may rest on commits of others: they must be durable first.
    tables.facts.sync()?;
    tables.points.sync()?;
    for (orphan, path) in unreadable {
        quarantine(&tables.root, &orphan.id, &path)?;
    }
    for orphan in held {
        for &number in &orphan.numbers {
            disk::remove_if_there(&orphan.folder.join(log::file_name(number)))?;
        }
        owner::remove(&orphan.folder)?;
    }
    Ok((points, held.len() as u64))
}

/// Reads the log file of a dead writer; false where a part of it could not be read.
fn read_orphan(path: &Path, host: &Host, done: Done, batch: &mut Batch) -> Result<bool> {
    let Some(mut reader) = LogReader::open(path)? else { return Ok(true) };
    let mut whole = true;
    if reader.header().boot_id == host.boot_id {
        match LogFile::seal_orphan(path, reader.header()) {
            Ok(()) => {}
            // Nothing can be sealed, and no owner can go on in it either. What is left of it is taken in.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => whole = false,
            Err(error) => return Err(Error::io("seal", path, error)),
        }
    }
    batch.take(&mut reader, host, done)?;
    for problem in reader.problems() {
        tracing::warn!(%problem, "a part of a log is lost; the file is kept in quarantine");
    }
    Ok(whole && reader.problems().is_empty())
}

/// Keeps a file that failed a check, out of the way.
fn quarantine(root: &Path, writer: &str, path: &Path) -> Result<()> {
    let folder = root.join("quarantine");
    disk::create_dirs(&folder)?;
    let name =
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    disk::place(path, &folder.join(format!("{writer}-{name}")))
}
