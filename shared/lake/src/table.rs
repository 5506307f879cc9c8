//! A warm handle of one Delta table.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::datasource::TableProvider;
use deltalake::DeltaTable;
use deltalake::kernel::{Action, Add, EagerSnapshot, LogDataHandler, LogicalFileView, Metadata, Protocol, Remove};
use deltalake::logstore::{LogStoreRef, get_actions};
use futures::{StreamExt, TryStreamExt};
use headwater_core::report::{COMMIT_INFO_KEY, FlowReport};
use object_store::path::Path;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::error::{LakeError, Result};
use crate::named::NamedTable;
use crate::storage::Storage;
use crate::transactions::Transactions;

/// After so many new commits a handle is opened anew, from the last checkpoint: one that is only
/// ever updated gets slower with every commit.
const REOPEN_AFTER: u64 = 64;

/// Log entries that are read at once.
const READ_AT_ONCE: usize = 8;

/// The key of a commit's token in `commitInfo`.
pub(crate) const TOKEN_KEY: &str = "headwaterToken";

/// The key of the marks of a commit's records in `commitInfo`.
pub(crate) const MARKS_KEY: &str = "headwaterRecords";

/// A table, pinned at a version until it is refreshed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {
    storage: Storage,
    path: String,
    inner: DeltaTable,
    opened_at: u64,
    transactions: Transactions,
}

impl Table {
    /// Opens a table at its latest version; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read; `Invalid` when the table's log is broken or needs
    /// features of the protocol that aren't supported, which the message names.
    pub async fn open(storage: &Storage, path: &str) -> Result<Option<Self>> {
        let mut inner = DeltaTable::new(storage.log_store(path));
        let mut loaded = inner.load().await;
        if loaded.as_ref().is_err_and(|error| !matches!(error, deltalake::DeltaTableError::NotATable(_))) {
            if !inner.verify_deltatable_existence().await.unwrap_or(true) {
                return Ok(None);
            }
            // It may have been made between the two looks.
            loaded = inner.load().await;
        }
        match loaded {
            Ok(()) => {}
            Err(deltalake::DeltaTableError::NotATable(_)) => return Ok(None),
            Err(source) => return Err(LakeError::delta(&storage.table_url(path), source)),
        }
        let opened_at = inner.version().unwrap_or_default();
        let transactions = Transactions::default();
        Ok(Some(Self { storage: storage.clone(), path: path.to_owned(), inner, opened_at, transactions }))
    }

    /// The same table as of a version.
    ///
    /// # Errors
    /// As [`Self::open`]; `Invalid` when the version is gone.
    pub async fn at(&self, version: u64) -> Result<Self> {
        let mut inner = DeltaTable::new(self.storage.log_store(&self.path));
        inner.load_version(version).await.map_err(|source| self.error(source))?;
        let transactions = Transactions::default();
        Ok(Self { storage: self.storage.clone(), path: self.path.clone(), inner, opened_at: version, transactions })
    }

