//! What a Bloom filter of Parquet is worth.
//!
//! [Split-block filters](https://parquet.apache.org/docs/file-format/bloomfilter/): blocks of 256 bits, in one of which
//! each value sets a bit of each of eight words of 32 bits.

/// Bytes of a block.
const BLOCK: f64 = 32.0;

/// Bits of a word, and words of a block.
const WORD: (f64, i32) = (32.0, 8);

/// A block that should hold so many values is full: all that is looked for seems to be in it.
const FULL: f64 = 400.0;

/// How often a filter errs at most, as a rule: writers make none that rules out less.
const USUAL: f64 = 0.01;

/// A row group's Bloom filter of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Its size.
    pub bytes: u64,
    /// Values in it, of which some may be the same.
    pub values: u64,
}

impl Filter {
    /// Which part of the values that aren't in it is taken for ones that are, between 0 and 1, if those that are in it differ.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn false_positives(self) -> f64 {
        let in_block = self.values as f64 * BLOCK / self.bytes as f64;
        if self.bytes == 0 || in_block > FULL {
            return 1.0;
        }
        // How many values a block has follows Poisson's distribution: those with more than the mean give most of the false answers.
        let (mut chance, mut unset, mut sum, mut left) = ((-in_block).exp(), 1.0, 0.0, 1.0);
        let mut number = 0.0;
        while left > f64::EPSILON && number < 2.0 * FULL {
            sum += chance * (1.0_f64 - unset).powi(WORD.1);
            left -= chance;
            number += 1.0;
            chance *= in_block / number;
            unset *= 1.0 - 1.0 / WORD.0;
        }
        sum.clamp(0.0, 1.0)
    }

    /// Whether to look for so many values in it before other bytes are read, which it spares if none of them seems to be there: whether fewer bytes
    /// are read so on average, where none of them is. One that is too small for its values was made for fewer, which come more than once.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn is_worth_reading(self, sought: usize, spares: u64) -> bool {
        let none_seems_there = (1.0 - self.false_positives().min(USUAL)).powf(sought as f64);
        let spared = none_seems_there * spares as f64;
        spared > self.bytes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u64 = 1 << 20;

    #[test]
    fn a_filter_with_more_bits_errs_less() {
        let of_bits = |bits: u64| Filter { bytes: GROUP * bits / 8, values: GROUP }.false_positives();
        let told: Vec<String> = [8, 16, 32, 64].map(|bits| format!("{:.1e}", of_bits(bits))).to_vec();
        assert_eq!(told, ["3.3e-2", "1.3e-3", "3.6e-5", "1.1e-6"]);
        assert!(Filter { bytes: 32, values: 0 }.false_positives() < f64::EPSILON);
    }

    #[test]
    fn a_full_one_tells_nothing() {
        for filter in
            [Filter { bytes: 0, values: 1 }, Filter { bytes: 64, values: GROUP }, Filter { bytes: 1, values: u64::MAX }]
        {
            assert!((filter.false_positives() - 1.0).abs() < f64::EPSILON, "{filter:?}");
        }
        let nearly = Filter { bytes: 32, values: 399 }.false_positives();
        assert!((0.999..=1.0).contains(&nearly), "{nearly}");
    }

    #[test]
    fn it_is_read_where_it_is_likely_to_spare_more() {
        let filter = Filter { bytes: 4 * GROUP, values: GROUP };
        assert!(filter.is_worth_reading(10_000, 16 * GROUP));
        assert!(!filter.is_worth_reading(100_000, 16 * GROUP));
        assert!(!filter.is_worth_reading(1, 3 * GROUP));
        assert!(filter.is_worth_reading(0, 5 * GROUP));
        let of_repeated = Filter { bytes: GROUP / 4, values: GROUP };
        assert!(of_repeated.is_worth_reading(64, GROUP));
        assert!(!of_repeated.is_worth_reading(200, GROUP));
    }
}
