//! A hub as the source of a pipeline: what the lake holds of it, and what it doesn't.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use headwater_core::hub::HubIdentity;
use tokio::time::Instant;

use super::{DrainLimits, Drained, End, Hub};
use crate::error::{Result, RuntimeError};

/// An event source of the pipeline and the hub that it is bound to.
#[derive(Debug, Clone)]
pub struct HubSource {
    /// The name, as in `read_events('<name>')`.
    pub source: String,
    /// The hub.
    pub hub: Hub,
    /// What the lake holds of it.
    pub committed: Committed,
}

/// Asks a lake for the last committed number of each partition of a hub, which are named.
#[derive(Clone)]
pub struct Committed(Arc<Ask>);

type Ask = dyn Fn(HubIdentity, Vec<String>) -> BoxFuture<'static, Result<BTreeMap<String, i64>>> + Send + Sync;

impl Committed {
    /// Asks by a call.
    pub fn new(
        ask: impl Fn(HubIdentity, Vec<String>) -> BoxFuture<'static, Result<BTreeMap<String, i64>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ask))
    }

    async fn of(&self, hub: &HubIdentity, partitions: &[String]) -> Result<BTreeMap<String, i64>> {
        (self.0)(hub.clone(), partitions.to_vec()).await
    }
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Committed")
    }
}

impl HubSource {
    /// How many events wait that the lake doesn't hold.
    ///
    /// # Errors
    /// As [`Hub::drain`].
    pub async fn waiting(&self, patience: Duration) -> Result<u64> {
        let until = Instant::now() + patience;
        Box::pin(self.hub.waiting(async |hub, names| self.committed.of(hub, names).await, until)).await
    }

    /// Reads what the lake doesn't hold yet.
    pub(crate) async fn drain(&self, limits: DrainLimits) -> Result<Drained> {
        Box::pin(self.hub.drain(async |hub, names| self.committed.of(hub, names).await, limits)).await
    }

    /// Reads what comes after the numbers of a hub, which are about to be committed; of another hub that has its address now, what
    /// the lake doesn't hold.
    pub(super) async fn drain_after(
        &self,
        (hub, numbers): (HubIdentity, BTreeMap<String, i64>),
        limits: DrainLimits,
    ) -> Result<Drained> {
        let known = async |now: &HubIdentity, names: &[String]| {
            if *now == hub { Ok(numbers) } else { self.committed.of(now, names).await }
        };
        Box::pin(self.hub.drain(known, limits)).await
    }

    /// What kept a partition from being read to its end.
    pub(crate) fn trouble(&self, ends: BTreeMap<String, End>) -> Option<RuntimeError> {
        ends.into_iter().find_map(|(partition, end)| match end {
            End::Done | End::Limit => None,
            End::Stolen => Some(self.hub.unread(&partition, "another reader has taken it")),
            End::Broken { reason } => Some(self.hub.unread(&partition, &reason)),
        })
    }

    /// Which hub it is now, and what the lake holds of it.
    pub(crate) async fn state(&self, until: Instant) -> Result<(HubIdentity, BTreeMap<String, i64>)> {
        let (hub, names) = Box::pin(self.hub.about(until)).await?;
        let committed = self.committed.of(&hub, &names).await?;
        Ok((hub, committed))
    }
}