    /// Moves to the latest version, reading only what is new.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn refresh(&mut self) -> Result<()> {
        self.inner
            .update_incremental(None)
            .await
            .map_err(|source| LakeError::delta(&self.storage.table_url(&self.path), source))?;
        if self.version() >= self.opened_at + REOPEN_AFTER
            && let Some(fresh) = Self::open(&self.storage, &self.path).await?
        {
            *self = fresh;
        }
        Ok(())
    }

    /// The pinned version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.inner.version().unwrap_or_default()
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
        self.snapshot().map_or_else(|_| Arc::new(arrow::datatypes::Schema::empty()), EagerSnapshot::arrow_schema)
    }

    /// Partition columns.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn partitioned_by(&self) -> Result<Vec<String>> {
        Ok(self.snapshot()?.metadata().partition_columns().iter().map(ToString::to_string).collect())
    }

    /// A table property.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<String> {
        self.snapshot().ok()?.metadata().configuration().get(key).cloned()
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
        let log = self.inner.log_store();
        self.snapshot()?.transaction_version(log.as_ref(), app_id).await.map_err(|source| self.error(source))
    }

    /// The live data files.
    ///
    /// # Errors
    /// `Invalid` when the snapshot can't be read.
    pub fn files(&self) -> Result<Vec<DataFile>> {
        self.files_where(|_| true)
    }

    /// Those live data files of which something is true. What is asked of the others costs next to nothing, however many
    /// they are, where it is their size, time or path.
    #[expect(deprecated, reason = "commits need the add action itself, with its statistics as text")]
    pub(crate) fn files_where(&self, is_wanted: impl Fn(&LogicalFileView) -> bool) -> Result<Vec<DataFile>> {
        let files = self.log_data()?;
        Ok(files.iter().filter(is_wanted).map(|file| self.data_file(file.add_action())).collect())
    }

    /// Whether there is no live data file.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.log_data()?.num_files() == 0)
    }

    /// What the live data files amount to.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub fn totals(&self) -> Result<Totals> {
        let start = Totals { files: 0, bytes: 0, rows: Some(0) };
        Ok(self.log_data()?.iter().fold(start, |totals, file| Totals {
            files: totals.files + 1,
            bytes: totals.bytes + u64::try_from(file.size()).unwrap_or_default(),
            rows: totals.rows.zip(file.num_records()).map(|(rows, more)| rows + more as u64),
        }))
    }

    /// When the newest live data file was written; `None` if there is none.
    pub(crate) fn newest_file(&self) -> Result<Option<DateTime<Utc>>> {
        let newest = self.log_data()?.iter().map(|file| file.modification_time()).max();
        Ok(newest.and_then(DateTime::from_timestamp_millis))
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
        let mut entries = Vec::new();
        for version in (0..=self.version()).rev().take(limit) {
            match read_commit(&self.storage, &self.path, version).await? {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        Ok(entries)
    }

    /// All rows, for the engine.
    ///
    /// # Errors
    /// `Invalid` when the table can't be scanned.
    pub async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        self.named(self.inner.table_provider().build().await)
    }

    /// The rows of these live files only.
    ///
    /// # Errors
    /// `Invalid` when the table can't be scanned.
    pub async fn provider_of(&self, files: &[DataFile]) -> Result<Arc<dyn TableProvider>> {
        let adds: Vec<Add> = files.iter().map(|file| Add::clone(&file.add)).collect();
        self.named(self.inner.table_provider().with_adds(adds).build().await)
    }

    fn named(&self, rows: datafusion::error::Result<impl TableProvider>) -> Result<Arc<dyn TableProvider>> {
        let rows = Arc::new(rows.map_err(|error| LakeError::scan(&self.url(), error))?);
        Ok(Arc::new(NamedTable::new(self.url(), rows)))
    }

    /// The handle of delta-rs, for maintenance.
    pub(crate) const fn delta(&self) -> &DeltaTable {
        &self.inner
    }

    pub(crate) fn snapshot(&self) -> Result<&EagerSnapshot> {
        let state = self.inner.snapshot().map_err(|source| self.error(source))?;
        Ok(state.snapshot())
    }

    pub(crate) fn log_store(&self) -> LogStoreRef {
        self.inner.log_store()
    }

    pub(crate) fn data_file(&self, add: Add) -> DataFile {
        DataFile::new(&self.storage, &self.path, add)
    }

    fn log_data(&self) -> Result<LogDataHandler<'_>> {
        self.snapshot()?.try_log_data().map_err(|source| self.error(source))
    }

    fn url(&self) -> Url {
        self.storage.table_url(&self.path)
    }

    fn error(&self, source: deltalake::DeltaTableError) -> LakeError {
        LakeError::delta(&self.url(), source)
    }
}

/// What the live data files of a table amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// How many they are.
    pub files: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Rows, where statistics tell for every file.
    pub rows: Option<u64>,
}

/// A data file of a table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub(crate) add: Arc<Add>,
    location: Arc<Path>,
    stats: Arc<OnceLock<Option<Value>>>,
}

impl DataFile {
    pub(crate) fn new(storage: &Storage, table: &str, add: Add) -> Self {
        let folder = storage.location(table);
        // Paths of partitions hold percent signs that are part of the name.
        let path = Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str()));
        let location = Path::from_iter(folder.parts().chain(path.parts()));
        Self { add: Arc::new(add), location: Arc::new(location), stats: Arc::default() }
    }

    /// Path relative to the table, as in the log.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.add.path
    }

    /// Path in the store.
    #[must_use]
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Bytes as stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or_default()
    }

    /// When the file was written.
    #[must_use]
    pub fn modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.add.modification_time).unwrap_or_default()
    }

    /// Rows, if statistics tell.
    #[must_use]
    pub fn num_records(&self) -> Option<u64> {
        match self.stats.get() {
            Some(stats) => stats.as_ref()?.get("numRecords")?.as_u64(),
            // All files are counted often, and bounds of few are looked at.
            None => serde_json::from_str::<Counted>(self.add.stats.as_deref()?).ok()?.num_records,
        }
    }

    /// A lower bound of a column, by its dotted path, if statistics tell.
    #[must_use]
    pub fn min(&self, column: &str) -> Option<Value> {
        self.bound("minValues", column)
    }

    /// An upper bound of a column, by its dotted path, if statistics tell.
    #[must_use]
    pub fn max(&self, column: &str) -> Option<Value> {
        self.bound("maxValues", column)
    }

    /// Whether a column may hold NULL, as far as statistics tell.
    pub(crate) fn may_hold_null(&self, column: &str) -> bool {
        self.bound("nullCount", column).and_then(|count| count.as_u64()) != Some(0)
    }

    /// Partition values in a fixed order, for grouping.
    #[must_use]
    pub fn partition(&self) -> Vec<(String, Option<String>)> {
        let mut values: Vec<_> =
            self.add.partition_values.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        values.sort();
        values
    }

    /// Whether rows of the file are deleted by a deletion vector.
    #[must_use]
    pub fn has_deletion_vector(&self) -> bool {
        self.add.deletion_vector.is_some()
    }

    pub(crate) fn removal(&self, data_change: bool, now: DateTime<Utc>) -> Remove {
        Remove {
            path: self.add.path.clone(),
            data_change,
            deletion_timestamp: Some(now.timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.add.partition_values.clone()),
            size: Some(self.add.size),
            tags: self.add.tags.clone(),
            deletion_vector: self.add.deletion_vector.clone(),
            base_row_id: self.add.base_row_id,
            default_row_commit_version: self.add.default_row_commit_version,
        }
    }

    fn bound(&self, which: &str, column: &str) -> Option<Value> {
        let bounds = self.statistics()?.get(which)?;
        column.split('.').try_fold(bounds, |value, part| value.get(part)).cloned()
    }

    fn statistics(&self) -> Option<&Value> {
        self.stats.get_or_init(|| serde_json::from_str(self.add.stats.as_deref()?).ok()).as_ref()
    }
}

