//! What wakes a function.
//!
//! A trigger is a hint: lost, doubled or reordered triggers change no row. A function that is woken
//! with nothing finds its work from the tables and the sources alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::hub::HubBatch;
use crate::name::DatasetName;

/// A wake-up of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Why.
    pub cause: Cause,
    /// When the host ends the invocation; work is cut so that what was done is committed before it.
    pub deadline: Option<DateTime<Utc>>,
}

impl Trigger {
    /// A trigger without a deadline.
    #[must_use]
    pub const fn new(cause: Cause) -> Self {
        Self { cause, deadline: None }
    }
}

/// Why a function was woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Messages that a queue handed over (`bronze-events`).
    Messages(MessageBatch),
    /// What was read of the partitions of a hub (`bronze-events`).
    Partitions(HubBatch),
    /// Objects that arrived (`bronze-files`): URLs whose path is the object's key as it is, not encoded.
    Objects(Vec<String>),
    /// New commits on these tables (`silver`).
    Commits(Vec<DatasetName>),
    /// A timer, or a person: look for work. Empty means every dataset that the function serves.
    Timer(Vec<DatasetName>),
}

impl Cause {
    /// The word for reports and logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Messages(_) => "messages",
            Self::Partitions(_) => "partitions",
            Self::Objects(_) => "objects",
            Self::Commits(_) => "commits",
            Self::Timer(_) => "timer",
        }
    }
}

/// Messages of one event source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBatch {
    /// The source's name, as in `read_events('<name>')`.
    pub source: String,
    /// The messages, in any order.
    pub messages: Vec<Message>,
    /// When the host asked for the first of them, before any could have been received: a snapshot
    /// pinned after this moment may already hold a message whose receive count is 1 only through
    /// another receiver's batch.
    pub received_at: DateTime<Utc>,
}

/// One message of an unordered, at-least-once queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique in its source for ever; the same on each redelivery.
    pub id: String,
    /// The payload, verbatim.
    pub body: Bytes,
    /// When the sender handed it over (`SentTimestamp`).
    pub enqueued_at: DateTime<Utc>,
    /// How many times it was received so far, this time included (`ApproximateReceiveCount`).
    pub receive_count: u32,
    /// Attributes of the message.
    pub attributes: BTreeMap<String, String>,
}
