//! Metrics, held to the rules of the embedded metric format's specification.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::aws::metrics::Occasion;
use crate::error::ErrorKind;
use crate::name::{DatasetName, FlowName};
use crate::report::{FlowReport, Outcome, Rows};

const UNITS: [&str; 2] = ["Count", "Milliseconds"];

fn sent_at() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_700_000_000_000).unwrap()
}

fn occasion(pipeline: &str) -> Occasion<'_> {
    Occasion { pipeline, function: "silver", sent_at: Some(sent_at()) }
}

fn report(flow: &str, outcome: Outcome) -> FlowReport {
    let mut report = FlowReport::new(FlowName::new(flow), DatasetName::new("orders"), "commits");
    report.outcome = outcome;
    report
}

/// What the specification asks of a document, each rule that can be broken by one.
fn check(document: &Value) {
    assert!(document.to_string().len() < 1 << 20);
    let header = &document["_aws"];
    assert!(header["Timestamp"].is_u64());
    for directive in header["CloudWatchMetrics"].as_array().unwrap() {
        let namespace = directive["Namespace"].as_str().unwrap();
        assert!((1..=1024).contains(&namespace.len()) && !namespace.starts_with("AWS/"));
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for dimension in sets.iter().flat_map(|set| set.as_array().unwrap()) {
            let key = dimension.as_str().unwrap();
            let value = document[key].as_str().unwrap_or_else(|| panic!("{key} is no text of the document"));
            assert!((1..=250).contains(&value.len()), "{key}: {value}");
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{key}: {value}");
            assert!(!value.trim().is_empty() && !value.starts_with(':'), "{key}: {value}");
        }
        assert!(sets.iter().all(|set| set.as_array().unwrap().len() <= 30));
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!(metrics.len() <= 100);
        let names: BTreeSet<_> = metrics.iter().map(|metric| metric["Name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), metrics.len());
        for metric in metrics {
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
            assert!(document[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
    }
}

#[test]
fn a_batch_is_one_document() {
    let mut flow = report("orders", Outcome::Committed { version: 7 });
    flow.rows = Rows { read: 10, written: 7, dropped: 2, quarantined: 3, late: 0, duplicate: 1 };
    (flow.attempts, flow.millis) = (3, 41);
    let document = occasion("shop").flow_metrics(&flow, sent_at() + TimeDelta::milliseconds(1500)).unwrap();
    check(&document);
    let counts = json!([
        {"Name": "RowsRead", "Unit": "Count"}, {"Name": "RowsWritten", "Unit": "Count"},
        {"Name": "Duration", "Unit": "Milliseconds"}, {"Name": "Lag", "Unit": "Milliseconds"},
        {"Name": "RowsDropped", "Unit": "Count"}, {"Name": "RowsQuarantined", "Unit": "Count"},
        {"Name": "RowsDuplicate", "Unit": "Count"}, {"Name": "CommitRetries", "Unit": "Count"},
    ]);
    let directive =
        json!({"Namespace": "Headwater", "Dimensions": [["Pipeline", "Function", "Flow"]], "Metrics": counts});
    let expected = json!({
        "_aws": {"Timestamp": 1_700_000_001_500_u64, "CloudWatchMetrics": [directive]},
        "Pipeline": "shop", "Function": "silver", "Flow": "orders",
        "RowsRead": 10, "RowsWritten": 7, "RowsDropped": 2, "RowsQuarantined": 3, "RowsDuplicate": 1,
        "CommitRetries": 2, "Duration": 41, "Lag": 1500,
        "dataset": "orders", "outcome": "committed",
    });
    assert_eq!(document, expected);
}

#[test]
fn what_had_nothing_to_do_costs_nothing() {
    for outcome in [Outcome::NothingNew, Outcome::AlreadyApplied] {
        assert_eq!(occasion("shop").flow_metrics(&report("orders", outcome), sent_at()), None);
    }
}

#[test]
fn a_failure_is_counted_and_its_words_stay_out() {
    let message = "`card` 4111-1111 is no number".to_owned();
    let failed = report("orders", Outcome::Failed { kind: ErrorKind::Data, message });
    let document = occasion("shop").flow_metrics(&failed, sent_at()).unwrap();
    check(&document);
    assert_eq!((&document["Failures"], &document["outcome"]), (&json!(1), &json!("failed")));
    assert!(!document.to_string().contains("4111"), "{document}");

    let cut = report("orders", Outcome::Retryable { reason: "the deadline came".to_owned() });
    let document = occasion("shop").flow_metrics(&cut, sent_at()).unwrap();
    check(&document);
    assert_eq!((&document["Unfinished"], &document["RowsWritten"]), (&json!(1), &Value::Null));
}

#[test]
fn a_cold_start_is_the_functions_own() {
    let document = occasion("shop").cold_start(sent_at());
    check(&document);
    assert_eq!(document["ColdStart"], 1);
    assert_eq!(document["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Pipeline", "Function"]]));
}

proptest! {
    #[test]
    fn any_names_and_clocks_make_a_document_that_cloudwatch_takes(
        pipeline in ".*", flow in ".{0,400}", behind in -10_000_i64..10_000,
    ) {
        let flow = report(&flow, Outcome::Committed { version: 0 });
        check(&occasion(&pipeline).flow_metrics(&flow, sent_at() - TimeDelta::milliseconds(behind)).unwrap());
    }
}
