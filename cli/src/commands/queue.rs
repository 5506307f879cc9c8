//! Queues that the command line names by their addresses.

use std::time::Duration;

use headwater_core::aws::sqs::{AddressError, QueueAddress};
use headwater_runtime::sqs::Queue;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Result};
use crate::output::Output;

/// The queue of SQS at an address.
pub(crate) fn at(address: &str) -> Result<Queue> {
    let address = QueueAddress::parse(address);
    address.map(Queue::new).map_err(|error| Failure::invalid(error.to_string(), AddressError::HELP))
}

/// A bar that says how far something of unknown length is.
pub(crate) fn progress(output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
