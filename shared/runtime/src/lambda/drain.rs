//! More messages than Lambda hands over.
//!
//! Off unless asked for: Lambda's own pollers are free and hand over up to 10,000 messages or 6 MB, while a function that receives
//! pays for each ten messages and for its time. It is for tables that commit too often already: large messages, of which 6 MB
//! are few, or a backlog that is to become few large commits.
//!
//! What is received here is hidden until after the invocation's end, and deleted when the report says that it is
//! done. A process that dies before has it delivered again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_core::aws::QueueBatch;
use headwater_core::aws::sqs::QueueAddress;
use headwater_core::batch::Limits;
use tokio::time::Instant;

use crate::error::{Result, RuntimeError};
use crate::sqs::{Queue, Receipts, Received, Wish};

/// Messages are hidden for so much longer than the invocation can last.
const MARGIN: Duration = Duration::from_secs(30);
/// Receiving takes so much of the time that is left at most: a quarter.
const SHARE: i32 = 4;

/// How much a batch may hold, and the queues that were asked so far.
#[derive(Debug)]
pub struct Drain {
    limits: Limits,
    queues: Mutex<BTreeMap<String, Queue>>,
}

/// Messages that were received beside Lambda's.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) queue: Queue,
    pub(super) received: Received,
}

impl Drain {
    /// Fills batches up to these limits, Lambda's messages included.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, queues: Mutex::new(BTreeMap::new()) }
    }

    /// What the queue gives beyond a batch. When it can't be asked, the batch is worked on as it is.
    pub(super) async fn more(&self, batch: &QueueBatch, end: DateTime<Utc>) -> Option<Drained> {
        let bytes: u64 = batch.messages.iter().map(|message| message.body.len() as u64).sum();
        let limits = Limits {
            items: self.limits.items.saturating_sub(batch.messages.len()),
            bytes: self.limits.bytes.saturating_sub(bytes),
        };
        let left = (end - Utc::now()).max(TimeDelta::zero());
        let time = (left / SHARE).to_std().unwrap_or_default();
        let hidden = left.to_std().unwrap_or_default() + MARGIN;
        let wish = Wish { limits, hidden, wait: Duration::ZERO, until: Some(Instant::now() + time) };
        match self.receive(&batch.queue_arn, wish).await {
            Ok(drained) => Some(drained).filter(|drained| !drained.received.messages.is_empty()),
            Err(error) => {
                tracing::warn!(%error, "no more messages could be received than were handed over");
                None
            }
        }
    }

    async fn receive(&self, arn: &str, wish: Wish) -> Result<Drained> {
        let queue = self.queue(arn)?;
        let received = queue.receive(wish).await?;
        Ok(Drained { queue, received })
    }

    fn queue(&self, arn: &str) -> Result<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(arn) {
            return Ok(queue.clone());
        }
        let address = QueueAddress::of_arn(arn).map_err(|error| RuntimeError::Task { reason: error.to_string() })?;
        Ok(queues.entry(arn.to_owned()).or_insert_with(|| Queue::new(address)).clone())
    }

    /// The queue with this ARN is this one.
    #[cfg(test)]
    pub(super) fn with_queue(self, arn: &str, queue: Queue) -> Self {
        self.queues.lock().unwrap().insert(arn.to_owned(), queue);
        self
    }
}

impl Drained {
    /// Deletes all but those that have to come again.
    pub(super) async fn settle(self, again: &BTreeSet<&str>) {
        let (_, done): (Receipts, Receipts) = self.received.receipts.part(|id| again.contains(id));
        if let Err(error) = self.queue.delete(&done).await {
            tracing::warn!(%error, "messages that were dealt with come again");
        }
    }
}
