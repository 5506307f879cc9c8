//! Events of hubs that sources of the pipeline are bound to.
//!
//! The Functions host moves its own checkpoint on even when an invocation failed. So what it hands over is a wake-up: it is landed as it is where it goes on
//! right after the numbers that the lake has committed, and is read from the hub, with all before it, where it doesn't. An invocation has succeeded
//! when the lake has committed its last event.

use std::collections::BTreeMap;
use std::iter::repeat_n;

use chrono::{DateTime, Utc};
use headwater_core::azure::HandedOver;
use headwater_core::batch::Limits;
use headwater_core::hub::{Fit, HubBatch, HubIdentity, PartitionBatch};
use headwater_core::report::{Outcome, Report};
use tokio::time::Instant;

use super::desk::{Desk, UNDONE, Waiting, settle};
use crate::error::{Result, RuntimeError};
use crate::eventhubs::{Batches, DrainLimits, HubSource};
use crate::function::{FunctionKind, Handler};

/// What is read and landed together at most: all of it is in memory.
const TOGETHER: Limits = Limits { items: 50_000, bytes: 32 << 20 };

/// The last committed number of each partition, by name.
type Numbers = BTreeMap<String, i64>;

/// The sources that read a hub.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Readers {
    /// Their places among those that the pipeline binds; at least one.
    sources: Vec<usize>,
    /// Hubs of several namespaces have the name, and the host doesn't say which one it is: what it hands over is no more than a wake-up.
    is_vague: bool,
}

impl<H: Handler> Desk<'_, H> {
    /// The sources that are bound to the hub that handed something over, by its name and, where that leaves a choice, its namespace.
    pub(super) fn readers(&self, handed: &HandedOver) -> Option<Readers> {
        let address = |index: usize| self.bound[index].hub.address();
        let is_named = |index: &usize| address(*index).hub.eq_ignore_ascii_case(&handed.hub);
        let mut sources: Vec<usize> = (0..self.bound.len()).filter(is_named).collect();
        let first = address(*sources.first()?);
        let is_one = sources.iter().all(|index| address(*index).namespace == first.namespace);
        let is_told = |index: &usize| {
            handed.namespace.as_ref().is_some_and(|told| told.eq_ignore_ascii_case(&address(*index).namespace))
        };
        let is_vague = !is_one && !sources.iter().any(is_told);
        if !is_one && !is_vague {
            sources.retain(is_told);
        }
        Some(Readers { sources, is_vague })
    }

    /// Lands what invocations of one hub handed over in all that reads it, and answers them.
    pub(super) async fn handed_over(
        &self,
        readers: &Readers,
        batches: Vec<(Waiting, HandedOver)>,
        deadline: DateTime<Utc>,
    ) {
        let lasts: Vec<_> = batches.iter().map(|(_, batch)| (batch.partition.clone(), last(batch))).collect();
        let (waiting, batches): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        let mut done = vec![true; lasts.len()];
        for (index, handed) in readers.sources.iter().zip(repeat_n(joined(batches), readers.sources.len())) {
            let bound = &self.bound[*index];
            let landed = if readers.is_vague {
                Box::pin(self.drain(bound, deadline)).await.and_then(|trouble| trouble.map_or(Ok(None), Err))
            } else {
                Box::pin(self.land(bound, handed, deadline)).await.map(Some)
            };
            if let Err(error) = &landed {
                tracing::error!(%error, source = bound.source, "the invocation failed");
            }
            for (done, (partition, last)) in done.iter_mut().zip(&lasts) {
                *done &= match &landed {
                    Ok(Some(committed)) => committed.get(partition).copied() >= *last,
                    Ok(None) => true,
                    Err(_) => false,
                };
            }
        }
        for ((_, answer), is_done) in waiting.into_iter().zip(done) {
            settle(answer, if is_done { Ok(()) } else { Err(UNDONE.to_owned()) });
        }
    }

    /// Reads all hubs, where a timer of `bronze-events` asks for it: a trigger may have been lost. One that fails holds up no other.
    ///
    /// # Errors
    /// The first of what kept a hub, or a partition of it, from being read.
    pub(super) async fn drain_all(&self, deadline: DateTime<Utc>) -> Result<()> {
        let mut all = Ok(());
        if self.work.kind == FunctionKind::BronzeEvents {
            for bound in self.bound {
                let drained = Box::pin(self.drain(bound, deadline)).await;
                all = all.and(drained.and_then(|trouble| trouble.map_or(Ok(()), Err)));
            }
        }
        all
    }

    /// Lands it, and says what is committed then.
    async fn land(
        &self,
        bound: &HubSource,
        handed: BTreeMap<String, Option<PartitionBatch>>,
        deadline: DateTime<Utc>,
    ) -> Result<Numbers> {
        let (hub, committed) = bound.state(until(deadline)).await?;
        match usable(handed, &committed) {
            Some(partitions) if partitions.is_empty() => return Ok(committed),
            Some(partitions) => drop(self.wake(bound, (hub, partitions), deadline).await),
            None => {
                // The invocations of other partitions may be done all the same.
                if let Some(error) = self.drain(bound, deadline).await? {
                    tracing::error!(%error, "a partition could not be read");
                }
            }
        }
        Ok(bound.state(until(deadline)).await?.1)
    }

    /// Reads and lands all that the lake doesn't hold, as long as there is time; says what kept a partition from being read.
    async fn drain(&self, bound: &HubSource, deadline: DateTime<Utc>) -> Result<Option<RuntimeError>> {
        let mut batches = Batches::new(bound);
        let limits = || DrainLimits { batch: TOGETHER, deadline: until(deadline) };
        loop {
            let drained = batches.next(limits()).await?;
            batches.read_on(&drained, limits());
            let trouble = bound.trouble(drained.ends);
            if drained.partitions.is_empty() {
                return Ok(trouble);
            }
            let report = self.wake(bound, (drained.hub, drained.partitions), deadline).await;
            batches.landed(&report).await;
            let goes_on = report.flows.iter().any(|flow| matches!(flow.outcome, Outcome::Committed { .. }));
            if !goes_on || Utc::now() >= deadline {
                return Ok(trouble);
            }
        }
    }

    async fn wake(
        &self,
        bound: &HubSource,
        (hub, partitions): (HubIdentity, BTreeMap<String, PartitionBatch>),
        deadline: DateTime<Utc>,
    ) -> Report {
        let batch = HubBatch { source: bound.source.clone(), hub, partitions };
        self.work.partitions(batch, deadline).await
    }
}

