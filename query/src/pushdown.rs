//! What a query's filters say about ids and steps, so that what cannot matter is not read. Everything here only leaves
//! out: DataFusion applies every filter again to what is read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringViewArray,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::Session,
    common::{DFSchema, pruning::PruningStatistics},
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList, utils::conjunction},
    physical_expr::PhysicalExpr,
    physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder},
    prelude::Column,
    scalar::ScalarValue,
};
use runlake_engine::{
    Filter, Inherited, SegmentIndex, SegmentMeta, SeriesKey, SeriesRows, StepPage,
};

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

/// What a scan of points need not leave out: a segment, and its rows.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) segment: Arc<SegmentMeta>,
    /// Those of its rows that may matter; none where all may.
    pub(crate) rows: Option<Rows>,
}

/// Rows of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Those that may matter, ascending and apart.
    pub(crate) ranges: Vec<Range<u64>>,
    /// How many these are.
    pub(crate) count: u64,
    /// Rows of the segment.
    pub(crate) of: u64,
    /// For each column of ids, what it holds in all these rows, where that is one value.
    #[expect(clippy::option_option, reason = "one value may be null")]
    pub(crate) same: [Option<Option<Arc<str>>>; 5],
}

impl Rows {
    /// All of them.
    pub(crate) fn is_whole(&self) -> bool {
        self.count == self.of
    }

    fn of(index: &SegmentIndex, wanted: Vec<SeriesRows<'_>>) -> Self {
        let of = index.series().last().map_or(0, |series| series.rows.end);
        let mut rows = Self { ranges: Vec::new(), count: 0, of, same: Default::default() };
        for series in wanted {
            let ids = ids(series.key);
            if rows.count == 0 {
                rows.same = ids.map(|id| Some(id.cloned()));
            }
            for (same, id) in rows.same.iter_mut().zip(ids) {
                if same.as_ref().is_some_and(|same| same.as_ref() != id) {
                    *same = None;
                }
            }
            rows.count += series.rows.end - series.rows.start;
            match rows.ranges.last_mut() {
                Some(last) if last.end == series.rows.start => last.end = series.rows.end,
                _ => rows.ranges.push(series.rows),
            }
        }
        rows
    }
}

/// The columns of ids in the order in which points are sorted.
pub(crate) const IDS: [&str; 5] = ["project", "run_id", "metric", "labels", "launch"];

pub(crate) fn ids(key: &SeriesKey) -> [Option<&Arc<str>>; 5] {
    [
        Some(&key.project),
        Some(&key.run_id),
        Some(&key.metric),
        key.labels.as_ref(),
        Some(&key.launch),
    ]
}

/// What one run shows of its ancestors.
pub(crate) struct Fork {
    pub(crate) run_id: Arc<str>,
    /// The stored series, each with the last step that the run shows.
    pub(crate) series: HashMap<SeriesKey, i64>,
    /// The files that may hold them.
    stored: Filter,
}

impl Fork {
    pub(crate) fn all(inherited: &Inherited) -> Vec<Self> {
        let mut forks: BTreeMap<(Arc<str>, Arc<str>), HashMap<SeriesKey, i64>> = BTreeMap::new();
        for (key, heirs) in inherited.series() {
            for heir in heirs {
                let run = (Arc::clone(&key.project), Arc::clone(&heir.run_id));
                forks.entry(run).or_default().insert(key.clone(), heir.last);
            }
        }
        let fork = |((project, run_id), series): (_, HashMap<SeriesKey, i64>)| {
            let names = |pick: fn(&SeriesKey) -> &Arc<str>| {
                let names: BTreeSet<&str> = series.keys().map(|key| &**pick(key)).collect();
                Some(names.into_iter().map(str::to_owned).collect())
            };
            let project: Arc<str> = project;
            let stored = Filter {
                projects: Some(vec![project.to_string()]),
                runs: names(|key| &key.run_id),
                metrics: names(|key| &key.metric),
            };
            Self { run_id, series, stored }
        };
        forks.into_iter().map(fork).collect()
    }

    /// A stored series as the run shows it; none where it does not.
    fn name(&self, stored: &SeriesKey) -> Option<SeriesKey> {
        let run_id = Arc::clone(&self.run_id);
        self.series.contains_key(stored).then(|| SeriesKey { run_id, ..stored.clone() })
    }
}

