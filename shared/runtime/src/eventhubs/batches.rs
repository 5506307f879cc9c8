//! A hub batch by batch: the next one is read while the one before is landed.

use headwater_core::report::{FlowReport, Outcome, Report};
use tokio::task::JoinSet;

use super::{DrainLimits, Drained, End, HubSource};
use crate::error::{Result, RuntimeError};

/// Reads a hub on and on. Two batches are in memory at most: the one that is landed, and the next.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    source: &'a HubSource,
    ahead: JoinSet<Result<Drained>>,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(source: &'a HubSource) -> Self {
        Self { source, ahead: JoinSet::new() }
    }

    pub(crate) const fn source(&self) -> &'a HubSource {
        self.source
    }

    /// The next batch: the one that was read ahead, or what the lake doesn't hold.
    ///
    /// # Errors
    /// As [`super::Hub::drain`].
    pub(crate) async fn next(&mut self, limits: DrainLimits) -> Result<Drained> {
        match self.ahead.join_next().await {
            Some(read) => read.map_err(|error| RuntimeError::Task { reason: error.to_string() })?,
            None => Box::pin(self.source.drain(limits)).await,
        }
    }

    /// Begins to read what comes after a batch that is about to be landed, if it is known that there is more.
    pub(crate) fn read_on(&mut self, batch: &Drained, limits: DrainLimits) {
        let is_sound = batch.ends.values().all(|end| matches!(end, End::Done | End::Limit));
        if self.ahead.is_empty() && is_sound && batch.ends.values().any(|end| *end == End::Limit) {
            let (source, hub, numbers) = (self.source.clone(), batch.hub.clone(), batch.numbers.clone());
            self.ahead.spawn(async move { Box::pin(source.drain_after((hub, numbers), limits)).await });
        }
    }

    /// Notes what became of a batch. Where a table lacks it, what was read ahead is given up, so that the lake is asked again what it
    /// holds. Reading ends first, since one reader at a time is let in.
    pub(crate) async fn landed(&mut self, report: &Report) {
        let has_it = |flow: &FlowReport| {
            matches!(flow.outcome, Outcome::Committed { .. } | Outcome::AlreadyApplied | Outcome::NothingNew)
        };
        if !report.flows.iter().all(has_it) {
            while self.ahead.join_next().await.is_some() {}
        }
    }
}
