//! A consistent view of a lake.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Error, Fact, FactKind, Filter, Hidden, Inherited, Points, Result, RunInfo, SegmentMeta,
    SeriesInfo, State, ancestry,
    catalog::TableVersion,
    deletion::{self, RunKeys},
    effective,
    lake::Core,
    log::owner::Liveness,
    runs, segment,
    tail::TailView,
};

/// A consistent view of a lake: the segments of one catalog version and the live tail above its watermark. Everything
/// published before the snapshot was taken is in it, once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<View>);

#[derive(Debug)]
struct View {
    core: Arc<Core>,
    tail: TailView,
    folded: OnceLock<Folded>,
}

/// The runs, newest first.
#[derive(Debug, Clone)]
struct Folded {
    runs: Arc<Vec<Arc<RunInfo>>>,
    deleted: Arc<Vec<Arc<RunInfo>>>,
}

/// The runs, with what they were folded from: the same facts and heartbeats fold to the same runs, as long as nothing else
/// has a say in it. The liveness of a writer has one in runs that have not ended.
#[derive(Debug)]
pub(crate) struct FoldedOnce {
    facts: Vec<Arc<Vec<Fact>>>,
    heartbeats: FxHashMap<Arc<str>, i64>,
    folded: Folded,
}

impl FoldedOnce {
    fn is_of(&self, facts: &[Arc<Vec<Fact>>], heartbeats: &FxHashMap<Arc<str>, i64>) -> bool {
        let same = |(a, b): (&Arc<Vec<Fact>>, &Arc<Vec<Fact>>)| Arc::ptr_eq(a, b);
        self.facts.len() == facts.len()
            && self.facts.iter().zip(facts).all(same)
            && self.heartbeats == *heartbeats
    }
}

impl Folded {
    /// Whether all runs have ended by what was said of them.
    fn has_ended(&self) -> bool {
        let ended = |run: &Arc<RunInfo>| {
            matches!(run.state, State::Finished | State::Failed | State::Killed)
        };
        self.runs.iter().all(ended) && self.deleted.iter().all(ended)
    }
}

/// What the readable facts say of runs.
struct Known {
    folded: Folded,
    /// Segments of facts that cannot be read. What they say of a run is not known, so the run is not.
    unreadable: Vec<(Arc<SegmentMeta>, Error)>,
}

impl Known {
    /// The runs, if all is known of those that `filter` wants.
    fn of(self, filter: &Filter) -> Result<Folded> {
        match self.unreadable.into_iter().find(|(meta, _)| filter.may_want(meta)) {
            Some((_, error)) => Err(error),
            None => Ok(self.folded),
        }
    }

    /// The run among `runs` that `name` means.
    fn find(
        self,
        name: &str,
        runs: impl Fn(&Folded) -> Arc<Vec<Arc<RunInfo>>>,
    ) -> Result<Arc<RunInfo>> {
        let found = runs::find(&runs(&self.folded), name);
        let wanted = match &found {
            // Which run is the newest depends on all of them.
            Ok(run) if !name.starts_with('@') => Filter {
                projects: Some(vec![run.project.to_string()]),
                runs: Some(vec![run.run_id.to_string()]),
                metrics: None,
            },
            _ => Filter::default(),
        };
        self.of(&wanted).map(drop).and(found)
    }
}

impl Snapshot {
    pub(crate) fn new(core: Arc<Core>, tail: TailView) -> Self {
        Self(Arc::new(View { core, tail, folded: OnceLock::new() }))
    }

    /// The version of table `points`, where it has a commit.
    pub fn version(&self) -> Option<u64> {
        self.0.tail.points_table.version
    }

    /// The segments of table `points`, in the order in which their rows were committed.
    pub fn segments(&self) -> &[Arc<SegmentMeta>] {
        &self.0.tail.points_table.segments
    }

    /// The segments of table `facts`.
    pub fn fact_segments(&self) -> &[Arc<SegmentMeta>] {
        &self.0.tail.facts_table.segments
    }

    /// The live tail: points that no segment of this snapshot holds, in the order of their logs.
    pub fn tail(&self) -> &[Arc<Points>] {
        &self.0.tail.points
    }

    /// Both tables, points first.
    pub(crate) fn tables(&self) -> (&TableVersion, &TableVersion) {
        (&self.0.tail.points_table, &self.0.tail.facts_table)
    }

    /// Facts that no segment of this snapshot holds.
    pub(crate) fn tail_facts(&self) -> impl Iterator<Item = &Fact> {
        self.0.tail.facts.iter().flat_map(|facts| facts.iter())
    }

    /// What could not be read, one line each; the rest was, and is in this snapshot.
    pub fn problems(&self) -> &[String] {
        &self.0.tail.problems
    }

