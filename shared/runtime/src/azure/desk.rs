//! The desk of one function: invocations wait at it, and those that wait together are worked on together.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use headwater_core::azure::{HandedOver, Invocation};
use headwater_core::batch::{Limits, next_batch};
use headwater_core::notices::{NoticeBatch, StoredObject};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::hubs::Readers;
use crate::error::RuntimeError;
use crate::eventhubs::HubSource;
use crate::function::Handler;
use crate::work::{Work, last_moment};

/// What is worked on together at most. A commit is worth it from a few megabytes on, and all of it is in memory.
const TOGETHER: Limits = Limits { items: 64, bytes: 8 << 20 };

/// An invocation that waits for its answer.
#[derive(Debug)]
pub(super) struct Job {
    /// The host's id of it.
    pub id: String,
    /// What was asked for.
    pub invocation: Invocation,
    /// Bytes of its document.
    pub bytes: u64,
    /// When the host gives up.
    pub end: DateTime<Utc>,
    /// The answer; an error makes the host hand it over again.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// One function at work.
#[derive(Debug)]
pub(super) struct Desk<'a, H> {
    pub work: Work<'a, H>,
    /// The hubs that sources of the pipeline are bound to.
    pub bound: &'a [HubSource],
}

/// The end of an invocation: its id, and where it is answered.
pub(super) type Waiting = (String, oneshot::Sender<Result<(), String>>);

impl<H: Handler> Desk<'_, H> {
    /// Answers invocations until nobody can send one any more.
    pub(super) async fn serve(&self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut waiting = VecDeque::new();
        while let Some(job) = jobs.recv().await {
            waiting.push_back(job);
            while !waiting.is_empty() {
                waiting.extend(std::iter::from_fn(|| jobs.try_recv().ok()));
                let sizes: Vec<u64> = waiting.iter().map(|job: &Job| job.bytes).collect();
                let batch = waiting.drain(..next_batch(&sizes, TOGETHER)).collect();
                self.answer(batch).await;
            }
        }
    }

    /// Works for those whose host still waits.
    async fn answer(&self, jobs: Vec<Job>) {
        let now = Utc::now();
        let (jobs, late): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| last_moment(now, job.end) > now && !job.answer.is_closed());
        for Job { answer, .. } in late {
            settle(answer, Err("it waited for too long".to_owned()));
        }
        let Some(end) = jobs.iter().map(|job| job.end).min() else { return };
        let ids = jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>().join(",");
        let span = tracing::info_span!("invocation", invocation_id = ids, function = self.work.kind.name());
        self.sort(jobs, last_moment(now, end)).instrument(span).await;
    }

    /// Work of the same sort is done at once.
    async fn sort(&self, jobs: Vec<Job>, deadline: DateTime<Utc>) {
        let (mut notices, mut events, mut timers) = (Vec::new(), Vec::new(), Vec::new());
        for Job { id, invocation, answer, .. } in jobs {
            match invocation {
                Invocation::Notice(objects) => notices.push(((id, answer), objects)),
                Invocation::Events(batch) => events.push(((id, answer), batch)),
                Invocation::Timer => timers.push(answer),
            }
        }
        if !notices.is_empty() {
            self.notices(notices, deadline).await;
        }
        if !events.is_empty() {
            self.events(events, deadline).await;
        }
        if !timers.is_empty() {
            let drained = self.drain_all(deadline).await;
            let done = drained.and(self.work.timer(Vec::new(), deadline).await);
            let done = done.map_err(|error| {
                tracing::error!(%error, "the invocation failed");
                error.to_string()
            });
            timers.into_iter().for_each(|answer| settle(answer, done.clone()));
        }
    }

    async fn notices(&self, notices: Vec<(Waiting, Vec<StoredObject>)>, deadline: DateTime<Utc>) {
        let (waiting, objects): (Vec<_>, Vec<_>) = notices.into_iter().unzip();
        let ids = waiting.iter().map(|(id, _)| id.clone());
        let batch: NoticeBatch = ids.zip(objects.into_iter().map(Ok)).collect();
        let failed = self.work.notices(&batch, deadline).await;
        for (id, answer) in waiting {
            settle(answer, if failed.contains(id.as_str()) { Err(UNDONE.to_owned()) } else { Ok(()) });
        }
    }

    /// Events of a hub are landed in one commit a table, whichever partitions they are of, by all sources that read the hub.
    async fn events(&self, events: Vec<(Waiting, HandedOver)>, deadline: DateTime<Utc>) {
        let mut hubs: BTreeMap<Readers, Vec<(Waiting, HandedOver)>> = BTreeMap::new();
        for ((id, answer), batch) in events {
            match self.readers(&batch) {
                Some(readers) => hubs.entry(readers).or_default().push(((id, answer), batch)),
                None => {
                    let error = unbound(&batch.hub);
                    tracing::error!(%error, "the invocation failed");
                    settle(answer, Err(error.to_string()));
                }
            }
        }
        for (readers, batches) in hubs {
            self.handed_over(&readers, batches, deadline).await;
        }
    }
}

pub(super) const UNDONE: &str = "it could not be done; the log says why";

/// A host that has gone asks again.
pub(super) fn settle(answer: oneshot::Sender<Result<(), String>>, done: Result<(), String>) {
    if answer.send(done).is_err() {
        tracing::warn!("nobody waits for an answer any more");
    }
}

fn unbound(hub: &str) -> RuntimeError {
    let problem = format!("no source is bound to hub `{hub}`; write `eventhubs://<namespace>/{hub}`");
    RuntimeError::Setting { name: "HEADWATER_SOURCES_<SOURCE>".to_owned(), problem }
}
