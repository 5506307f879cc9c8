//! What the host does with a queue, whichever it is.

use std::convert::Infallible;
use std::time::Duration;

use chrono::Utc;
use headwater_core::batch::Limits;
use headwater_core::trigger::Message;

use super::{Binding, Pace, blocking};
use crate::error::Result;
use crate::spool::Spool;
use crate::sqs::{Queue, Receipts, Received, Wish};

/// Messages are not hidden anew more often than this.
const BRIEF: Duration = Duration::from_millis(50);
/// A queue of SQS is waited for so long when it has no message.
const WAIT: Duration = Duration::from_secs(1);

/// Messages that were received, and what they are deleted and hidden by.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) messages: Vec<Message>,
    pub(super) lease: Lease,
    /// How many messages still wait, about.
    pub(super) waiting: u64,
}

/// Received messages of one queue, to be deleted or hidden.
#[derive(Debug)]
pub(super) enum Lease {
    Spool { spool: Spool, ids: Vec<String> },
    Sqs { queue: Queue, receipts: Receipts, visibility_timeout: Duration },
}

impl Binding {
    /// One batch; `None` if nothing waits.
    pub(super) async fn receive(&self, pace: &Pace) -> Result<Option<Leased>> {
        let leased = match self {
            Self::Spool(spool) => {
                let (spool, pace) = (spool.clone(), pace.clone());
                blocking(move || receive_from_spool(spool, &pace)).await?
            }
            Self::Sqs { queue, visibility_timeout } => {
                Box::pin(receive_from_sqs(queue, *visibility_timeout, pace)).await?
            }
        };
        Ok((!leased.messages.is_empty()).then_some(leased))
    }
}

fn receive_from_spool(spool: Spool, pace: &Pace) -> Result<Leased> {
    let now = Utc::now();
    let messages = spool.receive(pace.batch_messages, pace.batch_bytes, now)?;
    let waiting = if messages.is_empty() { 0 } else { spool.depth(now)?.waiting };
    let ids = messages.iter().map(|message| message.id.clone()).collect();
    Ok(Leased { messages, lease: Lease::Spool { spool, ids }, waiting })
}

async fn receive_from_sqs(queue: &Queue, visibility_timeout: Duration, pace: &Pace) -> Result<Leased> {
    let limits = Limits { items: pace.batch_messages, bytes: pace.batch_bytes };
    let wish = Wish { limits, hidden: visibility_timeout, wait: WAIT, until: None };
    let Received { messages, receipts, .. } = queue.receive(wish).await?;
    let waiting = if messages.is_empty() { 0 } else { queue.depth().await?.waiting };
    Ok(Leased { messages, lease: Lease::Sqs { queue: queue.clone(), receipts, visibility_timeout }, waiting })
}

impl Lease {
    /// That of some messages, and that of the others.
    pub(super) fn part(self, is_first: impl Fn(&str) -> bool) -> (Self, Self) {
        match self {
            Self::Spool { spool, ids } => {
                let (first, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_first(id));
                (Self::Spool { spool: spool.clone(), ids: first }, Self::Spool { spool, ids })
            }
            Self::Sqs { queue, receipts, visibility_timeout } => {
                let (first, receipts) = receipts.part(is_first);
                let first = Self::Sqs { queue: queue.clone(), receipts: first, visibility_timeout };
                (first, Self::Sqs { queue, receipts, visibility_timeout })
            }
        }
    }

    /// Deletes messages that were dealt with.
    pub(super) async fn delete(self) -> Result<()> {
        match self {
            Self::Spool { spool, ids } => blocking(move || spool.delete(&ids)).await,
            Self::Sqs { queue, receipts, .. } => Box::pin(queue.delete(&receipts)).await.map(drop),
        }
    }

    /// Makes messages visible again.
    pub(super) async fn release(self) -> Result<()> {
        match self {
            Self::Spool { spool, ids } => blocking(move || spool.release(&ids)).await,
            Self::Sqs { queue, receipts, .. } => Box::pin(queue.hide(&receipts, Duration::ZERO)).await,
        }
    }

    /// Keeps messages hidden from other receivers while they are worked on. If that fails, they may be
    /// received twice, which handlers expect.
    pub(super) async fn keep_hidden(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.extension().max(BRIEF)).await;
            if let Err(error) = self.extend().await {
                tracing::warn!(%error, "messages that are being worked on may become visible to others");
            }
        }
    }

    /// When to hide messages anew; with SQS that costs a request for each ten, so that it is done later.
    fn extension(&self) -> Duration {
        match self {
            Self::Spool { spool, .. } => spool.options().visibility_timeout / 3,
            Self::Sqs { visibility_timeout, .. } => *visibility_timeout / 2,
        }
    }

    async fn extend(&self) -> Result<()> {
        match self {
            Self::Spool { spool, ids } => {
                let (spool, ids) = (spool.clone(), ids.clone());
                blocking(move || spool.extend(&ids, Utc::now())).await
            }
            Self::Sqs { queue, receipts, visibility_timeout } => {
                Box::pin(queue.hide(receipts, *visibility_timeout)).await
            }
        }
    }
}
