//! Four rules that turn a gradient into a step.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Sgd,
    Momentum,
    RmsProp,
    Adam,
}

impl Rule {
    pub(super) const ALL: [Self; 4] = [Self::Sgd, Self::Momentum, Self::RmsProp, Self::Adam];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum => "momentum",
            Self::RmsProp => "rmsprop",
            Self::Adam => "adam",
        }
    }

    pub(super) fn learning_rate(self) -> f32 {
        match self {
            Self::Sgd => 0.5,
            Self::Momentum => 0.1,
            Self::RmsProp => 0.002,
            Self::Adam => 0.004,
        }
    }
}

/// A rule and what it remembers of the gradients so far.
#[derive(Debug)]
pub(super) struct Optimiser {
    rule: Rule,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Optimiser {
    pub(super) fn new(rule: Rule, weights: usize) -> Self {
        Self { rule, first: vec![0.0; weights], second: vec![0.0; weights], steps: 0 }
    }

    /// Moves `weights` one step down `gradient`. Returns the length of the step.
    pub(super) fn step(
        &mut self,
        weights: &mut [f32],
        gradient: &[f32],
        learning_rate: f32,
    ) -> f64 {
        self.steps += 1;
        let (first_left, second_left) =
            (1.0 - 0.9_f32.powi(self.steps), 1.0 - 0.999_f32.powi(self.steps));
        let mut length = 0.0;
        let memory = self.first.iter_mut().zip(&mut self.second);
        for ((weight, &slope), (first, second)) in weights.iter_mut().zip(gradient).zip(memory) {
            let change = match self.rule {
                Rule::Sgd => slope,
                Rule::Momentum => {
                    *first = 0.9 * *first + slope;
                    *first
                }
                Rule::RmsProp => {
                    *second = 0.99 * *second + 0.01 * slope * slope;
                    slope / (second.sqrt() + 1e-8)
                }
                Rule::Adam => {
                    *first = 0.9 * *first + 0.1 * slope;
                    *second = 0.999 * *second + 0.001 * slope * slope;
                    (*first / first_left) / ((*second / second_left).sqrt() + 1e-8)
                }
            };
            *weight -= learning_rate * change;
            length += f64::from(learning_rate * change).powi(2);
        }
        length.sqrt()
    }
}
