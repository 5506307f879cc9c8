//! Row groups to data files.

use std::collections::HashMap;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use deltalake::kernel::Add;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use parquet::file::writer::SerializedFileWriter;
use tokio::io::AsyncWriteExt;
use url::Url;
use uuid::Uuid;

use super::encode::Format;
use super::source::Run;
use super::statistics::statistics;
use super::{Group, unexpected};
use crate::error::{LakeError, Result};
use crate::storage::Storage;
use crate::table::DataFile;
use crate::uploads::Uploads;
use crate::write::{Written, uploaded};

/// Bytes of a part of an upload, and parts that are on their way at once: all of them are in memory.
const PART_BYTES: usize = 5 << 20;
const PARTS_AT_ONCE: usize = 2;

/// Bytes of a group that are sent before the rest of it is written.
const MUCH_BYTES: usize = 1 << 20;

/// Puts row groups into new data files of a table, one after the other. Nothing written here is visible before a commit
/// names it.
pub(crate) struct GroupWriter {
    format: Arc<Format>,
    uploads: Uploads,
    url: Url,
    partition: Partition,
    file: Option<OpenFile>,
    written: Written,
}

/// Where the files of a partition are, and its values; of a table without partitions the default.
#[derive(Debug, Default, PartialEq, Eq)]
struct Partition {
    folder: String,
    values: HashMap<String, Option<String>>,
}

struct OpenFile {
    path: String,
    writer: SerializedFileWriter<Unsent>,
    unsent: Unsent,
    upload: BufWriter,
}

/// What was written and isn't on its way yet. Clones share it: the writer of a file and that of its row group keep one each.
#[derive(Debug, Clone, Default)]
struct Unsent(Arc<Mutex<Vec<u8>>>);

impl GroupWriter {
    /// A writer of files of a table.
    pub(crate) fn new(storage: &Storage, table: &str, format: Arc<Format>) -> Self {
        let store = PrefixStore::new(storage.object_store(), storage.location(table));
        Self {
            format,
            uploads: Uploads::new(Arc::new(store)),
            url: storage.table_url(table),
            partition: Partition::default(),
            file: None,
            written: Written::default(),
        }
    }

    /// Whether groups of a file belong into another partition than those before.
    pub(crate) fn leaves(&self, file: &DataFile) -> bool {
        self.partition != Partition::of(file)
    }

    /// Puts the groups that come now where those of a file belong.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) async fn enter(&mut self, file: &DataFile) -> Result<()> {
        self.end().await?;
        self.partition = Partition::of(file);
        Ok(())
    }

    /// Puts a group behind the others.
    ///
    /// # Errors
    /// `Unavailable` when storage fails; the writer is to be aborted then.
    pub(crate) async fn append(&mut self, group: Group) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.begin()?,
        };
        let added = file.add(group, &self.url).await;
        let is_full = file.writer.bytes_written() as u64 >= self.format.target_file_size();
        self.file = Some(file);
        added?;
        uploaded(&self.uploads, &self.url)?;
        if is_full { self.end().await } else { Ok(()) }
    }

    /// Ends all files.
    ///
    /// # Errors
    /// `Unavailable` when storage fails; the files are gone then.
    pub(crate) async fn close(mut self) -> Result<Written> {
        match self.end().await {
            Ok(()) => Ok(self.written),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// What was uploaded so far, for one who gives up without ending the writer.
    pub(crate) fn uploads(&self) -> Uploads {
        self.uploads.clone()
    }

    /// Gives up: uploads that are under way are ended, and files that were ended are deleted.
    pub(crate) async fn abort(self) {
        if let Some(mut file) = self.file
            && let Err(error) = file.upload.abort().await
        {
            tracing::debug!(table = %self.url, %error, "upload can't be aborted");
        }
        self.uploads.discard().await;
    }

    fn begin(&self) -> Result<OpenFile> {
        let path = format!("{}part-00000-{}-c000.zstd.parquet", self.partition.folder, Uuid::new_v4());
        let location = Path::parse(&path).unwrap_or_else(|_| Path::from(path.as_str()));
        let store: Arc<dyn ObjectStore> = Arc::new(self.uploads.clone());
        let upload = BufWriter::with_capacity(store, location, PART_BYTES).with_max_concurrency(PARTS_AT_ONCE);
        let unsent = Unsent::default();
        Ok(OpenFile { path, writer: self.format.file(unsent.clone())?, unsent, upload })
    }

    /// Ends the file that is open.
    async fn end(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let metadata = file.writer.finish().map_err(unexpected)?;
        let size = file.writer.bytes_written() as u64;
        let ended = async {
            file.unsent.send(&mut file.upload).await?;
            file.upload
                .shutdown()
                .await
                .map_err(|source| object_store::Error::Generic { store: "upload", source: Box::new(source) })
        };
        ended.await.map_err(|source| failed(&self.url, &file.path, source))?;
        uploaded(&self.uploads, &self.url)?;
        let rows: i64 = metadata.row_groups().iter().map(|group| group.num_rows()).sum();
        self.written.rows += u64::try_from(rows).unwrap_or_default();
        self.written.bytes += size;
        self.written.adds.push(Add {
            path: file.path,
            partition_values: self.partition.values.clone(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(statistics(metadata.row_groups()).to_string()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        });
        Ok(())
    }
}

fn failed(table: &Url, path: &str, source: object_store::Error) -> LakeError {
    LakeError::Storage { action: "can't write", path: format!("{table}/{path}"), source }
}

impl Partition {
    fn of(file: &DataFile) -> Self {
        let folder = file.path().rfind('/').map_or("", |end| &file.path()[..=end]);
        if file.add.partition_values.is_empty() {
            return Self::default();
        }
        Self { folder: folder.to_owned(), values: file.add.partition_values.clone() }
    }
}

impl OpenFile {
    /// Writes a group, and sends what there is of it now and then, so that it isn't in memory twice.
    async fn add(&mut self, group: Group, table: &Url) -> Result<()> {
        let Self { path, writer, unsent, upload } = self;
        let mut row_group = writer.next_row_group().map_err(unexpected)?;
        match group {
            Group::Encoded(chunks) => {
                for chunk in chunks {
                    chunk.append_to_row_group(&mut row_group).map_err(unexpected)?;
                    unsent.send_much(upload).await.map_err(|source| failed(table, path, source))?;
                }
            }
            Group::Copied(copied) => {
                let mut runs = pin!(copied.runs());
                while let Some(Run { bytes, columns }) = runs.try_next().await? {
                    for column in columns {
                        row_group.append_column(&bytes, column).map_err(unexpected)?;
                    }
                    drop(bytes);
                    unsent.send_much(upload).await.map_err(|source| failed(table, path, source))?;
                }
            }
        }
        row_group.close().and_then(|_| Ok(writer.flush()?)).map_err(unexpected)?;
        unsent.send(upload).await.map_err(|source| failed(table, path, source))
    }
}

impl Unsent {
    /// Sends all. Without the room that it could have grown into, since it waits for others.
    async fn send(&self, upload: &mut BufWriter) -> object_store::Result<()> {
        let bytes = std::mem::take(&mut *self.bytes()).into_boxed_slice();
        if bytes.is_empty() { Ok(()) } else { upload.put(Bytes::from(bytes)).await }
    }

    /// Sends all if it is worth it.
    async fn send_much(&self, upload: &mut BufWriter) -> object_store::Result<()> {
        let is_much = self.bytes().len() >= MUCH_BYTES;
        if is_much { self.send(upload).await } else { Ok(()) }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Unsent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
