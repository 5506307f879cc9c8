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

    proptest! {
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
