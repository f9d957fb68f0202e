//! Runs as readers see them: the facts of a run, folded.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::{Definition, Error, Fact, FactKind, Result, deletion, json, log::owner::Liveness};

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// A living process writes to it.
    Running,
    /// It ended as it should.
    Finished,
    /// It ended with an exception or a non-zero exit code.
    Failed,
    /// It was told to stop.
    Killed,
    /// Its process ended without a word.
    Crashed,
    /// Its process is on another host and has not shown for a while that it lives.
    Unknown,
}

impl State {
    /// The text in SQL and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
            Self::Unknown => "unknown",
        }
    }
}

impl std::str::FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [
            Self::Running,
            Self::Finished,
            Self::Failed,
            Self::Killed,
            Self::Crashed,
            Self::Unknown,
        ];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| Error::Invalid {
            what: "state",
            detail: format!(
                "'{text}' is none of running, finished, failed, killed, crashed, unknown"
            ),
        })
    }
}

/// One run, its facts folded: the newest of each wins. Times are microseconds since 1970 (UTC).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunInfo {
    /// The project.
    pub project: Arc<str>,
    /// The id, unique in the project.
    pub run_id: Arc<str>,
    /// The name for people.
    pub name: Option<String>,
    /// The group.
    pub group_name: Option<String>,
    /// The type of job.
    pub job_type: Option<String>,
    /// What became of it.
    pub state: State,
    /// When it first started.
    pub created_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// When a process last showed that it lives.
    pub heartbeat_at: Option<i64>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Notes.
    pub notes: Option<String>,
    /// The host that started it.
    pub host: Option<String>,
    /// The user who started it.
    pub user_name: Option<String>,
    /// The program.
    pub program: Option<String>,
    /// The command line.
    pub command: Option<String>,
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The commit of the program's repository.
    pub git_commit: Option<String>,
    /// The remote of the program's repository.
    pub git_remote: Option<String>,
    /// The sweep that proposed it.
    pub sweep_id: Option<String>,
    /// The run of its project that it was forked from.
    pub parent_run_id: Option<String>,
    /// The last step that it shows of that run.
    pub fork_step: Option<i64>,
    /// The clock of that fork: launches of the parent that were first seen later are no part of it.
    pub(crate) forked_at: i64,
    /// Rows that could not be kept, all writers together.
    pub dropped_rows: u64,
    /// The configuration, nested as the user gave it.
    pub config: Map<String, Value>,
    /// The summary as far as the user set it; last values come from the series.
    pub summary: Map<String, Value>,
    /// What was defined of its metrics, sorted by name.
    pub metrics: Vec<Definition>,
    /// When it was deleted, where it is: readers see it in [`crate::Snapshot::deleted_runs`] only.
    pub deleted_at: Option<i64>,
    /// Whether it was deleted for good: the next compaction leaves it out.
    pub(crate) is_doomed: bool,
    /// The clock of its newest fact.
    pub(crate) clock: i64,
    /// The launches that wrote to it, oldest first. The attempt of a launch is its place here, from 0.
    pub launches: Vec<Arc<str>>,
    /// When each of them was first seen.
    pub(crate) launched_at: Vec<i64>,
    /// Which of these launches went back, by their place there, and the last step that each kept of what was there.
    pub rewinds: Vec<(usize, i64)>,
}

/// The launches of a run, and which of them went back: see [`RunInfo`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Launches<'a> {
    pub(crate) names: &'a [Arc<str>],
    pub(crate) rewinds: &'a [(usize, i64)],
}

impl RunInfo {
    pub(crate) fn launches(&self) -> Launches<'_> {
        Launches { names: &self.launches, rewinds: &self.rewinds }
    }

    /// Seconds from the start to the end, or to the last sign of life.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a century fit 53 bits")]
    pub fn duration_s(&self) -> Option<f64> {
        let end = self.finished_at.or(self.heartbeat_at)?;
        Some(end.saturating_sub(self.created_at?) as f64 / 1e6)
    }
}

