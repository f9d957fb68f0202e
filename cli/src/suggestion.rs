//! What somebody meant who named something that is not there.

/// The candidates that look most like `name`, best first, three at most.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let score = likeness(&wanted, &candidate.to_lowercase());
            (score >= 0.7).then_some((score, candidate))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.dedup();
    scored.into_iter().map(|(_, candidate)| candidate).take(3).collect()
}

/// From 0 to 1. A part of a name ("loss" of "train/loss") is as good as a small typo.
fn likeness(wanted: &str, candidate: &str) -> f64 {
    let by_parts = candidate
        .split(['/', '.', '_'])
        .map(|part| strsim::normalized_damerau_levenshtein(wanted, part))
        .fold(0.0, f64::max);
    let contained = wanted.len() >= 3 && candidate.contains(wanted);
    strsim::normalized_damerau_levenshtein(wanted, candidate)
        .max(strsim::jaro_winkler(wanted, candidate) - 0.15)
        .max(by_parts - 0.15)
        .max(if contained { 0.9 } else { 0.0 })
}

/// "did you mean 'train/loss' or 'val/loss'?", where something is close.
pub(crate) fn question<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let closest = closest(name, candidates);
    let quoted: Vec<String> = closest.iter().map(|candidate| format!("'{candidate}'")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_and_parts_of_names_are_understood() {
        let metrics = ["train/loss", "train/accuracy", "val/loss", "lr", "grad_norm"];
        assert_eq!(closest("train/los", metrics)[0], "train/loss");
        assert_eq!(closest("loss", metrics), ["train/loss", "val/loss"]);
        assert_eq!(closest("LR", metrics), ["lr"]);
        assert_eq!(closest("gradnorm", metrics), ["grad_norm"]);
        assert_eq!(closest("acuracy", metrics), ["train/accuracy"]);
        assert!(closest("temperature", metrics).is_empty());
        assert_eq!(question("vall/loss", metrics).unwrap(), "did you mean 'val/loss'?");
    }
}
