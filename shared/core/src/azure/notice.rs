//! Notices of Event Grid that blobs were stored, in its own schema or as CloudEvents.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use crate::notices::{EventError, StoredObject};

/// What is said of a file that is only being begun; another event follows when it is whole.
const BEGUN: [&str; 2] = ["CreateFile", "SftpCreate"];

/// The blobs that a message says were stored, in its order: created whole, or renamed to what they are called now. None for
/// deletions, and for all else that Event Grid tells of.
///
/// # Errors
/// [`EventError`], when it is no event of Event Grid, nor an array of them.
pub fn stored_blobs(message: Value) -> Result<Vec<StoredObject>, EventError> {
    let events = match message {
        Value::Array(events) => events,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![message],
    };
    let mut stored = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let event: Event = serde_json::from_value(event).map_err(|_| UNKNOWN)?;
        stored.extend(event.into_stored(index)?);
    }
    Ok(stored)
}

const UNKNOWN: EventError = EventError::Unknown { expected: "a notice of Event Grid" };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// In Event Grid's own schema.
    event_type: Option<String>,
    /// In CloudEvents.
    #[serde(rename = "type")]
    kind: Option<String>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    api: Option<String>,
    url: Option<String>,
    destination_url: Option<String>,
}

impl Event {
    fn into_stored(self, index: usize) -> Result<Option<StoredObject>, EventError> {
        let kind = self.event_type.or(self.kind).ok_or(UNKNOWN)?;
        let missing = |field: &str| EventError::Field { place: format!("[{index}].data.{field}") };
        let (url, field) = match (kind.as_str(), self.data) {
            ("Microsoft.Storage.BlobCreated", Some(data)) => {
                if data.api.is_some_and(|api| BEGUN.contains(&api.as_str())) {
                    return Ok(None);
                }
                (data.url, "url")
            }
            ("Microsoft.Storage.BlobRenamed", Some(data)) => (data.destination_url, "destinationUrl"),
            ("Microsoft.Storage.BlobCreated" | "Microsoft.Storage.BlobRenamed", None) => return Err(missing("url")),
            _ => return Ok(None),
        };
        url.as_deref().and_then(object).map(Some).ok_or_else(|| missing(field))
    }
}

/// The blob of a URL, whose path is percent-encoded. The account is the first part of the host's name, or of the path where
/// the host has no such name: an emulator.
fn object(url: &str) -> Option<StoredObject> {
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next()?;
    let account = host.split_once(".blob.").or_else(|| host.split_once(".dfs."));
    let path = if account.is_some() { path } else { path.split_once('/')?.1 };
    let (container, key) = path.split_once('/')?;
    let key = percent_decode_str(key).decode_utf8().ok()?.into_owned();
    if container.is_empty() || key.is_empty() {
        return None;
    }
    let root = match account {
        Some((account, domain)) => format!("abfss://{container}@{account}.dfs.{domain}"),
        None => format!("az://{container}"),
    };
    Some(StoredObject { root, key })
}
