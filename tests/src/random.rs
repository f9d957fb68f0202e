//! Numbers that look random and follow from a seed.

/// A generator of 64 bits a call (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`; seeds that are neighbours give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).expect("it is below a usize")
    }

    /// True once in `times` calls, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, which are not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A value that formats like to lose, or an ordinary one: NaN with payload bits, zeros of both signs, subnormals,
    /// infinities, the largest numbers, decimals, singles, counters, any bits at all.
    pub fn value(&mut self) -> f64 {
        match self.below(16) {
            0 => f64::from_bits(0x7ff8_0000_0000_0000 | self.bits() >> 13),
            1 => f64::from_bits(0xfff0_0000_0000_0001 | self.bits() >> 30),
            2 => -0.0,
            3 => 0.0,
            4 => f64::from_bits(1 + self.bits() % 1000),
            5 => f64::from_bits(0x8000_0000_0000_0000 | self.bits() >> 40),
            6 => f64::INFINITY,
            7 => f64::NEG_INFINITY,
            8 => *self.pick(&[f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::EPSILON]),
            9 => f64::from_bits(self.bits()),
            10 | 11 => f64::from(f32::from_bits(0x3f00_0000 | (self.bits() >> 42) as u32)),
            12 => self.below(1000) as f64,
            _ => (self.below(20_000) as f64 - 10_000.0) / 1000.0,
        }
    }
}