/// The conditions of a scan of points, made to be asked what can matter.
pub(crate) struct Conditions {
    pub(crate) filter: Filter,
    /// Those on ids alone.
    of_ids: Vec<Arc<dyn PhysicalExpr>>,
    /// Those that the file-level lists of names can answer: a column, and a condition on nothing else.
    of_names: Vec<(&'static str, Arc<dyn PhysicalExpr>)>,
    /// Those that bounds can answer.
    of_bounds: Option<PruningPredicate>,
}

impl Conditions {
    /// The conditions `filters` on a table with `schema`. One that cannot be asked leaves out nothing.
    pub(crate) fn new(filters: &[Expr], schema: &SchemaRef, state: &dyn Session) -> Self {
        let ids = DFSchema::try_from(ids_schema());
        let on_ids = filters.iter().filter_map(|filter| {
            let columns = filter.column_refs();
            let asked = !columns.is_empty()
                && columns.iter().all(|column| IDS.contains(&&*column.name))
                && !filter.is_volatile();
            let physical = state.create_physical_expr(filter.clone(), ids.as_ref().ok()?);
            let only = columns.iter().next().filter(|_| columns.len() == 1);
            let only = only.and_then(|only| IDS.into_iter().find(|name| *name == only.name));
            asked.then_some((only, physical.ok()?))
        });
        let on_ids: Vec<_> = on_ids.collect();
        let bounded = |filter: &&Expr| {
            let columns = filter.column_refs();
            columns.len() > 1
                || columns.iter().any(|column| matches!(&*column.name, "step" | "time"))
        };
        let bounded = conjunction(filters.iter().filter(bounded).cloned());
        let of_bounds = bounded.and_then(|filter| {
            let table = DFSchema::try_from(Arc::clone(schema)).ok()?;
            let filter = state.create_physical_expr(filter, &table).ok()?;
            let predicate = PruningPredicateBuilder::new()
                .with_file_schema(Arc::clone(schema))
                .with_max_in_list_size(1024);
            predicate.try_build(filter).ok()
        });
        Self {
            filter: filter(filters),
            of_names: on_ids
                .iter()
                .filter_map(|(only, filter)| {
                    let only = only.filter(|only| matches!(*only, "run_id" | "metric"))?;
                    Some((only, Arc::clone(filter)))
                })
                .collect(),
            of_ids: on_ids.into_iter().map(|(_, filter)| filter).collect(),
            of_bounds,
        }
    }

    /// What of `segments` may hold a point for which all conditions are true.
    pub(crate) fn select(&self, segments: &[Arc<SegmentMeta>]) -> Vec<Selected> {
        let mut kept: Vec<_> =
            segments.iter().filter(|segment| self.filter.may_want(segment)).cloned().collect();
        for (column, filter) in &self.of_names {
            by_names(&mut kept, column, filter);
        }
        let keep = self.within_bounds(&Bounds(&kept));
        retain(&mut kept, keep);
        let mut selected = Vec::with_capacity(kept.len());
        for segment in kept {
            let asks = !self.of_ids.is_empty() || self.of_bounds.is_some();
            // Where it cannot be read, the points can: all rows of the file are looked at. Queries that need the index say
            // what is wrong with it.
            let index = asks.then(|| segment.read_index().ok().flatten()).flatten();
            let rows = index.map(|index| Rows::of(&index, self.series(index.series().collect())));
            let rows = rows.map(|rows| self.narrow(&segment, rows));
            if rows.as_ref().is_none_or(|rows| rows.count > 0) {
                selected.push(Selected { segment, rows });
            }
        }
        selected
    }

    /// Without rows that stand in pages of steps for which the conditions cannot be true. A look at few rows is not worth it.
    fn narrow(&self, segment: &SegmentMeta, mut rows: Rows) -> Rows {
        const WORTH_A_LOOK: u64 = 16 << 10;
        if self.of_bounds.is_none() || rows.count < WORTH_A_LOOK {
            return rows;
        }
        // Where nothing can be said of pages, all rows are looked at.
        let pages = segment.step_pages().unwrap_or_default();
        let Some(keep) = self.within_bounds(&Bounds(&pages)) else { return rows };
        let useless = pages.iter().zip(keep).filter(|(_, keep)| !keep).map(|(page, _)| &page.rows);
        rows.ranges = without(rows.ranges, useless);
        rows.count = rows.ranges.iter().map(|rows| rows.end - rows.start).sum();
        rows
    }

