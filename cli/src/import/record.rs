//! One line of a table of points, whatever file it stands in.

use std::path::Path;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::failure::Failure;

/// The columns of a table that are read, by name.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) run: String,
    pub(super) metric: String,
    pub(super) step: String,
    pub(super) value: String,
    pub(super) time: Option<String>,
    pub(super) config: Vec<String>,
}

/// One line: a point, or none where its value is empty.
pub(super) struct Record<'a> {
    pub(super) run: &'a str,
    pub(super) metric: &'a str,
    pub(super) step: i64,
    /// Microseconds since 1970 (UTC), where it is known.
    pub(super) time: Option<i64>,
    pub(super) value: Option<f64>,
    /// The cells of the config columns.
    pub(super) config: &'a dyn ConfigCells,
}

/// The cells of the config columns of one line, by their place in [`Columns::config`].
pub(super) trait ConfigCells {
    /// The cell as text; empty where it is null. Equal cells have equal texts.
    fn text(&self, at: usize) -> &str;
    /// The cell as a value of the configuration.
    fn value(&self, at: usize) -> Value;
}

/// What a reader does with each line.
pub(super) type EachRecord<'a> = &'a mut dyn FnMut(&Record<'_>) -> Result<(), Failure>;

/// A file that holds a table of points and can be read from its start any number of times.
pub(super) trait Source {
    /// The file.
    fn path(&self) -> &Path;
    /// The bytes that `progress` counts up to.
    fn bytes(&self) -> u64;
    /// Hands each line to `each`, in the order of the file. Stops at the first cell that makes no sense.
    fn read(
        &self,
        columns: &Columns,
        progress: &ProgressBar,
        each: EachRecord<'_>,
    ) -> Result<(), Failure>;
}
