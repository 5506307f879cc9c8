//! Decides when files that no version of a table's retention names may go, and which must stay for longer.

use chrono::{DateTime, Duration, Utc};

/// A look at a table's folder is a listing of all of it: so much must have grown old enough since the last one.
const INTERVAL: Duration = Duration::days(1);

/// A file stays as long as this at least, whatever a table asks for: a writer that is at work has files that no
/// commit names yet, and a reader those of a version that it has pinned.
const SHORTEST_RETENTION: Duration = Duration::days(1);

/// Between the clocks of a commit's writer and of storage.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// Between the writing of a file and the commit that puts it in the place of others, at most.
const LONGEST_WRITE: Duration = Duration::days(1);

/// What is known of a table without listing its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What was removed before has been deleted; `None` if nobody has looked yet.
    pub cleared: Option<DateTime<Utc>>,
    /// When its newest live file was written; `None` for a table without files.
    pub newest_file: Option<DateTime<Utc>>,
    /// When the table was made, if known.
    pub made: Option<DateTime<Utc>>,
    /// How long it wants removed files to stay.
    pub retention: Duration,
    /// When the first commit with rows was made that a stream still has to read. What was live before is read by that stream.
    pub unread_since: Option<DateTime<Utc>>,
}

/// For how long removed files stay, at this time; `None` while there can't be anything to delete.
///
/// A table is looked at once a day, and no more once what its newest file replaced is gone.
#[must_use]
pub fn due(facts: Facts, now: DateTime<Utc>) -> Option<Duration> {
    let kept = kept_for(facts, now);
    let before = now.checked_sub_signed(kept)?;
    let is_due = match (facts.cleared, facts.made) {
        (Some(cleared), _) => {
            before - cleared >= INTERVAL && facts.newest_file.is_none_or(|newest| cleared < newest + LONGEST_WRITE)
        }
        (None, Some(made)) => before >= made,
        (None, None) => true,
    };
    is_due.then_some(kept)
}

/// For how long removed files stay: the retention, or longer for a stream that is further behind.
#[must_use]
pub fn kept_for(facts: Facts, now: DateTime<Utc>) -> Duration {
    let wanted = facts.retention.max(SHORTEST_RETENTION);
    facts.unread_since.map_or(wanted, |since| wanted.max(now - since + CLOCK_SKEW))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(number: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::days(number)
    }

    /// A file of day 100, and what was removed before that is gone.
    const fn facts() -> Facts {
        let at = DateTime::from_timestamp(100 * 86_400, 0);
        Facts { cleared: at, newest_file: at, made: None, retention: Duration::days(7), unread_since: None }
    }

    #[test]
    fn a_table_is_looked_at_once_a_day() {
        assert_eq!(due(facts(), day(108) - Duration::seconds(1)), None);
        assert_eq!(due(facts(), day(108)), Some(Duration::days(7)));
    }

    #[test]
    fn a_table_without_new_files_is_left_alone_once_all_that_was_removed_has_gone() {
        let cleared = |number| Facts { cleared: Some(day(number)), ..facts() };
        assert!(due(cleared(100), day(200)).is_some());
        assert_eq!(due(cleared(101), day(200)), None);
    }

    #[test]
    fn a_table_whose_rows_are_all_gone_is_looked_at() {
        assert!(due(Facts { newest_file: None, ..facts() }, day(200)).is_some());
    }

    #[test]
    fn a_new_table_has_nothing_that_is_old_enough() {
        let new = Facts { cleared: None, made: Some(day(100)), ..facts() };
        assert_eq!(due(new, day(106)), None);
        assert_eq!(due(new, day(107)), Some(Duration::days(7)));
        assert!(due(Facts { made: None, ..new }, day(100)).is_some());
    }

    #[test]
    fn files_stay_for_a_day_at_least() {
        let hasty = Facts { retention: Duration::zero(), ..facts() };
        assert_eq!(due(hasty, day(102)), Some(Duration::days(1)));
    }

    #[test]
    fn files_stay_for_a_stream_that_is_behind() {
        let behind = |since| Facts { unread_since: Some(since), ..facts() };
        assert_eq!(due(behind(day(110)), day(111)), Some(Duration::days(7)));
        let waiting = behind(day(103));
        assert_eq!(due(waiting, day(120)), Some(Duration::days(17) + Duration::hours(1)));
        let looked_at = Facts { cleared: Some(day(120) - Duration::days(17)), ..waiting };
        assert_eq!(due(looked_at, day(140)), None);
    }

    proptest! {
        #[test]
        fn what_is_due_with_a_stream_is_due_without(cleared in prop::option::of(80_i64..120), newest in prop::option::of(80_i64..120), since in 80_i64..120, now in 100_i64..140) {
            let alone = Facts { cleared: cleared.map(day), newest_file: newest.map(day), made: Some(day(80)), unread_since: None, ..facts() };
            let read = Facts { unread_since: Some(day(since)), ..alone };
            prop_assert!(due(read, day(now)).is_none() || due(alone, day(now)).is_some());
        }

        #[test]
        fn nothing_goes_that_a_reader_may_need(retention in -5_i64..20, since in prop::option::of(80_i64..120), now in 100_i64..140) {
            let facts = Facts { retention: Duration::days(retention), unread_since: since.map(day), ..facts() };
            if let Some(kept) = due(facts, day(now)) {
                prop_assert!(kept >= Duration::days(1) && kept >= Duration::days(retention));
                prop_assert!(since.is_none_or(|since| day(now) - kept < day(since)));
            }
        }
    }
}
