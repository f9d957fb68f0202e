//! What is known of a whole series without looking at its points.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Filter, Heir, Hidden, Inherited, Points, Result, SegmentMeta, SeriesKey, UNKNOWN_TIME,
    effective::Span,
    runs::Launches,
    segment::{self, IndexRow, IndexRows, Summary},
};

/// About how many rows of indexes are folded at once.
const PIECE_ROWS: usize = 8 << 10;

/// One series over its effective points. `first` and `last` are by step, ties to the latest logged, the bits as
/// logged, NaN included; `min`, `max` and `mean` are over finite values and `None` where there are none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SeriesInfo {
    /// The project.
    pub project: Arc<str>,
    /// The run.
    pub run_id: Arc<str>,
    /// The metric.
    pub metric: Arc<str>,
    /// Labels as canonical JSON.
    pub labels: Option<Arc<str>>,
    /// Points.
    pub count: u64,
    /// Points that are NaN.
    pub nan_count: u64,
    /// Points that are infinite.
    pub inf_count: u64,
    /// The least step.
    pub first_step: i64,
    /// The greatest step.
    pub last_step: i64,
    /// The value at the least step.
    pub first_value: f64,
    /// The value at the greatest step.
    pub last_value: f64,
    /// The finite value at the greatest step that has one.
    pub last_finite_value: Option<f64>,
    /// The least finite value.
    pub min_value: Option<f64>,
    /// The first step that has it.
    pub min_step: Option<i64>,
    /// The greatest finite value.
    pub max_value: Option<f64>,
    /// The first step that has it.
    pub max_step: Option<i64>,
    /// The mean of the finite values.
    pub mean_value: Option<f64>,
    /// The time of the last value, in microseconds since 1970 (UTC).
    pub last_time: Option<i64>,
}

impl SeriesInfo {
    /// The series that `filter` wants, sorted, over the points that `hidden` leaves and those that are `inherited`. `segments` are in
    /// the order of their commits, and the tail was logged after them. Reads indexes; data pages only of series into which hiding
    /// or a fork cuts, and of files that somebody else wrote.
    pub(crate) fn of(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        hidden: &Hidden,
        inherited: &Inherited,
        filter: &Filter,
    ) -> Result<Vec<Self>> {
        let chosen = filter.chosen();
        let mut fold = Fold::default();
        for segment in segments.iter().filter(|segment| filter.may_want(segment)) {
            let index = segment::read_index(segment)?;
            fold.add_rows(segment, index.iter().filter(|row| chosen.wants(&row.key)), hidden)?;
        }
        for points in tail {
            fold.add_points(points, hidden, filter);
        }
        if !inherited.is_empty() {
            let stored = inherited.filter();
            for segment in segments.iter().filter(|segment| stored.may_want(segment)) {
                fold.add_inherited_rows(segment, &segment::read_index(segment)?, inherited)?;
            }
            for points in tail {
                fold.add_inherited_points(points, |key| inherited.heirs(key).iter().collect());
            }
        }
        Ok(fold.series())
    }

