//! Notices of stored objects: S3's own, or EventBridge's, each perhaps wrapped by SNS.
//!
//! Notices may be lost, doubled and out of order. Nothing orders or deduplicates by `sequencer`: it
//! compares only within one key, and not every S3 has a true one.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::notices::{EventError, NoticeBatch, StoredObject};
use crate::trigger::Message;

/// SNS may wrap what SNS wrapped; nobody means more than that.
const MAX_WRAPPINGS: usize = 2;

/// Reads each message of a batch.
#[must_use]
pub fn read_notices(messages: &[Message]) -> NoticeBatch {
    messages.iter().map(|message| (message.id.clone(), stored_objects(&message.body))).collect()
}

/// The objects that a notice says were stored, in its order; none for S3's test event, and for
/// deletions and all else that can happen to an object.
///
/// # Errors
/// [`EventError`], when it is no notice.
pub fn stored_objects(document: &[u8]) -> Result<Vec<StoredObject>, EventError> {
    let mut wrapped: Vec<u8>;
    let mut document = document;
    for _ in 0..=MAX_WRAPPINGS {
        match serde_json::from_slice(document)? {
            Notice { records: Some(records), .. } => return from_s3(records),
            Notice { test: Some(event), .. } if event == "s3:TestEvent" => return Ok(Vec::new()),
            Notice { source: Some(source), detail_type, detail, .. } if source == "aws.s3" => {
                return from_event_bridge(detail_type.as_deref(), detail);
            }
            Notice { message: Some(message), kind: Some(kind), .. } if kind == "Notification" => {
                wrapped = message.into_owned().into_bytes();
                document = &wrapped;
            }
            Notice { .. } => break,
        }
    }
    Err(EventError::Unknown { expected: "a notice of S3, plain or wrapped by SNS or EventBridge" })
}

/// S3 encodes keys as forms do: `+` and `%20` are both spaces, and a plus is `%2B`.
fn from_s3(records: Vec<S3Record<'_>>) -> Result<Vec<StoredObject>, EventError> {
    let mut objects = Vec::with_capacity(records.len());
    for (index, record) in records.into_iter().enumerate() {
        let name = record.event_name.ok_or_else(|| EventError::record(index, "eventName"))?;
        let name = name.strip_prefix("s3:").unwrap_or(&name);
        if !name.starts_with("ObjectCreated:") {
            continue;
        }
        let Entity { bucket, object } = record.s3.ok_or_else(|| EventError::record(index, "s3"))?;
        let spaced = object.key.replace('+', " ");
        let key = percent_decode_str(&spaced).decode_utf8();
        let key = key.map_err(|_| EventError::record(index, "s3.object.key"))?.into_owned();
        objects.push(stored(&bucket, key));
    }
    Ok(objects)
}

/// EventBridge doesn't encode keys: a plus is a plus.
fn from_event_bridge(kind: Option<&str>, detail: Option<Entity<'_>>) -> Result<Vec<StoredObject>, EventError> {
    if kind != Some("Object Created") {
        return Ok(Vec::new());
    }
    let Entity { bucket, object } = detail.ok_or_else(|| EventError::Field { place: "detail".to_owned() })?;
    Ok(vec![stored(&bucket, object.key.into_owned())])
}

fn stored(bucket: &Bucket<'_>, key: String) -> StoredObject {
    StoredObject { root: format!("s3://{}", bucket.name), key }
}

#[derive(Debug, Deserialize)]
struct Notice<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<S3Record<'a>>>,
    #[serde(rename = "Event", borrow)]
    test: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(rename = "detail-type", borrow)]
    detail_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Entity<'a>>,
    #[serde(rename = "Type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "Message", borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record<'a> {
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s3: Option<Entity<'a>>,
}

#[derive(Debug, Deserialize)]
struct Entity<'a> {
    #[serde(borrow)]
    bucket: Bucket<'a>,
    #[serde(borrow)]
    object: Object<'a>,
}

#[derive(Debug, Deserialize)]
struct Bucket<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}
