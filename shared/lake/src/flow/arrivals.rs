//! Which files wait for a flow: those that its target doesn't hold.
//!
//! The target is the ledger: `_metadata.file_path` is a column. A file none of whose records is in
//! the target leaves a `txn` instead, and one that is landed in parts (`parts`) one that tells how far (`marks`).
//! Where files may be written again under their names, the time of writing counts too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use headwater_core::batch::{Limits, next_batch};
use headwater_core::commit::{Expected, Fence};
use headwater_core::model::ReadOptions;
use headwater_core::parts::Access;
use headwater_core::report::Input;

use super::FlowRun;
use super::earlier::Share;
use super::marks::Marked;
use super::outlet::TablePlan;
use super::parts::FilePart;
use super::settle::{Batch, Identity};
use super::target::{Pinned, without_hidden};
use crate::commit::{Change, CommitOutcome, commit};
use crate::error::{LakeError, Result};
use crate::ingest::{FoundFile, Landing, file_schema};
use crate::lake::Lake;
use crate::ledger::{FileEntry, LedgerColumn, file_entries, held};
use crate::storage::Storage;
use crate::table::Table;
use crate::widening::Growth;

/// Files that are looked at to infer columns.
const SAMPLE_FILES: usize = 3;

/// Files that are waiting.
pub(super) struct Waiting {
    pub(super) storage: Storage,
    pub(super) files: Vec<FoundFile>,
    /// Those that columns are inferred from, of this batch or later ones: not the empty ones.
    pub(super) sampled: Vec<FoundFile>,
    /// Which part of the one file, if it isn't landed whole.
    pub(super) part: Option<Arc<FilePart>>,
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
        let marks = self.file_marks(main).await?;
        let mut marked = Vec::with_capacity(files.len());
        files.retain(|file| {
            let mark = match marks.of(file, read) {
                Marked::Done => return false,
                Marked::Replaced(_) if read.files.allow_overwrites => Marked::Nothing,
                mark => mark,
            };
            let waits = mark != Marked::Nothing || !landed.contains(&file.path);
            if waits {
                marked.push(mark);
            }
            waits
        });
        let bytes = files.iter().zip(&marked).map(|(file, mark)| left_of(file, *mark)).sum();
        self.lake.landing().plan(&self.flow.target, files.len() as u64, bytes);
        let is_large = |(file, mark): &(&FoundFile, &Marked)| self.is_landed_in_parts(file, **mark, read);
        let whole = files.iter().zip(&marked).position(|pair| is_large(&pair)).unwrap_or(files.len());
        let (Some(file), Some(mark)) = (files.first(), marked.first()) else { return Ok(None) };
        let (storage, sampled) = (landing.storage().clone(), sampled(files));
        if whole == 0 {
            let (part, aside) = self.next_part(file, *mark, pinned).await?;
            let (files, part) = (vec![file.clone()], Some(Arc::new(part)));
            return Ok(Some(Waiting { storage, files, sampled, part, aside }));
        }
        let limits = Limits {
            items: read.files.max_files.unwrap_or(10_000),
            bytes: read.files.max_bytes.unwrap_or(self.lake.pipeline().settings.max_batch_bytes),
        };
        let sizes: Vec<u64> = files[..whole].iter().map(|file| file.size).collect();
        let batch = files[..next_batch(&sizes, limits)].to_vec();
        let ids = paths(&batch);
        let aside = [
            Share::of_records(LedgerColumn::FilePath, self.held_in(pinned.quarantine.as_ref(), &ids).await?),
            Share::of_records(LedgerColumn::FilePath, self.held_in(pinned.late.as_ref(), &ids).await?),
        ];
        Ok(Some(Waiting { storage, files: batch, sampled, part: None, aside }))
    }

    /// The next of all files to land, if any wait.
    pub(super) async fn all_waiting(&self, path: &str, read: &ReadOptions, pinned: &Pinned) -> Result<Option<Waiting>> {
        let landing = self.landing(path, read)?;
        let mut files = landing.list().await?;
        let waiting = self.waiting((&landing, &mut files), read, pinned).await;
        self.lake.landing().end();
        waiting
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
            Some(table) => file_entries(self.lake.storage(), Some(&paths(files)), &table.files().await?).await,
            None => Ok(HashMap::new()),
        }
    }

    /// Whether a table has a row of a file.
    pub(super) async fn holds(&self, table: &Table, path: &str) -> Result<bool> {
        Ok(!self.held_in(Some(table), &HashSet::from([path.to_owned()])).await?.is_empty())
    }

    async fn held_in(&self, table: Option<&Table>, ids: &HashSet<String>) -> Result<HashSet<String>> {
        match table {
            Some(table) => held(self.lake.storage(), LedgerColumn::FilePath, ids, &table.files().await?).await,
            None => Ok(HashSet::new()),
        }
    }

    /// Takes those files out that were there before the flow first ran. False when that time is only just noted, so
    /// that all must be pinned again.
    pub(super) async fn without_existing(&self, pinned: &Pinned, files: &mut Vec<FoundFile>) -> Result<bool> {
        if let Some(since) = self.started(pinned.quarantine.as_ref()).await? {
            files.retain(|file| file.modified >= since);
            return Ok(true);
        }
        // Stores tell times by the second.
        let now = Lake::now().duration_trunc(TimeDelta::seconds(1)).unwrap_or_else(|_| Lake::now());
        self.note_start(pinned, self.start_app_id(), now).await?;
        Ok(false)
    }

    /// When the flow first ran, if that was noted. It is kept with the quarantine, which nothing waits for. A shadow goes by
    /// what its table has noted.
    pub(super) async fn started(&self, quarantine: Option<&Table>) -> Result<Option<DateTime<Utc>>> {
        let name = self.flow.target.quarantine();
        let of_table = match self.lake.is_shadowed(&name) {
            true => Table::open(self.lake.storage(), &self.lake.path_in_use(&name)?).await?,
            false => None,
        };
        match of_table.as_ref().or(quarantine) {
            Some(table) => {
                let noted = table.transaction(&self.start_app_id()).await?;
                Ok(noted.and_then(DateTime::from_timestamp_millis))
            }
            None => Ok(None),
        }
    }

    fn start_app_id(&self) -> String {
        format!("{}/files-since", self.lake.app_id(self.flow))
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
            growth: Growth::Columns,
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
            fence: Fence { state: vec![Expected { app_id, from: None, to }], ..Fence::default() },
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

    /// What makes the batch happen once, when it has been read.
    pub(super) fn identity(&self, waiting: &Waiting) -> Result<Identity> {
        match (&waiting.part, waiting.files.as_slice()) {
            (Some(part), [file]) => self.identity_of(file, part),
            (_, files) => Ok(Identity::Sources { column: LedgerColumn::FilePath, ids: paths(files) }),
        }
    }

    /// The finished batch with what is to be told of its files: those that have no row in the target get a `txn`, and so
    /// does one that is landed in parts.
    pub(super) fn marked(&self, mut batch: Batch, waiting: &Waiting, read: &ReadOptions) -> Batch {
        if let (Some(part), [file]) = (&waiting.part, waiting.files.as_slice()) {
            self.mark_part(&mut batch, file, part, read);
            return batch;
        }
        let with_rows = &batch.produced.file_paths;
        let rowless = waiting.files.iter().filter(|file| !with_rows.contains(&file.path));
        let marks: Vec<_> = rowless.map(|file| self.done_mark(file, read)).collect();
        if !marks.is_empty() {
            batch.txns.push((self.any_marks_app_id(), 1));
        }
        batch.txns.extend(marks);
        batch
    }
}

impl Waiting {
    /// What a report says of it, when it has been read.
    pub(super) fn input(&self, path: &str) -> Input {
        let path = path.to_owned();
        match &self.part {
            Some(part) => Input::Files { path, files: u64::from(part.is_last()), bytes: part.bytes() },
            None => {
                let bytes = self.files.iter().map(|file| file.size).sum();
                Input::Files { path, files: self.files.len() as u64, bytes }
            }
        }
    }
}

/// The first files that may tell of columns.
pub(super) fn sampled(files: &[FoundFile]) -> Vec<FoundFile> {
    files.iter().filter(|file| file.size > 0).take(SAMPLE_FILES).cloned().collect()
}

/// Stored bytes of a file that aren't in; all of those of a compressed one.
fn left_of(file: &FoundFile, mark: Marked) -> u64 {
    match (mark, file.access()) {
        (Marked::UpTo(position), Access::Random) => file.size.saturating_sub(position.bytes),
        _ => file.size,
    }
}

fn paths(files: &[FoundFile]) -> HashSet<String> {
    files.iter().map(|file| file.path.clone()).collect()
}