    /// All series of segments of one project, in the order of their commits, but those that `skips` names: sorted, over their
    /// effective points, piece by piece, so that memory does not grow with how many there are. `launches` are those of a run,
    /// oldest first. `take` says whether to go on.
    pub(crate) fn stream<'a>(
        segments: &[Arc<SegmentMeta>],
        skips: &dyn Fn(&SeriesKey) -> bool,
        launches: &dyn Fn(&str) -> Launches<'a>,
        take: &mut dyn FnMut(Vec<Self>) -> Result<bool>,
    ) -> Result<()> {
        let mut indexes: Vec<IndexRows> =
            segments.iter().map(|segment| IndexRows::of(segment)).collect::<Result<_>>()?;
        // The next series of each segment, with what its points there add up to.
        let mut waiting: BinaryHeap<Reverse<(SeriesKey, usize)>> = BinaryHeap::new();
        let mut rows: Vec<Option<IndexRow>> = vec![None; indexes.len()];
        for at in 0..indexes.len() {
            if let Some(row) = indexes[at].next().transpose()? {
                waiting.push(Reverse((row.key.clone(), at)));
                rows[at] = Some(row);
            }
        }
        // Rows of whole series, each with its segment.
        let mut piece: Vec<(usize, IndexRow)> = Vec::new();
        while let Some(Reverse((key, at))) = waiting.pop() {
            let is_new = piece.last().is_some_and(|(_, last)| !is_same_series(&last.key, &key));
            if is_new
                && piece.len() >= PIECE_ROWS
                && !take(Self::of_piece(segments, &mut piece, launches)?)?
            {
                return Ok(());
            }
            if let Some(row) = rows[at].take().filter(|_| !skips(&key)) {
                piece.push((at, row));
            }
            if let Some(row) = indexes[at].next().transpose()? {
                waiting.push(Reverse((row.key.clone(), at)));
                rows[at] = Some(row);
            }
        }
        if !piece.is_empty() {
            take(Self::of_piece(segments, &mut piece, launches)?)?;
        }
        Ok(())
    }

    /// The series of a piece, which is empty afterwards.
    fn of_piece<'a>(
        segments: &[Arc<SegmentMeta>],
        piece: &mut Vec<(usize, IndexRow)>,
        launches: &dyn Fn(&str) -> Launches<'a>,
    ) -> Result<Vec<Self>> {
        let spans: Vec<Span> = piece.iter().map(|(_, row)| Span::of(row)).collect();
        let runs = piece.chunk_by(|(_, a), (_, b)| a.key.run_id == b.key.run_id);
        let runs = runs
            .filter_map(|rows| rows.first())
            .map(|(_, IndexRow { key, .. })| (&*key.project, &*key.run_id, launches(&key.run_id)));
        let hidden = Hidden::of_spans(&spans, runs);
        // As they were logged: a later segment says what came last.
        piece.sort_by_key(|(at, _)| *at);
        let mut fold = Fold::default();
        for rows in piece.chunk_by(|(a, _), (b, _)| a == b) {
            let Some(&(at, _)) = rows.first() else { continue };
            fold.add_rows(&segments[at], rows.iter().map(|(_, row)| row), &hidden)?;
        }
        piece.clear();
        Ok(fold.series())
    }

    fn new((project, run_id, metric, labels): &Key, summary: &Summary) -> Self {
        let finite = summary.count - summary.nan_count - summary.inf_count;
        Self {
            project: Arc::clone(project),
            run_id: Arc::clone(run_id),
            metric: Arc::clone(metric),
            labels: labels.clone(),
            count: summary.count,
            nan_count: summary.nan_count,
            inf_count: summary.inf_count,
            first_step: summary.first.0,
            last_step: summary.last.0,
            first_value: summary.first.1,
            last_value: summary.last.1,
            last_finite_value: summary.last_finite.map(|(_, value)| value),
            min_value: summary.min.map(|(_, value)| value),
            min_step: summary.min.map(|(step, _)| step),
            max_value: summary.max.map(|(_, value)| value),
            max_step: summary.max.map(|(step, _)| step),
            mean_value: (finite > 0).then(|| summary.sum / finite as f64),
            last_time: (summary.last_time != UNKNOWN_TIME).then_some(summary.last_time),
        }
    }
}

/// Whether only the launch differs.
fn is_same_series(a: &SeriesKey, b: &SeriesKey) -> bool {
    (&a.project, &a.run_id, &a.metric, &a.labels) == (&b.project, &b.run_id, &b.metric, &b.labels)
}

/// A series, whatever launch logged it.
type Key = (Arc<str>, Arc<str>, Arc<str>, Option<Arc<str>>);

/// Summaries that grow by what was logged later.
#[derive(Default)]
struct Fold(FxHashMap<Key, Summary>);

impl Fold {
    fn add(&mut self, key: &SeriesKey, later: Summary) {
        let key = (
            Arc::clone(&key.project),
            Arc::clone(&key.run_id),
            Arc::clone(&key.metric),
            key.labels.clone(),
        );
        self.0.entry(key).and_modify(|summary| *summary = summary.merge(later)).or_insert(later);
    }

