//! Which points count: a later launch hides earlier points of the same series from its first step on.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Filter, Points, Result, RunInfo, SegmentMeta, SeriesKey, deletion::RunKeys, segment};

/// For each series of an earlier launch, the step from which a later launch hides it; for each series of a deleted run, the
/// least step. Empty where every run has one launch and none is deleted, so that the common case costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    /// The first hidden step.
    pub(crate) from: FxHashMap<SeriesKey, i64>,
}

impl Hidden {
    /// True where nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// The first step of `series` that is hidden, where one is. Points at that step and after do not count.
    pub fn first_hidden_step(&self, series: &SeriesKey) -> Option<i64> {
        self.from.get(series).copied()
    }

    /// The series of which a part is hidden, in no order, each with its first hidden step.
    pub fn series(&self) -> impl Iterator<Item = (&SeriesKey, i64)> {
        self.from.iter().map(|(key, &step)| (key, step))
    }

    /// What is hidden of the series that `filter` wants. Reads the indexes of the segments; data pages only of files
    /// that somebody else wrote. `runs` is asked about runs of several launches only.
    pub(crate) fn of(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        runs: impl FnOnce(&Filter) -> Result<Arc<Vec<Arc<RunInfo>>>>,
        deleted: &RunKeys,
        filter: &Filter,
    ) -> Result<Self> {
        let spans = Span::all(segments, tail, filter)?;
        let several = of_several_launches(&spans);
        if several.is_empty() {
            return Ok(Self::default().with_deleted(&spans, deleted));
        }
        let ids = several.iter().map(|(_, run_id)| (*run_id).to_owned()).collect();
        let runs = runs(&Filter { runs: Some(ids), ..Filter::default() })?;
        let launches = runs.iter().map(|run| (&*run.project, &*run.run_id, &*run.launches));
        Ok(Self::of_spans(&spans, launches).with_deleted(&spans, deleted))
    }

    /// What is hidden of deleted runs alone, which is all of them.
    pub(crate) fn of_deleted(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        deleted: &RunKeys,
        filter: &Filter,
    ) -> Result<Self> {
        if deleted.is_empty() {
            return Ok(Self::default());
        }
        let spans = Span::all(segments, tail, filter)?;
        Ok(Self::default().with_deleted(&spans, deleted))
    }

    /// Hides all of the deleted runs besides.
    fn with_deleted(mut self, spans: &[Span], deleted: &RunKeys) -> Self {
        if deleted.is_empty() {
            return self;
        }
        for Span { key, .. } in spans {
            if deleted.contains(&(Arc::clone(&key.project), Arc::clone(&key.run_id))) {
                self.from.insert(key.clone(), i64::MIN);
            }
        }
        self
    }

    /// What is hidden, given the launches of each run (project, run_id), oldest first. A launch of which no fact is
    /// known comes before those, by name.
    pub(crate) fn of_spans<'a>(
        spans: &'a [Span],
        launches: impl Iterator<Item = (&'a str, &'a str, &'a [Arc<str>])>,
    ) -> Self {
        let several = of_several_launches(spans);
        let mut hidden = Self::default();
        if several.is_empty() {
            return hidden;
        }
        let places: FxHashMap<(&str, &str, &str), usize> = launches
            .filter(|(project, run_id, _)| several.contains(&(project, run_id)))
            .flat_map(|(project, run_id, launches)| {
                let launches = launches.iter().enumerate();
                launches.map(move |(place, launch)| ((project, run_id, &**launch), place))
            })
            .collect();
        let rank =
            |key: &SeriesKey| places.get(&(&*key.project, &*key.run_id, &*key.launch)).copied();
        let mut spans: Vec<_> = spans
            .iter()
            .filter(|span| several.contains(&run_of(&span.key)))
            .map(|span| (span, rank(&span.key)))
            .collect();
        // By series, then from the last launch to the first. No rank is less than any.
        spans.sort_by(|(a, a_rank), (b, b_rank)| {
            (series_of(&a.key).cmp(&series_of(&b.key)))
                .then_with(|| (b_rank, &b.key.launch).cmp(&(a_rank, &a.key.launch)))
        });
        for series in spans.chunk_by(|(a, _), (b, _)| series_of(&a.key) == series_of(&b.key)) {
            let mut from: Option<i64> = None;
            for parts in series.chunk_by(|(a, _), (b, _)| a.key.launch == b.key.launch) {
                let last = parts.iter().map(|(span, _)| span.last).max();
                if let (Some(from), Some(last)) = (from, last)
                    && from <= last
                {
                    hidden.from.insert(parts[0].0.key.clone(), from);
                }
                from = parts.iter().map(|(span, _)| span.first).chain(from).min();
            }
        }
        hidden
    }
}

