//! Files to rows, in chunks of bounded memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use headwater_core::model::{CsvOptions, Format, ReadOptions};
use headwater_core::provenance::METADATA;
use object_store::ObjectStore;
use object_store::path::Path;

use super::captured::{captured_fields, captured_values};
use super::ranges::Ranges;
use super::text::{Reached, TextPart};
use super::{BadRecord, DecodeLimits, Origin};
use crate::error::{LakeError, Result};

/// What some programs put at the beginning of UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its place in the store.
    pub location: Path,
    /// Its URL; what `_metadata.file_path` holds.
    pub path: String,
    /// Bytes as stored.
    pub size: u64,
    /// When it was written.
    pub modified: DateTime<Utc>,
    /// What tells it from what it was before, if the store says.
    pub etag: Option<String>,
    /// Names and values of its folders that are named `name=value`.
    pub folders: Vec<(String, Option<String>)>,
}

/// The columns of decoded files: the records', then `_metadata`. Where the records are those of Event Hubs Capture, it tells of each what it
/// tells of an event of a hub.
#[must_use]
pub fn file_schema(columns: &SchemaRef) -> SchemaRef {
    let fields = metadata_fields().iter().cloned().chain(captured_fields(columns)).collect();
    let metadata = Arc::new(Field::new(METADATA, DataType::Struct(fields), true));
    Arc::new(Schema::new(columns.fields().iter().cloned().chain([metadata]).collect::<Vec<_>>()))
}

/// Decodes one file on a thread that may block.
#[derive(Debug)]
pub struct FileDecoder {
    /// Where files are.
    pub store: Arc<dyn ObjectStore>,
    /// The runtime that reads for the thread.
    pub runtime: tokio::runtime::Handle,
    /// How records are decoded.
    pub read: ReadOptions,
    /// Columns wanted.
    pub columns: SchemaRef,
    /// Limits.
    pub limits: DecodeLimits,
}

impl FileDecoder {
    /// Hands out rows and bad records as they come, until the consumer says that it has enough
    /// (`false`). A file of columns, and a compressed one, is checked to its end before any row is handed out: one that
    /// is cut short or corrupt becomes one bad record.
    ///
    /// # Errors
    /// `Unavailable` when the file can't be read.
    pub fn decode(&self, file: &FoundFile, emit: impl FnMut(RecordBatch, Vec<BadRecord>) -> bool) -> Result<()> {
        self.decode_part(&Ranges::new(Arc::clone(&self.store), file), None, emit).map(drop)
    }

    /// The same for a part of a file, or for the whole; how far it came, unless the consumer had enough before. A file of which
    /// parts are read isn't checked to its end: what can't be decompressed or decoded is one bad record after what could.
    pub(crate) fn decode_part(
        &self,
        ranges: &Ranges,
        part: Option<&TextPart>,
        mut emit: impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<Option<Reached>> {
        let file = ranges.file();
        let constants = match self.constants(file) {
            Ok(constants) if constants.is_empty() => return self.read(ranges, part, &mut emit),
            Ok(constants) => constants,
            Err(reason) => {
                emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
                return Ok(Some(Reached::end_of(file)));
            }
        };
        let schema = file_schema(&self.columns);
        let mut failure = None;
        // Where columns go by their places, those of folders have none.
        let columns = match self.read.format {
            Format::Csv(CsvOptions { header: false, .. }) => constants.without(&self.columns),
            _ => Arc::clone(&self.columns),
        };
        let reached =
            self.of_columns(columns).read(ranges, part, &mut |rows, bad| match constants.with(&rows, &schema) {
                Ok(rows) => emit(rows, bad),
                Err(error) => {
                    failure = Some(error);
                    false
                }
            })?;
        failure.map_or(Ok(reached), Err)
    }

    /// Hands out what is in the file.
    fn read(
        &self,
        ranges: &Ranges,
        part: Option<&TextPart>,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<Option<Reached>> {
        match (&self.read.format, part) {
            (Format::Parquet | Format::Avro, Some(part)) => self.columnar_part(ranges, part, emit),
            (Format::Parquet | Format::Avro | Format::BinaryFile, _) => {
                self.whole(ranges, emit).map(|()| Some(Reached::end_of(ranges.file())))
            }
            (Format::Json | Format::JsonDocument | Format::Csv(_) | Format::Text | Format::Raw, _) => {
                self.text(ranges, part, emit)
            }
        }
    }
}

fn metadata_fields() -> Fields {
    Fields::from(vec![
        Field::new("file_path", DataType::Utf8, true),
        Field::new("file_name", DataType::Utf8, true),
        Field::new("file_size", DataType::Int64, true),
        Field::new("file_modification_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("file_block_start", DataType::Int64, true),
        Field::new("file_block_length", DataType::Int64, true),
        Field::new("row_index", DataType::Int64, true),
    ])
}

/// Rows with where they came from; so many rows of the file came before them.
pub(super) fn with_metadata(
    rows: RecordBatch,
    file: &FoundFile,
    places: impl IntoIterator<Item = i64>,
) -> Result<RecordBatch> {
    let count = rows.num_rows();
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let size = i64::try_from(file.size).unwrap_or(i64::MAX);
    let mut values: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(file.path.as_str(), count))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, count))),
        Arc::new(Int64Array::from_value(size, count)),
        Arc::new(TimestampMicrosecondArray::from_value(file.modified.timestamp_micros(), count).with_timezone("UTC")),
        Arc::new(Int64Array::from_value(0, count)),
        Arc::new(Int64Array::from_value(size, count)),
        Arc::new(Int64Array::from_iter_values(places.into_iter().take(count))),
    ];
    let schema = file_schema(&rows.schema());
    let fields = metadata_fields().iter().cloned().chain(captured_fields(&rows.schema())).collect();
    values.extend(captured_values(&rows, file));
    let metadata = StructArray::try_new(fields, values, None).map_err(LakeError::arrow)?;
    let columns = rows.columns().iter().cloned().chain([Arc::new(metadata) as ArrayRef]).collect();
    RecordBatch::try_new(schema, columns).map_err(LakeError::arrow)
}

pub(super) fn origin(file: &FoundFile) -> Origin {
    Origin::File { path: file.path.clone(), size: file.size, modified: file.modified }
}

/// The one bad record of a file that isn't whole, or is no file of its format.
pub(crate) fn damaged(file: &FoundFile, reason: String) -> BadRecord {
    BadRecord { reason, raw: Bytes::new(), position: file.path.clone(), origin: origin(file) }
}
