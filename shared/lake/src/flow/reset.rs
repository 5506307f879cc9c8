//! Full refresh: a table and its side tables are emptied, and their flows start again.

use headwater_core::commit::Fence;
use headwater_core::graph::is_resettable;
use headwater_core::model::{Flow, RelationSource};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome};

use super::FlowRun;
use crate::commit::{Change, CommitOutcome, RetryPolicy, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::shadow::sides_of;
use crate::table::Table;

/// The progress of a flow that starts from the beginning.
const START: i64 = -1;

impl Lake {
    /// Whether a full refresh could compute the table again: messages are gone once they are landed.
    #[must_use]
    pub fn can_reset(&self, name: &DatasetName) -> bool {
        let from_events =
            |flow: &Flow| matches!(flow.stream().map(|stream| &stream.source), Some(RelationSource::Events { .. }));
        !self.pipeline().flows_into(name).any(from_events)
    }

    /// `Invalid` for a table whose rows may not go: the property says so, or they can't be had again.
    pub(super) fn check_resettable(&self, name: &DatasetName) -> Result<()> {
        let (why, help) = if self.pipeline().dataset(name).is_some_and(|dataset| !is_resettable(dataset)) {
            ("exempt from full refreshes by `pipelines.reset.allowed`", "leave it out, or remove the property")
        } else if self.can_reset(name) {
            return Ok(());
        } else {
            (
                "fed by messages, which are gone once they are landed",
                "refresh the tables that read it instead, or replay the recorded events to an empty lake",
            )
        };
        Err(LakeError::Configuration {
            message: format!("[TABLE_NOT_RESETTABLE] `{name}` is {why}"),
            help: help.to_owned(),
        })
    }

    /// Empties a table and its side tables, and sets their flows back to the start. The table keeps
    /// its history; its columns are those of the next batch.
    ///
    /// # Errors
    /// `Invalid` for a table that is fed by messages or may not be reset, `Unavailable` when storage fails.
    pub async fn full_refresh(&self, name: &DatasetName) -> Result<Vec<FlowReport>> {
        self.check_resettable(name)?;
        let mut reports = Vec::new();
        loop {
            let mut sides = Vec::new();
            for side in sides_of(name) {
                sides.push(self.emptied(name, &side, &mut reports).await?);
            }
            self.emptied(name, name, &mut reports).await?;
            // What a batch put aside meanwhile counts as progress that its table no longer has.
            let mut now = Vec::new();
            for side in sides_of(name) {
                now.push(self.version_of(&side).await?);
            }
            if sides == now {
                return Ok(reports);
            }
        }
    }

    /// Empties one table, if it is there, however many races are lost; says at which version it is empty.
    async fn emptied(
        &self,
        name: &DatasetName,
        table_name: &DatasetName,
        reports: &mut Vec<FlowReport>,
    ) -> Result<Option<u64>> {
        while let Some(table) = self.table(table_name).await? {
            if let Some((version, report)) = self.empty(name, table_name, &table).await? {
                reports.push(report);
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    async fn version_of(&self, name: &DatasetName) -> Result<Option<u64>> {
        Ok(self.table(name).await?.map(|table| table.version()))
    }

    /// Empties one table, as of the version given; `None` when a race was lost.
    async fn empty(
        &self,
        name: &DatasetName,
        table_name: &DatasetName,
        table: &Table,
    ) -> Result<Option<(u64, FlowReport)>> {
        let mut report = FlowReport::new(FlowName::new("full refresh"), table_name.clone(), "person");
        let removes = table.files().await?;
        report.files_removed = removes.len() as u64;
        let mut txns = Vec::new();
        for flow in self.pipeline().flows_into(name) {
            txns.extend(self.starts(flow, table).await?);
        }
        let fence = Fence { replaces_table: true, ..Fence::default() };
        let change = Change {
            adds: Vec::new(),
            feed: Vec::new(),
            removes,
            schema: None,
            txns,
            watermark: None,
            fence,
            records: None,
            data_change: true,
            report: report.clone(),
        };
        Ok(match commit(self.storage(), table.path(), Some(table), &change, RetryPolicy::until(None)).await? {
            CommitOutcome::Committed { version, .. } | CommitOutcome::AlreadyApplied { version } => {
                report.outcome = Outcome::Committed { version };
                Some((version, report))
            }
            CommitOutcome::Redo { .. } => None,
            CommitOutcome::Retryable { reason } => {
                let source = object_store::Error::Generic { store: "Delta log", source: reason.into() };
                return Err(LakeError::Storage { action: "can't empty", path: table.path().to_owned(), source });
            }
        })
    }

    /// The `txn`s of a flow, set back: its progress, its watermark, what it tells of files.
    pub(super) async fn starts(&self, flow: &Flow, table: &Table) -> Result<Vec<(String, i64)>> {
        let run = FlowRun::new(self, flow, "person", None)?;
        let mut txns = vec![(self.app_id(flow), START)];
        if flow.stream().is_some_and(|stream| stream.watermark().is_some()) {
            txns.push((flow.name.watermark_app_id(&self.pipeline().name), i64::MIN));
        }
        txns.extend(run.file_mark_ids(Some(table)).await?.into_iter().map(|(app_id, _)| (app_id, 0)));
        Ok(txns)
    }
}
