//! What the live data files of a table amount to, told by each commit, so that nobody has to read them all to know.
//!
//! A commit of ours knows what was there before it, what it adds and what it removes. Commits of others don't tell: over
//! one that only adds new files the totals can be brought up, over any other they aren't known.

use serde::{Deserialize, Serialize};

/// The key of the totals in `commitInfo`.
pub const TOTALS_KEY: &str = "headwaterTotals";

/// What the live data files of a table amount to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// How many they are.
    pub files: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// How many of them have no count of rows in the log.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted: u64,
    /// Rows of the others.
    pub counted_rows: u64,
    /// Files by size: the one at `n` says how many have fewer than `2^n` bytes, but not fewer than half of that.
    pub sizes: Vec<u64>,
    /// When the newest file was written that is live or was, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<i64>,
}

/// What of a data file goes into totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSize {
    /// Bytes as stored.
    pub bytes: u64,
    /// Rows, if the log tells.
    pub rows: Option<u64>,
    /// When it was written, in milliseconds since 1970.
    pub written: i64,
}

impl Totals {
    /// Rows, where the log tells for every file.
    #[must_use]
    pub const fn rows(&self) -> Option<u64> {
        if self.uncounted == 0 { Some(self.counted_rows) } else { None }
    }

    /// With one file more.
    #[must_use]
    pub fn with(mut self, file: FileSize) -> Self {
        let class = class(file.bytes);
        if self.sizes.len() <= class {
            self.sizes.resize(class + 1, 0);
        }
        self.sizes[class] += 1;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(file.bytes);
        match file.rows {
            Some(rows) => self.counted_rows = self.counted_rows.saturating_add(rows),
            None => self.uncounted += 1,
        }
        self.newest = self.newest.max(Some(file.written));
        self
    }

    /// With one file less; `None` if there can't have been such a file, so that the totals were wrong.
    #[must_use]
    pub fn without(mut self, file: FileSize) -> Option<Self> {
        let of_class = self.sizes.get_mut(class(file.bytes))?;
        *of_class = of_class.checked_sub(1)?;
        while self.sizes.last() == Some(&0) {
            self.sizes.pop();
        }
        self.files = self.files.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(file.bytes)?;
        match file.rows {
            Some(rows) => self.counted_rows = self.counted_rows.checked_sub(rows)?,
            None => self.uncounted = self.uncounted.checked_sub(1)?,
        }
        Some(self)
    }

    /// Of files smaller than this: how many there are at most, and how many bytes they have at most.
    #[must_use]
    pub fn smaller_than(&self, bytes: u64) -> (u64, u64) {
        let (mut files, mut all) = (0_u64, 0_u64);
        for (class, count) in self.sizes.iter().enumerate() {
            let (least, most) = sizes_of(class);
            if least >= bytes {
                break;
            }
            files += count;
            all = all.saturating_add(count.saturating_mul(most.min(bytes - 1)));
        }
        (files, all)
    }
}

/// The number of a file's class of sizes.
const fn class(bytes: u64) -> usize {
    (u64::BITS - bytes.leading_zeros()) as usize
}

/// The least and the most bytes of a file of a class.
const fn sizes_of(class: usize) -> (u64, u64) {
    match class {
        0 => (0, 0),
        1..64 => (1 << (class - 1), (1 << class) - 1),
        _ => (1 << 63, u64::MAX),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn file(bytes: u64, rows: Option<u64>) -> FileSize {
        FileSize { bytes, rows, written: 7 }
    }

    fn of(files: &[FileSize]) -> Totals {
        files.iter().fold(Totals::default(), |totals, file| totals.with(*file))
    }

    #[test]
    fn rows_are_known_where_every_file_tells() {
        assert_eq!(of(&[file(9, Some(2)), file(1, Some(3))]).rows(), Some(5));
        assert_eq!(of(&[file(9, Some(2)), file(1, None)]).rows(), None);
        assert_eq!(Totals::default().rows(), Some(0));
    }

    #[test]
    fn what_was_never_there_cannot_go() {
        assert_eq!(of(&[file(9, Some(2))]).without(file(900, Some(2))), None);
        assert_eq!(of(&[file(9, Some(2))]).without(file(9, Some(3))), None);
        assert_eq!(of(&[file(9, Some(2))]).without(file(9, None)), None);
        assert_eq!(Totals::default().without(file(0, Some(0))), None);
    }

    #[test]
    fn what_a_commit_tells_is_read_as_it_was() {
        let totals = of(&[file(9, Some(2)), file(70_000, None)]);
        let text = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), totals);
        let small = of(&[file(2, Some(2))]);
        assert_eq!(
            serde_json::to_string(&small).unwrap(),
            r#"{"files":1,"bytes":2,"countedRows":2,"sizes":[0,0,1],"newest":7}"#
        );
    }

    #[test]
    fn files_below_a_power_of_two_are_counted_exactly() {
        let totals = of(&[file(0, None), file(1, None), file(1023, None), file(1024, None), file(1025, None)]);
        assert_eq!(totals.smaller_than(1024).0, 3);
        assert_eq!(totals.smaller_than(0), (0, 0));
        assert_eq!(totals.smaller_than(u64::MAX).0, 5);
    }

    proptest! {
        #[test]
        fn a_file_that_came_and_went_leaves_no_trace(
            sizes in prop::collection::vec((any::<u32>(), prop::option::of(any::<u16>())), 0..20),
            (bytes, rows) in (any::<u32>(), prop::option::of(any::<u16>())),
        ) {
            let files: Vec<_> = sizes.iter().map(|(bytes, rows)| file((*bytes).into(), rows.map(u64::from))).collect();
            let more = file(bytes.into(), rows.map(u64::from));
            let before = Totals { newest: Some(7), ..of(&files) };
            prop_assert_eq!(of(&files).with(more).without(more), Some(before));
        }

        #[test]
        fn no_small_file_is_missed(sizes in prop::collection::vec(0_u64..5_000, 0..20), bound in 0_u64..5_000) {
            let files: Vec<_> = sizes.iter().map(|bytes| file(*bytes, None)).collect();
            let small: Vec<_> = sizes.into_iter().filter(|size| *size < bound).collect();
            let (count, bytes) = of(&files).smaller_than(bound);
            prop_assert!(count >= small.len() as u64);
            prop_assert!(bytes >= small.iter().sum());
        }
    }
}
