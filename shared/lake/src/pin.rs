//! A table at one version.
//!
//! What a table is, its columns, properties and progress, costs the same at any age: two small columns of the last
//! checkpoint and the entries after it. Its live files are as many as they are, so they are read when they are first asked
//! for. From then on they are kept, and brought up with each new commit.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use deltalake::kernel::{EagerSnapshot, Metadata, Protocol, Snapshot, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::table::config::TablePropertiesExt;
use deltalake::{DeltaResult, DeltaTable, DeltaTableError};
use tokio::sync::OnceCell;

use crate::widened_log::{may_be_widened, scannable, without_changes};

/// What a table is, without its files.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The version.
    pub(crate) version: u64,
    /// The columns as Delta has them.
    pub(crate) columns: Arc<StructType>,
    /// The columns, partition columns included.
    pub(crate) schema: SchemaRef,
    /// Properties, partition columns, comment.
    pub(crate) metadata: Metadata,
    /// What it asks of readers and writers.
    pub(crate) protocol: Protocol,
    /// How long removed files stay.
    pub(crate) deleted_file_retention: Duration,
    /// How long log entries stay.
    pub(crate) log_retention: Duration,
    /// Whether rows may only be added.
    pub(crate) is_append_only: bool,
    /// When storage got the version's log entry; `None` where a checkpoint of it is all that is listed.
    pub(crate) stored_at: Option<DateTime<Utc>>,
}

/// When storage got the newest parts of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogTimes {
    /// The entries after the last checkpoint with their versions, newest first.
    pub(crate) entries: Vec<(u64, Option<DateTime<Utc>>)>,
    /// The last checkpoint, if there is one.
    pub(crate) checkpoint: Option<DateTime<Utc>>,
}

/// A table at one version.
#[derive(Debug)]
pub(crate) struct Pin {
    head: Head,
    files: Files,
    /// The log in the form in which delta-rs scans a table with columns that were widened.
    scannable: OnceCell<Arc<Snapshot>>,
}

#[derive(Debug)]
enum Files {
    /// Read when they are asked for.
    Unread { log: Arc<Snapshot>, live: OnceCell<DeltaTable> },
    /// Brought up from those of an earlier version.
    Read(DeltaTable),
}

impl Pin {
    /// Pins a table at a version, or at the latest.
    ///
    /// # Errors
    /// `NotATable` where there is none; else what storage or the log says.
    pub(crate) async fn open(log: &LogStoreRef, version: Option<u64>) -> DeltaResult<Self> {
        let snapshot = Arc::new(Snapshot::try_new(log.as_ref(), version).await?);
        // Building a scan reads nothing, but refuses a table that can't be read.
        snapshot.scan_builder().build()?;
        Ok(Self::unread(snapshot))
    }

    /// The same table at its latest version; `None` if this is it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn moved(&self, log: &LogStoreRef) -> DeltaResult<Option<Self>> {
        match (&self.files, self.live()) {
            (_, Some(live)) => {
                let mut live = live.clone();
                live.update_incremental(None).await?;
                let head = Head::of_files(live.snapshot()?.snapshot());
                Ok(Some(Self { head, files: Files::Read(live), scannable: OnceCell::new() }))
            }
            (Files::Read(_), None) => Ok(None),
            (Files::Unread { log: snapshot, .. }, None) => {
                let moved = Arc::clone(snapshot).update(log.engine(None), None).await?;
                Ok((!Arc::ptr_eq(&moved, snapshot)).then(|| Self::unread(moved)))
            }
        }
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// The table with its live files, if they were read.
    pub(crate) fn live(&self) -> Option<&DeltaTable> {
        match &self.files {
            Files::Unread { live, .. } => live.get(),
            Files::Read(live) => Some(live),
        }
    }

