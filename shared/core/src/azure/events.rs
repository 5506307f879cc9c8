//! Events of a partition of an event hub, or of the endpoint of an IoT hub, as the host hands them over.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::encoding::{bytes, structured, take, text, time};
use super::function::Function;
use crate::hub::HubEvent;
use crate::notices::EventError;

/// Events of one partition, in its order. All that isn't the payload is among an event's properties: what its sender, the hub itself or an
/// IoT hub set (`iothub-connection-device-id` …); what isn't text, as JSON. Of two with one name, the sender's isn't believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The host of the hub's namespace, where the Functions host says.
    pub namespace: Option<String>,
    /// The hub's name.
    pub hub: String,
    /// The partition's.
    pub partition: String,
    /// The events, at least one. Any of them may have been handed over before: the host doesn't say.
    pub events: Vec<HubEvent>,
}

impl HandedOver {
    /// Pairs bodies with what `Metadata` holds of each, in arrays of the same length.
    pub(super) fn read(
        bodies: Value,
        mut metadata: Map<String, Value>,
        function: &Function,
    ) -> Result<Self, EventError> {
        let Value::Array(bodies) = bodies else { return Err(missing("Data", &function.binding)) };
        let context = take(&mut metadata, "PartitionContext").and_then(structured);
        let Some(Value::Object(mut context)) = context else { return Err(missing("Metadata", "PartitionContext")) };
        let namespace = take(&mut context, "FullyQualifiedNamespace").and_then(text);
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
                content_type: None,
                message_id: None,
                correlation_id: None,
                properties,
                system_properties: BTreeMap::new(),
            });
        }
        if events.is_empty() {
            return Err(missing("Data", &function.binding));
        }
        Ok(Self {
            namespace,
            hub: hub.ok_or_else(|| missing("Metadata", "PartitionContext.EventHubName"))?,
            partition: partition.ok_or_else(|| missing("Metadata", "PartitionContext.PartitionId"))?,
            events,
        })
    }
}

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
