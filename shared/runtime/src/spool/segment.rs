//! Segment files: the messages of one send.
//!
//! ```text
//! "HWSPOOL1"  count: u32  enqueued: i64 (microseconds since 1970)
//! lengths: count x u32    checksums: count x u32 (CRC-32 of each record)
//! checksum of all that: u32
//! records: length of attributes: u32, attributes as JSON, body
//! ```
//! All numbers are little-endian.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::Crc;
use headwater_core::trigger::Message;
use uuid::Uuid;

use super::NewMessage;
use super::state::{Ranges, Run};
use crate::error::{AtPath, Result, RuntimeError};

const MAGIC: &[u8; 8] = b"HWSPOOL1";
const FIXED: usize = 8 + 4 + 8;
const MAX_MESSAGES: u64 = 16 << 20;
const MAX_RECORD: u64 = 1 << 30;

/// A segment's identity, and how many messages were sent in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) id: Uuid,
    pub(super) count: u32,
}

impl SegmentName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, count) = text.strip_suffix(".seg")?.split_once('.')?;
        Some(Self { id: Uuid::try_parse(id).ok()?, count: count.parse().ok()? })
    }

    pub(super) fn message_id(self, index: u32) -> String {
        format!("{}-{index}", self.id.simple())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.seg", self.id.simple(), self.count)
    }
}

/// The messages that ids stand for; their counts are not known yet.
pub(super) fn ranges<S: AsRef<str>>(ids: &[S]) -> Result<Ranges> {
    let mut parsed = Vec::with_capacity(ids.len());
    for id in ids {
        let id = id.as_ref();
        let (segment, index) = parse_id(id).ok_or_else(|| RuntimeError::UnknownMessage { id: id.to_owned() })?;
        parsed.push((segment, index));
    }
    parsed.sort_unstable();
    parsed.dedup();
    let mut ranges = Ranges::default();
    for (id, index) in parsed {
        ranges.add(SegmentName { id, count: 0 }, index, 1);
    }
    Ok(ranges)
}

fn parse_id(id: &str) -> Option<(Uuid, u32)> {
    let (segment, index) = id.split_once('-')?;
    Some((Uuid::try_parse(segment).ok()?, index.parse().ok()?))
}

/// How many messages there are, if they fit in a segment.
pub(super) fn count(messages: &[NewMessage]) -> Result<u32> {
    if let Some(bytes) = messages.iter().map(|message| message.body.len() as u64).find(|bytes| *bytes > MAX_RECORD) {
        return Err(RuntimeError::TooLarge { what: "message", bytes, limit: MAX_RECORD });
    }
    let many = messages.len() as u64;
    let too_many = RuntimeError::TooLarge { what: "batch", bytes: many, limit: MAX_MESSAGES };
    u32::try_from(many).ok().filter(|many| u64::from(*many) <= MAX_MESSAGES).ok_or(too_many)
}

/// Writes a whole segment and syncs it.
pub(super) fn write(path: &Path, messages: &[NewMessage], now: DateTime<Utc>) -> Result<()> {
    let attributes: Vec<Vec<u8>> = messages.iter().map(|message| encode(&message.attributes)).collect();
    let mut header = Vec::with_capacity(FIXED + messages.len() * 8 + 4);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&length(messages.len()).to_le_bytes());
    header.extend_from_slice(&now.timestamp_micros().to_le_bytes());
    for (message, attributes) in messages.iter().zip(&attributes) {
        header.extend_from_slice(&length(4 + attributes.len() + message.body.len()).to_le_bytes());
    }
    for (message, attributes) in messages.iter().zip(&attributes) {
        header.extend_from_slice(&record_checksum(attributes, &message.body).to_le_bytes());
    }
    let checksum = checksum(&header);
    header.extend_from_slice(&checksum.to_le_bytes());

    let file = File::create_new(path).at("create", path)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    out.write_all(&header).at("write", path)?;
    for (message, attributes) in messages.iter().zip(&attributes) {
        out.write_all(&length(attributes.len()).to_le_bytes()).at("write", path)?;
        out.write_all(attributes).at("write", path)?;
        out.write_all(&message.body).at("write", path)?;
    }
    out.flush().at("write", path)?;
    out.get_ref().sync_all().at("sync", path)
}

fn encode(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    if attributes.is_empty() { Vec::new() } else { serde_json::to_vec(attributes).unwrap_or_default() }
}

fn record_checksum(attributes: &[u8], body: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&length(attributes.len()).to_le_bytes());
    crc.update(attributes);
    crc.update(body);
    crc.sum()
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Lengths were checked against [`MAX_RECORD`], which leaves room for attributes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// An open segment. Damage is a state of it, not an error.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    table: Option<Table>,
}

/// Where records are, what they should be, and when they were sent.
#[derive(Debug)]
struct Table {
    enqueued_at: DateTime<Utc>,
    /// Start of each record in the file, and the end of the last.
    offsets: Vec<u64>,
    checksums: Vec<u32>,
}