/// Folds facts, in any order, into runs, newest first. `liveness` and `heartbeat` tell of a writer by its id.
pub(crate) fn fold<'a>(
    facts: impl Iterator<Item = &'a Fact>,
    liveness: impl Fn(&str) -> Liveness,
    heartbeat: impl Fn(&str) -> Option<i64>,
) -> Vec<Arc<RunInfo>> {
    let mut runs: FxHashMap<(&str, &str), Folding<'a>> = FxHashMap::default();
    for fact in facts {
        runs.entry((&fact.project, &fact.run_id)).or_insert_with(|| Folding::new(fact)).take(fact);
    }
    let mut runs: Vec<_> =
        runs.into_values().map(|run| Arc::new(run.finish(&liveness, &heartbeat))).collect();
    runs.sort_by(|a, b| {
        b.created_at
            .cmp(&a.created_at)
            .then_with(|| (&a.project, &a.run_id).cmp(&(&b.project, &b.run_id)))
    });
    runs
}

/// The facts of one run while they are folded.
struct Folding<'a> {
    one: &'a Fact,
    newest: FxHashMap<(&'a FactKind, &'a str), &'a Fact>,
    /// The first fact of each launch: launches count in the order in which they were first seen.
    launches: FxHashMap<&'a str, &'a Fact>,
    /// The first word about where the run comes from.
    fork: Option<&'a Fact>,
}

impl<'a> Folding<'a> {
    fn new(one: &'a Fact) -> Self {
        Self { one, newest: FxHashMap::default(), launches: FxHashMap::default(), fork: None }
    }

    fn take(&mut self, fact: &'a Fact) {
        let newest = self.newest.entry((&fact.kind, &fact.key)).or_insert(fact);
        // A count only grows, and the header of a log file says it without a clock of its own.
        let newer = match fact.kind {
            FactKind::Dropped => count(newest) < count(fact),
            _ => newest.cmp_age(fact).is_lt(),
        };
        if newer {
            *newest = fact;
        }
        if fact.kind == FactKind::Launch {
            let first = self.launches.entry(&fact.key).or_insert(fact);
            if fact.cmp_age(first).is_lt() {
                *first = fact;
            }
        }
        if fact.kind == FactKind::Fork && self.fork.is_none_or(|first| fact.cmp_age(first).is_lt())
        {
            self.fork = Some(fact);
        }
    }

