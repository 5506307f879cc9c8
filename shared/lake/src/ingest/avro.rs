//! Avro files to record batches.
//!
//! Blocks are taken out of the file here, each checked against its sync marker, its size and what it grows to;
//! the decoder sees whole blocks only, as it takes one that is cut short for the file's end.

use std::io::{BufRead, Read};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::reader::{ReaderBuilder, read_header_info};
use serde_json::Value;

use super::ranges::{CHUNK, RangeReader, Ranges, Stop};

/// What an Avro file begins with.
const MAGIC: &[u8] = b"Obj\x01";

/// Bytes of a block at most, as stored and decompressed: it is held in memory.
const BLOCK: u64 = 256 << 20;

/// Rows of a block whose records have no bytes, at most.
const EMPTY_ROWS: usize = 1 << 16;

/// A file's rows, some blocks at a time.
pub(super) struct AvroFile {
    ranges: Ranges,
    input: RangeReader,
    /// The header of a file of the same records, not compressed.
    header: Vec<u8>,
    codec: Option<CompressionCodec>,
    sync: [u8; 16],
    ratio: u64,
    /// Bytes of blocks that are decoded together, about.
    chunk: usize,
    /// Where the block after the last whole one begins.
    place: u64,
    /// Why the blocks after that can't be read.
    stop: Option<Stop>,
    is_done: bool,
}

/// A block as stored.
struct Block {
    rows: usize,
    bytes: Vec<u8>,
}

impl AvroFile {
    /// Reads the header.
    ///
    /// # Errors
    /// `Damaged` when it is no Avro file.
    pub(super) fn open(ranges: Ranges, runtime: tokio::runtime::Handle, ratio: u64) -> Result<Self, Stop> {
        let mut input = RangeReader::new(ranges.clone(), runtime);
        let damaged = |error: &dyn std::fmt::Display| ranges.stop(format!("no Avro file: {error}"));
        let info = read_header_info(&mut input).map_err(|error| damaged(&error))?;
        let codec = info.compression().map_err(|error| damaged(&error))?;
        let schema = info.writer_schema().map_err(|error| damaged(&error))?;
        let mut schema: Value = serde_json::from_str(&schema.json_string).map_err(|error| damaged(&error))?;
        keep_uuids_as_text(&mut schema);
        let sync = info.sync();
        let header = header(&schema.to_string(), sync);
        let place = input.place();
        Ok(Self { ranges, input, header, codec, sync, ratio, chunk: CHUNK, place, stop: None, is_done: false })
    }

    /// From the block on that begins at a byte, fewer of them at a time.
    pub(super) fn starting_at(mut self, byte: u64, chunk: usize) -> Self {
        if byte > 0 {
            self.input = self.input.starting_at(byte);
            self.place = byte;
        }
        Self { chunk: chunk.min(CHUNK), ..self }
    }

    /// Where the block begins that comes after the rows handed out.
    pub(super) const fn place(&self) -> u64 {
        self.place
    }

    /// The columns.
    ///
    /// # Errors
    /// `Damaged` when the file's schema can't be read.
    pub(super) fn schema(&self) -> Result<SchemaRef, Stop> {
        let reader = ReaderBuilder::new().build(self.header.as_slice());
        reader.map(|reader| reader.schema()).map_err(|error| damaged(&error))
    }

    /// The next blocks together, decompressed, and how many rows they say they hold. One that is damaged comes after those
    /// before it.
    fn blocks(&mut self) -> Result<(usize, Vec<u8>), Stop> {
        if let Some(stop) = self.stop.take() {
            return Err(stop);
        }
        let (mut rows, mut bytes) = (0, Vec::new());
        while bytes.len() < self.chunk && rows < EMPTY_ROWS {
            let whole = bytes.len();
            match self.decompressed(&mut bytes) {
                Ok(Some(more)) => (rows, self.place) = (rows + more, self.input.place()),
                Ok(None) => {
                    self.is_done = true;
                    break;
                }
                Err(stop) if rows > 0 => {
                    bytes.truncate(whole);
                    self.stop = Some(stop);
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok((rows, bytes))
    }

    /// Adds the next block; how many rows it says it holds, or `None` at the end of the file.
    fn decompressed(&mut self, into: &mut Vec<u8>) -> Result<Option<usize>, Stop> {
        let block = self.block().map_err(|error| self.ranges.stop(format!("the Avro file is damaged: {error}")))?;
        let Some(block) = block else { return Ok(None) };
        let before = into.len();
        self.decompress(&block.bytes, into).map_err(|error| damaged(&error))?;
        if block.rows > (into.len() - before).max(EMPTY_ROWS) {
            return Err(Stop::Damaged(format!("the Avro file is damaged: a block of {} rows", block.rows)));
        }
        Ok(Some(block.rows))
    }

    /// The next block; `None` at the end of the file.
    fn block(&mut self) -> std::io::Result<Option<Block>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let rows = usize::try_from(self.long()?).map_err(|_| invalid("a block of less than no rows"))?;
        let size = u64::try_from(self.long()?).ok().filter(|size| *size <= BLOCK);
        let size = size.ok_or_else(|| invalid("a block that is too large"))?;
        let mut bytes = Vec::new();
        self.input.by_ref().take(size).read_to_end(&mut bytes)?;
        let mut sync = [0; 16];
        self.input.read_exact(&mut sync).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => invalid("it ends inside of a block"),
            _ => error,
        })?;
        if bytes.len() as u64 != size || sync != self.sync {
            return Err(invalid("a block doesn't end where it should"));
        }
        Ok(Some(Block { rows, bytes }))
    }

