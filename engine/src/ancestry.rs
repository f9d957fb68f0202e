//! Forks: a run that starts from a step of another one, and shows what that logged up to there as its own without copying it.
//!
//! ```text
//! parent           | launch a ------ 40 ------ 70 |
//!                            | launch b -- 40 ------------ 90 |       went back to 20
//!                                          :       | launch c --- |   began after the fork
//! forked at 40     . a up to 19, b to 40 . | launch d ------------------- 120 |
//! ```
//!
//! So a fork is a launch that went back, as in [`crate::effective`], to launches of another run: those that had begun by then. What the
//! parent does later changes nothing of it, but what is deleted or gone from the lake is gone from here too.

use std::{collections::BTreeSet, iter, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    Filter, Hidden, Points, Result, RunInfo, SegmentMeta, SeriesKey, deletion::RunKeys,
    effective::Span, runs::Launches,
};

/// So many runs, each forked from the next one, are followed at most.
const MOST_GENERATIONS: usize = 1000;

/// For each stored series that a fork shows, the forks that do. Empty where no run that is asked for is a fork, so that the
/// common case costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    heirs: FxHashMap<SeriesKey, Vec<Heir>>,
}

/// A run that shows a series of another run as its own. Both are of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heir {
    /// The run that shows it.
    pub run_id: Arc<str>,
    /// The last step that it shows.
    pub last: i64,
}

impl Heir {
    /// The series as this run shows it.
    pub fn name(&self, stored: &SeriesKey) -> SeriesKey {
        SeriesKey { run_id: Arc::clone(&self.run_id), ..stored.clone() }
    }
}

impl Inherited {
    /// True where nothing is inherited.
    pub fn is_empty(&self) -> bool {
        self.heirs.is_empty()
    }

    /// The runs that show the series `stored`, which is of another run.
    pub fn heirs(&self, stored: &SeriesKey) -> &[Heir] {
        self.heirs.get(stored).map_or(&[], Vec::as_slice)
    }

    /// The stored series that are shown, in no order, each with the runs that do.
    pub fn series(&self) -> impl Iterator<Item = (&SeriesKey, &[Heir])> {
        self.heirs.iter().map(|(key, heirs)| (key, heirs.as_slice()))
    }

    /// What is shown and stored: the runs and metrics whose series these are, and maybe others.
    pub fn filter(&self) -> Filter {
        let names = |pick: fn(&SeriesKey) -> &Arc<str>| {
            let names: BTreeSet<&str> = self.heirs.keys().map(|key| &**pick(key)).collect();
            Some(names.into_iter().map(str::to_owned).collect())
        };
        Filter {
            projects: names(|key| &key.project),
            runs: names(|key| &key.run_id),
            metrics: names(|key| &key.metric),
        }
    }

    /// What the runs `forks` show of their ancestors, of the metrics that `filter` wants; `known` are all runs of their projects. Reads
    /// the indexes of the segments; data pages only of files that somebody else wrote.
    pub(crate) fn of(
        segments: &[Arc<SegmentMeta>],
        tail: &[Arc<Points>],
        known: &[Arc<RunInfo>],
        forks: &RunKeys,
        filter: &Filter,
    ) -> Result<Self> {
        let known = by_id(known);
        let forks = forks.iter().filter_map(|(project, run)| known.get(&(&**project, &**run)));
        let lines: Vec<_> =
            forks.map(|run| lineage(run, &known).0).filter(|line| line.len() > 1).collect();
        let mut inherited = Self::default();
        if lines.is_empty() {
            return Ok(inherited);
        }
        let involved = lines.iter().flatten().map(|it| (&*it.run.project, &*it.run.run_id));
        let (projects, runs): (BTreeSet<_>, BTreeSet<_>) = involved.unzip();
        let owned = |names: BTreeSet<&str>| Some(names.into_iter().map(str::to_owned).collect());
        let metrics = filter.metrics.clone();
        let stored = Filter { projects: owned(projects), runs: owned(runs), metrics };
        let spans = Span::all(segments, tail, &stored)?;
        let mut of_run: FxHashMap<(&str, &str), Vec<&Span>> = FxHashMap::default();
        for span in &spans {
            of_run.entry((&span.key.project, &span.key.run_id)).or_default().push(span);
        }
        for line in &lines {
            inherited.add(line, &of_run);
        }
        Ok(inherited)
    }

