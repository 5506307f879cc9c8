//! Record batches to Parquet data files with statistics.
//!
//! Nothing written here is visible before a commit names it; what is never named is vacuum's.

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use object_store::prefix::PrefixStore;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use url::Url;

use crate::error::{LakeError, Result};
use crate::storage::Storage;

/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Writes rows to new data files of a table, one open file a partition.
pub struct Writer {
    inner: DeltaWriter,
    url: Url,
    rows: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("url", &self.url).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// What a writer has written: files to be named by a commit.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The `add` actions.
    pub adds: Vec<Add>,
    /// Rows in them.
    pub rows: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

impl Written {
    /// Adds what another writer wrote.
    pub fn add(&mut self, other: Self) {
        self.adds.extend(other.adds);
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl Writer {
    /// A writer of rows of this schema. Every leaf column gets statistics, nested ones too, so that
    /// the ledger columns of `_metadata` have them wherever they stand.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn new(
        storage: &Storage,
        table: &str,
        schema: SchemaRef,
        partitioned_by: &[String],
        target_file_size: u64,
    ) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(
                ZstdLevel::try_new(1).map_err(|source| LakeError::Internal { message: source.to_string() })?,
            ))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by(format!("headwater {}", env!("CARGO_PKG_VERSION")))
            .build();
        let every_column =
            "-1".try_into().map_err(|_| LakeError::Internal { message: "-1 isn't a number of columns".into() })?;
        let config = WriterConfig::new(
            schema,
            partitioned_by.to_vec(),
            Some(properties),
            NonZeroU64::new(target_file_size),
            None,
            every_column,
            None,
        );
        let store = Arc::new(PrefixStore::new(storage.object_store(), storage.location(table)));
        Ok(Self { inner: DeltaWriter::new(store, config), url: storage.table_url(table), rows: 0 })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// `Unavailable` when storage fails.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        self.inner.write(rows).await.map_err(|source| LakeError::delta(&self.url, source))
    }

    /// Ends all files.
    ///
    /// # Errors
    /// `Unavailable` when storage fails; nothing is to be committed then.
    pub async fn close(self) -> Result<Written> {
        let adds = self.inner.close().await.map_err(|source| LakeError::delta(&self.url, source))?;
        let bytes = adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        Ok(Written { adds, rows: self.rows, bytes })
    }

    /// Gives up: uploads that are under way are ended, and nothing is to be committed.
    ///
    /// # Errors
    /// `Unavailable` when storage fails.
    pub async fn abort(self) -> Result<()> {
        self.inner.abort().await.map_err(|source| LakeError::delta(&self.url, source))
    }
}
