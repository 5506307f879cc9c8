//! A batch of SQS messages, as an event source mapping hands it over.
//!
//! Standard and FIFO queues alike. Rows don't depend on the order of messages, but the queue's own does: a message of a FIFO
//! queue that failed holds back those after it in its group.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::batch::BatchResponse;
use super::sqs::delivery::{Delivery, KEPT, coming_again};
use crate::notices::EventError;
use crate::trigger::Message;

/// Messages of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueBatch {
    /// The queue's ARN.
    pub queue_arn: String,
    /// Its messages, at least one. `attributes` holds the sender's own, binary ones in Base64, and
    /// of SQS's those that say where a message stands in a FIFO queue or which trace it belongs to.
    pub messages: Vec<Message>,
    /// The id that SQS knows each of them by, which is another than its own if it was returned from a dead-letter queue.
    pub delivery_ids: Vec<String>,
    /// No later than the first of them was received, as SQS tells it of each message that was received
    /// for the first time.
    pub received_at: DateTime<Utc>,
}

impl QueueBatch {
    /// The queue's name, the last part of its ARN.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.queue_arn.rsplit(':').next().unwrap_or_default()
    }

    /// The answer to SQS when these messages, named by their own ids, have to come again.
    #[must_use]
    pub fn answer(&self, failed: &BatchResponse) -> BatchResponse {
        let failed: BTreeSet<_> = failed.batch_item_failures.iter().map(|item| item.item_identifier.as_str()).collect();
        let again = coming_again(&self.messages, &failed);
        BatchResponse::failing(again.into_iter().filter_map(|index| self.delivery_ids.get(index)).map(String::as_str))
    }

    pub(super) fn from_records(records: Vec<Record<'_>>) -> Result<Self, EventError> {
        let queue_arn = match records.first() {
            Some(first) => first.queue_arn.as_deref().unwrap_or_default().to_owned(),
            None => return Err(EventError::Field { place: "Records".to_owned() }),
        };
        let mut received_at = DateTime::<Utc>::MAX_UTC;
        let mut messages = Vec::with_capacity(records.len());
        let mut delivery_ids = Vec::with_capacity(records.len());
        for (index, record) in records.into_iter().enumerate() {
            let first_received = record.attributes.get("ApproximateFirstReceiveTimestamp").and_then(|at| millis(at));
            let delivery = record.into_delivery(index, &queue_arn)?;
            received_at = received_at.min(first_received.unwrap_or(delivery.sent_at));
            delivery_ids.push(delivery.id.clone());
            messages.push(delivery.into_message());
        }
        Ok(Self { queue_arn, messages, delivery_ids, received_at })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    event_source: Option<Cow<'a, str>>,
    #[serde(rename = "eventSourceARN", borrow)]
    queue_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    message_attributes: BTreeMap<Cow<'a, str>, Attribute<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    #[serde(borrow)]
    string_value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    binary_value: Option<Cow<'a, str>>,
}

impl Record<'_> {
    fn into_delivery(self, index: usize, queue_arn: &str) -> Result<Delivery, EventError> {
        let missing = |field: &str| EventError::record(index, field);
        if self.event_source.as_deref() != Some("aws:sqs") {
            return Err(missing("eventSource"));
        }
        if queue_arn.is_empty() || self.queue_arn.as_deref() != Some(queue_arn) {
            return Err(missing("eventSourceARN"));
        }
        let id = self.message_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("messageId"))?;
        let body = self.body.ok_or_else(|| missing("body"))?;
        let sent = self.attributes.get("SentTimestamp").and_then(|at| millis(at));
        let received = self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Ok(Delivery {
            id: id.into_owned(),
            body: Bytes::from(body.into_owned()),
            sent_at: sent.ok_or_else(|| missing("attributes.SentTimestamp"))?,
            receive_count: received.ok_or_else(|| missing("attributes.ApproximateReceiveCount"))?,
            attributes: attributes(self.message_attributes, self.attributes),
        })
    }
}

/// Milliseconds since 1970.
fn millis(text: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(text.parse().ok()?)
}

fn attributes(
    own: BTreeMap<Cow<'_, str>, Attribute<'_>>,
    system: BTreeMap<Cow<'_, str>, Cow<'_, str>>,
) -> BTreeMap<String, String> {
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value.string_value.or(value.binary_value)?)));
    let system = system.into_iter().filter(|(name, _)| KEPT.contains(&name.as_ref()));
    own.chain(system).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
