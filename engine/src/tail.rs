//! The live tail: what stands in logs and in no segment yet, of all writers, read as far as it is published.

use std::{collections::hash_map::Entry, path::Path, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Error, Fact, Points, Result, SeriesIndex,
    catalog::{Table, TableVersion},
    disk,
    log::{
        Passed, WHOLE, owner,
        reader::{LogReader, Tails},
    },
    os::Host,
};

/// Keeps open log files and what was read from them, so that a snapshot reads only what is new.
#[derive(Debug, Default)]
pub(crate) struct TailCache(FxHashMap<FileKey, FileTail>);

/// A writer and the number of one of its files.
type FileKey = (Arc<str>, u64);

#[derive(Debug)]
struct FileTail {
    reader: LogReader,
    tails: Tails,
    /// What was read, in the order of reading; each part is about twice as large as the next, so that the number of
    /// parts grows with the logarithm of the reads.
    points: Vec<Arc<Points>>,
    facts: Arc<Vec<Fact>>,
    /// How many rows its writer could not keep, as it says now.
    dropped: Vec<Fact>,
}

/// The tail at one moment, with the catalog that it continues.
#[derive(Debug)]
pub(crate) struct TailView {
    /// Table `points`.
    pub(crate) points_table: Arc<TableVersion>,
    /// Table `facts`.
    pub(crate) facts_table: Arc<TableVersion>,
    /// Points that `points_table` does not hold.
    pub(crate) points: Vec<Arc<Points>>,
    /// Facts that `facts_table` does not hold.
    pub(crate) facts: Vec<Arc<Vec<Fact>>>,
    /// For each writer with a log, when it last showed that it lives; microseconds since 1970 (UTC).
    pub(crate) heartbeats: FxHashMap<Arc<str>, i64>,
    /// What could not be read; the rest was.
    pub(crate) problems: Vec<String>,
}

impl TailView {
    /// The lake as it stood after a commit of table `points`, without what was in logs then.
    pub(crate) fn at(version: u64, points: &Table, facts: &Table) -> Result<Self> {
        let points_table = points.load_at(version)?;
        // Flushes commit facts first, so those of this commit are older than it.
        let facts_table = match points.made_at_ms(version)? {
            Some(made_ms) => facts.load_before(made_ms)?,
            None => facts.load()?,
        };
        Ok(Self {
            points_table,
            facts_table,
            points: Vec::new(),
            facts: Vec::new(),
            heartbeats: FxHashMap::default(),
            problems: Vec::new(),
        })
    }
}

impl TailCache {
    /// Reads what is new. The order is what makes it whole: log files are listed and opened first, the catalog is
    /// loaded second, so that a file that is flushed meanwhile is in the one or in the other; files at or below a
    /// watermark are left out, so that it is not in both.
    pub(crate) fn view(
        &mut self,
        root: &Path,
        host: &Host,
        points: &Table,
        facts: &Table,
    ) -> Result<TailView> {
        let mut problems = Vec::new();
        let listed = self.open_new(&root.join("log"), host, &mut problems)?;
        // Flushes commit facts first. Loading points first means: what is in the points is in the facts.
        let points_table = points.load()?;
        let facts_table = facts.load()?;
        let (in_points, in_facts) = (Arc::clone(&points_table), Arc::clone(&facts_table));
        let passed = |(writer, number): &FileKey| {
            let mark = |table: &TableVersion| table.txns.get(&**writer).copied();
            Passed::of(mark(&in_points), mark(&in_facts), *number)
        };
        self.0.retain(|key, _| listed.contains(key) && !passed(key).is_whole());
        let mut keys: Vec<FileKey> = self.0.keys().cloned().collect();
        keys.sort();
        let mut view = TailView {
            points_table,
            facts_table,
            points: Vec::new(),
            facts: Vec::new(),
            heartbeats: FxHashMap::default(),
            problems,
        };
        for key in keys {
            let Some(file) = self.0.get_mut(&key) else { continue };
            let passed = passed(&key);
            if let Err(error) = file.read(passed) {
                view.problems.push(error.to_string());
            }
            view.problems.extend(file.reader.problems().iter().map(Error::to_string));
            if passed.points != WHOLE {
                view.points.extend(file.points.iter().cloned());
            }
            if passed.facts != WHOLE {
                let dropped = (!file.dropped.is_empty()).then(|| Arc::new(file.dropped.clone()));
                let said = (!file.facts.is_empty()).then(|| Arc::clone(&file.facts));
                view.facts.extend(said.into_iter().chain(dropped));
            }
            view.heartbeats.insert(key.0, file.reader.heartbeat());
        }
        Ok(view)
    }

    fn open_new(
        &mut self,
        logs: &Path,
        host: &Host,
        problems: &mut Vec<String>,
    ) -> Result<FxHashSet<FileKey>> {
        let mut listed = FxHashSet::default();
        for writer in disk::list(logs)?.into_iter().filter(|name| !name.starts_with('.')) {
            let folder = logs.join(&writer);
            let writer: Arc<str> = writer.into();
            for (number, path) in owner::log_files(&folder, host)? {
                let key = (Arc::clone(&writer), number);
                if let Entry::Vacant(place) = self.0.entry(key.clone()) {
                    match LogReader::open(&path) {
                        Ok(Some(reader)) => drop(place.insert(FileTail::new(reader, host))),
                        // Flushed and removed since it was listed; the catalog, which is loaded later, has it.
                        Ok(None) => {}
                        Err(error) => problems.push(error.to_string()),
                    }
                }
                listed.insert(key);
            }
        }
        Ok(listed)
    }
}

impl FileTail {
    fn new(reader: LogReader, host: &Host) -> Self {
        let tails = trust(&reader, host);
        Self { reader, tails, points: Vec::new(), facts: Arc::default(), dropped: Vec::new() }
    }

    fn read(&mut self, passed: Passed) -> Result<()> {
        if self.reader.pass(passed) {
            self.points.clear();
            self.facts = Arc::default();
        }
        let found = self.reader.read(self.tails)?;
        self.dropped = found.dropped;
        if !found.facts.is_empty() {
            Arc::make_mut(&mut self.facts).extend(found.facts);
        }
        if !found.points.is_empty() {
            self.points.push(Arc::new(found.points));
            while let [.., before, last] = self.points.as_slice()
                && last.len() * 2 >= before.len()
            {
                let both = concat(before, last);
                self.points.truncate(self.points.len() - 2);
                self.points.push(Arc::new(both));
            }
        }
        Ok(())
    }
}

/// How far the tail words of a file can be believed on this host.
pub(crate) fn trust(reader: &LogReader, host: &Host) -> Tails {
    if reader.header().boot_id == host.boot_id { Tails::Exact } else { Tails::Unknown }
}

fn concat(before: &Points, after: &Points) -> Points {
    let (mut both, mut index) = (Points::default(), SeriesIndex::default());
    both.extend(&mut index, before);
    both.extend(&mut index, after);
    both
}
