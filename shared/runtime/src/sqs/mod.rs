//! A queue of SQS: sending, receiving, deleting, and bringing dead letters back.
//!
//! Delivery is at least once. A message that was received is hidden from other receivers for as long as was asked for
//! ([`Wish::hidden`]), and comes again unless it is deleted before. Every call ends: the whole of it after a minute, a single
//! request sooner. Requests that fail are repeated with growing waits, and entries of them that fail alone too.
//!
//! Nothing is asked for or read before the first call: a queue that isn't used costs nothing.

mod client;
mod deadletters;
mod depth;
mod entries;
mod receive;
mod send;
mod settle;

use std::sync::Arc;

use aws_sdk_sqs::Client;
use headwater_core::aws::sqs::{QueueAddress, Target};
use tokio::sync::OnceCell;

use crate::error::Result;

pub use self::deadletters::Redriven;
pub use self::receive::{Receipts, Received, Wish};
pub use self::send::BlockingSender;

/// A queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: QueueAddress,
    client: OnceCell<Client>,
    url: OnceCell<String>,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
struct Connection<'a> {
    client: &'a Client,
    url: &'a str,
}

impl Queue {
    /// The queue at an address; whether it is there shows with the first call.
    #[must_use]
    pub fn new(address: QueueAddress) -> Self {
        Self::with_client(address, None)
    }

    /// The same, reached by a client that is there already.
    fn with_client(address: QueueAddress, client: Option<Client>) -> Self {
        let inner = Inner { address, client: OnceCell::new_with(client), url: OnceCell::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &QueueAddress {
        &self.inner.address
    }

    /// Makes sure that the queue is there.
    ///
    /// # Errors
    /// `Invalid` when there is no such queue, or no credentials or permission for it; `Unavailable` when nothing answers.
    pub async fn check(&self) -> Result<()> {
        self.depth().await.map(drop)
    }

    async fn connection(&self) -> Result<Connection<'_>> {
        let client = self.inner.client.get_or_try_init(|| client::connect(self.address())).await?;
        let url = self.inner.url.get_or_try_init(|| self.find(client)).await?;
        Ok(Connection { client, url })
    }

    async fn find(&self, client: &Client) -> Result<String> {
        let (name, account) = match &self.address().target {
            Target::Url(url) => return Ok(url.clone()),
            Target::Name { name, account } => (name, account.clone()),
        };
        let asked = client.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(account);
        let found = asked.send().await.map_err(|error| client::failed(self.address(), "find", error))?;
        Ok(found.queue_url.unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests;
