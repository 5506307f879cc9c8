//! Plans which data files to sort together, in a table that is clustered by some of its columns.
//!
//! What was sorted together is a **cube**: each of its files holds a small range of the columns. A cube that has
//! reached half of the wanted size is left alone for good. Smaller ones, and files of none, are sorted together with what
//! came since, but only to what is larger by half, so that a growing table isn't sorted over and over.

use std::collections::BTreeMap;

use crate::compaction::{Candidate, MOST_FILES, Policy};

/// Files of a cube, about.
const FILES_OF_A_CUBE: u64 = 4;

/// Bytes of a cube: some files, and what can be sorted within so much memory without much spilling.
#[must_use]
pub fn cube_size(file_size: u64, memory: u64) -> u64 {
    file_size.saturating_mul(FILES_OF_A_CUBE).min(memory / 2).max(file_size)
}

/// What is sorted as a whole or not at all: a file of no cube, or all files of one.
#[derive(Debug)]
struct Unit {
    files: Vec<usize>,
    size: u64,
    is_cube: bool,
}

/// Indexes of the files of each bin, which become a cube of about this size at most, or of one file that is larger. Files of
/// a bin are of one partition; each file is in one bin at most, and those of a cube are in the same one.
#[must_use]
pub fn plan_cubes<P: Ord + Clone>(files: &[Candidate<P>], policy: Policy, cube_size: u64) -> Vec<Vec<usize>> {
    let mut partitions: BTreeMap<&P, Vec<Unit>> = BTreeMap::new();
    let mut cubes: BTreeMap<(&P, &str), usize> = BTreeMap::new();
    for (index, file) in files.iter().enumerate().filter(|(_, file)| !file.pinned) {
        let units = partitions.entry(&file.partition).or_default();
        let known = file.cube.as_deref().map(|cube| *cubes.entry((&file.partition, cube)).or_insert(units.len()));
        match known.and_then(|at| units.get_mut(at)) {
            Some(unit) => {
                unit.files.push(index);
                unit.size += file.size;
            }
            None => units.push(Unit { files: vec![index], size: file.size, is_cube: file.cube.is_some() }),
        }
    }
    let open = |units: Vec<Unit>| units.into_iter().filter(|unit| !unit.is_cube || unit.size < cube_size / 2);
    let bins = partitions.into_values().flat_map(|units| pack(open(units), cube_size)).map(balance);
    bins.filter(|bin| is_worth_it(bin, policy))
        .map(|bin| bin.into_iter().flat_map(|unit| unit.files).collect())
        .collect()
}

/// Next-fit, in the order of the units.
fn pack(units: impl Iterator<Item = Unit>, cube_size: u64) -> Vec<Vec<Unit>> {
    let mut bins: Vec<Vec<Unit>> = Vec::new();
    let mut filled = u64::MAX;
    for unit in units {
        let is_full = bins.last().is_some_and(|bin: &Vec<Unit>| bin.len() >= MOST_FILES);
        if is_full || filled.saturating_add(unit.size) > cube_size {
            bins.push(Vec::new());
            filled = 0;
        }
        filled += unit.size;
        if let Some(bin) = bins.last_mut() {
            bin.push(unit);
        }
    }
    bins
}

/// Leaves the largest cube out while it is more than twice the rest.
fn balance(mut bin: Vec<Unit>) -> Vec<Unit> {
    let mut total: u64 = bin.iter().map(|unit| unit.size).sum();
    let largest = |bin: &[Unit]| (0..bin.len()).filter(|at| bin[*at].is_cube).max_by_key(|at| bin[*at].size);
    while let Some(at) = largest(&bin)
        && bin[at].size > 2 * (total - bin[at].size)
    {
        total -= bin.remove(at).size;
    }
    bin
}

