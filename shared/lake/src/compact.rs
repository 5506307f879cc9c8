//! Small files to large ones, checkpoints and log clean-up.
//!
//! Each bin is a commit of its own, with `dataChange = false` and a fence: every file that it removes
//! must still be live. So it is safe beside every other writer and beside itself, and no reader sees a
//! row change.

use std::time::Instant;

use futures::TryStreamExt;
use headwater_core::commit::Fence;
use headwater_core::compaction::{Candidate, Policy, needs_checkpoint, plan_bins};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use object_store::ObjectStoreExt;

use crate::align::align;
use crate::commit::{Change, CommitOutcome, RetryPolicy, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::table::{DataFile, Table};
use crate::write::Writer;

/// Commits between two checkpoints.
const CHECKPOINT_EVERY: u64 = 20;

/// What a compaction of a table would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionPlan {
    /// The table.
    pub dataset: DatasetName,
    /// Live files.
    pub files: usize,
    /// Files that would be rewritten.
    pub rewritten: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that they would become.
    pub bins: usize,
}

impl Lake {
    /// Compacts and checkpoints every table, or those that a timer names, side tables included.
    pub async fn compact(&self, trigger: &Trigger) -> Report {
        let mut report = Report::default();
        for dataset in self.tables_of(&trigger.cause) {
            match self.compact_table(&dataset, trigger).await {
                Ok(flows) => report.flows.extend(flows),
                Err(error) => {
                    let mut failed = FlowReport::new(FlowName::new("compact"), dataset, trigger.cause.word());
                    failed.outcome = Outcome::Failed { kind: error.kind(), message: error.to_string() };
                    report.flows.push(failed);
                }
            }
        }
        report
    }

    /// What compaction would do, table by table, without doing it.
    ///
    /// # Errors
    /// `Unavailable` when a table can't be read.
    pub async fn plan_compaction(&self, names: &[DatasetName]) -> Result<Vec<CompactionPlan>> {
        let mut plans = Vec::new();
        for dataset in self.tables_of(&Cause::Timer(names.to_vec())) {
            let Some(table) = self.table(&dataset).await? else { continue };
            let files = table.files()?;
            let bins = self.bins(&files);
            let rewritten: Vec<&DataFile> = bins.iter().flatten().collect();
            plans.push(CompactionPlan {
                dataset,
                files: files.len(),
                rewritten: rewritten.len(),
                bytes: rewritten.iter().map(|file| file.size()).sum(),
                bins: bins.len(),
            });
        }
        Ok(plans)
    }

    /// All tables with their side tables, or those named.
    fn tables_of(&self, cause: &Cause) -> Vec<DatasetName> {
        let named = match cause {
            Cause::Timer(names) | Cause::Commits(names) => names.as_slice(),
            Cause::Messages(_) | Cause::Objects(_) => &[],
        };
        let tables = self.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table());
        let wanted = tables.filter(|dataset| named.is_empty() || named.contains(&dataset.name));
        wanted.flat_map(|dataset| [dataset.name.clone(), dataset.name.quarantine(), dataset.name.late()]).collect()
    }

    async fn compact_table(&self, dataset: &DatasetName, trigger: &Trigger) -> Result<Vec<FlowReport>> {
        let Some(table) = self.table(dataset).await? else { return Ok(Vec::new()) };
        let mut reports = Vec::new();
        for bin in self.bins(&table.files()?) {
            if trigger.deadline.is_some_and(|deadline| Self::now() >= deadline) {
                break;
            }
            reports.push(self.rewrite(dataset, &table, &bin, trigger).await?);
        }
        reports.extend(self.checkpoint(dataset, trigger).await?);
        Ok(reports)
    }

    fn bins(&self, files: &[DataFile]) -> Vec<Vec<DataFile>> {
        let candidate = |file: &DataFile| Candidate {
            partition: file.partition(),
            size: file.size(),
            pinned: file.has_deletion_vector(),
        };
        let settings = &self.pipeline().settings;
        let policy = Policy { target_size: settings.target_file_size, min_files: settings.compact_min_files };
        let bins = plan_bins(&files.iter().map(candidate).collect::<Vec<_>>(), policy);
        bins.into_iter().map(|bin| bin.into_iter().map(|index| files[index].clone()).collect()).collect()
    }

    /// Rewrites one bin. A lost race leaves the table as the winner made it; the next run plans anew.
    async fn rewrite(
        &self,
        dataset: &DatasetName,
        table: &Table,
        bin: &[DataFile],
        trigger: &Trigger,
    ) -> Result<FlowReport> {
        let started = Instant::now();
        let mut report = FlowReport::new(FlowName::new("compact"), dataset.clone(), trigger.cause.word());
        let session = self.engine().ordered_session();
        let frame = session.read_table(table.provider_of(bin).await?).map_err(LakeError::query)?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        let (schema, partitions) = (table.schema(), table.partitioned_by()?);
        let size = self.pipeline().settings.target_file_size;
        let mut writer = Writer::new(self.storage(), table.path(), std::sync::Arc::clone(&schema), &partitions, size)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            writer.write(&align(&batch, &schema)?).await?;
        }
        let written = writer.close().await?;
        report.rows.read = written.rows;
        report.files_added = written.adds.len() as u64;
        report.bytes_added = written.bytes;
        report.files_removed = bin.len() as u64;
        report.millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let change = Change {
            adds: written.adds,
            removes: bin.to_vec(),
            schema: None,
            txns: Vec::new(),
            watermark: None,
            fence: Fence::default(),
            records: None,
            data_change: false,
            report: report.clone(),
        };
        report.outcome =
            match commit(self.storage(), table.path(), Some(table), &change, RetryPolicy::until(trigger.deadline))
                .await?
            {
                CommitOutcome::Committed { version, .. } => Outcome::Committed { version },
                CommitOutcome::AlreadyApplied { .. } => Outcome::AlreadyApplied,
                CommitOutcome::Redo { reason } => Outcome::Retryable { reason: reason.to_owned() },
                CommitOutcome::Retryable { reason } => Outcome::Retryable { reason },
            };
        Ok(report)
    }

    /// Makes a checkpoint when enough commits have gone by, and then takes away log entries that are
    /// older than the table's retention.
    async fn checkpoint(&self, dataset: &DatasetName, trigger: &Trigger) -> Result<Option<FlowReport>> {
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        if !needs_checkpoint(table.version(), self.last_checkpoint(&table).await?, CHECKPOINT_EVERY) {
            return Ok(None);
        }
        let url = self.storage().table_url(table.path());
        let delta = |source| LakeError::delta(&url, source);
        deltalake::protocol::checkpoints::create_checkpoint(table.delta(), None).await.map_err(delta)?;
        deltalake::protocol::checkpoints::cleanup_metadata(table.delta(), None).await.map_err(delta)?;
        let mut report = FlowReport::new(FlowName::new("checkpoint"), dataset.clone(), trigger.cause.word());
        report.outcome = Outcome::Committed { version: table.version() };
        Ok(Some(report))
    }

    async fn last_checkpoint(&self, table: &Table) -> Result<Option<u64>> {
        let path = format!("{}/_delta_log/_last_checkpoint", table.path());
        let store = self.storage().object_store();
        let failed = |source| LakeError::Storage { action: "can't read", path: path.clone(), source };
        let found = match store.get(&self.storage().location(&path)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let bytes = found.bytes().await.map_err(failed)?;
        let value: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        Ok(value.and_then(|value| value.get("version")?.as_u64()))
    }
}
