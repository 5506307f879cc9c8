//! What the host of Azure Functions hands to a custom handler: documents in, triggers out, and the answer that it expects.
//!
//! A function has one trigger ([`Function`], as its `function.json` says), and is invoked with a message of a storage queue, which is
//! a notice of stored blobs ([`notice`]), with events of one partition of an event hub ([`HandedOver`]), or by a timer ([`Invocation`]).
//! The host encodes what it hands over once or twice, depending on the binding's type, and both are read. Nothing here
//! says what anybody sent: errors name places, never values.

mod encoding;
mod events;
mod function;
mod invocation;
pub mod notice;

pub use self::events::HandedOver;
pub use self::function::{Function, TriggerKind, function_timeout};
pub use self::invocation::{DONE, Invocation};

#[cfg(test)]
mod tests;
