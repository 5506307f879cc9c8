//! Brings dead letters back.
//!
//! A message is sent to its queue first and deleted from the dead letters then, so that none is lost, whatever dies. One
//! that was sent and not deleted is returned once more the next time; as both carry the id of the first
//! ([`ORIGIN`]), rows of it land once.

use std::time::Duration;

use aws_sdk_sqs::types::{Message as RawMessage, MessageSystemAttributeName};
use chrono::{DateTime, Utc};
use headwater_core::aws::sqs::delivery::{ORIGIN, origin};
use headwater_core::aws::sqs::requests::ENTRIES;

use super::Queue;
use super::receive::{Receipts, delivery};
use super::send::{Outgoing, text};
use crate::error::Result;
use crate::local::Stop;

/// For how long dead letters are hidden while they are returned.
const HIDDEN: Duration = Duration::from_secs(120);
/// For how long the last look for a dead letter waits.
const WAIT: Duration = Duration::from_secs(2);

/// What was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redriven {
    /// Dead letters that are in the queue again.
    pub returned: u64,
    /// Dead letters that the queue refused; they stay.
    pub refused: u64,
    /// Dead letters that came while this ran, or that could not be deleted after they were returned; they stay too.
    pub left: u64,
}

impl Queue {
    /// Brings all dead letters of this queue back to another one, until none is left that was sent before now. `tell`
    /// hears how far it is, and `stop` ends it between two requests.
    ///
    /// # Errors
    /// When a queue can't be used. What was returned before stays so.
    pub async fn redrive_to(&self, target: &Self, tell: impl Fn(Redriven), stop: &Stop) -> Result<Redriven> {
        let started = Utc::now();
        let mut redriven = Redriven::default();
        let mut kept = Receipts::default();
        while !*stop.borrow() {
            let letters = self.receive_once(ENTRIES, HIDDEN, WAIT).await?;
            if letters.is_empty() {
                break;
            }
            let (letters, newer): (Vec<_>, Vec<_>) = letters.into_iter().partition(|raw| is_before(raw, started));
            redriven.left += newer.len() as u64;
            newer.into_iter().filter_map(receipt).for_each(|(id, receipt)| kept.add(&id, receipt));
            let sent = self.return_to(target, letters, &mut kept).await?;
            redriven.returned += sent.returned;
            redriven.refused += sent.refused;
            redriven.left += sent.left;
            tell(redriven);
        }
        self.hide(&kept, Duration::ZERO).await?;
        Ok(redriven)
    }

    async fn return_to(&self, target: &Self, letters: Vec<RawMessage>, kept: &mut Receipts) -> Result<Redriven> {
        let (outgoing, receipts): (Vec<_>, Vec<_>) = letters.into_iter().filter_map(returned).unzip();
        let outcome = target.send_all(&outgoing).await?;
        let mut done = Receipts::default();
        for (index, (id, receipt)) in receipts.into_iter().enumerate() {
            if outcome.left.contains(&index) { kept.add(&id, receipt) } else { done.add(&id, receipt) }
        }
        let left = self.delete(&done).await? as u64;
        if let Some(error) = outcome.error {
            tracing::warn!(%error, "dead letters could not be returned");
        }
        let refused = outcome.left.len() as u64;
        Ok(Redriven { returned: (outgoing.len() as u64) - refused, refused, left })
    }
}

fn sent_at(raw: &RawMessage) -> Option<DateTime<Utc>> {
    let sent = raw.attributes.as_ref()?.get(&MessageSystemAttributeName::SentTimestamp)?;
    DateTime::from_timestamp_millis(sent.parse().ok()?)
}

/// Whether a dead letter can't be one that this redrive returned, and that has died again.
fn is_before(raw: &RawMessage, started: DateTime<Utc>) -> bool {
    sent_at(raw).is_none_or(|sent| sent < started)
}

fn receipt(raw: RawMessage) -> Option<(String, String)> {
    raw.message_id.zip(raw.receipt_handle)
}

/// The message to send for a dead letter, and what deletes the letter. A FIFO queue takes it once, however often it is sent.
fn returned(raw: RawMessage) -> Option<(Outgoing, (String, String))> {
    let receipt = receipt(raw.clone())?;
    let mut attributes = raw.message_attributes.clone().unwrap_or_default();
    let group = raw.attributes.as_ref().and_then(|kept| kept.get(&MessageSystemAttributeName::MessageGroupId)).cloned();
    let delivery = delivery(raw)?;
    let deduplication = format!("redriven-{}", delivery.id);
    if !attributes.contains_key(ORIGIN) {
        attributes.insert(ORIGIN.to_owned(), text(&origin(&delivery.id, delivery.sent_at))?);
    }
    let body = String::from_utf8_lossy(&delivery.body).into_owned();
    Some((Outgoing { body, attributes, group, deduplication }, receipt))
}
