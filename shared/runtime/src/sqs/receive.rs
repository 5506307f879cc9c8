//! Receiving.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::config;
use aws_sdk_sqs::types::{Message as RawMessage, MessageSystemAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use headwater_core::aws::sqs::delivery::{Delivery, KEPT};
use headwater_core::aws::sqs::drain::{Drained, next_round};
use headwater_core::batch::Limits;
use headwater_core::trigger::Message;
use tokio::time::Instant;

use super::{Queue, client};
use crate::error::Result;

/// SQS hides a message for so long at most.
const LONGEST_HIDDEN: Duration = Duration::from_secs(12 * 3_600);

/// What to receive.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Messages and bytes at most; the bytes about.
    pub limits: Limits,
    /// For how long messages are hidden from other receivers; whole seconds.
    pub hidden: Duration,
    /// For how long the queue may wait for a first message; whole seconds, up to 20.
    pub wait: Duration,
    /// Nothing is asked for after this.
    pub until: Option<Instant>,
}

/// What was received.
#[derive(Debug)]
pub struct Received {
    /// The messages, each delivery one.
    pub messages: Vec<Message>,
    /// What deletes them.
    pub receipts: Receipts,
    /// When the first of them was asked for.
    pub received_at: DateTime<Utc>,
}

/// What SQS deletes and hides received messages by, by the messages' ids. A message that was delivered twice has two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipts(BTreeMap<String, Vec<String>>);

impl Receipts {
    /// Those of some messages, and those of all others.
    #[must_use]
    pub fn part(self, is_first: impl Fn(&str) -> bool) -> (Self, Self) {
        let (first, second) = self.0.into_iter().partition(|(id, _)| is_first(id));
        (Self(first), Self(second))
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        for (id, receipts) in others.0 {
            self.0.entry(id).or_default().extend(receipts);
        }
    }

    /// Ids of the messages.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn all(&self) -> Vec<&str> {
        self.0.values().flatten().map(String::as_str).collect()
    }

    pub(super) fn add(&mut self, id: &str, receipt: String) {
        self.0.entry(id.to_owned()).or_default().push(receipt);
    }
}

impl Queue {
    /// Receives what is wished for, or as much of it as the queue gives now.
    ///
    /// # Errors
    /// `Invalid` when the queue can't be used, `Unavailable` when it doesn't answer; nothing was received then.
    pub async fn receive(&self, wish: Wish) -> Result<Received> {
        let received_at = Utc::now();
        let mut received = Received { messages: Vec::new(), receipts: Receipts::default(), received_at };
        let mut drained = Drained::default();
        loop {
            let asked = next_round(drained, wish.limits);
            if asked.is_empty() || wish.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(received);
            }
            let wait = if drained.last.is_none() { wish.wait } else { Duration::ZERO };
            let requests = asked.iter().map(|count| self.receive_once(*count, wish.hidden, wait));
            let before = received.messages.len();
            for answer in join_all(requests).await {
                match answer {
                    Ok(raw) => raw.into_iter().for_each(|raw| received.add(raw)),
                    Err(error) if received.messages.is_empty() && asked.len() == 1 => return Err(error),
                    Err(error) => tracing::warn!(%error, "some messages could not be received now"),
                }
            }
            let new = &received.messages[before..];
            let bytes = new.iter().map(|message| message.body.len() as u64).sum();
            drained = drained.after(asked.len(), new.len(), bytes);
        }
    }

    /// One request.
    pub(super) async fn receive_once(&self, count: usize, hidden: Duration, wait: Duration) -> Result<Vec<RawMessage>> {
        let connection = self.connection().await?;
        let timeouts = client::timeouts(client::REQUEST + wait);
        let answer = connection
            .client
            .receive_message()
            .queue_url(connection.url)
            .max_number_of_messages(i32::try_from(count).unwrap_or(i32::MAX))
            .visibility_timeout(seconds(hidden))
            .wait_time_seconds(seconds(wait))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(config::Config::builder().timeout_config(timeouts))
            .send()
            .await;
        let answer = answer.map_err(|error| client::failed(self.address(), "receive from", error))?;
        Ok(answer.messages.unwrap_or_default())
    }
}

impl Received {
    fn add(&mut self, raw: RawMessage) {
        let receipt = raw.receipt_handle.clone();
        match (delivery(raw), receipt) {
            (Some(delivery), Some(receipt)) => {
                let message = delivery.into_message();
                self.receipts.add(&message.id, receipt);
                self.messages.push(message);
            }
            (None, _) | (_, None) => {
                tracing::error!("SQS delivered a message without its id, count or time; left there")
            }
        }
    }
}

/// A duration as SQS takes it, in whole seconds, rounded up.
pub(super) fn seconds(duration: Duration) -> i32 {
    duration.min(LONGEST_HIDDEN).as_secs_f64().ceil() as i32
}

/// A message as the SDK hands it over; `None` when it lacks what SQS always says.
pub(super) fn delivery(raw: RawMessage) -> Option<Delivery> {
    let system = raw.attributes.unwrap_or_default();
    let number = |name: MessageSystemAttributeName| system.get(&name)?.parse::<i64>().ok();
    let sent_at = DateTime::from_timestamp_millis(number(MessageSystemAttributeName::SentTimestamp)?)?;
    let receive_count = u32::try_from(number(MessageSystemAttributeName::ApproximateReceiveCount)?).ok()?;
    let own = raw.message_attributes.unwrap_or_default().into_iter().filter_map(|(name, value)| {
        let binary = value.binary_value.map(|bytes| STANDARD.encode(bytes));
        Some((name, value.string_value.or(binary)?))
    });
    let kept = system.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
    let attributes = own.chain(kept.map(|(name, value)| (name.as_str().to_owned(), value.clone()))).collect();
    Some(Delivery { id: raw.message_id?, body: raw.body?.into(), sent_at, receive_count, attributes })
}
