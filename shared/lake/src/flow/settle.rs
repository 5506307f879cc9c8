//! Commits what a batch wrote: side tables first, then the target.
//!
//! Side tables carry the same `txn` or source ids as the target. So whoever finds a side table ahead
//! of its target knows that a batch died between the two, and replays exactly that batch. A batch that
//! replaces its target replaces the side tables too.

use std::collections::HashSet;

use headwater_core::commit::{Expected, Fence};
use headwater_core::invariants::adds_up;
use headwater_core::name::DatasetName;
use headwater_core::report::{FlowReport, Outcome};

use super::FlowRun;
use super::outlet::{Plan, Produced, TablePlan};
use super::target::Pinned;
use crate::commit::{Change, CommitOutcome, commit};
use crate::error::Result;
use crate::ledger::LedgerColumn;
use crate::table::{DataFile, Table};
use crate::write::{Written, discard};

/// What makes a batch happen once.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// The flow's `txn`, which must still be what it was when the batch was planned.
    Progress {
        /// `app_id` of the flow.
        app_id: String,
        /// What the batch brings it to.
        to: i64,
    },
    /// The `txn`s of parts of a source, which must still be what they were: each an `app_id` and the number that the batch
    /// brings it to. They only grow: a side table that is further already stays there.
    Numbers(Vec<(String, i64)>),
    /// A part of a file: the `txn` of what is landed of it, which must still be what it was, and what the part brings it to. No
    /// commit since the pinned version may hold rows of the file. A side table that is further already stays there.
    Part {
        /// The file.
        path: String,
        /// `app_id` of the `txn`.
        app_id: String,
        /// Bytes that are landed with the part.
        to: i64,
    },
    /// Ids of records, which no commit since the pinned version may hold.
    Sources {
        /// Where the ids are kept.
        column: LedgerColumn,
        /// The ids.
        ids: HashSet<String>,
    },
}

/// A finished batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) identity: Identity,
    pub(super) produced: Produced,
    pub(super) report: FlowReport,
    /// `txn`s for the target besides the identity's own: files without rows, versions of sources.
    pub(super) txns: Vec<(String, i64)>,
    /// `txn`s for the side tables: versions of the tables that the batch was joined with, where a part of a file began.
    pub(super) joined: Vec<(String, i64)>,
    /// The `txn` of the watermark, if it moves.
    pub(super) watermark: Option<(String, i64)>,
    /// Files of the target that the batch replaces.
    pub(super) replaces: Option<Vec<DataFile>>,
    /// What a batch of changes takes the place of.
    pub(super) merge: Option<Merge>,
}

/// What a batch of changes does besides adding files to the target.
#[derive(Debug)]
pub(super) struct Merge {
    /// Files of the target whose rows are among those added, as far as they stay.
    pub(super) removes: Vec<DataFile>,
    /// The side table of changes.
    pub(super) side: TablePlan,
    /// What is added to it.
    pub(super) side_written: Written,
    /// Files of it whose rows are among those added, as far as they stay.
    pub(super) side_removes: Vec<DataFile>,
}

/// A side table and what a batch does to it.
struct Side<'a> {
    name: DatasetName,
    plan: TablePlan,
    table: Option<&'a Table>,
    written: Written,
    /// Files that the written ones take the place of; `None` for rows that are appended.
    removes: Option<Vec<DataFile>>,
}

