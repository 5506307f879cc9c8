//! Marks of the records that a commit lands: 32 bits of each id's hash, kept in the commit's own log entry.
//!
//! A writer that lost a race has to know whether the winner landed a record that it holds too. The marks mostly say that it
//! didn't, and its data files needn't be read. Equal marks prove nothing, and a commit may have none: the files tell then.

use std::collections::HashSet;
use std::fmt::Write;

/// A commit of more records has no marks: reading one column of its files costs little beside it.
const MOST: usize = 1_000;

/// Digits of a mark.
const DIGITS: usize = 8;

/// The marks of a commit's records, in an order of their own; `None` for too many of them.
#[must_use]
pub fn marks_of(ids: &HashSet<String>) -> Option<String> {
    if ids.len() > MOST {
        return None;
    }
    let mut marks: Vec<u32> = ids.iter().map(|id| mark(id)).collect();
    marks.sort_unstable();
    let mut text = String::with_capacity(marks.len() * DIGITS);
    for mark in marks {
        let _infallible = write!(text, "{mark:08x}");
    }
    Some(text)
}

/// Whether a commit with these marks may hold one of these records. It may, if they can't be read.
#[must_use]
pub fn may_share(marks: &str, ids: &HashSet<String>) -> bool {
    let Some(theirs) = read(marks) else { return true };
    ids.iter().any(|id| theirs.contains(&mark(id)))
}

fn read(marks: &str) -> Option<HashSet<u32>> {
    let one = |at: usize| u32::from_str_radix(marks.get(at..at + DIGITS)?, 16).ok();
    (0..marks.len()).step_by(DIGITS).map(one).collect()
}

/// FNV-1a of 64 bits. Written to logs: it never changes.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The hash of an id, folded.
fn mark(id: &str) -> u32 {
    let hash = fnv1a(id.as_bytes());
    let [.., a, b, c, d] = (hash ^ (hash >> 32)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn marks_stay_what_they_are_in_logs() {
        assert_eq!(marks_of(&ids(&["a", "b", "0c1a"])).unwrap(), marks_of(&ids(&["0c1a", "b", "a"])).unwrap());
        assert_eq!(marks_of(&ids(&["a"])).unwrap(), "296230c0");
    }

    #[test]
    fn records_that_differ_mostly_show_it() {
        let of = |writer: usize| (0..1_000).map(|index| format!("{writer}-{index}")).collect::<HashSet<String>>();
        let theirs = marks_of(&of(0)).unwrap();
        assert_eq!((1..=20).filter(|writer| may_share(&theirs, &of(*writer))).count(), 0);
    }

    #[test]
    fn without_marks_that_can_be_read_anything_is_possible() {
        for marks in ["296230c", "not marks", "296230c02", "ééééé"] {
            assert!(may_share(marks, &ids(&["b"])), "{marks}");
        }
        assert!(!may_share("", &ids(&["b"])));
        assert_eq!(marks_of(&(0..=MOST).map(|index| index.to_string()).collect()), None);
    }

    proptest! {
        #[test]
        fn a_record_that_is_there_is_never_missed(ids in prop::collection::hash_set(".{0,8}", 1..20)) {
            let marks = marks_of(&ids).unwrap();
            for id in &ids {
                prop_assert!(may_share(&marks, &HashSet::from([id.clone()])));
            }
        }
    }
}
