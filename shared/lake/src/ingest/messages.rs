//! Messages to rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use headwater_core::hub::{PARTITION, SEQUENCE_NUMBER};
use headwater_core::model::{CsvOptions, Format, ReadOptions};
use headwater_core::provenance::METADATA;
use headwater_core::trigger::Message;
use memchr::memchr;

use super::decode::Decoder;
use super::files::BYTE_ORDER_MARK;
use super::json::json_shape;
use super::records::{Cutter, Record, record};
use super::sample::Sample;
use super::{BadRecord, DecodeLimits, Origin};
use crate::error::{LakeError, Result};

/// `_metadata` of a row that came in a message.
fn metadata_fields() -> Fields {
    Fields::from(vec![
        Field::new("message_id", DataType::Utf8, true),
        Field::new("enqueued_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("source", DataType::Utf8, true),
        Field::new("attributes", DataType::Utf8, true),
        Field::new("partition", DataType::Utf8, true),
        Field::new("sequence_number", DataType::Int64, true),
    ])
}

/// The columns of decoded messages: the body's, then `_metadata` (message id, time of sending,
/// source, attributes as JSON, and of an event of a hub its partition and number there), which is the same on each redelivery.
#[must_use]
pub fn message_schema(columns: &SchemaRef) -> SchemaRef {
    let metadata = Arc::new(Field::new(METADATA, DataType::Struct(metadata_fields()), true));
    Arc::new(Schema::new(columns.fields().iter().cloned().chain([metadata]).collect::<Vec<_>>()))
}

/// Decodes messages; a body may hold several records, one a line. Where CSV has headers, each message may have its own;
/// a first line that names no column is a record.
///
/// # Errors
/// [`LakeError::NewColumns`] where fields without a column are to be told; `Internal` otherwise: what can't be decoded
/// is returned.
pub fn decode_messages(
    messages: &[Message],
    source: &str,
    read: &ReadOptions,
    columns: &SchemaRef,
    limits: DecodeLimits,
) -> Result<(RecordBatch, Vec<BadRecord>)> {
    if read.format == Format::Raw {
        let bodies = BinaryArray::from_iter_values(messages.iter().map(|message| message.body.as_ref()));
        let owners: Vec<usize> = (0..messages.len()).collect();
        return Ok((with_metadata(vec![Arc::new(bodies)], &owners, messages, source, columns)?, Vec::new()));
    }
    let mut text = Vec::with_capacity(messages.iter().map(|message| message.body.len() + 1).sum());
    let (mut groups, mut starts, mut bad) = (Groups::default(), Vec::with_capacity(messages.len()), Vec::new());
    for message in messages {
        let offset = text.len();
        starts.push(offset);
        let body = message.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&message.body);
        text.extend_from_slice(body);
        text.push(b'\n');
        let found = body_records(body, &read.format, limits.record_bytes);
        if found.is_empty() && read.envelope.is_none() {
            bad.push(bad_record(message, source, 1, "the message is empty".into(), &message.body));
        }
        let moved = |record: Record| Record { range: record.range.start + offset..record.range.end + offset, ..record };
        groups.add(&text, found.into_iter().map(moved).collect(), (read, columns))?;
    }
    let (mut batches, mut owners) = (Vec::new(), Vec::new());
    for (decoder, records) in groups.0.into_values() {
        let bulk = match &read.rescued_column {
            Some(column) => decoder.decode_rescuing(&text, records, limits.record_bytes, column)?,
            None => decoder.decode(&text, records, limits.record_bytes)?,
        };
        let owner = |index: usize| starts.partition_point(|start| *start <= bulk.records[index].range.start) - 1;
        bad.extend(bulk.bad.into_iter().map(|(index, reason)| {
            let record = &bulk.records[index];
            let raw = &text[record.range.clone()];
            let raw = &raw[..raw.len().min(limits.record_bytes)];
            bad_record(&messages[owner(index)], source, record.line, reason, raw)
        }));
        owners.extend(bulk.good.iter().map(|index| owner(*index)));
        batches.push(bulk.rows);
    }
    let rows = concat_batches(columns, &batches).map_err(LakeError::arrow)?;
    Ok((with_metadata(rows.columns().to_vec(), &owners, messages, source, columns)?, bad))
}

