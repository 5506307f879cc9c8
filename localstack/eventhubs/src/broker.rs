//! What all connections of an emulator share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::Options;
use crate::faults::Faults;
use crate::hub::{Hub, PartitionState, now};

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) options: Options,
    pub(crate) faults: Faults,
    hubs: Mutex<HashMap<String, Arc<Hub>>>,
    /// Changes whenever connections have something to look at.
    news: watch::Sender<u64>,
    ids: AtomicU64,
}

impl Broker {
    pub(crate) fn new(options: Options) -> Self {
        let created = now();
        let hub = |(name, partitions): (&String, &usize)| (name.clone(), Arc::new(Hub::new(*partitions, created)));
        let hubs = Mutex::new(options.hubs.iter().map(hub).collect());
        Self { options, faults: Faults::default(), hubs, news: watch::channel(0).0, ids: AtomicU64::new(1) }
    }

    /// A hub by its name. Where no hubs were given, it is made.
    pub(crate) fn hub(&self, name: &str) -> Option<Arc<Hub>> {
        let mut hubs = self.hubs();
        if !hubs.contains_key(name) && self.options.hubs.is_empty() && !name.is_empty() {
            hubs.insert(name.to_owned(), Arc::new(Hub::new(self.options.partitions, now())));
        }
        hubs.get(name).map(Arc::clone)
    }

    /// Puts a new hub in the place of one of this name, and detaches who receives from that.
    pub(crate) fn recreate(&self, name: &str, partitions: usize) {
        let before = self.hubs().get(name).map(Arc::clone);
        let created = before.as_ref().map_or_else(now, |hub| now().max(hub.created + 1));
        self.hubs().insert(name.to_owned(), Arc::new(Hub::new(partitions, created)));
        for index in 0..before.as_ref().map_or(0, |hub| hub.len()) {
            if let Some(mut partition) = before.as_ref().and_then(|hub| hub.partition(index)) {
                partition.readers.expel(|_| true, "amqp:not-found", "The messaging entity has been deleted.");
            }
        }
        self.tell();
    }

    /// The states of a hub's partitions.
    pub(crate) fn states(&self, name: &str) -> Vec<PartitionState> {
        let Some(hub) = self.hub(name) else { return Vec::new() };
        (0..hub.len()).filter_map(|index| Some(hub.partition(index)?.state())).collect()
    }

    /// Takes away the events of a partition before a sequence number.
    pub(crate) fn trim(&self, name: &str, partition: usize, before: i64) {
        if let Some(mut partition) = self.hub(name).as_ref().and_then(|hub| hub.partition(partition)) {
            partition.trim(before);
        }
    }

    /// Takes the partition from its receivers, as another one with a higher epoch does.
    pub(crate) fn steal(&self, name: &str, partition: usize) {
        if let Some(mut partition) = self.hub(name).as_ref().and_then(|hub| hub.partition(partition)) {
            partition.readers.expel(|_| true, "amqp:link:stolen", "New receiver with higher epoch is created");
        }
    }

    /// Drops all connections and takes none, until told otherwise.
    pub(crate) fn set_outage(&self, is_out: bool) {
        self.faults.set_outage(is_out);
        self.tell();
    }

    /// Lets connections look for events.
    pub(crate) fn tell(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    fn hubs(&self) -> MutexGuard<'_, HashMap<String, Arc<Hub>>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
