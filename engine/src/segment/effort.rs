//! How much work goes into making a file small.

/// What an encoder may spend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// The level of zstd.
    pub(super) zstd_level: i32,
    /// How many values of a page are tried before one of the encodings is taken.
    pub(super) sample: usize,
}

impl Effort {
    /// What files of a level are worth: a flush takes time from a training, and its files are merged soon.
    pub(super) fn of_level(level: u8) -> Self {
        if level == 0 {
            Self { zstd_level: 1, sample: 1 << 10 }
        } else {
            Self { zstd_level: 4, sample: 4 << 10 }
        }
    }
}