/// What of it the lake lacks, if it goes on right after what is committed; `None` where something is missing.
fn usable(
    handed: BTreeMap<String, Option<PartitionBatch>>,
    committed: &Numbers,
) -> Option<BTreeMap<String, PartitionBatch>> {
    let mut partitions = BTreeMap::new();
    for (name, batch) in handed {
        let batch = batch?;
        match batch.fit(committed.get(&name).copied()) {
            Fit::Missing { .. } => return None,
            Fit::Landed => {}
            Fit::After { .. } => drop(partitions.insert(name, batch)),
        }
    }
    Some(partitions)
}

/// The events of each partition in order, each once; `None` where some are missing between them.
fn joined(batches: Vec<HandedOver>) -> BTreeMap<String, Option<PartitionBatch>> {
    let mut partitions: BTreeMap<String, BTreeMap<i64, _>> = BTreeMap::new();
    for batch in batches {
        let events = batch.events.into_iter().map(|event| (event.sequence_number, event));
        partitions.entry(batch.partition).or_default().extend(events);
    }
    let read = |events: BTreeMap<i64, _>| PartitionBatch::handed_over(events.into_values().collect());
    partitions.into_iter().map(|(name, events)| (name, read(events))).collect()
}

fn last(batch: &HandedOver) -> Option<i64> {
    batch.events.iter().map(|event| event.sequence_number).max()
}

fn until(deadline: DateTime<Utc>) -> Instant {
    Instant::now() + (deadline - Utc::now()).to_std().unwrap_or_default()
}
