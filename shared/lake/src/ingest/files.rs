//! Files to rows, in chunks of bounded memory.

use std::io::Read;
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
use super::compression::Compression;
use super::decode::Decoder;
use super::ranges::{CHUNK, RangeReader, Ranges, Stop};
use super::records::{Cutter, Record};
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
    pub fn decode(&self, file: &FoundFile, mut emit: impl FnMut(RecordBatch, Vec<BadRecord>) -> bool) -> Result<()> {
        let constants = match self.constants(file) {
            Ok(constants) if constants.is_empty() => return self.read(file, &mut emit),
            Ok(constants) => constants,
            Err(reason) => {
                emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
                return Ok(());
            }
        };
        let schema = file_schema(&self.columns);
        let mut failure = None;
        // Where columns go by their places, those of folders have none.
        let columns = match self.read.format {
            Format::Csv(CsvOptions { header: false, .. }) => constants.without(&self.columns),
            _ => Arc::clone(&self.columns),
        };
        self.of_columns(columns).read(file, &mut |rows, bad| match constants.with(&rows, &schema) {
            Ok(rows) => emit(rows, bad),
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Hands out what is in the file.
    fn read(&self, file: &FoundFile, emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool) -> Result<()> {
        match self.read.format {
            Format::Parquet | Format::Avro | Format::BinaryFile => self.whole(file, emit),
            Format::Json | Format::JsonDocument | Format::Csv(_) | Format::Text | Format::Raw => self.text(file, emit),
        }
    }

    fn text(&self, file: &FoundFile, emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool) -> Result<()> {
        let compression = Compression::of(&file.location);
        if compression != Compression::None
            && let Some(reason) = self.verify(file, compression)?
        {
            emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
            return Ok(());
        }
        let (ranges, input) = self.reader(file);
        let input = compression.open(input).map_err(|error| unreadable(&ranges, file, &error))?;
        self.chunks((file, &ranges), input, emit)
    }

    /// Why a compressed file isn't whole, if it isn't.
    fn verify(&self, file: &FoundFile, compression: Compression) -> Result<Option<String>> {
        let (ranges, input) = self.reader(file);
        let mut decoder = compression.open(input).map_err(|error| unreadable(&ranges, file, &error))?;
        let limit = file.size.max(1).saturating_mul(self.limits.ratio).max(CHUNK as u64);
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0_u64;
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => total += read as u64,
                Err(error) => {
                    return match ranges.stop(format!("the compressed file can't be read to its end: {error}")) {
                        Stop::Damaged(reason) => Ok(Some(reason)),
                        Stop::Unreadable(error) => Err(error),
                    };
                }
            }
            if total > limit {
                return Ok(Some(format!("the file grows to more than {} times its size", self.limits.ratio)));
            }
        }
    }

    fn chunks(
        &self,
        (file, ranges): (&FoundFile, &Ranges),
        mut input: impl Read,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<()> {
        let mut cutter = Cutter::new(&self.read.format, self.limits.record_bytes);
        let mut decoder = None;
        let mut text = Vec::with_capacity(CHUNK * 2);
        let (mut is_first, mut before) = (true, 0);
        loop {
            let read = input.by_ref().take(CHUNK as u64).read_to_end(&mut text);
            let read = read.map_err(|error| unreadable(ranges, file, &error))?;
            if std::mem::take(&mut is_first) && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            let is_last = read == 0;
            let (mut records, end) = cutter.cut(&text, is_last);
            if !records.is_empty() {
                let decoder = match &mut decoder {
                    Some(decoder) => decoder,
                    none => none.insert(self.decoder(file, &text, &mut records)?),
                };
                let (rows, bad) = self.decode_chunk(file, decoder, &text, (records, before))?;
                before += i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
                if !emit(rows, bad) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            text.drain(..end);
        }
    }

    fn decode_chunk(
        &self,
        file: &FoundFile,
        decoder: &Decoder,
        text: &[u8],
        (records, before): (Vec<Record>, i64),
    ) -> Result<(RecordBatch, Vec<BadRecord>)> {
        let limit = self.limits.record_bytes;
        let bulk = match &self.read.rescued_column {
            Some(column) => decoder.decode_rescuing(text, records, limit, column)?,
            None => decoder.decode(text, records, limit)?,
        };
        let bad = bulk.bad.into_iter().map(|(index, reason)| {
            let record = &bulk.records[index];
            let raw = &text[record.range.clone()];
            let raw = Bytes::copy_from_slice(&raw[..raw.len().min(self.limits.record_bytes)]);
            BadRecord { reason, raw, position: format!("{}:{}", file.path, record.line), origin: origin(file) }
        });
        Ok((with_metadata(bulk.rows, file, before)?, bad.collect()))
    }

    /// The decoder of a file; a CSV header is taken off the records. One that names no column at all is one in other
    /// words, and columns are found by position.
    fn decoder(&self, file: &FoundFile, text: &[u8], records: &mut Vec<Record>) -> Result<Decoder> {
        let (read, columns, origin) = (&self.read, &self.columns, Some(file.path.as_str()));
        let by_name = match &read.format {
            Format::Csv(CsvOptions { header: true, .. }) => {
                let header = records.remove(0).range;
                let end = records.last().map_or(header.end, |last| last.range.end);
                let sample = &text[header.start..end];
                Decoder::with_header(read, columns, (&text[header], sample), origin)?
            }
            _ => None,
        };
        Ok(by_name.unwrap_or_else(|| Decoder::new(read, columns, origin)))
    }

    fn reader(&self, file: &FoundFile) -> (Ranges, RangeReader) {
        let ranges = Ranges::new(Arc::clone(&self.store), file);
        (ranges.clone(), RangeReader::new(ranges, self.runtime.clone()))
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
pub(super) fn with_metadata(rows: RecordBatch, file: &FoundFile, before: i64) -> Result<RecordBatch> {
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
        Arc::new(Int64Array::from_iter_values((before..).take(count))),
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
pub(super) fn damaged(file: &FoundFile, reason: String) -> BadRecord {
    BadRecord { reason, raw: Bytes::new(), position: file.path.clone(), origin: origin(file) }
}

fn unreadable(ranges: &Ranges, file: &FoundFile, error: &std::io::Error) -> LakeError {
    match ranges.stop(error.to_string()) {
        Stop::Unreadable(error) => error,
        Stop::Damaged(reason) => {
            let source = object_store::Error::Generic { store: "files", source: reason.into() };
            LakeError::Storage { action: "can't read", path: file.path.clone(), source }
        }
    }
}
