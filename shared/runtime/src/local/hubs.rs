//! From a hub to `bronze-events`.

use std::time::Duration;

use headwater_core::batch::Limits;
use headwater_core::hub::HubBatch;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use tokio::time::Instant;

use super::{FunctionKind, Handler, Listener, Pace, Progress, wake};
use crate::error::{Result, RuntimeError};
use crate::eventhubs::{Batches, DrainLimits, Drained};

/// One batch is read for so long at most.
const READ: Duration = Duration::from_secs(60);

/// What became of one look at a hub.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) report: Report,
    /// What kept a partition from being read to its end.
    pub(super) trouble: Option<RuntimeError>,
    /// Nothing was there that isn't committed.
    pub(super) is_idle: bool,
}

impl Batches<'_> {
    /// Reads what the lake doesn't hold yet, one batch of it, and hands it over.
    pub(super) async fn land<H: Handler>(
        &mut self,
        pace: &Pace,
        handler: &H,
        listener: Listener<'_>,
    ) -> Result<Landed> {
        let batch = Limits { items: pace.batch_messages, bytes: pace.batch_bytes };
        let limits = || DrainLimits { batch, deadline: Instant::now() + READ };
        let drained = self.next(limits()).await?;
        self.read_on(&drained, limits());
        let (bound, Drained { hub, partitions, ends, .. }) = (self.source(), drained);
        let (source, trouble) = (&bound.source, bound.trouble(ends));
        let batch = HubBatch { source: source.clone(), hub, partitions };
        if batch.is_empty() {
            return Ok(Landed { report: Report::default(), is_idle: trouble.is_none(), trouble });
        }
        let events = batch.partitions.values().flat_map(|partition| &partition.events);
        let bytes = events.map(|event| event.body.len() as u64).sum();
        listener(Progress::Received { source, messages: batch.len() as u64, bytes, waiting: 0 });
        let report = wake(handler, listener, FunctionKind::BronzeEvents, Trigger::new(Cause::Partitions(batch))).await;
        self.landed(&report).await;
        Ok(Landed { report, trouble, is_idle: false })
    }
}
