//! Moves new commits through expectations and deduplication to the next tables.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

/// Handles new commits, or a timer. The work is found from the tables, so a lost or doubled notification changes no row.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Commits(_) | Cause::Timer(_) => lake.advance_streams(&trigger).await,
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) => Report::default(),
    }
}