impl FlowRun<'_> {
    /// Commits a batch, and says how it ended; `None` when what it was computed from has changed, so that
    /// it must be pinned and computed again. Nothing is committed for a batch that has neither rows nor
    /// progress.
    pub(super) async fn settle(&self, pinned: &Pinned, plan: &Plan, batch: Batch) -> Result<Option<FlowReport>> {
        let Batch { identity, produced, mut report, txns, joined, watermark, mut replaces, merge } = batch;
        debug_assert!(report.changes.is_some() || adds_up(report.rows).is_ok(), "rows get lost: {report:?}");
        let name = &self.flow.target;
        let is_whole = replaces.is_some();
        let whole = async |table: Option<&Table>| match table.filter(|_| is_whole) {
            Some(table) => table.files().await.map(Some),
            None => Ok(None),
        };
        let (quarantine, late) = (pinned.quarantine.as_ref(), pinned.late.as_ref());
        let mut sides = vec![
            Side {
                name: name.quarantine(),
                plan: plan.quarantine.table.clone(),
                table: quarantine,
                written: produced.quarantine,
                removes: whole(quarantine).await?,
            },
            Side {
                name: name.late(),
                plan: plan.late.table.clone(),
                table: late,
                written: produced.late,
                removes: whole(late).await?,
            },
        ];
        if let Some(Merge { removes, side, side_written, side_removes }) = merge {
            replaces = Some(removes);
            sides.push(Side {
                name: name.changes(),
                plan: side,
                table: pinned.changes.as_ref(),
                written: side_written,
                removes: Some(side_removes),
            });
        }
        let mut sides = sides.into_iter();
        while let Some(side) = sides.next() {
            match self.settle_side(side, (&identity, &report), &joined).await? {
                None | Some(CommitOutcome::Committed { .. }) => {}
                Some(CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Redo { .. }) => {
                    discard(&plan.storage, &plan.target.path, produced.main.files()).await;
                    for side in sides {
                        discard(&plan.storage, &side.plan.path, side.written.adds).await;
                    }
                    return Ok(None);
                }
                Some(CommitOutcome::Retryable { reason }) => {
                    return Ok(Some(FlowReport { outcome: Outcome::Retryable { reason }, ..report }));
                }
            }
        }
        report.files_added = produced.main.adds.len() as u64;
        report.bytes_added = produced.main.bytes;
        report.files_removed = replaces.as_ref().map_or(0, |files| files.len() as u64);
        let mut change = self.change(&plan.target, pinned.main.as_ref(), produced.main, (&identity, &report)).await?;
        change.txns.extend(txns);
        change.watermark = watermark;
        change.fence.replaces_table = replaces.is_some() || plan.keys.is_some();
        change.removes = replaces.unwrap_or_default();
        let is_nothing = change.adds.is_empty() && change.removes.is_empty();
        if is_nothing && change.txns.is_empty() && change.watermark.is_none() {
            return Ok(Some(FlowReport { outcome: Outcome::NothingNew, ..report }));
        }
        report.outcome = match self.apply(name, pinned.main.as_ref(), &change).await? {
            CommitOutcome::Committed { version, attempts } => {
                report.attempts = attempts;
                Outcome::Committed { version }
            }
            CommitOutcome::AlreadyApplied { .. } => Outcome::AlreadyApplied,
            CommitOutcome::Redo { reason } => {
                tracing::debug!(flow = %self.flow.name, reason, "lost a race");
                return Ok(None);
            }
            CommitOutcome::Retryable { reason } => Outcome::Retryable { reason },
        };
        Ok(Some(report))
    }

    /// Commits a side table; `None` if there is nothing to commit.
    async fn settle_side(
        &self,
        side: Side<'_>,
        of: (&Identity, &FlowReport),
        joined: &[(String, i64)],
    ) -> Result<Option<CommitOutcome>> {
        let mut change = self.change(&side.plan, side.table, side.written, of).await?;
        if let Some(removes) = side.removes {
            change.removes = removes;
            change.fence.replaces_table = true;
        }
        if change.adds.is_empty() && change.removes.is_empty() {
            return Ok(None);
        }
        change.txns.extend(joined.iter().cloned());
        self.apply(&side.name, side.table, &change).await.map(Some)
    }

    async fn change(
        &self,
        plan: &TablePlan,
        table: Option<&Table>,
        written: Written,
        (identity, report): (&Identity, &FlowReport),
    ) -> Result<Change> {
        let mut change = Change {
            adds: written.adds,
            feed: written.feed,
            removes: Vec::new(),
            schema: plan.schema_change(table),
            txns: Vec::new(),
            watermark: None,
            fence: Fence::default(),
            records: None,
            data_change: true,
            report: report.clone(),
        };
        match identity {
            Identity::Progress { app_id, to } => {
                let from = committed(table, app_id).await?;
                reach(&mut change, Expected { app_id: app_id.clone(), from, to: *to });
            }
            Identity::Numbers(goals) => {
                for (app_id, to) in goals {
                    let from = committed(table, app_id).await?;
                    let to = from.map_or(*to, |from| from.max(*to));
                    reach(&mut change, Expected { app_id: app_id.clone(), from, to });
                }
            }
            Identity::Part { path, app_id, to } => {
                let from = committed(table, app_id).await?;
                let to = from.map_or(*to, |from| from.max(*to));
                reach(&mut change, Expected { app_id: app_id.clone(), from, to });
                change.records = Some((LedgerColumn::FilePath, HashSet::from([path.clone()])));
            }
            Identity::Sources { column, ids } => {
                change.records = Some((*column, ids.clone()));
                change.fence.builds_on_rows = true;
            }
        }
        Ok(change)
    }

    /// Commits, or deletes the files that will never be committed: somebody else holds each version that they were
    /// put at.
    async fn apply(&self, name: &DatasetName, table: Option<&Table>, change: &Change) -> Result<CommitOutcome> {
        let path = self.lake.table_path(name)?;
        let outcome = commit(self.lake.storage(), &path, table, change, self.policy()).await?;
        match &outcome {
            CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Redo { .. } => {
                discard(self.lake.storage(), &path, change.adds.iter().chain(&change.feed).cloned().collect()).await;
            }
            CommitOutcome::Committed { .. } | CommitOutcome::Retryable { .. } => {}
        }
        Ok(outcome)
    }
}

/// Brings a `txn` to where it is expected.
fn reach(change: &mut Change, expected: Expected) {
    change.txns.push((expected.app_id.clone(), expected.to));
    change.fence.state.push(expected);
}

async fn committed(table: Option<&Table>, app_id: &str) -> Result<Option<i64>> {
    match table {
        Some(table) => table.transaction(app_id).await,
        None => Ok(None),
    }
}
