//! The two tables that the engine writes.

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// Every point ever logged.
    Points,
    /// What was said about runs.
    Facts,
}

impl TableKind {
    /// Its folder in `tables/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Facts => "facts",
        }
    }

    /// Its columns and their Delta types, in the order of the files.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Points => &[
                ("project", "string"),
                ("run_id", "string"),
                ("metric", "string"),
                ("labels", "string"),
                ("launch", "string"),
                ("step", "long"),
                ("time", "timestamp"),
                ("value", "double"),
            ],
            Self::Facts => &[
                ("project", "string"),
                ("run_id", "string"),
                ("kind", "string"),
                ("key", "string"),
                ("value", "string"),
                ("launch", "string"),
                ("hlc", "long"),
                ("writer", "string"),
                ("position", "long"),
            ],
        }
    }

    /// Its schema as Delta writes it. All columns may be null, so that a later version can leave one out.
    pub(super) fn schema_string(self) -> String {
        let fields = self.columns().iter().map(|(name, kind)| {
            serde_json::json!({ "name": name, "type": kind, "nullable": true, "metadata": {} })
        });
        let fields: Vec<_> = fields.collect();
        serde_json::json!({ "type": "struct", "fields": fields }).to_string()
    }
}