/// The runs that several launches logged to.
fn of_several_launches(spans: &[Span]) -> FxHashSet<(&str, &str)> {
    let mut launch_of: FxHashMap<(&str, &str), &str> = FxHashMap::default();
    let mut several = FxHashSet::default();
    for Span { key, .. } in spans {
        if *launch_of.entry(run_of(key)).or_insert(&key.launch) != &*key.launch {
            several.insert(run_of(key));
        }
    }
    several
}

fn run_of(key: &SeriesKey) -> (&str, &str) {
    (&key.project, &key.run_id)
}

/// The series, whatever launch logged it.
fn series_of(key: &SeriesKey) -> (&str, &str, &str, Option<&str>) {
    (&key.project, &key.run_id, &key.metric, key.labels.as_deref())
}

/// The steps of one series of one launch, or of a part of it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    key: SeriesKey,
    first: i64,
    last: i64,
}

impl Span {
    /// The span that a row of an index tells of.
    pub(crate) fn of(row: &segment::IndexRow) -> Self {
        Self { key: row.key.clone(), first: row.summary.first.0, last: row.summary.last.0 }
    }

    /// The spans of the series that `filter` wants. Reads the indexes of the segments; data pages only of files that
    /// somebody else wrote.
    pub(crate) fn all(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        filter: &Filter,
    ) -> Result<Vec<Self>> {
        let chosen = filter.chosen();
        let mut spans = Vec::new();
        for segment in segments.iter().filter(|segment| filter.may_want(segment)) {
            let index = segment::read_index(segment)?;
            spans.extend(index.iter().filter(|row| chosen.wants(&row.key)).map(Self::of));
        }
        for points in tail {
            spans.extend(Self::of_points(points, filter));
        }
        Ok(spans)
    }

    fn of_points(points: &Points, filter: &Filter) -> Vec<Self> {
        let mut spans: Vec<Option<(i64, i64)>> = vec![None; points.keys.len()];
        for (&series, &step) in points.series.iter().zip(&points.steps) {
            let (first, last) = spans[series as usize].get_or_insert((step, step));
            *first = step.min(*first);
            *last = step.max(*last);
        }
        let chosen = filter.chosen();
        let spans = points.keys.iter().zip(spans).filter(|(key, _)| chosen.wants(key));
        spans
            .filter_map(|(key, span)| {
                span.map(|(first, last)| Self { key: key.clone(), first, last })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::key_of;

    fn spans(parts: &[(&str, &str, i64, i64)]) -> Vec<Span> {
        let span = |&(metric, launch, first, last): &(&str, &str, i64, i64)| Span {
            key: key_of("r", metric, None, launch),
            first,
            last,
        };
        parts.iter().map(span).collect()
    }

    fn hidden(parts: &[(&str, &str, i64, i64)], launches: &[&str]) -> Vec<(String, String, i64)> {
        let launches: Vec<Arc<str>> = launches.iter().map(|&launch| launch.into()).collect();
        let spans = spans(parts);
        let hidden = Hidden::of_spans(&spans, [("p", "r", &*launches)].into_iter());
        let mut hidden: Vec<_> = hidden
            .series()
            .map(|(key, from)| (key.metric.to_string(), key.launch.to_string(), from))
            .collect();
        hidden.sort();
        hidden
    }

    #[test]
    fn a_run_of_one_launch_hides_nothing() {
        assert_eq!(hidden(&[("loss", "a", 0, 9), ("loss", "a", 3, 12)], &["a"]), []);
    }

    #[test]
    fn a_resume_that_goes_on_where_it_stopped_hides_nothing() {
        assert_eq!(hidden(&[("loss", "a", 0, 9), ("loss", "b", 10, 20)], &["a", "b"]), []);
    }

    #[test]
    fn a_launch_that_went_back_hides_what_it_repeats_in_its_own_series_only() {
        let parts =
            [("loss", "a", 0, 9), ("acc", "a", 0, 9), ("loss", "b", 5, 20), ("acc", "b", 8, 8)];
        let expected =
            [("acc", 8), ("loss", 5)].map(|(m, from)| (m.to_owned(), "a".to_owned(), from));
        assert_eq!(hidden(&parts, &["a", "b"]), expected);
    }

    #[test]
    fn of_several_later_launches_the_one_that_went_back_furthest_decides() {
        let parts = [("x", "a", 0, 99), ("x", "b", 50, 99), ("x", "c", 30, 40), ("x", "c", 20, 25)];
        let expected = [("a", 20), ("b", 20)].map(|(l, from)| ("x".to_owned(), l.to_owned(), from));
        assert_eq!(hidden(&parts, &["a", "b", "c"]), expected);
    }

    #[test]
    fn a_launch_without_a_fact_comes_first_and_is_hidden_by_the_others() {
        let parts = [("x", "zz", 0, 9), ("x", "aa", 0, 9), ("x", "known", 4, 9)];
        let expected = [("aa", 0), ("zz", 4)].map(|(l, from)| ("x".to_owned(), l.to_owned(), from));
        assert_eq!(hidden(&parts, &["known"]), expected);
    }
}