/// What is read of statistics to count rows.
#[derive(Debug, Deserialize)]
struct Counted {
    #[serde(rename = "numRecords")]
    num_records: Option<u64>,
}

/// One commit, as its log entry tells.
#[derive(Debug, Clone)]
pub struct CommitEntry {
    /// Its version.
    pub version: u64,
    /// When it was committed, by the committer's clock.
    pub timestamp: Option<DateTime<Utc>>,
    /// What the writer called it (`WRITE`, `OPTIMIZE`, …).
    pub operation: Option<String>,
    /// Headwater's report, if Headwater committed it.
    pub report: Option<FlowReport>,
    /// `txn` actions.
    pub txns: Vec<(String, i64)>,
    pub(crate) token: Option<String>,
    pub(crate) marks: Option<String>,
    pub(crate) added: Vec<DataFile>,
    pub(crate) removed: Vec<Remove>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) protocol: Option<Protocol>,
}

impl CommitEntry {
    /// Whether it takes rows away or changes them; compaction doesn't.
    #[must_use]
    pub fn removes_rows(&self) -> bool {
        self.removed.iter().any(|remove| remove.data_change)
    }

    /// Files with rows that weren't in the table before.
    #[must_use]
    pub fn rows_added(&self) -> Vec<DataFile> {
        self.added.iter().filter(|file| file.add.data_change).cloned().collect()
    }

    /// Whether any row came or went.
    #[must_use]
    pub fn changes_rows(&self) -> bool {
        self.removes_rows() || self.added.iter().any(|file| file.add.data_change)
    }

    pub(crate) fn removed_paths(&self) -> BTreeSet<String> {
        self.removed.iter().map(|remove| remove.path.clone()).collect()
    }

    fn take(&mut self, storage: &Storage, table: &str, action: Action) {
        match action {
            Action::Add(add) => self.added.push(DataFile::new(storage, table, add)),
            Action::Remove(remove) => self.removed.push(remove),
            Action::Txn(txn) => self.txns.push((txn.app_id, txn.version)),
            Action::Metadata(metadata) => self.metadata = Some(metadata),
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::CommitInfo(info) => {
                self.timestamp = info.timestamp.and_then(DateTime::from_timestamp_millis);
                self.operation.clone_from(&info.operation);
                let text = |key| info.info.get(key).and_then(Value::as_str).map(str::to_owned);
                (self.token, self.marks) = (text(TOKEN_KEY), text(MARKS_KEY));
                self.report =
                    info.info.get(COMMIT_INFO_KEY).and_then(|report| serde_json::from_value(report.clone()).ok());
            }
            Action::Cdc(_) | Action::DomainMetadata(_) => {}
        }
    }
}

/// Reads one log entry; `None` if it isn't there.
pub(crate) async fn read_commit(storage: &Storage, table: &str, version: u64) -> Result<Option<CommitEntry>> {
    let url = storage.table_url(table);
    let log = storage.log_store(table);
    let Some(bytes) = log.read_commit_entry(version).await.map_err(|source| LakeError::delta(&url, source))? else {
        return Ok(None);
    };
    let mut entry = CommitEntry {
        version,
        timestamp: None,
        operation: None,
        report: None,
        txns: Vec::new(),
        token: None,
        marks: None,
        added: Vec::new(),
        removed: Vec::new(),
        metadata: None,
        protocol: None,
    };
    for action in get_actions(version, &bytes).map_err(|source| LakeError::delta(&url, source))? {
        entry.take(storage, table, action);
    }
    Ok(Some(entry))
}
