//! Bodies of messages.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_core::model::{ReadOptions, RelationSource};
use headwater_core::trigger::Message;
use headwater_lake::engine::arrow_schema;
use headwater_lake::error::LakeError;
use headwater_lake::ingest::{BadRecord, DecodeLimits, Origin, decode_messages, infer_schema, sample_messages};

use crate::{message, pipeline};

/// How events are read, and a body that is one row.
const READS: [(&str, &str); 6] = [
    (
        "format => 'json', schema => 'n INT, s STRING, x DOUBLE, at TIMESTAMP, tags ARRAY<STRING>, place STRUCT<city: STRING, zip: INT>'",
        "{\"n\": 1}",
    ),
    ("format => 'json', schema => 'n INT, s STRING', rescuedDataColumn => '_rescued'", "{\"n\": 1}"),
    ("format => 'json', envelope => 'debezium', schema => 'n INT, s STRING'", "{\"op\": \"c\", \"after\": {\"n\": 1}}"),
    ("format => 'csv', schema => 'n INT, s STRING, at TIMESTAMP'", "1,x,2024-01-01T10:00:00Z"),
    ("format => 'text'", "one"),
    ("format => 'json'", "{\"n\": 1}"),
];

/// The ways of reading, and the columns that the good body gives.
static READERS: LazyLock<Vec<(ReadOptions, &str, SchemaRef)>> =
    LazyLock::new(|| READS.map(|(options, good)| reader(options, good)).to_vec());

const LIMITS: DecodeLimits = DecodeLimits { record_bytes: 1_024, ratio: 100 };

/// A body is rows or put aside with a reason, as the same each time, and what comes before and after it is read; or it has columns
/// that are to be added first. The first byte, a digit, says how it is read.
pub fn check(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let (read, good, columns) = &READERS[usize::from(*first) % READERS.len()];
    let messages = [message("before", good.as_bytes()), message("damaged", body), message("after", good.as_bytes())];
    let decode = || decode_messages(&messages, "events", read, columns, LIMITS);
    let (rows, bad) = match decode() {
        Err(LakeError::NewColumns { .. }) => return,
        decoded => decoded.unwrap(),
    };
    for id in ["before", "after"] {
        assert_eq!((rows_of(&rows, id), bad_of(&bad, id).count()), (1, 0), "what is {id} it, by {read:?}");
    }
    let is_blank = read.envelope.is_some() || body.iter().all(u8::is_ascii_whitespace);
    let found = rows_of(&rows, "damaged") + bad_of(&bad, "damaged").count();
    assert!(found > 0 || is_blank, "it is gone, by {read:?}");
    for record in bad_of(&bad, "damaged") {
        assert!(record.reason.len() > 4, "no reason: {record:?}");
        let is_there = record.raw.is_empty() || body.windows(record.raw.len()).any(|part| part == record.raw);
        assert!(is_there, "not what was sent: {record:?}");
    }
    assert_eq!(decode().unwrap(), (rows, bad), "another time it is something else");
}

fn reader(options: &str, good: &'static str) -> (ReadOptions, &'static str, SchemaRef) {
    let sql = format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', {options})");
    let source = pipeline(&sql).flows[0].query.relations[0].source.clone();
    let RelationSource::Events { read, .. } = source else { panic!("{source:?}") };
    let columns = columns_of(&read, &[message("good", good.as_bytes())]);
    (read, good, columns)
}

fn columns_of(read: &ReadOptions, good: &[Message]) -> SchemaRef {
    if read.schema.is_empty() {
        return infer_schema(&sample_messages(good), read).unwrap();
    }
    let columns = arrow_schema(&read.schema).unwrap();
    let rescued = read.rescued_column.iter().map(|name| Arc::new(Field::new(name, DataType::Utf8, true)));
    Arc::new(Schema::new(columns.fields().iter().cloned().chain(rescued).collect::<Vec<_>>()))
}

/// How many rows came of a message.
fn rows_of(rows: &RecordBatch, id: &str) -> usize {
    let metadata = rows.column_by_name("_metadata").unwrap().as_struct().column_by_name("message_id").unwrap();
    metadata.as_string::<i32>().iter().filter(|found| *found == Some(id)).count()
}

/// The records of a message that can't be decoded.
fn bad_of<'a>(bad: &'a [BadRecord], wanted: &'a str) -> impl Iterator<Item = &'a BadRecord> {
    bad.iter().filter(move |bad| matches!(&bad.origin, Origin::Message { id, .. } if id == wanted))
}
