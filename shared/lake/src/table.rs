//! A warm handle of one Delta table.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::datasource::TableProvider;
use deltalake::kernel::{Add, LogDataHandler, LogicalFileView, Snapshot};
use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, DeltaTableError};
use futures::{StreamExt, TryStreamExt};
use headwater_core::commit::entry_name;
use object_store::ObjectStoreExt;
use url::Url;

use crate::condition::Condition;
pub use crate::data_file::DataFile;
use crate::entries::Entries;
use crate::error::{LakeError, Result};
use crate::few_commits::few_commits;
pub use crate::log_entry::CommitEntry;
use crate::log_entry::read_commit;
use crate::named::NamedTable;
use crate::pin::{Head, LogTimes, Pin};
use crate::storage::Storage;
use crate::transactions::Transactions;
use crate::widened_log::{may_be_widened, scannable};

/// After so many new commits a handle is opened anew, from the last checkpoint: one that is only
/// ever updated gets slower with every commit.
const REOPEN_AFTER: u64 = 64;

/// Log entries that are read at once.
const READ_AT_ONCE: usize = 8;

/// A table, pinned at a version until it is refreshed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {
    storage: Storage,
    path: String,
    log: LogStoreRef,
    pin: Arc<Pin>,
    /// When storage got the log entry of the pinned version; `None` where it isn't there.
    stored_at: Option<DateTime<Utc>>,
    opened_at: u64,
    transactions: Transactions,
    entries: Entries,
    /// All rows were asked for once.
    was_scanned: Arc<AtomicBool>,
}

impl Table {
    /// Opens a table at its latest version; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read; `Invalid` when the table's log is broken or needs
    /// features of the protocol that aren't supported, which the message names.
    pub async fn open(storage: &Storage, path: &str) -> Result<Option<Self>> {
        let log = storage.log_store(path);
        let mut opened = Pin::open(&log, None).await;
        if opened.as_ref().is_err_and(|error| !matches!(error, DeltaTableError::NotATable(_))) {
            if !log.is_delta_table_location().await.unwrap_or(true) {
                return Ok(None);
            }
            // It may have been made between the two looks.
            opened = Pin::open(&log, None).await;
        }
        let pin = match opened {
            Ok(pin) => pin,
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            Err(source) => return Err(LakeError::delta(&storage.table_url(path), source)),
        };
        let stored_at = match pin.head().stored_at {
            Some(at) => Some(at),
            None => entry_stored_at(storage, path, pin.head().version).await?,
        };
        Ok(Some(Self {
            opened_at: pin.head().version,
            storage: storage.clone(),
            path: path.to_owned(),
            log,
            pin: Arc::new(pin),
            stored_at,
            transactions: Transactions::default(),
            entries: Entries::default(),
            was_scanned: Arc::default(),
        }))
    }

    /// The same table as of a version.
    ///
    /// # Errors
    /// As [`Self::open`]; `Invalid` when the version is gone.
    pub async fn at(&self, version: u64) -> Result<Self> {
        let pin = Pin::open(&self.log, Some(version)).await.map_err(|source| self.error(source))?;
        Ok(Self {
            stored_at: pin.head().stored_at,
            pin: Arc::new(pin),
            opened_at: version,
            transactions: Transactions::default(),
            was_scanned: Arc::default(),
            ..self.clone()
        })
    }