    fn finish(
        self,
        liveness: &impl Fn(&str) -> Liveness,
        heartbeat: &impl Fn(&str) -> Option<i64>,
    ) -> RunInfo {
        let value = |kind: &FactKind, key: &str| -> Option<Value> {
            json::parse(self.newest.get(&(kind, key))?.value.as_deref()?)
        };
        let text = |key: &str| match value(&FactKind::Run, key)? {
            Value::String(text) => Some(text),
            _ => None,
        };
        let number = |key: &str| value(&FactKind::Run, key).as_ref().and_then(Value::as_i64);
        let mut launches: Vec<&Fact> = self.launches.values().copied().collect();
        launches.sort_by(|a, b| a.cmp_age(b));
        let launched_at = launches.iter().map(|launch| launch.hlc).collect();
        let launches: Vec<Arc<str>> =
            launches.iter().map(|launch| Arc::clone(&launch.key)).collect();
        let rewind = |(place, launch): (usize, &Arc<str>)| {
            Some((place, value(&FactKind::Rewind, launch)?.as_i64()?))
        };
        let rewinds = launches.iter().enumerate().filter_map(rewind).collect();
        let fork = self.fork.and_then(|fact| Some((fact, fact.value.as_deref()?.parse().ok()?)));
        let (mut config, mut summary) = (Map::new(), Map::new());
        let (mut tags, mut metrics, mut dropped_rows) = (Vec::new(), Vec::new(), 0);
        let mut states = Vec::new();
        let mut sorted: Vec<&Fact> = self.newest.values().copied().collect();
        // Keys in the order in which they were said, as the user wrote them.
        sorted.sort_by(|a, b| a.cmp_age(b));
        for fact in sorted {
            let Some(value) = fact.value.as_deref().and_then(json::parse) else {
                continue;
            };
            match fact.kind {
                FactKind::Config => drop(config.insert(fact.key.to_string(), value)),
                FactKind::Summary => drop(summary.insert(fact.key.to_string(), value)),
                FactKind::Metric => metrics.push(Definition::from_json(&fact.key, &value)),
                FactKind::Tag => tags.push(fact.key.to_string()),
                FactKind::Dropped => dropped_rows += count(fact),
                FactKind::State => states.push((fact, value)),
                FactKind::Run
                | FactKind::Launch
                | FactKind::Rewind
                | FactKind::Fork
                | FactKind::Other(_) => {}
            }
        }
        tags.sort_unstable();
        metrics.sort_unstable_by(|a, b| a.metric.cmp(&b.metric));
        let (state, finished_at) = state(&states, liveness);
        let heartbeat_at = states.iter().filter_map(|(fact, _)| heartbeat(&fact.key)).max();
        let last_word = self.newest.values().map(|fact| fact.hlc).max();
        let word = self.newest.get(&(&FactKind::Run, Fact::DELETED));
        let launched = self.launches.values().map(|launch| launch.hlc);
        let deleted_at = word.and_then(|word| deletion::deleted_at(word, launched));
        RunInfo {
            project: Arc::clone(&self.one.project),
            run_id: Arc::clone(&self.one.run_id),
            name: text("name").or_else(|| Some(name_of(&self.one.run_id))),
            group_name: text("group_name"),
            job_type: text("job_type"),
            state,
            created_at: number("created_at")
                .or_else(|| self.launches.values().map(|launch| launch.hlc).min()),
            finished_at: number("finished_at").or(finished_at),
            heartbeat_at: heartbeat_at.max(last_word),
            tags,
            notes: text("notes"),
            host: text("host"),
            user_name: text("user_name"),
            program: text("program"),
            command: text("command"),
            exit_code: number("exit_code").and_then(|code| i32::try_from(code).ok()),
            git_commit: text("git_commit"),
            git_remote: text("git_remote"),
            sweep_id: text("sweep_id"),
            parent_run_id: fork.map(|(fact, _)| fact.key.to_string()),
            fork_step: fork.map(|(_, step)| step),
            forked_at: fork.map_or(0, |(fact, _)| fact.hlc),
            dropped_rows,
            config,
            summary,
            metrics,
            deleted_at,
            is_doomed: text(Fact::DELETED).as_deref() == Some(deletion::FOR_GOOD),
            clock: last_word.unwrap_or(0),
            launches,
            launched_at,
            rewinds,
        }
    }
}

/// The writers that say what became of a run.
pub(crate) fn writers(facts: &[Fact]) -> impl Iterator<Item = &Arc<str>> {
    facts.iter().filter(|fact| fact.kind == FactKind::State).map(|fact| &fact.key)
}

