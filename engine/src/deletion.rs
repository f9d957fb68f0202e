//! Deleted runs: hidden at once, restorable for a week, then left out when files are rewritten.
//!
//! That a run is deleted is a fact like any other: an attribute `deleted` of the run, which can be taken back. A launch that
//! is first seen later takes it back too: who resumes a deleted run wants it. Only segments of facts that hold such an
//! attribute are asked, so that a lake without deleted runs pays nothing.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Fact, FactKind, Filter, Result, SegmentMeta};

/// The value of the attribute of a run that can be restored, and of one that the next compaction leaves out.
pub(crate) const RESTORABLE: &str = "restorable";
pub(crate) const FOR_GOOD: &str = "for good";

/// How long a deleted run can be restored, in microseconds.
pub(crate) const GRACE_US: i64 = 7 * 24 * 3600 * 1_000_000;

/// Project and id of runs.
pub(crate) type RunKeys = FxHashSet<(Arc<str>, Arc<str>)>;

/// When the run was deleted, if it is: `word` is the newest fact that [tells](Fact::tells_of_deletion) of it, and no launch was first seen later.
pub(crate) fn deleted_at(word: &Fact, launches: impl Iterator<Item = i64>) -> Option<i64> {
    word.value.as_ref()?;
    launches.max().is_none_or(|launched| launched < word.hlc).then_some(word.hlc)
}

/// The deleted runs among those that `filter` wants. `facts_of` reads a segment of facts.
pub(crate) fn deleted(
    segments: &[Arc<SegmentMeta>],
    tail: &[Arc<Vec<Fact>>],
    filter: &Filter,
    facts_of: impl Fn(&SegmentMeta) -> Result<Arc<Vec<Fact>>>,
) -> Result<RunKeys> {
    let key = |fact: &Fact| (Arc::clone(&fact.project), Arc::clone(&fact.run_id));
    let mut words: FxHashMap<_, Fact> = FxHashMap::default();
    let mut hear = |fact: &Fact| {
        let newest = words.entry(key(fact)).or_insert_with(|| fact.clone());
        if newest.cmp_age(fact).is_lt() {
            *newest = fact.clone();
        }
    };
    for meta in segments.iter().filter(|meta| meta.tells_of_deletion && filter.may_want(meta)) {
        facts_of(meta)?.iter().filter(|fact| fact.tells_of_deletion()).for_each(&mut hear);
    }
    tail.iter()
        .flat_map(|facts| facts.iter())
        .filter(|fact| fact.tells_of_deletion())
        .for_each(&mut hear);
    words.retain(|_, word| word.value.is_some());
    if words.is_empty() {
        return Ok(RunKeys::default());
    }
    // A launch is first seen where the oldest fact about it stands.
    let mut launches: FxHashMap<_, FxHashMap<Arc<str>, i64>> = FxHashMap::default();
    let mut see = |fact: &Fact| {
        let run = key(fact);
        if fact.kind == FactKind::Launch && words.contains_key(&run) {
            let seen = launches.entry(run).or_default();
            let first = seen.entry(Arc::clone(&fact.key)).or_insert(fact.hlc);
            *first = fact.hlc.min(*first);
        }
    };
    let ids = words.keys().map(|(_, run_id)| run_id.to_string()).collect();
    let about = Filter { runs: Some(ids), ..Filter::default() };
    for meta in segments.iter().filter(|meta| about.may_want(meta)) {
        facts_of(meta)?.iter().for_each(&mut see);
    }
    tail.iter().flat_map(|facts| facts.iter()).for_each(&mut see);
    let is_deleted = |(run, word): &(&(Arc<str>, Arc<str>), &Fact)| {
        let launches = launches.get(*run).into_iter().flat_map(|seen| seen.values().copied());
        deleted_at(word, launches).is_some()
    };
    Ok(words.iter().filter(is_deleted).map(|(run, _)| run.clone()).collect())
}
