//! A curve in one line of text.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Gathers points into as many buckets as the line has characters.
#[derive(Debug, Clone)]
pub(crate) struct Sparkline {
    first_step: i64,
    last_step: i64,
    /// For each bucket the sum and the number of its finite values.
    buckets: Vec<(f64, u32)>,
}

impl Sparkline {
    /// An empty line over the steps `first_step..=last_step`, at most `width` characters wide.
    pub(crate) fn new(first_step: i64, last_step: i64, width: usize) -> Self {
        let steps = last_step.abs_diff(first_step).saturating_add(1);
        let width = usize::try_from(steps).unwrap_or(usize::MAX).min(width).max(1);
        Self { first_step, last_step, buckets: vec![(0.0, 0); width] }
    }

    /// Adds a point; a step outside of the range counts at its end. NaN and infinities leave a gap.
    pub(crate) fn add(&mut self, step: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let step = step.clamp(self.first_step, self.last_step.max(self.first_step));
        let steps = u128::from(self.last_step.abs_diff(self.first_step)) + 1;
        let at = u128::from(step.abs_diff(self.first_step)) * self.buckets.len() as u128 / steps;
        let (sum, number) = &mut self.buckets[at as usize];
        *sum += value;
        *number += 1;
    }

    /// The line: the least mean lowest, the greatest highest, a space where no finite value was logged.
    pub(crate) fn draw(&self) -> String {
        let means: Vec<Option<f64>> = self
            .buckets
            .iter()
            .map(|&(sum, number)| (number > 0).then(|| sum / f64::from(number)))
            .collect();
        let known = || means.iter().flatten().copied();
        let (low, high) =
            (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
        means
            .iter()
            .map(|mean| match mean {
                None => ' ',
                Some(_) if high <= low => LEVELS[3],
                Some(mean) => {
                    // Halved before they are subtracted, so that the range of all doubles fits.
                    let height = (mean / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "it is between 0 and 8"
                    )]
                    LEVELS[((height * 8.0) as usize).min(7)]
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[(i64, f64)], width: usize) -> String {
        let steps = || points.iter().map(|&(step, _)| step);
        let mut line = Sparkline::new(steps().min().unwrap(), steps().max().unwrap(), width);
        for &(step, value) in points {
            line.add(step, value);
        }
        line.draw()
    }

    #[test]
    fn a_falling_loss_falls() {
        let points: Vec<(i64, f64)> = (0..800).map(|step| (step, -(step as f64))).collect();
        assert_eq!(drawn(&points, 8), "█▇▆▅▄▃▂▁");
    }

    #[test]
    fn nan_leaves_a_gap_and_a_constant_stays_in_the_middle() {
        assert_eq!(drawn(&[(0, 1.0), (1, f64::NAN), (2, 1.0)], 10), "▄ ▄");
        assert_eq!(drawn(&[(5, f64::INFINITY)], 10), " ");
    }

    #[test]
    fn the_widest_ranges_of_steps_and_values_fit() {
        assert_eq!(drawn(&[(i64::MIN, f64::MIN), (i64::MAX, f64::MAX)], 2), "▁█");
    }
}