/// The number that a fact says; 0 where it says none.
fn count(fact: &Fact) -> u64 {
    fact.value.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What became of a run, given the last word of each of its writers: it runs while one that said so lives; else the
/// newest word counts. Where that is "running", it has crashed, unless a writer that said so may still live.
fn state(words: &[(&Fact, Value)], liveness: impl Fn(&str) -> Liveness) -> (State, Option<i64>) {
    let running = |word: &Value| word.as_str() == Some(State::Running.as_str());
    let open: Vec<Liveness> = words
        .iter()
        .filter(|(_, word)| running(word))
        .map(|(fact, _)| liveness(&fact.key))
        .collect();
    if open.contains(&Liveness::Alive) {
        return (State::Running, None);
    }
    let Some((fact, word)) = words.iter().max_by(|(a, _), (b, _)| a.cmp_age(b)) else {
        return (State::Unknown, None);
    };
    if !running(word) {
        let state = word.as_str().and_then(|word| word.parse().ok()).unwrap_or(State::Unknown);
        return (state, Some(fact.hlc));
    }
    let state = if open.contains(&Liveness::Silent) { State::Unknown } else { State::Crashed };
    (state, None)
}

/// The run that `name` means among `runs` (newest first): an id, a name, a unique prefix of an id, `project/x`, `@last`,
/// `@last-1`.
pub(crate) fn find(runs: &[Arc<RunInfo>], name: &str) -> Result<Arc<RunInfo>> {
    if let Some(back) = name.strip_prefix("@last") {
        let back = match back.strip_prefix('-') {
            Some(number) => number.parse().ok(),
            None => back.is_empty().then_some(0_usize),
        };
        if let Some(run) = back.and_then(|back| runs.get(back)) {
            return Ok(Arc::clone(run));
        }
        return Err(unknown(runs, name));
    }
    let within = |project: Option<&str>, name: &str| -> Option<Vec<&Arc<RunInfo>>> {
        let runs =
            || runs.iter().filter(|run| project.is_none_or(|project| &*run.project == project));
        let by: [&dyn Fn(&RunInfo) -> bool; 3] =
            [&|run| &*run.run_id == name, &|run| run.name.as_deref() == Some(name), &|run| {
                !name.is_empty() && run.run_id.starts_with(name)
            }];
        by.iter()
            .map(|by| runs().filter(|run| by(run)).collect::<Vec<_>>())
            .find(|found| !found.is_empty())
    };
    // Ids and names may hold slashes themselves, so the whole text is tried first.
    let found = within(None, name).or_else(|| {
        let (project, rest) = name.split_once('/')?;
        within(Some(project), rest)
    });
    match found.as_deref() {
        Some([run]) => Ok(Arc::clone(run)),
        Some(several) => Err(Error::Unknown {
            kind: "run",
            name: name.to_owned(),
            candidates: several
                .iter()
                .take(10)
                .map(|run| format!("{}/{}", run.project, run.run_id))
                .collect(),
            ambiguous: true,
        }),
        None => Err(unknown(runs, name)),
    }
}

fn unknown(runs: &[Arc<RunInfo>], name: &str) -> Error {
    let distance = |run: &RunInfo| {
        let of = |text: &str| strsim::damerau_levenshtein(text, name);
        of(&run.run_id).min(run.name.as_deref().map_or(usize::MAX, of))
    };
    let mut near: Vec<(usize, &Arc<RunInfo>)> =
        runs.iter().take(2000).map(|run| (distance(run), run)).collect();
    near.sort_by_key(|(distance, _)| *distance);
    let close = name.chars().count().div_ceil(3).max(1);
    let candidates = near
        .iter()
        .take_while(|(distance, _)| *distance <= close)
        .take(3)
        .map(|(_, run)| run.name.clone().unwrap_or_else(|| run.run_id.to_string()))
        .collect();
    Error::Unknown { kind: "run", name: name.to_owned(), candidates, ambiguous: false }
}

/// A readable name that follows from the id of a run, such as "calm-otter-17", for runs that were given none.
pub(crate) fn name_of(run_id: &str) -> String {
    let words = petname::Petnames::default();
    let hash = u64::from(crc32c::crc32c(run_id.as_bytes())) << 32
        | u64::from(crc32c::crc32c_append(1, run_id.as_bytes()));
    let pick = |words: &[&str], hash: u64| {
        let place = usize::try_from(hash % words.len().max(1) as u64).unwrap_or_default();
        words.get(place).copied().unwrap_or("run").to_owned()
    };
    let adjective = pick(&words.adjectives, hash >> 8);
    let noun = pick(&words.nouns, hash >> 24);
    format!("{adjective}-{noun}-{}", hash % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_and_follow_from_the_id() {
        assert_eq!(name_of("abc"), name_of("abc"));
        assert_ne!(name_of("abc"), name_of("abd"));
        assert_eq!(name_of("abc").split('-').count(), 3);
    }
}
