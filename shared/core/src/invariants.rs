//! What always holds, whoever writes and whatever dies: the promises of the design as plain functions.
//!
//! They judge what a table's log and its rows say, so that simulations, property tests and a person with a log in
//! hand ask the same questions.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::report::{FlowReport, Rows};
use crate::totals::{FileSize, Totals};

/// What a commit says, as far as it can be wrong.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommitFacts {
    /// Its version.
    pub version: u64,
    /// `txn` actions, in order.
    pub txns: Vec<(String, i64)>,
    /// Files that it adds.
    pub adds: Vec<AddedFile>,
    /// Paths of files that it removes.
    pub removes: Vec<String>,
    /// Headwater's report, if Headwater committed it.
    pub report: Option<FlowReport>,
    /// What it says that the live files amount to.
    pub totals: Option<Totals>,
}

/// A file that a commit adds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddedFile {
    /// Its path.
    pub path: String,
    /// How many rows the log says that it has.
    pub rows: u64,
    /// Whether its rows are new; they aren't after a compaction.
    pub data_change: bool,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub written: i64,
}

impl AddedFile {
    const fn in_totals(&self) -> FileSize {
        FileSize { bytes: self.bytes, rows: Some(self.rows), written: self.written }
    }
}

/// What doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The log has a hole, or begins late.
    #[error("version {missing} of the log isn't there")]
    Hole {
        /// The first missing version.
        missing: u64,
    },
    /// A file is added while it is live.
    #[error("version {version} adds {path}, which is there already")]
    AddedTwice {
        /// The commit.
        version: u64,
        /// The file.
        path: String,
    },
    /// A file is removed that isn't live: what replaces it doubles its rows, or brings them back.
    #[error("version {version} removes {path}, which isn't there")]
    RemovedTwice {
        /// The commit.
        version: u64,
        /// The file.
        path: String,
    },
    /// A commit without new rows changes how many there are.
    #[error("version {version} changes no data, but makes {after} rows of {before}")]
    RowsChanged {
        /// The commit.
        version: u64,
        /// Rows that it takes.
        before: u64,
        /// Rows that it gives.
        after: u64,
    },
    /// A commit says that the live files amount to what they don't.
    #[error("version {version} tells of {told:?}, but it is {counted:?}")]
    WrongTotals {
        /// The commit.
        version: u64,
        /// What it says.
        told: Box<Totals>,
        /// What its live files amount to.
        counted: Box<Totals>,
    },
    /// Progress went back.
    #[error("version {version} moves {app_id} from {from} to {to}")]
    MovedBack {
        /// The commit.
        version: u64,
        /// Whose progress.
        app_id: String,
        /// Where it was.
        from: i64,
        /// Where it is.
        to: i64,
    },
    /// A report's rows went nowhere, or came from nowhere.
    #[error("a batch of {read} rows accounts for {accounted}: {rows:?}")]
    Unaccounted {
        /// Rows read.
        read: u64,
        /// Rows written, put aside and passed over.
        accounted: u64,
        /// All counts.
        rows: Rows,
    },
    /// Something accepted is nowhere.
    #[error("{id} is nowhere")]
    Lost {
        /// What.
        id: String,
    },
    /// Something is there more than once.
    #[error("{id} is there {times} times")]
    Doubled {
        /// What.
        id: String,
        /// How often.
        times: usize,
    },
    /// Something is there that nobody sent.
    #[error("{id} came from nowhere")]
    Invented {
        /// What.
        id: String,
    },
}

