//! Which series a reader wants.

use rustc_hash::FxHashSet;

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
        self.chosen().wants(series)
    }

    /// The same, made to be asked about many series.
    pub(crate) fn chosen(&self) -> Chosen<'_> {
        fn set(names: Option<&Vec<String>>) -> Option<FxHashSet<&str>> {
            Some(names?.iter().map(String::as_str).collect())
        }
        Chosen {
            projects: set(self.projects.as_ref()),
            runs: set(self.runs.as_ref()),
            metrics: set(self.metrics.as_ref()),
        }
    }
}

/// A [`Filter`] that takes as long for a thousand names as for one.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    projects: Option<FxHashSet<&'a str>>,
    runs: Option<FxHashSet<&'a str>>,
    metrics: Option<FxHashSet<&'a str>>,
}

impl Chosen<'_> {
    /// True where `series` is wanted.
    pub(crate) fn wants(&self, series: &SeriesKey) -> bool {
        within(self.metrics.as_ref(), &series.metric)
            && self.wants_run(&series.project, &series.run_id)
    }

    /// True where a series of this run may be wanted.
    pub(crate) fn wants_run(&self, project: &str, run_id: &str) -> bool {
        within(self.runs.as_ref(), run_id) && within(self.projects.as_ref(), project)
    }
}

fn within(names: Option<&FxHashSet<&str>>, name: &str) -> bool {
    names.is_none_or(|names| names.contains(name))
}
