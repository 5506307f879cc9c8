//! The bound on event time.
//!
//! A watermark says: rows older than this are late. It moves with the batches of a flow, from what
//! earlier batches have seen, so that a replayed batch meets the same watermark as the first time.
//! It is carried by a `txn` action of its own ([`crate::name::FlowName::watermark_app_id`]), in
//! microseconds since 1970, which log clean-up never removes.

use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// The watermark after a batch: the highest event time seen so far, less the delay. It never moves
/// back, and stays where it is when the batch has no event times.
#[must_use]
pub fn next_watermark(previous: Option<Micros>, highest_event_time: Option<Micros>, delay: Duration) -> Option<Micros> {
    let delay = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
    let reached = highest_event_time.map(|at| at.saturating_sub(delay));
    previous.max(reached)
}

/// Whether a row is late: strictly before the watermark that its batch began with. A row without an
/// event time is never late.
#[must_use]
pub const fn is_late(watermark: Option<Micros>, event_time: Option<Micros>) -> bool {
    match (watermark, event_time) {
        (Some(bound), Some(at)) => at < bound,
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_batch_has_no_late_rows() {
        assert!(!is_late(None, Some(i64::MIN)));
    }

    #[test]
    fn a_row_at_the_watermark_is_in_time() {
        let bound = next_watermark(None, Some(100), Duration::from_micros(40));
        assert_eq!(bound, Some(60));
        assert!(!is_late(bound, Some(60)));
        assert!(is_late(bound, Some(59)));
        assert!(!is_late(bound, None));
    }

    #[test]
    fn a_delay_beyond_time_leaves_nothing_late() {
        assert!(!is_late(next_watermark(None, Some(0), Duration::MAX), Some(i64::MIN + 1)));
    }

    proptest! {
        #[test]
        fn a_watermark_never_moves_back(previous: Option<i64>, highest: Option<i64>, delay: u32) {
            let next = next_watermark(previous, highest, Duration::from_micros(delay.into()));
            prop_assert!(next >= previous);
            prop_assert!(highest.is_none() || next.is_some());
        }

        #[test]
        fn a_batch_split_in_two_ends_at_the_same_watermark(a: i64, b: i64, delay: u32) {
            let delay = Duration::from_micros(delay.into());
            let split = next_watermark(next_watermark(None, Some(a), delay), Some(b), delay);
            prop_assert_eq!(split, next_watermark(None, Some(a.max(b)), delay));
        }
    }
}
