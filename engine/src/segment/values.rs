//! Chooses how a page of values is written.
//!
//! No encoding wins everywhere. Raw `f32` losses have empty low bytes, which a byte stream split gathers; decimals
//! and counters repeat whole byte patterns, which zstd finds in plain values; schedules and accuracies take few
//! values, which a dictionary names in a few bits.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a row group has at most 2^20 rows, and bytes are taken off numbers"
)]

use parquet::{basic::Encoding, errors::Result};
use rustc_hash::FxHashMap;

use super::column::{Runs, width_of};

/// How many values of a page are tried.
const SAMPLE: usize = 2 << 10;

/// A dictionary is considered where values repeat at least this often in a page.
const REPEATS: usize = 4;

/// A dictionary larger than this costs a reader of one page more than it saves.
const MOST_VALUES: usize = 32 << 10;

/// The values of a column that its pages name by number, by their bits: NaN has many, and 0.0 is not -0.0.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    codes: FxHashMap<u64, u32>,
    values: Vec<u64>,
}

impl Dictionary {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The values as a dictionary page holds them.
    pub(super) fn plain(&self) -> Vec<u8> {
        self.values.iter().flat_map(|bits| bits.to_le_bytes()).collect()
    }
}

/// One page of values, encoded but not compressed.
#[derive(Debug)]
pub(super) struct ValuePage {
    pub(super) encoding: Encoding,
    pub(super) bytes: Vec<u8>,
}

impl ValuePage {
    /// Encodes `values` in the way that compresses best, judged by a sample.
    pub(super) fn choose(
        values: &[f64],
        dictionary: &mut Dictionary,
        zstd: &mut zstd::bulk::Compressor<'static>,
    ) -> Result<Self> {
        // The middle, because the beginning of a run is unlike the rest of it.
        let from = values.len().saturating_sub(SAMPLE) / 2;
        let sample = &values[from..values.len().min(from + SAMPLE)];
        let (plain_size, split_size) =
            (zstd.compress(&plain(sample))?.len(), zstd.compress(&split(sample))?.len());
        let (encoding, best_size) = if split_size < plain_size {
            (Encoding::BYTE_STREAM_SPLIT, split_size)
        } else {
            (Encoding::PLAIN, plain_size)
        };
        let scale = |bytes: usize| bytes * values.len() / sample.len().max(1);
        if let Some(page) = Self::named(values, dictionary, zstd, scale(best_size))? {
            return Ok(page);
        }
        let bytes = if encoding == Encoding::PLAIN { plain(values) } else { split(values) };
        Ok(Self { encoding, bytes })
    }

    /// Encodes `values` by a dictionary where that takes less than `to_beat` bytes; only then `dictionary` grows.
    fn named(
        values: &[f64],
        dictionary: &mut Dictionary,
        zstd: &mut zstd::bulk::Compressor<'static>,
        to_beat: usize,
    ) -> Result<Option<Self>> {
        let known = dictionary.values.len();
        let most_new = (values.len() / REPEATS).min(MOST_VALUES.saturating_sub(known));
        let mut new: FxHashMap<u64, u32> = FxHashMap::default();
        let mut new_values = Vec::new();
        let mut codes = Vec::with_capacity(values.len());
        for value in values {
            let bits = value.to_bits();
            let code = dictionary.codes.get(&bits).or_else(|| new.get(&bits)).copied();
            codes.push(match code {
                Some(code) => code,
                None if new_values.len() == most_new => return Ok(None),
                None => {
                    let code = (known + new_values.len()) as u32;
                    new.insert(bits, code);
                    new_values.push(bits);
                    code
                }
            });
        }
        let width = width_of(codes.iter().copied().max().unwrap_or(0));
        let mut runs = Runs::new(width);
        for same in codes.chunk_by(|a, b| a == b) {
            runs.push(same[0], same.len());
        }
        let mut bytes = vec![width];
        bytes.extend_from_slice(&runs.finish());
        // A new value is paid for once, eight bytes at most; sorted values compress to about two thirds.
        if zstd.compress(&bytes)?.len() + new_values.len() * 6 >= to_beat {
            return Ok(None);
        }
        dictionary.codes.extend(new);
        dictionary.values.extend(new_values);
        Ok(Some(Self { encoding: Encoding::RLE_DICTIONARY, bytes }))
    }
}

fn plain(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect()
}

/// The first bytes of all values, then the second bytes, and so on.
fn split(values: &[f64]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 8];
    for (at, stream) in bytes.chunks_exact_mut(values.len().max(1)).enumerate() {
        for (byte, value) in stream.iter_mut().zip(values) {
            *byte = (value.to_bits() >> (8 * at)) as u8;
        }
    }
    bytes
}
