//! The loop that a user would write: sample, step, log.

use std::sync::atomic::{AtomicBool, Ordering};

use runlake_engine::{Run, State};

use super::{
    network::{self, WEIGHTS},
    optimiser::{Optimiser, Rule},
    spirals::{self, Chance},
};
use crate::failure::Failure;

/// Steps of a run that nobody stops.
pub(super) const STEPS: u64 = 4000;
/// Examples of one step.
pub(super) const BATCH: usize = 128;
/// Steps between two looks at the examples that are held back.
const VALIDATE_EVERY: u64 = 20;

/// Trains one network with `rule` and logs each step to `run`.
pub(super) fn train(run: &Run, rule: Rule, stop: &AtomicBool) -> Result<(), Failure> {
    // All rules start with the same weights and see the same examples.
    let mut chance = Chance::new(17);
    let training = spirals::examples(1200, &mut chance);
    let held_back = spirals::examples(400, &mut chance);
    let mut weights = network::random_weights(&mut chance);
    let mut gradient = vec![0.0; WEIGHTS];
    let mut optimiser = Optimiser::new(rule, WEIGHTS);

    let names = ["train/loss", "train/accuracy", "grad_norm", "update_norm", "lr"];
    let mut metrics = Vec::with_capacity(names.len());
    for name in names {
        metrics.push(run.metric(name)?);
    }
    let (val_loss, val_accuracy) = (run.metric("val/loss")?, run.metric("val/accuracy")?);
    for step in 0..STEPS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let batch: Vec<_> = (0..BATCH).map(|_| training[chance.below(training.len())]).collect();
        let score = network::gradient(&weights, &batch, &mut gradient);
        let warmed = ((step + 1) as f32 / 100.0).min(1.0);
        let cooled = 0.5 + 0.5 * (std::f32::consts::PI * step as f32 / STEPS as f32).cos();
        let learning_rate = rule.learning_rate() * warmed * (0.05 + 0.95 * cooled);
        let moved = optimiser.step(&mut weights, &gradient, learning_rate);
        let norm = gradient.iter().map(|&slope| f64::from(slope).powi(2)).sum::<f64>().sqrt();
        let values = [score.loss, score.accuracy, norm, moved, f64::from(learning_rate)];
        let mut row: Vec<_> = metrics.iter().copied().zip(values).collect();
        if step % VALIDATE_EVERY == 0 || step + 1 == STEPS {
            let score = network::score(&weights, &held_back);
            row.push((val_loss, score.loss));
            row.push((val_accuracy, score.accuracy));
        }
        run.log(step.cast_signed(), &row)?;
    }
    run.finish(State::Finished)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_learns() {
        for rule in Rule::ALL {
            let mut chance = Chance::new(17);
            let examples = spirals::examples(200, &mut chance);
            let mut weights = network::random_weights(&mut chance);
            let mut gradient = vec![0.0; WEIGHTS];
            let mut optimiser = Optimiser::new(rule, WEIGHTS);
            let before = network::score(&weights, &examples).loss;
            for _ in 0..60 {
                network::gradient(&weights, &examples, &mut gradient);
                optimiser.step(&mut weights, &gradient, rule.learning_rate());
            }
            let after = network::score(&weights, &examples).loss;
            assert!(after < before * 0.98, "{}: {before} to {after}", rule.name());
        }
    }
}
