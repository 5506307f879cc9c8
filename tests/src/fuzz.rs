//! Messages and log entries, damaged at random, go to what decodes events and to what reads commits. Whatever they are: no
//! panic, no hang, nothing beside them is lost, and the same is read the same way twice.
//!
//! `HEADWATER_FUZZ_SECONDS=300` goes on for five minutes each. What links no engine is tried in `tests/fuzz`.

#[path = "../../shared/core/tests/fuzz/mutation.rs"]
mod mutation;

use std::path::Path as Folder;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use headwater_core::error::ErrorKind;
use headwater_core::model::{Pipeline, ReadOptions, RelationSource};
use headwater_core::name::DatasetName;
use headwater_core::report::Outcome;
use headwater_core::trigger::{Cause, Message};
use headwater_lake::engine::arrow_schema;
use headwater_lake::ingest::{BadRecord, DecodeLimits, Origin, decode_messages, infer_schema, sample_messages};
use headwater_runtime::local::FunctionKind;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::mutation::fuzz;
use crate::lakes::{Lab, deliver, lake_of, message, pipeline, tick, wake, well};

/// How events are read, and a body that is one row.
const READS: [(&str, &str); 5] = [
    (
        "format => 'json', schema => 'n INT, s STRING, x DOUBLE, at TIMESTAMP, tags ARRAY<STRING>, place STRUCT<city: STRING, zip: INT>'",
        "{\"n\": 1}",
    ),
    ("format => 'json', schema => 'n INT, s STRING', rescuedDataColumn => '_rescued'", "{\"n\": 1}"),
    ("format => 'json', envelope => 'debezium', schema => 'n INT, s STRING'", "{\"op\": \"c\", \"after\": {\"n\": 1}}"),
    ("format => 'csv', schema => 'n INT, s STRING, at TIMESTAMP'", "1,x,2024-01-01T10:00:00Z"),
    ("format => 'text'", "one"),
];

const BODIES: [&str; 9] = [
    r#"{"n": 12, "s": "a\u00e9\ud83d\ude00", "x": 1.5e3, "at": "2024-01-01T10:00:00.5+02:00", "tags": ["a", null], "place": {"city": "b", "zip": 1}}"#,
    "{\"n\": 1}\n{\"n\": 2, \"new\": {\"deep\": [1, {\"x\": true}]}}\n\n{\"n\": 3}",
    "{\n  \"n\": 7,\n  \"s\": null\n}",
    r#"{"before":null,"after":{"n":1,"s":"a"},"source":{"ts_ms":1,"lsn":5,"schema":"public","table":"t"},"op":"c","ts_ms":2}"#,
    r#"{"schema":{},"payload":{"before":{"n":1},"after":null,"source":{},"op":"d"}}"#,
    "1,one,2024-01-01T10:00:00Z\n2,\"two\nlines, and \"\"quotes\"\"\",\r\n,,\n",
    "3,three\n4,four,2024-01-01,too many\n",
    "[{\"n\": 1}, {\"n\": 2}]",
    "\u{feff}plain text\r\n\0",
];

const BODY_WORDS: [&str; 26] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "null",
    "1e400",
    "-0",
    "NaN",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "9223372036854775808",
    "{\"n\":1}",
    "\"n\":",
    "\"op\":\"u\"",
    "\"\"",
    ";",
    "é",
    "2024-13-40T25:61:61Z",
];

fn limits() -> DecodeLimits {
    DecodeLimits { record_bytes: 4_096, ratio: 100 }
}

