//! Keeps materialized views.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

/// Handles a timer. A view none of whose sources changed is skipped without a commit.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Commits(_) | Cause::Timer(_) => lake.refresh_views(&trigger).await,
        Cause::Messages(_) | Cause::Objects(_) => Report::default(),
    }
}
