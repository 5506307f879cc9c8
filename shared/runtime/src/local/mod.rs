//! The local host: wakes the five functions in one process, by the triggers that a cloud would send.
//!
//! Messages of a queue, a spool or a cloud's, and events of a hub wake `bronze-events`, files that arrive wake `bronze-files`, a new
//! `_delta_log/<20 digits>.json` wakes `silver`, timers wake `gold` and `compact`. What a function
//! does is the handler's business; no table is known here. Any number of hosts may work on one lake.
//!
//! [`Host::update`] works until nothing is new; [`Host::watch`] goes on until it is told to stop.

mod binding;
mod commits;
mod hubs;
mod queue;
mod update;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::Trigger;

use crate::error::{Result, RuntimeError};
use crate::eventhubs::HubSource;
use crate::spool::Spool;
use crate::sqs;

pub use crate::function::{FunctionKind, Handler};

pub use self::commits::CommitLog;
pub use self::watch::{Stop, stop_on_signals};

/// What a host is doing, for whoever draws it.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A function was woken.
    Started {
        /// Which.
        function: FunctionKind,
    },
    /// Messages were received, and are about to be handed over.
    Received {
        /// The source.
        source: &'a str,
        /// How many, in this batch.
        messages: u64,
        /// Bytes of their bodies.
        bytes: u64,
        /// How many still wait.
        waiting: u64,
    },
    /// A function ended.
    Finished {
        /// Which.
        function: FunctionKind,
        /// What it did.
        report: &'a Report,
    },
    /// Nothing is new; a watching host waits.
    Idle,
    /// A source or folder can't be used now; a watching host tries again.
    Trouble {
        /// What happened.
        error: &'a RuntimeError,
    },
}

/// Who is told of progress.
pub type Listener<'a> = &'a dyn Fn(Progress<'_>);

/// An event source of the pipeline and the queue that it is bound to.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The name, as in `read_events('<name>')`.
    pub source: String,
    /// Its messages.
    pub binding: Binding,
}

/// A queue of messages.
#[derive(Debug, Clone)]
pub enum Binding {
    /// The embedded one.
    Spool(Spool),
    /// One of SQS.
    Sqs {
        /// The queue.
        queue: sqs::Queue,
        /// A received message is hidden from others for so long.
        visibility_timeout: Duration,
    },
}

/// A table whose commits wake `silver`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedTable {
    /// The table.
    pub dataset: DatasetName,
    /// Its folder, which holds `_delta_log`; it need not exist yet.
    pub folder: PathBuf,
}

/// How much a host hands over at once, and how often it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Messages of one batch at most.
    pub batch_messages: usize,
    /// Bytes of one batch of messages, about.
    pub batch_bytes: u64,
    /// Between two looks at spools, folders and logs.
    pub poll: Duration,
    /// Between two looks at hubs, each of which asks the service.
    pub hubs: Duration,
    /// Between two timers of `gold`, while there are commits.
    pub gold: Duration,
    /// Between two timers of `compact`.
    pub compact: Duration,
    /// Between two timers of the functions that triggers wake, should a trigger have been lost.
    pub sweep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch_messages: 10_000,
            batch_bytes: 256 << 20,
            poll: Duration::from_millis(200),
            hubs: Duration::from_secs(1),
            gold: Duration::from_secs(5),
            compact: Duration::from_secs(300),
            sweep: Duration::from_secs(60),
        }
    }
}

/// The local host of one pipeline.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Event sources that are bound to queues.
    pub queues: Vec<Queue>,
    /// Event sources that are bound to hubs.
    pub hubs: Vec<HubSource>,
    /// Folders in which files arrive; used by [`Host::watch`] to wake `bronze-files` at once.
    pub landing: Vec<PathBuf>,
    /// Whether the pipeline reads files at all.
    pub reads_files: bool,
    /// Tables whose commits wake `silver`, those of remote storage left out: they are found by the
    /// reports of this host's own functions, and by the sweep.
    pub tables: Vec<WatchedTable>,
    /// Sizes and intervals.
    pub pace: Pace,
}

impl Host {
    /// One update: all that waits goes through bronze, silver and gold, then tables are compacted.
    ///
    /// Work that fails or can't be done now isn't repeated here: it is in the report, its messages
    /// wait for the next update. `functions` are those that may be woken, in this order of work.
    ///
    /// # Errors
    /// When a spool or a folder can't be used; what was done before is durable.
    pub async fn update<H: Handler>(
        &self,
        functions: &[FunctionKind],
        handler: &H,
        listener: Listener<'_>,
    ) -> Result<Report> {
        update::Update { host: self, functions, handler, listener }.run().await
    }

    /// Goes on until told to stop; then ends what is under way, and returns.
    ///
    /// Nothing ends it but `stop`: trouble with a source is told to the listener and tried again.
    pub async fn watch<H: Handler>(&self, handler: &H, listener: Listener<'_>, stop: Stop) {
        watch::Watch { host: self, handler, listener, stop }.run().await;
    }
}

/// Whether a report says that some table has a new version.
fn has_commits(report: &Report) -> bool {
    report.flows.iter().any(|flow| matches!(flow.outcome, Outcome::Committed { .. }))
}

/// Wakes a function and tells the listener.
async fn wake<H: Handler>(handler: &H, listener: Listener<'_>, function: FunctionKind, trigger: Trigger) -> Report {
    listener(Progress::Started { function });
    let report = handler.handle(function, trigger).await;
    listener(Progress::Finished { function, report: &report });
    report
}

/// Runs a blocking call beside the async work.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => Err(RuntimeError::Task { reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests;
