//! Values of metrics as a training logs them.

/// What is logged at a step of the first ten metrics: noisy losses in single precision, shares of a batch, a schedule, an epoch, a decimal.
#[expect(clippy::cast_possible_truncation, reason = "losses come in single precision")]
pub fn value_of(step: u64, metric: usize) -> f64 {
    let mut noise = (step * 10 + metric as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    noise ^= noise >> 32;
    let noise = noise.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40;
    let share = noise as f64 / f64::from(1 << 24);
    let decay = 1.0 / (1.0 + step as f64 * 1e-6);
    match metric {
        0..5 => f64::from((decay * (metric as f64 + 1.0) + share * 0.1) as f32),
        5 | 6 => ((1.0 - decay + share * 0.1) * 256.0).floor() / 256.0,
        7 => 1e-3 * decay,
        8 => (step / 10_000) as f64,
        _ => ((share * 400.0 + 1200.0) * 10.0).round() / 10.0,
    }
}
