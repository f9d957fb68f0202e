//! `asof('train/loss', 'val/loss')`: the points of a metric, each beside what was last known of another.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    catalog::default_table_source::provider_as_source,
    common::Result,
    logical_expr::{
        Expr, ExprFunctionExt as _, LogicalPlan, LogicalPlanBuilder, WindowUDF, col, in_list, lit,
        when,
    },
};
use runlake_engine::{RunInfo, Snapshot};

use super::points::Points;
use crate::functions::last_known;

/// A row for each point of `metric`, with the step and value of the last point of `other` at that step or before, in the
/// same run and with the same labels.
pub(super) fn plan(
    snapshot: &Snapshot,
    metric: &str,
    other: &str,
    runs: Option<&[Arc<RunInfo>]>,
) -> Result<LogicalPlan> {
    const SERIES: [&str; 3] = ["project", "run_id", "labels"];
    const POINT: [&str; 3] = ["step", "time", "value"];
    // At one step what is looked for comes before who looks.
    let side = |metric: &str, side: i64| -> Result<LogicalPlan> {
        let points = provider_as_source(Arc::new(Points::effective(snapshot.clone())));
        let mut wanted = col("metric").eq(lit(metric));
        if let Some(runs) = runs {
            wanted = wanted.and(among(runs));
        }
        let columns = SERIES.iter().chain(&POINT).map(|name| col(*name));
        LogicalPlanBuilder::scan("points", points, None)?
            .filter(wanted)?
            .project(columns.chain([lit(side).alias("side")]))?
            .build()
    };
    let known = |function: &Arc<WindowUDF>, name: &str| -> Result<Expr> {
        let value = when(col("side").eq(lit(0_i64)), col(name)).end()?;
        let known = function.call(vec![value]).partition_by(SERIES.map(col).to_vec());
        let order = ["step", "side", "time"].map(|name| col(name).sort(true, true));
        Ok(known.order_by(order.to_vec()).build()?.alias(format!("other_{name}")))
    };
    let function = Arc::new(last_known());
    let columns = SERIES.iter().chain(&POINT).chain(&["other_step", "other_value"]);
    LogicalPlanBuilder::from(side(metric, 1)?)
        .union(side(other, 0)?)?
        .window([known(&function, "step")?, known(&function, "value")?])?
        .filter(col("side").eq(lit(1_i64)))?
        .project(columns.map(|name| col(*name)))?
        .alias("asof")?
        .build()
}

/// True for points of `runs`.
fn among(runs: &[Arc<RunInfo>]) -> Expr {
    let mut projects: BTreeMap<&str, Vec<Expr>> = BTreeMap::new();
    for run in runs {
        projects.entry(&run.project).or_default().push(lit(run.run_id.to_string()));
    }
    let among = projects.into_iter().map(|(project, ids)| {
        col("project").eq(lit(project)).and(in_list(col("run_id"), ids, false))
    });
    among.reduce(Expr::or).unwrap_or_else(|| lit(false))
}
