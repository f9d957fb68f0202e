//! Which points count: a later launch hides earlier points of the same series from its first step on, and, where it went back to
//! a step, of all series of the run behind that step.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Fact, FactKind, Filter, Points, Result, RunInfo, SegmentMeta, SeriesKey, deletion::RunKeys,
    runs::Launches, segment,
};

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
    /// that somebody else wrote. `runs` is asked about runs of several launches, and those that are `rewound`, only.
    pub(crate) fn of(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        runs: impl FnOnce(&Filter) -> Result<Arc<Vec<Arc<RunInfo>>>>,
        rewound: &RunKeys,
        deleted: &RunKeys,
        filter: &Filter,
    ) -> Result<Self> {
        let spans = Span::all(segments, tail, filter)?;
        let mut asked = of_several_launches(&spans);
        asked.extend(rewound.iter().map(|(project, run_id)| (&**project, &**run_id)));
        if asked.is_empty() {
            return Ok(Self::default().with_deleted(&spans, deleted));
        }
        let ids = asked.iter().map(|(_, run_id)| (*run_id).to_owned()).collect();
        let runs = runs(&Filter { runs: Some(ids), ..Filter::default() })?;
        let launches = runs.iter().map(|run| (&*run.project, &*run.run_id, run.launches()));
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
        launches: impl Iterator<Item = (&'a str, &'a str, Launches<'a>)>,
    ) -> Self {
        let mut several = of_several_launches(spans);
        let mut hidden = Self::default();
        let mut places: FxHashMap<(&str, &str, &str), usize> = FxHashMap::default();
        let mut rewinds: FxHashMap<(&str, &str), &[(usize, i64)]> = FxHashMap::default();
        for (project, run_id, launches) in launches {
            if !launches.rewinds.is_empty() {
                several.insert((project, run_id));
                rewinds.insert((project, run_id), launches.rewinds);
            }
            if several.contains(&(project, run_id)) {
                let names = launches.names.iter().enumerate();
                places.extend(names.map(|(place, launch)| ((project, run_id, &**launch), place)));
            }
        }
        if several.is_empty() {
            return hidden;
        }
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
            let rewinds = rewinds.get(&run_of(&series[0].0.key)).copied().unwrap_or_default();
            // The first step of a later launch.
            let mut from: Option<i64> = None;
            for parts in series.chunk_by(|(a, _), (b, _)| a.key.launch == b.key.launch) {
                let last = parts.iter().map(|(span, _)| span.last).max();
                let later = rewinds.iter().filter(|(place, _)| Some(*place) > parts[0].1);
                // Behind the greatest step there is none.
                let kept = later.map(|(_, kept)| *kept).min().and_then(|kept| kept.checked_add(1));
                if let (Some(from), Some(last)) = (from.into_iter().chain(kept).min(), last)
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

/// The runs of which a fact of this kind is known: those that `filter` wants, and maybe others. Reads the segments of facts that
/// tell of it, as `tells` knows; `facts_of` reads one.
pub(crate) fn runs_with(
    kind: &FactKind,
    tells: impl Fn(&SegmentMeta) -> bool,
    segments: &[Arc<SegmentMeta>],
    tail: &[Arc<Vec<Fact>>],
    filter: &Filter,
    facts_of: impl Fn(&SegmentMeta) -> Result<Arc<Vec<Fact>>>,
) -> Result<RunKeys> {
    let mut runs = RunKeys::default();
    let mut see = |facts: &[Fact]| {
        let told = facts.iter().filter(|fact| fact.kind == *kind);
        runs.extend(told.map(|fact| (Arc::clone(&fact.project), Arc::clone(&fact.run_id))));
    };
    for meta in segments.iter().filter(|meta| tells(meta) && filter.may_want(meta)) {
        see(&facts_of(meta)?);
    }
    for facts in tail {
        see(facts);
    }
    Ok(runs)
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
    pub(crate) key: SeriesKey,
    pub(crate) first: i64,
    pub(crate) last: i64,
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
        hidden_behind(parts, launches, &[])
    }

    fn hidden_behind(
        parts: &[(&str, &str, i64, i64)],
        launches: &[&str],
        rewinds: &[(usize, i64)],
    ) -> Vec<(String, String, i64)> {
        let launches: Vec<Arc<str>> = launches.iter().map(|&launch| launch.into()).collect();
        let spans = spans(parts);
        let launches = Launches { names: &launches, rewinds };
        let hidden = Hidden::of_spans(&spans, [("p", "r", launches)].into_iter());
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
    fn a_launch_that_was_told_where_to_go_back_to_hides_what_is_behind_that_step_in_all_series() {
        // The launch `c` went back to step 6, and logs to one series only.
        let parts = [
            ("loss", "a", 0, 9),
            ("loss", "b", 8, 20),
            ("loss", "c", 9, 30),
            ("acc", "a", 0, 6),
            ("acc", "b", 7, 7),
            ("lr", "old", 0, 7),
        ];
        let own = |m: &str, l: &str, from| (m.to_owned(), l.to_owned(), from);
        let expected =
            [own("acc", "b", 7), own("loss", "a", 7), own("loss", "b", 7), own("lr", "old", 7)];
        assert_eq!(hidden_behind(&parts, &["a", "b", "c"], &[(2, 6)]), expected);
        // What comes later hides by its own first step again, and what the launch itself logged counts.
        let later = [("loss", "a", 0, 9), ("loss", "c", 3, 30), ("loss", "d", 31, 40)];
        assert_eq!(hidden_behind(&later, &["a", "c", "d"], &[(1, 2)]), [own("loss", "a", 3)]);
        // A launch that has logged nothing yet has gone back all the same.
        assert_eq!(hidden_behind(&parts[..1], &["a", "b"], &[(1, -1)]), [own("loss", "a", 0)]);
        assert_eq!(hidden_behind(&parts[..1], &["a", "b"], &[(1, i64::MAX)]), []);
    }

    #[test]
    fn a_launch_without_a_fact_comes_first_and_is_hidden_by_the_others() {
        let parts = [("x", "zz", 0, 9), ("x", "aa", 0, 9), ("x", "known", 4, 9)];
        let expected = [("aa", 0), ("zz", 4)].map(|(l, from)| ("x".to_owned(), l.to_owned(), from));
        assert_eq!(hidden(&parts, &["known"]), expected);
    }
}
