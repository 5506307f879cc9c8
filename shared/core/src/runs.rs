//! Neighbours that are worked on together.

use std::ops::Range;

/// Puts neighbours together as long as their sizes come to `limit` at most; one that is larger stays alone. Each place is in one run.
#[must_use]
pub fn runs(sizes: impl IntoIterator<Item = u64>, limit: u64) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut total = 0_u64;
    for (at, size) in sizes.into_iter().enumerate() {
        total = total.saturating_add(size);
        match runs.last_mut() {
            Some(run) if total <= limit => run.end = at + 1,
            _ => {
                runs.push(at..at + 1);
                total = size;
            }
        }
    }
    runs
}

/// Cuts `0..length` into runs of at least `least` each, but for the last one, at places where it may be cut, given in order: at the first
/// that leaves a run long enough.
#[must_use]
pub fn cut(length: usize, places: impl IntoIterator<Item = usize>, least: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start) = (Vec::new(), 0);
    for place in places.into_iter().filter(|place| *place < length).chain([length]) {
        if place == length || place.saturating_sub(start) >= least.max(1) {
            runs.extend((start < place).then_some(start..place));
            start = place;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_ones_are_put_together() {
        assert!(runs([], 4).is_empty());
        assert_eq!(runs([1, 2, 1, 1], 4), [0..3, 3..4]);
        assert_eq!(runs([9, 1, 3, 9, 9], 4), [0..1, 1..3, 3..4, 4..5]);
    }

    #[test]
    fn runs_end_where_they_may() {
        assert!(cut(0, [0], 4).is_empty());
        assert!(cut(9, [10], 4).into_iter().eq(std::iter::once(0..9)));
        assert_eq!(cut(9, [0, 3, 6, 8], 4), [0..6, 6..9]);
        assert_eq!(cut(9, [0, 4, 8], 4), [0..4, 4..8, 8..9]);
        assert_eq!(cut(2, [0, 1], 0), [0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn all_are_in_runs_that_are_long_enough(
            length in 0..60_usize,
            places in proptest::collection::btree_set(0..80_usize, 0..20),
            least in 0..9_usize,
        ) {
            let runs = cut(length, places.iter().copied(), least);
            prop_assert!(runs.iter().rev().skip(1).all(|run| run.len() >= least && places.contains(&run.end)));
            let between = |run: &Range<usize>| places.range(run.start + least.max(1)..run.end).count();
            prop_assert!(runs.iter().all(|run| run.start + least.max(1) > run.end || between(run) == 0));
            prop_assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..length).collect::<Vec<_>>());
        }

        #[test]
        fn each_is_in_one_run(sizes in proptest::collection::vec(0..20_u64, 0..40)) {
            let runs = runs(sizes.iter().copied(), 10);
            let total = |run: &Range<usize>| sizes[run.clone()].iter().sum::<u64>();
            prop_assert!(runs.iter().all(|run| run.len() == 1 || total(run) <= 10));
            prop_assert!(runs.windows(2).all(|pair| total(&(pair[0].start..pair[1].start + 1)) > 10));
            prop_assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
