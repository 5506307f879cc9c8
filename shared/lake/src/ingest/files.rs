//! Files to rows, in chunks of bounded memory.

use std::io::{BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use flate2::bufread::MultiGzDecoder;
use headwater_core::model::{CsvOptions, Format, ReadOptions};
use headwater_core::provenance::METADATA;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

use super::decode::Decoder;
use super::records::{Cutter, Record};
use super::{BadRecord, DecodeLimits, Origin};
use crate::error::{LakeError, Result};

/// Bytes read from storage at a time, and bytes of text decoded at a time.
const CHUNK: usize = 4 << 20;

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
}

/// The columns of decoded files: the records', then `_metadata`.
#[must_use]
pub fn file_schema(columns: &SchemaRef) -> SchemaRef {
    let metadata = Arc::new(Field::new(METADATA, DataType::Struct(metadata_fields()), true));
    Arc::new(Schema::new(columns.fields().iter().cloned().chain([metadata]).collect::<Vec<_>>()))
}

/// The beginning of a file, decompressed, to infer columns from; whole lines only.
///
/// # Errors
/// `Unavailable` when the file can't be read.
pub async fn read_sample(store: &Arc<dyn ObjectStore>, file: &FoundFile) -> Result<Vec<u8>> {
    let end = file.size.min(1 << 20);
    let bytes = store.get_range(&file.location, 0..end).await.map_err(|source| unreadable(file, source))?;
    let mut text = Vec::new();
    if is_gzip(file) {
        let outcome = MultiGzDecoder::new(bytes.as_ref()).take(CHUNK as u64).read_to_end(&mut text);
        tracing::debug!(file = file.path, whole = outcome.is_ok(), "sampled");
    } else {
        text.extend_from_slice(&bytes);
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
    /// (`false`). A compressed file is checked to its end before any row is handed out: one that is
    /// cut short or corrupt becomes one bad record.
    ///
    /// # Errors
    /// `Unavailable` when the file can't be read.
    pub fn decode(&self, file: &FoundFile, mut emit: impl FnMut(RecordBatch, Vec<BadRecord>) -> bool) -> Result<()> {
        if is_gzip(file)
            && let Some(reason) = self.verify(file)?
        {
            let bad = BadRecord { reason, raw: Bytes::new(), position: file.path.clone(), origin: origin(file) };
            emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![bad]);
            return Ok(());
        }
        if is_gzip(file) {
            self.chunks(file, MultiGzDecoder::new(self.reader(file)), &mut emit)
        } else {
            self.chunks(file, self.reader(file), &mut emit)
        }
    }

    /// Why a compressed file isn't whole, if it isn't.
    fn verify(&self, file: &FoundFile) -> Result<Option<String>> {
        let mut decoder = MultiGzDecoder::new(self.reader(file));
        let limit = file.size.max(1).saturating_mul(self.limits.ratio).max(CHUNK as u64);
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0_u64;
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => total += read as u64,
                Err(error) if decoder.get_ref().failed => return Err(self.reading(file, &error)),
                Err(error) => return Ok(Some(format!("the compressed file can't be read to its end: {error}"))),
            }
            if total > limit {
                return Ok(Some(format!("the file grows to more than {} times its size", self.limits.ratio)));
            }
        }
    }

    fn chunks(
        &self,
        file: &FoundFile,
        mut input: impl Read,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<()> {
        let mut cutter = Cutter::new(&self.read.format, self.limits.record_bytes);
        let mut decoder = None;
        let mut text = Vec::with_capacity(CHUNK * 2);
        let mut is_first = true;
        loop {
            let read =
                input.by_ref().take(CHUNK as u64).read_to_end(&mut text).map_err(|error| self.reading(file, &error))?;
            if std::mem::take(&mut is_first) && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            let is_last = read == 0;
            let (mut records, end) = cutter.cut(&text, is_last);
            if !records.is_empty() {
                let decoder = decoder.get_or_insert_with(|| self.decoder(&text, &mut records));
                let (rows, bad) = self.decode_chunk(file, decoder, &text, records)?;
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
        records: Vec<Record>,
    ) -> Result<(RecordBatch, Vec<BadRecord>)> {
        let bulk = decoder.decode(text, records, self.limits.record_bytes)?;
        let bad = bulk.bad.into_iter().map(|(index, reason)| {
            let record = &bulk.records[index];
            let raw = &text[record.range.clone()];
            let raw = Bytes::copy_from_slice(&raw[..raw.len().min(self.limits.record_bytes)]);
            BadRecord { reason, raw, position: format!("{}:{}", file.path, record.line), origin: origin(file) }
        });
        Ok((with_metadata(bulk.rows, file)?, bad.collect()))
    }

    /// The decoder of a file; a CSV header is taken off the records. One that names no column at all is one in other
    /// words, and columns are found by position.
    fn decoder(&self, text: &[u8], records: &mut Vec<Record>) -> Decoder {
        let (format, columns) = (&self.read.format, &self.columns);
        let by_name = match format {
            Format::Csv(CsvOptions { header: true, .. }) => {
                Decoder::with_header(format, columns, &text[records.remove(0).range])
            }
            Format::Csv(_) | Format::Json | Format::Raw => None,
        };
        by_name.unwrap_or_else(|| Decoder::new(format, columns).within(self.read.envelope))
    }

    fn reader(&self, file: &FoundFile) -> RangeReader {
        RangeReader {
            store: Arc::clone(&self.store),
            runtime: self.runtime.clone(),
            location: file.location.clone(),
            size: file.size,
            at: 0,
            buffer: Bytes::new(),
            failed: false,
        }
    }

    fn reading(&self, file: &FoundFile, error: &std::io::Error) -> LakeError {
        let source = object_store::Error::Generic { store: "files", source: error.to_string().into() };
        unreadable(file, source)
    }
}

/// Reads an object in ranges.
struct RangeReader {
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Handle,
    location: Path,
    size: u64,
    at: u64,
    buffer: Bytes,
    failed: bool,
}

impl RangeReader {
    /// Reads a range of the object that was found, not of one that has taken its place since.
    async fn fetch(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let found = self.store.get_opts(&self.location, options).await.map_err(std::io::Error::other)?;
        if found.meta.size != self.size {
            return Err(std::io::Error::other("the file changed while it was read; it is read whole the next time"));
        }
        found.bytes().await.map_err(std::io::Error::other)
    }
}

impl BufRead for RangeReader {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.buffer.is_empty() && self.at < self.size {
            let end = (self.at + CHUNK as u64).min(self.size);
            let range = self.runtime.block_on(self.fetch(self.at..end));
            self.failed = range.is_err();
            self.buffer = range?;
            self.at = end;
        }
        Ok(&self.buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.advance(amount);
    }
}

impl Read for RangeReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

fn metadata_fields() -> Fields {
    Fields::from(vec![
        Field::new("file_path", DataType::Utf8, true),
        Field::new("file_name", DataType::Utf8, true),
        Field::new("file_size", DataType::Int64, true),
        Field::new("file_modification_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ])
}

fn with_metadata(rows: RecordBatch, file: &FoundFile) -> Result<RecordBatch> {
    let count = rows.num_rows();
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let size = i64::try_from(file.size).unwrap_or(i64::MAX);
    let values: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(file.path.as_str(), count))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, count))),
        Arc::new(Int64Array::from_value(size, count)),
        Arc::new(TimestampMicrosecondArray::from_value(file.modified.timestamp_micros(), count).with_timezone("UTC")),
    ];
    let metadata = StructArray::try_new(metadata_fields(), values, None).map_err(LakeError::arrow)?;
    let schema = file_schema(&rows.schema());
    let columns = rows.columns().iter().cloned().chain([Arc::new(metadata) as ArrayRef]).collect();
    RecordBatch::try_new(schema, columns).map_err(LakeError::arrow)
}

fn origin(file: &FoundFile) -> Origin {
    Origin::File { path: file.path.clone(), size: file.size, modified: file.modified }
}

fn is_gzip(file: &FoundFile) -> bool {
    file.location.as_ref().ends_with(".gz")
}

fn unreadable(file: &FoundFile, source: object_store::Error) -> LakeError {
    LakeError::Storage { action: "can't read", path: file.path.clone(), source }
}
