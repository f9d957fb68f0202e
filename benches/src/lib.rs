//! What the benchmarks share: sides that take turns, so that a noisy machine is noisy for all of them, the table that
//! says what came out, and the bars that it is held against.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

pub mod metrics;
pub mod parquet_alone;
pub mod peak;
pub mod speed;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

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

/// How long each side took in each round, in seconds.
#[derive(Debug)]
pub struct Rounds(Vec<Vec<f64>>);

/// Lets the sides take turns, `rounds` times after one that does not count, and prints what one of `items` cost on each,
/// the median over rounds.
pub fn compare(title: &str, items: u64, rounds: usize, sides: &mut [Side<'_>]) -> Rounds {
    let turns = (0..=rounds).map(|_| {
        let times = sides.iter_mut().map(|side| (side.round)().as_secs_f64());
        times.collect::<Vec<_>>()
    });
    let turns = Rounds(turns.skip(1).collect());
    println!("\n{title}");
    println!("  {:<40} {:>10} {:>12}", "", "ns each", "M each s");
    for (at, side) in sides.iter().enumerate() {
        let each = median(turns.0.iter().map(|times| times[at] * 1e9 / items as f64).collect());
        println!("  {:<40} {each:>10.1} {:>12.2}", side.name, 1e3 / each);
    }
    turns
}

impl Rounds {
    /// The median of what `of` makes of the times of each round.
    pub fn median(&self, of: impl Fn(&[f64]) -> f64) -> f64 {
        median(self.0.iter().map(|times| of(times)).collect())
    }

    /// Prints what `of` makes of the times of each round, as its median and range in percent, and holds the median
    /// against a bar. That both sides of a ratio ran in one round keeps the noise of the machine out of it.
    pub fn bar(&self, what: &str, at_least: f64, of: impl Fn(&[f64]) -> f64) {
        let (middle, shown) = self.percent(what, of);
        println!("{shown}   at least {at_least} %: {}", verdict(middle >= at_least));
    }

    /// As [`Rounds::bar`], without one.
    pub fn show(&self, what: &str, of: impl Fn(&[f64]) -> f64) {
        println!("{}", self.percent(what, of).1);
    }

    fn percent(&self, what: &str, of: impl Fn(&[f64]) -> f64) -> (f64, String) {
        let mut ratios: Vec<f64> = self.0.iter().map(|times| of(times) * 100.0).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let middle = median(ratios);
        (middle, format!("  {what:<40} {middle:>8.0} % ({low:.0}..{high:.0})"))
    }
}

static MISSED: AtomicBool = AtomicBool::new(false);

fn verdict(kept: bool) -> &'static str {
    if !kept {
        // ORDERING: Relaxed, the flag stands alone.
        MISSED.store(true, Ordering::Relaxed);
    }
    if kept { "kept" } else { "MISSED" }
}

/// Prints a figure and holds it against a bar.
pub fn at_most(what: &str, value: f64, unit: &str, most: f64) {
    let verdict = verdict(value <= most);
    println!("  {what:<40} {value:>10.2} {unit}   at most {most} {unit}: {verdict}");
}

/// Prints a figure and holds it against a bar.
pub fn at_least(what: &str, value: f64, unit: &str, least: f64) {
    let verdict = verdict(value >= least);
    println!("  {what:<40} {value:>10.2} {unit}   at least {least} {unit}: {verdict}");
}

/// How a benchmark ends: with code 1 where it was called with `--check` and missed a bar.
pub fn ending() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    // ORDERING: Relaxed, the flag stands alone.
    ExitCode::from(u8::from(check && MISSED.load(Ordering::Relaxed)))
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

    /// Takes all of `other`.
    pub fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// The delay that `share` of them do not exceed, in microseconds.
    pub fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let place = (self.0.len() as f64 * share) as usize;
        self.0[place.min(self.0.len() - 1)] as f64 / 1e3
    }

    /// Prints a line with the percentiles, in microseconds.
    pub fn print(&mut self, name: &str) {
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share));
        println!(
            "  {name:<40} p50 {p50:>6.2}  p99 {p99:>6.2}  p99.9 {p999:>8.2}  max {most:>9.1} us"
        );
    }
}
