//! Work that is cut into slices, each of them done and committed by itself, so that it may end at any deadline.

use std::time::Duration;

/// Bytes a second that are rewritten at least, where nothing is known yet.
const SLOWEST: u64 = 8 << 20;

/// How fast the slices of an invocation went so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    bytes: u64,
    took: Duration,
}

impl Pace {
    /// Counts a slice of so many bytes.
    #[must_use]
    pub const fn after(self, bytes: u64, took: Duration) -> Self {
        Self { bytes: self.bytes.saturating_add(bytes), took: self.took.saturating_add(took) }
    }

    /// Whether a slice of so many bytes ends in the time that is left, if those to come go half as fast as those before. The
    /// first one of an invocation is always begun: else one that is too large would keep all others waiting for ever.
    #[must_use]
    pub fn fits(self, bytes: u64, left: Duration) -> bool {
        if left.is_zero() || self.bytes == 0 {
            return !left.is_zero();
        }
        let needed = self.took.as_secs_f64() * bytes as f64 / self.bytes as f64;
        needed * 2.0 <= left.as_secs_f64()
    }
}

/// How large a slice may be that is wanted so large and has this time, if there is any bound.
#[must_use]
pub fn in_time(wanted: u64, left: Option<Duration>) -> u64 {
    left.map_or(wanted, |left| wanted.min(left.as_secs().saturating_mul(SLOWEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_first_slice_is_begun_while_there_is_time() {
        assert!(Pace::default().fits(u64::MAX, seconds(1)));
        assert!(!Pace::default().fits(1, Duration::ZERO));
    }

    #[test]
    fn a_slice_is_begun_if_it_ends_in_time_though_it_is_slower() {
        let pace = Pace::default().after(100, seconds(5)).after(300, seconds(15));
        assert!(pace.fits(100, seconds(10)));
        assert!(!pace.fits(101, seconds(10)));
        assert!(!pace.fits(0, Duration::ZERO));
    }

    #[test]
    fn a_slice_is_no_larger_than_a_slow_machine_rewrites_in_time() {
        assert_eq!(in_time(u64::MAX, None), u64::MAX);
        assert_eq!(in_time(1 << 40, Some(seconds(16))), 128 << 20);
        assert_eq!(in_time(1 << 20, Some(seconds(16))), 1 << 20);
    }
}
