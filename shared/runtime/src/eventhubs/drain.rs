//! Reads what the partitions of a hub hold.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use azure_messaging_eventhubs::ConsumerClient;
use futures::StreamExt;
use headwater_core::batch::Limits;
use headwater_core::error::ErrorKind;
use headwater_core::hub::{Advance, Extent, HubIdentity, PartitionBatch, PartitionPlan, Step, plan_partition};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Hub;
use super::client::{close, pause};
use super::event::hub_event;
use super::fault::{Fault, fault};
use crate::error::{Result, RuntimeError};

/// A partition that has events, and gives none for so long, is read by a new connection.
const SILENCE: Duration = Duration::from_secs(5);
/// New connections of a partition after which it is left alone, unless they bring events.
const TRIES: u32 = 6;

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub struct DrainLimits {
    /// Events and bytes of bodies of all partitions together, about.
    pub batch: Limits,
    /// When reading ends, whatever is there still.
    pub deadline: Instant,
}

/// What was read of a hub.
#[derive(Debug)]
pub struct Drained {
    /// Which hub it was.
    pub hub: HubIdentity,
    /// What is new, by partition.
    pub partitions: BTreeMap<String, PartitionBatch>,
    /// The last number of each partition that was read or committed, if there is one.
    pub numbers: BTreeMap<String, i64>,
    /// Why reading ended, by partition that had something new. What was read until then is good.
    pub ends: BTreeMap<String, End>,
}

/// Why reading a partition ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All was read that was there.
    Done,
    /// The batch is full, or the deadline has come: there is more.
    Limit,
    /// Somebody else reads the partition now.
    Stolen,
    /// It could not be read any further.
    Broken {
        /// Why.
        reason: String,
    },
}

/// A partition that is being read.
struct Reading {
    partition: String,
    read: Option<Read>,
    limits: DrainLimits,
    shared: Arc<Shared>,
}

/// What all partitions of a hub share while they are read.
struct Shared {
    /// The connection that all of them begin with.
    client: ConsumerClient,
    /// Whether nothing has gone wrong with it.
    is_sound: AtomicBool,
    /// Events that were read.
    events: AtomicU64,
    /// Bytes of their bodies.
    bytes: AtomicU64,
}

/// What was read of it, once it is known what it holds.
struct Read {
    after: Option<i64>,
    advance: Advance,
    batch: PartitionBatch,
}

/// Why one stream of events ended.
enum Cut {
    End(End),
    /// Another stream may go on.
    Again(String),
}

