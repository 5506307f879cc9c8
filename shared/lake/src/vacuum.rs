//! Files that nobody reads any more.
//!
//! Replaced by compaction or by a newer answer of a view, or left by a run that died before its commit: they go once they
//! are older than the table's retention (`delta.deletedFileRetentionDuration`), a day at least, and older than what
//! a stream of the pipeline, or of a shadow, still has to read. The table's folder is listed for it, once a day while the
//! table changes ([`headwater_core::vacuum`]). A commit without rows then tells what was done, and up to when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Duration, Utc};
use deltalake::operations::vacuum::{Clock, VacuumMode};
use futures::{StreamExt, TryStreamExt};
use headwater_core::commit::Fence;
use headwater_core::model::{Flow, RelationSource};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::Trigger;
use headwater_core::vacuum::{Facts, due, kept_for};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::commit::{Change, RetryPolicy, commit};
use crate::error::{LakeError, Result};
use crate::flow::progress;
use crate::lake::Lake;
use crate::protocol::check_writable;
use crate::shadow::sides_of;
use crate::table::Table;

/// The maintenance step, as reports and the `txn` of its last time name it.
const STEP: &str = "vacuum";

/// Which table of a dataset is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    InUse,
    Shadow,
}

impl Lake {
    /// Deletes, in every table or in those that a timer names, what may go at this time. One report a table that was
    /// looked at; a table that isn't due is passed over.
    pub async fn vacuum(&self, trigger: &Trigger, now: DateTime<Utc>) -> Report {
        let mut report = Report::default();
        for dataset in self.tables_of(&trigger.cause) {
            if trigger.deadline.is_some_and(|deadline| Self::now() >= deadline) {
                break;
            }
            match self.vacuum_table(&dataset, trigger, now).await {
                Ok(done) => report.flows.extend(done),
                Err(error) => {
                    let mut failed = step_report(&dataset, trigger);
                    failed.outcome = Outcome::Failed { kind: error.kind(), message: error.to_string() };
                    report.flows.push(failed);
                }
            }
        }
        report
    }

    /// How many files could be deleted now, whether it's time to look or not.
    ///
    /// # Errors
    /// `Unavailable` when the table or its folder can't be read.
    pub async fn expired_files(&self, dataset: &DatasetName, table: &Table, now: DateTime<Utc>) -> Result<usize> {
        let facts = self.facts(table).await?;
        let kept = kept_for(Facts { unread_since: self.unread_since(dataset, table).await?, ..facts }, now);
        Ok(self.expired(table, kept, now).await?.len())
    }

    async fn vacuum_table(
        &self,
        dataset: &DatasetName,
        trigger: &Trigger,
        now: DateTime<Utc>,
    ) -> Result<Option<FlowReport>> {
        let started = Instant::now();
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        let facts = self.facts(&table).await?;
        // What isn't due without streams isn't due with them.
        if due(facts, now).is_none() {
            return Ok(None);
        }
        let facts = Facts { unread_since: self.unread_since(dataset, &table).await?, ..facts };
        let Some(kept) = due(facts, now) else { return Ok(None) };
        check_writable(&self.storage().table_url(table.path()), table.head())?;
        let expired = self.expired(&table, kept, now).await?;
        // What was live in between, as after another engine's RESTORE, stays.
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        let live: BTreeSet<Path> = table.files().await?.iter().map(|file| file.location().clone()).collect();
        let gone: Vec<Path> = expired.into_iter().filter(|path| !live.contains(path)).collect();
        let mut report = step_report(dataset, trigger);
        report.files_removed = gone.len() as u64;
        self.delete(gone).await?;
        report.millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.outcome = self.note(&table, now - kept, &report, trigger).await?;
        Ok(Some(report))
    }

    /// What is known of a table, without those who read it.
    async fn facts(&self, table: &Table) -> Result<Facts> {
        let (head, totals) = (table.head(), table.totals().await?);
        // Of a table without files, all that it had may still be there.
        let newest = totals.newest.filter(|_| totals.files > 0);
        let cleared = table.transaction(&self.vacuum_app_id()).await?;
        Ok(Facts {
            cleared: cleared.and_then(DateTime::from_timestamp_millis),
            newest_file: newest.and_then(DateTime::from_timestamp_millis),
            made: head.metadata.created_time().and_then(DateTime::from_timestamp_millis),
            retention: Duration::from_std(head.deleted_file_retention).unwrap_or(Duration::MAX),
            unread_since: None,
        })
    }

    fn vacuum_app_id(&self) -> String {
        FlowName::new(STEP).app_id(&self.pipeline().name)
    }

