//! Decides when a log gets a checkpoint, and for how long its entries stay.

use chrono::Duration;

/// The log goes back as far as this at least, whatever a table asks for: a writer that is at work has
/// pinned a version, and a stream reads commit by commit.
const SHORTEST_LOG_RETENTION: Duration = Duration::days(1);

/// Commits between two checkpoints, unless the table says otherwise.
const COMMITS: u64 = 20;

/// Bytes of log entries that are soon read, however few commits they are: some thousand files.
const BYTES: u64 = 4 << 20;

/// What a reader that opens a table reads besides the last checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    /// Commits since the last checkpoint, or since the beginning.
    pub commits: u64,
    /// Bytes of their log entries.
    pub bytes: u64,
    /// Bytes of the last checkpoint; 0 where there is none.
    pub checkpoint: u64,
}

impl Tail {
    /// Whether a checkpoint is due: after so many commits, or when their entries are large, and not small beside the
    /// checkpoint, which is written anew each time.
    #[must_use]
    pub fn is_too_long(self, commits: Option<u64>) -> bool {
        let by_commits = self.commits >= commits.unwrap_or(COMMITS).max(1);
        by_commits || (self.bytes >= BYTES && self.bytes >= self.checkpoint / 2)
    }
}

/// For how long log entries are kept.
#[must_use]
pub fn log_retention(wanted: Duration) -> Duration {
    wanted.max(SHORTEST_LOG_RETENTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tail(commits: u64, bytes: u64, checkpoint: u64) -> Tail {
        Tail { commits, bytes, checkpoint }
    }

    #[test]
    fn a_checkpoint_is_due_by_commits() {
        assert!(!tail(19, 1 << 10, 0).is_too_long(None));
        assert!(tail(20, 1 << 10, 0).is_too_long(None));
    }

    #[test]
    fn a_table_may_say_how_many_commits() {
        assert!(tail(5, 0, 0).is_too_long(Some(5)));
        assert!(!tail(99, 0, 0).is_too_long(Some(100)));
        assert!(!tail(0, 0, 0).is_too_long(Some(0)));
    }

    #[test]
    fn a_checkpoint_is_due_by_bytes() {
        assert!(!tail(1, (4 << 20) - 1, 0).is_too_long(None));
        assert!(tail(1, 4 << 20, 0).is_too_long(None));
        assert!(tail(1, 4 << 20, 0).is_too_long(Some(100)));
    }

    #[test]
    fn a_large_checkpoint_is_not_written_anew_for_few_bytes() {
        assert!(!tail(1, 4 << 20, 100 << 20).is_too_long(None));
        assert!(tail(1, 50 << 20, 100 << 20).is_too_long(None));
        assert!(tail(20, 4 << 10, 100 << 20).is_too_long(None));
    }

    #[test]
    fn the_log_is_kept_for_a_day_at_least() {
        assert_eq!(log_retention(Duration::zero()), Duration::days(1));
        assert_eq!(log_retention(Duration::days(30)), Duration::days(30));
    }
}
