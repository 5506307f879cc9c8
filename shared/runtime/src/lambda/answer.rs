//! From an invocation to a trigger, and from reports to an answer.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_core::aws::batch::{BatchResponse, NoticeBatch};
use headwater_core::aws::sqs::delivery::coming_again;
use headwater_core::aws::sqs::drain::delete_time;
use headwater_core::aws::{Invocation, QueueBatch};
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, MessageBatch, Trigger};

use super::{Drain, log};
use crate::error::{Result, RuntimeError};
use crate::function::{FunctionKind, Handler};

/// One function, and what it needs to know to answer.
#[derive(Debug)]
pub struct Function<H> {
    /// Which.
    pub kind: FunctionKind,
    /// The pipeline that it works for.
    pub pipeline: Pipeline,
    /// The event source that each queue is bound to, by the queue's name.
    pub queues: BTreeMap<String, String>,
    /// Receives more than is handed over, for `bronze-events`.
    pub drain: Option<Drain>,
    /// What does the work.
    pub handler: H,
}

impl<H: Handler> Function<H> {
    /// Does what an invocation asks for, and says which of its messages have to come again. `end` is when
    /// Lambda ends the invocation; work is cut so that the answer is given before.
    ///
    /// # Errors
    /// `Invalid` for a queue that no source is bound to; after a timer, the kind of the first flow that
    /// failed. The whole invocation has failed then.
    pub async fn answer(&self, invocation: Invocation, end: DateTime<Utc>) -> Result<BatchResponse> {
        let deadline = last_moment(Utc::now(), end);
        match invocation {
            Invocation::Queue(batch) if self.kind == FunctionKind::BronzeEvents => {
                self.events(batch, (deadline, end)).await
            }
            Invocation::Queue(batch) => Ok(batch.answer(&self.notices(&batch, deadline).await)),
            Invocation::Timer(names) => self.timer(names, deadline).await,
        }
    }

    async fn events(
        &self,
        batch: QueueBatch,
        (deadline, end): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<BatchResponse> {
        let Some(source) = self.queues.get(batch.queue_name()).cloned() else {
            return Err(unbound(batch.queue_name()));
        };
        let drained = match &self.drain {
            Some(drain) => Box::pin(drain.more(&batch, end)).await,
            None => None,
        };
        let more = drained.as_ref().map(|drained| &drained.received);
        let received_at = more.map_or(batch.received_at, |more| batch.received_at.min(more.received_at));
        let messages: Vec<_> =
            batch.messages.iter().chain(more.iter().flat_map(|more| &more.messages)).cloned().collect();
        let deadline = deadline - delete_time(more.map_or(0, |more| more.messages.len()));
        let handed = MessageBatch { source, messages: messages.clone(), received_at };
        let report = self.wake(Cause::Messages(handed), deadline).await;
        let failed = report.retry.iter().map(|retry| retry.item.as_str()).collect();
        let again = coming_again(&messages, &failed);
        if let Some(drained) = drained {
            let again = again.iter().map(|index| messages[*index].id.as_str()).collect();
            Box::pin(drained.settle(&again)).await;
        }
        let again = again.into_iter().filter_map(|index| batch.delivery_ids.get(index));
        Ok(BatchResponse::failing(again.map(String::as_str)))
    }

    async fn notices(&self, batch: &QueueBatch, deadline: DateTime<Utc>) -> BatchResponse {
        let batch = NoticeBatch::read(&batch.messages);
        for (message, error) in &batch.unreadable {
            tracing::error!(message, %error, "a message is no notice of stored objects");
        }
        if self.kind == FunctionKind::BronzeFiles {
            let objects = batch.objects();
            let idle = objects.is_empty();
            let report = if idle { Report::default() } else { self.work(&Cause::Objects(objects), deadline).await };
            return batch.files_response(&report);
        }
        let tables = batch.tables();
        let idle = tables.is_empty();
        let report = if idle { Report::default() } else { self.work(&Cause::Commits(tables), deadline).await };
        batch.commits_response(&report, &self.pipeline)
    }

    /// Work that was cut isn't a failure: the next timer goes on.
    async fn timer(&self, names: Vec<DatasetName>, deadline: DateTime<Utc>) -> Result<BatchResponse> {
        let report = self.work(&Cause::Timer(names), deadline).await;
        let failed = |flow: &FlowReport| match &flow.outcome {
            Outcome::Failed { kind, .. } => Some((flow.flow.to_string(), *kind)),
            Outcome::NothingNew
            | Outcome::AlreadyApplied
            | Outcome::Committed { .. }
            | Outcome::Retryable { .. }
            | Outcome::Skipped { .. } => None,
        };
        let (flows, kinds): (Vec<_>, Vec<_>) = report.flows.iter().filter_map(failed).unzip();
        match kinds.first() {
            Some(kind) => Err(RuntimeError::FlowsFailed { flows, kind: *kind }),
            None => Ok(BatchResponse::default()),
        }
    }

    /// Wakes the function until it commits nothing more, since a batch is bounded, and the rest of it has no
    /// notice of its own. Each flow is reported as it ended last; one that had no time for its rest is `Retryable`.
    async fn work(&self, cause: &Cause, deadline: DateTime<Utc>) -> Report {
        let in_batches = matches!(self.kind, FunctionKind::BronzeFiles | FunctionKind::Silver);
        let mut flows = BTreeMap::new();
        loop {
            let started = Utc::now();
            let report = self.wake(cause.clone(), deadline).await;
            let go_on = in_batches && report.flows.iter().any(is_committed);
            flows.extend(report.flows.into_iter().map(|flow| ((flow.flow.clone(), flow.target.clone()), flow)));
            let now = Utc::now();
            let has_time = now + (now - started) < deadline;
            if go_on && has_time {
                continue;
            }
            if go_on {
                flows.values_mut().filter(|flow| is_committed(flow)).for_each(cut);
            }
            return Report { flows: flows.into_values().collect(), retry: report.retry };
        }
    }

    async fn wake(&self, cause: Cause, deadline: DateTime<Utc>) -> Report {
        let report = self.handler.handle(self.kind, Trigger { cause, deadline: Some(deadline) }).await;
        log::report(&report);
        report
    }
}

/// When work has to end so that there is time to commit and to answer.
pub(super) fn last_moment(now: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    let tenth = (end - now) / 10;
    end - tenth.clamp(TimeDelta::milliseconds(500), TimeDelta::seconds(10))
}

fn is_committed(flow: &FlowReport) -> bool {
    matches!(flow.outcome, Outcome::Committed { .. })
}

fn cut(flow: &mut FlowReport) {
    flow.outcome = Outcome::Retryable { reason: "the deadline came before all batches were done".to_owned() };
}

fn unbound(queue: &str) -> RuntimeError {
    RuntimeError::Setting {
        name: super::settings::QUEUES.to_owned(),
        problem: format!("no source is bound to queue `{queue}`; write `<source>={queue}`"),
    }
}