    /// When the first commit with rows was made that some stream of the pipeline hasn't read, or that of a shadow. A commit whose
    /// entry is gone can't be read by any.
    async fn unread_since(&self, dataset: &DatasetName, table: &Table) -> Result<Option<DateTime<Utc>>> {
        let main = dataset.main();
        // A shadow reads the shadow of its source, if there is one.
        let copies = match self.shadow(main.as_ref().unwrap_or(dataset)).await? {
            Some(_) => &[Which::InUse][..],
            None => &[Which::InUse, Which::Shadow],
        };
        let mut read: Option<u64> = None;
        for flow in self.pipeline().flows.iter().filter(|flow| streams_from(flow, dataset)) {
            for which in copies {
                read = self.least_progress(flow, *which).await?.into_iter().chain(read).min();
            }
        }
        let Some(read) = read.filter(|read| *read < table.version()) else { return Ok(None) };
        for version in read..table.version() {
            match table.changes(Some(version), version + 1).await {
                Ok(entries) => {
                    if let Some(entry) = entries.first().filter(|entry| entry.changes_rows()) {
                        return Ok(Some(entry.committed_at()));
                    }
                }
                Err(LakeError::LogEntryGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// How far a flow has come, by that of its tables that is furthest behind: a batch that died half-way is read again.
    async fn least_progress(&self, flow: &Flow, which: Which) -> Result<Option<u64>> {
        let (app_id, main) = (self.app_id(flow), &flow.target);
        let mut least = progress(self.copy_of(main, which).await?.as_ref(), &app_id).await?;
        if least.is_none() {
            for side in &sides_of(main) {
                let side = progress(self.copy_of(side, which).await?.as_ref(), &app_id).await?;
                least = least.into_iter().chain(side).min();
            }
        }
        Ok(least)
    }

    async fn copy_of(&self, name: &DatasetName, which: Which) -> Result<Option<Table>> {
        match which {
            Which::InUse => self.table(name).await,
            Which::Shadow => self.shadow(name).await,
        }
    }

    /// Files of the table's folder that no version within the retention names, by their paths in the store.
    async fn expired(&self, table: &Table, kept: Duration, now: DateTime<Utc>) -> Result<Vec<Path>> {
        let plan = table
            .delta()
            .await?
            .clone()
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_dry_run(true)
            .with_retention_period(kept)
            .with_clock(Arc::new(At(now)));
        let (_, plan) =
            plan.await.map_err(|source| LakeError::delta(&self.storage().table_url(table.path()), source))?;
        let folder = self.storage().location(table.path());
        let location = |path: &str| {
            let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
            Path::from_iter(folder.parts().chain(path.parts()))
        };
        // The plan doesn't know deletion vectors of files that were removed within the retention.
        let data_files = plan.files_deleted.iter().filter(|path| !is_deletion_vector(path));
        let planned: BTreeSet<Path> = data_files.map(|path| location(path)).collect();
        if planned.is_empty() {
            return Ok(Vec::new());
        }
        // The log tells of removed files long after they were deleted.
        let failed = |source| LakeError::Storage { action: "can't list", path: table.path().to_owned(), source };
        let objects = self.storage().object_store().list(Some(&folder));
        let there =
            objects.map_ok(|object| object.location).try_filter(|path| std::future::ready(planned.contains(path)));
        there.try_collect().await.map_err(failed)
    }

    /// A file that is gone already is no failure.
    async fn delete(&self, paths: Vec<Path>) -> Result<()> {
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.storage().object_store().delete_stream(paths);
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                Ok(None) => return Ok(()),
                Err(source) => {
                    let path = self.storage().url().to_string();
                    return Err(LakeError::Storage { action: "can't delete old files in", path, source });
                }
            }
        }
    }

    /// Notes in the table that what was removed before this time is gone.
    async fn note(
        &self,
        table: &Table,
        cleared: DateTime<Utc>,
        report: &FlowReport,
        trigger: &Trigger,
    ) -> Result<Outcome> {
        let change = Change {
            adds: Vec::new(),
            feed: Vec::new(),
            removes: Vec::new(),
            schema: None,
            txns: vec![(self.vacuum_app_id(), cleared.timestamp_millis())],
            watermark: None,
            fence: Fence::default(),
            records: None,
            data_change: false,
            report: report.clone(),
        };
        let policy = RetryPolicy::until(trigger.deadline);
        Ok(commit(self.storage(), table.path(), Some(table), &change, policy).await?.into())
    }
}

fn streams_from(flow: &Flow, dataset: &DatasetName) -> bool {
    let source = flow.stream().map(|relation| &relation.source);
    matches!(source, Some(RelationSource::TableStream { dataset: read, .. }) if read == dataset)
}

fn is_deletion_vector(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("deletion_vector_") && name.ends_with(".bin")
}

fn step_report(dataset: &DatasetName, trigger: &Trigger) -> FlowReport {
    FlowReport::new(FlowName::new(STEP), dataset.clone(), trigger.cause.word())
}

/// A clock that stands.
#[derive(Debug)]
struct At(DateTime<Utc>);

impl Clock for At {
    fn current_timestamp_millis(&self) -> i64 {
        self.0.timestamp_millis()
    }
}
