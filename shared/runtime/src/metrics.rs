//! Metrics of functions: a line for each flow that did something, on standard output, where CloudWatch finds it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use headwater_core::aws::metrics::Occasion;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use serde_json::Value;

use crate::error::{Result, RuntimeError};
use crate::function::{FunctionKind, Handler};

/// The environment variable that says what becomes of metrics: `emf` or `off`.
pub const METRICS_VARIABLE: &str = "HEADWATER_METRICS";

/// What becomes of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metrics {
    /// They are written in CloudWatch's embedded metric format.
    #[default]
    Emf,
    /// Nothing.
    Off,
}

impl Metrics {
    /// Reads the choice from the environment.
    ///
    /// # Errors
    /// `Invalid` for another word.
    pub fn read(environment: &BTreeMap<String, String>) -> Result<Self> {
        match environment.get(METRICS_VARIABLE).map(|choice| choice.trim()).unwrap_or_default() {
            "" | "emf" => Ok(Self::Emf),
            "off" => Ok(Self::Off),
            other => Err(RuntimeError::Setting {
                name: METRICS_VARIABLE.to_owned(),
                problem: format!("`{other}` is no choice; write `emf` or `off`"),
            }),
        }
    }

    /// Where a document goes.
    #[must_use]
    pub fn sink(self) -> fn(&Value) {
        match self {
            Self::Emf => print,
            Self::Off => |_| {},
        }
    }
}

/// Writes a document as a line. That nobody reads it is no reason to stop.
fn print(document: &Value) {
    let _unread = io::stdout().lock().write_all(format!("{document}\n").as_bytes());
}

/// A handler whose reports become metrics, document by document.
#[derive(Debug)]
pub struct Measured<H, S> {
    handler: H,
    pipeline: String,
    sink: S,
    is_cold: AtomicBool,
}

impl<H, S> Measured<H, S> {
    /// The handler of a process that was just started.
    pub const fn new(handler: H, pipeline: String, sink: S) -> Self {
        Self { handler, pipeline, sink, is_cold: AtomicBool::new(true) }
    }
}

impl<H: Handler, S: Fn(&Value)> Handler for Measured<H, S> {
    async fn handle(&self, function: FunctionKind, trigger: Trigger) -> Report {
        let sent_at = oldest(&trigger.cause);
        let occasion = Occasion { pipeline: &self.pipeline, function: function.name(), sent_at };
        if self.is_cold.swap(false, Ordering::Relaxed) {
            (self.sink)(&occasion.cold_start(Utc::now()));
        }
        let report = self.handler.handle(function, trigger).await;
        let now = Utc::now();
        report
            .flows
            .iter()
            .filter_map(|flow| occasion.flow_metrics(flow, now))
            .for_each(|document| (self.sink)(&document));
        report
    }
}

/// When the oldest message was sent.
fn oldest(cause: &Cause) -> Option<DateTime<Utc>> {
    match cause {
        Cause::Messages(batch) => batch.messages.iter().map(|message| message.enqueued_at).min(),
        Cause::Partitions(batch) => {
            let events = batch.partitions.values().flat_map(|partition| &partition.events);
            events.map(|event| event.enqueued_at).min()
        }
        Cause::Objects(_) | Cause::Commits(_) | Cause::Timer(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use chrono::TimeDelta;
    use headwater_core::name::{DatasetName, FlowName};
    use headwater_core::report::{FlowReport, Outcome};
    use headwater_core::trigger::{Message, MessageBatch};

    use super::*;

    fn message(seconds_ago: i64) -> Message {
        let enqueued_at = Utc::now() - TimeDelta::seconds(seconds_ago);
        Message {
            id: seconds_ago.to_string(),
            body: "secret".into(),
            enqueued_at,
            receive_count: 1,
            attributes: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn each_flow_is_a_document_and_only_the_first_wake_up_is_cold() {
        let documents = RefCell::new(Vec::new());
        let handler = |_: FunctionKind, trigger: Trigger| async move {
            let flow = |name: &str, outcome| {
                let mut flow = FlowReport::new(FlowName::new(name), DatasetName::new(name), trigger.cause.word());
                flow.outcome = outcome;
                flow
            };
            let flows = vec![flow("orders", Outcome::Committed { version: 1 }), flow("idle", Outcome::NothingNew)];
            Report { flows, ..Report::default() }
        };
        let measured =
            Measured::new(handler, "shop".to_owned(), |document: &Value| documents.borrow_mut().push(document.clone()));
        let messages = vec![message(3), message(60), message(5)];
        let batch = MessageBatch { source: "orders".to_owned(), messages, received_at: Utc::now() };
        measured.handle(FunctionKind::BronzeEvents, Trigger::new(Cause::Messages(batch))).await;
        measured.handle(FunctionKind::Silver, Trigger::new(Cause::Timer(Vec::new()))).await;

        let documents = documents.into_inner();
        assert_eq!(documents.len(), 3);
        assert_eq!((&documents[0]["ColdStart"], &documents[0]["Flow"]), (&1.into(), &Value::Null));
        let lag = documents[1]["Lag"].as_u64().unwrap();
        assert!((60_000..120_000).contains(&lag), "{lag}");
        assert_eq!((&documents[2]["Function"], &documents[2]["Lag"]), (&"silver".into(), &Value::Null));
        assert!(documents.iter().all(|document| !document.to_string().contains("secret")));
    }

    #[test]
    fn metrics_are_written_unless_they_are_off() {
        let read = |choice: &str| Metrics::read(&BTreeMap::from([(METRICS_VARIABLE.to_owned(), choice.to_owned())]));
        assert_eq!(Metrics::read(&BTreeMap::new()).unwrap(), Metrics::Emf);
        assert_eq!(read(" off ").unwrap(), Metrics::Off);
        assert!(read("prometheus").unwrap_err().to_string().contains("`emf` or `off`"));
    }
}
