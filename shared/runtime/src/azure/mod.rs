//! The host on Azure Functions: a custom handler, one process for all functions of a pipeline.
//!
//! The Functions host starts the program and posts each invocation to it: a message of a storage queue, events of a partition, or a
//! timer. An answer of 2xx settles it; any other makes the host hand it over again, or put a queue's message among the poison
//! ones when it came often enough. Each function works on one batch at a time; invocations that wait meanwhile are the next
//! batch, together. So functions of one process don't race for a table.

mod desk;
mod hubs;
mod serve;
mod settings;

pub use self::serve::{App, serve};
pub use self::settings::{Served, Settings};

#[cfg(test)]
mod hub_tests;
#[cfg(test)]
mod readers_tests;
#[cfg(test)]
mod tests;
