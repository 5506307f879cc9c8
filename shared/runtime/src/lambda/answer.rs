//! From an invocation to a trigger, and from reports to an answer.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use headwater_core::aws::batch::BatchResponse;
use headwater_core::aws::notice::read_notices;
use headwater_core::aws::sqs::delivery::coming_again;
use headwater_core::aws::sqs::drain::delete_time;
use headwater_core::aws::{Invocation, QueueBatch};
use headwater_core::model::Pipeline;
use headwater_core::trigger::MessageBatch;

use super::Drain;
use crate::error::{Result, RuntimeError};
use crate::function::{FunctionKind, Handler};
use crate::work::{Work, last_moment};

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
        let work = self.work();
        match invocation {
            Invocation::Queue(batch) if self.kind == FunctionKind::BronzeEvents => {
                self.events(batch, (deadline, end)).await
            }
            Invocation::Queue(batch) => {
                let notices = read_notices(&batch.messages);
                Ok(batch.answer(&BatchResponse::failing(work.notices(&notices, deadline).await)))
            }
            Invocation::Timer(names) => work.timer(names, deadline).await.map(|()| BatchResponse::default()),
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
        let report = self.work().events(handed, deadline).await;
        let failed = report.retry.iter().map(|retry| retry.item.as_str()).collect();
        let again = coming_again(&messages, &failed);
        if let Some(drained) = drained {
            let again = again.iter().map(|index| messages[*index].id.as_str()).collect();
            Box::pin(drained.settle(&again)).await;
        }
        let again = again.into_iter().filter_map(|index| batch.delivery_ids.get(index));
        Ok(BatchResponse::failing(again.map(String::as_str)))
    }

    const fn work(&self) -> Work<'_, H> {
        Work { kind: self.kind, pipeline: &self.pipeline, handler: &self.handler }
    }
}

fn unbound(queue: &str) -> RuntimeError {
    RuntimeError::Setting {
        name: super::settings::QUEUES.to_owned(),
        problem: format!("no source is bound to queue `{queue}`; write `<source>={queue}`"),
    }
}
