//! What the benchmarks share: sides that take turns, so that a noisy machine is noisy for all of them, and the table
//! that says what came out.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::time::Duration;

/// One of the things that are compared.
pub struct Side<'a> {
    name: &'static str,
    round: Box<dyn FnMut() -> Duration + 'a>,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<'a> Side<'a> {
    /// A side; `round` does the work once, checks it, and says how long the work took.
    pub fn new(name: &'static str, round: impl FnMut() -> Duration + 'a) -> Self {
        Self { name, round: Box::new(round) }
    }
}

/// Lets the sides take turns, `rounds` times after one that does not count, and prints what one of `items` cost on each
/// and how fast it is in comparison with the first side (100 %: as fast). The ratio is the median over rounds of
/// the ratio within a round. Returns the ratios.
pub fn compare(title: &str, items: u64, rounds: usize, sides: &mut [Side<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(rounds); sides.len()];
    for round in 0..=rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let time = (side.round)();
            if round > 0 {
                times.push(time.as_secs_f64());
            }
        }
    }
    println!("\n{title}");
    println!("  {:<34} {:>10} {:>12} {:>20}", "", "ns each", "M each s", "of the first");
    let mut ratios = Vec::new();
    for (side, own) in sides.iter().zip(&times) {
        let each = median(own.iter().map(|time| time * 1e9 / items as f64).collect());
        let mut of_first: Vec<f64> =
            times[0].iter().zip(own).map(|(first, own)| first / own).collect();
        of_first.sort_by(f64::total_cmp);
        let (low, high) = (of_first[0], of_first[of_first.len() - 1]);
        let ratio = median(of_first);
        println!(
            "  {:<34} {each:>10.1} {:>12.2} {:>7.0} % ({:.0}..{:.0})",
            side.name,
            1e3 / each,
            ratio * 100.0,
            low * 100.0,
            high * 100.0
        );
        ratios.push(ratio);
    }
    ratios
}

/// The value in the middle.
///
/// # Panics
/// Where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Delays, of which high percentiles are asked.
#[derive(Debug, Default)]
pub struct Delays(Vec<u64>);

impl Delays {
    /// Keeps one.
    pub fn push(&mut self, delay: Duration) {
        self.0.push(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Prints a line with the percentiles, in microseconds.
    pub fn print(&mut self, name: &str) {
        self.0.sort_unstable();
        let at = |share: f64| -> f64 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a length"
            )]
            let place = (self.0.len() as f64 * share) as usize;
            self.0[place.min(self.0.len() - 1)] as f64 / 1e3
        };
        println!(
            "  {name:<34} p50 {:>8.2}  p99 {:>8.2}  p99.9 {:>8.2}  max {:>10.1} us",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}
