//! Names: how a series is called as a column, which names a pattern means, and which name a typing error meant.

use std::{cmp::Ordering, collections::HashMap};

use arrow::{
    array::{Scalar, StringArray},
    compute::kernels::{comparison::like, regexp::regexp_is_match_scalar},
    error::ArrowError,
};
use serde_json::{Map, Value};

/// How a series is called where it is a column: the metric, and its labels in braces: `loss`, `loss{rank=0}`.
pub(crate) fn series_name(metric: &str, labels: Option<&str>) -> String {
    let Some(labels) = labels else { return metric.to_owned() };
    let Ok(map) = serde_json::from_str::<Map<String, Value>>(labels) else {
        return format!("{metric}{{{labels}}}");
    };
    let labels: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    format!("{metric}{{{}}}", labels.join(","))
}

/// The names of series as columns, all different and different from `reserved`: where two would be equal, labels stand
/// as the JSON that they are, and `{}` follows a metric without labels.
pub(crate) fn column_names<'a>(
    series: impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
    reserved: &[&str],
) -> Vec<String> {
    let plain: Vec<_> =
        series.clone().map(|(metric, labels)| series_name(metric, labels)).collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in plain.iter().map(String::as_str).chain(reserved.iter().copied()) {
        *uses.entry(name).or_default() += 1;
    }
    series
        .zip(&plain)
        .map(|((metric, labels), name)| match uses[name.as_str()] {
            1 => name.clone(),
            _ => format!("{metric}{}", labels.unwrap_or("{}")),
        })
        .collect()
}

/// A JSON value as SQL shows it: text without quotes, anything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The number that a JSON value says. JSON has no NaN and no infinities: they stand as `"NaN"`, `"Infinity"` and
/// `"-Infinity"`.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number as JSON; see [`number`].
pub(crate) fn json_number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// For each of `names`, whether one of `patterns` means it: `*` stands for any text, `?` for one character.
pub(crate) fn matching(patterns: &[String], names: &[&str]) -> Vec<bool> {
    let array = StringArray::from_iter_values(names);
    let mut matched = vec![false; names.len()];
    for pattern in patterns {
        let mut escaped = String::with_capacity(pattern.len());
        for letter in pattern.chars() {
            match letter {
                '*' => escaped.push('%'),
                '?' => escaped.push('_'),
                '%' | '_' | '\\' => escaped.extend(['\\', letter]),
                other => escaped.push(other),
            }
        }
        let pattern = Scalar::new(StringArray::from_iter_values([escaped]));
        let hits = like(&array, &pattern).expect("both sides are of one text type");
        for (matched, hit) in matched.iter_mut().zip(hits.values()) {
            *matched |= hit;
        }
    }
    matched
}

/// For each of `names`, whether the regular expression `regex` finds something in it.
pub(crate) fn matching_regex(regex: &str, names: &[&str]) -> Result<Vec<bool>, ArrowError> {
    let array = StringArray::from_iter_values(names);
    let hits = regexp_is_match_scalar(&array, regex, None)?;
    Ok(hits.values().iter().collect())
}

/// Up to three of `candidates` that `name` may have been meant to be, best first.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let edits = strsim::normalized_damerau_levenshtein(&lower, &other);
            let shared = strsim::jaro_winkler(&lower, &other);
            (edits >= 0.6 || shared >= 0.88).then_some((edits + shared, candidate))
        })
        .collect();
    scored.sort_by(|a, b| {
        b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
    });
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// A column as it has to be written in SQL: in double quotes unless it is plain lower case.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_with_labels_is_called_by_them() {
        assert_eq!(series_name("loss", None), "loss");
        assert_eq!(series_name("loss", Some(r#"{"rank":0}"#)), "loss{rank=0}");
        assert_eq!(series_name("loss", Some(r#"{"host":"a","rank":1}"#)), "loss{host=a,rank=1}");
    }

    #[test]
    fn two_series_never_share_a_column() {
        let series = [
            ("loss", Some(r#"{"rank":0}"#)),
            ("loss", Some(r#"{"rank":"0"}"#)),
            ("loss", None),
            ("step", None),
        ];
        let names = column_names(series.into_iter(), &["step", "time"]);
        assert_eq!(names, [r#"loss{"rank":0}"#, r#"loss{"rank":"0"}"#, "loss", "step{}"]);
    }

    #[test]
    fn a_pattern_means_what_a_shell_would_make_of_it() {
        let names = ["train/loss", "train/acc", "eval/loss", "50%_done", "50x"];
        let of = |pattern: &str| matching(&[pattern.to_owned()], &names);
        assert_eq!(of("train/*"), [true, true, false, false, false]);
        assert_eq!(of("*/loss"), [true, false, true, false, false]);
        assert_eq!(of("50%*"), [false, false, false, true, false]);
        assert_eq!(of("50?"), [false, false, false, false, true]);
        assert_eq!(of("train/loss"), [true, false, false, false, false]);
    }

    #[test]
    fn a_typing_error_finds_what_was_meant() {
        let columns = ["project", "run_id", "metric", "step", "value"];
        assert_eq!(closest("runid", columns), ["run_id"]);
        assert_eq!(closest("metrics", columns), ["metric"]);
        assert_eq!(closest("STEP", columns), ["step"]);
        assert!(closest("zzz", columns).is_empty());
    }

    #[test]
    fn numbers_that_json_lacks_survive_it() {
        for value in [0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324] {
            let back = number(&json_number(value)).unwrap();
            assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
