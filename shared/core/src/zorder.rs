//! The Z-order: one order of rows by several columns at once.
//!
//! A row is a point; along each axis it stands at the **rank** of its value among those of a sample, so that
//! columns of any type, range and skew count alike. The bits of the ranks, interleaved, are the row's **key**: rows
//! near each other by all columns are near each other by key, so that each file holds a small range of each column.

/// Columns that fit a key.
pub const MAX_COLUMNS: usize = 4;

/// Where a value stands, from how many values of the sample are smaller and how many there are. Ranks keep the
/// order of values, and use all bits however small the sample is.
#[must_use]
pub fn rank(smaller: usize, sample: usize) -> u16 {
    let share = (smaller.min(sample) as u64 * u64::from(u16::MAX)).checked_div(sample as u64);
    share.and_then(|share| u16::try_from(share).ok()).unwrap_or_default()
}

/// The key of each row, by its ranks in each column; the first column has the highest bit. Columns after
/// [`MAX_COLUMNS`] don't count; the shortest column says how many rows there are.
#[must_use]
pub fn interleave(columns: &[Vec<u16>]) -> Vec<u64> {
    let columns = &columns[..columns.len().min(MAX_COLUMNS)];
    let mut keys = vec![0; columns.iter().map(Vec::len).min().unwrap_or_default()];
    for (place, ranks) in columns.iter().rev().enumerate() {
        for (key, rank) in keys.iter_mut().zip(ranks) {
            *key |= spread(*rank, columns.len()) << place;
        }
    }
    keys
}

/// The bits of a rank, so far apart.
const fn spread(rank: u16, apart: usize) -> u64 {
    let (mut spread, mut bit) = (0, 0);
    while bit < u16::BITS as usize {
        spread |= ((rank as u64 >> bit) & 1) << (bit * apart);
        bit += 1;
    }
    spread
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_alternate_from_the_highest_of_the_first_column() {
        assert_eq!(interleave(&[vec![0b11], vec![0b01]]), [0b1011]);
        assert_eq!(interleave(&[vec![0b10], vec![0b11]]), [0b1101]);
        assert_eq!(interleave(&[vec![0b10], vec![0b01], vec![0b11]]), [0b101_011]);
        assert_eq!(interleave(&vec![vec![u16::MAX]; 4]), [u64::MAX]);
        assert_eq!(interleave(&[vec![7, 9]]), [7, 9]);
        assert!(interleave(&[]).is_empty());
    }

    #[test]
    fn a_square_of_keys_is_a_square_of_points() {
        let points: Vec<(u16, u16)> = (0..16).flat_map(|x| (0..16).map(move |y| (x, y))).collect();
        let keys =
            interleave(&[points.iter().map(|point| point.0).collect(), points.iter().map(|point| point.1).collect()]);
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by_key(|at| keys[*at]);
        for square in order.chunks(16) {
            let side = |of: fn(&(u16, u16)) -> u16| {
                let values = || square.iter().map(|at| of(&points[*at]));
                values().max().unwrap() - values().min().unwrap()
            };
            assert_eq!((side(|point| point.0), side(|point| point.1)), (3, 3));
        }
    }

    #[test]
    fn ranks_use_all_bits_of_a_small_sample() {
        assert_eq!([rank(0, 2), rank(1, 2), rank(2, 2)], [0, u16::MAX / 2, u16::MAX]);
        assert_eq!(rank(0, 0), 0);
    }

    /// The bit of a key that a bit of a column's rank is.
    fn bit_of(key: u64, (column, columns): (usize, usize), bit: usize) -> u64 {
        key >> (bit * columns + (columns - 1 - column)) & 1
    }

    proptest! {
        #[test]
        fn each_bit_is_in_its_place(row in prop::collection::vec(any::<u16>(), 1..=MAX_COLUMNS)) {
            let columns: Vec<Vec<u16>> = row.iter().map(|rank| vec![*rank]).collect();
            let key = interleave(&columns)[0];
            for (column, rank) in row.iter().enumerate() {
                for bit in 0..16 {
                    prop_assert_eq!(bit_of(key, (column, row.len()), bit), u64::from(rank >> bit & 1));
                }
            }
        }

        #[test]
        fn no_key_gets_smaller_where_no_rank_does(low in prop::collection::vec(any::<u16>(), 1..=MAX_COLUMNS), more in any::<[u16; MAX_COLUMNS]>()) {
            let high = low.iter().zip(more).map(|(rank, more)| rank.saturating_add(more));
            let columns: Vec<Vec<u16>> = low.iter().zip(high).map(|(low, high)| vec![*low, high]).collect();
            let keys = interleave(&columns);
            prop_assert!(keys[0] <= keys[1]);
        }

        #[test]
        fn ranks_keep_the_order(sample in 1_usize..9000, one in 0_usize..9000, other in 0_usize..9000) {
            let (one, other) = (one.min(sample), other.min(sample));
            prop_assert_eq!(rank(one, sample).cmp(&rank(other, sample)), one.cmp(&other));
        }
    }
}
