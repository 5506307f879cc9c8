//! All `txn`s of a kind that a table has, at once.
//!
//! [`Table::transaction`] reads the log for one of them. Here the last checkpoint and the entries after it are read once
//! for all: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#checkpoints>.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
#[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use serde_json::Value;

use crate::error::{LakeError, Result};
use crate::ledger::leaf;
use crate::table::Table;

/// Digits of a version in a file name.
const DIGITS: usize = 20;

/// What the name of a checkpoint has after its version.
const CHECKPOINT: &str = ".checkpoint.";

impl Table {
    /// All `txn`s whose `app_id` begins so.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read.
    pub(crate) async fn transactions_below(&self, prefix: &str) -> Result<HashMap<String, i64>> {
        let (version, files) = self.last_whole_checkpoint().await?;
        let mut found = HashMap::new();
        for file in &files {
            let is_parquet = file.location.extension() == Some("parquet");
            let ids = if is_parquet { self.of_parquet(file).await? } else { self.of_json(file).await? };
            found.extend(ids.into_iter().filter(|(app_id, _)| app_id.starts_with(prefix)));
        }
        for entry in self.changes(version, self.version()).await? {
            found.extend(entry.txns.into_iter().filter(|(app_id, _)| app_id.starts_with(prefix)));
        }
        Ok(found)
    }

    /// All `txn`s of the checkpoint of a version that is in one file.
    ///
    /// # Errors
    /// `Unavailable` when it can't be read.
    pub(crate) async fn transactions_in_checkpoint(&self, version: u64) -> Result<Vec<(String, i64)>> {
        let path = format!("{}/_delta_log/{version:0DIGITS$}{CHECKPOINT}parquet", self.path());
        let location = self.storage().location(&path);
        let found = self.storage().object_store().head(&location).await;
        self.of_parquet(&found.map_err(|source| self.unreadable(&location, source))?).await
    }

    /// The files of the last checkpoint up to the pinned version that is all there; none if there is none.
    async fn last_whole_checkpoint(&self) -> Result<(Option<u64>, Vec<ObjectMeta>)> {
        let folder = self.storage().location(&format!("{}/_delta_log", self.path()));
        let store = self.storage().object_store();
        let listed = store.list(Some(&folder)).try_filter(|object| {
            std::future::ready(version_of(&object.location).is_some_and(|version| version <= self.version()))
        });
        let mut files: Vec<_> = listed.try_collect().await.map_err(|source| self.unreadable(&folder, source))?;
        files.sort_by(|a, b| b.location.cmp(&a.location));
        for same in files.chunk_by(|a, b| version_of(&a.location) == version_of(&b.location)) {
            let version = same.first().and_then(|file| version_of(&file.location));
            let (parts, single): (Vec<_>, Vec<_>) = same.iter().cloned().partition(|file| part_of(file).is_some());
            if let Some(file) = single.into_iter().next() {
                return Ok((version, vec![file]));
            }
            for parts in parts.chunk_by(|a, b| part_of(a) == part_of(b)) {
                if parts.first().and_then(part_of) == Some(parts.len()) {
                    return Ok((version, parts.to_vec()));
                }
            }
        }
        Ok((None, Vec::new()))
    }

    async fn of_parquet(&self, file: &ObjectMeta) -> Result<Vec<(String, i64)>> {
        let failed = |message: String| LakeError::DataFileUnreadable { path: file.location.to_string(), message };
        #[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
        let reader =
            ParquetObjectReader::new(self.storage().object_store(), file.location.clone()).with_file_size(file.size);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|error| failed(error.to_string()))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn.appId", "txn.version"]);
        let mut rows = builder.with_projection(mask).build().map_err(|error| failed(error.to_string()))?;
        let mut found = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| failed(error.to_string()))?;
            found.extend(transactions_of(&batch)?);
        }
        Ok(found)
    }

    async fn of_json(&self, file: &ObjectMeta) -> Result<Vec<(String, i64)>> {
        let store = self.storage().object_store();
        let body = async { store.get(&file.location).await?.bytes().await };
        let body = body.await.map_err(|source| self.unreadable(&file.location, source))?;
        let transaction = |line: &[u8]| {
            let action: Value = serde_json::from_slice(line).ok()?;
            let transaction = action.get("txn")?;
            Some((transaction.get("appId")?.as_str()?.to_owned(), transaction.get("version")?.as_i64()?))
        };
        Ok(body.split(|byte| *byte == b'\n').filter_map(transaction).collect())
    }

    fn unreadable(&self, path: &Path, source: object_store::Error) -> LakeError {
        LakeError::Storage { action: "can't read the log", path: path.to_string(), source }
    }
}

/// The version of a checkpoint, by its name.
fn version_of(location: &Path) -> Option<u64> {
    let (version, rest) = location.filename()?.split_at_checked(DIGITS)?;
    let is_data = rest.ends_with(".parquet") || rest.ends_with(".json");
    (rest.starts_with(CHECKPOINT) && is_data).then(|| version.parse().ok())?
}

/// Of how many parts a file is one, if its checkpoint has parts: `<version>.checkpoint.<part>.<parts>.parquet`.
fn part_of(file: &ObjectMeta) -> Option<usize> {
    let rest = file.location.filename()?.get(DIGITS + CHECKPOINT.len()..)?;
    let (part, rest) = rest.split_once('.')?;
    let (parts, _) = rest.split_once('.')?;
    part.parse::<usize>().ok().and_then(|_| parts.parse().ok())
}

fn transactions_of(batch: &RecordBatch) -> Result<Vec<(String, i64)>> {
    let rows = batch.column_by_name("txn").and_then(|column| column.as_struct_opt());
    let (Some(rows), Some(ids), Some(versions)) = (rows, leaf(batch, "txn.appId"), leaf(batch, "txn.version")) else {
        return Ok(Vec::new());
    };
    let ids = cast(&ids, &DataType::Utf8).map_err(LakeError::arrow)?;
    let versions = versions.as_primitive_opt::<Int64Type>().cloned();
    let versions = versions.ok_or_else(|| LakeError::Internal { message: "versions of txns aren't numbers".into() })?;
    // Rows of other actions have no null in columns that each `txn` has.
    let found = ids.as_string::<i32>().iter().zip(&versions).enumerate().filter(|(row, _)| rows.is_valid(*row));
    Ok(found.filter_map(|(_, (id, version))| Some((id?.to_owned(), version?))).collect())
}
