//! How fast points go through a thread: by the clock, and by what the thread has of a core, which a busy machine changes less.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// M points a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Of the clock.
    pub clock: f64,
    /// Of the core on which the thread ran.
    pub core: f64,
}

/// Measures from when it was started.
#[derive(Debug)]
pub struct Stopwatch {
    clock: Instant,
    core: Duration,
}

impl Stopwatch {
    /// Starts one, for this thread.
    pub fn start() -> Self {
        Self { clock: Instant::now(), core: of_this_thread() }
    }

    /// The speed of so many points since then.
    pub fn speed(&self, points: u64) -> Speed {
        let a_second = |took: Duration| points as f64 / took.as_secs_f64() / 1e6;
        Speed {
            core: a_second(of_this_thread().saturating_sub(self.core)),
            clock: a_second(self.clock.elapsed()),
        }
    }
}

impl Speed {
    /// A text that can be parsed.
    pub fn text(self) -> String {
        format!("{} {}", self.clock, self.core)
    }
}

impl FromStr for Speed {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (clock, core) = text.trim().split_once(' ').unwrap_or_default();
        Ok(Self { clock: clock.parse()?, core: core.parse()? })
    }
}

/// How long this thread has had a core.
fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
