//! Lands message batches and what was read of hubs in bronze.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

/// Handles a batch. Messages that are worth a redelivery are in the report; all others may be deleted.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Messages(batch) => lake.land_messages(batch, trigger.deadline).await,
        Cause::Partitions(batch) => lake.land_partitions(batch, trigger.deadline).await,
        Cause::Objects(_) | Cause::Commits(_) | Cause::Timer(_) => Report::default(),
    }
}
