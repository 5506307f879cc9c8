//! Plans which data files to rewrite together.
//!
//! Only small files are touched: what has reached half of the target size stays as it is, so that
//! the cost of compaction is that of the small files; and a file is rewritten only to one that is
//! larger by half, so that a table that grows by small files isn't rewritten over and over.
//!
//! Where rows are being changed, whoever changes them writes small files anew anyway, and a compaction there makes that
//! batch begin again or is in vain. So files of a **hot** partition are left alone until there are too many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use chrono::TimeDelta;

/// Files of a bin at most: each costs memory, and a line of the log entry.
pub(crate) const MOST_FILES: usize = 2_000;

/// A change of rows counts for so long.
pub const HEAT: TimeDelta = TimeDelta::minutes(5);

/// So many commits that change rows of a partition make it hot.
const HOT_COMMITS: usize = 3;

/// So many times as many small files as elsewhere are worth compacting in a hot partition.
const SPARED: usize = 4;

/// A live data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<P> {
    /// Its partition; files of different ones never share a bin.
    pub partition: P,
    /// Bytes as stored.
    pub size: u64,
    /// Must stay as it is: it has a deletion vector, or its rows can't be counted.
    pub pinned: bool,
    /// The cube ([`crate::clustering`]) that it is of, in a table that is clustered and by the columns that it is clustered by.
    pub cube: Option<String>,
}

/// When to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of a file, about.
    pub target_size: u64,
    /// Fewer small files of a partition are left alone, unless they make a large one.
    pub min_files: usize,
}

impl Policy {
    /// Whether so many small files, of so many bytes together at most, can make a bin.
    #[must_use]
    pub fn may_be_worth_it(self, (files, bytes): (u64, u64)) -> bool {
        files > 1 && (files >= self.min_files as u64 || bytes >= self.target_size / 2)
    }
}

/// The partitions that are hot, by those in which each commit of the last [`HEAT`] took rows away or changed them.
#[must_use]
pub fn hot_partitions<P: Ord>(commits: impl IntoIterator<Item = BTreeSet<P>>) -> BTreeSet<P> {
    let mut times = BTreeMap::<P, usize>::new();
    for partition in commits.into_iter().flatten() {
        *times.entry(partition).or_default() += 1;
    }
    times.into_iter().filter(|(_, times)| *times >= HOT_COMMITS).map(|(partition, _)| partition).collect()
}

/// Pins the files of hot partitions, but of those with too many small ones. Says how many it has pinned.
pub fn spare_hot<P: Ord>(files: &mut [Candidate<P>], hot: &BTreeSet<P>, policy: Policy) -> usize {
    let most = policy.min_files.max(2).saturating_mul(SPARED);
    let mut small = BTreeMap::<&P, usize>::new();
    for file in files.iter().filter(|file| !file.pinned && file.size < policy.target_size / 2) {
        *small.entry(&file.partition).or_default() += 1;
    }
    let is_spared = |partition: &P| hot.contains(partition) && small.get(partition).is_none_or(|small| *small < most);
    let spared: Vec<bool> = files.iter().map(|file| !file.pinned && is_spared(&file.partition)).collect();
    for (file, is_spared) in files.iter_mut().zip(&spared) {
        file.pinned |= is_spared;
    }
    spared.into_iter().filter(|is_spared| *is_spared).count()
}

/// Indexes of the files of each bin. Each bin has at least two files of one partition, and about the
/// target size at most; each file is in one bin at most, and is at most two thirds of its bin.
#[must_use]
pub fn plan_bins<P: Ord + Hash + Clone>(files: &[Candidate<P>], policy: Policy) -> Vec<Vec<usize>> {
    let mut small: BTreeMap<&P, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        if !file.pinned && file.size < policy.target_size / 2 {
            small.entry(&file.partition).or_default().push(index);
        }
    }
    let bins = small.into_values().flat_map(|indexes| pack(files, indexes, policy.target_size));
    let balanced = bins.map(|bin| balance(files, bin));
    balanced.filter(|bin| is_worth_it(files, bin, policy)).collect()
}

/// Leaves the largest file out while it is more than twice the others together: what is rewritten
/// grows by half, so that a byte is rewritten only so often before its file is big enough.
fn balance<P>(files: &[Candidate<P>], mut bin: Vec<usize>) -> Vec<usize> {
    let mut total: u64 = bin.iter().map(|index| files[*index].size).sum();
    while let Some(at) = (0..bin.len()).max_by_key(|at| files[bin[*at]].size)
        && files[bin[at]].size > 2 * (total - files[bin[at]].size)
    {
        total -= files[bin.remove(at)].size;
    }
    bin
}

/// Enough small files, or a result that is big enough to be left alone.
fn is_worth_it<P>(files: &[Candidate<P>], bin: &[usize], policy: Policy) -> bool {
    let total: u64 = bin.iter().map(|index| files[*index].size).sum();
    bin.len() > 1 && (bin.len() >= policy.min_files || total >= policy.target_size / 2)
}

