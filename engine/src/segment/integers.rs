//! Encodes pages of integers: steps, which mostly count up, and times.
//!
//! The `parquet` crate can do it too, but with a step a value where most blocks of steps want none.

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
    /// So many values stay in the nearest cache while their eight bytes are handed out.
    const AT_ONCE: usize = 512;
    let mut bytes = vec![0; values.len() * 8];
    let mut streams: Vec<&mut [u8]> = bytes.chunks_exact_mut(values.len().max(1)).collect();
    for (part, values) in values.chunks(AT_ONCE).enumerate() {
        for (at, stream) in streams.iter_mut().enumerate() {
            for (byte, &value) in stream[part * AT_ONCE..].iter_mut().zip(values) {
                *byte = bits(value).to_le_bytes()[at];
            }
        }
    }
    bytes
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
    use super::*;

    #[test]
    fn steps_that_count_up_take_a_few_bytes_a_block() {
        let steps: Vec<i64> = (0..16 << 10).collect();
        assert!(deltas(&steps).len() < 16 + 128 * 5);
    }

    #[test]
    fn split_gathers_equal_bytes() {
        assert_eq!(split(&[0x0102_i64, 0x0304], i64::cast_unsigned)[..4], [2, 4, 1, 3]);
        assert!(split(&[0_i64; 0], i64::cast_unsigned).is_empty());
    }
}
