//! Mends small files, makes checkpoints, cleans logs and deletes what nobody reads any more.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

/// Handles a timer. No reader sees a row change.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Commits(_) | Cause::Timer(_) => lake.maintain(&trigger).await,
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) => Report::default(),
    }
}
