//! A program registers its tables beside those of the lake.

use std::sync::Arc;

use runlake_query::datafusion::{
    arrow::{
        array::{ArrayRef, Float64Array, RecordBatch, StringArray},
        util::display::array_value_to_string,
    },
    catalog::TableProvider,
    datasource::MemTable,
    prelude::SessionContext,
};

use super::{Fixture, log};

/// The rows of a query, asked at the level of DataFusion.
fn ask(context: &SessionContext, query: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(query).await?.collect().await }).unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells =
                batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

#[test]
fn tables_of_a_program_are_joined_with_those_of_the_lake() {
    let lake = Fixture::new();
    for id in ["a", "b"] {
        log(&lake.run(id), "loss", 0, &[2.0, 1.0]);
    }
    lake.lake.flush().unwrap();
    let context = lake.session.context().unwrap();
    let costs = RecordBatch::try_from_iter([
        ("run_id", Arc::new(StringArray::from(vec!["b", "c"])) as ArrayRef),
        ("euro", Arc::new(Float64Array::from(vec![3.5, 4.0])) as ArrayRef),
    ]);
    let costs = costs.unwrap();
    let costs: Arc<dyn TableProvider> =
        Arc::new(MemTable::try_new(costs.schema(), vec![vec![costs]]).unwrap());
    context.register_table("costs", Arc::clone(&costs)).unwrap();
    assert_eq!(
        ask(&context, "select run_id, last_value, euro from series join costs using (run_id)"),
        ["b|1.0|3.5"]
    );
    assert_eq!(
        ask(&context, "select run_id, mean_value from chart('loss', buckets => 1) order by run_id"),
        ["a|1.5", "b|1.5"]
    );
    // It sees the moment at which it was made, and the tables of the lake stay what they are.
    log(&lake.run("c"), "loss", 0, &[1.0]);
    assert_eq!(ask(&context, "select count(*) from runs"), ["2"]);
    let error = context.register_table("points", costs).unwrap_err().to_string();
    assert!(error.contains("points is a table of the lake"), "{error}");
    assert!(lake.error("select * from costs").to_string().contains("no table costs"));
    context.deregister_table("costs").unwrap();
    assert!(!context.table_exist("costs").unwrap());
}
