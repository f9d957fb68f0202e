//! `points_all`: every point ever logged. `points`: those that count.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::SortOptions,
    datatypes::{DataType, Schema, SchemaRef},
};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    common::{ColumnStatistics, Result, Statistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, ParquetRowSelection},
        },
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, ScalarUDF, TableProviderFilterPushDown, TableType},
    object_store::{ObjectMeta, path::Path},
    physical_expr::{
        LexOrdering, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
        expressions::{CastExpr, Column, Literal, TryCastExpr},
    },
    physical_plan::{
        ExecutionPlan, empty::EmptyExec, filter::FilterExecBuilder, projection::ProjectionExec,
        union::UnionExec,
    },
    scalar::ScalarValue,
};
use parquet::arrow::arrow_reader::RowSelection;
use runlake_engine::{Filter, Hidden, Snapshot};

use super::{
    column::{self, DOUBLE, INTEGER, TEXT},
    scan::Scan,
};
use crate::{
    QueryError,
    error::through_datafusion,
    functions::{Attempt, Counts},
    process::Process,
    pushdown::{self, Conditions, Fork, Selected},
};

/// The points of one snapshot: its segments, as Parquet files that DataFusion scans, and its tail, from memory.
#[derive(Debug)]
pub(super) struct Points {
    snapshot: Snapshot,
    schema: SchemaRef,
    /// What a file holds.
    stored: SchemaRef,
    /// False where points that a later launch hides are left out.
    all: bool,
}

fn stored() -> SchemaRef {
    column::schema([
        ("project", TEXT),
        ("run_id", TEXT),
        ("metric", TEXT),
        ("labels", TEXT),
        ("launch", TEXT),
        ("step", INTEGER),
        ("time", column::time()),
        ("value", DOUBLE),
    ])
}

impl Points {
    /// The points that count.
    pub(super) fn effective(snapshot: Snapshot) -> Self {
        let schema = column::schema([
            ("project", TEXT),
            ("run_id", TEXT),
            ("metric", TEXT),
            ("labels", TEXT),
            ("step", INTEGER),
            ("time", column::time()),
            ("value", DOUBLE),
        ]);
        Self { snapshot, schema, stored: stored(), all: false }
    }

    /// Every point ever logged.
    pub(super) fn all(snapshot: Snapshot) -> Self {
        let schema = column::schema([
            ("project", TEXT),
            ("run_id", TEXT),
            ("metric", TEXT),
            ("labels", TEXT),
            ("launch", TEXT),
            ("attempt", INTEGER),
            ("step", INTEGER),
            ("time", column::time()),
            ("value", DOUBLE),
        ]);
        Self { snapshot, schema, stored: stored(), all: true }
    }

    /// Reads the stored `columns` of what is kept: one input for files and one for memory, as far as they hold
    /// anything.
    fn scan_stored(
        &self,
        state: &dyn Session,
        segments: &[Selected],
        tail: &[RecordBatch],
        columns: &[&str],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let (ours, others): (Vec<_>, Vec<_>) =
            segments.iter().cloned().partition(|selected| Scan::can_read(selected, columns));
        if !ours.is_empty() {
            inputs.push(rows(state, &ours, &self.stored, columns, limit)?);
        }
        if !others.is_empty() {
            inputs.push(files(state, &others, &self.stored, columns, limit)?);
        }
        if !tail.is_empty() {
            inputs.push(memory(tail, &self.stored, columns, limit)?);
        }
        Ok(inputs)
    }

    /// The points that count of what is kept. Only files that hold a run of which something is hidden pay for that.
    fn scan_effective(
        &self,
        state: &dyn Session,
        kept: &Kept,
        columns: &[&str],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let hidden = self.snapshot.hidden(&kept.filter).map_err(through_datafusion)?;
        self.scan_without(&hidden, state, kept, columns, limit)
    }

