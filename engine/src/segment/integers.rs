//! Encodes and decodes pages of integers, which are steps, mostly counting up, and times; and of floats by their bits.
//!
//! The `parquet` crate can do it too, but with a step a value where most blocks of steps want none.
#![expect(
    clippy::cast_possible_truncation,
    reason = "miniblocks and widths are small numbers, and bits are cut off on purpose"
)]

use std::ops::Range;

/// Values of a block of deltas and of a miniblock of it: those of parquet-mr, which every reader has met.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// `DELTA_BINARY_PACKED`.
///
/// ```text
/// page:   varint(128) | varint(4) | varint(count) | zigzag(first) | block*
/// block:  zigzag(least delta) | 4 widths u8 | for each miniblock that is there: 32 x (delta - least) in `width` bits
/// ```
pub(super) fn deltas(values: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + values.len() / BLOCK * 8);
    varint(&mut bytes, BLOCK as u64);
    varint(&mut bytes, (BLOCK / MINIBLOCK) as u64);
    varint(&mut bytes, values.len() as u64);
    zigzag(&mut bytes, values.first().copied().unwrap_or(0));
    let mut deltas = [0; BLOCK];
    let mut before = values;
    while let [_, behind @ ..] = before
        && !behind.is_empty()
    {
        let here = &mut deltas[..behind.len().min(BLOCK)];
        for (delta, pair) in here.iter_mut().zip(before.windows(2)) {
            *delta = pair[1].wrapping_sub(pair[0]);
        }
        block(&mut bytes, here);
        before = &before[here.len()..];
    }
    bytes
}

fn block(bytes: &mut Vec<u8>, deltas: &[i64]) {
    let least = deltas.iter().copied().min().unwrap_or(0);
    zigzag(bytes, least);
    let widths = bytes.len();
    bytes.extend_from_slice(&[0; BLOCK / MINIBLOCK]);
    for (at, deltas) in deltas.chunks(MINIBLOCK).enumerate() {
        let over = |&delta: &i64| delta.wrapping_sub(least).cast_unsigned();
        let width =
            u64::BITS - deltas.iter().map(over).fold(0, |all, over| all | over).leading_zeros();
        if width == 0 {
            continue;
        }
        bytes[widths + at] = width.to_le_bytes()[0];
        let (mut bits, mut held) = (0_u128, 0);
        for over in deltas.iter().map(over).chain(std::iter::repeat(0)).take(MINIBLOCK) {
            bits |= u128::from(over) << held;
            held += width;
            while held >= 8 {
                bytes.push(bits.to_le_bytes()[0]);
                bits >>= 8;
                held -= 8;
            }
        }
    }
}

/// `BYTE_STREAM_SPLIT`: the first bytes of all values, then the second bytes, and so on.
pub(super) fn split<T: Copy>(values: &[T], bits: impl Fn(T) -> u64) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 8];
    let mut streams = bytes.chunks_exact_mut(values.len().max(1));
    let mut streams: [&mut [u8]; 8] = std::array::from_fn(|_| streams.next().unwrap_or_default());
    let (eights, rest) = values.as_chunks::<8>();
    for (eight, values) in eights.iter().enumerate() {
        let columns = transposed(values.map(&bits));
        for (stream, column) in streams.iter_mut().zip(columns) {
            stream[eight * 8..][..8].copy_from_slice(&column.to_le_bytes());
        }
    }
    for (row, &value) in (eights.len() * 8..).zip(rest) {
        for (stream, byte) in streams.iter_mut().zip(bits(value).to_le_bytes()) {
            stream[row] = byte;
        }
    }
    bytes
}

/// Eight rows of eight bytes, seen as columns: first squares of four bytes change places across the diagonal, then of
/// two, then of one.
fn transposed(mut rows: [u64; 8]) -> [u64; 8] {
    for (apart, mask) in
        [(4, 0x0000_0000_ffff_ffff_u64), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)]
    {
        for low in (0..8).filter(|row| row & apart == 0) {
            let high = low + apart;
            let swapped = (rows[low] >> (8 * apart) ^ rows[high]) & mask;
            rows[high] ^= swapped;
            rows[low] ^= swapped << (8 * apart);
        }
    }
    rows
}

/// What pages hold in eight bytes.
pub(super) trait Bits: Copy {
    /// The value of these bits.
    fn of(bits: u64) -> Self;
}

impl Bits for i64 {
    fn of(bits: u64) -> Self {
        bits.cast_signed()
    }
}

