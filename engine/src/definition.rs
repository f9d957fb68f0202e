//! What was defined of a metric: what its summary is, which metric is its x axis, whether more of it is better.

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// What is said of a metric, or of all metrics that a pattern matches; see [`crate::Run::define_metric`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Definition {
    /// A name of a metric, or a pattern, in which `*` stands for any text.
    pub metric: String,
    /// The metric whose values are the x axis of this one.
    pub step_metric: Option<String>,
    /// What the summary of a run holds of the metric. `None` where nothing is said of it; nothing where it is empty.
    pub summary: Option<Vec<Aggregate>>,
    /// Which of two values is the better one.
    pub goal: Option<Goal>,
    /// Whether charts that nobody asked for should leave it out.
    pub hidden: bool,
}

/// What a series is summed up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The least finite value.
    Min,
    /// The greatest finite value.
    Max,
    /// The mean of the finite values.
    Mean,
    /// The value at the least step.
    First,
    /// The value at the greatest step.
    Last,
    /// The greatest finite value where the goal is to maximize, else the least one.
    Best,
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The lesser.
    Minimize,
    /// The greater.
    Maximize,
}

impl Aggregate {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::First => "first",
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

impl std::str::FromStr for Aggregate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Min, Self::Max, Self::Mean, Self::First, Self::Last, Self::Best];
        all.into_iter().find(|word| word.as_str() == text).ok_or_else(|| Error::Invalid {
            what: "summary",
            detail: format!("'{text}' is none of min, max, mean, first, last, best"),
        })
    }
}

impl Goal {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimize => "minimize",
            Self::Maximize => "maximize",
        }
    }
}

impl std::str::FromStr for Goal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Minimize, Self::Maximize];
        all.into_iter().find(|goal| goal.as_str() == text).ok_or_else(|| Error::Invalid {
            what: "goal",
            detail: format!("'{text}' is none of minimize, maximize"),
        })
    }
}

impl Definition {
    /// Nothing said of `metric` yet.
    pub fn new(metric: &str) -> Self {
        Self { metric: metric.to_owned(), ..Self::default() }
    }

    /// The one of `all` that counts for `metric`: its own, else that of the longest pattern that matches.
    pub fn of<'a>(all: &'a [Self], metric: &str) -> Option<&'a Self> {
        all.iter().find(|one| one.metric == metric).or_else(|| {
            all.iter()
                .filter(|one| matches(&one.metric, metric))
                .max_by_key(|one| (one.metric.len(), &one.metric))
        })
    }

    /// As the value of a fact, whose key is the metric.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if let Some(step_metric) = &self.step_metric {
            map.insert("step_metric".to_owned(), step_metric.as_str().into());
        }
        if let Some(summary) = &self.summary {
            let words: Vec<_> = summary.iter().map(|word| word.as_str()).collect();
            map.insert("summary".to_owned(), json!(words));
        }
        if let Some(goal) = self.goal {
            map.insert("goal".to_owned(), goal.as_str().into());
        }
        if self.hidden {
            map.insert("hidden".to_owned(), true.into());
        }
        Value::Object(map)
    }

    /// From the key and the value of a fact. Words that a later version wrote are left out.
    pub(crate) fn from_json(metric: &str, value: &Value) -> Self {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let words = value.get("summary").and_then(Value::as_array);
        Self {
            metric: metric.to_owned(),
            step_metric: text("step_metric").map(str::to_owned),
            summary: words
                .map(|words| words.iter().filter_map(|word| word.as_str()?.parse().ok()).collect()),
            goal: text("goal").and_then(|goal| goal.parse().ok()),
            hidden: value.get("hidden") == Some(&Value::Bool(true)),
        }
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    // The first place of each part leaves the most for those that follow.
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn its_own_definition_counts_before_the_longest_pattern() {
        let all = ["*", "train/*", "train/*/loss", "train/a/loss"].map(Definition::new);
        for (metric, counts) in [
            ("train/a/loss", "train/a/loss"),
            ("train/b/loss", "train/*/loss"),
            ("train/b/acc", "train/*"),
            ("eval", "*"),
        ] {
            assert_eq!(Definition::of(&all, metric).unwrap().metric, counts);
        }
        assert_eq!(Definition::of(&all[1..], "eval"), None);
    }

    #[test]
    fn a_definition_survives_its_fact() {
        let all = Definition {
            metric: "acc".to_owned(),
            step_metric: Some("epoch".to_owned()),
            summary: Some(vec![Aggregate::Max, Aggregate::Best]),
            goal: Some(Goal::Maximize),
            hidden: true,
        };
        for one in [all, Definition { summary: Some(Vec::new()), ..Definition::new("*") }] {
            assert_eq!(Definition::from_json(&one.metric, &one.to_json()), one);
        }
    }

    /// The plain way: each star takes every number of letters.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| plainly(rest, &name[at..])),
            Some((letter, rest)) => name.first() == Some(letter) && plainly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_they_say(pattern in "[ab*]{0,6}", name in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
