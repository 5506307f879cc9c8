//! From a queue to `bronze-events` and back.

use std::collections::BTreeSet;

use chrono::Utc;
use headwater_core::aws::sqs::delivery::coming_again;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, MessageBatch, Trigger};

use super::binding::{Lease, Leased};
use super::{FunctionKind, Handler, Listener, Pace, Progress, Queue, wake};
use crate::error::Result;

/// What became of one batch.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) report: Report,
    /// Messages that are worth a redelivery; they are still hidden.
    pub(super) retry: Lease,
}

/// Hands over one batch, and deletes what was dealt with; `None` if nothing waits.
pub(super) async fn hand_over<H: Handler>(
    queue: &Queue,
    pace: &Pace,
    handler: &H,
    listener: Listener<'_>,
) -> Result<Option<Handed>> {
    let received_at = Utc::now();
    let Some(Leased { messages, lease, waiting }) = queue.binding.receive(pace).await? else { return Ok(None) };
    let bytes = messages.iter().map(|message| message.body.len() as u64).sum();
    listener(Progress::Received { source: &queue.source, messages: messages.len() as u64, bytes, waiting });
    let batch = MessageBatch { source: queue.source.clone(), messages: messages.clone(), received_at };
    let work = wake(handler, listener, FunctionKind::BronzeEvents, Trigger::new(Cause::Messages(batch)));
    let report = tokio::select! {
        report = work => report,
        never = lease.keep_hidden() => match never {},
    };
    let failed = report.retry.iter().map(|retry| retry.item.as_str()).collect();
    let again = coming_again(&messages, &failed);
    let again: BTreeSet<_> = again.into_iter().map(|index| messages[index].id.as_str()).collect();
    let (retry, done) = lease.part(|id| again.contains(id));
    done.delete().await?;
    Ok(Some(Handed { report, retry }))
}
