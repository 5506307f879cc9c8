//! Plans which data files to rewrite together.
//!
//! Only small files are touched: what has reached half of the target size stays as it is, so that
//! the cost of compaction is that of the small files and no file is rewritten over and over.

use std::collections::BTreeMap;
use std::hash::Hash;

/// A live data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<P> {
    /// Its partition; files of different ones never share a bin.
    pub partition: P,
    /// Bytes as stored.
    pub size: u64,
    /// Must stay as it is, for instance because of a deletion vector.
    pub pinned: bool,
}

/// When to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of a file, about.
    pub target_size: u64,
    /// A partition with fewer small files is left alone.
    pub min_files: usize,
}

/// Indexes of the files of each bin. Each bin has at least two files of one partition, and about the
/// target size at most; each file is in one bin at most.
#[must_use]
pub fn plan_bins<P: Ord + Hash + Clone>(files: &[Candidate<P>], policy: Policy) -> Vec<Vec<usize>> {
    let mut small: BTreeMap<&P, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        if !file.pinned && file.size < policy.target_size / 2 {
            small.entry(&file.partition).or_default().push(index);
        }
    }
    let worth = small.into_values().filter(|indexes| indexes.len() >= policy.min_files.max(2));
    worth.flat_map(|indexes| pack(files, indexes, policy.target_size)).filter(|bin| bin.len() > 1).collect()
}

/// Next-fit in the order of the files, which keeps neighbours in time together.
fn pack<P>(files: &[Candidate<P>], indexes: Vec<usize>, target: u64) -> Vec<Vec<usize>> {
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut filled = u64::MAX;
    for index in indexes {
        let size = files[index].size;
        if filled.saturating_add(size) > target {
            bins.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(bin) = bins.last_mut() {
            bin.push(index);
        }
    }
    bins
}

/// Whether a checkpoint is due: so many commits since the last one, or since the beginning.
#[must_use]
pub const fn needs_checkpoint(version: u64, last: Option<u64>, every: u64) -> bool {
    match last {
        Some(last) => version >= last + every,
        None => version >= every,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(partition: u8, size: u64) -> Candidate<u8> {
        Candidate { partition, size, pinned: false }
    }

    const POLICY: Policy = Policy { target_size: 100, min_files: 3 };

    #[test]
    fn small_files_of_one_partition_go_together() {
        let files = [file(1, 10), file(2, 10), file(1, 20), file(1, 30), file(2, 10)];
        assert_eq!(plan_bins(&files, POLICY), [[0, 2, 3]]);
    }

    #[test]
    fn a_file_of_half_the_target_is_big_enough() {
        let files = [file(1, 50), file(1, 80), file(1, 10), file(1, 10)];
        assert!(plan_bins(&files, POLICY).is_empty());
    }

    #[test]
    fn compacting_twice_does_nothing_more() {
        let files: Vec<_> = (0..9).map(|_| file(1, 30)).collect();
        let bins = plan_bins(&files, POLICY);
        let after: Vec<_> = bins.iter().map(|bin| file(1, 30 * bin.len() as u64)).collect();
        assert_eq!(after.len(), 3);
        assert!(plan_bins(&after, POLICY).is_empty());
    }

    #[test]
    fn a_checkpoint_is_due_by_commits() {
        assert!(!needs_checkpoint(9, None, 10));
        assert!(needs_checkpoint(10, None, 10));
        assert!(!needs_checkpoint(19, Some(10), 10));
        assert!(needs_checkpoint(20, Some(10), 10));
    }

    proptest! {
        #[test]
        fn bins_are_sound(files in prop::collection::vec((0_u8..3, 1_u64..120, prop::bool::weighted(0.1)), 0..60), target_size in 1_u64..200, min_files in 0_usize..5) {
            let files: Vec<_> = files.into_iter().map(|(partition, size, pinned)| Candidate { partition, size, pinned }).collect();
            let bins = plan_bins(&files, Policy { target_size, min_files });
            let mut seen = std::collections::BTreeSet::new();
            for bin in bins {
                prop_assert!(bin.len() > 1);
                prop_assert!(bin.iter().map(|index| files[*index].size).sum::<u64>() <= target_size);
                for index in &bin {
                    prop_assert!(seen.insert(*index));
                    prop_assert_eq!(files[*index].partition, files[bin[0]].partition);
                    prop_assert!(!files[*index].pinned && files[*index].size < target_size / 2);
                }
            }
        }
    }
}
