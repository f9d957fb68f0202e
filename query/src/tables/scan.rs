//! Reads rows of segments of ours.
//!
//! DataFusion can read them as it reads any Parquet file, and does so with files that somebody else wrote. Of ours the index says
//! whose each row is and the engine decodes the rows that are asked for, so that nothing is set up for each file and column, no id is
//! decoded, and a series of ten thousand points costs less than planning the query.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
        TimestampMicrosecondArray,
    },
    buffer::NullBuffer,
    datatypes::SchemaRef,
};
use datafusion::{
    common::{
        Result, Statistics, internal_datafusion_err, stats::Precision, tree_node::TreeNodeRecursion,
    },
    datasource::source::{DataSource, DataSourceExec},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{
        EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, projection::ProjectionExprs,
    },
    physical_plan::{
        DisplayFormatType, ExecutionPlan,
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::stream;
use runlake_engine::{PointRows, SegmentIndex, SegmentMeta, UNKNOWN_TIME};

use super::column;
use crate::{
    error::through_datafusion,
    pushdown::{self, Selected},
};

/// Fewer rows are not worth a second thread.
const ROWS_OF_A_THREAD: u64 = 64 << 10;

/// Rows of one segment.
#[derive(Debug, Clone)]
struct Piece {
    segment: Arc<SegmentMeta>,
    /// Whose the rows are; none where no id is wanted.
    index: Option<SegmentIndex>,
    /// Ascending and apart.
    ranges: Vec<Range<u64>>,
}

/// A scan of segments of ours.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// The columns that are wanted.
    schema: SchemaRef,
    /// What each partition reads.
    parts: Vec<Vec<Piece>>,
    order: Option<LexOrdering>,
    statistics: Arc<Statistics>,
    fetch: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl Scan {
    /// Whether [`Scan::plan`] can read the segment.
    pub(super) fn can_read(selected: &Selected, columns: &[&str]) -> bool {
        let segment = &selected.segment;
        let has_ids = columns.iter().any(|name| pushdown::IDS.contains(name));
        // What cannot be told by a damaged index the file itself tells.
        segment.has_point_rows() && (!has_ids || matches!(segment.read_index(), Ok(Some(_))))
    }

    /// Reads the columns `schema` of what is selected, on at most so many `threads`. `order` is that of the rows of a file.
    pub(super) fn plan(
        selected: &[Selected],
        schema: SchemaRef,
        threads: usize,
        order: Option<LexOrdering>,
        statistics: Statistics,
        fetch: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let has_ids =
            schema.fields().iter().any(|field| pushdown::IDS.contains(&field.name().as_str()));
        let mut pieces = Vec::with_capacity(selected.len());
        for Selected { segment, rows } in selected {
            let index =
                if has_ids { segment.read_index().map_err(through_datafusion)? } else { None };
            let all = 0..segment.rows;
            let ranges = rows.as_ref().map_or_else(|| vec![all], |rows| rows.ranges.clone());
            pieces.push(Piece { segment: Arc::clone(segment), index, ranges });
        }
        let parts = cut(pieces, threads);
        let in_order = parts.iter().all(|pieces| pieces.len() <= 1);
        let scan = Self {
            schema,
            parts,
            order: order.filter(|_| in_order),
            statistics: Arc::new(statistics),
            fetch,
            metrics: ExecutionPlanMetricsSet::new(),
        };
        Ok(DataSourceExec::from_data_source(scan))
    }
}

fn count(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|rows| rows.end - rows.start).sum()
}

/// Gives each of `threads` about as many rows, in the order in which they stand.
fn cut(pieces: Vec<Piece>, threads: usize) -> Vec<Vec<Piece>> {
    let all: u64 = pieces.iter().map(|piece| count(&piece.ranges)).sum();
    let most = all.div_ceil(threads.max(1) as u64).max(ROWS_OF_A_THREAD);
    let mut parts = vec![Vec::new()];
    let mut left = most;
    for Piece { segment, index, ranges } in pieces {
        let mut own = Vec::new();
        let piece = |ranges| Piece { segment: Arc::clone(&segment), index: index.clone(), ranges };
        for mut rows in ranges {
            while rows.start < rows.end {
                if left == 0 {
                    if !own.is_empty() {
                        parts
                            .last_mut()
                            .expect("there is one")
                            .push(piece(std::mem::take(&mut own)));
                    }
                    parts.push(Vec::new());
                    left = most;
                }
                let end = rows.end.min(rows.start + left);
                left -= end - rows.start;
                own.push(rows.start..end);
                rows.start = end;
            }
        }
        if !own.is_empty() {
            parts.last_mut().expect("there is one").push(piece(own));
        }
    }
    parts
}

impl DataSource for Scan {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut pieces = self.parts[partition].clone();
        pieces.reverse();
        let rows = Rows {
            schema: Arc::clone(&self.schema),
            pieces,
            open: None,
            at_once: context.session_config().batch_size().max(1) as u64,
            left: self.fetch.map_or(u64::MAX, |fetch| fetch as u64),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(rows))))
    }

    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let mut names: Vec<&str> = Vec::new();
        for piece in self.parts.iter().flatten() {
            if names.last() != Some(&piece.segment.name.as_str()) {
                names.push(&piece.segment.name);
            }
        }
        let most = if matches!(kind, DisplayFormatType::Verbose) { names.len() } else { SHOWN };
        let more = if names.len() > most { ", ..." } else { "" };
        let shown = names[..most.min(names.len())].join(", ");
        let fields: Vec<_> = self.schema.fields().iter().map(|it| it.name().as_str()).collect();
        write!(f, "segments=[{shown}{more}], partitions={}, ", self.parts.len())?;
        write!(f, "projection=[{}]", fields.join(", "))?;
        if let Some(order) = &self.order {
            write!(f, ", output_ordering=[{order}]")?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", limit={fetch}")?;
        }
        write!(f, ", file_type=segment")
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.parts.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        let order = self.order.clone().map(|order| order.to_vec());
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), order)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = |pieces: &Vec<Piece>| pieces.iter().map(|piece| count(&piece.ranges)).sum();
        let (mut statistics, rows): (_, Vec<u64>) = match partition {
            None => (Statistics::clone(&self.statistics), self.parts.iter().map(rows).collect()),
            Some(at) => (Statistics::new_unknown(&self.schema), vec![rows(&self.parts[at])]),
        };
        // A limit is that of each partition.
        let most = self.fetch.map_or(u64::MAX, |fetch| fetch as u64);
        let rows: u64 = rows.into_iter().map(|rows| rows.min(most)).sum();
        statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Exact);
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self { fetch: limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(
        &self,
        _projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

/// The batches of a partition.
struct Rows {
    schema: SchemaRef,
    /// What is still to be opened, the next one last.
    pieces: Vec<Piece>,
    open: Option<Open>,
    at_once: u64,
    /// Rows that are still wanted.
    left: u64,
    metrics: BaselineMetrics,
}

/// The segment that is being read.
struct Open {
    piece: Piece,
    rows: PointRows,
    /// Which of its ranges comes next, and how much of it was read.
    range: usize,
    read: u64,
    /// The place of the series in the index up to which was read.
    series: usize,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let metrics = self.metrics.clone();
        let _timer = metrics.elapsed_compute().timer();
        let batch = self.batch().transpose()?;
        if let Ok(batch) = &batch {
            metrics.record_output(batch.num_rows());
        } else {
            (self.left, self.open) = (0, None);
        }
        Some(batch)
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            if self.open.is_none() {
                let Some(piece) = self.pieces.pop() else { break };
                let rows = piece.segment.point_rows().map_err(through_datafusion)?;
                let rows = rows.ok_or_else(|| {
                    internal_datafusion_err!("{} is none of ours", piece.segment.name)
                })?;
                self.open = Some(Open { piece, rows, range: 0, read: 0, series: 0 });
            }
            let Some(open) = &mut self.open else { break };
            let ranges = open.take(self.at_once.min(self.left));
            if ranges.is_empty() {
                self.open = None;
                continue;
            }
            self.left -= count(&ranges);
            return open.read(&ranges, &self.schema).map(Some);
        }
        Ok(None)
    }
}