/// What a stream of events reads.
fn read_of(options: &str) -> ReadOptions {
    let sql = format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', {options})");
    let source = pipeline(&sql).flows[0].query.relations[0].source.clone();
    let RelationSource::Events { read, .. } = source else { panic!("{source:?}") };
    read
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

fn decode(body: &[u8], (read, good): &(ReadOptions, &str)) {
    let messages = [message("before", good, 1), message("damaged", body, 1), message("after", good, 1)];
    let columns = columns_of(read, &messages[..1]);
    let decode = || decode_messages(&messages, "events", read, &columns, limits()).unwrap();
    let (rows, bad) = decode();
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
    assert_eq!(decode(), (rows, bad), "another time it is something else");
}

#[test]
fn a_damaged_message_is_rows_or_aside() {
    let reads = READS.map(|(options, good)| (read_of(options), good));
    let corpus = BODIES.map(|body| body.as_bytes().to_vec()).to_vec();
    fuzz(corpus, &BODY_WORDS, 512, |body| reads.iter().for_each(|read| decode(body, read)));
}

const TABLES: &str = "
    CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, s STRING');
    CREATE STREAMING TABLE s (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW) AS SELECT n, s FROM STREAM t;";

const ENTRY_WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    "\n",
    "null",
    "-1",
    "1e400",
    "9223372036854775808",
    "\0",
    "{\"add\":{\"path\":\"x\",\"partitionValues\":{},\"size\":1,\"modificationTime\":1,\"dataChange\":true}}",
    "{\"remove\":{\"path\":\"x\",\"dataChange\":true}}",
    "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"x\"],\"writerFeatures\":[\"x\"]}}",
    "{\"txn\":{\"appId\":\"headwater/p/t\",\"version\":-5}}",
    "\"stats\":\"{\\\"numRecords\\\":-3}\"",
    "\\\"minValues\\\":{\\\"n\\\":\\\"x\\\"}",
    "..%2f..%2f",
    "\"deletionVector\":{\"storageType\":\"u\",\"pathOrInlineDv\":\"x\",\"sizeInBytes\":1,\"cardinality\":1}",
    "\"schemaString\":\"{}\"",
    "\"partitionColumns\":[\"n\"]",
    "\\u0000",
    "é",
];

/// Long enough for a function on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the log entry of the table stands that nobody has read.
const NEWEST: &str = "bronze/t/_delta_log/00000000000000000003.json";

/// A lake with a table of four commits, of which silver has read three; and its log entries.
async fn scene(lab: &Lab) -> Vec<Vec<u8>> {
    for n in 0..4 {
        if n == 3 {
            well(tick(&lab.lake(TABLES), FunctionKind::Silver).await);
        }
        let body = format!("{{\"n\": {n}, \"s\": \"text {n}\"}}");
        well(deliver(&lab.lake(TABLES), vec![message(&format!("m{n}"), body, 1)]).await);
    }
    let mut entries = Vec::new();
    for folder in ["bronze/t/_delta_log", "silver/s/_delta_log"] {
        for entry in lab.store.list(Some(&Path::from(folder))).try_collect::<Vec<_>>().await.unwrap() {
            entries.push(lab.store.get(&entry.location).await.unwrap().bytes().await.unwrap().to_vec());
        }
    }
    assert!(lab.store.head(&Path::from(NEWEST)).await.is_ok());
    entries
}

/// Reads a table whose newest log entry is this one, as functions and commands do.
async fn read_entry(store: InMemory, (pipeline, folder): (&Pipeline, &Folder), entry: &[u8]) {
    store.put(&Path::from(NEWEST), entry.to_vec().into()).await.unwrap();
    let lake = lake_of(pipeline, folder, Arc::new(store));
    for flow in wake(&lake, FunctionKind::Silver, Cause::Timer(Vec::new())).await.flows {
        if let Outcome::Failed { kind, message } = flow.outcome {
            assert!(kind != ErrorKind::Internal && !message.contains("panicked"), "{message}");
        }
    }
    let table = match lake.table(&DatasetName::new("t")).await {
        Ok(table) => table.unwrap(),
        Err(error) => return assert!(error.kind() != ErrorKind::Internal, "{error}"),
    };
    for file in table.files().await.unwrap_or_default() {
        let _ = (file.num_records(), file.min("n"), file.max("s"), file.modified(), file.size(), file.partition());
    }
    let _ = (table.history(10).await, table.totals().await);
    let _ = table.changes(None, table.version()).await;
    let _ = lake.preview(&DatasetName::new("t"), 5).await;
}

#[test]
fn a_damaged_log_entry_is_read_or_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = Lab::new();
    let entries = runtime.block_on(scene(&lab));
    let pipeline = pipeline(TABLES);
    fuzz(entries, &ENTRY_WORDS, 64, |entry| {
        let read = Box::pin(read_entry(lab.store.fork(), (&pipeline, lab.folder.path()), entry));
        runtime.block_on(async { tokio::time::timeout(PATIENCE, read).await }).expect("an end");
    });
}
