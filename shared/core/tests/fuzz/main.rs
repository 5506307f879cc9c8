//! Texts of a corpus, damaged at random, go to everything in core that reads what others have written: SQL, project files,
//! invocations and notices of both clouds, changes in their envelopes. No text may panic, each finding has a place inside the
//! text, and the same text is read the same way twice.
//!
//! A failure is shrunk to few damages and printed. `HEADWATER_FUZZ_SECONDS=300 cargo test -p headwater-core --test fuzz` goes
//! on for five minutes a reader, rather than for 2,048 texts.
#![cfg(test)]

mod deep;
mod mutation;

use std::collections::BTreeMap;
use std::fmt::Debug;

use headwater_core::aws::Invocation;
use headwater_core::aws::notice::stored_objects;
use headwater_core::azure::{self, Function, TriggerKind};
use headwater_core::diagnostic::{Diagnostic, SourceFile};
use headwater_core::envelope::{Content, Envelope};
use headwater_core::{graph, project, sql};
use serde_json::value::RawValue;

use crate::mutation::fuzz;

/// Texts for each reader, unless it is told how long it goes on.
const CASES: u32 = 2_048;

const PROJECT: &str = "name: p\nstorage: lake\ncatalog: main\nschema: default\nconfiguration:\n  limit: 10\nlibraries:\n  \
                       - glob: {include: sql/**}\nsources:\n  events: {spool: events}\n  orders: {sqs: https://sqs.eu-west-1.amazonaws.com/1/q}\n\
                       roots:\n  /Volumes/main/raw: data\ntables:\n  delta.logRetentionDuration: interval 2 days\ntarget_file_size: 32MB\n\
                       max_batch_messages: 5000\nmemory_limit: 1GB\ncompact_min_files: 4\n";

const SQL_WORDS: [&str; 40] = [
    " STREAM ",
    "STREAM(",
    " SELECT ",
    " FROM ",
    " AS ",
    ";",
    "(",
    ")",
    "'",
    "\"",
    "`",
    "--",
    "/*",
    "*/",
    "${limit}",
    "${",
    ":limit",
    "IDENTIFIER(",
    " LIVE.",
    " CONSTRAINT c EXPECT (n > 0) ON VIOLATION ",
    " WATERMARK at DELAY OF INTERVAL 1 HOUR ",
    "r'",
    "\\u0041",
    " AUTO CDC INTO ",
    " KEYS ",
    " SEQUENCE BY ",
    " COLUMNS * EXCEPT ",
    " INTERVAL ",
    " UNION ALL ",
    " WITH ",
    ",",
    ".",
    "::",
    "<=>",
    "->",
    " BETWEEN ",
    " CASE WHEN ",
    "é",
    "\u{feff}",
    "\0",
];
const YAML_WORDS: [&str; 20] = [
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: ",
    "|\n",
    ">-\n",
    "!!binary ",
    "\"",
    "'",
    "#",
    "---\n",
    "\t",
    "é",
];
const JSON_WORDS: [&str; 20] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "1e400",
    "-0",
    "\\ud800",
    "\\u0000",
    "{\"Records\":[",
    "\"eventSource\":\"aws:s3\"",
    "%2e%2e%2f",
    "+",
    "\"Data\":",
    "9223372036854775808",
    "é",
    "\0",
];

fn statements() -> Vec<Vec<u8>> {
    let files = [include_str!("../../src/sql/corpus/accepted.sql"), include_str!("../../src/sql/corpus/refused.sql")];
    let statements = files.into_iter().flat_map(|file| file.split_inclusive(";\n"));
    statements.map(|statement| statement.as_bytes().to_vec()).collect()
}

fn documents() -> Vec<Vec<u8>> {
    let aws = [
        include_str!("../../src/aws/tests/documents/event-bridge.json"),
        include_str!("../../src/aws/tests/documents/s3-created.json"),
        include_str!("../../src/aws/tests/documents/scheduled.json"),
        include_str!("../../src/aws/tests/documents/sns.json"),
        include_str!("../../src/aws/tests/documents/sqs-fifo.json"),
        include_str!("../../src/aws/tests/documents/sqs-standard.json"),
    ];
    let azure = [
        r#"{"Data":{"item":"[{\"id\":1}]"},"Metadata":{"PartitionContext":{"PartitionId":"3","EventHubName":"h"},"SequenceNumberArray":"[41]","EnqueuedTimeUtcArray":"[\"2026-11-21T10:00:00Z\"]","PropertiesArray":"[{}]","SystemPropertiesArray":"[{}]"}}"#,
        r#"{"Data":{"item":{"eventType":"Microsoft.Storage.BlobCreated","data":{"api":"PutBlob","url":"https://a.blob.core.windows.net/c/a%20b.csv"}}},"Metadata":{"DequeueCount":"1","Id":"\"4c1f\""}}"#,
        r#"{"Data":{"timer":{"Schedule":{},"IsPastDue":false}},"Metadata":{"sys":{"UtcNow":"2026-11-21T10:00:02Z"}}}"#,
    ];
    aws.into_iter().chain(azure).map(|document| document.as_bytes().to_vec()).collect()
}

