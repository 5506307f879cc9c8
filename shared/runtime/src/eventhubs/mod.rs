//! Hubs of Azure Event Hubs: reading what a lake doesn't hold yet, and sending.
//!
//! A lake keeps the last sequence number of each partition that it has committed; nothing is checkpointed here. [`Hub::drain`] reads what comes after those
//! numbers, up to what was there when it was asked. What it gives of a partition has no holes but those that retention has made, and
//! no event twice, whatever becomes of links and connections meanwhile. So whoever commits events and numbers together has each event once.
//!
//! Every call ends: each after a time-out, and all of them at the deadline.

mod batches;
mod client;
mod credentials;
mod drain;
mod event;
mod fault;
mod send;
mod source;

use std::fmt;
use std::sync::Arc;

use azure_messaging_eventhubs::ConsumerClient;
use headwater_core::hub::HubAddress;
use tokio::sync::Mutex;

pub(crate) use self::batches::Batches;
pub use self::credentials::{CONNECTION_VARIABLE, Credentials, IDENTITY_VARIABLE};
pub use self::drain::{DrainLimits, Drained, End};
pub use self::send::HubSender;
pub use self::source::{Committed, HubSource};

/// A hub. Nothing is asked for before the first call.
#[derive(Debug, Clone)]
pub struct Hub {
    address: HubAddress,
    credentials: Credentials,
    kept: Kept,
}

/// The connection of the last drain, if nothing has gone wrong with it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<ConsumerClient>>>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl Hub {
    /// The hub at an address; whether it is there shows with the first call.
    #[must_use]
    pub fn new(address: HubAddress, credentials: Credentials) -> Self {
        Self { address, credentials, kept: Kept::default() }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &HubAddress {
        &self.address
    }
}

#[cfg(test)]
mod tests;
