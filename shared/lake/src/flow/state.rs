//! Which files a table has taken in, which wait, and which failed and why: `cloud_files_state('table')`.
//!
//! Read from the table, its quarantine and the folders; nothing is kept for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::logical_expr::ident;
use futures::TryStreamExt;
use headwater_core::model::RelationSource;
use headwater_core::name::DatasetName;
use headwater_core::provenance::METADATA;

use super::FlowRun;
use super::marks::Marked;
use crate::error::{LakeError, Result};
use crate::ingest::{FoundFile, HEADWATER};
use crate::ledger::{FileEntry, LedgerColumn, file_entries, leaf};
use crate::table::Table;

/// What is known of a file.
#[derive(Debug, Default)]
struct FileState {
    flow: Option<String>,
    state: &'static str,
    size: Option<i64>,
    created: Option<i64>,
    committed: Option<i64>,
    rows: u64,
    aside: Aside,
}

/// What of a file is in quarantine.
#[derive(Debug, Default, Clone)]
struct Aside {
    rows: u64,
    reason: Option<String>,
}

/// The columns.
pub(super) fn files_state_schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("path", DataType::Utf8),
        field("size", DataType::Int64),
        field("create_time", time()),
        field("commit_time", time()),
        field("ingestion_state", DataType::Utf8),
        field("rows", DataType::Int64),
        field("rows_quarantined", DataType::Int64),
        field("reason", DataType::Utf8),
        field("flow_name", DataType::Utf8),
    ]))
}

impl FlowRun<'_> {
    /// One row a file of a dataset.
    pub(super) async fn files_state(&self, dataset: &DatasetName) -> Result<Arc<dyn TableProvider>> {
        let main = self.lake.table(dataset).await?;
        let quarantine = self.lake.table(&dataset.quarantine()).await?;
        let mut aside = self.aside(quarantine.as_ref()).await?;
        let mut entries = match &main {
            Some(table) => file_entries(self.lake.storage(), None, &table.files().await?).await?,
            None => HashMap::new(),
        };
        let mut states = BTreeMap::new();
        for flow in self.lake.pipeline().flows_into(dataset) {
            let Some(RelationSource::Files { path, read, .. }) = flow.stream().map(|stream| &stream.source) else {
                continue;
            };
            let run = FlowRun { flow, ..*self };
            let marks = run.file_marks(main.as_ref()).await?;
            // Before the first run all files are there already.
            let since = match read.files.include_existing {
                true => DateTime::<Utc>::MIN_UTC,
                false => run.started(quarantine.as_ref()).await?.unwrap_or(DateTime::<Utc>::MAX_UTC),
            };
            for file in run.landing(path, read)?.list().await? {
                let entry = entries
                    .remove(&file.path)
                    .filter(|entry| !read.files.allow_overwrites || file.modified.timestamp_micros() <= entry.modified);
                let aside = aside.remove(&file.path).unwrap_or_default();
                let state = match entry {
                    _ if matches!(marks.of(&file, read), Marked::UpTo(_)) => "INGESTING",
                    Some(_) => "INGESTED",
                    None if aside.rows > 0 => "QUARANTINED",
                    None if marks.is_done(&file.path) => "EMPTY",
                    None if file.modified < since => continue,
                    None => "WAITING",
                };
                let state = FileState { flow: Some(flow.name.to_string()), state, aside, ..of(&file, entry) };
                states.insert(file.path, state);
            }
        }
        // Files that are gone from their folder.
        for (path, entry) in entries {
            let aside = aside.remove(&path).unwrap_or_default();
            states.insert(path, FileState { state: "INGESTED", aside, ..of_entry(entry) });
        }
        for (path, aside) in aside {
            states.insert(path, FileState { state: "QUARANTINED", aside, ..FileState::default() });
        }
        let rows = table_of(&states)?;
        Ok(Arc::new(MemTable::try_new(files_state_schema(), vec![vec![rows]]).map_err(LakeError::query)?))
    }

    /// Rows in a quarantine by their files.
    async fn aside(&self, quarantine: Option<&Table>) -> Result<HashMap<String, Aside>> {
        let mut found: HashMap<String, Aside> = HashMap::new();
        let Some(table) = quarantine else { return Ok(found) };
        let frame = self.lake.engine().session().read_table(table.provider().await?).map_err(LakeError::query)?;
        let frame = frame.select(vec![ident(METADATA), ident(HEADWATER)]).map_err(LakeError::query)?;
        let mut batches = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = batches.try_next().await.map_err(LakeError::query)? {
            let paths = leaf(&batch, LedgerColumn::FilePath.path());
            let reasons = leaf(&batch, "_headwater.reasons");
            let Some((paths, reasons)) = paths.zip(reasons) else { continue };
            let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
            let paths = cast(&paths, &DataType::Utf8).map_err(LakeError::arrow)?;
            let reasons = cast(&reasons, &texts).map_err(LakeError::arrow)?;
            for (row, path) in paths.as_string::<i32>().iter().enumerate() {
                let Some(path) = path else { continue };
                let aside = found.entry(path.to_owned()).or_default();
                aside.rows += 1;
                if aside.reason.is_none() {
                    let reasons = reasons.as_list::<i32>().value(row);
                    let text: Vec<&str> = reasons.as_string::<i32>().iter().flatten().collect();
                    aside.reason = Some(text.join(", "));
                }
            }
        }
        Ok(found)
    }
}

fn of(file: &FoundFile, entry: Option<FileEntry>) -> FileState {
    FileState {
        size: i64::try_from(file.size).ok(),
        created: Some(file.modified.timestamp_micros()),
        ..entry.map(of_entry).unwrap_or_default()
    }
}

fn of_entry(entry: FileEntry) -> FileState {
    FileState {
        size: Some(entry.size),
        created: Some(entry.modified),
        committed: Some(entry.landed.timestamp_micros()),
        rows: entry.rows,
        ..FileState::default()
    }
}

fn table_of(states: &BTreeMap<String, FileState>) -> Result<RecordBatch> {
    let text = |value: fn(&FileState) -> Option<&str>| -> ArrayRef {
        Arc::new(states.values().map(value).collect::<StringArray>())
    };
    let number = |value: fn(&FileState) -> Option<i64>| -> Int64Array { states.values().map(value).collect() };
    let time = |value: fn(&FileState) -> Option<i64>| -> ArrayRef {
        Arc::new(number(value).reinterpret_cast::<arrow::datatypes::TimestampMicrosecondType>().with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(states.keys())),
        Arc::new(number(|state| state.size)),
        time(|state| state.created),
        time(|state| state.committed),
        text(|state| Some(state.state)),
        Arc::new(number(|state| i64::try_from(state.rows).ok())),
        Arc::new(number(|state| i64::try_from(state.aside.rows).ok())),
        text(|state| state.aside.reason.as_deref()),
        text(|state| state.flow.as_deref()),
    ];
    RecordBatch::try_new(files_state_schema(), columns).map_err(LakeError::arrow)
}
