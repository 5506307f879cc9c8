//! How the host writes values into a document: as they are, as text that is JSON, or as that text once more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

/// How often a value may have been made text.
const MAX_ENCODINGS: usize = 2;

/// The array or object that a value is, or that its text holds.
pub(super) fn structured(value: Value) -> Option<Value> {
    let mut value = value;
    for _ in 0..=MAX_ENCODINGS {
        match value {
            Value::String(text) => value = serde_json::from_str(&text).ok()?,
            Value::Array(_) | Value::Object(_) => return Some(value),
            Value::Null | Value::Bool(_) | Value::Number(_) => return None,
        }
    }
    None
}

/// As [`structured`]; text that isn't JSON may be JSON in Base64.
pub(super) fn message(value: Value) -> Option<Value> {
    let mut value = value;
    for _ in 0..=MAX_ENCODINGS {
        match value {
            Value::String(text) => value = serde_json::from_str(&text).ok().or_else(|| in_base64(&text))?,
            Value::Array(_) | Value::Object(_) => return Some(value),
            Value::Null | Value::Bool(_) | Value::Number(_) => return None,
        }
    }
    None
}

/// The bytes of a text in Base64.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A field of an object, whose name's first letter .NET writes in upper or lower case.
pub(super) fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    object.remove(&key).filter(|value| !value.is_null())
}

/// The text of a value that is text or a number.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A time; UTC if it names no zone.
pub(super) fn time(value: &Value) -> Option<DateTime<Utc>> {
    let text = value.as_str()?;
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    zoned.or_else(|_| text.parse::<NaiveDateTime>().map(|time| time.and_utc())).ok()
}

fn in_base64(text: &str) -> Option<Value> {
    serde_json::from_slice(&bytes(text)?).ok()
}
