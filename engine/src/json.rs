//! How what is said of runs stands in JSON and in columns: names of series, numbers that JSON lacks, nested maps made flat.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How a series is called where it is a column: the metric, and its labels in braces: `loss`, `loss{rank=0}`.
fn series_name(metric: &str, labels: Option<&str>) -> String {
    let Some(labels) = labels else { return metric.to_owned() };
    let Ok(map) = serde_json::from_str::<Map<String, Value>>(labels) else {
        return format!("{metric}{{{labels}}}");
    };
    let labels: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    format!("{metric}{{{}}}", labels.join(","))
}

/// The names of series as columns, all different and different from `reserved`: where two would be equal, labels stand
/// as the JSON that they are, and `{}` follows a metric without labels.
pub fn column_names<'a>(
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
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The number that a JSON value says. JSON has no NaN and no infinities: they stand as `"NaN"`, `"Infinity"` and
/// `"-Infinity"`.
pub fn number(value: &Value) -> Option<f64> {
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
fn json_number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// Metrics of the machine, not of the training, begin with this: they are no part of a summary.
pub const SYSTEM: &str = "system/";

/// The summary of a run: the last value of each of its series (metric, labels, last value) by its name, and what the user
/// `said` in their place.
pub fn summary<'a>(
    series: impl Iterator<Item = (&'a str, Option<&'a str>, f64)> + Clone,
    said: &Map<String, Value>,
) -> Map<String, Value> {
    let series = series.filter(|(metric, ..)| !metric.starts_with(SYSTEM));
    let names = column_names(series.clone().map(|(metric, labels, _)| (metric, labels)), &[]);
    let last_values = series.map(|(.., last_value)| json_number(last_value));
    let mut summary: Map<_, _> = names.into_iter().zip(last_values).collect();
    summary.extend(said.iter().map(|(key, value)| (key.clone(), value.clone())));
    summary
}

/// The values of a nested map, each under the keys that lead to it, joined with dots. Lists and empty maps are values.
pub fn flatten(map: &Map<String, Value>) -> Vec<(String, &Value)> {
    fn descend<'a>(prefix: &str, map: &'a Map<String, Value>, into: &mut Vec<(String, &'a Value)>) {
        for (key, value) in map {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(inner) if !inner.is_empty() => descend(&key, inner, into),
                value => into.push((key, value)),
            }
        }
    }
    let mut flat = Vec::new();
    descend("", map, &mut flat);
    flat
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
    fn numbers_that_json_lacks_survive_it() {
        for value in [0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324] {
            let back = number(&json_number(value)).unwrap();
            assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