    /// All runs but the deleted ones, newest first; folded from the facts at the first call.
    pub fn runs(&self) -> Result<Arc<Vec<Arc<RunInfo>>>> {
        Ok(self.known().of(&Filter::default())?.runs)
    }

    /// The runs that are deleted and can be restored, newest first.
    pub fn deleted_runs(&self) -> Result<Arc<Vec<Arc<RunInfo>>>> {
        Ok(self.known().of(&Filter::default())?.deleted)
    }

    /// The runs that `filter` wants, and any number of others, newest first. Facts that cannot be read are an error only
    /// where they may be about a run that is wanted.
    pub fn runs_of(&self, filter: &Filter) -> Result<Arc<Vec<Arc<RunInfo>>>> {
        Ok(self.known().of(filter)?.runs)
    }

    fn known(&self) -> Known {
        if let Some(folded) = self.0.folded.get() {
            return Known { folded: folded.clone(), unreadable: Vec::new() };
        }
        let View { core, tail, .. } = &*self.0;
        let (mut facts, mut unreadable) = (Vec::new(), Vec::new());
        // Writers of lakes that were merged into this one have no folder here that would tell whether they live.
        let mut elsewhere: FxHashSet<Arc<str>> = FxHashSet::default();
        for meta in &tail.facts_table.segments {
            match core.facts_of(meta) {
                Ok(read) => {
                    if meta.source.is_some() {
                        elsewhere.extend(runs::writers(&read).cloned());
                    }
                    facts.push(read);
                }
                Err(error) => unreadable.push((Arc::clone(meta), error)),
            }
        }
        core.keep_facts_of(&tail.facts_table.segments);
        facts.extend(tail.facts.iter().cloned());
        if unreadable.is_empty()
            && let Some(once) =
                core.folded_once().as_ref().filter(|once| once.is_of(&facts, &tail.heartbeats))
        {
            let folded = self.0.folded.get_or_init(|| once.folded.clone()).clone();
            return Known { folded, unreadable };
        }
        let runs = runs::fold(
            facts.iter().flat_map(|facts| facts.iter()),
            |writer| {
                if elsewhere.contains(writer) { Liveness::Silent } else { core.liveness(writer) }
            },
            |writer| tail.heartbeats.get(writer).copied().filter(|&beat| beat > 0),
        );
        let (deleted, runs): (Vec<_>, Vec<_>) =
            runs.into_iter().partition(|run| run.deleted_at.is_some());
        let folded = Folded { runs: runs.into(), deleted: deleted.into() };
        if unreadable.is_empty() && folded.has_ended() {
            let (heartbeats, folded) = (tail.heartbeats.clone(), folded.clone());
            *core.folded_once() = Some(FoldedOnce { facts, heartbeats, folded });
        }
        // What could not be read now may be readable later.
        let kept =
            if unreadable.is_empty() { self.0.folded.get_or_init(|| folded) } else { &folded };
        Known { folded: kept.clone(), unreadable }
    }

    /// The run that `name` means: an id, a name, a unique prefix of an id, `project/x`, `@last`, `@last-1`.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] with candidates where it means none or several; what is wrong with the facts where some
    /// cannot be read that may be about it.
    pub fn find_run(&self, name: &str) -> Result<Arc<RunInfo>> {
        let known = self.known();
        known.find(name, |folded| Arc::clone(&folded.runs))
    }

    /// The run with this id, where there is one.
    pub(crate) fn run_of(&self, project: &str, run_id: &str) -> Result<Option<Arc<RunInfo>>> {
        let runs = self.runs_of(&Filter {
            projects: Some(vec![project.to_owned()]),
            runs: Some(vec![run_id.to_owned()]),
            metrics: None,
        })?;
        let is_meant = |run: &&Arc<RunInfo>| *run.project == *project && *run.run_id == *run_id;
        Ok(runs.iter().find(is_meant).cloned())
    }

    /// The run of a project that `name` means; see [`Snapshot::find_run`].
    pub(crate) fn find_run_in(&self, project: &str, name: &str) -> Result<Arc<RunInfo>> {
        self.known().find(name, |folded| {
            let runs = folded.runs.iter().filter(|run| *run.project == *project).cloned();
            Arc::new(runs.collect())
        })
    }

    /// The deleted run that `name` means; see [`Snapshot::find_run`].
    pub fn find_deleted_run(&self, name: &str) -> Result<Arc<RunInfo>> {
        let known = self.known();
        known.find(name, |folded| Arc::clone(&folded.deleted))
    }

    /// Which points do not count, of the runs that `filter` wants.
    pub fn hidden(&self, filter: &Filter) -> Result<Hidden> {
        let (deleted, rewound) = (self.deleted(filter)?, self.rewound(filter)?);
        let runs = |runs: &Filter| self.runs_of(runs);
        Hidden::of(self.segments(), self.tail(), runs, &rewound, &deleted, filter)
    }

