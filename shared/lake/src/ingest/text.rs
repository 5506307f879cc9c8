//! Text to rows, in chunks of bounded memory: of whole files, or of parts that end between two records.

use std::io::Read;

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use headwater_core::model::{CsvOptions, Format};
use headwater_core::parts::{Access, Position};

use super::compression::Compression;
use super::decode::Decoder;
use super::files::{BYTE_ORDER_MARK, damaged, file_schema, origin, with_metadata};
use super::ranges::{CHUNK, RangeReader, Ranges, Stop};
use super::records::{Cutter, Record, begins_with_list};
use super::{BadRecord, FileDecoder, FoundFile};
use crate::error::{LakeError, Result};
use crate::lake::Lake;

/// Which part of a text, or of a file of columns, is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextPart {
    /// Where it begins.
    pub(crate) from: Position,
    /// It ends after the record, row group or block that brings it to so many bytes.
    pub(crate) bytes: u64,
    /// It doesn't end before this byte of the file.
    pub(crate) at_least: u64,
    /// It ends when this moment has come, with what it has.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The place.
    pub(crate) at: Position,
    /// Nothing follows it.
    pub(crate) is_end: bool,
}

impl Reached {
    /// The end of a file that isn't told by records.
    pub(super) fn end_of(file: &FoundFile) -> Self {
        Self { at: Position { bytes: file.size, ..Position::default() }, is_end: true }
    }
}

impl TextPart {
    /// Whether what was read up to a place where it may end is enough.
    pub(super) fn is_enough(&self, at: Position) -> bool {
        let has_bytes = at.bytes.saturating_sub(self.from.bytes) >= self.bytes;
        let is_late = self.until.is_some_and(|until| Lake::now() >= until);
        at.bytes > self.from.bytes && at.bytes >= self.at_least && (has_bytes || is_late)
    }

    pub(super) fn chunk(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(CHUNK).clamp(1, CHUNK)
    }
}

/// The text of a file from some place on.
struct Text {
    input: Box<dyn Read>,
    /// The beginning of the file, where it tells how what follows is read and the text begins behind it.
    head: Option<Vec<u8>>,
}

impl FoundFile {
    /// How its bytes can be read.
    pub(crate) fn access(&self) -> Access {
        match Compression::of(&self.location) {
            Compression::None => Access::Random,
            Compression::Gzip | Compression::Zstd | Compression::Bzip2 => Access::Sequential,
        }
    }
}

