//! What must hold whatever others have written: each check reads some bytes and panics where a promise is broken.
//!
//! No panic, no end of the stack or of memory, nothing lost beside what can't be read, the same reading each time, and what
//! was read and written again is read as the same. `fuzz_targets` hand the bytes over; `run` builds and runs them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a check tells by a panic")]

pub mod changes;
mod findings;
pub mod handovers;
pub mod projects;
pub mod schemas;
pub mod sql;
