use proptest::prelude::*;

use super::*;
use crate::aws::batch::BatchResponse;
use crate::aws::notice::{read_notices, stored_objects};
use crate::diagnostic::SourceFile;
use crate::error::ErrorKind;
use crate::graph::build;
use crate::model::Pipeline;
use crate::name::{DatasetName, FlowName};
use crate::notices::commit::{StoredCommit, coalesce};
use crate::notices::{EventError, NoticeBatch, StoredObject};
use crate::project::parse;
use crate::report::{FlowReport, Outcome, Report, Retry};

fn urls(document: &str) -> Vec<String> {
    stored_objects(document.as_bytes()).unwrap().iter().map(StoredObject::url).collect()
}

fn wrap(message: &str) -> String {
    serde_json::json!({"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": message}).to_string()
}

fn commit(key: &str) -> Option<(String, u64)> {
    let object = StoredObject { root: "s3://lake".to_owned(), key: key.to_owned() };
    StoredCommit::of(&object).map(|commit| (commit.table.to_string(), commit.version))
}

#[test]
fn each_stored_object_is_read_its_key_decoded() {
    let stored = ["s3://landing/planes/new planes+tails über all.csv", "s3://landing/planes/part=a=b/2.csv"];
    assert_eq!(urls(CREATED), stored);
    assert_eq!(urls(&CREATED.replace("\"ObjectCreated:", "\"s3:ObjectCreated:")), stored);
}

#[test]
fn event_bridge_sends_keys_as_they_are() {
    assert_eq!(urls(EVENT_BRIDGE), ["s3://landing/planes/a+b%20c d.csv"]);
    assert!(urls(&EVENT_BRIDGE.replace("Object Created", "Object Deleted")).is_empty());
}

#[test]
fn a_test_event_says_nothing() {
    assert!(urls(TEST).is_empty());
    assert!(urls(&wrap(TEST)).is_empty());
}

#[test]
fn sns_may_wrap_any_of_them() {
    assert_eq!(urls(SNS), ["s3://lake/bronze/flights_raw/_delta_log/00000000000000000012.json"]);
    assert_eq!(urls(&wrap(CREATED)), urls(CREATED));
    assert_eq!(urls(&wrap(&wrap(EVENT_BRIDGE))), urls(EVENT_BRIDGE));
    let endless = (0..3).fold(CREATED.to_owned(), |message, _| wrap(&message));
    assert!(matches!(stored_objects(endless.as_bytes()), Err(EventError::Unknown { .. })));
}