    /// The points that forks show of their ancestors: for each fork those of the stored series, up to a step, under its own name.
    fn scan_inherited(
        &self,
        state: &dyn Session,
        conditions: &Conditions,
        columns: &[&str],
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let inherited = self.snapshot.inherited(&conditions.filter).map_err(through_datafusion)?;
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for fork in Fork::all(&inherited) {
            let segments = conditions.select_for(&fork, self.snapshot.segments());
            check(&segments)?;
            let wants = |points: &runlake_engine::Points| conditions.wants_for(&fork, &points.keys);
            let tail = self.snapshot.tail_batches(wants).map_err(through_datafusion)?;
            let mut needed = columns.to_vec();
            needed.extend(Counts::COLUMNS.iter().filter(|name| !columns.contains(name)));
            let counts = Arc::new(ScalarUDF::from(Counts::only(&fork.series)));
            for input in self.scan_stored(state, &segments, &tail, &needed, None)? {
                let predicate = call(&counts, &Counts::COLUMNS, &input.schema(), state)?;
                let input = Arc::new(FilterExecBuilder::new(predicate, input).build()?);
                let schema = input.schema();
                let expression = |name: &&str| {
                    let expression = match *name {
                        "run_id" => name_of(&fork.run_id),
                        name => reference(name, &schema)?,
                    };
                    Ok((expression, (*name).to_owned()))
                };
                let expressions = columns.iter().map(expression).collect::<Result<Vec<_>>>()?;
                inputs.push(Arc::new(ProjectionExec::try_new(expressions, input)?));
            }
        }
        Ok(inputs)
    }

    /// What is kept, without what is hidden.
    fn scan_without(
        &self,
        hidden: &Hidden,
        state: &dyn Session,
        kept: &Kept,
        columns: &[&str],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        if hidden.is_empty() {
            return self.scan_stored(state, &kept.segments, &kept.tail, columns, limit);
        }
        let mut runs: Vec<_> = hidden.series().map(|(key, _)| key.run_id.to_string()).collect();
        runs.sort_unstable();
        runs.dedup();
        let touched = Filter { runs: Some(runs), ..Filter::default() };
        let (checked, free): (Vec<_>, Vec<_>) =
            kept.segments.iter().cloned().partition(|it| touched.may_want(&it.segment));
        let mut inputs = self.scan_stored(state, &free, &[], columns, limit)?;

        let mut needed = columns.to_vec();
        needed.extend(Counts::COLUMNS.iter().filter(|name| !columns.contains(name)));
        let output: Vec<_> = (0..columns.len()).collect();
        let counts = Arc::new(ScalarUDF::from(Counts::but(hidden)));
        for input in self.scan_stored(state, &checked, &kept.tail, &needed, None)? {
            let predicate = call(&counts, &Counts::COLUMNS, &input.schema(), state)?;
            let filter = FilterExecBuilder::new(predicate, input)
                .apply_projection(Some(output.clone()))?
                .build()?;
            inputs.push(Arc::new(filter));
        }
        Ok(inputs)
    }

    /// Every point of what is kept, the attempt computed where it is wanted.
    fn scan_all(
        &self,
        state: &dyn Session,
        kept: &Kept,
        columns: &[&str],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let deleted = self.snapshot.hidden_of_deleted(&kept.filter).map_err(through_datafusion)?;
        if !columns.contains(&"attempt") {
            return self.scan_without(&deleted, state, kept, columns, limit);
        }
        const IDS: [&str; 3] = ["project", "run_id", "launch"];
        let mut needed: Vec<_> =
            columns.iter().copied().filter(|name| *name != "attempt").collect();
        needed.extend(IDS.iter().filter(|name| !columns.contains(name)));
        let runs = self.snapshot.runs_of(&kept.filter).map_err(through_datafusion)?;
        let attempt = Arc::new(ScalarUDF::from(Attempt::new(&runs)));
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for input in self.scan_without(&deleted, state, kept, &needed, limit)? {
            let schema = input.schema();
            let expressions = columns
                .iter()
                .map(|name| {
                    let expression = match *name {
                        "attempt" => call(&attempt, &IDS, &schema, state)?,
                        name => reference(name, &schema)?,
                    };
                    Ok((expression, (*name).to_owned()))
                })
                .collect::<Result<Vec<_>>>()?;
            inputs.push(Arc::new(ProjectionExec::try_new(expressions, input)?));
        }
        Ok(inputs)
    }
}