/// Enough files, or enough bytes, that aren't one cube already.
fn is_worth_it(bin: &[Unit], policy: Policy) -> bool {
    let is_mixed = bin.len() > 1 || bin.iter().any(|unit| !unit.is_cube);
    let files: usize = bin.iter().map(|unit| unit.files.len()).sum();
    let size: u64 = bin.iter().map(|unit| unit.size).sum();
    is_mixed && ((files > 1 && files >= policy.min_files) || size >= policy.target_size / 2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { target_size: 100, min_files: 3 };

    fn file(size: u64, cube: Option<&str>) -> Candidate<u8> {
        Candidate { partition: 1, size, pinned: false, cube: cube.map(str::to_owned) }
    }

    fn plan(files: &[Candidate<u8>]) -> Vec<Vec<usize>> {
        plan_cubes(files, POLICY, 400)
    }

    #[test]
    fn a_cube_is_a_few_files_and_fits_memory() {
        assert_eq!(cube_size(128, 10_000), 512);
        assert_eq!(cube_size(128, 600), 300);
        assert_eq!(cube_size(128, 100), 128);
    }

    #[test]
    fn large_files_are_sorted_once() {
        assert_eq!(plan(&[file(100, None), file(90, None), file(95, None), file(100, None)]), [[0, 1, 2, 3]]);
        assert_eq!(plan(&[file(900, None)]), [[0]]);
        assert!(plan(&[file(900, Some("a"))]).is_empty());
        assert!(plan(&[file(20, None)]).is_empty());
    }

    #[test]
    fn a_bin_has_only_so_many_files() {
        let files: Vec<_> = (0..3_000).map(|_| file(1, None)).collect();
        let bins = plan_cubes(&files, POLICY, 1 << 20);
        assert_eq!(bins.iter().map(Vec::len).collect::<Vec<_>>(), [2_000, 1_000]);
    }

    #[test]
    fn a_cube_of_half_the_size_is_left_alone() {
        let cube = [file(100, Some("a")), file(100, Some("a"))];
        let new = || (0..5).map(|_| file(20, None));
        assert_eq!(plan(&cube.iter().cloned().chain(new()).collect::<Vec<_>>()), [[2, 3, 4, 5, 6]]);
    }

    #[test]
    fn a_smaller_cube_is_sorted_again_with_half_as_much_more() {
        let cube = || [file(100, Some("a")), file(50, Some("a"))].into_iter();
        let little = cube().chain([file(20, None), file(20, None), file(20, None)]);
        assert_eq!(plan(&little.collect::<Vec<_>>()), [[2, 3, 4]]);
        let enough = cube().chain([file(40, None), file(40, None)]);
        assert_eq!(plan(&enough.collect::<Vec<_>>()), [[0, 1, 2, 3]]);
    }

    #[test]
    fn two_cubes_become_one() {
        assert_eq!(plan(&[file(60, Some("a")), file(60, Some("b")), file(60, Some("b"))]), [[0, 1, 2]]);
        assert!(plan(&[file(60, Some("a")), file(60, Some("a"))]).is_empty());
    }

    #[test]
    fn a_growing_table_is_not_sorted_over_and_over() {
        let policy = Policy { target_size: 250, min_files: 4 };
        let (mut files, mut sorted) = (Vec::<Candidate<u8>>::new(), 0);
        for round in 0..2_000 {
            files.push(file(1, None));
            let bins = plan_cubes(&files, policy, 1_000);
            let gone: BTreeSet<usize> = bins.iter().flatten().copied().collect();
            let mut kept: Vec<_> =
                (0..files.len()).filter(|at| !gone.contains(at)).map(|at| files[at].clone()).collect();
            for (number, bin) in bins.iter().enumerate() {
                let mut left = bin.iter().map(|at| files[*at].size).sum::<u64>();
                sorted += left;
                while left > 0 {
                    let size = left.min(policy.target_size);
                    kept.push(file(size, Some(&format!("{round}/{number}"))));
                    left -= size;
                }
            }
            files = kept;
        }
        assert_eq!(files.iter().map(|file| file.size).sum::<u64>(), 2_000);
        assert!(sorted <= 2_000 * 10, "{sorted} bytes were sorted for 2000");
        assert!(files.len() <= 30, "{files:?}");
    }

    proptest! {
        #[test]
        fn bins_are_sound(
            files in prop::collection::vec((0_u8..3, 1_u64..120, prop::bool::weighted(0.1), prop::option::of(0_u8..4)), 0..60),
            target_size in 1_u64..200,
            min_files in 0_usize..5,
        ) {
            let candidate = |(partition, size, pinned, cube): (u8, u64, bool, Option<u8>)| {
                Candidate { partition, size, pinned, cube: cube.map(|cube| cube.to_string()) }
            };
            let files: Vec<_> = files.into_iter().map(candidate).collect();
            let cube_size = target_size * 4;
            let bins = plan_cubes(&files, Policy { target_size, min_files }, cube_size);
            let mut seen = BTreeSet::new();
            for bin in &bins {
                prop_assert!(!bin.is_empty());
                let size = |at: &usize| files[*at].size;
                prop_assert!(bin.len() == 1 || bin.iter().map(size).sum::<u64>() <= cube_size);
                for at in bin {
                    prop_assert!(seen.insert(*at) && !files[*at].pinned);
                    prop_assert_eq!(files[*at].partition, files[bin[0]].partition);
                }
                let cubes: BTreeSet<_> = bin.iter().map(|at| &files[*at].cube).collect();
                prop_assert!(cubes.len() > 1 || cubes.contains(&None), "one cube alone");
            }
            for (at, file) in files.iter().enumerate().filter(|(_, file)| file.cube.is_some() && !file.pinned) {
                let alike = |other: &Candidate<u8>| other.cube == file.cube && other.partition == file.partition && !other.pinned;
                for other in (0..files.len()).filter(|other| alike(&files[*other])) {
                    prop_assert_eq!(seen.contains(&at), seen.contains(&other));
                }
            }
        }
    }
}
