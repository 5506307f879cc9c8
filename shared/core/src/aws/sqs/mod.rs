//! Queues of SQS, as far as things are decided without asking one: where a queue is ([`QueueAddress`]), what fits
//! into a request and what becomes of the entries that failed ([`requests`]), how much is received at once ([`drain`]),
//! which message a delivery is ([`delivery`]), and what an error means ([`fault`]).
//!
//! Nothing here sends anything, waits or reads a clock.

mod address;
pub mod delivery;
pub mod drain;
pub mod fault;
pub mod requests;

pub use self::address::{AddressError, QueueAddress, Target};