impl Open {
    /// The next rows, at most so many.
    fn take(&mut self, most: u64) -> Vec<Range<u64>> {
        let mut taken = Vec::new();
        let mut left = most;
        while let Some(range) = self.piece.ranges.get(self.range).filter(|_| left > 0) {
            let start = range.start + self.read;
            let end = range.end.min(start + left);
            taken.push(start..end);
            left -= end - start;
            self.read += end - start;
            if end == range.end {
                (self.range, self.read) = (self.range + 1, 0);
            }
        }
        taken
    }

    fn read(&mut self, ranges: &[Range<u64>], schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = usize::try_from(count(ranges)).unwrap_or(usize::MAX);
        let owners = self.owners(ranges);
        let mut arrays = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let array: ArrayRef = match field.name().as_str() {
                "step" => {
                    let mut steps = Vec::with_capacity(rows);
                    self.each(ranges, |from, rows| from.steps(rows, &mut steps))?;
                    Arc::new(Int64Array::from(steps))
                }
                "time" => {
                    let mut times = Vec::with_capacity(rows);
                    self.each(ranges, |from, rows| from.times(rows, &mut times))?;
                    let has_unknown = times.contains(&UNKNOWN_TIME);
                    let known = || times.iter().map(|time| *time != UNKNOWN_TIME).collect();
                    let known: Option<NullBuffer> = has_unknown.then(known);
                    let times = TimestampMicrosecondArray::new(times.into(), known);
                    Arc::new(times.with_timezone("UTC"))
                }
                "value" => {
                    let mut values = Vec::with_capacity(rows);
                    self.each(ranges, |from, rows| from.values(rows, &mut values))?;
                    Arc::new(Float64Array::from(values))
                }
                id => owners.texts(id),
            };
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
    }

