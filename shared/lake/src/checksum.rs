//! The checksum of a checkpoint's version: what the table is and how far its writers are, in one small file.
//!
//! A checkpoint has a row for each live file. Whoever opens the table reads the checksum and the commits after it instead, at
//! any age: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#version-checksum-file>. It is made of the checkpoint
//! itself, and nothing needs it: where it is missing or broken, the checkpoint is read.

use std::sync::Arc;

use deltalake::kernel::Snapshot;
use deltalake::{DeltaResult, DeltaTableError};
use object_store::ObjectStoreExt;

use crate::error::{LakeError, Result};
use crate::table::Table;

/// A table with more `txn`s goes without: whoever opens it would read each of them.
const TRANSACTIONS: usize = 1000;

/// Writes the checksum of a version that has a checkpoint, in place of that of the checkpoint before.
///
/// # Errors
/// `Unavailable` when storage fails, `Invalid` when the table has no checksum, as when a file's size isn't known.
pub(crate) async fn write_checksum(table: &Table, before: Option<u64>) -> Result<()> {
    if table.transactions_in_checkpoint(table.version()).await?.len() > TRANSACTIONS {
        return Ok(());
    }
    put(table).await.map_err(|source| table.error(source))?;
    match before.filter(|before| *before < table.version()) {
        Some(before) => delete(table, before).await,
        None => Ok(()),
    }
}

async fn put(table: &Table) -> DeltaResult<()> {
    let log = table.log_store();
    let snapshot = Snapshot::try_new(log.as_ref(), Some(table.version())).await?;
    let snapshot = Arc::clone(snapshot.scan_builder().build()?.snapshot());
    let engine = log.engine(None);
    let write = move || snapshot.write_checksum(engine.as_ref()).map(drop);
    let written = tokio::task::spawn_blocking(write).await;
    Ok(written.map_err(|source| DeltaTableError::GenericError { source: source.into() })??)
}

async fn delete(table: &Table, version: u64) -> Result<()> {
    let (storage, path) = (table.storage(), format!("{}/_delta_log/{version:020}.crc", table.path()));
    match storage.object_store().delete(&storage.location(&path)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(LakeError::Storage { action: "can't delete", path, source }),
    }
}
