//! A consistent view of a lake.

use std::sync::{Arc, OnceLock};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    Error, Fact, Filter, Hidden, Points, Result, RunInfo, SegmentMeta, SeriesInfo, lake::Core,
    runs, segment, tail::TailView,
};

/// A consistent view of a lake: the segments of one catalog version and the live tail above its watermark. Everything
/// published before the snapshot was taken is in it, once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<View>);

#[derive(Debug)]
struct View {
    core: Arc<Core>,
    tail: TailView,
    runs: OnceLock<Arc<Vec<Arc<RunInfo>>>>,
}

impl Snapshot {
    pub(crate) fn new(core: Arc<Core>, tail: TailView) -> Self {
        Self(Arc::new(View { core, tail, runs: OnceLock::new() }))
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

    /// What could not be read, one line each; the rest was, and is in this snapshot.
    pub fn problems(&self) -> &[String] {
        &self.0.tail.problems
    }

    /// All runs, newest first; folded from the facts at the first call.
    pub fn runs(&self) -> Result<Arc<Vec<Arc<RunInfo>>>> {
        if let Some(runs) = self.0.runs.get() {
            return Ok(Arc::clone(runs));
        }
        let View { core, tail, .. } = &*self.0;
        let mut facts: Vec<Arc<Vec<Fact>>> = tail
            .facts_table
            .segments
            .iter()
            .map(|meta| core.facts_of(meta))
            .collect::<Result<_>>()?;
        core.keep_facts_of(&tail.facts_table.segments);
        facts.extend(tail.facts.iter().cloned());
        let runs = runs::fold(
            facts.iter().flat_map(|facts| facts.iter()),
            |writer| core.liveness(writer),
            |writer| tail.heartbeats.get(writer).copied().filter(|&beat| beat > 0),
        );
        Ok(Arc::clone(self.0.runs.get_or_init(|| Arc::new(runs))))
    }

    /// The run that `name` means: an id, a name, a unique prefix of an id, `project/x`, `@last`, `@last-1`.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] with candidates where it means none or several.
    pub fn find_run(&self, name: &str) -> Result<Arc<RunInfo>> {
        runs::find(&self.runs()?, name)
    }

    /// Which points do not count, of the runs that `filter` wants.
    pub fn hidden(&self, filter: &Filter) -> Result<Hidden> {
        Hidden::of(self.segments(), self.tail(), &self.runs()?, filter)
    }

    /// The series that `filter` wants, sorted, over their effective points.
    pub fn series(&self, filter: &Filter) -> Result<Vec<SeriesInfo>> {
        SeriesInfo::of(self.segments(), self.tail(), &self.hidden(filter)?, filter)
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
        let tail = self.tail_batches(filter)?;
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

    /// The part of the live tail that `filter` wants, as batches of [`Snapshot::points_schema`].
    pub fn tail_batches(&self, filter: &Filter) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for points in self.tail() {
            batches.extend(segment::batches(points, filter).map_err(|error| Error::Invalid {
                what: "the live tail",
                detail: error.to_string(),
            })?);
        }
        Ok(batches)
    }
}