impl FileDecoder {
    pub(super) fn text(
        &self,
        ranges: &Ranges,
        part: Option<&TextPart>,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<Option<Reached>> {
        let (file, compression) = (ranges.file(), Compression::of(&ranges.file().location));
        let mut give_up = |reason| {
            emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
            Ok(Some(Reached::end_of(file)))
        };
        if compression != Compression::None
            && part.is_none()
            && let Some(reason) = self.verify(ranges, compression)?
        {
            return give_up(reason);
        }
        let from = part.map_or(0, |part| part.from.bytes);
        match self.text_from(ranges, compression, from) {
            Ok(text) => self.chunks((ranges, part), text, emit),
            Err(error) => give_up(stopped(ranges, part, &error)?),
        }
    }

    /// Why a compressed file isn't whole, if it isn't.
    fn verify(&self, ranges: &Ranges, compression: Compression) -> Result<Option<String>> {
        let input = RangeReader::new(ranges.clone(), self.runtime.clone());
        let mut decoder = compression.open(input).map_err(|error| unreadable(ranges, &error))?;
        let limit = self.grown(ranges.file());
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0_u64;
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => total += read as u64,
                Err(error) => {
                    return match ranges.stop(cut_short(&error)) {
                        Stop::Damaged(reason) => Ok(Some(reason)),
                        Stop::Unreadable(error) => Err(error),
                    };
                }
            }
            if total > limit {
                return Ok(Some(self.grows()));
            }
        }
    }

    /// Bytes that a compressed file may become.
    fn grown(&self, file: &FoundFile) -> u64 {
        file.size.max(1).saturating_mul(self.limits.ratio).max(CHUNK as u64)
    }

    fn grows(&self) -> String {
        format!("the file grows to more than {} times its size", self.limits.ratio)
    }

    /// The text from a byte on. Of a compressed file, what stands before it is decompressed again.
    fn text_from(&self, ranges: &Ranges, compression: Compression, from: u64) -> std::io::Result<Text> {
        let tells = matches!(self.read.format, Format::Csv(CsvOptions { header: true, .. }) | Format::JsonDocument);
        let wants_head = tells && from > 0;
        let start = || RangeReader::new(ranges.clone(), self.runtime.clone());
        if compression == Compression::None {
            let head = if wants_head { Some(self.head(&mut start(), from)?) } else { None };
            return Ok(Text { input: Box::new(start().starting_at(from)), head });
        }
        let mut input = compression.open(start())?;
        let head = if wants_head { Some(self.head(&mut input, from)?) } else { None };
        let skipped = from - head.as_ref().map_or(0, |head| head.len() as u64);
        let passed = std::io::copy(&mut input.by_ref().take(skipped), &mut std::io::sink())?;
        if passed < skipped {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Text { input, head })
    }

    /// The beginning of a text with its header, or with a byte that isn't blank, at most up to a byte where a record ends.
    fn head(&self, input: &mut dyn Read, end: u64) -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        loop {
            let chunk = (end - head.len() as u64).min(CHUNK as u64);
            let read = Read::take(&mut *input, chunk).read_to_end(&mut head)?;
            let is_whole = read == 0 || head.len() as u64 == end;
            let text = unmarked(&head);
            let is_enough = match self.read.format {
                Format::JsonDocument => begins_with_list(text).is_some(),
                _ => !Cutter::new(&self.read.format, self.limits.record_bytes).cut(text, is_whole).0.is_empty(),
            };
            if is_whole || is_enough {
                return Ok(head);
            }
        }
    }

    fn chunks(
        &self,
        (ranges, part): (&Ranges, Option<&TextPart>),
        Text { mut input, head }: Text,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<Option<Reached>> {
        let file = ranges.file();
        let mut at = part.map_or_else(Position::default, |part| part.from);
        let chunk = part.map_or(CHUNK, TextPart::chunk);
        let most = if file.access() == Access::Sequential { self.grown(file) } else { u64::MAX };
        let mut cutter = Cutter::new(&self.read.format, self.limits.record_bytes).after_lines(at.lines);
        if let Some(head) = &head {
            cutter = cutter.behind(unmarked(head));
        }
        let mut decoder = self.decoder_by_head(file, head)?;
        let mut text = Vec::with_capacity(chunk * 2);
        loop {
            let (is_last, trouble) = match input.by_ref().take(chunk as u64).read_to_end(&mut text) {
                Ok(_) if at.bytes + text.len() as u64 > most => (false, Some(self.grows())),
                Ok(read) => (read == 0, None),
                Err(error) => (false, Some(stopped(ranges, part, &error)?)),
            };
            if at.bytes == 0 && text.starts_with(BYTE_ORDER_MARK) {
                at.bytes += text.drain(..BYTE_ORDER_MARK.len()).len() as u64;
            }
            let (mut records, end) = cutter.cut(&text, is_last);
            if !records.is_empty() {
                let decoder = match &mut decoder {
                    Some(decoder) => decoder,
                    none => none.insert(self.decoder(file, &text, &mut records)?),
                };
                let before = i64::try_from(at.rows).unwrap_or(i64::MAX);
                let (rows, bad) = self.decode_chunk(file, decoder, &text, (records, before))?;
                at.rows += rows.num_rows() as u64;
                if !emit(rows, bad) {
                    return Ok(None);
                }
            }
            at = Position { bytes: at.bytes + end as u64, lines: cutter.lines(), ..at };
            text.drain(..end);
            if let Some(reason) = trouble {
                emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
                return Ok(Some(Reached { at, is_end: true }));
            }
            let Some(part) = part.filter(|_| !is_last && cutter.is_between_records()) else {
                if is_last {
                    return Ok(Some(Reached { at, is_end: true }));
                }
                continue;
            };
            let is_end = file.access() == Access::Random && at.bytes >= file.size && !cutter.is_in_list();
            if is_end || part.is_enough(at) {
                return Ok(Some(Reached { at, is_end }));
            }
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
        Ok((with_metadata(bulk.rows, file, before..)?, bad.collect()))
    }

    /// The decoder of a text that begins behind its header.
    fn decoder_by_head(&self, file: &FoundFile, head: Option<Vec<u8>>) -> Result<Option<Decoder>> {
        let (Some(head), Format::Csv(_)) = (head, &self.read.format) else { return Ok(None) };
        let text = unmarked(&head);
        let (mut records, _) = Cutter::new(&self.read.format, self.limits.record_bytes).cut(text, true);
        if records.is_empty() {
            return Ok(None);
        }
        self.decoder(file, text, &mut records).map(Some)
    }

    /// The decoder of a file; a CSV header is taken off the records. One that names no column at all is one in other
    /// words, and columns are found by position.
    fn decoder(&self, file: &FoundFile, text: &[u8], records: &mut Vec<Record>) -> Result<Decoder> {
        let (read, columns, origin) = (&self.read, &self.columns, Some(file.path.as_str()));
        let by_name = match &read.format {
            Format::Csv(CsvOptions { header: true, .. }) => {
                let first = records.remove(0);
                if memchr::memchr(b'\r', &text[first.range.clone()]).is_some() {
                    records.insert(0, Record { fault: Some(CARRIAGE_RETURNS), ..first });
                    return Ok(Decoder::new(read, columns, origin));
                }
                let header = first.range;
                let end = records.last().map_or(header.end, |last| last.range.end);
                let sample = &text[header.start..end];
                Decoder::with_header(read, columns, (&text[header], sample), origin)?
            }
            _ => None,
        };
        Ok(by_name.unwrap_or_else(|| Decoder::new(read, columns, origin)))
    }
}

/// Why a header isn't one.
const CARRIAGE_RETURNS: &str = "a carriage return stands in the header: write each line's end as a line feed";

/// Text without what may mark it as UTF-8.
fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

fn cut_short(error: &std::io::Error) -> String {
    format!("the compressed file can't be read to its end: {error}")
}

/// Why reading ended before a file did, where what was read before counts all the same: in a part.
fn stopped(ranges: &Ranges, part: Option<&TextPart>, error: &std::io::Error) -> Result<String> {
    match ranges.stop(cut_short(error)) {
        Stop::Damaged(reason) if part.is_some() => Ok(reason),
        Stop::Damaged(_) => Err(unreadable(ranges, error)),
        Stop::Unreadable(error) => Err(error),
    }
}

fn unreadable(ranges: &Ranges, error: &std::io::Error) -> LakeError {
    match ranges.stop(error.to_string()) {
        Stop::Unreadable(error) => error,
        Stop::Damaged(reason) => {
            let source = object_store::Error::Generic { store: "files", source: reason.into() };
            LakeError::Storage { action: "can't read", path: ranges.file().path.clone(), source }
        }
    }
}