/// What reading a run gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: Vec<Message>,
    pub(super) damaged: Vec<u32>,
}

impl Segment {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let table = read_table(&file).at("read", path)?;
        Ok(Self { path: path.to_owned(), file, table })
    }

    /// Whether its table is whole and fits its name.
    pub(super) fn is_sound(&self, name: SegmentName) -> bool {
        self.table.as_ref().is_some_and(|table| table.checksums.len() == name.count as usize)
    }

    /// Stored bytes of a record.
    pub(super) fn length(&self, index: u32) -> u64 {
        self.table.as_ref().map_or(0, |table| table.span(index).1)
    }

    /// Reads a run of messages; `run.count` is the receive count of each.
    pub(super) fn read(&mut self, name: SegmentName, run: &Run) -> Result<Found> {
        let mut found = Found::default();
        let Some(table) = &self.table else {
            found.damaged.extend(run.start..run.end());
            return Ok(found);
        };
        let start = table.span(run.start).0;
        let bytes = self.bytes(start, table.span(run.end() - 1))?;
        for index in run.start..run.end() {
            let (offset, len) = table.span(index);
            let record = record(&bytes, offset - start, len).filter(|record| table.is_intact(index, record));
            match record.and_then(|record| split(&record)) {
                Some((attributes, body)) => found.messages.push(Message {
                    id: name.message_id(index),
                    body,
                    enqueued_at: table.enqueued_at,
                    receive_count: run.count,
                    attributes,
                }),
                None => found.damaged.push(index),
            }
        }
        Ok(found)
    }

    /// Reads a run of messages, with what is left of damaged ones.
    pub(super) fn read_leniently(&mut self, name: SegmentName, run: Run) -> Result<Vec<Message>> {
        let Found { mut messages, damaged } = self.read(name, &run)?;
        for index in damaged {
            let (body, enqueued_at) = match &self.table {
                Some(table) => (self.bytes(table.span(index).0, table.span(index))?, table.enqueued_at),
                None => (Bytes::new(), DateTime::UNIX_EPOCH),
            };
            messages.push(Message {
                id: name.message_id(index),
                body,
                enqueued_at,
                receive_count: run.count,
                attributes: BTreeMap::from([("headwater.damaged".to_owned(), "its checksum is wrong".to_owned())]),
            });
        }
        Ok(messages)
    }

    /// Bytes from `start` to the end of the `last` record, or fewer where the file ends.
    fn bytes(&self, start: u64, last: (u64, u64)) -> Result<Bytes> {
        let len = last.0 + last.1 - start;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start)).at("read", &self.path)?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).at("read", &self.path)?;
        Ok(bytes.into())
    }
}

impl Table {
    /// Offset and length of a record; empty beyond the last.
    fn span(&self, index: u32) -> (u64, u64) {
        let index = index as usize;
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(start), Some(end)) => (*start, end - start),
            _ => (self.offsets.last().copied().unwrap_or(0), 0),
        }
    }

    fn is_intact(&self, index: u32, record: &[u8]) -> bool {
        self.checksums.get(index as usize) == Some(&checksum(record))
    }
}

fn record(bytes: &Bytes, offset: u64, len: u64) -> Option<Bytes> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

fn split(record: &Bytes) -> Option<(BTreeMap<String, String>, Bytes)> {
    let len = u32_at(record, 0)? as usize;
    let attributes = record.get(4..4 + len)?;
    let attributes = if len == 0 { BTreeMap::new() } else { serde_json::from_slice(attributes).ok()? };
    Some((attributes, record.slice(4 + len..)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The table, or `None` if it is damaged.
fn read_table(file: &File) -> std::io::Result<Option<Table>> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut header = Vec::with_capacity(FIXED);
    reader.by_ref().take(FIXED as u64).read_to_end(&mut header)?;
    let Some(count) = u32_at(&header, 8).filter(|_| header.starts_with(MAGIC)) else { return Ok(None) };
    let rest = u64::from(count) * 8 + 4;
    if FIXED as u64 + rest > size {
        return Ok(None);
    }
    reader.take(rest).read_to_end(&mut header)?;
    Ok(parse_table(&header, count as usize))
}

fn parse_table(header: &[u8], count: usize) -> Option<Table> {
    let end = FIXED + count * 8;
    if u32_at(header, end)? != checksum(header.get(..end)?) {
        return None;
    }
    let micros = i64::from_le_bytes(header.get(12..20)?.try_into().ok()?);
    let mut offsets = Vec::with_capacity(count + 1);
    let mut offset = end as u64 + 4;
    offsets.push(offset);
    for index in 0..count {
        offset += u64::from(u32_at(header, FIXED + index * 4)?);
        offsets.push(offset);
    }
    let checksums = (0..count).map(|index| u32_at(header, FIXED + (count + index) * 4)).collect::<Option<_>>()?;
    Some(Table { enqueued_at: DateTime::from_timestamp_micros(micros)?, offsets, checksums })
}
