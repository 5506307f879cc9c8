//! One update: until nothing is new.

use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};

use super::queue::hand_over;
use super::{CommitLog, FunctionKind, Handler, Host, Listener, Progress, blocking, has_commits, wake};
use crate::error::Result;
use crate::eventhubs::{Batches, HubSource};

/// Rounds of a function that doesn't get on and says `Retryable`: somebody else works on the same lake.
const PATIENCE: usize = 5;

pub(super) struct Update<'a, H> {
    pub(super) host: &'a Host,
    pub(super) functions: &'a [FunctionKind],
    pub(super) handler: &'a H,
    pub(super) listener: Listener<'a>,
}

impl<H: Handler> Update<'_, H> {
    pub(super) async fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        for function in self.functions {
            match function {
                FunctionKind::BronzeEvents => {
                    report.extend(self.events().await?);
                    report.extend(self.hubs().await?);
                }
                FunctionKind::BronzeFiles if self.host.reads_files => report.extend(self.repeat(*function).await),
                FunctionKind::BronzeFiles => {}
                FunctionKind::Silver => report.extend(self.silver().await?),
                FunctionKind::Gold => report.extend(self.views().await),
                FunctionKind::Compact => report.extend(self.wake(*function, Cause::Timer(Vec::new())).await),
            }
        }
        Ok(report)
    }

    /// All messages that wait. Those worth a redelivery stay hidden until the end, so that they are
    /// tried once an update.
    async fn events(&self) -> Result<Report> {
        let mut report = Report::default();
        for queue in &self.host.queues {
            let mut retry = Vec::new();
            let mut outcome = Ok(());
            loop {
                match hand_over(queue, &self.host.pace, self.handler, self.listener).await {
                    Ok(Some(handed)) => {
                        report.extend(handed.report);
                        retry.push(handed.retry);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            for lease in retry {
                lease.release().await?;
            }
            outcome?;
        }
        Ok(report)
    }

    /// All events of hubs that aren't committed. One that fails holds up no other.
    async fn hubs(&self) -> Result<Report> {
        let (mut report, mut all) = (Report::default(), Ok(()));
        for hub in &self.host.hubs {
            match self.hub(hub).await {
                Ok(landed) => report.extend(landed),
                Err(error) => all = all.and(Err(error)),
            }
        }
        all.map(|()| report)
    }

    /// What a flow couldn't take is left for the next update.
    async fn hub(&self, hub: &HubSource) -> Result<Report> {
        let (mut report, mut patience) = (Report::default(), PATIENCE);
        let mut batches = Batches::new(hub);
        loop {
            let landed = Box::pin(batches.land(&self.host.pace, self.handler, self.listener)).await?;
            let go_on = goes_on(&landed.report, &mut patience) || (landed.trouble.is_some() && patience > 0);
            let is_last = landed.is_idle || !go_on;
            report.extend(landed.report);
            match landed.trouble {
                Some(error) if is_last => return Err(error),
                Some(error) => (self.listener)(Progress::Trouble { error: &error }),
                None if is_last => return Ok(report),
                None => {}
            }
        }
    }

    /// First all tables, then those with new commits, its own and others', until there are none.
    async fn silver(&self) -> Result<Report> {
        let mut report = Report::default();
        let mut patience = PATIENCE;
        let mut cause = Cause::Timer(Vec::new());
        let (mut log, _) = self.seen(CommitLog::default()).await?;
        loop {
            let round = self.wake(FunctionKind::Silver, cause).await;
            let (seen, changed) = self.seen(log).await?;
            log = seen;
            let go_on = goes_on(&round, &mut patience) || !changed.is_empty();
            report.extend(round);
            if !go_on {
                return Ok(report);
            }
            cause = if changed.is_empty() { Cause::Timer(Vec::new()) } else { Cause::Commits(changed) };
        }
    }

    async fn seen(&self, mut log: CommitLog) -> Result<(CommitLog, Vec<DatasetName>)> {
        let tables = self.host.tables.clone();
        blocking(move || {
            let changed = log.changed(&tables)?;
            Ok((log, changed))
        })
        .await
    }

    /// Wakes a function until it commits nothing more: a batch is bounded, and one flow feeds another.
    async fn repeat(&self, function: FunctionKind) -> Report {
        let mut report = Report::default();
        let mut patience = PATIENCE;
        loop {
            let round = self.wake(function, Cause::Timer(Vec::new())).await;
            let go_on = goes_on(&round, &mut patience);
            report.extend(round);
            if !go_on {
                return report;
            }
        }
    }

    /// All views, each after those that it reads; again only where a race was lost, since a view of files is computed each time.
    async fn views(&self) -> Report {
        let mut report = Report::default();
        for _ in 0..PATIENCE {
            let round = self.wake(FunctionKind::Gold, Cause::Timer(Vec::new())).await;
            let is_done = !has_lost_a_race(&round);
            report.extend(round);
            if is_done {
                break;
            }
        }
        report
    }

    async fn wake(&self, function: FunctionKind, cause: Cause) -> Report {
        wake(self.handler, self.listener, function, Trigger::new(cause)).await
    }
}

/// Whether another round is worth it: something was committed, or a race was lost and there is patience left.
fn goes_on(round: &Report, patience: &mut usize) -> bool {
    if has_commits(round) {
        *patience = PATIENCE;
        return true;
    }
    *patience = patience.saturating_sub(1);
    has_lost_a_race(round) && *patience > 0
}

fn has_lost_a_race(round: &Report) -> bool {
    round.flows.iter().any(|flow| matches!(flow.outcome, Outcome::Retryable { .. }))
}