    /// What the first run of a line shows of the others, by the rule for the launches of one run: those of all generations stand one
    /// after the other, the oldest first, and each fork is a launch that went back to its step.
    fn add(&mut self, line: &[Generation<'_>], spans_of: &FxHashMap<(&str, &str), Vec<&Span>>) {
        let heir = line[0].run;
        let (mut names, mut rewinds, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        // The stored series behind each of the spans, and the last step that a fork shows of its run; none for those of the heir
        // itself.
        let mut stored: FxHashMap<SeriesKey, (&SeriesKey, i64)> = FxHashMap::default();
        for (age, Generation { run, launches, last }) in line.iter().enumerate().rev() {
            // Launches of several generations may bear one name.
            let name = |launch: &str| -> Arc<str> { format!("{age} {launch}").into() };
            if let Some(step) = run.fork_step {
                rewinds.push((names.len(), step));
                names.push(name(""));
            }
            let (begun, later) = run.launches.split_at(*launches);
            let later: FxHashSet<&str> = later.iter().map(|launch| &**launch).collect();
            let known: FxHashSet<&str> = begun.iter().map(|launch| &**launch).collect();
            let all = spans_of.get(&(&*run.project, &*run.run_id)).map_or(&[][..], Vec::as_slice);
            let shown = |span: &&&Span| span.first <= *last && !later.contains(&*span.key.launch);
            let mut unknown = BTreeSet::new();
            for span in all.iter().filter(shown) {
                let launch = &*span.key.launch;
                if !known.contains(launch) {
                    unknown.insert(launch);
                }
                let run_id = Arc::clone(&heir.run_id);
                let key = SeriesKey { run_id, launch: name(launch), ..span.key.clone() };
                if age > 0 {
                    stored.insert(key.clone(), (&span.key, *last));
                }
                spans.push(Span { key, ..(*span).clone() });
            }
            // As in one run, launches of which no fact is known come before the others, by name.
            names.extend(unknown.into_iter().map(name));
            let gone_back = run.rewinds.iter().filter(|(place, _)| place < launches);
            rewinds.extend(gone_back.map(|(place, kept)| (names.len() + place, *kept)));
            names.extend(begun.iter().map(|launch| name(launch)));
        }
        let launches = Launches { names: &names, rewinds: &rewinds };
        let run = iter::once((&*heir.project, &*heir.run_id, launches));
        let hidden = Hidden::of_spans(&spans, run);
        let mut firsts: FxHashMap<&SeriesKey, i64> = FxHashMap::default();
        for Span { key, first, .. } in &spans {
            firsts.entry(key).and_modify(|least| *least = (*least).min(*first)).or_insert(*first);
        }
        #[expect(clippy::iter_over_hash_type, reason = "each is a series of its own")]
        for (key, (stored, most)) in &stored {
            // Spans behind the step of the fork were left out above, and hide nothing.
            let last = match hidden.first_hidden_step(key) {
                Some(from) if firsts.get(key).is_some_and(|first| from <= *first) => continue,
                Some(from) => (from - 1).min(*most),
                None => *most,
            };
            let heir = Heir { run_id: Arc::clone(&heir.run_id), last };
            self.heirs.entry((*stored).clone()).or_default().push(heir);
        }
    }
}

/// A run as those see it that descend from it.
#[derive(Debug, Clone, Copy)]
struct Generation<'a> {
    run: &'a RunInfo,
    /// How many of its launches had begun when the next generation was forked from it.
    launches: usize,
    /// No descendant shows a step behind this one.
    last: i64,
}

/// Where a line ends.
#[derive(Debug)]
enum End<'a> {
    /// At a run that is no fork.
    Root,
    /// At a fork of a run that is not there.
    Lost { fork: &'a RunInfo, parent: &'a str },
    /// At a run that is forked from one of its own descendants; only lakes that were put together by hand hold such runs.
    Circle,
    /// At so many generations that nobody goes on.
    Deep,
}

type ById<'a> = FxHashMap<(&'a str, &'a str), &'a RunInfo>;

fn by_id(runs: &[Arc<RunInfo>]) -> ById<'_> {
    runs.iter().map(|run| ((&*run.project, &*run.run_id), &**run)).collect()
}

/// A run, the run that it was forked from, the one that this was forked from, and so on.
fn lineage<'a>(run: &'a RunInfo, known: &ById<'a>) -> (Vec<Generation<'a>>, End<'a>) {
    let mut line = vec![Generation { run, launches: run.launches.len(), last: i64::MAX }];
    let mut seen = FxHashSet::from_iter([&*run.run_id]);
    let (mut fork, mut last) = (run, i64::MAX);
    while let Some((parent, step)) = fork.parent_run_id.as_deref().zip(fork.fork_step) {
        let Some(run) = known.get(&(&*fork.project, parent)).copied() else {
            return (line, End::Lost { fork, parent });
        };
        if !seen.insert(&run.run_id) {
            return (line, End::Circle);
        }
        if line.len() == MOST_GENERATIONS {
            return (line, End::Deep);
        }
        last = step.min(last);
        let launches = run.launched_at.partition_point(|at| *at <= fork.forked_at);
        line.push(Generation { run, launches, last });
        fork = run;
    }
    (line, End::Root)
}

