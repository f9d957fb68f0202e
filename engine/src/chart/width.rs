//! How wide the buckets of a chart are.

use crate::segment::POINTS_PER_CELL;

/// So many points a bucket holds at least where it is made of cells; else its points are read, which is as fast.
const LEAST_POINTS: f64 = 64.0;

/// Buckets of equal width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    /// Where the first one starts.
    origin: i64,
    /// How wide each is.
    each: u64,
    /// The last one.
    greatest: u64,
    /// A power of two: cells of this width, and narrower ones, lie in one bucket each.
    pub(super) cell: i64,
}

impl Width {
    /// The narrowest buckets, as far as cells allow, of which at most `most` take in all of `range`. `densest` is how many
    /// points the densest series has a step. What is written where has no say, so that a chart does not change when
    /// segments are merged.
    pub(super) fn of_steps(range: (i64, i64), most: usize, densest: f64) -> Self {
        let exact = Self::of_range(range, most);
        let least = i64::try_from(exact.each).unwrap_or(i64::MAX);
        if densest * (least as f64) < LEAST_POINTS {
            return exact;
        }
        // The finest cells have a point in each of so many steps, and the next ones are eight times as wide.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is cut down")]
        let finest = (POINTS_PER_CELL as f64 / densest).ceil() as i64;
        let mut cell = finest.clamp(1, 1 << 61).cast_unsigned().next_power_of_two().cast_signed();
        while cell <= least / 16 {
            cell *= 8;
        }
        // Twice as wide as asked for at most: a little coarser, and several times faster.
        if cell / 2 > least {
            return exact;
        }
        Self::new(range, most, cell.max(below(least / 4)))
    }

    /// The narrowest buckets of which at most `most` take in all of `range`.
    pub(super) fn of_range(range: (i64, i64), most: usize) -> Self {
        Self::new(range, most, 1)
    }

    /// The narrowest buckets that start and end where cells of this width do.
    fn new((first, last): (i64, i64), most: usize, cell: i64) -> Self {
        let most = (most as u64).max(1);
        let origin = first.div_euclid(cell).saturating_mul(cell);
        let unit = cell.cast_unsigned();
        // One less than how many places there are, which fits.
        let span = last.wrapping_sub(origin).cast_unsigned();
        let cells = span / unit / most + 1;
        Self { origin, each: cells.saturating_mul(unit), greatest: most - 1, cell }
    }

    /// The number of the bucket that takes in `place`, which is in the range.
    pub(super) fn number(self, place: i64) -> u64 {
        (place.wrapping_sub(self.origin).cast_unsigned() / self.each).min(self.greatest)
    }

    /// Where the bucket `number` starts.
    pub(super) fn start(self, number: u64) -> i64 {
        self.origin.wrapping_add(number.wrapping_mul(self.each).cast_signed())
    }

    /// The last place in the bucket `number`.
    pub(super) fn last(self, number: u64) -> i64 {
        if number == self.greatest {
            return i64::MAX;
        }
        let last = i128::from(self.start(number)) + i128::from(self.each) - 1;
        i64::try_from(last).unwrap_or(i64::MAX)
    }
}

/// The greatest power of two that is not above `number`; 1 below that.
fn below(number: i64) -> i64 {
    1 << 63_u32.saturating_sub(number.max(1).leading_zeros())
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places within a range that is known"
    )]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_take_in_the_range_and_are_not_more_than_asked_for(
            any in (any::<i64>(), any::<i64>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
            small in (-5_000..5_000_i64, 0..200_000_i64).prop_map(|(a, length)| (a, a + length)),
            most in 1..3_000_usize,
            densest in prop_oneof![Just(0.0), 0.0..4.0_f64],
            places in proptest::collection::vec(0.0..1.0_f64, 20),
        ) {
            for range in [any, small] {
                for width in [Width::of_steps(range, most, densest), Width::of_range(range, most)] {
                    prop_assert!(width.number(range.1) < most as u64);
                    prop_assert!(width.each % width.cell.cast_unsigned() == 0 && width.cell.count_ones() == 1);
                    for share in &places {
                        let length = (i128::from(range.1) - i128::from(range.0)) as f64;
                        let place = range.0.saturating_add((length * share) as i64).clamp(range.0, range.1);
                        let number = width.number(place);
                        prop_assert!(width.start(number) <= place && place <= width.last(number));
                        // All of the cell around it is in the same bucket.
                        let cell = place.div_euclid(width.cell) * width.cell;
                        prop_assert!(width.start(number) <= cell);
                        prop_assert!(width.last(number) - (width.cell - 1) >= cell || width.last(number) == i64::MAX);
                    }
                }
            }
            let (narrow, wide) = (Width::of_range(small, most), Width::of_steps(small, most, densest));
            let least = (small.1 - small.0) as u64 / most as u64 + 1;
            prop_assert_eq!(narrow.each, least);
            prop_assert!(wide.each <= 2 * least + wide.cell.cast_unsigned(), "{:?} {}", wide, least);
        }
    }

    #[test]
    fn buckets_are_made_of_cells_where_there_are_many_points() {
        let of = |steps: i64, densest| {
            let width = Width::of_steps((0, steps - 1), 1000, densest);
            (width.each, width.cell)
        };
        assert_eq!(of(10_000, 1.0), (10, 1));
        assert_eq!(of(500_000, 1.0), (512, 128));
        assert_eq!(of(5_000_000, 1.0), (5120, 1024));
        assert_eq!(of(100_000, 1.0), (128, 128));
        assert_eq!(of(10_000_000, 0.01), (16_384, 16_384));
        assert_eq!(of(1, 1.0), (1, 1));
    }
}