/// Each finding can be shown, and has its place in the file.
fn shown(findings: &[Diagnostic], text: &str) -> Vec<String> {
    let show = |finding: &Diagnostic| {
        if let Some(span) = &finding.span {
            assert!(text.get(span.range.clone()).is_some(), "{finding} is at {:?} of {}", span.range, text.len());
            let _ = span.line_column();
        }
        finding.to_string()
    };
    findings.iter().map(show).collect()
}

pub(crate) fn read_sql(text: &str) -> Vec<String> {
    let project = project::parse(&SourceFile::new("pipeline.yml", PROJECT), &BTreeMap::new()).project.unwrap();
    let file = SourceFile::new("sql/a.sql", text);
    let parsed = sql::parse_file(&file, &project.configuration);
    let mut findings = shown(&parsed.diagnostics, text);
    findings.extend(shown(&graph::build(&project, &[file]).diagnostics, text));
    findings
}

fn read_project(text: &str) -> Vec<String> {
    let parsed = project::parse(&SourceFile::new("pipeline.yml", text), &BTreeMap::new());
    assert!(parsed.project.is_some() || !parsed.diagnostics.is_empty(), "refused without a word");
    shown(&parsed.diagnostics, text)
}

fn read_documents(document: &[u8]) -> Vec<String> {
    let function =
        |trigger, is_binary| Function { name: "f".to_owned(), trigger, binding: "item".to_owned(), is_binary };
    let functions = [
        function(TriggerKind::Queue, false),
        function(TriggerKind::EventHub, false),
        function(TriggerKind::EventHub, true),
        function(TriggerKind::Timer, false),
    ];
    let azure = functions.iter().map(|function| line(azure::Invocation::read(document, function)));
    [line(Invocation::read(document)), line(stored_objects(document))].into_iter().chain(azure).collect()
}

fn line<T: Debug, E: Debug>(read: Result<T, E>) -> String {
    match read {
        Ok(read) => format!("{read:?}"),
        Err(error) => format!("{error:?}"),
    }
}

/// Changes in the envelope of Debezium: with a schema section and without, and a tombstone.
fn changes() -> Vec<Vec<u8>> {
    let changes = [
        r#"{"before":null,"after":{"id":1,"name":"a","deep":{"x":[1,2,{"y":null}]}},"source":{"ts_ms":1732184000000,"lsn":24023128,"schema":"public","table":"t"},"op":"c","ts_ms":1732184000123}"#,
        r#"{"schema":{"type":"struct","fields":[]},"payload":{"before":{"id":1},"after":{"id":1,"big":"__debezium_unavailable_value"},"source":{"db":"d","table":"t"},"op":"u","ts_ms":1}}"#,
        r#"{"before":{"id":1},"after":null,"source":{},"op":"d"}"#,
        r#"{"op":"t","source":{"table":"t"},"ts_ms":-1}"#,
        "null",
    ];
    changes.into_iter().map(|change| change.as_bytes().to_vec()).collect()
}

/// What a record is, and the row that is taken out of it.
fn unwrapped(record: &[u8]) -> (Content, Vec<u8>) {
    const BEFORE: &[u8] = b"what is there before";
    let mut text = BEFORE.to_vec();
    let content = Envelope::Debezium.unwrap(record, &mut text);
    let row = text.strip_prefix(BEFORE).unwrap().to_vec();
    match content {
        Content::Row => {
            let object = serde_json::from_slice::<&RawValue>(&row).unwrap();
            assert!(object.get().starts_with('{'), "a row is an object: {object}");
            assert!(!row.contains(&b'\n') || record.contains(&b'\n'), "a row is one line where its record is");
        }
        Content::Nothing | Content::Fault(_) => assert_eq!(row, b"", "no row is nothing"),
    }
    (content, row)
}

#[test]
fn sql_is_read_or_refused() {
    fuzz(statements(), &SQL_WORDS, CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(read_sql(&text), read_sql(&text));
    });
}

#[test]
fn a_project_file_is_read_or_refused() {
    fuzz(vec![PROJECT.as_bytes().to_vec()], &YAML_WORDS, CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(read_project(&text), read_project(&text));
    });
}

#[test]
fn what_a_cloud_hands_over_is_read_or_refused() {
    fuzz(documents(), &JSON_WORDS, CASES, |bytes| assert_eq!(read_documents(bytes), read_documents(bytes)));
}

#[test]
fn a_change_in_its_envelope_is_a_row_or_refused() {
    fuzz(changes(), &JSON_WORDS, CASES, |bytes| assert_eq!(unwrapped(bytes), unwrapped(bytes)));
}
