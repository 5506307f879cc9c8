//! Cuts what is waiting into batches.
//!
//! A batch is what one commit holds. It is cut by bytes, so that memory is bounded by the batch and
//! not by what is waiting; an item larger than the limit is a batch of its own.

use std::ops::Range;

/// Limits of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items at most; at least one is always taken.
    pub items: usize,
    /// Bytes, unless a single item has more.
    pub bytes: u64,
}

/// Cuts items of these sizes, in order, into consecutive batches within the limits. Every item is
/// in exactly one batch and no batch is empty.
#[must_use]
pub fn plan_batches(sizes: &[u64], limits: Limits) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < sizes.len() {
        let length = next_batch(&sizes[start..], limits);
        batches.push(start..start + length);
        start += length;
    }
    batches
}

/// How many of the first items make the next batch: at least one if there is any.
#[must_use]
pub fn next_batch(sizes: &[u64], limits: Limits) -> usize {
    let mut bytes = 0_u64;
    let fitting = sizes
        .iter()
        .take(limits.items)
        .take_while(|size| {
            bytes = bytes.saturating_add(**size);
            bytes <= limits.bytes
        })
        .count();
    fitting.max(1).min(sizes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_item_over_the_limit_is_a_batch_of_its_own() {
        let limits = Limits { items: 10, bytes: 10 };
        assert_eq!(plan_batches(&[4, 4, 4, 30, 1], limits), [0..2, 2..3, 3..4, 4..5]);
    }

    #[test]
    fn nothing_waiting_is_no_batch() {
        assert!(plan_batches(&[], Limits { items: 1, bytes: 1 }).is_empty());
        assert_eq!(next_batch(&[], Limits { items: 1, bytes: 1 }), 0);
    }

    proptest! {
        #[test]
        fn every_item_is_in_exactly_one_batch(sizes in prop::collection::vec(0_u64..100, 0..50), items in 0_usize..8, bytes in 0_u64..150) {
            let batches = plan_batches(&sizes, Limits { items, bytes });
            let covered: Vec<usize> = batches.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..sizes.len()).collect::<Vec<_>>());
            for batch in batches {
                let total: u64 = sizes[batch.clone()].iter().sum();
                prop_assert!(batch.len() == 1 || (total <= bytes && batch.len() <= items));
            }
        }
    }
}
