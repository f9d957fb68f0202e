//! Lakes are merged into another: a set difference of immutable files.
//!
//! The target takes the files of a source that it lacks, and lets those go that left the source, in one commit a table, which many
//! small sources share. Each file carries the id of its source, and the target leaves such files alone, so that the next merge of the same source again
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

/// Sources of one commit, at most: a commit costs as much as the files of a small lake.
const SOURCES_AT_ONCE: usize = 64;

/// Bytes of one commit, about: whoever is killed copies no more than that again.
const BYTES_AT_ONCE: u64 = 256 << 20;

/// Merges lakes into the tables of another, many small ones in one commit. `goes_on` is told how many bytes were copied of how many.
/// `done` gets what was done of each source that is complete, and of the one at which it was given up; an error is that of the next one.
pub(crate) fn merge(
    sources: &[Source<'_>],
    points: &Table,
    facts: &Table,
    is_last: bool,
    now_us: i64,
    done: &mut Vec<Merged>,
    goes_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<()> {
    let mut lacks = Vec::with_capacity(sources.len());
    for source in sources {
        let of_points = lacking(&*points.load()?, &*source.points.load()?);
        lacks.push(of_points + lacking(&*facts.load()?, &*source.facts.load()?));
    }
    let all = lacks.iter().sum();
    let mut merging = Merging { is_last, now_us, all, copied: 0, done, goes_on };
    let mut from = 0;
    while from < sources.len() && !merging.is_given_up() {
        let mut bytes = 0;
        let fits = |lacks: &&u64| {
            bytes += **lacks;
            bytes <= BYTES_AT_ONCE
        };
        let many = lacks[from..].iter().take(SOURCES_AT_ONCE).take_while(fits).count().max(1);
        let together = &sources[from..from + many];
        match merging.try_patiently(together, points, facts) {
            // One by one, so that those before the one that fails are complete.
            Err(_) if many > 1 => {
                for source in together.chunks(1) {
                    merging.try_patiently(source, points, facts)?;
                }
            }
            merged => merged?,
        }
        from += many;
    }
    Ok(())
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
    let done = &mut vec![Merged::default()];
    let mut merging = Merging { is_last: true, now_us, all, copied: 0, done, goes_on };
    merging.both(&[(None, versions.0, versions.1)], points, facts)?;
    Ok(done.pop().unwrap_or_default())
}

/// The bytes of the segments that the target lacks.
fn lacking(target: &TableVersion, source: &TableVersion) -> u64 {
    let known: FxHashSet<&str> = target.segments.iter().map(|it| it.name.as_str()).collect();
    let lacking = source.segments.iter().filter(|it| !known.contains(it.name.as_str()));
    lacking.map(|it| it.bytes).sum()
}

/// A merge that is under way.
struct Merging<'a> {
    is_last: bool,
    now_us: i64,
    /// Bytes to copy.
    all: u64,
    copied: u64,
    /// What was done of each source so far; the last ones are those that are merged together now.
    done: &'a mut Vec<Merged>,
    goes_on: &'a mut dyn FnMut(u64, u64) -> bool,
}

/// A source: its id, whose files in the target that have left it leave the target, and its versions of points and facts.
type Versions<'a> = (Option<&'a str>, &'a TableVersion, &'a TableVersion);

