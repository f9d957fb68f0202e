//! How a query ends before its time.
//!
//! DataFusion's tasks give way between batches of what they scan, and a task that is aborted ends there. A join can work
//! for hours on one batch: it meets all rows of its other side before it asks for the next. So joins get two more places
//! where a query ends: each batch that comes out, and each time that a condition is tried, which may let no row out.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::{
    array::RecordBatch,
    datatypes::{FieldRef, Schema},
};
use datafusion::{
    common::{
        DataFusionError, JoinType, Result,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _},
    },
    logical_expr::ColumnarValue,
    physical_expr::{PhysicalExpr, expressions::lit},
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
            utils::JoinFilter,
        },
    },
};

use crate::QueryError;

/// Says to a query that runs that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the query at the next place where it looks.
    pub(crate) fn ask(&self) {
        // ORDERING: Relaxed, the flag stands alone; here and in `asked`.
        self.0.store(true, Ordering::Relaxed);
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same plan, whose joins look at this.
    pub(crate) fn watch(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let join: Arc<dyn ExecutionPlan> =
                if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
                    let filter = join.filter().map(|filter| self.condition(filter));
                    Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
                } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                    let filter = match join.filter() {
                        Some(filter) => Some(self.condition(filter)),
                        None if is_row_for_row(*join.join_type()) => None,
                        None => Some(self.condition(&always())),
                    };
                    join.builder().with_filter(filter).build_exec()?
                } else if node.is::<CrossJoinExec>() {
                    node
                } else {
                    return Ok(Transformed::no(node));
                };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(join))))
        })
        .data()
    }

    fn condition(&self, filter: &JoinFilter) -> JoinFilter {
        let tried = Tried { condition: Arc::clone(filter.expression()), stop: self.clone() };
        JoinFilter::new(
            Arc::new(tried),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    }
}

/// True for the joins of which each match of two rows comes out. The others look at all matches of a batch in one go.
fn is_row_for_row(join: JoinType) -> bool {
    matches!(join, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
}

/// The condition that any two rows meet.
fn always() -> JoinFilter {
    JoinFilter::new(lit(true), Vec::new(), Arc::new(Schema::empty()))
}

/// The condition of a join, which fails once nobody waits for the query any more.
#[derive(Debug)]
struct Tried {
    condition: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PhysicalExpr for Tried {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.asked() {
            return Err(DataFusionError::External(Box::new(QueryError::Interrupted)));
        }
        self.condition.evaluate(batch)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [condition] = <[_; 1]>::try_from(children).map_err(|children| {
            DataFusionError::Internal(format!(
                "a condition is one expression, not {}",
                children.len()
            ))
        })?;
        Ok(Arc::new(Self { condition, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PartialEq for Tried {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Tried {}

impl Hash for Tried {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}