/// Whether each accepted id is there exactly once, and nothing else.
///
/// # Errors
/// The first id that is lost, doubled or invented, in the order of ids.
pub fn each_once<'a>(
    accepted: impl IntoIterator<Item = &'a str>,
    found: impl IntoIterator<Item = &'a str>,
) -> Result<(), Violation> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    found.into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    let accepted: BTreeSet<&str> = accepted.into_iter().collect();
    if let Some(id) = accepted.iter().find(|id| !times.contains_key(*id)) {
        return Err(Violation::Lost { id: (*id).to_owned() });
    }
    for (id, times) in times {
        if !accepted.contains(id) {
            return Err(Violation::Invented { id: id.to_owned() });
        }
        if times > 1 {
            return Err(Violation::Doubled { id: id.to_owned(), times });
        }
    }
    Ok(())
}

/// Whether a log that begins at version 0 holds: contiguous, each file added and removed in its turn, rows kept by
/// commits that change no data, totals those of the live files, progress never back (but to a negative number, by which a full refresh starts anew),
/// and reports that add up. Gives the live files with their rows.
///
/// # Errors
/// The first violation.
pub fn log_holds(commits: &[CommitFacts]) -> Result<BTreeMap<String, u64>, Violation> {
    let mut live: BTreeMap<String, FileSize> = BTreeMap::new();
    let mut counted = Totals::default();
    let mut progress: BTreeMap<&str, i64> = BTreeMap::new();
    for (missing, commit) in (0..).zip(commits) {
        let version = commit.version;
        if version != missing {
            return Err(Violation::Hole { missing });
        }
        let mut before = 0;
        for path in &commit.removes {
            let twice = || Violation::RemovedTwice { version, path: path.clone() };
            let file = live.remove(path).ok_or_else(twice)?;
            counted = counted.without(file).ok_or_else(twice)?;
            before += file.rows.unwrap_or_default();
        }
        for file in &commit.adds {
            if live.insert(file.path.clone(), file.in_totals()).is_some() {
                return Err(Violation::AddedTwice { version, path: file.path.clone() });
            }
        }
        counted = commit.adds.iter().fold(counted, |counted, file| counted.with(file.in_totals()));
        if let Some(told) = commit.totals.as_ref().filter(|told| **told != counted) {
            let (told, counted) = (Box::new(told.clone()), Box::new(counted));
            return Err(Violation::WrongTotals { version, told, counted });
        }
        let after = commit.adds.iter().map(|file| file.rows).sum();
        let keeps_rows = !commit.adds.is_empty() && commit.adds.iter().all(|file| !file.data_change);
        if keeps_rows && before != after {
            return Err(Violation::RowsChanged { version, before, after });
        }
        for (app_id, to) in &commit.txns {
            let from = progress.insert(app_id, *to);
            if let Some(from) = from.filter(|from| *to >= 0 && from > to) {
                return Err(Violation::MovedBack { version, app_id: app_id.clone(), from, to: *to });
            }
        }
        // Of changes, several may make one row, and a delete makes none.
        let one_to_one = commit.report.as_ref().filter(|report| report.changes.is_none());
        one_to_one.map_or(Ok(()), |report| adds_up(report.rows))?;
    }
    Ok(live.into_iter().map(|(path, file)| (path, file.rows.unwrap_or_default())).collect())
}

