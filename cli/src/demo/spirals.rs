//! Two spirals: a small problem that a straight line cannot solve.

/// One point of the plane and the arm that it belongs to, 0 or 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example {
    pub(super) inputs: [f32; 2],
    pub(super) class: f32,
}

/// A small generator of pseudo-random numbers (SplitMix64), the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is less than a usize")
    }

    /// From 0 up to, not including, 1.
    pub(super) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// From the standard normal distribution (Box and Muller).
    pub(super) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

/// `number` examples, half of each arm, with some noise.
pub(super) fn examples(number: usize, chance: &mut Chance) -> Vec<Example> {
    (0..number)
        .map(|at| {
            let class = (at % 2) as f32;
            let along = chance.uniform().sqrt();
            let angle = along * 3.0 * std::f32::consts::PI + class * std::f32::consts::PI;
            let noise = [chance.normal(), chance.normal()].map(|noise| noise * 0.02);
            let inputs = [along * angle.cos() + noise[0], along * angle.sin() + noise[1]];
            Example { inputs, class }
        })
        .collect()
}
