//! What a query's filters say about ids and steps, so that what cannot matter is not read. Everything here only leaves
//! out: DataFusion applies every filter again to what is read.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringViewArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::Session,
    common::{DFSchema, pruning::PruningStatistics},
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList, utils::conjunction},
    physical_optimizer::pruning::PruningPredicateBuilder,
    prelude::Column,
    scalar::ScalarValue,
};
use runlake_engine::{Filter, SegmentMeta};

/// The ids that the conjunction of `filters` can be true for.
pub(crate) fn filter(filters: &[Expr]) -> Filter {
    let names = |column: &str| {
        let mut names: Option<BTreeSet<String>> = None;
        for filter in filters {
            names = intersect(names, names_of(filter, column));
        }
        names.map(|names| names.into_iter().collect())
    };
    Filter { projects: names("project"), runs: names("run_id"), metrics: names("metric") }
}

/// The values of `column` that `filter` can be true for, where it lists them.
fn names_of(filter: &Expr, column: &str) -> Option<BTreeSet<String>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let literal = if is_column(left, column) {
                right
            } else if is_column(right, column) {
                left
            } else {
                return None;
            };
            names_in(std::slice::from_ref(literal.as_ref()))
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr, column) => {
            names_in(list)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            intersect(names_of(left, column), names_of(right, column))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut names = names_of(left, column)?;
            names.extend(names_of(right, column)?);
            Some(names)
        }
        _ => None,
    }
}

fn intersect(a: Option<BTreeSet<String>>, b: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
        (a, b) => a.or(b),
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}

/// The texts of `literals`; none where one is no literal. A NULL equals nothing.
fn names_in(literals: &[Expr]) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for literal in literals {
        let Expr::Literal(value, _) = literal else { return None };
        if value.is_null() {
            continue;
        }
        names.insert(value.try_as_str()??.to_owned());
    }
    Some(names)
}

/// Those of `segments` that may hold a point for which all `filters` are true.
pub(crate) fn segments(
    segments: &[Arc<SegmentMeta>],
    wanted: &Filter,
    filters: &[Expr],
    schema: &SchemaRef,
    state: &dyn Session,
) -> Vec<Arc<SegmentMeta>> {
    let mut kept: Vec<_> =
        segments.iter().filter(|segment| wanted.may_want(segment)).cloned().collect();
    for column in ["run_id", "metric"] {
        // `metric like 'train/%'`: asked of the names that segments list.
        let asked = |filter: &&Expr| {
            let columns = filter.column_refs();
            columns.len() == 1
                && columns.iter().all(|found| found.name == column)
                && !filter.is_volatile()
        };
        let asked: Vec<_> = filters.iter().filter(asked).collect();
        if asked.iter().any(|filter| names_of(filter, column).is_none()) {
            by_names(&mut kept, column, &asked, state);
        }
    }
    let bounded = |filter: &&Expr| {
        let columns = filter.column_refs();
        columns.len() > 1 || columns.iter().any(|column| matches!(&*column.name, "step" | "time"))
    };
    let bounded: Vec<_> = filters.iter().filter(bounded).cloned().collect();
    if let Some(filter) = conjunction(bounded) {
        by_bounds(&mut kept, filter, schema, state);
    }
    kept
}

/// Leaves out segments that list their names of `column` where all `filters` are true for none of them. A filter that
/// cannot be asked leaves out nothing.
fn by_names(
    segments: &mut Vec<Arc<SegmentMeta>>,
    column: &str,
    filters: &[&Expr],
    state: &dyn Session,
) {
    let listed = |segment: &SegmentMeta| match column {
        "metric" => segment.metrics.clone(),
        _ => segment.runs.clone(),
    };
    let lists: Vec<_> = segments.iter().map(|segment| listed(segment)).collect();
    let mut names: BTreeSet<&str> = lists.iter().flatten().flatten().map(String::as_str).collect();
    for filter in filters {
        let array = StringViewArray::from_iter_values(&names);
        let Some(answers) = ask(column, filter, Arc::new(array), state) else { continue };
        let mut at = 0..;
        names.retain(|_| at.next().is_some_and(|at| answers.is_valid(at) && answers.value(at)));
    }
    let mut lists = lists.iter();
    segments.retain(|_| match lists.next() {
        Some(Some(list)) => list.iter().any(|name| names.contains(name.as_str())),
        _ => true,
    });
}