impl Hub {
    /// Reads what comes after the committed numbers. They are asked for once it is known which hub this is and what its
    /// partitions are. It ends soon after the deadline, whatever the service does.
    ///
    /// # Errors
    /// `Invalid` when the hub isn't there or lets nobody in, or a partition holds less than is committed; `Unavailable` when it doesn't answer.
    pub async fn drain<C>(&self, committed: C, limits: DrainLimits) -> Result<Drained>
    where
        C: AsyncFnOnce(&HubIdentity, &[String]) -> Result<BTreeMap<String, i64>>,
    {
        let (client, hub, names) = self.meet(limits.deadline).await?;
        let committed = committed(&hub, &names).await?;
        let shared =
            Shared { client, is_sound: AtomicBool::new(true), events: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        let shared = Arc::new(shared);
        // Each on a task of its own, so that events are decoded on all processors.
        let mut tasks = JoinSet::new();
        for partition in names {
            let (hub, committed) = (self.clone(), committed.get(&partition).copied());
            let reading = Reading { partition, read: None, limits, shared: Arc::clone(&shared) };
            tasks.spawn(async move { Box::pin(hub.partition(reading, committed)).await });
        }
        let mut drained = Drained { hub, partitions: BTreeMap::new(), numbers: committed, ends: BTreeMap::new() };
        while let Some(read) = tasks.join_next().await {
            let (name, batch, end) = read.map_err(|error| RuntimeError::Task { reason: error.to_string() })??;
            let is_new = |batch: &PartitionBatch| !batch.events.is_empty() || !batch.lost.is_empty();
            let batch = batch.filter(is_new);
            drained.numbers.extend(batch.iter().map(|batch| (name.clone(), batch.through)));
            drained.partitions.extend(batch.map(|batch| (name.clone(), batch)));
            drained.ends.extend(end.map(|end| (name, end)));
        }
        if let Some(Shared { client, is_sound, .. }) = Arc::into_inner(shared) {
            if is_sound.into_inner() {
                *self.kept.0.lock().await = Some(client);
            } else {
                close(client.close()).await;
            }
        }
        Ok(drained)
    }

    /// How many events wait that aren't committed.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub async fn waiting<C>(&self, committed: C, until: Instant) -> Result<u64>
    where
        C: AsyncFnOnce(&HubIdentity, &[String]) -> Result<BTreeMap<String, i64>>,
    {
        let (client, hub, names) = self.meet(until).await?;
        let committed = committed(&hub, &names).await?;
        let mut waiting = 0;
        for name in &names {
            let extent = self.extent_at_last(&client, name, until).await?;
            let first = committed.get(name).map_or(extent.beginning, |last| (last + 1).max(extent.beginning));
            waiting += u64::try_from(extent.last + 1 - first).unwrap_or(0);
        }
        close(client.close()).await;
        Ok(waiting)
    }

    /// What a partition holds, asked again while the service is too busy to say.
    async fn extent_at_last(&self, client: &ConsumerClient, partition: &str, until: Instant) -> Result<Extent> {
        let mut tries = 1;
        loop {
            match self.extent(client, partition, until).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && tries < TRIES && Instant::now() < until => {
                    tracing::debug!(hub = %self.address, partition, tries, %error, "the partition is asked again");
                }
                asked => return asked,
            }
            pause(tries, until).await;
            tries += 1;
        }
    }

    /// Reads a partition by one connection after the other until there is an end.
    async fn partition(
        &self,
        mut reading: Reading,
        committed: Option<i64>,
    ) -> Result<(String, Option<PartitionBatch>, Option<End>)> {
        let shared = Arc::clone(&reading.shared);
        let (mut tries, mut own) = (0, None);
        let end = loop {
            let before = reading.last();
            let client = own.as_ref().unwrap_or(&shared.client);
            let reason = match self.stream(client, &mut reading, committed).await {
                Ok(None) => return Ok((reading.partition, None, None)),
                Ok(Some(Cut::End(end @ (End::Done | End::Limit)))) => break end,
                Ok(Some(Cut::End(end))) => {
                    shared.is_sound.store(false, Relaxed);
                    break end;
                }
                Ok(Some(Cut::Again(reason))) => reason,
                Err(error) => match error.kind() {
                    ErrorKind::Conflict => {
                        shared.is_sound.store(false, Relaxed);
                        break End::Stolen;
                    }
                    ErrorKind::Invalid if reading.read.is_none() => return Err(error),
                    ErrorKind::Invalid | ErrorKind::Data | ErrorKind::Internal => {
                        shared.is_sound.store(false, Relaxed);
                        break End::Broken { reason: error.to_string() };
                    }
                    ErrorKind::Unavailable => error.to_string(),
                },
            };
            shared.is_sound.store(false, Relaxed);
            tries = if reading.last() == before { tries + 1 } else { 0 };
            if Instant::now() >= reading.limits.deadline {
                break End::Limit;
            }
            if tries >= TRIES {
                break End::Broken { reason };
            }
            tracing::debug!(hub = %self.address, reading.partition, tries, reason, "a new connection goes on");
            pause(tries, reading.limits.deadline).await;
            leave(own.take()).await;
            own = self.connect(reading.limits.deadline).await.ok();
        };
        leave(own).await;
        let batch = reading.read.map(|Read { after, advance, mut batch }| {
            batch.through = advance.last().or(after).unwrap_or(-1);
            batch.lost = advance.lost().to_vec();
            batch
        });
        Ok((reading.partition, batch, Some(end)))
    }