/// What the filters of a query leave to read.
struct Kept {
    filter: Filter,
    segments: Vec<Selected>,
    tail: Vec<RecordBatch>,
}

#[async_trait]
impl TableProvider for Points {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let conditions = Conditions::new(filters, &self.schema, state);
        let kept = Kept {
            segments: conditions.select(self.snapshot.segments()),
            tail: self
                .snapshot
                .tail_batches(|points| conditions.wants(points.keys.iter()))
                .map_err(through_datafusion)?,
            filter: conditions.filter.clone(),
        };
        check(&kept.segments)?;
        let mut inputs = if self.all {
            self.scan_all(state, &kept, &columns, limit)?
        } else {
            let mut inputs = self.scan_effective(state, &kept, &columns, limit)?;
            inputs.extend(self.scan_inherited(state, &conditions, &columns)?);
            inputs
        };
        match inputs.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema))),
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}

/// Fails where the files of `segments` are not there any more. The engine checks what it reads.
fn check(segments: &[Selected]) -> Result<()> {
    let segments = segments.iter().map(|selected| &selected.segment);
    let foreign = segments.filter(|segment| !segment.has_point_rows());
    Process::current()?.check(foreign).map_err(through_datafusion)
}

/// Where `columns` stand in `schema`.
fn places(columns: &[&str], schema: &Schema) -> Result<Vec<usize>> {
    Ok(columns.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?)
}

/// Reads `columns` of segments of ours.
fn rows(
    state: &dyn Session,
    segments: &[Selected],
    stored: &SchemaRef,
    columns: &[&str],
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let projection = places(columns, stored)?;
    let known: Vec<_> = segments.iter().map(|selected| statistics(selected, stored)).collect();
    let total = Statistics::try_merge_iter(&known, stored)?.project(Some(&projection));
    let schema = Arc::new(stored.project(&projection)?);
    let order = order(segments, &schema, columns)?;
    Scan::plan(segments, schema, state.config().target_partitions(), order, total, limit)
}

