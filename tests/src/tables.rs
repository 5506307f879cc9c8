//! Small tables of numbers, on each store, for the tests of the protocol.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use chrono::Utc;
use deltalake::DeltaTable;
use deltalake::datafusion::prelude::SessionContext;
use deltalake::logstore::{StorageConfig, default_logstore};
use headwater_core::commit::{Expected, Fence};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::FlowReport;
use headwater_lake::commit::{Change, CommitOutcome, RetryPolicy, SchemaChange, commit};
use headwater_lake::error::Result;
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use headwater_lake::write::{Writer, Written};
use headwater_testkit::fault_store::FaultStore;
use object_store::prefix::PrefixStore;
use tempfile::TempDir;

/// Where the table of numbers is, below the lake's root.
pub(crate) const NUMBERS: &str = "bronze/numbers";

/// A lake of a test; the folder, if any, goes with it.
pub(crate) struct Place {
    pub(crate) storage: Storage,
    pub(crate) _folder: Option<TempDir>,
}

pub(crate) fn in_memory() -> Place {
    Place { storage: Storage::open("memory:///").unwrap(), _folder: None }
}

pub(crate) fn on_disk() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { storage: Storage::open(folder.path().to_str().unwrap()).unwrap(), _folder: Some(folder) }
}

/// One lake on each store that needs no server.
pub(crate) fn places() -> [Place; 2] {
    [in_memory(), on_disk()]
}

/// A lake on a store that fails on demand.
pub(crate) fn faulty() -> (Place, FaultStore) {
    let place = in_memory();
    let faults = FaultStore::new(place.storage.object_store());
    let storage = Storage::with_store(place.storage.url().clone(), Arc::new(faults.clone()));
    (Place { storage, _folder: None }, faults)
}

/// A table as delta-rs itself has it.
pub(crate) async fn with_delta_rs(storage: &Storage, path: &str) -> DeltaTable {
    let root = storage.object_store();
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), storage.location(path)));
    let options = StorageConfig::parse_options(HashMap::<String, String>::new()).unwrap();
    let mut table = DeltaTable::new(default_logstore(prefixed, root, &storage.table_url(path), &options));
    table.load().await.unwrap();
    table
}

/// The end of a log entry's path.
pub(crate) fn log_entry(version: u64) -> String {
    format!("{version:020}.json")
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

pub(crate) fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
}

pub(crate) fn patient() -> RetryPolicy {
    RetryPolicy::until(None)
}

/// A policy whose time is up: one try.
pub(crate) fn out_of_time() -> RetryPolicy {
    RetryPolicy::until(Some(Utc::now()))
}

pub(crate) async fn write(storage: &Storage, values: impl IntoIterator<Item = i64>) -> Result<Written> {
    let mut writer = Writer::new(storage, NUMBERS, schema(), &[], 128 << 20)?;
    writer.write(&numbers(values)).await?;
    writer.close().await
}

/// A change that does nothing yet.
pub(crate) fn nothing() -> Change {
    Change {
        adds: Vec::new(),
        feed: Vec::new(),
        removes: Vec::new(),
        schema: None,
        txns: Vec::new(),
        watermark: None,
        fence: Fence::default(),
        records: None,
        data_change: true,
        report: FlowReport::new(FlowName::new("numbers"), DatasetName::new("numbers"), "timer"),
    }
}

pub(crate) async fn append_of(storage: &Storage, values: impl IntoIterator<Item = i64>) -> Change {
    Change { adds: write(storage, values).await.unwrap().adds, ..nothing() }
}

/// All rows replaced by others.
pub(crate) async fn overwrite_of(storage: &Storage, table: &Table, values: impl IntoIterator<Item = i64>) -> Change {
    let fence = Fence { replaces_table: true, ..Fence::default() };
    Change { removes: table.files().await.unwrap(), fence, ..append_of(storage, values).await }
}

/// All files rewritten to one, with the same rows.
pub(crate) async fn compaction_of(storage: &Storage, table: &Table) -> Change {
    let rows = rows_of(table).await;
    Change { removes: table.files().await.unwrap(), data_change: false, ..append_of(storage, rows).await }
}

/// What creates the table.
pub(crate) fn creation() -> SchemaChange {
    SchemaChange::Create {
        schema: schema(),
        partitioned_by: Vec::new(),
        configuration: std::collections::BTreeMap::new(),
        comment: None,
    }
}

/// A table with one file for each of these values.
pub(crate) async fn table_of(storage: &Storage, values: impl IntoIterator<Item = i64>) -> Table {
    for value in values {
        let table = Table::open(storage, NUMBERS).await.unwrap();
        let mut change = append_of(storage, [value]).await;
        change.schema = table.is_none().then(creation);
        committed(commit(storage, NUMBERS, table.as_ref(), &change, patient()).await.unwrap());
    }
    open(storage).await
}

pub(crate) async fn open(storage: &Storage) -> Table {
    Table::open(storage, NUMBERS).await.unwrap().unwrap()
}

/// Commits on top of a pinned table.
pub(crate) async fn put(storage: &Storage, table: &Table, change: &Change) -> CommitOutcome {
    commit(storage, NUMBERS, Some(table), change, patient()).await.unwrap()
}

/// The version of a commit that must have happened.
pub(crate) fn committed(outcome: CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed { version, .. } => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// The reason of a commit that must not have happened, as its ground changed.
pub(crate) fn redone(outcome: CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Redo { reason } => reason,
        other => panic!("not to be done again: {other:?}"),
    }
}

/// The numbers that a new reader sees, in order.
pub(crate) async fn rows(storage: &Storage) -> Vec<i64> {
    rows_of(&open(storage).await).await
}

/// The numbers at the pinned version, in order.
pub(crate) async fn rows_of(table: &Table) -> Vec<i64> {
    let session = SessionContext::new();
    let frame = session.read_table(table.provider().await.unwrap()).unwrap();
    let mut values = Vec::new();
    for batch in frame.select_columns(&["n"]).unwrap().collect().await.unwrap() {
        values.extend(batch.column(0).as_primitive::<Int64Type>().iter().flatten());
    }
    values.sort_unstable();
    values
}

/// A flow that appends the steps `1…`, a number each, with its progress in a `txn`.
pub(crate) struct Steps {
    pub(crate) app_id: String,
    pub(crate) first: i64,
}

impl Steps {
    /// Does the next step, if it isn't done; says which steps are.
    pub(crate) async fn next(&self, storage: &Storage) -> Result<i64> {
        let table = Table::open(storage, NUMBERS).await?;
        let done = match &table {
            Some(table) => table.transaction(&self.app_id).await?,
            None => None,
        };
        let step = done.unwrap_or_default() + 1;
        let mut change = Change { adds: write(storage, [self.first + step]).await?.adds, ..nothing() };
        change.schema = table.is_none().then(creation);
        change.txns = vec![(self.app_id.clone(), step)];
        change.fence.state = vec![Expected { app_id: self.app_id.clone(), from: done, to: step }];
        Ok(match commit(storage, NUMBERS, table.as_ref(), &change, patient()).await? {
            CommitOutcome::Committed { .. } | CommitOutcome::AlreadyApplied { .. } => step,
            CommitOutcome::Redo { .. } | CommitOutcome::Retryable { .. } => step - 1,
        })
    }
}
