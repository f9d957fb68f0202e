//! The edge: results hold plain types that every Arrow reader knows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    common::Result,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, expr::ScalarFunction},
    prelude::Column,
};
use datafusion_functions_json::{JSON_UNION_DATA_TYPE, udfs::json_union_to_text_udf};

/// `schema` with plain types. All fields may be null: a promise that nobody needs cannot be broken.
pub(crate) fn schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), data_type(field.data_type()), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Text as Utf8: views and dictionaries are our way of computing, not a user's concern.
fn data_type(of: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(data_type(field.data_type())))
    };
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => data_type(values),
        DataType::List(field) | DataType::ListView(field) => DataType::List(inner(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(inner(field))
        }
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(inner(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// `batch` as `schema` promises it.
pub(crate) fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// `plan` without columns of a type that few readers know: what `config -> 'x'` gives becomes JSON text, and
/// `describe` says the types that results have.
pub(crate) fn plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    if let LogicalPlan::DescribeTable(mut describe) = plan {
        describe.schema = schema(&describe.schema);
        return Ok(LogicalPlan::DescribeTable(describe));
    }
    let is_json = |field: &FieldRef| *field.data_type() == *JSON_UNION_DATA_TYPE;
    if !plan.schema().fields().iter().any(is_json) {
        return Ok(plan);
    }
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            if !is_json(field) {
                return column;
            }
            Expr::ScalarFunction(ScalarFunction::new_udf(json_union_to_text_udf(), vec![column]))
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
