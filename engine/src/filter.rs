//! Which series a reader wants.

use crate::SeriesKey;

/// Which series a reader wants. `None` wants all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Projects.
    pub projects: Option<Vec<String>>,
    /// Run ids.
    pub runs: Option<Vec<String>>,
    /// Metrics.
    pub metrics: Option<Vec<String>>,
}

impl Filter {
    /// True where `series` is wanted.
    pub fn wants(&self, series: &SeriesKey) -> bool {
        let within = |names: &Option<Vec<String>>, name: &str| {
            names.as_ref().is_none_or(|names| names.iter().any(|one| one == name))
        };
        within(&self.projects, &series.project)
            && within(&self.runs, &series.run_id)
            && within(&self.metrics, &series.metric)
    }
}
