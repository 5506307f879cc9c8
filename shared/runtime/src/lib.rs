//! Hosts, message sources, configuration and telemetry.
//!
//! The only crate that knows where triggers come from. It knows nothing of tables: functions are
//! handed to a host as handlers.

pub mod azure;
pub mod config;
pub mod error;
pub mod eventhubs;
pub mod function;
pub mod lambda;
pub mod local;
mod log;
pub mod metrics;
mod pairs;
pub mod replay;
#[cfg(test)]
mod script;
pub mod spool;
pub mod sqs;
pub mod telemetry;
mod work;

pub use error::{Result, RuntimeError};
