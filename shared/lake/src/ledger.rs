//! Is it in? A table is its own ledger of the messages and files that it holds.
//!
//! `_metadata.message_id` and `_metadata.file_path` are columns; statistics rule out most files, and
//! of the rest only the one column is read.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headwater_core::provenance::METADATA;
use headwater_core::trigger::Message;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
#[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::error::{LakeError, Result};
use crate::storage::Storage;
use crate::table::{DataFile, Table};

/// Data files up to this size are read whole.
const READ_WHOLE: u64 = 256 << 10;

/// Bytes from a larger file's end that hold its footer, as a rule.
const FOOTER: usize = 64 << 10;

/// Rows that are looked at together.
const BATCH_ROWS: usize = 65_536;

/// The ledger column of a kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerColumn {
    /// `_metadata.message_id`
    MessageId,
    /// `_metadata.file_path`
    FilePath,
}

impl LedgerColumn {
    /// The dotted path of the column.
    pub const fn path(self) -> &'static str {
        match self {
            Self::MessageId => "_metadata.message_id",
            Self::FilePath => "_metadata.file_path",
        }
    }
}

/// Which of these ids a table holds, looking in these files only.
pub(crate) async fn held(
    storage: &Storage,
    column: LedgerColumn,
    ids: &HashSet<String>,
    files: &[DataFile],
) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    let Some((lowest, highest)) = ids.iter().min().zip(ids.iter().max()) else { return Ok(found) };
    for file in files {
        if outside(file, column, lowest, highest) {
            continue;
        }
        collect(storage, column, ids, file, &mut found).await?;
        if found.len() == ids.len() {
            break;
        }
    }
    Ok(found)
}

/// What a table tells of a source file that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// When the file was written, in microseconds; the latest, if it was landed again.
    pub(crate) modified: i64,
    /// Bytes of the file, as stored.
    pub(crate) size: i64,
    /// Rows of it.
    pub(crate) rows: u64,
    /// When its rows were written where they are, which compaction makes later.
    pub(crate) landed: DateTime<Utc>,
}

/// What a table tells of these source files, or of all that it holds.
pub(crate) async fn file_entries(
    storage: &Storage,
    only: Option<&HashSet<String>>,
    files: &[DataFile],
) -> Result<HashMap<String, FileEntry>> {
    const COLUMNS: [&str; 3] =
        [LedgerColumn::FilePath.path(), "_metadata.file_modification_time", "_metadata.file_size"];
    let mut entries = HashMap::new();
    let bounds = only.map(|ids| ids.iter().min().zip(ids.iter().max()));
    for file in files {
        match bounds {
            Some(None) => break,
            Some(Some((lowest, highest))) if outside(file, LedgerColumn::FilePath, lowest, highest) => continue,
            Some(Some(_)) | None => {}
        }
        let mut batches = read_leaves(storage, file, &COLUMNS).await?;
        while let Some(batch) = batches.try_next().await? {
            add_entries(&batch, only, file.modified(), &mut entries);
        }
    }
    Ok(entries)
}

fn add_entries(
    rows: &RecordBatch,
    only: Option<&HashSet<String>>,
    landed: DateTime<Utc>,
    entries: &mut HashMap<String, FileEntry>,
) {
    let Some(paths) = leaf(rows, LedgerColumn::FilePath.path()) else { return };
    let number = |path: &str| {
        let micros = |values: ArrayRef| values.as_primitive_opt::<TimestampMicrosecondType>().cloned();
        leaf(rows, path).and_then(|values| match values.data_type() {
            DataType::Int64 => values.as_primitive_opt().cloned(),
            _ => micros(values).map(|times| times.reinterpret_cast()),
        })
    };
    let (times, sizes) = (number("_metadata.file_modification_time"), number("_metadata.file_size"));
    let value = |values: &Option<Int64Array>, row| values.as_ref().map_or(0, |values| values.value(row));
    let mut row = 0;
    for_each_text_or_null(&paths, |path| {
        if let Some(path) = path.filter(|path| only.is_none_or(|ids| ids.contains(*path))) {
            let found = FileEntry { modified: value(&times, row), size: value(&sizes, row), rows: 0, landed };
            let entry = match entries.get_mut(path) {
                Some(entry) => entry,
                None => entries.entry(path.to_owned()).or_insert(found),
            };
            if found.modified > entry.modified {
                (entry.modified, entry.size) = (found.modified, found.size);
            }
            entry.landed = entry.landed.max(landed);
            entry.rows += 1;
        }
        row += 1;
    });
}

/// The files of a table that may hold one of these messages: those whose enqueued times cover a
/// message's own, and for a message received for the first time only those written since then.
pub(crate) async fn suspects(table: &Table, messages: &[Message], received_at: DateTime<Utc>) -> Result<Vec<DataFile>> {
    let skew = chrono::Duration::seconds(60);
    let since = received_at - skew;
    let is_any = messages.iter().any(|message| message.receive_count > 1);
    let newest = if is_any { None } else { table.added_since(since).await? };
    let files = match newest {
        Some(newest) => newest,
        None => table.files_where(|file| is_any || file.modification_time() >= since.timestamp_millis()).await?,
    };
    let suspect = |file: &DataFile| {
        let written_since = file.modified() >= since;
        messages
            .iter()
            .any(|message| (message.receive_count > 1 || written_since) && may_hold(file, message.enqueued_at))
    };
    Ok(files.into_iter().filter(suspect).collect())
}

