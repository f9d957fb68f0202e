//! Whether a point counts, or a later launch hides it.

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

/// `counts(project, run_id, metric, labels, launch, step)`: false for a point that a later launch hides, or whose run is deleted. It belongs to
/// one snapshot, so no query can name it.
#[derive(Debug)]
pub(crate) struct Counts {
    signature: Signature,
    hidden: Arc<Steps>,
}

/// The series of each run of which a part is hidden, sorted, with the first hidden step.
type Steps = HashMap<Arc<str>, Vec<(SeriesKey, i64)>>;

impl Counts {
    /// The columns that it takes.
    pub(crate) const COLUMNS: [&'static str; 6] =
        ["project", "run_id", "metric", "labels", "launch", "step"];

    pub(crate) fn new(hidden: &Hidden) -> Self {
        let mut series: Vec<_> = hidden.series().collect();
        series.sort_unstable_by(|(a, _), (b, _)| texts_of(a).cmp(&texts_of(b)));
        let mut steps = Steps::new();
        for (key, step) in series {
            steps.entry(Arc::clone(&key.run_id)).or_default().push((key.clone(), step));
        }
        let mut arguments = vec![DataType::Utf8View; 5];
        arguments.push(DataType::Int64);
        Self {
            signature: Signature::exact(arguments, Volatility::Immutable),
            hidden: Arc::new(steps),
        }
    }

    fn first_hidden_step(&self, texts: [Option<&str>; 5]) -> Option<i64> {
        let [Some(project), Some(run_id), Some(metric), labels, launch] = texts else {
            return None;
        };
        // Files that another program put into the table need not say the launch.
        let launch = launch.unwrap_or_default();
        let series = self.hidden.get(run_id)?;
        let at = series
            .binary_search_by(|(key, _)| texts_of(key).cmp(&(project, metric, labels, launch)))
            .ok()?;
        Some(series[at].1)
    }
}

fn texts_of(key: &SeriesKey) -> (&str, &str, Option<&str>, &str) {
    (&key.project, &key.metric, key.labels.as_deref(), &key.launch)
}

// What is hidden was computed once for one scan: the same allocation is the same function.
impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hidden, &other.hidden)
    }
}

impl Eq for Counts {}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.hidden).hash(state);
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
        let mut from = None;
        for (row, &step) in steps.values().iter().enumerate() {
            if !same.as_last(row) {
                from = self.first_hidden_step(same.texts(row));
            }
            counts.append_value(from.is_none_or(|from| step < from));
        }
        Ok(ColumnarValue::Array(Arc::new(counts.finish())))
    }
}
