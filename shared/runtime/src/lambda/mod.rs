//! The host on AWS Lambda: one function of a pipeline, invoked with batches of SQS messages or by timers.
//!
//! What it was invoked with becomes a trigger, and the report becomes an answer for each message: those
//! that are done are deleted, the others come again, or become dead letters when they came often
//! enough. Between invocations nothing is done; what the handler keeps warm stays.

mod answer;
mod drain;
mod serve;
mod settings;

pub use self::answer::Function;
pub use self::drain::Drain;
pub use self::serve::serve;
pub use self::settings::Settings;

#[cfg(test)]
mod tests;
