//! Small files to large ones, and rows of clustered tables to those near them.
//!
//! A table's bins are its **slices**: each is a commit of its own, with `dataChange = false` and a fence: every file that it
//! removes must still be live. So it is safe beside every other writer and beside itself, no reader sees a row change, and
//! compaction may end between any two slices and go on in another run. Tables take turns, so that a large one doesn't
//! keep the others waiting. As many rows are committed as the log says there were, or none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use headwater_core::commit::Fence;
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome, Report, Slice};
use headwater_core::slices::Pace;
use headwater_core::trigger::{Cause, Trigger};

use crate::commit::{Change, CommitOutcome, RetryPolicy, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::layout::{Bins, Layout, is_pinned};
use crate::protocol::check_writable;
use crate::table::{DataFile, Table};
use crate::write::discard;

/// What a compaction of a table would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionPlan {
    /// The table.
    pub dataset: DatasetName,
    /// The columns by which its rows are kept together.
    pub clustered_by: Vec<String>,
    /// Live files.
    pub files: usize,
    /// Files that would be rewritten.
    pub rewritten: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Slices, each of them a commit.
    pub slices: usize,
    /// Files that are left alone while rows of their partitions are being changed.
    pub spared: usize,
    /// Files that there would be then.
    pub files_after: usize,
    /// Files that nobody reads any more, of which vacuum would delete as many.
    pub expired: usize,
}

/// What of a table is still to be compacted.
#[derive(Debug)]
struct Slices {
    dataset: DatasetName,
    left: VecDeque<Vec<DataFile>>,
    planned: u64,
}

impl Slices {
    /// How far the table has come once the next slice is done.
    fn after_next(&self) -> Slice {
        let left = self.left.iter().skip(1);
        Slice {
            done: self.planned - left.len() as u64,
            planned: self.planned,
            bytes_left: left.map(|bin| size(bin)).sum(),
        }
    }
}

impl Lake {
    /// All that keeps tables in shape: [`Self::compact`], then [`Self::vacuum`] where its time has come.
    pub async fn maintain(&self, trigger: &Trigger) -> Report {
        let mut report = self.compact(trigger).await;
        report.extend(self.vacuum(trigger, Self::now()).await);
        report
    }

    /// Compacts and checkpoints every table, or those that a timer names, side tables included, until the deadline.
    pub async fn compact(&self, trigger: &Trigger) -> Report {
        let mut report = Report::default();
        let mut waiting = VecDeque::new();
        for dataset in self.tables_of(&trigger.cause) {
            match self.slices(&dataset, trigger, &mut report).await {
                Ok(slices) => waiting.extend(slices),
                Err(error) => report.flows.push(failed(&dataset, trigger, &error)),
            }
        }
        let mut pace = Pace::default();
        while let Some(mut slices) = waiting.pop_front() {
            let (begun, bytes) = (Instant::now(), slices.left.front().map_or(0, |bin| size(bin)));
            if time_left(trigger).is_some_and(|left| !pace.fits(bytes, left)) {
                tracing::info!(table = %slices.dataset, slices = slices.left.len(), "the rest is left to the next run");
                continue;
            }
            match Box::pin(self.compact_slice(&slices, trigger, &mut report)).await {
                Ok(()) => {
                    pace = pace.after(bytes, begun.elapsed());
                    slices.left.pop_front();
                    waiting.extend((!slices.left.is_empty()).then_some(slices));
                }
                Err(error) => report.flows.push(failed(&slices.dataset, trigger, &error)),
            }
        }
        report
    }

