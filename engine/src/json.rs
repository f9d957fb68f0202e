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

/// Reads JSON with each number as near as a double can be, which the parser of the `serde_json` that we share with others does
/// not do.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let mut value = serde_json::from_str(text).ok()?;
    let doubles = doubles(text);
    let mut next = doubles.iter();
    refine(&mut value, &mut next);
    // A key that is there twice leaves some over, and then nobody knows which.
    if next.next().is_none() { Some(value) } else { serde_json::from_str(text).ok() }
}

/// The numbers of a JSON text that are doubles, in their order.
fn doubles(text: &str) -> Vec<f64> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(|letter: char| matches!(letter, '"' | '-' | '0'..='9')) {
        rest = &rest[at..];
        let len = if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = quoted.find(|letter| {
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            let number = |letter: char| matches!(letter, '-' | '+' | '.' | 'e' | 'E' | '0'..='9');
            let len = rest.find(|letter| !number(letter)).unwrap_or(rest.len());
            let word = &rest[..len];
            if word.parse::<i64>().is_err() && word.parse::<u64>().is_err() {
                found.extend(word.parse::<f64>());
            }
            len
        };
        rest = &rest[len..];
    }
    found
}

fn refine(value: &mut Value, doubles: &mut std::slice::Iter<'_, f64>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(exact) =
                doubles.next().and_then(|&exact| serde_json::Number::from_f64(exact))
            {
                *number = exact;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refine(item, doubles)),
        Value::Object(map) => map.values_mut().for_each(|inner| refine(inner, doubles)),
        _ => {}
    }
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
pub(crate) fn json_number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// Metrics of the machine, not of the training, begin with this: they are no part of a summary.
pub const SYSTEM: &str = "system/";

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
    fn doubles_are_read_as_they_were_written() {
        for value in [0.100_073_875_586_858_01, 1.494_625_155_911_739_3e38, -5e-324, 1e300, -0.0] {
            assert_eq!(parse(&json_number(value).to_string()).unwrap().as_f64(), Some(value));
        }
        let text = r#"{"a\"1.5":[1,-2.5e-3,"0.1"],"b":{"c":18446744073709551616,"d":0.10007387558685801}}"#;
        let value = parse(text).unwrap();
        assert_eq!(value["b"]["d"].to_string(), "0.10007387558685801");
        assert_eq!(value[r#"a"1.5"#][1].as_f64(), Some(-2.5e-3));
        assert_eq!(parse(r#"{"a":1.5,"a":2.5}"#).unwrap()["a"].as_f64(), Some(2.5));
        assert_eq!(parse("{"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_doubles_survive_a_text(values: Vec<f64>, key: String) {
            let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
            let text = serde_json::json!({ "x": values, key: values }).to_string();
            let read = parse(&text).unwrap();
            let read = read["x"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap().to_bits());
            proptest::prop_assert!(read.eq(values.iter().map(|value| value.to_bits())));
        }
    }

    #[test]
    fn numbers_that_json_lacks_survive_it() {
        for value in [0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324] {
            let back = number(&json_number(value)).unwrap();
            assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
