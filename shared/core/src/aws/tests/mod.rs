//! Documents as AWS sends them, what is made of them, and what hostile ones can't do.

mod hostile;
mod invocations;
mod metrics;
mod notices;

use chrono::{DateTime, Utc};

use crate::trigger::Message;

const STANDARD: &str = include_str!("documents/sqs-standard.json");
const FIFO: &str = include_str!("documents/sqs-fifo.json");
const SCHEDULED: &str = include_str!("documents/scheduled.json");
const CREATED: &str = include_str!("documents/s3-created.json");
const TEST: &str = include_str!("documents/s3-test.json");
const EVENT_BRIDGE: &str = include_str!("documents/event-bridge.json");
const SNS: &str = include_str!("documents/sns.json");

fn message(id: &str, body: &str) -> Message {
    Message {
        id: id.to_owned(),
        body: body.to_owned().into(),
        enqueued_at: DateTime::<Utc>::UNIX_EPOCH,
        receive_count: 1,
        attributes: Default::default(),
    }
}

/// A notice of S3 that these keys, as S3 encodes them, were stored in the lake's bucket.
fn notice(keys: &[&str]) -> String {
    let record = |key: &&str| {
        serde_json::json!({
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "lake"}, "object": {"key": key}},
        })
    };
    serde_json::json!({"Records": keys.iter().map(record).collect::<Vec<_>>()}).to_string()
}
