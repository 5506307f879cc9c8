//! Events as the client gives them, to events as the lake takes them.

use azure_core_amqp::{AmqpSimpleValue, AmqpValue};
use azure_messaging_eventhubs::models::{MessageId, ReceivedEventData};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use headwater_core::hub::HubEvent;

/// `None` for an event without a number or a time, which no hub sends.
pub(super) fn hub_event(received: &ReceivedEventData) -> Option<HubEvent> {
    let event = received.event_data();
    let own = event.properties().into_iter().flatten();
    let system = received.system_properties().iter();
    Some(HubEvent {
        sequence_number: received.sequence_number()?,
        offset: received.offset().clone(),
        enqueued_at: received.enqueued_time()?.into(),
        partition_key: received.partition_key().clone(),
        body: Bytes::copy_from_slice(event.body().unwrap_or_default()),
        content_type: event.content_type().map(str::to_owned),
        message_id: event.message_id().map(id),
        correlation_id: event.correlation_id().map(id),
        properties: own.filter_map(|(name, value)| Some((name.clone(), simple(value)?))).collect(),
        system_properties: system.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
    })
}

fn id(id: &MessageId) -> String {
    match id {
        MessageId::String(text) => text.clone(),
        MessageId::Uuid(uuid) => uuid.to_string(),
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn simple(value: &AmqpSimpleValue) -> Option<String> {
    Some(match value {
        AmqpSimpleValue::Boolean(value) => value.to_string(),
        AmqpSimpleValue::UByte(value) => value.to_string(),
        AmqpSimpleValue::Byte(value) => value.to_string(),
        AmqpSimpleValue::Char(value) => value.to_string(),
        AmqpSimpleValue::UShort(value) => value.to_string(),
        AmqpSimpleValue::Short(value) => value.to_string(),
        AmqpSimpleValue::UInt(value) => value.to_string(),
        AmqpSimpleValue::Int(value) => value.to_string(),
        AmqpSimpleValue::ULong(value) => value.to_string(),
        AmqpSimpleValue::Long(value) => value.to_string(),
        AmqpSimpleValue::Float(value) => value.to_string(),
        AmqpSimpleValue::Double(value) => value.to_string(),
        AmqpSimpleValue::Uuid(value) => value.to_string(),
        AmqpSimpleValue::String(value) => value.clone(),
        AmqpSimpleValue::Symbol(value) => value.0.clone(),
        _ => return None,
    })
}

fn text(value: &AmqpValue) -> Option<String> {
    Some(match value {
        AmqpValue::Boolean(value) => value.to_string(),
        AmqpValue::UByte(value) => value.to_string(),
        AmqpValue::Byte(value) => value.to_string(),
        AmqpValue::UShort(value) => value.to_string(),
        AmqpValue::Short(value) => value.to_string(),
        AmqpValue::UInt(value) => value.to_string(),
        AmqpValue::Int(value) => value.to_string(),
        AmqpValue::ULong(value) => value.to_string(),
        AmqpValue::Long(value) => value.to_string(),
        AmqpValue::Float(value) => value.to_string(),
        AmqpValue::Double(value) => value.to_string(),
        AmqpValue::Uuid(value) => value.to_string(),
        AmqpValue::String(value) => value.clone(),
        AmqpValue::Symbol(value) => value.0.clone(),
        AmqpValue::TimeStamp(time) => DateTime::<Utc>::from(time.0?).to_rfc3339_opts(SecondsFormat::Millis, true),
        _ => return None,
    })
}