    /// Which points belong to deleted runs, of the runs that `filter` wants.
    pub fn hidden_of_deleted(&self, filter: &Filter) -> Result<Hidden> {
        Hidden::of_deleted(self.segments(), self.tail(), &self.deleted(filter)?, filter)
    }

    /// The series that runs show of those that they were forked from: of the runs that `filter` wants, and of the metrics.
    pub fn inherited(&self, filter: &Filter) -> Result<Inherited> {
        let chosen = filter.chosen();
        let mut forks = self.runs_with(&FactKind::Fork, |meta| meta.tells_of_fork, filter)?;
        forks.retain(|(project, run_id)| chosen.wants_run(project, run_id));
        if forks.is_empty() {
            return Ok(Inherited::default());
        }
        let projects = forks.iter().map(|(project, _)| project.to_string()).collect();
        let known = self.runs_of(&Filter { projects: Some(projects), ..Filter::default() })?;
        Inherited::of(self.segments(), self.tail(), &known, &forks, filter)
    }

    /// What is missing of runs that others were forked from, one line for each fork: a parent that is deleted, or in another lake.
    pub fn lost_ancestors(&self) -> Result<Vec<String>> {
        let Folded { runs, deleted } = self.known().of(&Filter::default())?;
        Ok(ancestry::lost(&runs, &deleted))
    }

    fn rewound(&self, filter: &Filter) -> Result<RunKeys> {
        self.runs_with(&FactKind::Rewind, |meta| meta.tells_of_rewind, filter)
    }

    fn runs_with(
        &self,
        kind: &FactKind,
        tells: impl Fn(&SegmentMeta) -> bool,
        filter: &Filter,
    ) -> Result<RunKeys> {
        let (segments, tail) = (self.fact_segments(), &self.0.tail.facts);
        effective::runs_with(kind, tells, segments, tail, filter, |meta| self.0.core.facts_of(meta))
    }

    fn deleted(&self, filter: &Filter) -> Result<RunKeys> {
        let facts = &self.0.tail.facts;
        deletion::deleted(self.fact_segments(), facts, filter, |meta| self.0.core.facts_of(meta))
    }

    /// All metrics that a point was ever logged of, sorted.
    pub fn metrics(&self) -> Result<BTreeSet<String>> {
        let mut metrics = BTreeSet::new();
        for segment in self.segments() {
            if let Some(listed) = &segment.metrics {
                metrics.extend(listed.iter().cloned());
                continue;
            }
            for segment::IndexRow { key, .. } in segment::read_index(segment)?.iter() {
                if !metrics.contains(&*key.metric) {
                    metrics.insert(key.metric.to_string());
                }
            }
        }
        for key in self.tail().iter().flat_map(|points| &points.keys) {
            if !metrics.contains(&*key.metric) {
                metrics.insert(key.metric.to_string());
            }
        }
        Ok(metrics)
    }

    /// The series that `filter` wants, sorted, over their effective points.
    pub fn series(&self, filter: &Filter) -> Result<Vec<SeriesInfo>> {
        let (hidden, inherited) = (self.hidden(filter)?, self.inherited(filter)?);
        SeriesInfo::of(self.segments(), self.tail(), &hidden, &inherited, filter)
    }

    /// The schema of `points_all` as the engine reads it: ids as dictionaries, `step` Int64, `time` timestamps in
    /// microseconds (UTC, null if unknown), `value` Float64.
    pub fn points_schema() -> SchemaRef {
        segment::points_schema()
    }

    /// Every point ever logged of the wanted series, as batches of [`Snapshot::points_schema`]: segments first, each
    /// sorted, then the tail.
    pub fn scan(
        &self,
        filter: &Filter,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let wanted: Vec<_> =
            self.segments().iter().filter(|meta| filter.may_want(meta)).cloned().collect();
        let chosen = filter.chosen();
        let tail =
            self.tail_batches(|points| points.keys.iter().map(|key| chosen.wants(key)).collect())?;
        let filter = filter.clone();
        let segments = wanted.into_iter().flat_map(move |meta| {
            let scan = segment::scan(&meta, &filter, &segment::ALL_COLUMNS);
            let (scan, failed) = match scan {
                Ok(scan) => (Some(scan), None),
                Err(error) => (None, Some(Err(error))),
            };
            scan.into_iter().flatten().chain(failed)
        });
        Ok(Box::new(segments.chain(tail.into_iter().map(Ok))))
    }

    /// The part of the live tail that `wants` says is wanted, of each series of some points, as batches of
    /// [`Snapshot::points_schema`].
    pub fn tail_batches(&self, wants: impl Fn(&Points) -> Vec<bool>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for points in self.tail() {
            batches.extend(segment::batches(points, &wants(points)).map_err(|error| {
                Error::Invalid { what: "the live tail", detail: error.to_string() }
            })?);
        }
        Ok(batches)
    }
}