    /// The table with its live files, which are read if they weren't.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn with_files(&self, log: &LogStoreRef) -> DeltaResult<&DeltaTable> {
        match &self.files {
            Files::Unread { live, .. } => {
                let read = async || {
                    let mut table = DeltaTable::new(Arc::clone(log));
                    table.load_version(self.head.version).await?;
                    Ok(table)
                };
                live.get_or_try_init(read).await
            }
            Files::Read(live) => Ok(live),
        }
    }

    /// The log, while nothing but the log was read.
    pub(crate) const fn log(&self) -> Option<&Arc<Snapshot>> {
        match &self.files {
            Files::Unread { log, .. } => Some(log),
            Files::Read(_) => None,
        }
    }

    /// The log as delta-rs scans it, where columns may have been widened; `None` for other tables.
    ///
    /// # Errors
    /// As [`Self::open`]; for a change of a column that isn't followed here.
    pub(crate) async fn scannable(&self, log: &LogStoreRef) -> DeltaResult<Option<Arc<Snapshot>>> {
        if !may_be_widened(&self.head.protocol) {
            return Ok(None);
        }
        let read = async || {
            Ok(Arc::new(match self.log() {
                Some(snapshot) => scannable(snapshot)?,
                None => scannable(&Snapshot::try_new(log.as_ref(), Some(self.head.version)).await?)?,
            }))
        };
        self.scannable.get_or_try_init(read).await.cloned().map(Some)
    }

    /// The version of a `txn`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn transaction(&self, log: &LogStoreRef, app_id: &str) -> DeltaResult<Option<i64>> {
        match &self.files {
            Files::Read(live) => live.snapshot()?.snapshot().transaction_version(log.as_ref(), app_id).await,
            Files::Unread { log: snapshot, .. } => {
                let snapshot = Arc::clone(snapshot.scan_builder().build()?.snapshot());
                let (engine, app_id) = (log.engine(None), app_id.to_owned());
                let find = move || snapshot.get_app_id_version(&app_id, engine.as_ref());
                let found = tokio::task::spawn_blocking(find).await;
                Ok(found.map_err(|source| DeltaTableError::GenericError { source: source.into() })??)
            }
        }
    }

    /// When storage got the newest parts of the log; `None` once files were read, since they tell more.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn log_times(&self) -> DeltaResult<Option<LogTimes>> {
        let (Files::Unread { log, .. }, None) = (&self.files, self.live()) else { return Ok(None) };
        let scan = log.scan_builder().build()?;
        let listed = &scan.snapshot().log_segment().listed;
        let entries = listed.ascending_commit_files.iter().rev();
        let entries =
            entries.map(|entry| (entry.version, DateTime::from_timestamp_millis(entry.location.last_modified)));
        let checkpoint = listed.checkpoint_parts.iter().map(|part| part.location.last_modified).max();
        Ok(Some(LogTimes {
            entries: entries.collect(),
            checkpoint: checkpoint.and_then(DateTime::from_timestamp_millis),
        }))
    }

    fn unread(log: Arc<Snapshot>) -> Self {
        let files = Files::Unread { log: Arc::clone(&log), live: OnceCell::new() };
        Self { head: Head::of_log(&log), files, scannable: OnceCell::new() }
    }
}

impl Head {
    fn of_log(snapshot: &Snapshot) -> Self {
        let properties = snapshot.table_properties();
        Self {
            version: snapshot.version(),
            columns: snapshot.schema(),
            schema: without_changes(snapshot.arrow_schema()),
            metadata: snapshot.metadata().clone(),
            protocol: snapshot.protocol().clone(),
            deleted_file_retention: properties.deleted_file_retention_duration(),
            log_retention: properties.log_retention_duration(),
            is_append_only: properties.append_only(),
            stored_at: stored_at(snapshot),
        }
    }

    fn of_files(snapshot: &EagerSnapshot) -> Self {
        let properties = snapshot.table_properties();
        Self {
            version: snapshot.version(),
            columns: snapshot.schema(),
            schema: without_changes(snapshot.arrow_schema()),
            metadata: snapshot.metadata().clone(),
            protocol: snapshot.protocol().clone(),
            deleted_file_retention: properties.deleted_file_retention_duration(),
            log_retention: properties.log_retention_duration(),
            is_append_only: properties.append_only(),
            stored_at: snapshot.version_timestamp(snapshot.version()).and_then(DateTime::from_timestamp_millis),
        }
    }
}

/// When storage got the log entry of a version.
fn stored_at(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    let scan = snapshot.scan_builder().build().ok()?;
    let entries = &scan.snapshot().log_segment().listed.ascending_commit_files;
    let entry = entries.last().filter(|entry| entry.version == snapshot.version())?;
    DateTime::from_timestamp_millis(entry.location.last_modified)
}
