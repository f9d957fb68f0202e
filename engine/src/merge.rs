//! One lake is merged into another: a set difference of immutable files.
//!
//! The target takes the files of the source that it lacks, and lets those go that left the source, in one commit a table. Each
//! carries the id of its source, and the target leaves such files alone, so that the next merge of the same source again
//! compares names. So it does not matter how often, and how far, a merge was done before: killed between any two steps, it has
//! changed nothing or is complete, but for files that no commit names. The last merge of a source takes the ids off, and from
//! then on its files are the target's own.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Error, Fact, Points, Result, SeriesIndex,
    catalog::{Add, Edit, Table, TableKind, TableVersion},
    segment::{self, NewSegment},
};

/// How often a merge begins again because the source was compacted meanwhile and a file was gone.
const PATIENCE: usize = 5;

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// Segments that came, of both tables.
    pub segments: u64,
    /// Their points.
    pub points: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that had left the source and have left the target now.
    pub left: u64,
    /// True where the merge was given up before it was complete.
    pub is_given_up: bool,
}

/// The tables of the lake that is merged, and its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) points: &'a Table,
    pub(crate) facts: &'a Table,
    pub(crate) uuid: &'a str,
}

/// Merges a lake into the tables of another. `goes_on` is told how many bytes were copied of how many.
pub(crate) fn merge(
    source: Source<'_>,
    points: &Table,
    facts: &Table,
    is_last: bool,
    now_us: i64,
    goes_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Merged> {
    let mut tries = 0;
    loop {
        // As a flush commits facts first, whoever loads points first knows the runs of what it sees.
        let versions = (&*source.points.load()?, &*source.facts.load()?);
        let mut merging = Merging {
            from: Some(source.uuid),
            tag: Some(source.uuid).filter(|_| !is_last),
            now_us,
            all: lacking(&*points.load()?, versions.0) + lacking(&*facts.load()?, versions.1),
            done: Merged::default(),
            goes_on,
        };
        match merging.both(versions, points, facts) {
            Ok(()) => return Ok(merging.done),
            // The source was compacted meanwhile.
            Err(Error::SnapshotExpired { .. }) if tries < PATIENCE => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Copies one version of the tables of a lake, points and facts, into those of another.
pub(crate) fn copy(
    versions: (&TableVersion, &TableVersion),
    points: &Table,
    facts: &Table,
    now_us: i64,
    goes_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Merged> {
    let all = lacking(&*points.load()?, versions.0) + lacking(&*facts.load()?, versions.1);
    let done = Merged::default();
    let mut merging = Merging { from: None, tag: None, now_us, all, done, goes_on };
    merging.both(versions, points, facts)?;
    Ok(merging.done)
}

/// The bytes of the segments that the target lacks.
fn lacking(target: &TableVersion, source: &TableVersion) -> u64 {
    let known: FxHashSet<&str> = target.segments.iter().map(|it| it.name.as_str()).collect();
    let lacking = source.segments.iter().filter(|it| !known.contains(it.name.as_str()));
    lacking.map(|it| it.bytes).sum()
}

/// A merge that is under way.
struct Merging<'a> {
    /// The id of the source; its files in the target that have left the source leave the target.
    from: Option<&'a str>,
    /// What its files are to be called from now on: the id of the source, or nobody's.
    tag: Option<&'a str>,
    now_us: i64,
    /// Bytes to copy.
    all: u64,
    done: Merged,
    goes_on: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl Merging<'_> {
    fn both(
        &mut self,
        (from_points, from_facts): (&TableVersion, &TableVersion),
        points: &Table,
        facts: &Table,
    ) -> Result<()> {
        self.table(facts, from_facts)?;
        if self.done.is_given_up { Ok(()) } else { self.table(points, from_points) }
    }

    /// Makes the files of one table that came from the source those that the source has.
    fn table(&mut self, table: &Table, source: &TableVersion) -> Result<()> {
        // Somebody else may merge the same source at the same time, and be half a step ahead: looked at once more, nothing is left.
        for _ in 0..PATIENCE {
            if self.is_done(table, source)? {
                return Ok(());
            }
        }
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err(Error::io("merge into", table.dir(), busy))
    }

    /// Takes one step, or finds that nothing is left to do, or that the merge was given up.
    fn is_done(&mut self, table: &Table, source: &TableVersion) -> Result<bool> {
        let target = table.load()?;
        let known: FxHashMap<&str, Option<&str>> =
            target.segments.iter().map(|it| (it.name.as_str(), it.source.as_deref())).collect();
        let there: FxHashSet<&str> = source.segments.iter().map(|it| it.name.as_str()).collect();
        let is_from_source = |source: Option<&str>| source.is_some() && source == self.from;
        let gone = target
            .segments
            .iter()
            .filter(|it| is_from_source(it.source.as_deref()) && !there.contains(it.name.as_str()));
        let removes: Vec<String> = gone.map(|it| it.name.clone()).collect();
        // A file that is the target's own, or came from elsewhere, stays as it is.
        let is_settled = |name: &str| {
            let source = known.get(name);
            source.is_some_and(|source| !is_from_source(*source) || self.tag.is_some())
        };
        let first = source.segments.iter().position(|it| !is_settled(&it.name));
        if first.is_none() && removes.is_empty() {
            return Ok(true);
        }
        // The order of files says which of two points of one step was logged last. What is new in the middle puts all that follows
        // into its place once more; as long as the source only grows, that is nothing.
        let mut copies: Vec<NewSegment> = Vec::new();
        let mut adds: Vec<Add> = Vec::new();
        for (segment, add) in source.adds().skip(first.unwrap_or(usize::MAX)) {
            let mut add = add.clone();
            add.set_source(self.tag);
            match known.get(segment.name.as_str()) {
                Some(source) if is_from_source(*source) => adds.push(add),
                Some(_) => {}
                None => {
                    let (before, all) = (self.done.bytes, self.all);
                    let mut goes_on = |copied: u64| (self.goes_on)(before + copied, all);
                    let copy = segment::copy(segment, add.clone(), table.dir(), &mut goes_on)?;
                    let Some(mut copy) = copy else {
                        self.done.is_given_up = true;
                        return Ok(true);
                    };
                    copy.place()?;
                    copies.push(copy);
                    adds.push(add);
                    self.done.bytes += segment.bytes;
                    self.done.segments += 1;
                    if table.kind() == TableKind::Points {
                        self.done.points += segment.rows;
                    }
                }
            }
        }
        self.done.left += removes.len() as u64;
        let edit = Edit {
            adds,
            removes,
            txns: Vec::new(),
            operation: "merge",
            data_change: true,
            takes_place: false,
        };
        // After an error nobody knows whether the commit is there; the same once more finds out.
        let outcome = match table.commit(&edit, self.now_us) {
            Err(_unknown) => table.commit(&edit, self.now_us),
            outcome => outcome,
        };
        // Also where it was superseded: whoever merges the same source has placed files of the same names.
        for copy in copies {
            drop(copy.keep());
        }
        outcome.map(|_looked_at_again| false)
    }
}

/// Writes what stands in logs as segments of the tables of another lake, so that nothing of a snapshot is missing there.
pub(crate) fn write_tail(
    points: &Table,
    facts: &Table,
    tail: &[Arc<Points>],
    tail_facts: Vec<Fact>,
    now_us: i64,
) -> Result<()> {
    let edit = || Edit {
        adds: Vec::new(),
        removes: Vec::new(),
        txns: Vec::new(),
        operation: "backup",
        data_change: true,
        takes_place: false,
    };
    let mut facts_of: FxHashMap<Arc<str>, Vec<Fact>> = FxHashMap::default();
    for fact in tail_facts {
        facts_of.entry(Arc::clone(&fact.project)).or_default().push(fact);
    }
    let new = facts_of.values().map(|said| segment::write_facts(facts.dir(), said, 0));
    let new: Vec<NewSegment> = new.collect::<Result<_>>()?;
    if !new.is_empty() {
        let _committed = segment::commit(facts, new, edit(), now_us)?;
    }
    let (mut all, mut index) = (Points::default(), SeriesIndex::default());
    for part in tail {
        all.extend(&mut index, part);
    }
    let sorted = all.sort();
    let projects = sorted.projects();
    let new = projects.map(|series| segment::write_points(points.dir(), &sorted, series, 0));
    let new: Vec<NewSegment> = new.collect::<Result<_>>()?;
    if !new.is_empty() {
        let _committed = segment::commit(points, new, edit(), now_us)?;
    }
    Ok(())
}