/// Whether a file's range of enqueued times, where it is known, covers a time. Statistics keep
/// milliseconds, so the range is widened by one on each side.
fn may_hold(file: &DataFile, enqueued_at: DateTime<Utc>) -> bool {
    let column = [METADATA, "enqueued_time"];
    let tick = chrono::Duration::milliseconds(1);
    let bound = |value: Option<serde_json::Value>| {
        value.and_then(|value| DateTime::parse_from_rfc3339(value.as_str()?).ok()).map(|at| at.with_timezone(&Utc))
    };
    let after_lowest = bound(file.min(&column)).is_none_or(|lowest| lowest - tick <= enqueued_at);
    after_lowest && bound(file.max(&column)).is_none_or(|highest| enqueued_at <= highest + tick)
}

/// Whether statistics show that a file holds nothing between two ids. A maximum may be cut short,
/// so only what it is a prefix of is inside it.
fn outside(file: &DataFile, column: LedgerColumn, lowest: &str, highest: &str) -> bool {
    let text = |value: Option<serde_json::Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let column: Vec<&str> = column.path().split('.').collect();
    let above = text(file.min(&column)).is_some_and(|min| min.as_str() > highest);
    let below = text(file.max(&column)).is_some_and(|max| max.as_str() < lowest && !lowest.starts_with(&max));
    above || below
}

async fn collect(
    storage: &Storage,
    column: LedgerColumn,
    ids: &HashSet<String>,
    file: &DataFile,
    found: &mut HashSet<String>,
) -> Result<()> {
    let mut batches = read_leaves(storage, file, &[column.path()]).await?;
    while let Some(batch) = batches.try_next().await? {
        let Some(values) = leaf(&batch, column.path()) else { continue };
        for_each_text(&values, |value| {
            if ids.contains(value) && !found.contains(value) {
                found.insert(value.to_owned());
            }
        });
    }
    Ok(())
}

/// Streams some leaf columns of a data file. A small file is read by one request; of a larger one, its end and the columns.
async fn read_leaves<'a>(
    storage: &Storage,
    file: &'a DataFile,
    paths: &[&str],
) -> Result<BoxStream<'a, Result<RecordBatch>>> {
    let failed = |source| unreadable(file, &source);
    if file.size() <= READ_WHOLE {
        let body = read_whole(storage, file).await?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(body).map_err(failed)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), paths.iter().copied());
        let rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
        let rows = rows.map(move |batch| batch.map_err(|source| unreadable(file, &source)));
        return Ok(futures::stream::iter(rows).boxed());
    }
    #[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
    let reader = ParquetObjectReader::new(storage.object_store(), file.location().clone())
        .with_file_size(file.size())
        .with_footer_size_hint(FOOTER);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), paths.iter().copied());
    let rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
    Ok(rows.map_err(move |source| unreadable(file, &source)).boxed())
}

async fn read_whole(storage: &Storage, file: &DataFile) -> Result<Bytes> {
    let store = storage.object_store();
    let read = async { store.get(file.location()).await?.bytes().await };
    read.await.map_err(|source| unreadable(file, &source))
}

/// The array of a dotted path in a batch.
pub(crate) fn leaf(batch: &RecordBatch, path: &str) -> Option<ArrayRef> {
    let mut parts = path.split('.');
    let mut array = ArrayRef::clone(batch.column_by_name(parts.next()?)?);
    for part in parts {
        array = ArrayRef::clone(array.as_struct_opt()?.column_by_name(part)?);
    }
    Some(array)
}

/// Visits a text once where it stands several times on end, as the path of a file does for its rows.
fn for_each_text(values: &ArrayRef, visit: impl FnMut(&str)) {
    match values.data_type() {
        DataType::Utf8 => for_each_run(values.as_string::<i32>().iter(), visit),
        DataType::LargeUtf8 => for_each_run(values.as_string::<i64>().iter(), visit),
        DataType::Utf8View => for_each_run(values.as_string_view().iter(), visit),
        _ => {}
    }
}

fn for_each_run<'a>(texts: impl Iterator<Item = Option<&'a str>>, mut visit: impl FnMut(&str)) {
    let mut last = None;
    for text in texts.flatten() {
        if last != Some(text) {
            visit(text);
            last = Some(text);
        }
    }
}

fn for_each_text_or_null(values: &ArrayRef, mut visit: impl FnMut(Option<&str>)) {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().for_each(&mut visit),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().for_each(&mut visit),
        DataType::Utf8View => values.as_string_view().iter().for_each(&mut visit),
        _ => {}
    }
}

fn unreadable(file: &DataFile, source: &impl Display) -> LakeError {
    LakeError::DataFileUnreadable { path: file.location().to_string(), message: source.to_string() }
}
