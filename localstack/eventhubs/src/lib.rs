//! An Event Hubs emulator that can be told to fail, for tests of whatever sends to hubs or receives from them.
//!
//! It speaks AMQP 1.0 over plain TCP, with code of its own, so that a test decides what happens to each link,
//! acknowledgement and connection. Events are kept in memory. What the real service does is followed as far as its documentation and
//! its clients tell.

mod amqp;
mod broker;
mod connection;
pub mod control;
mod faults;
mod hub;
mod position;
mod readers;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::broker::Broker;

pub use crate::faults::{Fault, Faults};
pub use crate::hub::PartitionState;

/// How an emulator behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Hubs and their partitions. If there are none, each hub is made when it is first named.
    pub hubs: BTreeMap<String, usize>,
    /// Partitions of hubs that are made when they are named.
    pub partitions: usize,
    /// The name and the value of the key that signs tokens; `None` lets everybody in. Tokens of Entra ID aren't checked.
    pub key: Option<(String, String)>,
    /// Between storing a batch and acknowledging it, and before the end of a link or session is answered: a client that has ended a session without
    /// waiting for its links may not bear answers that come at once, as those of no distant service do.
    pub answer_delay: Duration,
    /// Bytes of a message or batch at most.
    pub max_message: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            hubs: BTreeMap::new(),
            partitions: 4,
            key: None,
            answer_delay: Duration::from_millis(2),
            max_message: 1 << 20,
        }
    }
}

/// A running emulator; it ends when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    broker: Arc<Broker>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Emulator {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let broker = Arc::new(Broker::new(options));
        let server = tokio::spawn(serve(listener, Arc::clone(&broker)));
        Ok(Self { broker, address, server })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client connects with. Clients that honour `UseDevelopmentEmulator` leave out TLS; some of them always take port 5672.
    #[must_use]
    pub fn connection_string(&self) -> String {
        let (name, key) = match &self.broker.options.key {
            Some((name, key)) => (name.as_str(), key.as_str()),
            None => ("RootManageSharedAccessKey", "anything"),
        };
        format!(
            "Endpoint=sb://{};SharedAccessKeyName={name};SharedAccessKey={key};UseDevelopmentEmulator=true",
            self.address
        )
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.broker.faults
    }

    /// The states of a hub's partitions; none if there is no such hub.
    #[must_use]
    pub fn partitions(&self, hub: &str) -> Vec<PartitionState> {
        self.broker.states(hub)
    }

    /// Deletes a hub and makes it anew: empty, numbered from 0, with another time of creation.
    pub fn recreate(&self, hub: &str, partitions: usize) {
        self.broker.recreate(hub, partitions);
    }

    /// Takes away the events of a partition before a sequence number, as retention does.
    pub fn trim(&self, hub: &str, partition: usize, before: i64) {
        self.broker.trim(hub, partition, before);
    }

    /// Detaches the receivers of a partition, as one with a higher owner level does.
    pub fn steal(&self, hub: &str, partition: usize) {
        self.broker.steal(hub, partition);
    }

    /// Drops all connections and takes none, until told otherwise.
    pub fn set_outage(&self, is_out: bool) {
        self.broker.set_outage(is_out);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
        self.broker.set_outage(true);
    }
}

async fn serve(listener: TcpListener, broker: Arc<Broker>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        if broker.faults.is_out() {
            continue;
        }
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            if let Err(error) = connection::serve(stream, broker).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
}