    /// What compaction would do, table by table, without doing it.
    ///
    /// # Errors
    /// `Unavailable` when a table can't be read, `Invalid` when it can't be clustered as it is declared.
    pub async fn plan_compaction(&self, names: &[DatasetName]) -> Result<Vec<CompactionPlan>> {
        let mut plans = Vec::new();
        for dataset in self.tables_of(&Cause::Timer(names.to_vec())) {
            let Some(table) = self.table(&dataset).await? else { continue };
            let layout = Layout::of(self.pipeline(), &dataset, &table)?;
            let files = usize::try_from(table.totals().await?.files).unwrap_or(usize::MAX);
            let Bins { bins, spared } = layout.bins(&table, None).await?;
            let expired = self.expired_files(&dataset, &table, Self::now()).await?;
            let rewritten = bins.iter().map(Vec::len).sum();
            plans.push(CompactionPlan {
                dataset,
                files,
                rewritten,
                bytes: bins.iter().map(|bin| size(bin)).sum(),
                slices: bins.len(),
                spared,
                files_after: files - rewritten + bins.iter().map(|bin| layout.files_of(bin)).sum::<usize>(),
                clustered_by: layout.clustered_by,
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

    /// The slices of a table, if it has any. A checkpoint that is due comes first: however many slices there are and however
    /// little time, no table goes without.
    async fn slices(&self, dataset: &DatasetName, trigger: &Trigger, report: &mut Report) -> Result<Option<Slices>> {
        let left = time_left(trigger);
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        check_writable(&self.storage().table_url(table.path()), table.head())?;
        report.flows.extend(self.checkpoint(dataset, trigger).await?);
        let layout = Layout::of(self.pipeline(), dataset, &table)?;
        let bins = layout.bins(&table, left).await?.bins;
        let planned = bins.len() as u64;
        Ok((planned > 0).then(|| Slices { dataset: dataset.clone(), left: bins.into(), planned }))
    }

    /// Between two slices the table is read anew: what others have done meanwhile is known before it is in the way.
    async fn compact_slice(&self, slices: &Slices, trigger: &Trigger, report: &mut Report) -> Result<()> {
        let dataset = &slices.dataset;
        let Some((table, bin)) = self.table(dataset).await?.zip(slices.left.front()) else { return Ok(()) };
        if let Some(bin) = still_live(&table, bin).await? {
            let slice = FlowReport { slice: Some(slices.after_next()), ..started(dataset, trigger) };
            report.flows.push(self.compact_bin((dataset, &table), bin, (slice, trigger)).await?);
        }
        report.flows.extend(self.checkpoint(dataset, trigger).await?);
        Ok(())
    }

    /// Writes a bin anew. A lost race leaves the table as the winner made it; the next run plans anew.
    async fn compact_bin(
        &self,
        (dataset, table): (&DatasetName, &Table),
        bin: Vec<DataFile>,
        (mut report, trigger): (FlowReport, &Trigger),
    ) -> Result<FlowReport> {
        let started = Instant::now();
        let layout = Layout::of(self.pipeline(), dataset, table)?;
        let Some(written) = self.rewrite(table, &bin, (&layout, time_left(trigger))).await? else {
            report.outcome = Outcome::Retryable { reason: "the deadline came before the slice was done".to_owned() };
            return Ok(report);
        };
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
}

fn size(bin: &[DataFile]) -> u64 {
    bin.iter().map(DataFile::size).sum()
}

/// Until the deadline, if there is one.
fn time_left(trigger: &Trigger) -> Option<Duration> {
    trigger.deadline.map(|deadline| (deadline - Lake::now()).to_std().unwrap_or_default())
}

fn started(dataset: &DatasetName, trigger: &Trigger) -> FlowReport {
    FlowReport::new(FlowName::new("compact"), dataset.clone(), trigger.cause.word())
}

fn failed(dataset: &DatasetName, trigger: &Trigger, error: &LakeError) -> FlowReport {
    let outcome = Outcome::Failed { kind: error.kind(), message: error.to_string() };
    FlowReport { outcome, ..started(dataset, trigger) }
}

/// The files of a bin as the table has them now; `None` if one is gone or has changed.
async fn still_live(table: &Table, bin: &[DataFile]) -> Result<Option<Vec<DataFile>>> {
    let wanted: BTreeSet<&str> = bin.iter().map(DataFile::path).collect();
    let files = table.files_where(|file| wanted.contains(file.path().as_ref())).await?;
    let live: BTreeMap<&str, &DataFile> = files.iter().map(|file| (file.path(), file)).collect();
    let live = |file: &DataFile| live.get(file.path()).filter(|file| !is_pinned(file)).copied().cloned();
    Ok(bin.iter().map(live).collect())
}