    /// The same of the points that a fork shows of its ancestors, under its name.
    pub(crate) fn select_for(&self, fork: &Fork, segments: &[Arc<SegmentMeta>]) -> Vec<Selected> {
        let mut selected = Vec::new();
        for segment in segments.iter().filter(|segment| fork.stored.may_want(segment)) {
            let index = segment.read_index().ok().flatten();
            let rows = index.map(|index| {
                let shown = index.series().filter_map(|series| {
                    let last = *fork.series.get(series.key)?;
                    let series = SeriesRows { last_step: last.min(series.last_step), ..series };
                    (series.first_step <= last).then_some((fork.name(series.key)?, series))
                });
                let (names, shown): (Vec<_>, Vec<_>) = shown.unzip();
                // Asked about under the name of the fork and up to its last step, read under that of the ancestor.
                let asked = names.iter().zip(&shown);
                let asked =
                    asked.map(|(key, series)| SeriesRows { key, ..series.clone() }).collect();
                let rows: HashSet<u64> =
                    self.series(asked).into_iter().map(|series| series.rows.start).collect();
                let wanted = shown.into_iter().filter(|series| rows.contains(&series.rows.start));
                self.narrow(segment, Rows::of(&index, wanted.collect()))
            });
            if rows.as_ref().is_none_or(|rows| rows.count > 0) {
                selected.push(Selected { segment: Arc::clone(segment), rows });
            }
        }
        selected
    }

    /// For each of the stored `keys`, whether the fork shows it and the conditions on ids can be true under its name.
    pub(crate) fn wants_for(&self, fork: &Fork, keys: &[SeriesKey]) -> Vec<bool> {
        let names: Vec<Option<SeriesKey>> = keys.iter().map(|key| fork.name(key)).collect();
        let shown: Vec<&SeriesKey> = names.iter().flatten().collect();
        let mut wanted = self.wants(shown.into_iter()).into_iter();
        names.iter().map(|name| name.is_some() && wanted.next().unwrap_or(true)).collect()
    }

    /// Those of `series` that may have a point for which all conditions are true.
    fn series<'a>(&self, mut series: Vec<SeriesRows<'a>>) -> Vec<SeriesRows<'a>> {
        let wanted = self.wants(series.iter().map(|series| series.key));
        retain(&mut series, Some(wanted));
        let keep = self.within_bounds(&Bounds(&series));
        retain(&mut series, keep);
        series
    }

    /// For each of `keys`, whether the conditions on ids can be true.
    #[expect(clippy::needless_pass_by_value, reason = "iterators are passed by value")]
    pub(crate) fn wants<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a SeriesKey> + Clone,
    ) -> Vec<bool> {
        let mut wanted = vec![true; keys.len()];
        if self.of_ids.is_empty() {
            return wanted;
        }
        let columns = std::array::from_fn::<_, 5, _>(|at| {
            let texts = keys.clone().map(|key| ids(key)[at].map(|id| &**id));
            Arc::new(texts.collect::<StringViewArray>()) as ArrayRef
        });
        let Ok(batch) = RecordBatch::try_new(ids_schema(), columns.to_vec()) else {
            return wanted;
        };
        for filter in &self.of_ids {
            let Some(answers) = answers(filter, &batch) else { continue };
            for (at, wanted) in wanted.iter_mut().enumerate() {
                *wanted &= answers.is_valid(at) && answers.value(at);
            }
        }
        wanted
    }

    fn within_bounds(&self, bounds: &impl PruningStatistics) -> Option<Vec<bool>> {
        // Bounds that cannot be asked leave out nothing.
        self.of_bounds.as_ref()?.prune(bounds).ok()
    }
}

/// What is left of `ranges` without `useless` ones; both are ascending and apart.
fn without<'a>(
    ranges: Vec<Range<u64>>,
    useless: impl Iterator<Item = &'a Range<u64>>,
) -> Vec<Range<u64>> {
    let mut left = Vec::with_capacity(ranges.len());
    let mut useless = useless.peekable();
    for mut rows in ranges {
        while rows.start < rows.end {
            while useless.next_if(|gone| gone.end <= rows.start).is_some() {}
            let gone = useless.peek().map_or(rows.end..rows.end, |gone| Range::clone(gone));
            if rows.start < gone.start {
                left.push(rows.start..rows.end.min(gone.start));
            }
            rows.start = gone.end.max(rows.start).min(rows.end);
        }
    }
    left
}

/// Ids as text, which is what conditions are asked of.
fn ids_schema() -> SchemaRef {
    let fields: Vec<_> =
        IDS.iter().map(|name| Field::new(*name, DataType::Utf8View, true)).collect();
    Arc::new(Schema::new(fields))
}

