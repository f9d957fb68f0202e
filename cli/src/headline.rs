//! The one series that speaks for a run in a list of runs.

use runlake_engine::SeriesInfo;

/// The series whose last value is shown for a run: the first that is called loss or has it in its name; unlabelled ones
/// first. None where no metric is a loss.
pub(crate) fn headline<'a>(
    series: impl IntoIterator<Item = &'a SeriesInfo>,
) -> Option<&'a SeriesInfo> {
    series
        .into_iter()
        .filter_map(|series| Some((rank(&series.metric)?, series)))
        .min_by_key(|&(rank, series)| (rank, &series.labels, &series.metric))
        .map(|(_, series)| series)
}

/// How much a metric looks like the loss that people watch, the least most; none where it does not.
fn rank(metric: &str) -> Option<u8> {
    let metric = metric.to_lowercase();
    match metric.as_str() {
        "loss" => Some(0),
        "train/loss" | "train_loss" | "training_loss" => Some(1),
        _ if metric.ends_with("loss") => Some(2),
        _ if metric.contains("loss") => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plainest_loss_speaks_for_a_run() {
        let first = |metrics: &[&'static str]| {
            metrics
                .iter()
                .filter_map(|metric| Some((rank(metric)?, *metric)))
                .min()
                .map(|(_, metric)| metric)
        };
        assert_eq!(first(&["val/loss", "train/loss", "loss"]), Some("loss"));
        assert_eq!(first(&["val_loss", "train_loss"]), Some("train_loss"));
        assert_eq!(first(&["loss_scale", "val_loss", "acc"]), Some("val_loss"));
        assert_eq!(first(&["accuracy"]), None);
    }
}
