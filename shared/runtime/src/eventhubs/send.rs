//! Sending.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{EventDataBatchOptions, EventHubsError, ProducerClient, RetryOptions};
use headwater_core::error::ErrorKind;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{CALL, close, pause};
use super::{Credentials, Hub};
use crate::error::{Result, RuntimeError};
use crate::replay::Sink;
use crate::spool::NewMessage;

const ACTION: &str = "send to";
/// How often a batch is tried at least.
const TRIES: u32 = 5;
/// How long a batch is tried at least, once the hub has taken another: one that is busy asks for four seconds, and for as many again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Which of what was recorded makes a key is said by a text of at most so many bytes: longer ones aren't taken as keys.
const LONGEST_KEY: usize = 128;

/// A hub as the target of a replay, which blocks.
pub struct HubSender {
    hub: Hub,
    key: Option<String>,
    runtime: Handle,
    producer: Mutex<Option<ProducerClient>>,
    /// The hub has taken events.
    has_sent: AtomicBool,
}

impl std::fmt::Debug for HubSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSender").field("hub", &self.hub).field("key", &self.key).finish_non_exhaustive()
    }
}

impl HubSender {
    /// Sends to a hub by this runtime; not from a thread that the runtime's own work runs on. `key` names a field of JSON events: those with the same
    /// value of it stand in one partition, in the order of sending. The others are spread.
    #[must_use]
    pub fn new(hub: Hub, key: Option<String>, runtime: Handle) -> Self {
        Self { hub, key, runtime, producer: Mutex::default(), has_sent: AtomicBool::new(false) }
    }

    /// Sends events. Those of a batch whose answer was lost are sent again, so that the hub may hold them twice.
    ///
    /// # Errors
    /// `Invalid` for what the hub refuses, `Unavailable` when it doesn't answer. Others of the events may have been sent.
    async fn send_all(&self, events: &[NewMessage]) -> Result<()> {
        let mut by_key: BTreeMap<Option<String>, Vec<&NewMessage>> = BTreeMap::new();
        for event in events {
            by_key.entry(self.key_of(event)).or_default().push(event);
        }
        let mut producer = self.producer.lock().await;
        for (key, events) in by_key {
            let (mut rest, mut tries, mut began) = (&events[..], 1, Instant::now());
            while !rest.is_empty() {
                match self.send_some(&mut producer, key.as_deref(), rest).await {
                    Ok(sent) => {
                        self.has_sent.store(true, Ordering::Relaxed);
                        (rest, tries, began) = (&rest[sent..], 1, Instant::now());
                    }
                    Err(error) if error.kind() == ErrorKind::Invalid || self.is_given_up(tries, began) => {
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::debug!(hub = %self.hub.address(), tries, %error, "a batch is sent again");
                        if let Some(broken) = producer.take() {
                            close(broken.close()).await;
                        }
                        pause(tries, Instant::now() + CALL).await;
                        tries += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a batch that has been tried so often, since then, isn't tried again.
    fn is_given_up(&self, tries: u32, began: Instant) -> bool {
        tries >= TRIES && !(self.has_sent.load(Ordering::Relaxed) && began.elapsed() < PATIENCE)
    }

    /// Sends as many as one batch takes; how many these were.
    async fn send_some(
        &self,
        kept: &mut Option<ProducerClient>,
        key: Option<&str>,
        events: &[&NewMessage],
    ) -> Result<usize> {
        let until = Instant::now() + CALL;
        let producer = match kept {
            Some(producer) => producer,
            None => kept.insert(self.hub.producer(until).await?),
        };
        let options = EventDataBatchOptions { partition_key: key.map(str::to_owned), ..Default::default() };
        let batch = self.hub.call(ACTION, until, producer.create_batch(Some(options))).await?;
        let mut sent = 0;
        for event in events {
            let is_in = batch.try_add_event_data(event_data(event), None);
            if !is_in.map_err(|error| self.refused(&error))? {
                break;
            }
            sent += 1;
        }
        if sent == 0 {
            let reason =
                format!("an event of {} bytes is too large for it", events.first().map_or(0, |event| event.body.len()));
            return Err(self.hub.failed(ACTION, &reason, ErrorKind::Invalid));
        }
        self.hub.call(ACTION, until, producer.send_batch(batch, None)).await?;
        Ok(sent)
    }

    fn refused(&self, error: &EventHubsError) -> RuntimeError {
        self.hub.failed(ACTION, &error.to_string(), ErrorKind::Invalid)
    }

    fn key_of(&self, event: &NewMessage) -> Option<String> {
        let record: serde_json::Value = serde_json::from_slice(&event.body).ok()?;
        let key = match record.get(self.key.as_deref()?)? {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (key.len() <= LONGEST_KEY).then_some(key)
    }
}

impl Sink for HubSender {
    fn send(&self, messages: &[NewMessage]) -> Result<()> {
        self.runtime.block_on(Box::pin(self.send_all(messages)))
    }
}

impl Hub {
    /// Asks the hub whether it is there.
    ///
    /// # Errors
    /// `Invalid` when it isn't or lets nobody in, `Unavailable` when it doesn't answer.
    pub async fn check(&self) -> Result<()> {
        Box::pin(self.about(Instant::now() + CALL)).await.map(drop)
    }

    async fn producer(&self, until: Instant) -> Result<ProducerClient> {
        let retries = RetryOptions { max_retries: 0, ..RetryOptions::default() };
        let mut builder = ProducerClient::builder().with_retry_options(retries);
        if let Some(endpoint) = &self.address.endpoint {
            builder = builder.with_custom_endpoint(endpoint.clone());
        }
        let hub = &self.address.hub;
        match &self.credentials {
            Credentials::ConnectionString(text) => {
                self.call("connect to", until, builder.open_with_connection_string(text, Some(hub))).await
            }
            Credentials::Identity(identity) => {
                let opening = builder.open(&self.address.namespace, hub, Arc::clone(identity));
                self.call("connect to", until, opening).await
            }
        }
    }
}

fn event_data(message: &NewMessage) -> EventData {
    let mut event = EventData::builder().with_body(message.body.to_vec());
    for (name, value) in &message.attributes {
        event = event.add_property(name.clone(), value.as_str());
    }
    event.build()
}