/// What `filter` says to each of `names`.
fn ask(column: &str, filter: &Expr, names: ArrayRef, state: &dyn Session) -> Option<BooleanArray> {
    let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8View, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![names]).ok()?;
    let schema = DFSchema::try_from(schema).ok()?;
    let physical = state.create_physical_expr(filter.clone(), &schema).ok()?;
    let answers = physical.evaluate(&batch).ok()?.into_array(batch.num_rows()).ok()?;
    answers.as_boolean_opt().cloned()
}

/// Leaves out segments whose bounds make `filter` impossible.
fn by_bounds(
    segments: &mut Vec<Arc<SegmentMeta>>,
    filter: Expr,
    schema: &SchemaRef,
    state: &dyn Session,
) {
    let keep = DFSchema::try_from(Arc::clone(schema))
        .and_then(|schema| state.create_physical_expr(filter, &schema))
        .and_then(|filter| {
            PruningPredicateBuilder::new()
                .with_file_schema(Arc::clone(schema))
                .with_max_in_list_size(1024)
                .try_build(filter)
        })
        .and_then(|predicate| predicate.prune(&Bounds(segments)));
    // A filter that bounds cannot answer leaves out nothing.
    let Ok(keep) = keep else { return };
    let mut keep = keep.into_iter();
    segments.retain(|_| keep.next().unwrap_or(true));
}

/// The bounds of segments as DataFusion asks for them.
struct Bounds<'a>(&'a [Arc<SegmentMeta>]);

impl Bounds<'_> {
    fn bounds(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let segments = self.0.iter();
        Some(match column.name.as_str() {
            "project" => Arc::new(
                segments.map(|segment| segment.project.as_deref()).collect::<StringViewArray>(),
            ),
            "run_id" => Arc::new(
                segments
                    .map(|segment| {
                        segment.run_bounds.as_ref().map(|bounds| end.of(bounds).as_str())
                    })
                    .collect::<StringViewArray>(),
            ),
            "metric" => Arc::new(
                segments
                    .map(|segment| {
                        segment.metric_bounds.as_ref().map(|bounds| end.of(bounds).as_str())
                    })
                    .collect::<StringViewArray>(),
            ),
            "step" => Arc::new(
                segments
                    .map(|segment| segment.step_bounds.as_ref().map(|bounds| *end.of(bounds)))
                    .collect::<Int64Array>(),
            ),
            "time" => Arc::new(
                segments
                    .map(|segment| segment.time_bounds.as_ref().map(|bounds| *end.of(bounds)))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            _ => return None,
        })
    }
}

#[derive(Clone, Copy)]
enum End {
    Least,
    Greatest,
}

impl End {
    fn of<T>(self, bounds: &(T, T)) -> &T {
        match self {
            Self::Least => &bounds.0,
            Self::Greatest => &bounds.1,
        }
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Greatest)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn names(filter: &Expr, column: &str) -> Option<Vec<String>> {
        names_of(filter, column).map(|names| names.into_iter().collect())
    }

    #[test]
    fn equalities_lists_and_their_combinations_name_what_they_want() {
        let many: Vec<_> = (0..100).map(|at| lit(format!("r{at:02}"))).collect();
        let listed = col("run_id").in_list(many, false);
        assert_eq!(names(&listed, "run_id").unwrap().len(), 100);
        assert_eq!(names(&listed, "metric"), None);

        let either = col("run_id").eq(lit("b")).or(lit("a").eq(col("run_id")));
        assert_eq!(names(&either, "run_id").unwrap(), ["a", "b"]);
        let both = listed.and(col("run_id").eq(lit("r07")).or(col("run_id").eq(lit("x"))));
        assert_eq!(names(&both, "run_id").unwrap(), ["r07"]);

        let open = col("run_id").eq(lit("b")).or(col("step").gt(lit(3)));
        assert_eq!(names(&open, "run_id"), None, "a run with large steps is wanted as well");
        assert_eq!(names(&col("run_id").not_eq(lit("b")), "run_id"), None);
        assert_eq!(names(&col("run_id").in_list(vec![lit("b")], true), "run_id"), None);
    }

    #[test]
    fn filters_that_contradict_each_other_want_nothing() {
        let filters = [col("metric").eq(lit("a")), col("metric").eq(lit("b"))];
        assert_eq!(filter(&filters).metrics, Some(Vec::new()));
        assert_eq!(filter(&filters).runs, None);
    }
}
