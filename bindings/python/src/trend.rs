//! The shape of a series in a few numbers, kept while it is logged, so that `finish` can draw it without reading.

/// Samples at equal distances. Where they become too many, every other one goes and the distance doubles.
#[derive(Debug, Default, Clone)]
pub(crate) struct Trend {
    samples: Vec<f64>,
    seen: u64,
    /// Samples are taken where `seen & mask == 0`; one less than a power of two.
    mask: u64,
}

/// So many samples are kept: more than a line of a terminal shows.
const MOST: usize = 128;

/// The bars of a sparkline, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Trend {
    /// Takes the next value of the series.
    #[inline]
    pub(crate) fn push(&mut self, value: f64) {
        if self.seen & self.mask == 0 {
            self.take(value);
        }
        self.seen += 1;
    }

    #[cold]
    fn take(&mut self, value: f64) {
        if self.samples.len() == MOST {
            let mut place = 0_usize;
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.mask = self.mask * 2 + 1;
            if self.seen & self.mask != 0 {
                return;
            }
        }
        self.samples.push(value);
    }

    /// A line of `width` bars or fewer, from the least to the greatest finite value; NaN is a space.
    pub(crate) fn sparkline(&self, width: usize) -> String {
        let finite = || self.samples.iter().copied().filter(|value| value.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let greatest = finite().fold(f64::NEG_INFINITY, f64::max);
        let columns = width.min(self.samples.len());
        (0..columns)
            .map(|column| {
                let value = self.samples[column * self.samples.len() / columns];
                if value.is_nan() { ' ' } else { BARS[level(value, least, greatest)] }
            })
            .collect()
    }
}

/// Which of the bars stands for `value`. Halves first, because the distance between two doubles may be no double.
fn level(value: f64, least: f64, greatest: f64) -> usize {
    if value >= greatest && greatest > least {
        return BARS.len() - 1;
    }
    if value <= least || greatest <= least {
        return 0;
    }
    let share = (value / 2.0 - least / 2.0) / (greatest / 2.0 - least / 2.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 8")]
    let level = (share * BARS.len() as f64) as usize;
    level.min(BARS.len() - 1)
}
