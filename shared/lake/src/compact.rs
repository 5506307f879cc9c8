//! Small files to large ones.
//!
//! Each bin is a commit of its own, with `dataChange = false` and a fence: every file that it removes
//! must still be live. So it is safe beside every other writer and beside itself, and no reader sees a
//! row change. As many rows are committed as the log says there were, or none.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::TryStreamExt;
use headwater_core::commit::Fence;
use headwater_core::compaction::{Candidate, Policy, plan_bins};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};

use crate::align::align;
use crate::commit::{Change, CommitOutcome, RetryPolicy, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::protocol::check_writable;
use crate::table::{DataFile, Table};
use crate::write::{Writer, Written, discard};

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
    /// Files that nobody reads any more, of which vacuum would delete as many.
    pub expired: usize,
}

impl Lake {
    /// All that keeps tables in shape: [`Self::compact`], then [`Self::vacuum`] where its time has come.
    pub async fn maintain(&self, trigger: &Trigger) -> Report {
        let mut report = self.compact(trigger).await;
        report.extend(self.vacuum(trigger, Self::now()).await);
        report
    }

    /// Compacts and checkpoints every table, or those that a timer names, side tables included.
    pub async fn compact(&self, trigger: &Trigger) -> Report {
        let mut report = Report::default();
        for dataset in self.tables_of(&trigger.cause) {
            if let Err(error) = self.compact_table(&dataset, trigger, &mut report).await {
                let mut failed = FlowReport::new(FlowName::new("compact"), dataset, trigger.cause.word());
                failed.outcome = Outcome::Failed { kind: error.kind(), message: error.to_string() };
                report.flows.push(failed);
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
            let bins = self.bins(&dataset, &files);
            let expired = self.expired_files(&dataset, &table, Self::now()).await?;
            let rewritten: Vec<&DataFile> = bins.iter().flatten().collect();
            plans.push(CompactionPlan {
                dataset,
                files: files.len(),
                rewritten: rewritten.len(),
                bytes: rewritten.iter().map(|file| file.size()).sum(),
                bins: bins.len(),
                expired,
            });
        }
        Ok(plans)
    }

    /// All tables with their side tables, or those named.
    pub(crate) fn tables_of(&self, cause: &Cause) -> Vec<DatasetName> {
        let named = match cause {
            Cause::Timer(names) | Cause::Commits(names) => names.as_slice(),
            Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) => &[],
        };
        let tables = self.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table());
        let wanted = tables.filter(|dataset| named.is_empty() || named.contains(&dataset.name));
        let with_sides = |name: &DatasetName| {
            let changes = self.is_kept_by_changes(name).then(|| name.changes());
            [name.clone(), name.quarantine(), name.late()].into_iter().chain(changes).collect::<Vec<_>>()
        };
        wanted.flat_map(|dataset| with_sides(&dataset.name)).collect()
    }

    /// Between two bins the table is read anew: what others have done meanwhile is known before it is in the way.
    async fn compact_table(&self, dataset: &DatasetName, trigger: &Trigger, report: &mut Report) -> Result<()> {
        let Some(table) = self.table(dataset).await? else { return Ok(()) };
        check_writable(&self.storage().table_url(table.path()), table.snapshot()?)?;
        for bin in self.bins(dataset, &table.files()?) {
            if trigger.deadline.is_some_and(|deadline| Self::now() >= deadline) {
                return Ok(());
            }
            let Some(table) = self.table(dataset).await? else { return Ok(()) };
            if let Some(bin) = still_live(&table, &bin)? {
                report.flows.push(self.compact_bin(dataset, &table, bin, trigger).await?);
            }
        }
        report.flows.extend(self.checkpoint(dataset, trigger).await?);
        Ok(())
    }

    fn bins(&self, dataset: &DatasetName, files: &[DataFile]) -> Vec<Vec<DataFile>> {
        let candidate =
            |file: &DataFile| Candidate { partition: file.partition(), size: file.size(), pinned: is_pinned(file) };
        let settings = &self.pipeline().settings;
        let policy = Policy { target_size: self.file_size(dataset), min_files: settings.compact_min_files };
        let bins = plan_bins(&files.iter().map(candidate).collect::<Vec<_>>(), policy);
        bins.into_iter().map(|bin| bin.into_iter().map(|index| files[index].clone()).collect()).collect()
    }

    /// Makes one file of a bin. A lost race leaves the table as the winner made it; the next run plans anew.
    async fn compact_bin(
        &self,
        dataset: &DatasetName,
        table: &Table,
        bin: Vec<DataFile>,
        trigger: &Trigger,
    ) -> Result<FlowReport> {
        let started = Instant::now();
        let mut report = FlowReport::new(FlowName::new("compact"), dataset.clone(), trigger.cause.word());
        let written = self.rewrite(table, &bin).await?;
        report.rows.read = written.rows;
        report.files_added = written.adds.len() as u64;
        report.bytes_added = written.bytes;
        report.files_removed = bin.len() as u64;
        report.millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let change = Change {
            adds: written.adds,
            feed: Vec::new(),
            removes: bin,
            schema: None,
            txns: Vec::new(),
            watermark: None,
            fence: Fence::default(),
            records: None,
            data_change: false,
            report: report.clone(),
        };
        let policy = RetryPolicy::until(trigger.deadline);
        let outcome = commit(self.storage(), table.path(), Some(table), &change, policy).await?;
        // Of one whose time ran out it isn't known whether it landed, so its file stays.
        if matches!(outcome, CommitOutcome::Redo { .. }) {
            discard(self.storage(), table.path(), change.adds).await;
        }
        report.outcome = outcome.into();
        Ok(report)
    }

    /// The rows of a bin in a new file, as many as the log says; no file if anything goes wrong. Rows
    /// stream: what is in memory is what the new file's row group needs.
    async fn rewrite(&self, table: &Table, bin: &[DataFile]) -> Result<Written> {
        let (schema, partitions) = (table.schema(), table.partitioned_by()?);
        let mut writer = Writer::new(self.storage(), table.path(), schema, &partitions, NEVER_CUT)?;
        let mut written = match self.copy(table, bin, &mut writer).await {
            Ok(()) => writer.close().await?,
            Err(error) => {
                writer.abort().await;
                return Err(error);
            }
        };
        let count = |files: &[DataFile]| files.iter().filter_map(DataFile::num_records).sum::<u64>();
        let new: Vec<DataFile> = written.adds.iter().map(|add| table.data_file(add.clone())).collect();
        let (wanted, found) = (count(bin), count(&new));
        if wanted != found {
            discard(self.storage(), table.path(), written.adds).await;
            return Err(miscounted(self.storage().table_url(table.path()).as_str(), bin, (wanted, found)));
        }
        // The partition stays the same to the letter, whoever wrote its value.
        for (add, file) in written.adds.iter_mut().zip(bin) {
            add.partition_values.clone_from(&file.add.partition_values);
        }
        Ok(written)
    }

    async fn copy(&self, table: &Table, bin: &[DataFile], writer: &mut Writer) -> Result<()> {
        let schema = table.schema();
        let frame = self.engine().ordered_session().read_table(table.provider_of(bin).await?);
        let mut rows = frame.map_err(LakeError::query)?.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            writer.write(&align(&batch, &schema)?).await?;
        }
        Ok(())
    }
}

/// The target size for a file that holds a whole bin.
const NEVER_CUT: u64 = 0;

/// The rows of such a file couldn't be rewritten without doubt.
fn is_pinned(file: &DataFile) -> bool {
    file.has_deletion_vector() || file.num_records().is_none()
}

/// The files of a bin as the table has them now; `None` if one is gone or has changed.
fn still_live(table: &Table, bin: &[DataFile]) -> Result<Option<Vec<DataFile>>> {
    let files = table.files()?;
    let live: BTreeMap<&str, &DataFile> = files.iter().map(|file| (file.path(), file)).collect();
    let live = |file: &DataFile| live.get(file.path()).filter(|file| !is_pinned(file)).copied().cloned();
    Ok(bin.iter().map(live).collect())
}

fn miscounted(table: &str, bin: &[DataFile], (wanted, found): (u64, u64)) -> LakeError {
    let files = bin.iter().map(DataFile::path).collect::<Vec<_>>().join(", ");
    LakeError::TableUnusable {
        table: table.to_owned(),
        message: format!(
            "the log counts {wanted} rows in files that hold {found}, so they were left as they are: {files}"
        ),
        help: "restore the files, or fill the table anew with --full-refresh",
    }
}
