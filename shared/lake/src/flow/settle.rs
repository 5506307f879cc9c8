//! Commits what a batch wrote: side tables first, then the target.
//!
//! Side tables carry the same `txn` or source ids as the target. So whoever finds a side table ahead
//! of its target knows that a batch died between the two, and replays exactly that batch.

use std::collections::HashSet;

use headwater_core::name::DatasetName;
use headwater_core::report::{FlowReport, Outcome};

use super::FlowRun;
use super::ledger::{LedgerColumn, held};
use super::outlet::{Plan, Produced, TablePlan};
use super::target::Pinned;
use crate::commit::{Change, CommitOutcome, Fence, commit};
use crate::error::Result;
use crate::table::Table;
use crate::write::Written;

/// What makes a batch happen once.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// The flow's `txn`s, which must still be what they were when the batch was planned.
    Progress {
        /// `app_id` of the flow.
        app_id: String,
        /// What the batch brings it to.
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

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Settled {
    /// In the target, by this batch or by another; or stopped with nothing in the target.
    Ended(Outcome),
    /// What it was computed from has changed: pin and compute again.
    Redo,
}

/// A finished batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) identity: Identity,
    pub(super) produced: Produced,
    pub(super) report: FlowReport,
    /// `txn`s for the target besides the identity's own: watermark, files without rows, definition.
    pub(super) txns: Vec<(String, i64)>,
    /// Files of the target that the batch replaces.
    pub(super) replaces: Option<Vec<crate::table::DataFile>>,
}

impl FlowRun<'_> {
    /// Commits a batch. Nothing is committed for a batch that has neither rows nor progress.
    pub(super) async fn settle(&self, pinned: &mut Pinned, plan: &Plan, batch: Batch) -> Result<Settled> {
        let Batch { identity, produced, mut report, txns, replaces } = batch;
        report.rows = produced.rows;
        let sides = [
            (self.flow.target.quarantine(), plan.quarantine.as_ref(), produced.quarantine, &mut pinned.quarantine),
            (self.flow.target.late(), plan.late.as_ref(), produced.late, &mut pinned.late),
        ];
        for (name, table_plan, written, table) in sides {
            let Some(table_plan) = table_plan else { continue };
            if written.adds.is_empty() {
                continue;
            }
            let change = self.change(table_plan, table.as_ref(), written, &identity, &report);
            if let Some(ended) = self.apply(&name, table, change, &identity).await? {
                return Ok(ended);
            }
        }
        report.files_added = produced.main.adds.len() as u64;
        report.bytes_added = produced.main.bytes;
        report.files_removed = replaces.as_ref().map_or(0, |files| files.len() as u64);
        let mut change = self.change(&plan.target, pinned.main.as_ref(), produced.main, &identity, &report);
        change.txns.extend(txns);
        change.removes = replaces.unwrap_or_default();
        if change.adds.is_empty() && change.txns.is_empty() && change.removes.is_empty() {
            return Ok(Settled::Ended(Outcome::NothingNew));
        }
        self.apply_main(&mut pinned.main, change, &identity).await
    }

    fn change(&self, plan: &TablePlan, table: Option<&Table>, written: Written, identity: &Identity, report: &FlowReport) -> Change {
        let txns = match identity {
            Identity::Progress { app_id, to } => vec![(app_id.clone(), *to)],
            Identity::Sources { .. } => Vec::new(),
        };
        Change {
            adds: written.adds,
            removes: Vec::new(),
            schema: plan.schema_change(table),
            txns,
            fence: match identity {
                Identity::Progress { app_id, .. } => Fence::Stateful { app_id: app_id.clone() },
                Identity::Sources { .. } => Fence::Append,
            },
            report: report.clone(),
        }
    }

    /// Commits to a side table; `Some` when the batch ends here.
    async fn apply(&self, name: &DatasetName, table: &mut Option<Table>, change: Change, identity: &Identity) -> Result<Option<Settled>> {
        Ok(match self.commit_to(name, table, change, identity).await? {
            CommitOutcome::Committed { .. } => None,
            CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Redo { .. } => Some(Settled::Redo),
            CommitOutcome::Retryable { reason } => Some(Settled::Ended(Outcome::Retryable { reason })),
        })
    }

    async fn apply_main(&self, table: &mut Option<Table>, change: Change, identity: &Identity) -> Result<Settled> {
        Ok(match self.commit_to(&self.flow.target, table, change, identity).await? {
            CommitOutcome::Committed { version, .. } => Settled::Ended(Outcome::Committed { version }),
            CommitOutcome::AlreadyApplied { .. } => Settled::Ended(Outcome::AlreadyApplied),
            CommitOutcome::Redo { .. } => Settled::Redo,
            CommitOutcome::Retryable { reason } => Settled::Ended(Outcome::Retryable { reason }),
        })
    }
}