    /// The table at its latest version, reading only what is new; `None` if it was deleted. One that was deleted and made anew
    /// is opened as another: the log entry of the pinned version isn't the one that was read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn refresh(mut self) -> Result<Option<Self>> {
        let moved = self.pin.moved(&self.log).await;
        let stored_at = entry_stored_at(&self.storage, &self.path, self.version()).await?;
        if !is_same_time(stored_at, self.stored_at) {
            return Self::open(&self.storage, &self.path).await;
        }
        if let Some(moved) = moved.map_err(|source| self.error(source))? {
            if moved.head().version != self.version() {
                self.stored_at = match moved.head().stored_at {
                    Some(at) => Some(at),
                    None => entry_stored_at(&self.storage, &self.path, moved.head().version).await?,
                };
            }
            self.pin = Arc::new(moved);
        }
        if self.version() >= self.opened_at + REOPEN_AFTER
            && let Some(fresh) = Self::open(&self.storage, &self.path).await?
        {
            return Ok(Some(Self { entries: self.entries, was_scanned: self.was_scanned, ..fresh }));
        }
        Ok(Some(self))
    }

    /// The pinned version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.pin.head().version
    }

    pub(crate) const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The path below the lake's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The columns, partition columns included.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.pin.head().schema)
    }

    /// Partition columns.
    #[must_use]
    pub fn partitioned_by(&self) -> Vec<String> {
        self.pin.head().metadata.partition_columns().iter().map(ToString::to_string).collect()
    }

    /// A table property.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<String> {
        self.pin.head().metadata.configuration().get(key).cloned()
    }

    /// The version of a `txn`.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read.
    pub async fn transaction(&self, app_id: &str) -> Result<Option<i64>> {
        self.transactions.find(self, app_id).await
    }

    /// Reads the log for a `txn`.
    pub(crate) async fn search_transaction(&self, app_id: &str) -> Result<Option<i64>> {
        self.pin.transaction(&self.log, app_id).await.map_err(|source| self.error(source))
    }

    /// The live data files.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read, `Invalid` when it is broken.
    pub async fn files(&self) -> Result<Vec<DataFile>> {
        self.files_where(|_| true).await
    }

    /// Those live data files of which something is true. What is asked of the others costs next to nothing, however many
    /// they are, where it is their size, time or path.
    pub(crate) async fn files_where(&self, is_wanted: impl Fn(&LogicalFileView) -> bool) -> Result<Vec<DataFile>> {
        let files = self.live_files().await?;
        files.iter().filter(is_wanted).map(|file| self.action(&file)).collect()
    }

    /// Those live data files that statistics let hold rows that fulfil a condition. The others are left out while the log is read.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub(crate) async fn files_that_may_hold(&self, condition: Condition) -> Result<Vec<DataFile>> {
        // Statistics from before a column was widened are of another type.
        if may_be_widened(&self.head().protocol) {
            return self.files().await;
        }
        let (log, condition) = (self.log_store(), Some(condition.into_predicate()));
        let files = match self.pin.log().filter(|_| !self.has_read_files()) {
            Some(snapshot) => snapshot.file_views(log.as_ref(), condition),
            None => {
                let state = self.delta().await?.snapshot().map_err(|source| self.error(source))?;
                state.snapshot().file_views(log.as_ref(), condition)
            }
        };
        let files = files.map(|file| file.map_err(|source| self.error(source)).and_then(|file| self.action(&file)));
        files.try_collect().await
    }

    /// Whether there is no live data file.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.totals().await?.files == 0)
    }

    /// The commits in `(after, through]`, `None` meaning from the first on.
    ///
    /// # Errors
    /// `Invalid` ([`LakeError::LogEntryGone`]) when one was cleaned up.
    pub async fn changes(&self, after: Option<u64>, through: u64) -> Result<Vec<CommitEntry>> {
        let first = after.map_or(0, |version| version + 1);
        let read = async |version| {
            let entry = read_commit(&self.storage, &self.path, version).await?;
            entry.ok_or_else(|| LakeError::LogEntryGone { table: self.url().to_string(), version })
        };
        futures::stream::iter(first..=through).map(read).buffered(READ_AT_ONCE).try_collect().await
    }

    /// The last commits, newest first, as far as the log goes back.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read.
    pub async fn history(&self, limit: usize) -> Result<Vec<CommitEntry>> {
        let versions = (0..=self.version()).rev().take(limit);
        let read = |version| read_commit(&self.storage, &self.path, version);
        let entries = futures::stream::iter(versions).map(read).buffered(READ_AT_ONCE);
        let there = entries.try_take_while(|entry| std::future::ready(Ok(entry.is_some())));
        there.try_filter_map(|entry| std::future::ready(Ok(entry))).try_collect().await
    }

    /// All rows, for the engine. The first time, its plan reads of the log what its predicates ask for; whoever comes again
    /// has the files kept.
    ///
    /// # Errors
    /// `Invalid` when the table can't be scanned.
    pub async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        if let Some(log) = self.scannable().await? {
            return self.named(DeltaTable::new(self.log_store()).table_provider().with_snapshot(log).build().await);
        }
        let is_first = !self.was_scanned.swap(true, Ordering::Relaxed);
        let scan = match self.pin.log().filter(|_| is_first && !self.has_read_files()) {
            Some(log) => DeltaTable::new(self.log_store()).table_provider().with_snapshot(Arc::clone(log)),
            None => self.delta().await?.table_provider(),
        };
        self.named(scan.build().await)
    }

    /// The rows of these live files only.
    ///
    /// # Errors
    /// `Invalid` when the table can't be scanned.
    pub async fn provider_of(&self, files: &[DataFile]) -> Result<Arc<dyn TableProvider>> {
        let all = match self.scannable().await? {
            Some(log) => DeltaTable::new(self.log_store()).table_provider().with_snapshot(log),
            None => self.delta().await?.table_provider(),
        };
        self.named(all.with_file_paths(files.iter().map(DataFile::path_in_log)).build().await)
    }

    fn named(&self, rows: datafusion::error::Result<impl TableProvider>) -> Result<Arc<dyn TableProvider>> {
        let rows = Arc::new(rows.map_err(|error| LakeError::scan(&self.url(), error))?);
        Ok(Arc::new(NamedTable::new(self.url(), rows)))
    }

    /// The rows of these live files, all of which these commits have added: the files of others aren't read for it.
    ///
    /// # Errors
    /// `Invalid` when the table can't be scanned.
    pub(crate) async fn provider_of_commits(
        &self,
        versions: RangeInclusive<u64>,
        files: &[DataFile],
    ) -> Result<Arc<dyn TableProvider>> {
        let log = self.pin.log().filter(|_| !self.has_read_files());
        let Some(few) = log.and_then(|log| few_commits(log, versions)) else { return self.provider_of(files).await };
        let few = match may_be_widened(&self.head().protocol) {
            true => scannable(&few).map_err(|source| self.error(source))?,
            false => few,
        };
        let rows = DeltaTable::new(self.log_store()).table_provider().with_snapshot(few);
        self.named(rows.with_file_paths(files.iter().map(DataFile::path_in_log)).build().await)
    }

    /// The log as it is scanned where columns may have been widened. Such a scan reads the live files of the log anew.
    async fn scannable(&self) -> Result<Option<Arc<Snapshot>>> {
        self.pin.scannable(&self.log).await.map_err(|source| self.error(source))
    }

    /// The handle of delta-rs, with all live files.
    pub(crate) async fn delta(&self) -> Result<&DeltaTable> {
        self.pin.with_files(&self.log).await.map_err(|source| self.error(source))
    }

    /// What the table is, without its files.
    pub(crate) fn head(&self) -> &Head {
        self.pin.head()
    }

    /// When storage got the newest parts of the log; `None` if the files were read.
    pub(crate) fn log_times(&self) -> Result<Option<LogTimes>> {
        self.pin.log_times().map_err(|source| self.error(source))
    }

    /// Whether the live files were read.
    pub(crate) fn has_read_files(&self) -> bool {
        self.pin.live().is_some()
    }

    /// One log entry; `None` if it isn't there.
    pub(crate) async fn entry(&self, version: u64) -> Result<Option<Arc<CommitEntry>>> {
        self.entries.read(&self.storage, &self.path, version).await
    }

    /// Keeps a log entry that was put.
    pub(crate) fn keep_entry(&self, entry: CommitEntry) {
        self.entries.keep(Arc::new(entry));
    }

    pub(crate) fn log_store(&self) -> LogStoreRef {
        Arc::clone(&self.log)
    }

    pub(crate) async fn live_files(&self) -> Result<LogDataHandler<'_>> {
        let state = self.delta().await?.snapshot().map_err(|source| self.error(source))?;
        state.snapshot().try_log_data().map_err(|source| self.error(source))
    }

    #[expect(deprecated, reason = "commits need the add action itself, with its statistics as text")]
    fn action(&self, file: &LogicalFileView) -> Result<DataFile> {
        // delta-rs panics over a deletion vector of a kind that it doesn't know.
        let add = catch_unwind(AssertUnwindSafe(|| file.add_action()));
        let unknown = || format!("`{}` has a deletion vector that can't be read", file.path());
        add.map(|add| self.data_file(add)).map_err(|_| self.error(DeltaTableError::Generic(unknown())))
    }

    pub(crate) fn data_file(&self, add: Add) -> DataFile {
        DataFile::new(&self.storage, &self.path, add)
    }

    fn url(&self) -> Url {
        self.storage.table_url(&self.path)
    }

    pub(crate) fn error(&self, source: DeltaTableError) -> LakeError {
        LakeError::delta(&self.url(), source)
    }
}

/// When storage got the log entry of a version; `None` if it isn't there.
async fn entry_stored_at(storage: &Storage, table: &str, version: u64) -> Result<Option<DateTime<Utc>>> {
    let location = storage.location(&format!("{table}/_delta_log/{}", entry_name(version)));
    match storage.object_store().head(&location).await {
        Ok(entry) => Ok(Some(entry.last_modified)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(LakeError::delta(&storage.table_url(table), source.into())),
    }
}

/// Whether these are the same time, one of which may have been told in whole seconds, and both in milliseconds.
fn is_same_time(now: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>) -> bool {
    let [now, before] = [now, before].map(|at| at.map(|at| at.timestamp_millis()));
    now == before || now.zip(before).is_some_and(|(a, b)| a / 1000 == b / 1000 && (a % 1000 == 0 || b % 1000 == 0))
}