fn retain<T>(items: &mut Vec<T>, keep: Option<Vec<bool>>) {
    let Some(keep) = keep else { return };
    let mut keep = keep.into_iter();
    items.retain(|_| keep.next().unwrap_or(true));
}

/// What `filter` says to each row of `batch`.
fn answers(filter: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Option<BooleanArray> {
    let answers = filter.evaluate(batch).ok()?.into_array(batch.num_rows()).ok()?;
    answers.as_boolean_opt().cloned()
}

/// Leaves out segments that list their names of `column` where `filter`, which asks of nothing else, is true for none of
/// them: `metric like 'train/%'`. So the index of such a segment need not be read.
fn by_names(segments: &mut Vec<Arc<SegmentMeta>>, column: &str, filter: &Arc<dyn PhysicalExpr>) {
    let listed = |segment: &Arc<SegmentMeta>| match column {
        "metric" => segment.metrics.clone(),
        _ => segment.runs.clone(),
    };
    let lists: Vec<_> = segments.iter().map(listed).collect();
    let mut names: BTreeSet<&str> = lists.iter().flatten().flatten().map(String::as_str).collect();
    let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(&names));
    let columns = IDS.map(|name| match name {
        name if name == column => Arc::clone(&array),
        _ => new_null_array(&DataType::Utf8View, array.len()),
    });
    let batch = RecordBatch::try_new(ids_schema(), columns.to_vec());
    let Some(answers) = batch.ok().and_then(|batch| answers(filter, &batch)) else { return };
    let mut at = 0..;
    names.retain(|_| at.next().is_some_and(|at| answers.is_valid(at) && answers.value(at)));
    let keep = lists.iter().map(|list| {
        let some = |list: &Vec<String>| list.iter().any(|name| names.contains(name.as_str()));
        list.as_ref().is_none_or(some)
    });
    let keep = keep.collect();
    retain(segments, Some(keep));
}

/// What has bounds.
trait Bounded: Sized {
    /// For each of `all`, one end of what it holds in a column, where that is known.
    fn ends(all: &[Self], column: &Column, end: End) -> Option<ArrayRef>;
}

impl Bounded for Arc<SegmentMeta> {
    fn ends(all: &[Self], column: &Column, end: End) -> Option<ArrayRef> {
        let segments = all.iter();
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

/// Of the series of a segment ids are known, and steps.
impl Bounded for SeriesRows<'_> {
    fn ends(all: &[Self], column: &Column, end: End) -> Option<ArrayRef> {
        let series = all.iter();
        if column.name == "step" {
            let steps = series.map(|series| *end.of(&(series.first_step, series.last_step)));
            return Some(Arc::new(Int64Array::from_iter_values(steps)));
        }
        let at = IDS.iter().position(|name| *name == column.name)?;
        let texts = series.map(|series| ids(series.key)[at].map(|id| &**id));
        Some(Arc::new(texts.collect::<StringViewArray>()))
    }
}

/// Of a page of steps nothing else is known.
impl Bounded for StepPage {
    fn ends(all: &[Self], column: &Column, end: End) -> Option<ArrayRef> {
        let steps = || all.iter().map(|page| *end.of(&(page.least, page.greatest)));
        (column.name == "step").then(|| Arc::new(Int64Array::from_iter_values(steps())) as ArrayRef)
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

/// Bounds as DataFusion asks for them.
struct Bounds<'a, T>(&'a [T]);

impl<T: Bounded> PruningStatistics for Bounds<'_, T> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        T::ends(self.0, column, End::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        T::ends(self.0, column, End::Greatest)
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
    fn what_is_useless_is_left_out_of_ranges() {
        let left = |ranges: &[Range<u64>], useless: &[Range<u64>]| {
            without(ranges.to_vec(), useless.iter())
        };
        assert_eq!(left(&[0..10, 20..30], &[]), [0..10, 20..30]);
        assert_eq!(left(&[0..10, 20..30], &[2..4, 8..22, 25..40]), [0..2, 4..8, 22..25]);
        assert_eq!(left(&[0..10, 20..30], &[0..15, 15..100]), []);
        assert_eq!(left(&[5..10, 30..40], &[0..5, 10..20]), [5..10, 30..40]);
    }

    #[test]
    fn filters_that_contradict_each_other_want_nothing() {
        let filters = [col("metric").eq(lit("a")), col("metric").eq(lit("b"))];
        assert_eq!(filter(&filters).metrics, Some(Vec::new()));
        assert_eq!(filter(&filters).runs, None);
    }
}