/// Records of messages by the header that they stand under, which is empty where there is none.
#[derive(Default)]
struct Groups(BTreeMap<Vec<u8>, (Decoder, Vec<Record>)>);

impl Groups {
    /// Adds the records of a message, its header taken off.
    fn add(
        &mut self,
        text: &[u8],
        mut records: Vec<Record>,
        (read, columns): (&ReadOptions, &SchemaRef),
    ) -> Result<()> {
        let (header, sample): (&[u8], &[u8]) = match (&read.format, records.first(), records.last()) {
            (Format::Csv(CsvOptions { header: true, .. }), Some(first), Some(last)) => {
                (&text[first.range.clone()], &text[first.range.start..last.range.end])
            }
            _ => (&[], &[]),
        };
        if let Some((_, same)) = self.0.get_mut(header).filter(|_| !header.is_empty()) {
            same.extend(records.drain(1..));
            return Ok(());
        }
        match Decoder::with_header(read, columns, (header, sample), None)? {
            Some(decoder) => drop(self.0.insert(header.to_vec(), (decoder, records.split_off(1)))),
            None => {
                let new = || (Decoder::new(read, columns, None), Vec::new());
                self.0.entry(Vec::new()).or_insert_with(new).1.append(&mut records);
            }
        }
        Ok(())
    }
}

/// The records of a body: a JSON object over any number of lines, or one record a line.
fn body_records(body: &[u8], format: &Format, record_bytes: usize) -> Vec<Record> {
    let is_json = matches!(format, Format::Json | Format::JsonDocument);
    let is_one = is_json && memchr(b'\n', body).is_some() && json_shape(body).fault.is_none();
    if is_one {
        return record(body, 0..body.len(), 1, format).into_iter().collect();
    }
    Cutter::new(format, record_bytes).cut(body, true).0
}

/// Bodies to infer a schema from.
#[must_use]
pub fn sample_messages(messages: &[Message]) -> Sample {
    Sample::of_texts(messages.iter().take(1_000).map(|message| message.body.to_vec()).collect())
}

fn with_metadata(
    mut columns: Vec<ArrayRef>,
    owners: &[usize],
    messages: &[Message],
    source: &str,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let of = |owner: &usize| &messages[*owner];
    let ids = StringArray::from_iter_values(owners.iter().map(|owner| of(owner).id.as_str()));
    let times = TimestampMicrosecondArray::from_iter_values(
        owners.iter().map(|owner| of(owner).enqueued_at.timestamp_micros()),
    );
    let sources = StringArray::from_iter_values(owners.iter().map(|_| source));
    let attributes: StringArray = owners.iter().map(|owner| attributes(of(owner))).collect();
    let partitions: StringArray = owners.iter().map(|owner| of(owner).attributes.get(PARTITION)).collect();
    let numbers: Int64Array = owners.iter().map(|owner| sequence_number(of(owner))).collect();
    let values: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(sources),
        Arc::new(attributes),
        Arc::new(partitions),
        Arc::new(numbers),
    ];
    columns.push(Arc::new(StructArray::try_new(metadata_fields(), values, None).map_err(LakeError::arrow)?));
    RecordBatch::try_new(message_schema(schema), columns).map_err(LakeError::arrow)
}

fn attributes(message: &Message) -> Option<String> {
    (!message.attributes.is_empty()).then(|| serde_json::to_string(&message.attributes).unwrap_or_default())
}

fn sequence_number(message: &Message) -> Option<i64> {
    message.attributes.get(SEQUENCE_NUMBER)?.parse().ok()
}

fn bad_record(message: &Message, source: &str, line: u64, reason: String, raw: &[u8]) -> BadRecord {
    let origin = Origin::Message {
        id: message.id.clone(),
        enqueued_at: message.enqueued_at,
        source: source.to_owned(),
        attributes: attributes(message),
        partition: message.attributes.get(PARTITION).cloned(),
        sequence_number: sequence_number(message),
    };
    BadRecord { reason, raw: bytes::Bytes::copy_from_slice(raw), position: format!("{}:{line}", message.id), origin }
}
