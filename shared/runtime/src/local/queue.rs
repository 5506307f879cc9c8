//! From a spool to `bronze-events` and back.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use chrono::Utc;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, MessageBatch, Trigger};

use super::{FunctionKind, Handler, Listener, Pace, Progress, Queue, blocking, wake};
use crate::error::Result;
use crate::spool::Spool;

/// Messages are not hidden anew more often than this.
const BRIEF: Duration = Duration::from_millis(50);

/// What became of one batch.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) report: Report,
    /// Messages that are worth a redelivery; they are still hidden.
    pub(super) retry: Vec<String>,
}

/// Hands over one batch, and deletes what was dealt with; `None` if nothing waits.
pub(super) async fn hand_over<H: Handler>(
    queue: &Queue,
    pace: &Pace,
    handler: &H,
    listener: Listener<'_>,
) -> Result<Option<Handed>> {
    let Some((batch, waiting)) = receive(queue, pace).await? else { return Ok(None) };
    let bytes = batch.messages.iter().map(|message| message.body.len() as u64).sum();
    let messages = batch.messages.len() as u64;
    listener(Progress::Received { source: &queue.source, messages, bytes, waiting });
    let ids: Vec<String> = batch.messages.iter().map(|message| message.id.clone()).collect();
    let work = wake(handler, listener, FunctionKind::BronzeEvents, Trigger::new(Cause::Messages(batch)));
    let report = tokio::select! {
        report = work => report,
        never = keep_hidden(&queue.spool, &ids) => match never {},
    };
    let retry: BTreeSet<&str> = report.retry.iter().map(|retry| retry.item.as_str()).collect();
    let (retry, done): (Vec<String>, Vec<String>) = ids.into_iter().partition(|id| retry.contains(id.as_str()));
    let spool = queue.spool.clone();
    blocking(move || spool.delete(&done)).await?;
    Ok(Some(Handed { report, retry }))
}

/// Makes messages visible again.
pub(super) async fn release(queue: &Queue, ids: Vec<String>) -> Result<()> {
    let spool = queue.spool.clone();
    blocking(move || spool.release(&ids)).await
}

/// Keeps messages hidden from other receivers while they are worked on. If that fails, they may be
/// received twice, which handlers expect.
async fn keep_hidden(spool: &Spool, ids: &[String]) -> Infallible {
    loop {
        tokio::time::sleep((spool.options().visibility_timeout / 3).max(BRIEF)).await;
        let (spool, ids) = (spool.clone(), ids.to_vec());
        if let Err(error) = blocking(move || spool.extend(&ids, Utc::now())).await {
            tracing::warn!(%error, "messages that are being worked on may become visible to others");
        }
    }
}

async fn receive(queue: &Queue, pace: &Pace) -> Result<Option<(MessageBatch, u64)>> {
    let (spool, source) = (queue.spool.clone(), queue.source.clone());
    let (batch_messages, batch_bytes) = (pace.batch_messages, pace.batch_bytes);
    blocking(move || {
        let received_at = Utc::now();
        let messages = spool.receive(batch_messages, batch_bytes, received_at)?;
        if messages.is_empty() {
            return Ok(None);
        }
        let waiting = spool.depth(received_at)?.waiting;
        Ok(Some((MessageBatch { source, messages, received_at }, waiting)))
    })
    .await
}
