//! Hubs of events: addresses, and every decision on reading a partition once.
//!
//! A **hub** is an ordered log in **partitions**; the events of a partition have sequence numbers without gaps. A reader keeps the last number that it
//! has committed, and goes on after it. What the hub's retention has taken before it was read is **lost**, and said to be.
//!
//! No number is skipped without a word and none is taken twice, whatever the client does: it may begin again from where it started (a silent rewind), end,
//! or hand over what comes after a hole.

mod address;
mod advance;
mod batch;
mod capture;

pub use address::{HubAddress, HubAddressError, HubIdentity};
pub use advance::{Advance, Extent, Lost, PartitionPlan, Step, plan_partition};
pub use batch::{Fit, HubBatch, HubEvent, PARTITION, PartitionBatch, SEQUENCE_NUMBER};
pub use capture::{CAPTURED, CAPTURED_NUMBER, CAPTURED_TIME, captured_partition, captured_time};
