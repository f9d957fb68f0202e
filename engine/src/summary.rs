//! The summary of a run: what its series add up to, and what the user said in their place.

use serde_json::{Map, Value};

use crate::{
    Definition, RunInfo, SeriesInfo,
    definition::{Aggregate, Goal},
    json::{self, SYSTEM},
};

/// The summary of `run`, each series by its name: the last value, or what was defined of the metric, as
/// `{"max": 0.9}`. What the user said of a key takes its place. Metrics of the machine are left out.
pub fn summary<'a>(
    series: impl Iterator<Item = &'a SeriesInfo> + Clone,
    run: &RunInfo,
) -> Map<String, Value> {
    let series = series.filter(|series| !series.metric.starts_with(SYSTEM));
    let names = json::column_names(
        series.clone().map(|series| (&*series.metric, series.labels.as_deref())),
        &[],
    );
    let mut summary = Map::new();
    for (name, series) in names.into_iter().zip(series) {
        let defined = Definition::of(&run.metrics, &series.metric);
        match defined.and_then(|one| Some((one, one.summary.as_ref()?))) {
            None => drop(summary.insert(name, json::json_number(series.last_value))),
            Some((_, words)) if words.is_empty() => {}
            Some((one, words)) => {
                let value = |&word| (word_of(word), aggregate(series, word, one.goal));
                summary.insert(name, Value::Object(words.iter().map(value).collect()));
            }
        }
    }
    summary.extend(run.summary.iter().map(|(key, value)| (key.clone(), value.clone())));
    summary
}

fn word_of(word: Aggregate) -> String {
    word.as_str().to_owned()
}

/// One value that a series adds up to; null where it has no finite value to be it.
fn aggregate(series: &SeriesInfo, word: Aggregate, goal: Option<Goal>) -> Value {
    let value = match (word, goal) {
        (Aggregate::Max, _) | (Aggregate::Best, Some(Goal::Maximize)) => series.max_value,
        (Aggregate::Min | Aggregate::Best, _) => series.min_value,
        (Aggregate::Mean, _) => series.mean_value,
        (Aggregate::First, _) => Some(series.first_value),
        (Aggregate::Last, _) => Some(series.last_value),
    };
    value.map_or(Value::Null, json::json_number)
}
