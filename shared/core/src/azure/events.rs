//! Events of a partition of an event hub, or of the endpoint of an IoT hub, as the host hands them over.
//!
//! The host doesn't say whether it handed an event over before, so that each may have been.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::encoding::{bytes, structured, take, text, time};
use super::function::Function;
use crate::hub;
use crate::notices::EventError;
use crate::trigger::{Message, MessageBatch};

/// Events of one partition, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubBatch {
    /// The hub's name.
    pub hub: String,
    /// The partition's.
    pub partition: String,
    /// The events, at least one.
    pub events: Vec<HubEvent>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEvent {
    /// Its number in the partition.
    pub sequence_number: i64,
    /// Its place in the partition.
    pub offset: Option<String>,
    /// When the hub took it.
    pub enqueued_at: DateTime<Utc>,
    /// What its sender had its partition chosen by.
    pub partition_key: Option<String>,
    /// The payload.
    pub body: Bytes,
    /// What its sender, the hub itself or an IoT hub set beside the payload (`iothub-connection-device-id` …); what isn't text, as
    /// JSON. Of two with one name, the sender's isn't believed.
    pub properties: BTreeMap<String, String>,
}

impl HubBatch {
    /// Pairs bodies with what `Metadata` holds of each, in arrays of the same length.
    pub(super) fn read(
        bodies: Value,
        mut metadata: Map<String, Value>,
        function: &Function,
    ) -> Result<Self, EventError> {
        let Value::Array(bodies) = bodies else { return Err(missing("Data", &function.binding)) };
        let context = take(&mut metadata, "PartitionContext").and_then(structured);
        let Some(Value::Object(mut context)) = context else { return Err(missing("Metadata", "PartitionContext")) };
        let hub = take(&mut context, "EventHubName").and_then(text);
        let partition = take(&mut context, "PartitionId").and_then(text);
        let mut columns = Columns { metadata, length: bodies.len() };
        let numbers = columns.required("SequenceNumberArray")?;
        let times = columns.required("EnqueuedTimeUtcArray")?;
        let mut offsets = columns.optional("OffsetArray")?.into_iter();
        let mut keys = columns.optional("PartitionKeyArray")?.into_iter();
        let mut own = columns.optional("PropertiesArray")?.into_iter();
        let mut system = columns.optional("SystemPropertiesArray")?.into_iter();
        let mut events = Vec::with_capacity(bodies.len());
        for (index, ((body, number), at)) in bodies.into_iter().zip(numbers).zip(times).enumerate() {
            let wrong = |array: &str| missing("Metadata", &format!("{array}[{index}]"));
            let mut properties = named(own.next());
            properties.extend(named(system.next()));
            events.push(HubEvent {
                sequence_number: whole(&number).ok_or_else(|| wrong("SequenceNumberArray"))?,
                offset: offsets.next().and_then(text),
                enqueued_at: time(&at).ok_or_else(|| wrong("EnqueuedTimeUtcArray"))?,
                partition_key: keys.next().and_then(text),
                body: payload(body, function)
                    .ok_or_else(|| missing("Data", &format!("{}[{index}]", function.binding)))?,
                properties,
            });
        }
        if events.is_empty() {
            return Err(missing("Data", &function.binding));
        }
        Ok(Self {
            hub: hub.ok_or_else(|| missing("Metadata", "PartitionContext.EventHubName"))?,
            partition: partition.ok_or_else(|| missing("Metadata", "PartitionContext.PartitionId"))?,
            events,
        })
    }

    /// The events as messages of a source. A message's id is unique in the hub for ever: a hub that was made anew counts
    /// from the beginning, at other times.
    #[must_use]
    pub fn into_batch(self, source: String) -> MessageBatch {
        let Self { hub, partition, events } = self;
        let received_at = events.iter().map(|event| event.enqueued_at).min().unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
        let messages = events.into_iter().map(|event| event.into_message(&hub, &partition)).collect();
        MessageBatch { source, messages, received_at }
    }
}

impl From<HubEvent> for hub::HubEvent {
    /// What the host has of it: all that isn't the payload is among its properties.
    fn from(event: HubEvent) -> Self {
        let HubEvent { sequence_number, offset, enqueued_at, partition_key, body, properties } = event;
        Self {
            sequence_number,
            offset,
            enqueued_at,
            partition_key,
            body,
            content_type: None,
            message_id: None,
            correlation_id: None,
            properties,
            system_properties: BTreeMap::new(),
        }
    }
}

impl HubEvent {
    fn into_message(self, hub: &str, partition: &str) -> Message {
        let Self { sequence_number, offset, enqueued_at, partition_key, body, properties } = self;
        let id = format!("{hub}/{partition}/{sequence_number}@{}", enqueued_at.timestamp_micros());
        let mut attributes = properties;
        let position = [
            ("x-opt-partition-id", Some(partition.to_owned())),
            ("x-opt-sequence-number", Some(sequence_number.to_string())),
            ("x-opt-offset", offset),
            ("x-opt-partition-key", partition_key),
        ];
        attributes.extend(position.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Message { id, body, enqueued_at, receive_count: MAYBE_RECEIVED, attributes }
    }
}

/// More than once: the event is looked up before it is landed.
const MAYBE_RECEIVED: u32 = 2;

/// Arrays with an entry for each event.
struct Columns {
    metadata: Map<String, Value>,
    length: usize,
}

impl Columns {
    fn required(&mut self, name: &str) -> Result<Vec<Value>, EventError> {
        let column = self.optional(name)?;
        if column.len() == self.length { Ok(column) } else { Err(missing("Metadata", name)) }
    }

    /// Empty when it isn't there.
    fn optional(&mut self, name: &str) -> Result<Vec<Value>, EventError> {
        match take(&mut self.metadata, name).map(structured) {
            None => Ok(Vec::new()),
            Some(Some(Value::Array(column))) if column.len() == self.length => Ok(column),
            Some(_) => Err(missing("Metadata", name)),
        }
    }
}

fn missing(part: &str, place: &str) -> EventError {
    EventError::Field { place: format!("{part}.{place}") }
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A body that the host took for JSON is given as it read it.
fn payload(body: Value, function: &Function) -> Option<Bytes> {
    match body {
        Value::String(text) if function.is_binary => bytes(&text).map(Bytes::from),
        Value::String(text) => Some(Bytes::from(text)),
        _ if function.is_binary => None,
        other => Some(Bytes::from(other.to_string())),
    }
}

fn named(properties: Option<Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(properties)) = properties.and_then(structured) else { return BTreeMap::new() };
    let present = properties.into_iter().filter(|(_, value)| !value.is_null());
    present
        .map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect()
}
