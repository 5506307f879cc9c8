//! Which files wait for a flow: those that its target doesn't hold.
//!
//! The target is the ledger: `_metadata.file_path` is a column. A file none of whose records is in
//! the target leaves a `txn` instead. Where files may be written again under their names, the time of
//! writing counts too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use headwater_core::batch::{Limits, next_batch};
use headwater_core::commit::{Expected, Fence};
use headwater_core::model::ReadOptions;

use super::FlowRun;
use super::earlier::Share;
use super::outlet::TablePlan;
use super::settle::Batch;
use super::target::{Pinned, without_hidden};
use crate::commit::{Change, CommitOutcome, commit};
use crate::error::{LakeError, Result};
use crate::ingest::{FoundFile, Landing, file_schema};
use crate::lake::Lake;
use crate::ledger::{FileEntry, LedgerColumn, file_entries, held};
use crate::storage::Storage;
use crate::table::Table;

/// Files that are waiting.
pub(super) struct Waiting {
    pub(super) storage: Storage,
    pub(super) files: Vec<FoundFile>,
    /// What an earlier attempt may have put aside: in the quarantine, in the late table.
    pub(super) aside: [Share; 2],
}

impl FlowRun<'_> {
    /// The next of the files to land, if any wait; those that are in are taken out of them.
    pub(super) async fn waiting(
        &self,
        (landing, files): (&Landing, &mut Vec<FoundFile>),
        read: &ReadOptions,
        pinned: &Pinned,
    ) -> Result<Option<Waiting>> {
        let main = pinned.main.as_ref();
        let landed = self.held_as_they_are(main, files, read).await?;
        let some_are_rowless = self.are_any_rowless(main).await?;
        let mut waiting = Vec::new();
        for file in files.drain(..) {
            let is_in = landed.contains(&file.path)
                || some_are_rowless && self.rowless_mark(main, &file.path).await? >= mark_of(&file, read);
            if !is_in {
                waiting.push(file);
            }
        }
        files.clone_from(&waiting);
        if waiting.is_empty() {
            return Ok(None);
        }
        let settings = &self.lake.pipeline().settings;
        let limits = Limits {
            items: read.files.max_files.unwrap_or(10_000),
            bytes: read.files.max_bytes.unwrap_or(settings.max_batch_bytes),
        };
        let sizes: Vec<u64> = waiting.iter().map(|file| file.size).collect();
        waiting.truncate(next_batch(&sizes, limits));
        let ids = paths(&waiting);
        let aside = [
            Share::of_records(LedgerColumn::FilePath, self.held_in(pinned.quarantine.as_ref(), &ids).await?),
            Share::of_records(LedgerColumn::FilePath, self.held_in(pinned.late.as_ref(), &ids).await?),
        ];
        Ok(Some(Waiting { storage: landing.storage().clone(), files: waiting, aside }))
    }

    /// The next of all files to land, if any wait.
    pub(super) async fn all_waiting(&self, path: &str, read: &ReadOptions, pinned: &Pinned) -> Result<Option<Waiting>> {
        let landing = self.landing(path, read)?;
        let mut files = landing.list().await?;
        self.waiting((&landing, &mut files), read, pinned).await
    }

    /// Those of some files that a table holds as they are now.
    async fn held_as_they_are(
        &self,
        main: Option<&Table>,
        files: &[FoundFile],
        read: &ReadOptions,
    ) -> Result<HashSet<String>> {
        if !read.files.allow_overwrites {
            return self.held_in(main, &paths(files)).await;
        }
        let entries = self.entries(main, files).await?;
        let is_in = |file: &&FoundFile| {
            entries.get(&file.path).is_some_and(|entry| file.modified.timestamp_micros() <= entry.modified)
        };
        Ok(files.iter().filter(is_in).map(|file| file.path.clone()).collect())
    }

    /// What a table tells of some files.
    pub(super) async fn entries(
        &self,
        main: Option<&Table>,
        files: &[FoundFile],
    ) -> Result<HashMap<String, FileEntry>> {
        match main {
            Some(table) => file_entries(self.lake.storage(), Some(&paths(files)), &table.files()?).await,
            None => Ok(HashMap::new()),
        }
    }

    async fn held_in(&self, table: Option<&Table>, ids: &HashSet<String>) -> Result<HashSet<String>> {
        match table {
            Some(table) => held(self.lake.storage(), LedgerColumn::FilePath, ids, &table.files()?).await,
            None => Ok(HashSet::new()),
        }
    }

    /// Takes those files out that were there before the flow first ran. False when that time is only just noted, so
    /// that all must be pinned again. It is kept with the quarantine, which nothing waits for. A shadow goes by what its
    /// table has noted.
    pub(super) async fn without_existing(&self, pinned: &Pinned, files: &mut Vec<FoundFile>) -> Result<bool> {
        let app_id = format!("{}/files-since", self.lake.app_id(self.flow));
        let name = self.flow.target.quarantine();
        let of_table = match self.lake.is_shadowed(&name) {
            true => Table::open(self.lake.storage(), &self.lake.path_in_use(&name)?).await?,
            false => None,
        };
        let noted = match of_table.as_ref().or(pinned.quarantine.as_ref()) {
            Some(table) => table.transaction(&app_id).await?,
            None => None,
        };
        if let Some(since) = noted.and_then(DateTime::from_timestamp_millis) {
            files.retain(|file| file.modified >= since);
            return Ok(true);
        }
        // Stores tell times by the second.
        let now = Lake::now().duration_trunc(TimeDelta::seconds(1)).unwrap_or_else(|_| Lake::now());
        self.note_start(pinned, app_id, now).await?;
        Ok(false)
    }

    async fn note_start(&self, pinned: &Pinned, app_id: String, since: DateTime<Utc>) -> Result<()> {
        let name = self.flow.target.quarantine();
        let main = TablePlan {
            path: self.lake.table_path(&self.flow.target)?,
            schema: without_hidden(&file_schema(&Arc::new(Schema::empty()))),
            partitioned_by: Vec::new(),
            keys: Vec::new(),
            configuration: BTreeMap::new(),
            comment: None,
        };
        let quarantine = pinned.quarantine.as_ref();
        let plan = self.side_plan(&name, &main, quarantine)?;
        let to = since.timestamp_millis();
        let change = Change {
            adds: Vec::new(),
            feed: Vec::new(),
            removes: Vec::new(),
            schema: plan.schema_change(quarantine),
            txns: vec![(app_id.clone(), to)],
            watermark: None,
            fence: Fence { state: vec![Expected { app_id, from: None, to }], replaces_table: false },
            records: None,
            data_change: true,
            report: self.report(),
        };
        match commit(self.lake.storage(), &plan.path, quarantine, &change, self.policy()).await? {
            CommitOutcome::Committed { .. } | CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Redo { .. } => {
                Ok(())
            }
            CommitOutcome::Retryable { reason } => {
                let source = object_store::Error::Generic { store: "Delta log", source: reason.into() };
                Err(LakeError::Storage { action: "can't note the start in", path: plan.path, source })
            }
        }
    }

    /// Files of a finished batch that have no row in the target get a `txn`.
    pub(super) fn mark_rowless(&self, batch: &mut Batch, files: &[FoundFile], read: &ReadOptions) {
        let with_rows = &batch.produced.file_paths;
        let rowless = files.iter().filter(|file| !with_rows.contains(&file.path));
        let marks: Vec<_> = rowless.map(|file| (self.rowless_app_id(&file.path), mark_of(file, read))).collect();
        if !marks.is_empty() {
            batch.txns.push((self.any_rowless_app_id(), 1));
        }
        batch.txns.extend(marks);
    }

    pub(super) async fn is_rowless(&self, main: Option<&Table>, path: &str) -> Result<bool> {
        Ok(self.rowless_mark(main, path).await? > 0)
    }

    pub(super) fn rowless_app_id(&self, path: &str) -> String {
        format!("{}/file/{path}", self.lake.app_id(self.flow))
    }

    /// What tells that some file has a mark: without it, nobody need ask for each.
    pub(super) fn any_rowless_app_id(&self) -> String {
        format!("{}/files-without-rows", self.lake.app_id(self.flow))
    }

    async fn are_any_rowless(&self, main: Option<&Table>) -> Result<bool> {
        match main {
            Some(table) => Ok(table.transaction(&self.any_rowless_app_id()).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn rowless_mark(&self, main: Option<&Table>, path: &str) -> Result<i64> {
        match main {
            Some(table) => Ok(table.transaction(&self.rowless_app_id(path)).await?.unwrap_or_default()),
            None => Ok(0),
        }
    }
}

/// The mark of a file that gave no row: where it may be written again, when it was written.
fn mark_of(file: &FoundFile, read: &ReadOptions) -> i64 {
    if read.files.allow_overwrites { file.modified.timestamp_micros().max(1) } else { 1 }
}

fn paths(files: &[FoundFile]) -> HashSet<String> {
    files.iter().map(|file| file.path.clone()).collect()
}
