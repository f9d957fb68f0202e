//! Whether a point counts: not where a later launch hides it, and for a fork only as far as it shows its parent.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{AsArray as _, BooleanBuilder},
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    common::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use runlake_engine::{Hidden, SeriesKey};

use super::Same;

/// `counts(project, run_id, metric, labels, launch, step)`: false for a point that a later launch hides, whose run is deleted, or that a
/// fork does not show. It belongs to one snapshot, so no query can name it.
#[derive(Debug)]
pub(crate) struct Counts {
    signature: Signature,
    last: Arc<Steps>,
    /// The last step that counts of series that are not among those; none where none does.
    of_others: Option<i64>,
}

/// Series of each run, sorted, with the last step that counts; none where none does.
type Steps = HashMap<Arc<str>, Vec<(SeriesKey, Option<i64>)>>;

impl Counts {
    /// The columns that it takes.
    pub(crate) const COLUMNS: [&'static str; 6] =
        ["project", "run_id", "metric", "labels", "launch", "step"];

    /// The points that are not hidden.
    pub(crate) fn but(hidden: &Hidden) -> Self {
        let last = |(key, from): (&SeriesKey, i64)| (key.clone(), from.checked_sub(1));
        Self::new(hidden.series().map(last).collect(), Some(i64::MAX))
    }

    /// The points of `series`, each up to a step, and no others.
    pub(crate) fn only(series: &HashMap<SeriesKey, i64>) -> Self {
        let last = |(key, last): (&SeriesKey, &i64)| (key.clone(), Some(*last));
        Self::new(series.iter().map(last).collect(), None)
    }

    fn new(mut series: Vec<(SeriesKey, Option<i64>)>, of_others: Option<i64>) -> Self {
        series.sort_unstable_by(|(a, _), (b, _)| texts_of(a).cmp(&texts_of(b)));
        let mut last = Steps::new();
        for (key, step) in series {
            last.entry(Arc::clone(&key.run_id)).or_default().push((key, step));
        }
        let mut arguments = vec![DataType::Utf8View; 5];
        arguments.push(DataType::Int64);
        let signature = Signature::exact(arguments, Volatility::Immutable);
        Self { signature, last: Arc::new(last), of_others }
    }

    fn last_step(&self, texts: [Option<&str>; 5]) -> Option<i64> {
        let [Some(project), Some(run_id), Some(metric), labels, launch] = texts else {
            return self.of_others;
        };
        // Files that another program put into the table need not say the launch.
        let launch = launch.unwrap_or_default();
        let Some(series) = self.last.get(run_id) else { return self.of_others };
        let found = series
            .binary_search_by(|(key, _)| texts_of(key).cmp(&(project, metric, labels, launch)));
        found.map_or(self.of_others, |at| series[at].1)
    }
}

fn texts_of(key: &SeriesKey) -> (&str, &str, Option<&str>, &str) {
    (&key.project, &key.metric, key.labels.as_deref(), &key.launch)
}

// What counts was computed once for one scan: the same allocation is the same function.
impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.last, &other.last)
    }
}

impl Eq for Counts {}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.last).hash(state);
    }
}

impl ScalarUDFImpl for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = [0, 1, 2, 3, 4].map(|at: usize| columns[at].as_string_view());
        let steps = columns[5].as_primitive::<Int64Type>();
        let mut same = Same::new(texts);
        let mut counts = BooleanBuilder::with_capacity(arguments.number_rows);
        let mut last = None;
        for (row, &step) in steps.values().iter().enumerate() {
            if !same.as_last(row) {
                last = self.last_step(same.texts(row));
            }
            counts.append_value(last.is_some_and(|last| step <= last));
        }
        Ok(ColumnarValue::Array(Arc::new(counts.finish())))
    }
}
