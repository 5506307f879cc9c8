//! Metrics of a report, as CloudWatch takes them out of a log: one line for each flow that did something, in the
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
//!
//! A metric is kept for each pipeline, function and flow, and for nothing finer: each costs money every month. For the
//! same reason a count of rows that nobody wants to see is left out while it is 0. Counts and names only, never a
//! value of a row, and never why a flow failed, which may quote one.

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::report::{FlowReport, Outcome};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Headwater";
/// What each metric is kept by.
const OF_FLOWS: [&str; 3] = ["Pipeline", "Function", "Flow"];
const OF_FUNCTIONS: [&str; 2] = ["Pipeline", "Function"];
/// A name's characters at most, as a dimension.
const MAX_NAME: usize = 250;
/// What is escaped, besides all that isn't ASCII: what an escape begins with, and the colon, which no name may begin with.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b':');

/// A function that was woken.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The function's name.
    pub function: &'a str,
    /// When the oldest of the messages that it was handed was sent; `None` if it was handed none.
    pub sent_at: Option<DateTime<Utc>>,
}

impl Occasion<'_> {
    /// The metrics of a flow's batch that ended at `now`; `None` if there was nothing to do.
    #[must_use]
    pub fn flow_metrics(&self, flow: &FlowReport, now: DateTime<Utc>) -> Option<Value> {
        let outcome = match &flow.outcome {
            Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Waiting { .. } => return None,
            Outcome::Committed { .. } => "committed",
            Outcome::Retryable { .. } => "retryable",
            Outcome::Skipped { .. } => "skipped",
            Outcome::Failed { .. } => "failed",
        };
        let rows = flow.rows;
        let is_committed = outcome == "committed";
        let mut metrics = Metrics::default();
        if is_committed {
            metrics.add("RowsRead", "Count", rows.read);
            metrics.add("RowsWritten", "Count", rows.written);
            metrics.add("Duration", "Milliseconds", flow.millis);
            if let Some(sent) = self.sent_at {
                let lag = (now - sent).num_milliseconds();
                metrics.add("Lag", "Milliseconds", u64::try_from(lag).unwrap_or_default());
            }
        }
        let seldom = [
            ("RowsDropped", rows.dropped),
            ("RowsQuarantined", rows.quarantined),
            ("RowsLate", rows.late),
            ("RowsDuplicate", rows.duplicate),
            ("CommitRetries", u64::from(flow.attempts.saturating_sub(1))),
            ("Failures", u64::from(outcome == "failed")),
            ("Unfinished", u64::from(outcome == "retryable")),
        ];
        for (name, count) in seldom.into_iter().filter(|(_, count)| *count > 0) {
            metrics.add(name, "Count", count);
        }
        let mut document = self.document(&OF_FLOWS, metrics, now);
        document.insert("Flow".to_owned(), name(flow.flow.as_str()).into());
        document.insert("dataset".to_owned(), flow.target.to_string().into());
        document.insert("outcome".to_owned(), outcome.into());
        Some(Value::Object(document))
    }

    /// That it is the first thing that its process does.
    #[must_use]
    pub fn cold_start(&self, now: DateTime<Utc>) -> Value {
        let mut metrics = Metrics::default();
        metrics.add("ColdStart", "Count", 1);
        Value::Object(self.document(&OF_FUNCTIONS, metrics, now))
    }

    fn document(&self, dimensions: &[&str], metrics: Metrics, now: DateTime<Utc>) -> Map<String, Value> {
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics.definitions});
        let header = json!({"Timestamp": now.timestamp_millis(), "CloudWatchMetrics": [directive]});
        let mut document = Map::from_iter([
            ("_aws".to_owned(), header),
            ("Pipeline".to_owned(), name(self.pipeline).into()),
            ("Function".to_owned(), self.function.into()),
        ]);
        document.extend(metrics.values);
        document
    }
}

/// Metrics, and their values.
#[derive(Debug, Default)]
struct Metrics {
    definitions: Vec<Value>,
    values: Map<String, Value>,
}

impl Metrics {
    fn add(&mut self, name: &str, unit: &str, value: u64) {
        self.definitions.push(json!({"Name": name, "Unit": unit}));
        self.values.insert(name.to_owned(), value.into());
    }
}

/// A name as a dimension's value: printable ASCII, and not too long.
fn name(text: &str) -> String {
    let text: String = utf8_percent_encode(text, ESCAPED).collect();
    if text.trim().is_empty() { "-".to_owned() } else { text.chars().take(MAX_NAME).collect() }
}