    /// Reads on by a new link; `None` where there is nothing new.
    async fn stream(
        &self,
        client: &ConsumerClient,
        reading: &mut Reading,
        committed: Option<i64>,
    ) -> Result<Option<Cut>> {
        let until = reading.limits.deadline;
        if reading.read.is_none() {
            let extent = self.extent(client, &reading.partition, until).await?;
            let advance = match plan_partition(committed, extent) {
                PartitionPlan::UpToDate => return Ok(None),
                PartitionPlan::Read { after, through, lost } => Advance::new(after, through, lost),
                PartitionPlan::Recreated { last } => return Err(self.recreated(&reading.partition, committed, last)),
            };
            let batch = PartitionBatch { after: committed, events: Vec::new(), through: -1, lost: Vec::new() };
            reading.read = Some(Read { after: committed, advance, batch });
        }
        let receiver = self.open(client, (&reading.partition, reading.last()), until).await?;
        let cut = {
            let mut events = pin!(receiver.stream_events());
            loop {
                let patience = until.min(Instant::now() + SILENCE);
                let received = match timeout_at(patience, events.next()).await {
                    Ok(Some(Ok(received))) => received,
                    Ok(Some(Err(error))) if fault(&error) == Fault::Stolen => break Cut::End(End::Stolen),
                    Ok(Some(Err(_))) => break Cut::Again("the stream of events broke".to_owned()),
                    Ok(None) => break Cut::Again("the stream of events ended".to_owned()),
                    Err(_) => break Cut::Again("no event came, though there are some".to_owned()),
                };
                let Some(event) = hub_event(&received) else {
                    break Cut::End(End::Broken { reason: "an event has no sequence number or time".to_owned() });
                };
                let Some(read) = reading.read.as_mut() else { break Cut::End(End::Done) };
                match read.advance.step(event.sequence_number) {
                    Step::Take => {
                        let size = event.body.len() as u64;
                        read.batch.events.push(event);
                        if read.advance.is_done() {
                            break Cut::End(End::Done);
                        }
                        if reading.is_full(size) {
                            break Cut::End(End::Limit);
                        }
                    }
                    // A link that has gone back would go back again and again.
                    Step::Seen => break Cut::Again("events came again".to_owned()),
                    Step::Beyond => break Cut::Again("events are missing".to_owned()),
                    Step::Hole => {
                        let beginning = self.extent(client, &reading.partition, until).await?.beginning;
                        let is_lost = read.advance.lose(beginning);
                        // The event that came is read again by the next link, unless all is lost up to the end.
                        let reason = if is_lost { "retention took events" } else { "events are missing" };
                        break if read.advance.is_done() { Cut::End(End::Done) } else { Cut::Again(reason.to_owned()) };
                    }
                }
            }
        };
        if !close(receiver.close()).await {
            // What is left of the link may trouble the next one of its session.
            reading.shared.is_sound.store(false, Relaxed);
        }
        Ok(Some(cut))
    }

    fn recreated(&self, partition: &str, committed: Option<i64>, last: i64) -> RuntimeError {
        let committed = committed.unwrap_or_default();
        let reason = format!(
            "partition {partition} ends at {last}, and {committed} is committed: it isn't the hub that was read before"
        );
        self.failed("read", &reason, ErrorKind::Invalid)
    }
}

impl Reading {
    /// The last number that was read or is lost.
    fn last(&self) -> Option<i64> {
        self.read.as_ref().and_then(|read| read.advance.last())
    }

    /// Counts an event; whether the batch is full.
    fn is_full(&self, size: u64) -> bool {
        let total = self.shared.bytes.fetch_add(size, Relaxed) + size;
        let count = self.shared.events.fetch_add(1, Relaxed) + 1;
        total >= self.limits.batch.bytes || count >= self.limits.batch.items as u64
    }
}

async fn leave(client: Option<ConsumerClient>) {
    if let Some(client) = client {
        close(client.close()).await;
    }
}