    /// Adds rows of the index of a segment; reads points of series into which hiding cuts.
    fn add_rows<'a>(
        &mut self,
        segment: &SegmentMeta,
        rows: impl Iterator<Item = &'a IndexRow>,
        hidden: &Hidden,
    ) -> Result<()> {
        let mut cut: FxHashSet<&SeriesKey> = FxHashSet::default();
        for IndexRow { key, summary, .. } in rows {
            match hidden.first_hidden_step(key) {
                Some(from) if from <= summary.first.0 => {}
                // Points that have expired cannot be told apart any more: all of them count.
                Some(from) if from <= summary.last.0 && !segment.is_expired() => {
                    cut.insert(key);
                }
                _ => self.add(key, *summary),
            }
        }
        if cut.is_empty() {
            return Ok(());
        }
        let points = segment::read_series(segment, |key| cut.contains(key))?;
        self.add_points(&points, hidden, &Filter::default());
        Ok(())
    }

    /// Adds what is inherited of the rows of the index of a segment; reads points of series into which a fork cuts.
    fn add_inherited_rows(
        &mut self,
        segment: &SegmentMeta,
        rows: &[IndexRow],
        inherited: &Inherited,
    ) -> Result<()> {
        let mut cut: FxHashMap<&SeriesKey, Vec<&Heir>> = FxHashMap::default();
        for IndexRow { key, summary, .. } in rows {
            for heir in inherited.heirs(key) {
                if summary.last.0 <= heir.last {
                    self.add(&heir.name(key), *summary);
                // Of points that have expired nobody knows which were logged before the fork.
                } else if summary.first.0 <= heir.last && !segment.is_expired() {
                    cut.entry(key).or_default().push(heir);
                }
            }
        }
        if !cut.is_empty() {
            let points = segment::read_series(segment, |key| cut.contains_key(key))?;
            self.add_inherited_points(&points, |key| cut.get(key).cloned().unwrap_or_default());
        }
        Ok(())
    }

    /// Adds what is inherited of points, each series to those of its heirs.
    fn add_inherited_points<'a>(
        &mut self,
        points: &Points,
        heirs: impl Fn(&SeriesKey) -> Vec<&'a Heir>,
    ) {
        let mut summaries: Vec<Vec<(&Heir, Option<Summary>)>> = points
            .keys
            .iter()
            .map(|key| heirs(key).into_iter().map(|heir| (heir, None)).collect())
            .collect();
        for (row, &series) in points.series.iter().enumerate() {
            let (step, time, value) = (points.steps[row], points.times[row], points.values[row]);
            for (_, summary) in
                summaries[series as usize].iter_mut().filter(|(heir, _)| step <= heir.last)
            {
                match summary {
                    Some(summary) => summary.push(step, time, value),
                    none => *none = Some(Summary::of(step, time, value)),
                }
            }
        }
        for (key, summaries) in points.keys.iter().zip(summaries) {
            for (heir, summary) in summaries {
                if let Some(summary) = summary {
                    self.add(&heir.name(key), summary);
                }
            }
        }
    }

    /// The series, sorted.
    fn series(&self) -> Vec<SeriesInfo> {
        let infos = self.0.iter().map(|(key, summary)| SeriesInfo::new(key, summary));
        let mut series: Vec<_> = infos.collect();
        series.sort_by(|a, b| {
            (&a.project, &a.run_id, &a.metric, &a.labels)
                .cmp(&(&b.project, &b.run_id, &b.metric, &b.labels))
        });
        series
    }

    fn add_points(&mut self, points: &Points, hidden: &Hidden, filter: &Filter) {
        let chosen = filter.chosen();
        // Steps below this count; no step of a series that is not wanted does.
        let below: Vec<Option<i64>> = points
            .keys
            .iter()
            .map(|key| match hidden.first_hidden_step(key) {
                _ if !chosen.wants(key) => Some(i64::MIN),
                from => from,
            })
            .collect();
        let mut summaries: Vec<Option<Summary>> = vec![None; points.keys.len()];
        for (row, &series) in points.series.iter().enumerate() {
            let (step, time, value) = (points.steps[row], points.times[row], points.values[row]);
            if below[series as usize].is_some_and(|below| step >= below) {
                continue;
            }
            match &mut summaries[series as usize] {
                Some(summary) => summary.push(step, time, value),
                none => *none = Some(Summary::of(step, time, value)),
            }
        }
        for (key, summary) in points.keys.iter().zip(summaries) {
            if let Some(summary) = summary {
                self.add(key, summary);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        SeriesIndex,
        segment::tests::{any_points, rows_of, segment_of},
    };

    type Row = (SeriesKey, i64, i64, u64);

    /// By hand and slowly, from the definition: rows in the order of logging, launches oldest first.
    fn model(
        rows: &[Row],
        launches: &[Arc<str>],
        rewinds: &[(usize, i64)],
    ) -> BTreeMap<Key, Vec<(i64, i64, f64)>> {
        let place = |launch: &str| launches.iter().position(|known| &**known == launch);
        let rank = |key: &SeriesKey| (place(&key.launch), Arc::clone(&key.launch));
        let series = |key: &SeriesKey| {
            let SeriesKey { project, run_id, metric, labels, .. } = key.clone();
            (project, run_id, metric, labels)
        };
        let mut effective: BTreeMap<Key, Vec<_>> = BTreeMap::new();
        for (key, step, time, bits) in rows {
            let hidden = rows.iter().any(|(later, first, ..)| {
                series(later) == series(key) && rank(later) > rank(key) && first <= step
            });
            let rewound = rewinds
                .iter()
                .any(|(later, kept)| Some(*later) > place(&key.launch) && kept < step);
            if !hidden && !rewound {
                let point = (*step, *time, f64::from_bits(*bits));
                effective.entry(series(key)).or_default().push(point);
            }
        }
        effective
    }

    /// Everything but the sum, which depends on the order of adding; NaN by its bits.
    fn text(info: &SeriesInfo) -> String {
        let bits = [info.first_value.to_bits(), info.last_value.to_bits()];
        format!("{bits:x?} {:?}", SeriesInfo { mean_value: None, ..info.clone() })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_series_is_what_its_effective_points_add_up_to(
            logged in any_points(120),
            cuts in proptest::collection::vec(0..120_usize, 3),
            order in Just(["one", "two", "three"].map(Arc::<str>::from).to_vec()).prop_shuffle(),
            known in 0..4_usize,
            rewinds in proptest::collection::vec((0..3_usize, -3..12_i64), 0..2),
        ) {
            let launches = &order[..known];
            let rewinds: Vec<_> = rewinds.into_iter().filter(|(place, _)| *place < known).collect();
            let table = tempfile::tempdir().unwrap();
            // The first parts become segments, the last ones stay in the tail.
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(logged.len())).collect();
            cuts.extend([0, logged.len()]);
            cuts.sort_unstable();
            let part = |from: usize, to: usize| {
                let (mut points, mut index) = (Points::default(), SeriesIndex::default());
                for (key, step, time, bits) in rows_of(&logged)[from..to].iter().cloned() {
                    let series = index.intern(&mut points, key);
                    points.push(series, step, time, f64::from_bits(bits));
                }
                points
            };
            let parts: Vec<Points> = cuts.windows(2).map(|cut| part(cut[0], cut[1])).collect();
            let (flushed, tail) = parts.split_at(2);
            let segments: Vec<_> = flushed
                .iter()
                .filter(|points| !points.is_empty())
                .map(|points| Arc::new(segment_of(table.path(), &points.clone().sort(), 0)))
                .collect();
            let tail: Vec<_> = tail.iter().cloned().map(Arc::new).collect();

            let filter = Filter { metrics: Some(vec!["loss".to_owned()]), ..Filter::default() };
            for filter in [Filter::default(), filter] {
                let spans = Span::all(&segments, &tail, &filter).unwrap();
                let runs = ["a", "run-b", "zoë"].map(|run| {
                    ("p", run, Launches { names: launches, rewinds: &rewinds })
                });
                let hidden = Hidden::of_spans(&spans, runs.into_iter());
                let none = Inherited::default();
                let series =
                    SeriesInfo::of(&segments, &tail, &hidden, &none, &filter).unwrap();

                let mut rows = rows_of(&logged);
                rows.retain(|(key, ..)| filter.wants(key));
                for (key, step, ..) in &rows {
                    let from = hidden.first_hidden_step(key);
                    let shown = from.is_none_or(|from| *step < from);
                    let expected = model(&rows, launches, &rewinds);
                    let SeriesKey { project, run_id, metric, labels, .. } = key.clone();
                    let points = expected.get(&(project, run_id, metric, labels));
                    prop_assert!(!shown || points.is_some_and(|all| all.iter().any(|p| p.0 == *step)));
                }
                let expected: Vec<_> = model(&rows, launches, &rewinds)
                    .iter()
                    .map(|(key, points)| {
                        let summary = Summary::of_points(points.iter().copied()).unwrap();
                        SeriesInfo::new(key, &summary)
                    })
                    .collect();
                let texts = |series: &[SeriesInfo]| series.iter().map(text).collect::<Vec<_>>();
                prop_assert_eq!(texts(&series), texts(&expected));
                for (info, expected) in series.iter().zip(&expected) {
                    let (Some(mean), Some(expected)) = (info.mean_value, expected.mean_value) else {
                        prop_assert_eq!(info.mean_value.is_some(), expected.mean_value.is_some());
                        continue;
                    };
                    // Huge values of both signs may overflow on the way in one order and not in another.
                    let close = (mean - expected).abs() <= 1e-9 * expected.abs().max(1e300);
                    prop_assert!(close || !mean.is_finite() || !expected.is_finite());
                }
            }
        }
    }
}
