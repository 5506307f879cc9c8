//! How much is received at once.
//!
//! A request brings ten messages at most, so that requests go out side by side: one at first, twice as many after each
//! round that was full. A round that brought nothing is the last.

use chrono::TimeDelta;

use super::requests::ENTRIES;
use crate::batch::Limits;

/// Requests side by side at most.
const WIDEST: usize = 8;

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Messages so far.
    pub messages: usize,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The last round: how many requests it had, and how many messages it brought.
    pub last: Option<(usize, usize)>,
}

impl Drained {
    /// Counts one round.
    #[must_use]
    pub const fn after(self, requests: usize, messages: usize, bytes: u64) -> Self {
        Self { messages: self.messages + messages, bytes: self.bytes + bytes, last: Some((requests, messages)) }
    }
}

/// How many messages each request of the next round asks for; no request when the batch is full or the queue gave
/// nothing. Bytes are known only when they are there, so that a batch has more of them by a round's at most.
#[must_use]
pub fn next_round(drained: Drained, limits: Limits) -> Vec<usize> {
    let missing = limits.items.saturating_sub(drained.messages);
    if missing == 0 || drained.bytes >= limits.bytes {
        return Vec::new();
    }
    let wide = match drained.last {
        None => 1,
        Some((_, 0)) => return Vec::new(),
        Some((requests, messages)) if messages >= requests * ENTRIES => (requests * 2).min(WIDEST),
        Some(_) => 1,
    };
    let requests = wide.min(missing.div_ceil(ENTRIES));
    (0..requests).map(|request| (missing - request * ENTRIES).min(ENTRIES)).collect()
}

/// How long it takes to delete so many messages, in eight requests of ten side by side that take 40 ms each.
#[must_use]
pub fn delete_time(messages: usize) -> TimeDelta {
    TimeDelta::microseconds(i64::try_from(messages).unwrap_or(i64::MAX).saturating_mul(500))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { items: 100, bytes: 1_000 };

    #[test]
    fn rounds_widen_while_they_are_full_and_end_with_an_empty_one() {
        let mut drained = Drained::default();
        let mut widths = Vec::new();
        for _ in 0..6 {
            let round = next_round(drained, Limits { items: 1_000, bytes: 1_000 });
            widths.push(round.len());
            drained = drained.after(round.len(), round.iter().sum(), 0);
        }
        assert_eq!(widths, [1, 2, 4, 8, 8, 8]);
        assert_eq!(next_round(drained.after(8, 79, 0), Limits { items: 1_000, bytes: 1_000 }).len(), 1);
        assert!(next_round(drained.after(8, 0, 0), LIMITS).is_empty());
    }

    #[test]
    fn time_to_delete_grows_with_the_messages() {
        assert_eq!(delete_time(0), TimeDelta::zero());
        assert_eq!(delete_time(10_000), TimeDelta::seconds(5));
    }

    #[test]
    fn enough_bytes_are_enough() {
        assert!(next_round(Drained::default().after(1, 10, 1_000), LIMITS).is_empty());
        assert_eq!(next_round(Drained::default().after(1, 10, 999), LIMITS), [10, 10]);
    }

    proptest! {
        #[test]
        fn no_more_messages_are_asked_for_than_fit(messages in 0_usize..300, requests in 1_usize..9, got in 0_usize..90, items in 0_usize..300) {
            let drained = Drained { messages, bytes: 0, last: Some((requests, got)) };
            let round = next_round(drained, Limits { items, bytes: 1 });
            prop_assert!(messages.min(items) + round.iter().sum::<usize>() <= items);
            prop_assert!(round.iter().all(|asked| (1..=ENTRIES).contains(asked)));
        }
    }
}