/// Whether every row that a batch read is accounted for.
///
/// # Errors
/// `Unaccounted`, with the counts.
pub fn adds_up(rows: Rows) -> Result<(), Violation> {
    let accounted = rows.written + rows.quarantined + rows.late + rows.duplicate;
    if rows.read == accounted { Ok(()) } else { Err(Violation::Unaccounted { read: rows.read, accounted, rows }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(version: u64, path: &str, rows: u64) -> CommitFacts {
        let file = AddedFile { path: path.to_owned(), rows, data_change: true, bytes: 10 * rows, written: 0 };
        CommitFacts { version, adds: vec![file], ..CommitFacts::default() }
    }

    fn compact(version: u64, from: &[&str], path: &str, rows: u64) -> CommitFacts {
        let mut commit = add(version, path, rows);
        commit.adds[0].data_change = false;
        commit.removes = from.iter().map(|path| (*path).to_owned()).collect();
        commit
    }

    fn txn(version: u64, to: i64) -> CommitFacts {
        CommitFacts { version, txns: vec![("a".to_owned(), to)], ..CommitFacts::default() }
    }

    #[test]
    fn a_sound_log_gives_its_live_files() {
        let log = [add(0, "a", 1), add(1, "b", 2), compact(2, &["a", "b"], "c", 3), txn(3, 4), txn(4, -1), txn(5, 0)];
        assert_eq!(log_holds(&log), Ok(BTreeMap::from([("c".to_owned(), 3)])));
        assert_eq!(log_holds(&[]), Ok(BTreeMap::new()));
    }

    #[test]
    fn each_fault_of_a_log_is_found() {
        let two = || vec![add(0, "a", 1), add(1, "b", 2)];
        let with = |commit: CommitFacts| two().into_iter().chain([commit]).collect::<Vec<_>>();
        assert_eq!(log_holds(&with(add(3, "c", 1))), Err(Violation::Hole { missing: 2 }));
        assert_eq!(log_holds(&with(add(2, "a", 1))), Err(Violation::AddedTwice { version: 2, path: "a".into() }));
        let mut twice = with(compact(2, &["a", "b"], "c", 3));
        twice.push(compact(3, &["a", "b"], "d", 3));
        assert_eq!(log_holds(&twice), Err(Violation::RemovedTwice { version: 3, path: "a".into() }));
        let changed = Violation::RowsChanged { version: 2, before: 3, after: 2 };
        assert_eq!(log_holds(&with(compact(2, &["a", "b"], "c", 2))), Err(changed));
        let back = Violation::MovedBack { version: 1, app_id: "a".into(), from: 5, to: 4 };
        assert_eq!(log_holds(&[txn(0, 5), txn(1, 4)]), Err(back));
    }

    #[test]
    fn totals_are_those_of_the_live_files() {
        let file = |rows| FileSize { bytes: 10 * rows, rows: Some(rows), written: 0 };
        let totals = |rows: &[u64]| rows.iter().fold(Totals::default(), |totals, rows| totals.with(file(*rows)));
        let telling = |commit: CommitFacts, rows: &[u64]| CommitFacts { totals: Some(totals(rows)), ..commit };
        let begun = || vec![telling(add(0, "a", 1), &[1]), add(1, "b", 2)];
        let with = |commit: CommitFacts| begun().into_iter().chain([commit]).collect::<Vec<_>>();
        assert!(log_holds(&with(telling(compact(2, &["a", "b"], "c", 3), &[3]))).is_ok());
        assert!(log_holds(&with(telling(add(2, "c", 4), &[1, 2, 4]))).is_ok());
        let [told, counted] = [&[1, 4][..], &[1, 2, 4]].map(|rows| Box::new(totals(rows)));
        let wrong = Violation::WrongTotals { version: 2, told, counted };
        assert_eq!(log_holds(&with(telling(add(2, "c", 4), &[1, 4]))), Err(wrong));
    }

    #[test]
    fn rows_are_accounted_for() {
        let rows = Rows { read: 6, written: 1, dropped: 1, quarantined: 2, late: 1, duplicate: 2 };
        assert_eq!(adds_up(rows), Ok(()));
        let rows = Rows { read: 7, ..rows };
        assert_eq!(adds_up(rows), Err(Violation::Unaccounted { read: 7, accounted: 6, rows }));
    }

    #[test]
    fn ids_are_lost_doubled_or_invented() {
        assert_eq!(each_once(["a", "b"], ["b", "a"]), Ok(()));
        assert_eq!(each_once(["a", "b"], ["b"]), Err(Violation::Lost { id: "a".into() }));
        assert_eq!(each_once(["a"], ["a", "a"]), Err(Violation::Doubled { id: "a".into(), times: 2 }));
        assert_eq!(each_once(["b"], ["a", "b"]), Err(Violation::Invented { id: "a".into() }));
    }
}
