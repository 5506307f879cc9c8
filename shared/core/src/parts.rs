//! Cuts a large file of text into parts, each landed by a commit of its own.
//!
//! A part ends between two records: after enough bytes, or when time runs short. How far a file was landed is in the same
//! commit as the rows up to there, so whoever comes next goes on from there.

use chrono::{DateTime, TimeDelta, Utc};

use crate::marks::fnv1a;

/// A compressed file is landed in parts from this share of a part on, as nobody knows what it grows to.
const COMPRESSED_SHARE: u64 = 8;

/// Time that a part keeps for its last data file and its commit.
const LEAST_TO_END: TimeDelta = TimeDelta::seconds(2);

/// A place between two records of a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes before it, decompressed.
    pub bytes: u64,
    /// Lines before it.
    pub lines: u64,
    /// Rows that were decoded before it.
    pub rows: u64,
}

/// Whether any byte of a file can be read without those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any byte.
    Random,
    /// A compressed file is decompressed from its beginning each time.
    Sequential,
}

/// Whether a file of so many stored bytes is landed in parts of about `limit` bytes of text.
#[must_use]
pub const fn is_cut(size: u64, access: Access, limit: u64) -> bool {
    match access {
        Access::Random => size > limit,
        Access::Sequential => size > limit / COMPRESSED_SHARE,
    }
}

/// Bytes of text after which the next part of a file ends. Parts of a compressed file grow with what is decompressed once more
/// before each, so that all of that is at most twice the file.
#[must_use]
pub fn part_bytes(landed: u64, access: Access, limit: u64) -> u64 {
    match access {
        Access::Random => limit,
        Access::Sequential => limit.max(landed),
    }
}

/// When a part that begins now has to stop reading to be committed before a deadline: a fifth of the time is kept.
#[must_use]
pub fn reads_until(now: DateTime<Utc>, deadline: DateTime<Utc>) -> DateTime<Utc> {
    deadline - ((deadline - now) / 5).max(LEAST_TO_END)
}

/// What tells a file from another that was written under its name. It is written to logs: it never changes.
#[must_use]
pub fn fingerprint(modified_micros: i64, size: u64, etag: Option<&str>) -> u64 {
    // Listings of some stores leave the quotes of a tag out.
    let etag = etag.unwrap_or_default().trim_matches('"');
    fnv1a(format!("{modified_micros}/{size}/{etag}").as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_file_is_landed_whole_and_what_a_compressed_one_grows_to_is_guessed() {
        assert!(!is_cut(100, Access::Random, 100) && is_cut(101, Access::Random, 100));
        assert!(!is_cut(12, Access::Sequential, 100) && is_cut(13, Access::Sequential, 100));
    }

    #[test]
    fn a_part_ends_before_its_deadline() {
        let now = DateTime::UNIX_EPOCH;
        let until = |seconds| reads_until(now, now + TimeDelta::seconds(seconds)) - now;
        assert_eq!(until(100), TimeDelta::seconds(80));
        assert_eq!(until(5), TimeDelta::seconds(3));
        assert!(until(1) < TimeDelta::zero());
    }

    #[test]
    fn a_fingerprint_tells_files_apart_and_not_how_a_store_quotes() {
        let one = fingerprint(1, 2, Some("\"a\""));
        assert_eq!(one, fingerprint(1, 2, Some("a")));
        let others = [fingerprint(2, 2, Some("a")), fingerprint(1, 3, Some("a")), fingerprint(1, 2, None)];
        assert!(!others.contains(&one));
        assert_eq!(fingerprint(0, 0, None), 0xb700_6ff9_5465_710d, "written to logs");
    }

    proptest! {
        #[test]
        fn decompressing_again_costs_at_most_two_times_the_file(size in 1_u64..1 << 40, limit in 1_u64..1 << 30) {
            let (mut landed, mut again) = (0, 0);
            while landed < size {
                again += landed;
                landed += part_bytes(landed, Access::Sequential, limit);
            }
            prop_assert!(again <= 2 * size);
        }
    }
}
