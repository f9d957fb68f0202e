//! Tables that are built in memory when they are read, since that takes a while.

use std::{fmt::Debug, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    logical_expr::{Expr, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// A table that is built when it is read.
pub(super) trait Late: Debug + Send + Sync + 'static {
    /// What SQL calls it.
    fn name(&self) -> &'static str;

    /// The columns.
    fn schema(&self) -> &SchemaRef;

    /// The columns at the places `projection` of the schema, with all rows, in some parts; what that takes is asked of `memory`.
    fn build(&self, projection: &[usize], memory: &MemoryReservation) -> Result<Vec<RecordBatch>>;
}

/// `late` as a table.
pub(super) fn table(late: impl Late) -> Arc<dyn TableProvider> {
    Arc::new(Table { late: Arc::new(late) })
}

#[derive(Debug)]
struct Table {
    late: Arc<dyn Late>,
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.late.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.late.schema();
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..all.fields().len()).collect(),
        };
        let schema = Arc::new(all.project(&projection)?);
        let scan = Scan { late: Arc::clone(&self.late), schema: Arc::clone(&schema), projection };
        Ok(Arc::new(StreamingTableExec::try_new(
            schema,
            vec![Arc::new(scan)],
            None,
            std::iter::empty(),
            false,
            limit,
        )?))
    }
}

/// The wanted columns of a table.
#[derive(Debug, Clone)]
struct Scan {
    late: Arc<dyn Late>,
    schema: SchemaRef,
    projection: Vec<usize>,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let scan = self.clone();
        let size = context.session_config().batch_size();
        let memory = MemoryConsumer::new(self.late.name()).register(context.memory_pool());
        let built = async move {
            // Reading files would hold up the other queries of this thread.
            let (tables, memory) = tokio::task::spawn_blocking(move || {
                let tables = scan.late.build(&scan.projection, &memory)?;
                Ok::<_, DataFusionError>((tables, memory))
            })
            .await
            .map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
            let slices = tables.into_iter().flat_map(move |table| {
                let rows = table.num_rows();
                let starts = (0..rows).step_by(size.max(1));
                starts.map(move |start| table.slice(start, size.min(rows - start)))
            });
            let slices = slices.map(move |slice| {
                // The memory is given back with the last slice.
                let _held = &memory;
                Ok(slice)
            });
            Ok::<_, DataFusionError>(stream::iter(slices))
        };
        let batches = stream::once(built).try_flatten().boxed();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
