//! The attempt of a point: the place of its launch among the launches of its run.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{AsArray as _, Int64Builder},
    datatypes::DataType,
};
use datafusion::{
    common::Result,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use runlake_engine::RunInfo;

use super::Same;

/// `attempt(project, run_id, launch)`: the launch's place in its run, from 0; NULL where no fact tells of the launch.
/// It belongs to one snapshot, so no query can name it.
#[derive(Debug)]
pub(crate) struct Attempt {
    signature: Signature,
    /// The runs of an id; more than one where projects share it.
    runs: HashMap<Arc<str>, Vec<Arc<RunInfo>>>,
    infos: Arc<Vec<Arc<RunInfo>>>,
}

impl Attempt {
    pub(crate) fn new(infos: &Arc<Vec<Arc<RunInfo>>>) -> Self {
        let mut runs: HashMap<Arc<str>, Vec<Arc<RunInfo>>> = HashMap::with_capacity(infos.len());
        for info in infos.iter() {
            runs.entry(Arc::clone(&info.run_id)).or_default().push(Arc::clone(info));
        }
        Self {
            signature: Signature::exact(vec![DataType::Utf8View; 3], Volatility::Immutable),
            runs,
            infos: Arc::clone(infos),
        }
    }

    fn of(&self, project: &str, run_id: &str, launch: &str) -> Option<i64> {
        let run = self.runs.get(run_id)?.iter().find(|run| &*run.project == project)?;
        let place = run.launches.iter().position(|one| &**one == launch)?;
        i64::try_from(place).ok()
    }
}

// The runs of one snapshot are folded once: the same allocation is the same function.
impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.infos, &other.infos)
    }
}

impl Eq for Attempt {}

impl Hash for Attempt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.infos).hash(state);
    }
}

impl ScalarUDFImpl for Attempt {
    fn name(&self) -> &'static str {
        "attempt"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = [0, 1, 2].map(|at: usize| columns[at].as_string_view());
        let mut same = Same::new(texts);
        let mut attempts = Int64Builder::with_capacity(arguments.number_rows);
        let mut last = None;
        for row in 0..columns[0].len() {
            if !same.as_last(row) {
                last = match same.texts(row) {
                    [Some(project), Some(run_id), Some(launch)] => self.of(project, run_id, launch),
                    _ => None,
                };
            }
            attempts.append_option(last);
        }
        Ok(ColumnarValue::Array(Arc::new(attempts.finish())))
    }
}
