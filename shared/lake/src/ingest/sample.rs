//! What columns are inferred from: the beginnings of some files, or what they say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use headwater_core::model::{FileOptions, Format};
use object_store::{ObjectStore, ObjectStoreExt};

use super::FoundFile;
use super::avro::AvroFile;
use super::compression::Compression;
use super::files::BYTE_ORDER_MARK;
use super::folders::is_wanted;
use super::parquet::parquet_schema;
use super::plain::plain_schema;
use super::ranges::{CHUNK, Ranges, Stop};
use crate::align::{grown, merged, position};
use crate::engine::storable_schema;
use crate::error::{LakeError, Result};
use crate::widening::Growth;

/// Bytes of a file of text that are looked at, as stored.
const TEXT: u64 = 1 << 20;

/// A sample of an outside source.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Whole records, input by input.
    pub(super) texts: Vec<Vec<u8>>,
    /// Columns of files that say what they are.
    pub(super) columns: Vec<SchemaRef>,
    /// Values of folders named `name=value`.
    pub(super) folders: BTreeMap<String, BTreeSet<String>>,
}

impl Sample {
    /// Of whole records of some inputs, each of which may have a header.
    #[must_use]
    pub fn of_texts(texts: Vec<Vec<u8>>) -> Self {
        Self { texts, ..Self::default() }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.iter().all(Vec::is_empty) && self.columns.is_empty()
    }

    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.texts.extend(other.texts);
        self.columns.extend(other.columns);
    }

    /// Adds columns that were met later on; false if they were known.
    pub(crate) fn learn(&mut self, columns: &SchemaRef) -> bool {
        let columns = storable_schema(columns);
        let is_new = !self.columns.contains(&columns);
        self.columns.push(columns);
        is_new
    }

    /// Columns with those that were met later on, or that files say they have: values of the texts may contradict them.
    pub(crate) fn with_told(&self, columns: SchemaRef) -> SchemaRef {
        self.columns.iter().fold(columns, |known, told| merged(&known, told))
    }

    /// Columns in types for what files say of theirs, and for values that were met and didn't fit: where text is read, these
    /// alone count, since each whole number in it is inferred as a long one.
    pub(crate) fn widened(&self, columns: SchemaRef) -> SchemaRef {
        let grown_by = |columns: SchemaRef, more: &SchemaRef| {
            let is_known = |field: &&Arc<Field>| position(&columns, field.name()).is_some();
            let known: Fields = more.fields().iter().filter(is_known).cloned().collect();
            grown(&columns, &Arc::new(Schema::new(known)), Growth::Types)
        };
        self.columns.iter().fold(columns, grown_by)
    }

    /// Adds what the folders of a file say.
    pub(crate) fn add_folders(&mut self, file: &FoundFile, options: &FileOptions) {
        for (name, value) in file.folders.iter().filter(|(name, _)| is_wanted(name, options)) {
            self.folders.entry(name.clone()).or_default().extend(value.clone());
        }
    }
}

/// What a file tells of its columns: the beginning of text, decompressed, whole lines only; the columns of a file
/// that names them. Nothing, if it is damaged.
///
/// # Errors
/// `Unavailable` when the file can't be read.
pub async fn read_sample(store: &Arc<dyn ObjectStore>, file: &FoundFile, format: &Format) -> Result<Sample> {
    match format {
        Format::Parquet | Format::Avro => {
            let found = columns(Ranges::new(Arc::clone(store), file), file.size, format).await;
            match found {
                Ok(schema) => Ok(Sample { columns: vec![plain_schema(&schema)], ..Sample::default() }),
                Err(Stop::Unreadable(error)) => Err(error),
                Err(Stop::Damaged(reason)) => {
                    tracing::debug!(file = file.path, reason, "not sampled");
                    Ok(Sample::default())
                }
            }
        }
        Format::Json | Format::JsonDocument | Format::Csv(_) | Format::Text | Format::Raw | Format::BinaryFile => {
            beginning(store, file).await.map(|text| Sample::of_texts(vec![text]))
        }
    }
}

async fn columns(ranges: Ranges, size: u64, format: &Format) -> std::result::Result<SchemaRef, Stop> {
    if *format == Format::Parquet {
        return parquet_schema(&ranges, size).await;
    }
    let runtime = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || AvroFile::open(ranges, runtime, 1)?.schema());
    read.await.unwrap_or_else(|_| Err(Stop::Damaged("its decoder gave up".into())))
}

async fn beginning(store: &Arc<dyn ObjectStore>, file: &FoundFile) -> Result<Vec<u8>> {
    let unreadable = |source| LakeError::Storage { action: "can't read", path: file.path.clone(), source };
    let end = file.size.min(TEXT);
    if end == 0 {
        return Ok(Vec::new());
    }
    let bytes = store.get_range(&file.location, 0..end).await.map_err(unreadable)?;
    let mut text = Vec::new();
    let compression = Compression::of(&file.location);
    if compression == Compression::None {
        text.extend_from_slice(&bytes);
    } else {
        let whole = compression.open(bytes.as_ref()).and_then(|input| input.take(CHUNK as u64).read_to_end(&mut text));
        tracing::debug!(file = file.path, whole = whole.is_ok(), "sampled");
    }
    if end < file.size {
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        text.truncate(whole);
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(text)
}
