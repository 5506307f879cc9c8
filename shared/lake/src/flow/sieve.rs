//! Rows that may have one of some keys, told by a few bits a key.

use ahash::RandomState;
use arrow::array::ArrayRef;
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};

use crate::error::{LakeError, Result};

/// Keys that share a word, at most: of the rows that have none of the keys, fewer than one in a hundred pass.
const KEYS_A_WORD: usize = 4;

/// Words of a sieve at most: 64 MiB.
const MOST_WORDS: usize = 1 << 23;

/// Hashes of keys, which are gathered. Senders choose keys, so the hash is seeded.
#[derive(Debug)]
pub(super) struct KeyHashes {
    hashes: Vec<u64>,
    state: QualityRandomState,
}

/// Lets all rows pass that have one of its keys, and few others: a key sets three bits of one word, so that a row is told by one look.
#[derive(Debug)]
pub(super) struct Sieve {
    words: Vec<u64>,
    /// Of a hash, the bits that don't tell the word.
    unused: u32,
    state: QualityRandomState,
}

impl KeyHashes {
    /// Adds the keys of rows, given by their columns.
    pub(super) fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.hashes.extend(hashes(columns, &self.state)?);
        Ok(())
    }

    /// Ends the gathering.
    pub(super) fn sieve(self) -> Sieve {
        let count = self.hashes.len().div_ceil(KEYS_A_WORD).next_power_of_two().clamp(2, MOST_WORDS);
        let mut sieve = Sieve { words: vec![0; count], unused: u64::BITS - count.ilog2(), state: self.state };
        for hash in self.hashes {
            let (word, bits) = sieve.place(hash);
            sieve.words[word] |= bits;
        }
        sieve
    }
}

impl Default for KeyHashes {
    fn default() -> Self {
        Self { hashes: Vec::new(), state: QualityRandomState::with_seed(RandomState::new().hash_one(())) }
    }
}

impl Sieve {
    /// Positions of the rows that pass, in order, given by the columns of the keys, which are of the same types.
    pub(super) fn passing(&self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let passes = |hash: u64| {
            let (word, bits) = self.place(hash);
            self.words[word] & bits == bits
        };
        let rows = (0..).zip(hashes(columns, &self.state)?);
        Ok(rows.filter(|(_, hash)| passes(*hash)).map(|(row, _)| row).collect())
    }

    /// The word of a key, and its bits.
    #[expect(clippy::cast_possible_truncation, reason = "one of at most 2^23 words")]
    const fn place(&self, hash: u64) -> (usize, u64) {
        const fn bit(part: u64) -> u64 {
            1 << (part % u64::BITS as u64)
        }
        ((hash >> self.unused) as usize, bit(hash) | bit(hash >> 6) | bit(hash >> 12))
    }
}

fn hashes(columns: &[ArrayRef], state: &QualityRandomState) -> Result<Vec<u64>> {
    let mut hashes = vec![0; columns.first().map_or(0, |column| column.len())];
    create_hashes(columns, state, &mut hashes).map_err(LakeError::query)?;
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn columns(numbers: impl Iterator<Item = i64> + Clone) -> Vec<ArrayRef> {
        let texts: StringArray = numbers.clone().map(|number| (number % 5 != 0).then(|| format!("{number}"))).collect();
        vec![Arc::new(Int64Array::from_iter_values(numbers)), Arc::new(texts)]
    }

    #[test]
    fn all_with_a_key_pass_and_few_others() {
        let mut keys = KeyHashes::default();
        for start in [0, 1_000] {
            keys.add(&columns((start..start + 1_000).map(|number| 3 * number))).unwrap();
        }
        let sieve = keys.sieve();
        let passing = sieve.passing(&columns(0..30_000)).unwrap();
        assert!(passing.is_sorted());
        let (with_key, others): (Vec<u32>, Vec<u32>) =
            passing.into_iter().partition(|row| *row < 6_000 && row % 3 == 0);
        assert_eq!(with_key.len(), 2_000);
        assert!(others.len() < 28_000 / 50, "{} of 28,000 pass", others.len());
    }

    #[test]
    fn one_without_keys_lets_nothing_pass() {
        let sieve = KeyHashes::default().sieve();
        assert!(sieve.passing(&columns(0..100)).unwrap().is_empty());
        assert!(sieve.passing(&[]).unwrap().is_empty());
    }
}
