//! Sessions and links: what is counted, and what a link is for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::hub::Hub;

/// What both sides count of a session.
#[derive(Debug)]
pub(super) struct Session {
    /// The number of the next frame that we transfer.
    pub(super) next_out: u32,
    /// The number of our next delivery.
    pub(super) next_delivery: u32,
    /// The number of the next frame that the peer transfers.
    pub(super) next_in: u32,
    /// Frames that the peer takes.
    pub(super) window: i64,
    pub(super) links: BTreeMap<u32, Link>,
}

impl Session {
    pub(super) const fn new(next_in: u32, window: u32) -> Self {
        Self { next_out: 0, next_delivery: 0, next_in, window: window as i64, links: BTreeMap::new() }
    }
}

/// What a link is for.
#[derive(Debug)]
pub(super) enum Role {
    /// The peer sends events, to a partition if it names one.
    Events { hub: Arc<Hub>, partition: Option<usize> },
    /// The peer sends requests to this node.
    Requests { node: String },
    /// The peer receives answers of this node.
    Answers { node: String, reply_to: String, waiting: VecDeque<Vec<u8>> },
    /// The peer receives the events of a partition, from this number on.
    Receiver { hub: Arc<Hub>, partition: usize, next: i64, reader: u64 },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: u32,
    pub(super) role: Role,
    /// Messages that whoever receives still takes.
    pub(super) credit: i64,
    /// Messages transferred.
    pub(super) count: u32,
    /// What has come of a message so far.
    pub(super) partial: Vec<u8>,
    pub(super) delivery: u32,
    /// The format of the message: 0 for one, else a batch.
    pub(super) format: u32,
}

impl Link {
    pub(super) const fn new(handle: u32, role: Role) -> Self {
        Self { handle, role, credit: 0, count: 0, partial: Vec::new(), delivery: 0, format: 0 }
    }

    /// Whether messages go from us to the peer.
    pub(super) const fn is_outgoing(&self) -> bool {
        matches!(self.role, Role::Answers { .. } | Role::Receiver { .. })
    }

    pub(super) const fn reader(&self) -> Option<u64> {
        match &self.role {
            Role::Receiver { reader, .. } => Some(*reader),
            Role::Events { .. } | Role::Requests { .. } | Role::Answers { .. } => None,
        }
    }

    /// Gives up its place among the receivers of its partition.
    pub(super) fn leave(&self) {
        if let Role::Receiver { hub, partition, reader, .. } = &self.role
            && let Some(mut partition) = hub.partition(*partition)
        {
            partition.readers.leave(*reader);
        }
    }
}