/// Scans `columns` of `segments`, which somebody else wrote, at most as many at once as there are partitions.
fn files(
    state: &dyn Session,
    segments: &[Selected],
    stored: &SchemaRef,
    columns: &[&str],
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let projection = places(columns, stored)?;
    let store = ObjectStoreUrl::local_filesystem();
    let environment = state.runtime_env();
    let readers = CachedParquetFileReaderFactory::new(
        environment.object_store(&store)?,
        environment.cache_manager.get_file_metadata_cache(),
    );
    let source = ParquetSource::new(Arc::clone(stored))
        .with_table_parquet_options(state.table_options().parquet.clone())
        .with_parquet_file_reader_factory(Arc::new(readers));
    let known: Vec<_> = segments.iter().map(|selected| statistics(selected, stored)).collect();
    let total = Statistics::try_merge_iter(&known, stored)?;
    let files = segments
        .iter()
        .zip(known)
        .map(|(selected, known)| file(selected, known))
        .collect::<Result<Vec<_>, QueryError>>()?;
    let partitions = state.config().target_partitions();
    let config = FileScanConfigBuilder::new(store, Arc::new(source))
        .with_file_groups(FileGroup::new(files).split_files(partitions))
        .with_statistics(total)
        .with_projection_indices(Some(projection))?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The order of the rows that are read of each of `segments`, as far as the `columns` of `shown` tell. A column that holds one value
/// in all of them says nothing of the order: the points of one series come by step.
fn order(segments: &[Selected], shown: &Schema, columns: &[&str]) -> Result<Option<LexOrdering>> {
    let mut order = Vec::new();
    for (at, name) in pushdown::IDS.into_iter().chain(["step"]).enumerate() {
        let same = |selected: &Selected| selected.rows.as_ref()?.same.get(at)?.clone();
        let first = segments.first().and_then(same);
        if first.is_some() && segments.iter().all(|selected| same(selected) == first) {
            continue;
        }
        if !columns.contains(&name) {
            break;
        }
        // Only labels are ever null, and stand first then.
        let options = SortOptions { descending: false, nulls_first: name == "labels" };
        order.push(PhysicalSortExpr::new(reference(name, shown)?, options));
    }
    Ok(LexOrdering::new(order))
}

fn file(selected: &Selected, known: Statistics) -> Result<PartitionedFile, QueryError> {
    let Selected { segment, rows } = selected;
    let location = Path::from_absolute_path(&segment.path).map_err(|error| {
        QueryError::Unsupported { what: format!("a lake at {}: {error}", segment.path.display()) }
    })?;
    let file = PartitionedFile::new_from_meta(ObjectMeta {
        location,
        // A segment never changes, so the time of its commit identifies it as well as the time of its writing.
        last_modified: DateTime::from_timestamp_micros(segment.committed_at).unwrap_or_default(),
        size: segment.bytes,
        e_tag: None,
        version: None,
    })
    .with_statistics(Arc::new(known));
    let Some(rows) = rows.as_ref().filter(|rows| !rows.is_whole()) else { return Ok(file) };
    let place = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
    let ranges = rows.ranges.iter().map(|rows| place(rows.start)..place(rows.end));
    let selection = RowSelection::from_consecutive_ranges(ranges, place(rows.of));
    Ok(file.with_extension(ParquetRowSelection::new(selection)))
}

/// What the catalog knows of a segment, as DataFusion asks for it. Nothing is said of values: DataFusion takes bounds to
/// hold for NaN as well, and those of Parquet do not.
fn statistics(Selected { segment, rows }: &Selected, stored: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(stored);
    // A file of another writer may count its rows wrongly, or not at all.
    if segment.project.is_some() {
        let count = rows.as_ref().map_or(segment.rows, |rows| rows.count);
        statistics.num_rows = usize::try_from(count).map_or(Precision::Absent, Precision::Exact);
    }
    if let Some((first, last)) = segment.step_bounds {
        let step = stored.index_of("step").expect("points have steps");
        statistics.column_statistics[step] = ColumnStatistics {
            min_value: Precision::Inexact(ScalarValue::Int64(Some(first))),
            max_value: Precision::Inexact(ScalarValue::Int64(Some(last))),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

/// Reads the live tail. Its ids are dictionaries; each batch becomes what a file gives when it is read.
fn memory(
    tail: &[RecordBatch],
    stored: &Schema,
    columns: &[&str],
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = tail[0].schema();
    let projection = places(columns, &schema)?;
    let source = MemorySourceConfig::try_new(&[tail.to_vec()], schema, Some(projection))?
        .with_show_sizes(false)
        .with_limit(limit);
    let input: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(source);
    let schema = input.schema();
    let expressions = columns
        .iter()
        .map(|name| {
            let column = reference(name, &schema)?;
            let wanted = stored.field_with_name(name)?.data_type();
            let is = schema.field_with_name(name)?.data_type();
            Ok((if is == wanted { column } else { cast(column, wanted) }, (*name).to_owned()))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(expressions, input)?))
}

/// The id of a run, for all rows. Ids may be null by the schema of the table, which a literal may not; a cast that can fail may.
fn name_of(run_id: &Arc<str>) -> Arc<dyn PhysicalExpr> {
    let id = Arc::new(Literal::new(ScalarValue::Utf8View(Some(run_id.to_string()))));
    Arc::new(TryCastExpr::new(id, TEXT))
}

fn cast(input: Arc<dyn PhysicalExpr>, to: &DataType) -> Arc<dyn PhysicalExpr> {
    Arc::new(CastExpr::new(input, to.clone(), None))
}

fn reference(name: &str, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

fn call(
    function: &Arc<ScalarUDF>,
    columns: &[&str],
    schema: &Schema,
    state: &dyn Session,
) -> Result<Arc<dyn PhysicalExpr>> {
    let arguments =
        columns.iter().map(|name| reference(name, schema)).collect::<Result<Vec<_>>>()?;
    let options = Arc::clone(state.config().options());
    Ok(Arc::new(ScalarFunctionExpr::try_new(Arc::clone(function), arguments, schema, options)?))
}
