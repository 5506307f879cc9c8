//! Decides each step of the commit protocol.
//!
//! One attempt puts version `v + 1` and either wins it or finds that somebody else has. What the
//! winners did since `v` decides whether the same files can go on top of theirs (rebase), whether the
//! work must be computed again (redo), or whether it is done already. The lake only carries this out.

use std::collections::BTreeSet;

use serde_json::Value;

/// Digits of a log entry's file name.
const ENTRY_DIGITS: usize = 20;

/// What a commit attempt needs to still be true when it lands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fence {
    /// The flow's `txn`s as they were read, one for each part of its source. Another commit that moved one of them has done this work
    /// or other work of the same flow.
    pub state: Vec<Expected>,
    /// The attempt was computed from every row of the table: it replaces them all, or leaves out rows
    /// whose keys are there. Rows that appear meanwhile would survive it, or be doubled.
    pub replaces_table: bool,
    /// The attempt leaves out records of its source that it found in the table or its side tables. If their rows are taken away, they
    /// would be missing.
    pub builds_on_rows: bool,
}

/// A `txn` and what the attempt brings it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `app_id` of the `txn`.
    pub app_id: String,
    /// Its version as it was read; `None` if the table had none.
    pub from: Option<i64>,
    /// The version that the attempt sets.
    pub to: i64,
}

/// What is fixed about our attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Unique id of the commit, the same on each try.
    pub token: String,
    /// Paths of the files that we remove.
    pub removes: BTreeSet<String>,
    /// What must still hold.
    pub fence: Fence,
}

/// What matters of a commit that won a version that we wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Winner {
    /// Its version.
    pub version: u64,
    /// Its token, if Headwater wrote it.
    pub token: Option<String>,
    /// Paths of the files that it removed.
    pub removes: BTreeSet<String>,
    /// It added rows, rather than moving them between files.
    pub adds_rows: bool,
    /// It took rows away, rather than moving them between files.
    pub removes_rows: bool,
    /// Its `txn` actions.
    pub txns: Vec<(String, i64)>,
    /// It changed columns, properties or the protocol.
    pub changes_table: bool,
    /// Its new files hold source records that we are adding too.
    pub holds_our_records: bool,
}

/// What to do about lost versions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nothing of ours is touched: the same files go on top of this version.
    Rebase {
        /// The last winner.
        onto: u64,
    },
    /// Compute again from a newer snapshot.
    Redo {
        /// Why.
        reason: RedoReason,
    },
    /// The work is in the table: our own commit landed although it looked lost, or another attempt of
    /// the same flow did the same work.
    Applied {
        /// The version that holds it.
        version: u64,
        /// Whether that commit is ours.
        ours: bool,
    },
}

/// Why work must be computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedoReason {
    /// A file that we remove is gone: our result would bring its rows back.
    RemovedFile,
    /// Rows came that our replacement would miss.
    NewRows,
    /// Rows went, as a full refresh takes them: what the attempt brings may be read again.
    LostRows,
    /// The flow's progress moved.
    Progress,
    /// Columns, properties or protocol changed.
    Schema,
    /// Another commit holds records that we hold too.
    Records,
}

impl RedoReason {
    /// The reason in words, for logs.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::RemovedFile => "a file to be removed was removed by another commit",
            Self::NewRows => "another commit added rows to a table that is being replaced",
            Self::LostRows => "another commit took rows away from the table",
            Self::Progress => "another run of the flow moved its progress",
            Self::Schema => "another commit changed the table's columns, properties or protocol",
            Self::Records => "another commit landed the same source records",
        }
    }
}

/// Decides what an attempt does about the commits that won, in the order of their versions.
pub fn decide(attempt: &Attempt, winners: &[Winner]) -> Decision {
    if let Some(own) = winners.iter().find(|winner| winner.token.as_deref() == Some(&attempt.token)) {
        return Decision::Applied { version: own.version, ours: true };
    }
    if let Some(decision) = winners.iter().find_map(|winner| against(attempt, winner)) {
        return decision;
    }
    Decision::Rebase { onto: winners.last().map_or(0, |winner| winner.version) }
}

