//! Small tables: those that are built in memory when a query reads them.

use std::{fmt::Debug, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    common::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use runlake_engine::Filter;

use crate::pushdown;

/// A table that is built in memory, of the wanted columns only.
pub(super) trait Rows: Debug + Send + Sync + 'static {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The wanted `columns`, each named in the schema, of at least the rows that `filters` want, and how many rows
    /// there are. `wanted` is what the filters say about ids.
    fn build(
        &self,
        wanted: &Filter,
        filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)>;
}

/// `rows` as a table.
pub(super) fn table(rows: impl Rows) -> Arc<dyn TableProvider> {
    Arc::new(Table { schema: rows.schema(), rows: Box::new(rows) })
}

#[derive(Debug)]
struct Table {
    schema: SchemaRef,
    rows: Box<dyn Rows>,
}

#[async_trait]
impl TableProvider for Table {
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
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (arrays, rows) = self.rows.build(&pushdown::filter(filters), filters, &columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?)
    }
}
