//! The document that the host posts for an invocation.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::encoding;
use super::events::HandedOver;
use super::function::{Function, TriggerKind};
use super::notice::stored_blobs;
use crate::notices::{EventError, StoredObject};

/// The answer to an invocation that is done. One that isn't is answered by a status other than 2xx, and comes again.
pub const DONE: &str = r#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#;

/// Why the host invoked a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// A message says that these objects were stored.
    Notice(Vec<StoredObject>),
    /// Events of a partition arrived.
    Events(HandedOver),
    /// A timer, or a person.
    Timer,
}

impl Invocation {
    /// Reads `{"Data": {"<binding>": …}, "Metadata": {…}}`, which the host posts to a function.
    ///
    /// # Errors
    /// [`EventError`], when it isn't what the function's trigger hands over.
    pub fn read(document: &[u8], function: &Function) -> Result<Self, EventError> {
        let Request { mut data, metadata } = serde_json::from_slice(document)?;
        if function.trigger == TriggerKind::Timer {
            return Ok(Self::Timer);
        }
        let missing = || EventError::Field { place: format!("Data.{}", function.binding) };
        let value = encoding::take(&mut data, &function.binding).ok_or_else(missing)?;
        match function.trigger {
            TriggerKind::EventHub => {
                let bodies = encoding::structured(value).ok_or_else(missing)?;
                Ok(Self::Events(HandedOver::read(bodies, metadata, function)?))
            }
            TriggerKind::Queue | TriggerKind::Timer => {
                let message = encoding::message(value).ok_or_else(missing)?;
                Ok(Self::Notice(stored_blobs(message)?))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(default)]
    data: Map<String, Value>,
    #[serde(default)]
    metadata: Map<String, Value>,
}
