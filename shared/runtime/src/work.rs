//! What a function of a cloud does when it is woken, whichever cloud it is: it works until nothing is left or the time is up,
//! and says what has to come again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use headwater_core::hub::HubBatch;
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::notices::NoticeBatch;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, MessageBatch, Trigger};

use crate::error::{Result, RuntimeError};
use crate::function::{FunctionKind, Handler};
use crate::log;

/// One function at work. A `deadline` is when its last commit has to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a, H> {
    /// Which.
    pub kind: FunctionKind,
    /// The pipeline that it works for.
    pub pipeline: &'a Pipeline,
    /// What does the work.
    pub handler: &'a H,
}

impl<H: Handler> Work<'_, H> {
    /// Lands messages; the report says which of them have to come again.
    pub(crate) async fn events(&self, batch: MessageBatch, deadline: DateTime<Utc>) -> Report {
        self.wake(Cause::Messages(batch), deadline).await
    }

    /// Lands what was read of a hub.
    pub(crate) async fn partitions(&self, batch: HubBatch, deadline: DateTime<Utc>) -> Report {
        self.wake(Cause::Partitions(batch), deadline).await
    }

    /// Does what notices tell of, once for all of them, and says which of them have to come again.
    pub(crate) async fn notices<'b>(&self, batch: &'b NoticeBatch, deadline: DateTime<Utc>) -> BTreeSet<&'b str> {
        for (message, error) in &batch.unreadable {
            tracing::error!(message, %error, "a message is no notice of stored objects");
        }
        if self.kind == FunctionKind::BronzeFiles {
            let objects = batch.objects();
            let idle = objects.is_empty();
            let report = if idle { Report::default() } else { self.work(&Cause::Objects(objects), deadline).await };
            return batch.failed_files(&report);
        }
        let tables = batch.tables();
        let idle = tables.is_empty();
        let report = if idle { Report::default() } else { self.work(&Cause::Commits(tables), deadline).await };
        batch.failed_commits(&report, self.pipeline)
    }

    /// Looks for work on these datasets, or on all. Work that was cut isn't a failure: the next timer goes on.
    ///
    /// # Errors
    /// The kind of the first flow that failed.
    pub(crate) async fn timer(&self, names: Vec<DatasetName>, deadline: DateTime<Utc>) -> Result<()> {
        let report = self.work(&Cause::Timer(names), deadline).await;
        let failed = |flow: &FlowReport| match &flow.outcome {
            Outcome::Failed { kind, .. } => Some((flow.flow.to_string(), *kind)),
            Outcome::NothingNew
            | Outcome::AlreadyApplied
            | Outcome::Committed { .. }
            | Outcome::Retryable { .. }
            | Outcome::Waiting { .. }
            | Outcome::Skipped { .. } => None,
        };
        let (flows, kinds): (Vec<_>, Vec<_>) = report.flows.iter().filter_map(failed).unzip();
        match kinds.first() {
            Some(kind) => Err(RuntimeError::FlowsFailed { flows, kind: *kind }),
            None => Ok(()),
        }
    }

    /// Wakes the function until it commits nothing more or says that it is done, since a batch is bounded, and the rest of it has no
    /// notice of its own. Each flow is reported as it ended last; one that had no time for its rest is `Retryable`.
    async fn work(&self, cause: &Cause, deadline: DateTime<Utc>) -> Report {
        let in_batches = matches!(self.kind, FunctionKind::BronzeFiles | FunctionKind::Silver);
        let mut flows = BTreeMap::new();
        loop {
            let started = Utc::now();
            let mut report = self.wake(cause.clone(), deadline).await;
            let go_on = in_batches && !report.is_done && report.flows.iter().any(is_committed);
            let ended = std::mem::take(&mut report.flows);
            flows.extend(ended.into_iter().map(|flow| ((flow.flow.clone(), flow.target.clone()), flow)));
            let now = Utc::now();
            let has_time = now + (now - started) < deadline;
            if go_on && has_time {
                continue;
            }
            if go_on {
                flows.values_mut().filter(|flow| is_committed(flow)).for_each(cut);
            }
            return Report { flows: flows.into_values().collect(), ..report };
        }
    }

    async fn wake(&self, cause: Cause, deadline: DateTime<Utc>) -> Report {
        let report = self.handler.handle(self.kind, Trigger { cause, deadline: Some(deadline) }).await;
        log::report(&report);
        report
    }
}

/// When work has to end so that there is time to commit and to answer before `end`.
pub(crate) fn last_moment(now: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    let tenth = (end - now) / 10;
    end - tenth.clamp(TimeDelta::milliseconds(500), TimeDelta::seconds(10))
}

fn is_committed(flow: &FlowReport) -> bool {
    matches!(flow.outcome, Outcome::Committed { .. })
}

fn cut(flow: &mut FlowReport) {
    flow.outcome = Outcome::Retryable { reason: "the deadline came before all batches were done".to_owned() };
}