/// Next-fit in the order of the files, which keeps neighbours in time together.
fn pack<P>(files: &[Candidate<P>], indexes: Vec<usize>, target: u64) -> Vec<Vec<usize>> {
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut filled = u64::MAX;
    for index in indexes {
        let size = files[index].size;
        let is_full = bins.last().is_some_and(|bin| bin.len() >= MOST_FILES);
        if is_full || filled.saturating_add(size) > target {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(partition: u8, size: u64) -> Candidate<u8> {
        Candidate { partition, size, pinned: false, cube: None }
    }

    const POLICY: Policy = Policy { target_size: 100, min_files: 3 };

    #[test]
    fn small_files_of_one_partition_go_together() {
        let files = [file(1, 10), file(2, 10), file(1, 20), file(1, 30), file(2, 10)];
        assert_eq!(plan_bins(&files, POLICY), [[0, 2, 3]]);
    }

    #[test]
    fn a_bin_has_only_so_many_files() {
        let files: Vec<_> = (0..5_000).map(|_| file(1, 1)).collect();
        let bins = plan_bins(&files, Policy { target_size: 1 << 20, min_files: 3 });
        assert_eq!(bins.iter().map(Vec::len).collect::<Vec<_>>(), [2_000, 2_000, 1_000]);
        let made: Vec<_> = bins.iter().map(|bin| file(1, bin.len() as u64)).collect();
        assert_eq!(plan_bins(&made, Policy { target_size: 1 << 20, min_files: 3 }), [[0, 1, 2]]);
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
    fn a_file_that_outweighs_the_others_is_left_out() {
        let files = [file(1, 40), file(1, 1), file(1, 2), file(1, 3)];
        assert_eq!(plan_bins(&files, POLICY), [[1, 2, 3]]);
        assert!(plan_bins(&files[..3], POLICY).is_empty());
    }

    #[test]
    fn a_partition_is_hot_while_one_commit_after_another_changes_its_rows() {
        let commits =
            [[1_u8, 2].as_slice(), &[1], &[2, 3], &[1, 3]].map(|partitions| partitions.iter().copied().collect());
        assert_eq!(hot_partitions(commits.clone()), [1].into());
        assert!(hot_partitions(commits.into_iter().take(3)).is_empty());
    }

    #[test]
    fn hot_partitions_are_left_alone_until_they_have_too_many_files() {
        let hot = [1].into();
        let planned = |small: usize| {
            let mut files: Vec<_> = (0..small).map(|_| file(1, 2)).chain((0..4).map(|_| file(2, 2))).collect();
            files.push(Candidate { pinned: true, ..file(1, 2) });
            let spared = spare_hot(&mut files, &hot, POLICY);
            (spared, plan_bins(&files, POLICY).len())
        };
        assert_eq!(planned(11), (11, 1));
        assert_eq!(planned(12), (0, 2));
    }

    #[test]
    fn a_hot_partition_comes_to_rest_after_it_was_compacted() {
        let (hot, mut sizes) = ([1].into(), Vec::<u64>::new());
        let mut compactions = 0;
        for _ in 0..240 {
            sizes.push(1);
            let mut files: Vec<_> = sizes.iter().map(|size| file(1, *size)).collect();
            spare_hot(&mut files, &hot, Policy { target_size: 10_000, min_files: 3 });
            let bins = plan_bins(&files, Policy { target_size: 10_000, min_files: 3 });
            compactions += bins.len();
            let made = bins.iter().map(|bin| bin.iter().map(|index| sizes[*index]).sum());
            let kept = (0..sizes.len()).filter(|index| !bins.iter().flatten().any(|in_bin| in_bin == index));
            sizes = kept.map(|index| sizes[index]).chain(made).collect();
        }
        assert_eq!(sizes.iter().sum::<u64>(), 240);
        assert!((1..=24).contains(&compactions), "{compactions} compactions of 240 files");
    }

    #[test]
    fn two_files_that_make_a_large_one_go_together() {
        assert_eq!(plan_bins(&[file(1, 30), file(1, 25)], POLICY), [[0, 1]]);
        assert!(plan_bins(&[file(1, 20), file(1, 25)], POLICY).is_empty());
    }

    #[test]
    fn a_table_that_grows_by_small_files_is_not_rewritten_over_and_over() {
        let policy = Policy { target_size: 1_000, min_files: 4 };
        let (mut sizes, mut rewritten) = (Vec::<u64>::new(), 0);
        for _ in 0..2_000 {
            sizes.push(1);
            let files: Vec<_> = sizes.iter().map(|size| file(1, *size)).collect();
            let bins = plan_bins(&files, policy);
            let sum = |bin: &Vec<usize>| bin.iter().map(|index| sizes[*index]).sum::<u64>();
            let made: Vec<u64> = bins.iter().map(sum).collect();
            rewritten += made.iter().sum::<u64>();
            let kept = (0..sizes.len()).filter(|index| !bins.iter().flatten().any(|in_bin| in_bin == index));
            sizes = kept.map(|index| sizes[index]).chain(made.clone()).collect();
        }
        assert_eq!(sizes.iter().sum::<u64>(), 2_000);
        assert!(rewritten <= 2_000 * 8, "{rewritten} bytes were rewritten for 2000");
        assert!(sizes.len() <= 20, "{sizes:?}");
    }

    proptest! {
        #[test]
        fn bins_are_sound(files in prop::collection::vec((0_u8..3, 1_u64..120, prop::bool::weighted(0.1)), 0..60), target_size in 1_u64..200, min_files in 0_usize..5) {
            let files: Vec<_> = files.into_iter().map(|(partition, size, pinned)| Candidate { partition, size, pinned, cube: None }).collect();
            let bins = plan_bins(&files, Policy { target_size, min_files });
            let mut seen = BTreeSet::new();
            for bin in bins {
                prop_assert!(bin.len() > 1);
                let total = bin.iter().map(|index| files[*index].size).sum::<u64>();
                prop_assert!(total <= target_size);
                for index in &bin {
                    prop_assert!(seen.insert(*index));
                    prop_assert_eq!(files[*index].partition, files[bin[0]].partition);
                    prop_assert!(!files[*index].pinned && files[*index].size < target_size / 2);
                    prop_assert!(files[*index].size * 3 <= total * 2);
                }
            }
        }
    }
}
