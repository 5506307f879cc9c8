//! What a writer makes of the commits that won.

use headwater_core::commit::{self, Decision, Expected, Fence, Winner};

use crate::world::{App, Attempt, Entry, MESSAGE, Token};

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Headwater,
    /// Headwater's, with something hidden from it.
    Without(Clause),
    /// That of `ConflictChecker` in delta-rs: a winner that changes no data is in nobody's way, and an own
    /// commit isn't known as such.
    DeltaRs,
}

/// What Headwater's rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    /// Whether a commit is our own.
    Token,
    /// Files that were removed.
    RemovedFiles,
    /// Whether rows came.
    NewRows,
    /// `txn`s.
    Progress,
    /// Records in new files.
    Records,
    /// Files written since a message was received for the first time.
    WrittenSince,
}

/// What to do about lost versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there.
    Ours,
    /// Somebody else did it.
    Theirs,
    /// It must be computed again.
    Redo,
    /// It goes on top.
    Rebase,
}

impl Rule {
    pub(crate) fn hides(self, clause: Clause) -> bool {
        self == Self::Without(clause) || (self == Self::DeltaRs && clause == Clause::WrittenSince)
    }

    pub(crate) fn judge(self, attempt: &Attempt, winners: &[Entry]) -> Verdict {
        if self == Self::DeltaRs {
            let conflicts = winners.iter().any(|winner| conflicts(attempt, winner));
            return if conflicts { Verdict::Redo } else { Verdict::Rebase };
        }
        let ours = commit::Attempt {
            token: name(attempt.entry.token),
            removes: attempt.entry.removes.iter().copied().map(name).collect(),
            fence: Fence {
                state: attempt
                    .entry
                    .txn
                    .filter(|_| !self.hides(Clause::Progress))
                    .map(|(app, to)| Expected {
                        app_id: app_id(app),
                        from: attempt.from.map(i64::from),
                        to: i64::from(to),
                    })
                    .into_iter()
                    .collect(),
                replaces_table: attempt.replaces_table,
                builds_on_rows: false,
            },
        };
        // The commit that starts streams anew is fenced by the rows that it takes away, not by their progress.
        let ours = match attempt.entry.txn {
            Some((App::Stream, -1)) => commit::Attempt { fence: Fence { state: Vec::new(), ..ours.fence }, ..ours },
            _ => ours,
        };
        let winners: Vec<Winner> =
            winners.iter().enumerate().map(|(at, entry)| self.winner(attempt, attempt.next + at, entry)).collect();
        match commit::decide(&ours, &winners) {
            Decision::Applied { ours: true, .. } => Verdict::Ours,
            Decision::Applied { ours: false, .. } => Verdict::Theirs,
            Decision::Redo { .. } => Verdict::Redo,
            Decision::Rebase { .. } => Verdict::Rebase,
        }
    }

    fn winner(self, attempt: &Attempt, version: usize, entry: &Entry) -> Winner {
        let sees = |clause| !self.hides(clause);
        let adds_rows = entry.data_change && entry.adds.is_some();
        let holds = |rows: &Option<Vec<u8>>| rows.as_ref().is_some_and(|rows| rows.contains(&MESSAGE));
        Winner {
            version: version as u64,
            token: sees(Clause::Token).then(|| name(entry.token)),
            removes: match sees(Clause::RemovedFiles) {
                true => entry.removes.iter().copied().map(name).collect(),
                false => std::collections::BTreeSet::new(),
            },
            adds_rows: adds_rows && sees(Clause::NewRows),
            removes_rows: entry.data_change && !entry.removes.is_empty(),
            txns: entry.txn.iter().map(|(app, version)| (app_id(*app), i64::from(*version))).collect(),
            changes_table: false,
            holds_our_records: adds_rows && sees(Clause::Records) && holds(&entry.adds) && holds(&attempt.entry.adds),
        }
    }
}

/// `deltalake_core::kernel::transaction::conflict_checker`, as far as commits here go: without predicates, and with
/// snapshot isolation wherever the winner changes no data.
fn conflicts(attempt: &Attempt, winner: &Entry) -> bool {
    let ours = &attempt.entry;
    let same_app = ours.txn.is_some_and(|(app, _)| winner.txn.is_some_and(|(other, _)| other == app));
    let both_remove = winner.data_change && !ours.removes.is_disjoint(&winner.removes);
    let misses_rows = winner.data_change && ours.data_change && attempt.replaces_table && winner.adds.is_some();
    same_app || both_remove || misses_rows
}

fn name((writer, attempt): Token) -> String {
    format!("{writer}.{attempt}")
}

fn app_id(app: App) -> String {
    match app {
        App::Stream => "stream".to_owned(),
        App::View => "view".to_owned(),
    }
}