/// What one winner means for the attempt, if it means anything.
fn against(attempt: &Attempt, winner: &Winner) -> Option<Decision> {
    let redo = |reason| Some(Decision::Redo { reason });
    let moved = |expected: &Expected| {
        let (_, version) = winner.txns.iter().find(|(app_id, _)| *app_id == expected.app_id)?;
        Some(*version >= expected.to && Some(*version) > expected.from)
    };
    let moved: Vec<Option<bool>> = attempt.fence.state.iter().map(moved).collect();
    if moved.iter().any(Option::is_some) {
        if moved.iter().all(|moved| *moved == Some(true)) {
            return Some(Decision::Applied { version: winner.version, ours: false });
        }
        return redo(RedoReason::Progress);
    }
    if winner.changes_table {
        return redo(RedoReason::Schema);
    }
    if !attempt.removes.is_disjoint(&winner.removes) {
        return redo(RedoReason::RemovedFile);
    }
    if attempt.fence.replaces_table && winner.adds_rows {
        return redo(RedoReason::NewRows);
    }
    if (attempt.fence.builds_on_rows || !attempt.fence.state.is_empty()) && winner.removes_rows {
        return redo(RedoReason::LostRows);
    }
    if winner.holds_our_records {
        return redo(RedoReason::Records);
    }
    None
}

