//! Documents as the host posts them, what is made of them, and what hostile ones can't do.

mod functions;
mod hostile;
mod hubs;
mod notices;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Function, Invocation, TriggerKind};
use crate::notices::{EventError, StoredObject};

fn function(trigger: TriggerKind) -> Function {
    Function { name: "f".to_owned(), trigger, binding: "item".to_owned(), is_binary: false }
}

fn binary() -> Function {
    Function { is_binary: true, ..function(TriggerKind::EventHub) }
}

/// What the host posts for a message of a queue.
fn queued(message: &Value) -> Value {
    json!({"Data": {"item": message}, "Metadata": {"DequeueCount": "1", "Id": "\"4c1f\""}})
}

fn read(document: &Value, function: &Function) -> Result<Invocation, EventError> {
    Invocation::read(document.to_string().as_bytes(), function)
}

fn objects(message: &Value) -> Vec<StoredObject> {
    match read(&queued(message), &function(TriggerKind::Queue)).unwrap() {
        Invocation::Notice(objects) => objects,
        other => panic!("no notice: {other:?}"),
    }
}

fn in_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The text that the host writes of a text or of an array: JSON, as a text.
fn encoded(value: &Value) -> Value {
    Value::String(value.to_string())
}

/// Two events of partition 3, as the host posts them: everything that isn't an object is encoded once more.
fn hub_document() -> Value {
    let at = ["2026-11-21T10:00:00.123Z", "2026-11-21T10:00:01"];
    json!({
        "Data": {"item": encoded(&json!([r#"{"id": 1}"#, "\"quoted\""]))},
        "Metadata": {
            "PartitionContext": {"PartitionId": "3", "EventHubName": "flights", "ConsumerGroup": "$Default"},
            "SequenceNumberArray": encoded(&json!([41, 42])),
            "OffsetArray": encoded(&json!(["8000", "8100"])),
            "EnqueuedTimeUtcArray": encoded(&json!(at)),
            "PartitionKeyArray": encoded(&json!(["JFK", null])),
            "PropertiesArray": encoded(&json!([{"unit": "min", "hops": 2}, {}])),
            "SystemPropertiesArray": encoded(&json!([{"iothub-connection-device-id": "d1"}, {}])),
            "sys": {"MethodName": "bronze-events", "UtcNow": "2026-11-21T10:00:02Z"},
        },
    })
}
