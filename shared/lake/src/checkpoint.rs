//! Checkpoints, and the log entries that they make needless.

use chrono::Duration;
use deltalake::protocol::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::table::config::TablePropertiesExt;
use headwater_core::compaction::{log_retention, needs_checkpoint};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome};
use headwater_core::trigger::Trigger;
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::async_reader::AsyncFileReader;
#[expect(deprecated, reason = "one reader for all stores; its successor is a trait to write by hand")]
use parquet::arrow::async_reader::ParquetObjectReader;
use serde_json::json;

use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::protocol::may_clean_log;
use crate::storage::Storage;
use crate::table::Table;

/// Commits between two checkpoints.
const CHECKPOINT_EVERY: u64 = 20;

/// Log entries that are kept however old they are: more than a stream may be behind when nothing was new for it
/// (`flow/stream.rs`).
const ENTRIES_KEPT: u64 = 20;

impl Lake {
    /// Makes a checkpoint when enough commits have gone by, and then takes away log entries that are
    /// older than the table's retention.
    pub(crate) async fn checkpoint(&self, dataset: &DatasetName, trigger: &Trigger) -> Result<Option<FlowReport>> {
        let Some(table) = self.table(dataset).await? else { return Ok(None) };
        if !needs_checkpoint(table.version(), self.last_checkpoint(&table).await?, CHECKPOINT_EVERY) {
            return Ok(None);
        }
        let url = self.storage().table_url(table.path());
        create_checkpoint(table.delta(), None).await.map_err(|source| LakeError::delta(&url, source))?;
        self.point_to_checkpoint(&table).await?;
        self.clean_log(&table).await?;
        let mut report = FlowReport::new(FlowName::new("checkpoint"), dataset.clone(), trigger.cause.word());
        report.outcome = Outcome::Committed { version: table.version() };
        Ok(Some(report))
    }

    /// Writes `_last_checkpoint` for a checkpoint that a run made which ended before it could: delta-rs takes it for finished. Without
    /// it each run would make the checkpoint again, and readers would begin at an older one.
    async fn point_to_checkpoint(&self, table: &Table) -> Result<()> {
        let version = table.version();
        if self.last_checkpoint(table).await?.is_some_and(|last| last >= version) {
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
        let snapshot = table.snapshot()?;
        if !may_clean_log(snapshot) {
            return Ok(());
        }
        let wanted = snapshot.table_properties().log_retention_duration();
        let kept = log_retention(Duration::from_std(wanted).unwrap_or(Duration::MAX));
        let Some(before) = Self::now().checked_sub_signed(kept) else { return Ok(()) };
        let (version, log) = (table.version().saturating_sub(ENTRIES_KEPT), table.log_store());
        cleanup_expired_logs_for(version, log.as_ref(), before.timestamp_millis(), None).await.map_err(delta)?;
        Ok(())
    }

    async fn last_checkpoint(&self, table: &Table) -> Result<Option<u64>> {
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
        Ok(value.and_then(|value| value.get("version")?.as_u64()))
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