impl Merging<'_> {
    fn is_given_up(&self) -> bool {
        self.done.last().is_some_and(|done| done.is_given_up)
    }

    /// Merges sources together, once more where one of them was compacted meanwhile. After an error nothing is said of them.
    fn try_patiently(
        &mut self,
        sources: &[Source<'_>],
        points: &Table,
        facts: &Table,
    ) -> Result<()> {
        let (before, copied) = (self.done.len(), self.copied);
        let mut tries = 0;
        loop {
            self.copied = copied;
            self.done.truncate(before);
            self.done.resize(before + sources.len(), Merged::default());
            match self.newest(sources, points, facts) {
                // The source was compacted meanwhile.
                Err(Error::SnapshotExpired { .. }) if tries < PATIENCE => tries += 1,
                Err(error) => {
                    self.done.truncate(before);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn newest(&mut self, sources: &[Source<'_>], points: &Table, facts: &Table) -> Result<()> {
        // As a flush commits facts first, whoever loads points first knows the runs of what it sees.
        let load = |source: &Source<'_>| Ok((source.points.load()?, source.facts.load()?));
        let versions: Vec<_> = sources.iter().map(load).collect::<Result<_>>()?;
        let versions: Vec<Versions<'_>> = sources
            .iter()
            .zip(&versions)
            .map(|(source, (points, facts))| (Some(source.uuid), &**points, &**facts))
            .collect();
        self.both(&versions, points, facts)
    }

    fn both(&mut self, sources: &[Versions<'_>], points: &Table, facts: &Table) -> Result<()> {
        let of_facts: Vec<_> = sources.iter().map(|(from, _, facts)| (*from, *facts)).collect();
        self.table(facts, &of_facts)?;
        if self.is_given_up() {
            return Ok(());
        }
        let of_points: Vec<_> = sources.iter().map(|(from, points, _)| (*from, *points)).collect();
        self.table(points, &of_points)
    }

    /// Makes the files of one table that came from the sources those that the sources have.
    fn table(&mut self, table: &Table, sources: &[(Option<&str>, &TableVersion)]) -> Result<()> {
        // Somebody else may merge the same source at the same time, and be half a step ahead: looked at once more, nothing is left.
        for _ in 0..PATIENCE + sources.len() {
            if self.is_done(table, sources)? {
                return Ok(());
            }
        }
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err(Error::io("merge into", table.dir(), busy))
    }

    /// Takes one step, or finds that nothing is left to do, or that the merge was given up.
    fn is_done(
        &mut self,
        table: &Table,
        sources: &[(Option<&str>, &TableVersion)],
    ) -> Result<bool> {
        let target = table.load()?;
        let mut known: FxHashMap<&str, Option<&str>> =
            target.segments.iter().map(|it| (it.name.as_str(), it.source.as_deref())).collect();
        let first_done = self.done.len() - sources.len();
        let mut step = Step::default();
        for (at, &(from, source)) in sources.iter().enumerate() {
            // What one source lets go and another one brings is two steps.
            if source.segments.iter().any(|it| step.removes.contains(&it.name)) {
                break;
            }
            let tag = from.filter(|_| !self.is_last);
            let there: FxHashSet<&str> =
                source.segments.iter().map(|it| it.name.as_str()).collect();
            let is_from_source = |source: Option<&str>| source.is_some() && source == from;
            let gone = target.segments.iter().filter(|it| {
                is_from_source(it.source.as_deref()) && !there.contains(it.name.as_str())
            });
            let removes: Vec<String> = gone.map(|it| it.name.clone()).collect();
            // A file that is the target's own, or came from elsewhere, stays as it is.
            let is_settled = |name: &str| {
                let source = known.get(name);
                source.is_some_and(|source| !is_from_source(*source) || tag.is_some())
            };
            let first = source.segments.iter().position(|it| !is_settled(&it.name));
            self.done[first_done + at].left += removes.len() as u64;
            step.removes.extend(removes);
            // The order of files says which of two points of one step was logged last. What is new in the middle puts all that follows
            // into its place once more; as long as the source only grows, that is nothing.
            for (segment, add) in source.adds().skip(first.unwrap_or(usize::MAX)) {
                let mut add = add.clone();
                add.set_source(tag);
                match known.get(segment.name.as_str()) {
                    Some(source) if is_from_source(*source) => step.adds.push(add),
                    Some(_) => {}
                    None => {
                        let (before, all) = (self.copied, self.all);
                        let mut goes_on = |copied: u64| (self.goes_on)(before + copied, all);
                        let copy = segment::copy(segment, add.clone(), table.dir(), &mut goes_on)?;
                        let Some(copy) = copy else {
                            self.done.truncate(first_done);
                            self.done.push(Merged { is_given_up: true, ..Merged::default() });
                            return Ok(true);
                        };
                        self.copied += segment.bytes;
                        let done = &mut self.done[first_done + at];
                        done.bytes += segment.bytes;
                        done.segments += 1;
                        if table.kind() == TableKind::Points {
                            done.points += segment.rows;
                        }
                        step.copies.push(copy);
                        step.adds.push(add);
                        known.insert(&segment.name, tag);
                    }
                }
            }
        }
        if step.adds.is_empty() && step.removes.is_empty() {
            return Ok(true);
        }
        step.commit(table, self.now_us)?;
        // Looked at again.
        Ok(false)
    }
}

/// What one commit does for a merge.
#[derive(Default)]
struct Step {
    copies: Vec<NewSegment>,
    adds: Vec<Add>,
    removes: FxHashSet<String>,
}

impl Step {
    fn commit(self, table: &Table, now_us: i64) -> Result<()> {
        let Self { mut copies, adds, removes } = self;
        let edit = Edit {
            adds,
            removes: removes.into_iter().collect(),
            txns: Vec::new(),
            operation: "merge",
            data_change: true,
            takes_place: false,
        };
        let placed = segment::place(&mut copies);
        // After an error nobody knows whether the commit is there; the same once more finds out.
        let outcome = placed.and_then(|()| match table.commit(&edit, now_us) {
            Err(_unknown) => table.commit(&edit, now_us),
            outcome => outcome,
        });
        // Whatever came of it: whoever merges the same source has placed files of the same names.
        for copy in copies {
            drop(copy.keep());
        }
        outcome.map(drop)
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
