//! The part of AMQP 1.0 that a server of Event Hubs needs: values, frames and message sections.
//!
//! What peers send is decoded to be looked at; messages are kept as the bytes that they came in.

mod decode;
mod encode;
mod frame;

pub(crate) use decode::{Fields, Section, Value, entries, performative, sections};
pub(crate) use encode::{Encoder, described, outcome_rejected, text_array};
pub(crate) use frame::{HEADER, MAX_FRAME, PROTOCOL, SASL, put_frame, read_frame};

/// What a peer sent can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed AMQP: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Codes of performatives, outcomes and sections ([AMQP 1.0, part 2 and 3](https://docs.oasis-open.org/amqp/core/v1.0/)).
pub(crate) mod code {
    pub(crate) const OPEN: u8 = 0x10;
    pub(crate) const BEGIN: u8 = 0x11;
    pub(crate) const ATTACH: u8 = 0x12;
    pub(crate) const FLOW: u8 = 0x13;
    pub(crate) const TRANSFER: u8 = 0x14;
    pub(crate) const DISPOSITION: u8 = 0x15;
    pub(crate) const DETACH: u8 = 0x16;
    pub(crate) const END: u8 = 0x17;
    pub(crate) const CLOSE: u8 = 0x18;
    pub(crate) const ERROR: u8 = 0x1d;
    pub(crate) const ACCEPTED: u8 = 0x24;
    pub(crate) const REJECTED: u8 = 0x25;
    pub(crate) const SASL_MECHANISMS: u8 = 0x40;
    pub(crate) const SASL_INIT: u8 = 0x41;
    pub(crate) const SASL_OUTCOME: u8 = 0x44;
    pub(crate) const SECTION_HEADER: u8 = 0x70;
    pub(crate) const DELIVERY_ANNOTATIONS: u8 = 0x71;
    pub(crate) const MESSAGE_ANNOTATIONS: u8 = 0x72;
    pub(crate) const PROPERTIES: u8 = 0x73;
    pub(crate) const APPLICATION_PROPERTIES: u8 = 0x74;
    pub(crate) const DATA: u8 = 0x75;
    pub(crate) const AMQP_VALUE: u8 = 0x77;
}
