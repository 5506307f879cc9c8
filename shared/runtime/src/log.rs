//! What is logged of a report: counts and outcomes, never a value of a row.
//!
//! No field is called as one that each line has (`target`, `message`, `level`).

use headwater_core::error::ErrorKind;
use headwater_core::report::{FlowReport, Outcome, Report};

/// Logs each flow that had something to do, and each item that has to come again.
pub(crate) fn report(report: &Report) {
    report.flows.iter().for_each(flow);
    if let Some(first) = report.retry.first() {
        tracing::warn!(items = report.retry.len(), item = first.item, "items have to come again");
    }
}

fn flow(report: &FlowReport) {
    let FlowReport { flow, target, rows, millis, .. } = report;
    match &report.outcome {
        Outcome::NothingNew | Outcome::AlreadyApplied => tracing::debug!(%flow, dataset = %target, "nothing to commit"),
        Outcome::Committed { version } => tracing::info!(
            %flow, dataset = %target, version, millis, attempts = report.attempts,
            read = rows.read, written = rows.written, dropped = rows.dropped,
            quarantined = rows.quarantined, late = rows.late, duplicate = rows.duplicate,
            "committed"
        ),
        Outcome::Waiting { reason } => tracing::info!(%flow, dataset = %target, reason, "waits"),
        Outcome::Retryable { reason } => tracing::warn!(%flow, dataset = %target, reason, "not done yet"),
        Outcome::Skipped { upstream } => {
            tracing::warn!(%flow, dataset = %target, %upstream, "skipped, as what it reads failed")
        }
        // The message may quote a value that didn't fit.
        Outcome::Failed { kind: ErrorKind::Data, .. } => {
            let broken: Vec<_> = report.expectations.iter().filter(|rule| rule.failed > 0).collect();
            let rules = broken.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ");
            tracing::error!(%flow, dataset = %target, kind = "data", rules, "rows failed the flow");
        }
        Outcome::Failed { kind, message } => {
            tracing::error!(%flow, dataset = %target, %kind, reason = message, "flow failed")
        }
    }
}
