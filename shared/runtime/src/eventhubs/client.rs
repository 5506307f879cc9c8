//! The official client, with an end to every call.
//!
//! Its own retries are off: a receiver that it recovers begins again from where it was opened, without a word. Whatever fails is done again here, by a
//! new connection.

use std::sync::Arc;
use std::time::Duration;

use azure_messaging_eventhubs::{
    ConsumerClient, EventReceiver, OpenReceiverOptions, RetryOptions, StartLocation, StartPosition,
};
use headwater_core::backoff::{Setback, next_delay};
use headwater_core::error::ErrorKind;
use headwater_core::hub::{Extent, HubIdentity};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::fault::{Fault, fault};
use super::{Credentials, Hub};
use crate::error::{Result, RuntimeError};

/// A question, or the opening of a link or a connection, has failed when it takes longer.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// How often a hub is asked who it is.
const TRIES: u32 = 4;
/// Events that may be on their way.
const PREFETCH: u32 = 1_500;
/// The owner level of whoever drains: it keeps readers without one away, and gives way to the next who drains.
const OWNER_LEVEL: i64 = 0;
/// A link or connection is left alone when it can't be closed in this time.
const CLOSE: Duration = Duration::from_secs(1);

impl Hub {
    /// A connection, and what the hub says of itself: which it is, and its partitions. The connection of the last time is taken if it is still good.
    pub(super) async fn meet(&self, until: Instant) -> Result<(ConsumerClient, HubIdentity, Vec<String>)> {
        let mut tries = 1;
        loop {
            match self.met(until).await {
                Ok(met) => return Ok(met),
                Err(error) if error.kind() == ErrorKind::Invalid || tries >= TRIES || Instant::now() >= until => {
                    return Err(error);
                }
                Err(error) => tracing::debug!(hub = %self.address, tries, %error, "the hub is asked again"),
            }
            pause(tries, until).await;
            tries += 1;
        }
    }

    /// Which hub it is, and its partitions.
    pub(super) async fn about(&self, until: Instant) -> Result<(HubIdentity, Vec<String>)> {
        let (client, hub, names) = self.meet(until).await?;
        *self.kept.0.lock().await = Some(client);
        Ok((hub, names))
    }

    async fn met(&self, until: Instant) -> Result<(ConsumerClient, HubIdentity, Vec<String>)> {
        let kept = self.kept.0.lock().await.take();
        let client = match kept {
            Some(client) => client,
            None => self.connect(until).await?,
        };
        let about = self.call("ask about", until, client.get_eventhub_properties()).await?;
        let created = about.created_on.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let created = created.and_then(|since| i64::try_from(since.as_millis()).ok());
        let (namespace, hub) = (self.address.namespace.clone(), self.address.hub.clone());
        Ok((client, HubIdentity { namespace, hub, created }, about.partition_ids))
    }

    /// A connection of its own.
    pub(super) async fn connect(&self, until: Instant) -> Result<ConsumerClient> {
        // Where another part of the program was first, TLS is set up already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let retries = RetryOptions { max_retries: 0, ..RetryOptions::default() };
        let group = self.address.consumer_group.clone();
        let mut builder = ConsumerClient::builder().with_consumer_group(group).with_retry_options(retries);
        if let Some(endpoint) = &self.address.endpoint {
            builder = builder.with_custom_endpoint(endpoint.clone());
        }
        let hub = &self.address.hub;
        match &self.credentials {
            Credentials::ConnectionString(text) => {
                self.call("connect to", until, builder.open_with_connection_string(text, Some(hub))).await
            }
            Credentials::Identity(identity) => {
                let opening = builder.open(&self.address.namespace, hub.clone(), Arc::clone(identity));
                self.call("connect to", until, opening).await
            }
        }
    }

    /// What a partition holds.
    pub(super) async fn extent(&self, client: &ConsumerClient, partition: &str, until: Instant) -> Result<Extent> {
        let about = self.call("ask about", until, client.get_partition_properties(partition)).await?;
        let last = about.last_enqueued_sequence_number;
        let beginning = if about.is_empty { last + 1 } else { about.beginning_sequence_number };
        Ok(Extent { beginning, last })
    }

    /// A receiver of what comes after a number. Never of the end, which is another one each time that a link is opened.
    pub(super) async fn open(
        &self,
        client: &ConsumerClient,
        (partition, after): (&str, Option<i64>),
        until: Instant,
    ) -> Result<EventReceiver> {
        let location = after.map_or(StartLocation::Earliest, StartLocation::SequenceNumber);
        let options = OpenReceiverOptions {
            owner_level: Some(OWNER_LEVEL),
            prefetch: Some(PREFETCH),
            start_position: Some(StartPosition { location, inclusive: false }),
            receive_timeout: None,
        };
        self.call("read", until, client.open_receiver_on_partition(partition.to_owned(), Some(options))).await
    }

    /// One call, which ends in time.
    pub(super) async fn call<T>(
        &self,
        action: &'static str,
        until: Instant,
        call: impl Future<Output = azure_messaging_eventhubs::Result<T>>,
    ) -> Result<T> {
        match timeout_at(until.min(Instant::now() + CALL), Box::pin(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let kind = match fault(&error) {
                    Fault::Final => ErrorKind::Invalid,
                    Fault::Stolen => ErrorKind::Conflict,
                    Fault::Passing => ErrorKind::Unavailable,
                };
                Err(self.failed(action, &error.to_string(), kind))
            }
            Err(_) => Err(self.failed(action, "it doesn't answer in time", ErrorKind::Unavailable)),
        }
    }

    /// Why a partition wasn't read to its end.
    pub(crate) fn unread(&self, partition: &str, reason: &str) -> RuntimeError {
        self.failed("read", &format!("partition {partition}: {reason}"), ErrorKind::Unavailable)
    }

    /// An error that shows nothing of credentials.
    pub(super) fn failed(&self, action: &'static str, reason: &str, kind: ErrorKind) -> RuntimeError {
        let is_secret = ["SharedAccess", "sig=", "Bearer "].iter().any(|mark| reason.contains(mark));
        let reason =
            if is_secret { "the service refused the credentials".into() } else { reason.chars().take(300).collect() };
        let remedy = match kind {
            ErrorKind::Invalid => "check the hub's name, the consumer group and what the credentials allow",
            ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Data | ErrorKind::Internal => {
                "check that the namespace can be reached, and try again"
            }
        };
        RuntimeError::Hub { hub: self.address.to_string(), action, reason, kind, remedy }
    }
}

/// Waits before another try, with a delay that grows.
pub(super) async fn pause(tries: u32, until: Instant) {
    sleep_until(until.min(Instant::now() + next_delay(Setback::Failed, tries + 2, rand::random()))).await;
}

/// Closes what was read from, which stays read if that fails; whether it was closed in order.
pub(super) async fn close(closing: impl Future<Output = azure_messaging_eventhubs::Result<()>>) -> bool {
    let closed = timeout(CLOSE, Box::pin(closing)).await;
    let is_closed = matches!(closed, Ok(Ok(())));
    if !is_closed {
        tracing::debug!("a link or connection could not be closed in order");
    }
    is_closed
}