/// The version that a file of a `_delta_log` commits, by its name: `<20 digits>.json`. `None` for all else that
/// lies there: checkpoints, checksums, temporary files.
#[must_use]
pub fn entry_version(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json").filter(|digits| digits.len() == ENTRY_DIGITS)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The name of the file of a `_delta_log` that commits a version: what [`entry_version`] reads.
#[must_use]
pub fn entry_name(version: u64) -> String {
    format!("{}.json", version_digits(version))
}

/// A version as the names of a log's files begin with it.
#[must_use]
pub fn version_digits(version: u64) -> String {
    format!("{version:0ENTRY_DIGITS$}")
}

/// The version of the last checkpoint, of the text of a log's `_last_checkpoint`: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#last-checkpoint-file>.
/// `None` where it doesn't tell.
#[must_use]
pub fn checkpoint_version(hint: &[u8]) -> Option<u64> {
    let told: Value = serde_json::from_slice(hint).ok()?;
    told.get("version")?.as_u64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt() -> Attempt {
        Attempt { token: "ours".into(), removes: BTreeSet::new(), fence: Fence::default() }
    }

    fn winner(version: u64) -> Winner {
        Winner { version, adds_rows: true, ..Winner::default() }
    }

    fn stateful(from: Option<i64>, to: i64) -> Attempt {
        let state = vec![Expected { app_id: "flow".into(), from, to }];
        Attempt { fence: Fence { state, ..Fence::default() }, ..attempt() }
    }

    fn moving(version: u64, to: i64) -> Winner {
        Winner { txns: vec![("flow".into(), to)], ..winner(version) }
    }

    #[test]
    fn an_append_goes_on_top_of_other_appends() {
        assert_eq!(decide(&attempt(), &[winner(4), winner(5)]), Decision::Rebase { onto: 5 });
    }

    #[test]
    fn our_own_token_means_that_the_commit_landed() {
        let own = Winner { token: Some("ours".into()), changes_table: true, ..winner(4) };
        assert_eq!(decide(&attempt(), &[own, winner(5)]), Decision::Applied { version: 4, ours: true });
    }

    #[test]
    fn two_rewrites_of_one_file_never_both_commit() {
        let removes = BTreeSet::from(["a".to_owned()]);
        let ours = Attempt { removes: removes.clone(), ..attempt() };
        let compaction = Winner { removes, adds_rows: false, ..winner(4) };
        assert_eq!(decide(&ours, &[compaction]), Decision::Redo { reason: RedoReason::RemovedFile });
    }

    #[test]
    fn a_rewrite_of_other_files_goes_on_top() {
        let ours = Attempt { removes: BTreeSet::from(["a".to_owned()]), ..attempt() };
        let other = Winner { removes: BTreeSet::from(["b".to_owned()]), ..winner(4) };
        assert_eq!(decide(&ours, &[other]), Decision::Rebase { onto: 4 });
    }

    #[test]
    fn a_replacement_misses_no_new_rows() {
        let ours = Attempt { fence: Fence { replaces_table: true, ..Fence::default() }, ..attempt() };
        assert_eq!(decide(&ours, &[winner(4)]), Decision::Redo { reason: RedoReason::NewRows });
    }

    #[test]
    fn what_has_state_is_computed_again_after_rows_went() {
        let refresh = Winner { removes_rows: true, removes: BTreeSet::from(["b".to_owned()]), ..winner(4) };
        let redo = Decision::Redo { reason: RedoReason::LostRows };
        assert_eq!(decide(&stateful(Some(3), 7), std::slice::from_ref(&refresh)), redo);
        let records = Attempt { fence: Fence { builds_on_rows: true, ..Fence::default() }, ..attempt() };
        assert_eq!(decide(&records, std::slice::from_ref(&refresh)), redo);
        assert_eq!(decide(&attempt(), &[refresh]), Decision::Rebase { onto: 4 });
    }

    #[test]
    fn the_same_batch_by_another_run_is_applied() {
        assert_eq!(decide(&stateful(Some(3), 7), &[moving(4, 7)]), Decision::Applied { version: 4, ours: false });
        assert_eq!(decide(&stateful(None, 0), &[moving(4, 9)]), Decision::Applied { version: 4, ours: false });
    }

    #[test]
    fn less_progress_by_another_run_is_computed_again() {
        assert_eq!(decide(&stateful(Some(3), 7), &[moving(4, 5)]), Decision::Redo { reason: RedoReason::Progress });
    }

    #[test]
    fn a_batch_of_several_parts_is_applied_only_when_all_of_them_are() {
        let expected = |app_id: &str, to| Expected { app_id: app_id.into(), from: Some(3), to };
        let state = vec![expected("flow/0", 7), expected("flow/1", 5)];
        let ours = Attempt { fence: Fence { state, ..Fence::default() }, ..attempt() };
        let moving = |txns: &[(&str, i64)]| {
            let txns = txns.iter().map(|(app_id, to)| ((*app_id).to_owned(), *to)).collect();
            decide(&ours, &[Winner { txns, ..winner(4) }])
        };
        let redo = Decision::Redo { reason: RedoReason::Progress };
        assert_eq!(moving(&[("flow/0", 7), ("flow/1", 6)]), Decision::Applied { version: 4, ours: false });
        assert_eq!(moving(&[("flow/0", 7)]), redo);
        assert_eq!(moving(&[("flow/0", 7), ("flow/1", 4)]), redo);
        assert_eq!(moving(&[("flow/2", 9)]), Decision::Rebase { onto: 4 });
    }

    #[test]
    fn a_reset_of_the_progress_is_computed_again() {
        assert_eq!(decide(&stateful(Some(3), 7), &[moving(4, -1)]), Decision::Redo { reason: RedoReason::Progress });
    }

    #[test]
    fn a_changed_table_is_looked_at_again() {
        let altered = Winner { changes_table: true, ..winner(4) };
        assert_eq!(decide(&attempt(), &[altered]), Decision::Redo { reason: RedoReason::Schema });
    }

    #[test]
    fn records_that_another_commit_landed_are_looked_up_again() {
        let same = Winner { holds_our_records: true, ..winner(4) };
        assert_eq!(decide(&attempt(), &[same]), Decision::Redo { reason: RedoReason::Records });
    }

    prop_compose! {
        fn any_winner()(version in 1_u64..100, token in prop::option::of("[ab]"), removes in prop::collection::btree_set("[a-d]", 0..3),
                        adds_rows: bool, txn in prop::option::of((prop::sample::select(vec!["flow", "other"]), -1_i64..9)),
                        changes_table in prop::bool::weighted(0.1), holds_our_records in prop::bool::weighted(0.1)) -> Winner {
            let txns = txn.map(|(app_id, version)| (app_id.to_owned(), version)).into_iter().collect();
            Winner { version, token, removes_rows: !removes.is_empty() && adds_rows, removes, adds_rows, txns, changes_table, holds_our_records }
        }
    }

    proptest! {
        #[test]
        fn a_rebase_touches_nothing_of_ours(winners in prop::collection::vec(any_winner(), 1..6), removes in prop::collection::btree_set("[a-d]", 0..3),
                                            replaces_table: bool, to in 0_i64..9) {
            let state = vec![Expected { app_id: "flow".into(), from: None, to }];
            let ours = Attempt { removes, fence: Fence { state, replaces_table, builds_on_rows: false }, ..attempt() };
            if let Decision::Rebase { .. } = decide(&ours, &winners) {
                for winner in &winners {
                    prop_assert!(ours.removes.is_disjoint(&winner.removes));
                    prop_assert!(!(replaces_table && winner.adds_rows));
                    prop_assert!(winner.txns.iter().all(|(app_id, _)| app_id != "flow"));
                    prop_assert!(!winner.changes_table && !winner.holds_our_records);
                }
            }
        }
    }
}
