//! Keeps materialized views.

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use headwater_frames::group_by;
use headwater_lake::engine::Grouper;
use headwater_lake::lake::Lake;

/// Handles a timer. A view none of whose sources changed is skipped without a commit. Quantiles, modes and
/// distinct counts are computed as data frames.
pub async fn handle(lake: &Lake, trigger: Trigger) -> Report {
    match &trigger.cause {
        Cause::Commits(_) | Cause::Timer(_) => {
            let grouper = Grouper::new(|schema, rows, grouping| group_by(schema, rows, grouping).map_err(Into::into));
            lake.refresh_views(&trigger, &grouper).await
        }
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) => Report::default(),
    }
}
