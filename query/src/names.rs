//! Names: which names a pattern means, and which name a typing error meant.

use std::cmp::Ordering;

use arrow::{
    array::{Scalar, StringArray},
    compute::kernels::{comparison::like, regexp::regexp_is_match_scalar},
    error::ArrowError,
};

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
}
