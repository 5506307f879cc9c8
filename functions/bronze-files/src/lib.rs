//! Lands arrived files in bronze.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

/// Handles files that arrived, or a timer, which lists the folders: so a lost notification only delays.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Objects(_) | Cause::Timer(_) => lake.land_files(&trigger).await,
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Commits(_) => Report::default(),
    }
}
