//! What AWS hands to a function: documents in, triggers out, and the answer that AWS expects.
//!
//! Lambda is invoked with a batch of SQS messages, or by a timer or a person ([`Invocation`]). The
//! messages are events of a source, or notices of objects that S3 stored ([`notice`]). What is to be
//! redelivered is answered message by message ([`batch`]). Nothing here says what anybody sent: errors name places, never values.
//! [`metrics`] go into the log. [`sqs`] is the other side: what a queue is asked for.

pub mod batch;
mod invocation;
pub mod metrics;
pub mod notice;
mod queue;
pub mod sqs;

pub use self::invocation::Invocation;
pub use self::queue::QueueBatch;

#[cfg(test)]
mod tests;
