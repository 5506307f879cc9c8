//! Record batches to Parquet data files with statistics.
//!
//! Nothing written here is visible before a commit names it; what is never named is vacuum's.

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use object_store::ObjectStoreExt;
use object_store::prefix::PrefixStore;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use url::Url;

use crate::error::{LakeError, Result};
use crate::groups::in_small_groups;
use crate::storage::Storage;
use crate::table::DataFile;
use crate::uploads::Uploads;

/// The folder of a table's change data feed.
pub(crate) const CHANGE_DATA: &str = "_change_data";

/// Rows of a row group at most.
pub(crate) const ROW_GROUP_ROWS: usize = 1 << 20;

/// How often a Bloom filter takes a value for one that it holds. Four bytes a value, about: among a thousand keys that aren't in a large row group
/// one is taken for one that is in four cases of a hundred, and among ten thousand in a third of all. With two bytes it were three quarters and all.
const FALSE_POSITIVES: f64 = 0.000_05;

/// Distinct values that a filter of a partitioned table is made for: many files are open at once, each with its filters in
/// memory. A row group with more has a filter that rules out less.
const VALUES_IN_PARTITIONS: u64 = 1 << 16;

/// How the files of a table are written.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Partition columns.
    pub partitioned_by: &'a [String],
    /// Bytes of a file, about; zero cuts no file.
    pub target_size: u64,
    /// Columns by whose values rows are looked for: their row groups get Bloom filters.
    pub keys: &'a [String],
    /// How many values each of these has at most, where that is known: filters are made for so many.
    pub values: Option<u64>,
}

/// Writes rows to new data files of a table, one open file a partition.
pub struct Writer {
    inner: DeltaWriter,
    properties: WriterProperties,
    uploads: Uploads,
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
    /// Files of the change data feed, which are no part of the table.
    pub feed: Vec<Add>,
    /// Rows in them.
    pub rows: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

impl Written {
    /// All files, to be deleted if no commit will name them.
    #[must_use]
    pub fn files(self) -> Vec<Add> {
        self.adds.into_iter().chain(self.feed).collect()
    }

    /// Adds what another writer wrote.
    pub fn add(&mut self, other: Self) {
        self.adds.extend(other.adds);
        self.feed.extend(other.feed);
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl Writer {
    /// As [`Self::with_files`], of a table in which nothing is looked for by key.
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
        Self::with_files(
            storage,
            table,
            schema,
            Files { partitioned_by, target_size: target_file_size, keys: &[], values: None },
        )
    }

    /// A writer of rows of this schema. Every leaf column gets statistics, nested ones too, so that
    /// the ledger columns of `_metadata` have them wherever they stand.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn with_files(storage: &Storage, table: &str, schema: SchemaRef, files: Files<'_>) -> Result<Self> {
        let properties = properties(&schema, files)?;
        let every_column =
            "-1".try_into().map_err(|_| LakeError::Internal { message: "-1 isn't a number of columns".into() })?;
        let config = WriterConfig::new(
            schema,
            files.partitioned_by.to_vec(),
            Some(properties.clone()),
            NonZeroU64::new(files.target_size),
            None,
            every_column,
            None,
        );
        let store = PrefixStore::new(storage.object_store(), storage.location(table));
        let uploads = Uploads::new(Arc::new(store));
        let inner = DeltaWriter::new(Arc::new(uploads.clone()), config);
        Ok(Self { inner, properties, uploads, url: storage.table_url(table), rows: 0 })
    }

    /// The same with row groups of which most can be copied when a few rows change, in files of about so many bytes.
    pub(crate) fn with_small_row_groups(self, target_file_size: u64) -> Self {
        let properties = in_small_groups(self.properties, target_file_size);
        Self { inner: self.inner.with_writer_properties(properties.clone()), properties, ..self }
    }

    /// Writes rows.
    ///
    /// # Errors
    /// `Unavailable` when storage fails; the writer is to be aborted then.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        let written = self.inner.write(rows).await;
        uploaded(&self.uploads, &self.url)?;
        written.map_err(|source| LakeError::delta(&self.url, source))
    }

    /// Ends all files.
    ///
    /// # Errors
    /// `Unavailable` when storage fails; the files are gone then.
    pub async fn close(self) -> Result<Written> {
        let Self { inner, uploads, url, rows, .. } = self;
        let closed = inner.close().await;
        match uploaded(&uploads, &url).and_then(|()| closed.map_err(|source| LakeError::delta(&url, source))) {
            Ok(adds) => {
                let bytes = adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
                Ok(Written { adds, feed: Vec::new(), rows, bytes })
            }
            Err(error) => {
                uploads.discard().await;
                Err(error)
            }
        }
    }

    /// What was uploaded so far, for one who gives up without ending the writer.
    pub(crate) fn uploads(&self) -> Uploads {
        self.uploads.clone()
    }

    /// Gives up: uploads that are under way are ended, and files that were ended are deleted.
    pub async fn abort(self) {
        if let Err(error) = self.inner.abort().await {
            tracing::debug!(table = %self.url, %error, "upload can't be aborted");
        }
        self.uploads.discard().await;
    }
}

/// Bloom filters for the keys, as far as they are columns of values that compare by their bytes.
fn with_filters(properties: WriterPropertiesBuilder, schema: &SchemaRef, files: Files<'_>) -> WriterPropertiesBuilder {
    let is_filtered = |name: &&String| {
        let field = schema.field_with_name(name);
        field.is_ok_and(|field| !field.data_type().is_nested() && !field.data_type().is_floating())
    };
    let most = (!files.partitioned_by.is_empty()).then_some(VALUES_IN_PARTITIONS);
    let values = files.values.into_iter().chain(most).min();
    files.keys.iter().filter(is_filtered).fold(properties, |properties, name| {
        let column = || ColumnPath::from(vec![name.clone()]);
        let properties = properties.set_column_bloom_filter_fpp(column(), FALSE_POSITIVES);
        match values {
            Some(values) => {
                properties.set_column_bloom_filter_max_ndv(column(), values.clamp(1, ROW_GROUP_ROWS as u64))
            }
            None => properties,
        }
    })
}

/// How data files are written.
pub(crate) fn properties(schema: &SchemaRef, files: Files<'_>) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|source| LakeError::Internal { message: source.to_string() })?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(format!("headwater {}", env!("CARGO_PKG_VERSION")));
    Ok(with_filters(properties, schema, files).build())
}

/// Whether all uploads went well so far.
pub(crate) fn uploaded(uploads: &Uploads, table: &Url) -> Result<()> {
    match uploads.failure() {
        Some((location, source)) => {
            Err(LakeError::Storage { action: "can't write", path: format!("{table}/{location}"), source })
        }
        None => Ok(()),
    }
}

/// Deletes data files that no commit names and none will. One that can't be deleted harms no reader.
pub(crate) async fn discard(storage: &Storage, table: &str, adds: Vec<Add>) {
    let store = storage.object_store();
    for add in adds {
        let file = DataFile::new(storage, table, add);
        if let Err(error) = store.delete(file.location()).await {
            tracing::warn!(file = %file.location(), %error, "file that no commit names can't be deleted");
        }
    }
}
