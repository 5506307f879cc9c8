//! Checkpoints, and the log entries that they make needless.

use chrono::Duration;
use deltalake::protocol::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use futures::TryStreamExt;
use headwater_core::checkpoints::{Tail, log_retention};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome};
use headwater_core::trigger::Trigger;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::async_reader::AsyncFileReader;
#[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
use parquet::arrow::async_reader::ParquetObjectReader;
use serde_json::json;

use crate::checksum::write_checksum;
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::protocol::may_clean_log;
use crate::storage::Storage;
use crate::table::Table;

/// The property by which a table says after how many commits it wants a checkpoint.
const INTERVAL: &str = "delta.checkpointInterval";

/// Log entries that are kept however old they are: more than a stream may be behind when nothing was new for it
/// (`flow/stream.rs`).
const ENTRIES_KEPT: u64 = 20;

impl Lake {
    /// Makes a checkpoint when the log has grown enough since the last one, and then takes away log entries that are
    /// older than the table's retention.
    pub(crate) async fn checkpoint(&self, dataset: &DatasetName, trigger: &Trigger) -> Result<Option<FlowReport>> {
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        let interval = table.property(INTERVAL).and_then(|commits| commits.parse().ok());
        let last = self.last_checkpoint(&table).await?;
        if !self.tail(&table, last).await?.is_too_long(interval) {
            return Ok(None);
        }
        let url = self.storage().table_url(table.path());
        create_checkpoint(table.delta().await?, None).await.map_err(|source| LakeError::delta(&url, source))?;
        self.point_to_checkpoint(&table).await?;
        if let Err(error) = write_checksum(&table, last.map(|(version, _)| version)).await {
            tracing::warn!(%error, "a checkpoint has no checksum, so that opening the table takes longer");
        }
        self.clean_log(&table).await?;
        let mut report = FlowReport::new(FlowName::new("checkpoint"), dataset.clone(), trigger.cause.word());
        report.outcome = Outcome::Committed { version: table.version() };
        Ok(Some(report))
    }

    /// Writes `_last_checkpoint` for a checkpoint that a run made which ended before it could: delta-rs takes it for finished. Without
    /// it each run would make the checkpoint again, and readers would begin at an older one.
    async fn point_to_checkpoint(&self, table: &Table) -> Result<()> {
        let version = table.version();
        if self.last_checkpoint(table).await?.is_some_and(|(last, _)| last >= version) {
            return Ok(());
        }
        let storage = self.storage();
        let log = format!("{}/_delta_log", table.path());
        let (checkpoint, pointer) =
            (format!("{log}/{version:020}.checkpoint.parquet"), format!("{log}/_last_checkpoint"));
        let failed = |path: &str| {
            let path = path.to_owned();
            move |source| LakeError::Storage { action: "can't write the place of", path, source }
        };
        let found = storage.object_store().head(&storage.location(&checkpoint)).await.map_err(failed(&checkpoint))?;
        let size = rows_of(storage, &found).await?;
        let hint = json!({ "version": version, "size": size, "sizeInBytes": found.size }).to_string();
        storage.object_store().put(&storage.location(&pointer), hint.into()).await.map_err(failed(&pointer))?;
        Ok(())
    }

    async fn clean_log(&self, table: &Table) -> Result<()> {
        let url = self.storage().table_url(table.path());
        let delta = |source| LakeError::delta(&url, source);
        let head = table.head();
        if !may_clean_log(head) {
            return Ok(());
        }
        let kept = log_retention(Duration::from_std(head.log_retention).unwrap_or(Duration::MAX));
        let Some(before) = Self::now().checked_sub_signed(kept) else { return Ok(()) };
        let (version, log) = (table.version().saturating_sub(ENTRIES_KEPT), table.log_store());
        cleanup_expired_logs_for(version, log.as_ref(), before.timestamp_millis(), None).await.map_err(delta)?;
        Ok(())
    }

    /// What of the log comes after the last checkpoint, which has this version and so many bytes.
    async fn tail(&self, table: &Table, last: Option<(u64, u64)>) -> Result<Tail> {
        let (log, storage) = (format!("{}/_delta_log", table.path()), self.storage());
        let commits = table.version().saturating_sub(last.map_or(0, |(version, _)| version));
        let mut tail = Tail { commits, bytes: 0, checkpoint: last.map_or(0, |(_, bytes)| bytes) };
        if commits == 0 && last.is_some() {
            return Ok(tail);
        }
        let (folder, first) = (storage.location(&log), last.map_or(0, |(version, _)| version + 1));
        let before = storage.location(&format!("{log}/{first:020}"));
        let mut entries = storage.object_store().list_with_offset(Some(&folder), &before);
        let failed = |source| LakeError::Storage { action: "can't list", path: log.clone(), source };
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            let is_commit = entry.location.filename().and_then(|name| name.strip_suffix(".json"));
            if is_commit.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit())) {
                tail.bytes += entry.size;
            }
        }
        Ok(tail)
    }

    /// The version of the last checkpoint, and its bytes as far as they are told.
    async fn last_checkpoint(&self, table: &Table) -> Result<Option<(u64, u64)>> {
        let path = format!("{}/_delta_log/_last_checkpoint", table.path());
        let store = self.storage().object_store();
        let failed = |source| LakeError::Storage { action: "can't read", path: path.clone(), source };
        let found = match store.get(&self.storage().location(&path)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let bytes = found.bytes().await.map_err(failed)?;
        let value: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let number = |key: &str| value.as_ref()?.get(key)?.as_u64();
        Ok(number("version").map(|version| (version, number("sizeInBytes").unwrap_or_default())))
    }
}

/// Rows of a Parquet file, by its footer.
async fn rows_of(storage: &Storage, file: &ObjectMeta) -> Result<i64> {
    #[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
    let mut reader = ParquetObjectReader::new(storage.object_store(), file.location.clone()).with_file_size(file.size);
    let metadata = reader.get_metadata(None).await.map_err(|source| LakeError::DataFileUnreadable {
        path: file.location.to_string(),
        message: source.to_string(),
    })?;
    Ok(metadata.file_metadata().num_rows())
}
