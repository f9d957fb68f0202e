//! Chooses how the values of a row group are written.
//!
//! No encoding wins everywhere. Raw `f32` losses have empty low bytes, which a byte stream split gathers; decimals
//! and counters repeat whole byte patterns, which zstd finds in plain values; rounded losses, schedules and accuracies take
//! few values, which a dictionary names in a few bits. Between the first two each page decides by a sample. A dictionary is for
//! the whole row group: it is tried where the values are few, and taken where it pays for itself.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a row group has at most 2^20 rows, and bytes are taken off numbers"
)]

use std::ops::Range;

use parquet::{basic::Encoding, errors::Result};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::{
    column::{Runs, frame, width_of},
    integers::split,
};

/// A dictionary larger than this costs a reader of one page more than it saves.
const MOST_VALUES: usize = 64 << 10;

/// A dictionary is tried where values repeat at least this often.
const REPEATS: usize = 2;

/// From so many values on an estimate of how many differ is worth something.
const ESTIMATED: usize = 4 << 10;

/// The streams of a byte stream split: one for each byte of a value.
pub(super) const STREAMS: usize = 8;

/// The values of a row group, encoded.
#[derive(Debug)]
pub(super) struct Values {
    /// The values that pages name by number, as a dictionary page holds them, and how many they are.
    pub(super) dictionary: Option<(Vec<u8>, usize)>,
    pub(super) pages: Vec<ValuePage>,
}

/// One page of values, encoded but not compressed.
#[derive(Debug)]
pub(super) struct ValuePage {
    pub(super) encoding: Encoding,
    pub(super) bytes: Vec<u8>,
}

impl Values {
    /// Encodes `values`, cut into `pages`, in the way that compresses best, judged by so many of each page.
    pub(super) fn encode(
        values: &[f64],
        pages: &[Range<usize>],
        sample: usize,
        zstd: &mut zstd::bulk::Compressor<'static>,
    ) -> Result<Self> {
        let mut choices = Vec::with_capacity(pages.len());
        for page in pages {
            choices.push(choose(&values[page.clone()], sample, zstd)?);
        }
        if let Some(dictionary) = Dictionary::of(values) {
            let mut named = Vec::with_capacity(pages.len());
            let mut saved = 0;
            for (page, (_, size)) in pages.iter().zip(&choices) {
                let bytes = codes_page(&dictionary.codes[page.clone()]);
                let gain = size.saturating_sub(zstd.compress(&bytes)?.len());
                saved += gain;
                named.push((gain > 0).then_some(bytes));
            }
            let plain = dictionary.plain();
            if saved > zstd.compress(&plain)?.len() {
                let pages =
                    pages.iter().zip(choices).zip(named).map(
                        |((page, choice), bytes)| match bytes {
                            Some(bytes) => ValuePage { encoding: Encoding::RLE_DICTIONARY, bytes },
                            None => ValuePage::new(&values[page.clone()], choice.0),
                        },
                    );
                let pages = pages.collect();
                return Ok(Self { dictionary: Some((plain, dictionary.values.len())), pages });
            }
        }
        let pages = pages.iter().zip(choices);
        let pages =
            pages.map(|(page, (encoding, _))| ValuePage::new(&values[page.clone()], encoding));
        Ok(Self { dictionary: None, pages: pages.collect() })
    }
}

impl ValuePage {
    fn new(values: &[f64], encoding: Encoding) -> Self {
        let bytes =
            if encoding == Encoding::PLAIN { plain(values) } else { split(values, f64::to_bits) };
        Self { encoding, bytes }
    }
}

/// Which of the two encodings without a dictionary compresses a page better, judged by a sample, and about to how much.
fn choose(
    values: &[f64],
    sample: usize,
    zstd: &mut zstd::bulk::Compressor<'static>,
) -> Result<(Encoding, usize)> {
    // The middle, because the beginning of a run is unlike the rest of it.
    let from = values.len().saturating_sub(sample) / 2;
    let sample = &values[from..values.len().min(from + sample)];
    let ends: Vec<usize> = (1..STREAMS).map(|stream| stream * sample.len()).collect();
    let plain_size = zstd.compress(&plain(sample))?.len();
    let split_size = frame(zstd, &split(sample, f64::to_bits), &ends)?.len();
    let (encoding, size) = if split_size < plain_size {
        (Encoding::BYTE_STREAM_SPLIT, split_size)
    } else {
        (Encoding::PLAIN, plain_size)
    };
    Ok((encoding, size * values.len() / sample.len().max(1)))
}

/// The values of a row group by their bits, in the order in which they first appear: NaN has many, and 0.0 is not -0.0.
#[derive(Debug)]
struct Dictionary {
    values: Vec<u64>,
    /// For each row, which value it has.
    codes: Vec<u32>,
}

impl Dictionary {
    /// `None` where the values are too many.
    fn of(values: &[f64]) -> Option<Self> {
        let most = MOST_VALUES.min(values.len() / REPEATS);
        let about = distinct(values);
        if values.len() >= ESTIMATED && about > most + most / 4 {
            return None;
        }
        let mut known = FxHashMap::with_capacity_and_hasher(about.min(most), FxBuildHasher);
        let mut dictionary = Self { values: Vec::new(), codes: Vec::with_capacity(values.len()) };
        for value in values {
            let bits = value.to_bits();
            let next = dictionary.values.len();
            let code = *known.entry(bits).or_insert(next as u32);
            if code as usize == next {
                if next == most {
                    return None;
                }
                dictionary.values.push(bits);
            }
            dictionary.codes.push(code);
        }
        Some(dictionary)
    }

    fn plain(&self) -> Vec<u8> {
        self.values.iter().flat_map(|bits| bits.to_le_bytes()).collect()
    }
}

/// About how many values differ: those whose hash begins with some zero bits are counted, and stand for the rest. A value
/// counts whenever it is met or never, so that repeating does not make it count for more.
///
/// Source: P. B. Gibbons, "Distinct sampling for highly-accurate answers to distinct values queries and event reports",
/// VLDB 2001.
fn distinct(values: &[f64]) -> usize {
    const ONE_OF: u32 = 5;
    // Fibonacci hashing: the high bits of the product depend on all bits of the value.
    let hash = |value: &f64| value.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let sampled: FxHashSet<u64> =
        values.iter().map(hash).filter(|hash| hash >> (u64::BITS - ONE_OF) == 0).collect();
    sampled.len() << ONE_OF
}

/// A page of codes: their width, then they.
fn codes_page(codes: &[u32]) -> Vec<u8> {
    let width = width_of(codes.iter().copied().max().unwrap_or(0));
    let mut runs = Runs::new(width);
    for same in codes.chunk_by(|a, b| a == b) {
        runs.push(same[0], same.len());
    }
    let mut bytes = vec![width];
    bytes.extend_from_slice(&runs.finish());
    bytes
}

fn plain(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect()
}