    fn each(
        &mut self,
        ranges: &[Range<u64>],
        mut read: impl FnMut(&mut PointRows, Range<u64>) -> runlake_engine::Result<()>,
    ) -> Result<()> {
        let mut ranges = ranges.iter().cloned();
        ranges.try_for_each(|rows| read(&mut self.rows, rows)).map_err(through_datafusion)
    }

    /// Whose the rows of `ranges` are, which come after those asked for before.
    fn owners(&mut self, ranges: &[Range<u64>]) -> Owners {
        let mut owners = Owners::default();
        let Some(index) = &self.piece.index else { return owners };
        let mut series = index.series().skip(self.series).peekable();
        for rows in ranges {
            let mut start = rows.start;
            while start < rows.end {
                while series.next_if(|series| series.rows.end <= start).is_some() {
                    self.series += 1;
                }
                let Some(owner) = series.peek() else { break };
                let end = owner.rows.end.min(rows.end);
                for (texts, id) in owners.texts.iter_mut().zip(pushdown::ids(owner.key)) {
                    texts.push(id.cloned());
                }
                owners.rows.push(usize::try_from(end - start).unwrap_or(usize::MAX));
                start = end;
            }
        }
        owners
    }
}

/// Whose rows are, series by series.
#[derive(Default)]
struct Owners {
    /// Their ids, column by column.
    texts: [Vec<Option<Arc<str>>>; 5],
    /// How many rows it has.
    rows: Vec<usize>,
}

impl Owners {
    /// A column of ids, a text for each row.
    fn texts(&self, name: &str) -> ArrayRef {
        let at = pushdown::IDS.iter().position(|id| *id == name).unwrap_or_default();
        let texts = self.texts[at].iter().map(Option::as_deref);
        column::runs_of_texts(texts.zip(self.rows.iter().copied()))
    }
}