/// What is missing of the ancestors of `runs`, one line for each fork whose own parent that is about.
pub(crate) fn lost(runs: &[Arc<RunInfo>], deleted: &[Arc<RunInfo>]) -> Vec<String> {
    let (known, deleted) = (by_id(runs), by_id(deleted));
    let line = |run: &Arc<RunInfo>| {
        let RunInfo { project, run_id, .. } = &**run;
        match lineage(run, &known).1 {
            End::Lost { fork, parent } if fork.run_id == *run_id => {
                let step = run.fork_step.unwrap_or_default();
                let is_deleted = deleted.contains_key(&(&**project, parent));
                let what = if is_deleted { "is deleted" } else { "is not in this lake" };
                Some(format!(
                    "run {project}/{run_id} was forked from run {parent} at step {step}, which {what}: it shows no point of it"
                ))
            }
            End::Circle => Some(format!(
                "run {project}/{run_id} descends from runs that were forked from one another: it shows each of them once"
            )),
            End::Deep => Some(format!(
                "run {project}/{run_id} is the last of more than {MOST_GENERATIONS} forks: it shows nothing of those before"
            )),
            End::Lost { .. } | End::Root => None,
        }
    };
    runs.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fact, FactKind, log::owner::Liveness, runs};

    /// The runs `r0`, `r1` and so on; each pair says, one after the other, that a run was forked from another one.
    fn runs_of(forks: &[(usize, usize)]) -> Vec<Arc<RunInfo>> {
        let name = |run: usize| Arc::<str>::from(format!("r{run}"));
        let fact = |run, kind, key, value: &str, hlc| Fact {
            project: "p".into(),
            run_id: name(run),
            kind,
            key,
            value: Some(value.into()),
            launch: "l".into(),
            hlc,
            writer: "w".into(),
            position: hlc,
        };
        let fork = |(at, (run, parent)): (i64, &(usize, usize))| {
            [
                fact(*run, FactKind::Fork, name(*parent), "5", 2 * at),
                fact(*run, FactKind::Launch, "l".into(), "true", 2 * at + 1),
            ]
        };
        let facts: Vec<Fact> = (0..).zip(forks).flat_map(fork).collect();
        runs::fold(facts.iter(), |_| Liveness::Silent, |_| None)
    }

    fn generations(runs: &[Arc<RunInfo>], run_id: &str) -> usize {
        let known = by_id(runs);
        lineage(known[&("p", run_id)], &known).0.len()
    }

    #[test]
    fn runs_that_were_forked_from_one_another_show_each_once_and_say_so() {
        let runs = runs_of(&[(0, 2), (1, 0), (2, 1), (3, 1)]);
        assert_eq!(generations(&runs, "r0"), 3);
        assert_eq!(generations(&runs, "r3"), 4);
        let said = lost(&runs, &[]);
        assert_eq!(said.len(), 4);
        assert!(said.iter().all(|line| line.contains("from one another")), "{said:?}");
    }

    #[test]
    fn very_many_generations_are_followed_so_far_and_the_rest_is_said() {
        let forks: Vec<_> = (0..=MOST_GENERATIONS).map(|run| (run + 1, run)).collect();
        let runs = runs_of(&forks);
        let said = lost(&runs, &[]);
        // The first run is no run at all, and the last one descends from one more than are followed.
        assert_eq!(said.len(), 2, "{said:?}");
        let last = format!("r{}", MOST_GENERATIONS + 1);
        assert_eq!(generations(&runs, &last), MOST_GENERATIONS);
        assert_eq!(generations(&runs, "r3"), 3);
    }

    #[test]
    fn the_first_word_about_where_a_run_comes_from_counts() {
        let runs = runs_of(&[(4, 3), (4, 2)]);
        assert_eq!((runs[0].parent_run_id.as_deref(), runs[0].fork_step), (Some("r3"), Some(5)));
        assert_eq!(
            lost(&runs, &[]),
            [
                "run p/r4 was forked from run r3 at step 5, which is not in this lake: it shows no point of it"
            ]
        );
    }
}
