//! A network of two hidden layers: two inputs, one output, tanh between them, cross-entropy at the end.

use super::spirals::{Chance, Example};

/// The width of the hidden layers.
pub(super) const HIDDEN: usize = 48;

const INPUTS: usize = 2;
const FIRST: usize = 0;
const FIRST_BIAS: usize = FIRST + INPUTS * HIDDEN;
const SECOND: usize = FIRST_BIAS + HIDDEN;
const SECOND_BIAS: usize = SECOND + HIDDEN * HIDDEN;
const LAST: usize = SECOND_BIAS + HIDDEN;
const LAST_BIAS: usize = LAST + HIDDEN;

/// The number of weights.
pub(super) const WEIGHTS: usize = LAST_BIAS + 1;

/// What a network makes of some examples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Score {
    /// The mean cross-entropy.
    pub(super) loss: f64,
    /// The share of examples that it gets right.
    pub(super) accuracy: f64,
}

/// The values of both hidden layers and the probability of class 1, for one example.
struct Pass {
    first: [f32; HIDDEN],
    second: [f32; HIDDEN],
    probability: f32,
}

/// Random weights, scaled so that the layers neither saturate nor vanish.
pub(super) fn random_weights(chance: &mut Chance) -> Vec<f32> {
    let mut weights = vec![0.0; WEIGHTS];
    for (range, inputs) in
        [(FIRST..FIRST_BIAS, 1), (SECOND..SECOND_BIAS, HIDDEN), (LAST..LAST_BIAS, HIDDEN)]
    {
        let scale = (1.0 / inputs as f32).sqrt() * if inputs == 1 { 2.0 } else { 1.0 };
        weights[range].iter_mut().for_each(|weight| *weight = chance.normal() * scale);
    }
    weights
}

fn forward(weights: &[f32], inputs: [f32; INPUTS]) -> Pass {
    let (mut first, mut second) = ([0.0; HIDDEN], [0.0; HIDDEN]);
    for (unit, value) in first.iter_mut().enumerate() {
        let row = &weights[FIRST + unit * INPUTS..][..INPUTS];
        *value = (row[0] * inputs[0] + row[1] * inputs[1] + weights[FIRST_BIAS + unit]).tanh();
    }
    for (unit, value) in second.iter_mut().enumerate() {
        let row = &weights[SECOND + unit * HIDDEN..][..HIDDEN];
        let sum: f32 = row.iter().zip(&first).map(|(weight, value)| weight * value).sum();
        *value = (sum + weights[SECOND_BIAS + unit]).tanh();
    }
    let last = &weights[LAST..LAST_BIAS];
    let sum: f32 = last.iter().zip(&second).map(|(weight, value)| weight * value).sum();
    Pass { first, second, probability: 1.0 / (1.0 + (-(sum + weights[LAST_BIAS])).exp()) }
}

/// How well `weights` do on `examples`.
pub(super) fn score(weights: &[f32], examples: &[Example]) -> Score {
    let mut score = Score::default();
    for example in examples {
        score.count(forward(weights, example.inputs).probability, example.class);
    }
    score.of(examples.len())
}

/// How well `weights` do on `examples`, and the gradient of the loss, by backward propagation.
pub(super) fn gradient(weights: &[f32], examples: &[Example], gradient: &mut [f32]) -> Score {
    gradient.fill(0.0);
    let mut score = Score::default();
    for example in examples {
        let pass = forward(weights, example.inputs);
        score.count(pass.probability, example.class);
        let error = (pass.probability - example.class) / examples.len() as f32;
        gradient[LAST_BIAS] += error;
        let mut first_error = [0.0_f32; HIDDEN];
        for unit in 0..HIDDEN {
            let value = pass.second[unit];
            gradient[LAST + unit] += error * value;
            let unit_error = error * weights[LAST + unit] * (1.0 - value * value);
            gradient[SECOND_BIAS + unit] += unit_error;
            let row = SECOND + unit * HIDDEN..SECOND + (unit + 1) * HIDDEN;
            for (slope, value) in gradient[row.clone()].iter_mut().zip(&pass.first) {
                *slope += unit_error * value;
            }
            for (error, weight) in first_error.iter_mut().zip(&weights[row]) {
                *error += unit_error * weight;
            }
        }
        for unit in 0..HIDDEN {
            let value = pass.first[unit];
            let unit_error = first_error[unit] * (1.0 - value * value);
            gradient[FIRST_BIAS + unit] += unit_error;
            for (at, input) in example.inputs.iter().enumerate() {
                gradient[FIRST + unit * INPUTS + at] += unit_error * input;
            }
        }
    }
    score.of(examples.len())
}

impl Score {
    fn count(&mut self, probability: f32, class: f32) {
        let right = if class > 0.5 { probability } else { 1.0 - probability };
        self.loss -= f64::from(right.max(1e-7)).ln();
        self.accuracy += f64::from(u8::from(right > 0.5));
    }

    fn of(self, examples: usize) -> Self {
        Self { loss: self.loss / examples as f64, accuracy: self.accuracy / examples as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::spirals;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut chance = Chance::new(1);
        let mut weights = random_weights(&mut chance);
        let examples = spirals::examples(64, &mut chance);
        let mut slopes = vec![0.0; WEIGHTS];
        gradient(&weights, &examples, &mut slopes);
        for at in [0, 1, FIRST_BIAS + 3, SECOND + 77, SECOND_BIAS + 5, LAST + 9, LAST_BIAS] {
            let kept = weights[at];
            let mut loss_at = |weight: f32| {
                weights[at] = weight;
                score(&weights, &examples).loss
            };
            let slope = (loss_at(kept + 1e-2) - loss_at(kept - 1e-2)) / 2e-2;
            weights[at] = kept;
            assert!(
                (slope - f64::from(slopes[at])).abs() < 2e-3,
                "weight {at}: {slope} and {}",
                slopes[at]
            );
        }
    }
}