impl Bits for f64 {
    fn of(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

/// Undoes [`split`] for the values `within` of `all`, and appends them. `bytes` are those of all.
pub(super) fn join<T: Bits>(bytes: &[u8], all: usize, within: Range<usize>, values: &mut Vec<T>) {
    /// So many values are put together at once, in steps that double how wide they are: each is a loop without a branch, which
    /// the compiler does for many values in one instruction.
    const AT_ONCE: usize = 256;
    fn pair<A: Copy, B>(from: [&[A]; 2], to: &mut [B], put: impl Fn(A, A) -> B) {
        for (to, (&low, &high)) in to.iter_mut().zip(from[0].iter().zip(from[1])) {
            *to = put(low, high);
        }
    }
    let (mut words, mut longs) = ([[0_u16; AT_ONCE]; 4], [[0_u32; AT_ONCE]; 2]);
    values.reserve(within.len());
    let mut first = within.start;
    while first < within.end {
        let count = AT_ONCE.min(within.end - first);
        let stream = |at: usize| &bytes[at * all + first..at * all + first + count];
        for (at, words) in words.iter_mut().enumerate() {
            let put = |low, high| u16::from_le_bytes([low, high]);
            pair([stream(2 * at), stream(2 * at + 1)], words, put);
        }
        for (at, longs) in longs.iter_mut().enumerate() {
            let put = |low, high| u32::from(low) | u32::from(high) << 16;
            pair([&words[2 * at][..count], &words[2 * at + 1][..count]], longs, put);
        }
        let bits = longs[0].iter().zip(&longs[1]).take(count);
        values.extend(bits.map(|(&low, &high)| T::of(u64::from(low) | u64::from(high) << 32)));
        first += count;
    }
}

/// Undoes [`deltas`], whatever the size of its blocks, and appends `count` values. None where the bytes make no sense.
pub(super) fn add_up<T: Bits>(mut bytes: &[u8], count: usize, values: &mut Vec<T>) -> Option<()> {
    let block = usize::try_from(take_varint(&mut bytes)?).ok()?;
    let miniblocks = usize::try_from(take_varint(&mut bytes)?).ok()?;
    let size = block.checked_div(miniblocks)?;
    let is_whole = size > 0 && size.is_multiple_of(8) && size * miniblocks == block;
    if !is_whole || block > 1 << 20 || take_varint(&mut bytes)? != count as u64 {
        return None;
    }
    let mut last = take_zigzag(&mut bytes)?;
    let mut left = count;
    if left > 0 {
        values.push(T::of(last.cast_unsigned()));
        left -= 1;
    }
    while left > 0 {
        let least = take_zigzag(&mut bytes)?;
        let (widths, mut rest) = bytes.split_at_checked(miniblocks)?;
        for &width in widths {
            let here = left.min(size);
            if here == 0 {
                break;
            }
            if width == 0 {
                let start = last;
                let after = |at: u64| start.wrapping_add(least.wrapping_mul(at.cast_signed()));
                let all = here as u64;
                values.extend((1..=all).map(|at| T::of(after(at).cast_unsigned())));
                last = after(all);
            } else {
                let (packed, behind) = rest.split_at_checked(size / 8 * usize::from(width))?;
                rest = behind;
                for_each_packed(packed, width, here, |over| {
                    last = last.wrapping_add(least).wrapping_add(over.cast_signed());
                    values.push(T::of(last.cast_unsigned()));
                })?;
            }
            left -= here;
        }
        bytes = rest;
    }
    Some(())
}

/// Gives `take` the first `count` numbers of `width` bits each, the lowest bits first. None where a number cannot be so wide.
pub(super) fn for_each_packed(
    packed: &[u8],
    width: u8,
    count: usize,
    mut take: impl FnMut(u64),
) -> Option<()> {
    let mask = u64::MAX.checked_shr(64_u32.checked_sub(width.into())?).unwrap_or(0);
    let mut bits = 0_usize;
    for _ in 0..count {
        let at = bits / 8;
        let rest = packed.get(at..)?;
        let window = if let Some(window) = rest.first_chunk() {
            u128::from_le_bytes(*window)
        } else {
            // The last few.
            let mut window = [0; 16];
            window[..rest.len()].copy_from_slice(rest);
            u128::from_le_bytes(window)
        };
        take((window >> (bits % 8)) as u64 & mask);
        bits += usize::from(width);
    }
    Some(())
}

/// Reads what [`varint`] wrote and goes behind it.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take_zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let value = take_varint(bytes)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

fn zigzag(bytes: &mut Vec<u8>, value: i64) {
    varint(bytes, (value << 1 ^ value >> 63).cast_unsigned());
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
pub(super) fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_what_is_decoded(
            values in prop_oneof![
                proptest::collection::vec(any::<i64>(), 0..700),
                (any::<i64>(), proptest::collection::vec(0..3_i64, 0..700)).prop_map(|(mut last, gaps)| {
                    let next = |gap| { last = i64::wrapping_add(last, gap); last };
                    gaps.into_iter().map(next).collect()
                }),
            ],
            cut in any::<prop::sample::Index>(),
            (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let encoded = deltas(&values);
            let mut decoded = Vec::new();
            prop_assert!(add_up::<i64>(&encoded, values.len(), &mut decoded).is_some());
            prop_assert_eq!(&decoded, &values);
            // Of less than all nothing comes, or the values that are whole.
            let cut = cut.index(encoded.len());
            let mut part: Vec<i64> = Vec::new();
            add_up(&encoded[..cut], values.len(), &mut part);
            prop_assert!(values.starts_with(&part));
            prop_assert_eq!(add_up::<i64>(&encoded, values.len() + 1, &mut part), None);

            let bytes = split(&values, i64::cast_unsigned);
            let (from, to) = (from.index(values.len() + 1), to.index(values.len() + 1));
            let within = from.min(to)..from.max(to);
            let mut joined: Vec<i64> = Vec::new();
            join(&bytes, values.len(), within.clone(), &mut joined);
            prop_assert_eq!(&joined, &values[within]);
        }
    }

    #[test]
    fn steps_that_count_up_take_a_few_bytes_a_block() {
        let steps: Vec<i64> = (0..16 << 10).collect();
        assert!(deltas(&steps).len() < 16 + 128 * 5);
    }

    #[test]
    fn split_gathers_equal_bytes() {
        assert_eq!(split(&[0x0102_i64, 0x0304], i64::cast_unsigned)[..4], [2, 4, 1, 3]);
        assert!(split(&[0_i64; 0], i64::cast_unsigned).is_empty());
        let values: Vec<i64> = (0..37).map(|at| at * 0x0123_4567_89ab_cdef).collect();
        for (at, byte) in split(&values, i64::cast_unsigned).into_iter().enumerate() {
            let (stream, row) = (at / values.len(), at % values.len());
            assert_eq!(byte, values[row].to_le_bytes()[stream]);
        }
    }
}