    /// A variable-length, zigzag number.
    fn long(&mut self) -> std::io::Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.input.read_exact(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(invalid("a number that doesn't end"))
    }

    fn decompress(&self, block: &[u8], into: &mut Vec<u8>) -> std::io::Result<()> {
        let limit = (block.len() as u64).saturating_mul(self.ratio).max(CHUNK as u64).min(BLOCK);
        let mut input: Box<dyn Read + '_> = match self.codec {
            None => Box::new(block),
            Some(CompressionCodec::Deflate) => Box::new(flate2::read::DeflateDecoder::new(block)),
            Some(CompressionCodec::ZStandard) => Box::new(zstd::Decoder::with_buffer(block)?),
            Some(CompressionCodec::Bzip2) => Box::new(bzip2::read::MultiBzDecoder::new(block)),
            Some(CompressionCodec::Snappy) => return unsnap(block, limit, into),
            Some(CompressionCodec::Xz) => return Err(invalid("blocks compressed by xz aren't read")),
        };
        let grown = input.by_ref().take(limit + 1).read_to_end(into)?;
        if grown as u64 > limit { Err(invalid("a block grows too large")) } else { Ok(()) }
    }
}

impl Iterator for AvroFile {
    type Item = Result<RecordBatch, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let (rows, bytes) = match self.blocks() {
                Ok(blocks) => blocks,
                Err(stop) => {
                    self.is_done = true;
                    return Some(Err(stop));
                }
            };
            if rows > 0 {
                let decoded = self.decode(rows, &bytes);
                self.is_done |= decoded.is_err();
                return Some(decoded);
            }
        }
        None
    }
}

impl AvroFile {
    /// The rows of decompressed blocks. The reader is asked for one batch of exactly as many rows as there are: with
    /// more it wouldn't end on a block that holds more bytes than rows.
    fn decode(&self, rows: usize, bytes: &[u8]) -> Result<RecordBatch, Stop> {
        let mut frame = Vec::with_capacity(20);
        push_long(&mut frame, rows);
        push_long(&mut frame, bytes.len());
        let input = self.header.chain(frame.as_slice()).chain(bytes).chain(self.sync.as_slice());
        let mut reader = ReaderBuilder::new().with_batch_size(rows).build(input).map_err(|error| damaged(&error))?;
        match reader.next() {
            Some(Ok(batch)) if batch.num_rows() == rows => Ok(batch),
            Some(Ok(_)) | None => Err(damaged(&"blocks hold fewer rows than they say")),
            Some(Err(error)) => Err(damaged(&error)),
        }
    }
}

/// A block of Snappy ends with the checksum of what it grows to.
fn unsnap(block: &[u8], limit: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    let (packed, checksum) = block.split_last_chunk::<4>().ok_or_else(|| invalid("a block without a checksum"))?;
    let length = snap::raw::decompress_len(packed).map_err(std::io::Error::other)?;
    if length as u64 > limit {
        return Err(invalid("a block grows too large"));
    }
    let unpacked = snap::raw::Decoder::new().decompress_vec(packed).map_err(std::io::Error::other)?;
    let mut sum = flate2::Crc::new();
    sum.update(&unpacked);
    if sum.sum() != u32::from_be_bytes(*checksum) {
        return Err(invalid("a block's checksum is another"));
    }
    into.extend_from_slice(&unpacked);
    Ok(())
}

/// The header of a file of these records, not compressed.
fn header(schema: &str, sync: [u8; 16]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    push_long(&mut header, 1);
    for text in ["avro.schema", schema] {
        push_long(&mut header, text.len());
        header.extend_from_slice(text.as_bytes());
    }
    push_long(&mut header, 0);
    header.extend_from_slice(&sync);
    header
}

fn push_long(into: &mut Vec<u8>, value: usize) {
    let mut rest = (value as u64) << 1;
    while rest >= 0x80 {
        into.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    into.push(rest.to_le_bytes()[0]);
}

/// Takes the mark off strings that hold UUIDs: they stay the texts that they are, as Spark reads them.
fn keep_uuids_as_text(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let is_uuid = object.get("logicalType").is_some_and(|name| name == "uuid");
            if is_uuid && object.get("type").is_some_and(|name| name == "string") {
                object.remove("logicalType");
            }
            object.values_mut().for_each(keep_uuids_as_text);
        }
        Value::Array(items) => items.iter_mut().for_each(keep_uuids_as_text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn damaged(error: &dyn std::fmt::Display) -> Stop {
    let text = error.to_string();
    Stop::Damaged(format!("the Avro file is damaged: {}", text.chars().take(300).collect::<String>()))
}

fn invalid(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}