#[test]
fn what_is_no_notice_is_invalid() {
    let cut = &CREATED[..CREATED.len() / 2];
    let not_text = notice(&["%FF%FE"]);
    for document in [
        "",
        "hello",
        "{}",
        "[]",
        "{\"Records\": 1}",
        "{\"source\": \"aws.s3\", \"detail-type\": \"Object Created\"}",
        cut,
        &not_text,
    ] {
        let error = stored_objects(document.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{document}");
    }
}

#[test]
fn only_entries_of_a_log_are_commits() {
    let log = "bronze/flights/_delta_log/";
    let entry = "00000000000000000007.json";
    assert_eq!(commit(&format!("{log}{entry}")), Some(("flights".to_owned(), 7)));
    assert_eq!(commit(&format!("my/lake/silver/ops.Flights/_delta_log/{entry}")), Some(("ops.flights".to_owned(), 7)));
    assert_eq!(commit(&format!("gold/x__quarantine/_delta_log/{entry}")), Some(("x__quarantine".to_owned(), 7)));
    for other in [
        format!("{log}0000000000000000007.json"),
        format!("{log}000000000000000000007.json"),
        format!("{log}0000000000000000000a.json"),
        format!("{log}+0000000000000000007.json"),
        format!("{log}99999999999999999999.json"),
        format!("{log}00000000000000000007.JSON"),
        format!("{log}00000000000000000007.json.tmp"),
        format!("{log}00000000000000000007.checkpoint.parquet"),
        format!("{log}00000000000000000007.crc"),
        format!("{log}_last_checkpoint"),
        format!("{log}_commits/{entry}"),
        format!("{log}{entry}/"),
        format!("bronze//_delta_log/{entry}"),
        format!("copper/flights/_delta_log/{entry}"),
        format!("flights/_delta_log/{entry}"),
        format!("bronze/flights/_change_data/{entry}"),
        format!("_delta_log/{entry}"),
        entry.to_owned(),
        String::new(),
    ] {
        assert_eq!(commit(&other), None, "{other}");
    }
}

const A: &str = "bronze/a/_delta_log/00000000000000000001.json";
const B: &str = "bronze/b/_delta_log/00000000000000000002.json";
const DATA: &str = "bronze/a/part-0.parquet";

fn batch() -> NoticeBatch {
    let messages = [
        message("a", &notice(&[A])),
        message("again", &notice(&[A, DATA])),
        message("b", &notice(&[B])),
        message("both", &notice(&[B, A])),
        message("data", &notice(&[DATA])),
        message("test", TEST),
        message("poison", "{\"Records\": [{\"secret\": 1}]}"),
    ];
    read_notices(&messages)
}

fn failed_commits(report: &Report) -> Vec<String> {
    batch().failed_commits(report, &pipeline()).into_iter().map(str::to_owned).collect()
}

fn failed_files(report: &Report) -> Vec<String> {
    batch().failed_files(report).into_iter().map(str::to_owned).collect()
}

fn pipeline() -> Pipeline {
    let project =
        parse(&SourceFile::new("pipeline.yml", "name: p\nstorage: lake\n"), &Default::default()).project.unwrap();
    let sql = "CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_files('a', format => 'csv', schema => 'n INT');
               CREATE STREAMING TABLE b AS SELECT * FROM STREAM read_files('b', format => 'csv', schema => 'n INT');
               CREATE STREAMING TABLE from_a AS SELECT * FROM STREAM(a);
               CREATE STREAMING TABLE from_b AS SELECT * FROM STREAM(b);";
    let built = build(&project, &[SourceFile::new("p.sql", sql)]);
    built.pipeline.unwrap_or_else(|| panic!("{:?}", built.diagnostics))
}

fn report(outcomes: &[(&str, Outcome)]) -> Report {
    let flow = |(name, outcome): &(&str, Outcome)| {
        let mut flow = FlowReport::new(FlowName::new(name), DatasetName::new(name), "commits");
        flow.outcome = outcome.clone();
        flow
    };
    Report { flows: outcomes.iter().map(flow).collect(), ..Report::default() }
}

fn retryable() -> Outcome {
    Outcome::Retryable { reason: "the deadline is near".to_owned() }
}

#[test]
fn many_notices_of_one_table_wake_it_once() {
    assert_eq!(batch().tables(), [DatasetName::new("a"), DatasetName::new("b")]);
    assert_eq!(batch().objects().len(), 3);
}

#[test]
fn a_notice_comes_again_when_its_table_was_not_read() {
    let settled = report(&[("from_a", Outcome::Committed { version: 1 }), ("from_b", Outcome::NothingNew)]);
    assert_eq!(failed_commits(&settled), ["poison"]);
    let lost = report(&[("from_a", Outcome::AlreadyApplied), ("from_b", retryable())]);
    assert_eq!(failed_commits(&lost), ["b", "both", "poison"]);
    let kind = ErrorKind::Data;
    let wrong = report(&[("from_a", Outcome::Failed { kind, message: String::new() })]);
    assert_eq!(failed_commits(&wrong), ["a", "again", "both", "poison"]);
    let unheard = report(&[("unheard", retryable())]);
    assert_eq!(failed_commits(&unheard), ["a", "again", "b", "both", "poison"]);
}

#[test]
fn notices_of_files_come_again_when_a_flow_could_not_land_them() {
    assert_eq!(failed_files(&report(&[("a", Outcome::NothingNew)])), ["poison"]);
    let all = ["a", "again", "b", "both", "data", "poison"];
    assert_eq!(failed_files(&report(&[("a", retryable())])), all);
}

#[test]
fn an_answer_is_spelt_as_lambda_reads_it() {
    let retry = |item: &str| Retry { item: item.to_owned(), reason: "later".to_owned() };
    let report = Report { retry: vec![retry("2"), retry("1"), retry("2")], ..Report::default() };
    let answer =
        serde_json::to_string(&BatchResponse::failing(report.retry.iter().map(|retry| retry.item.as_str()))).unwrap();
    assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"1"},{"itemIdentifier":"2"}]}"#);
    assert_eq!(serde_json::to_string(&BatchResponse::default()).unwrap(), r#"{"batchItemFailures":[]}"#);
}

/// As S3 encodes: everything but letters, digits and few others, spaces as `+`, or as `%20` where `plus` is false.
fn encode(key: &str, plus: bool) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'*' => char::from(byte).to_string(),
        b' ' if plus => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    key.bytes().map(encode).collect()
}

proptest! {
    #[test]
    fn any_key_survives_its_encoding(key in "\\PC{0,40}", plus: bool) {
        let document = notice(&[&encode(&key, plus)]);
        let objects = stored_objects(document.as_bytes()).unwrap();
        prop_assert_eq!(objects, [StoredObject { root: "s3://lake".to_owned(), key }]);
    }

    #[test]
    fn coalescing_keeps_the_latest_of_each_table_in_any_order(
        commits in prop::collection::vec(("[abc]", 0_u64..50), 0..40).prop_shuffle()
    ) {
        let stored = commits.iter().map(|(table, version)| StoredCommit { table: DatasetName::new(table), version: *version });
        let tables = coalesce(stored);
        for (table, version) in &commits {
            prop_assert!(tables[&DatasetName::new(table)] >= *version);
        }
        for (table, version) in tables {
            prop_assert!(commits.contains(&(table.to_string(), version)));
        }
    }
}
