//! What the functions ask of a lake: run the flows of one kind.

use std::collections::BTreeSet;

use headwater_core::model::{Flow, FlowKind, RelationSource};
use headwater_core::name::DatasetName;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};

use super::FlowRun;
use crate::engine::Grouper;
use crate::lake::Lake;

impl Lake {
    /// Lands what waits in folders, in every table that reads one. After `Objects` only those are looked for; a
    /// timer lists the folders, of all tables or of those that it names.
    pub async fn land_files(&self, trigger: &Trigger) -> Report {
        let only = named(&trigger.cause);
        let objects = match &trigger.cause {
            Cause::Objects(objects) => Some(&objects[..]),
            Cause::Messages(_) | Cause::Partitions(_) | Cause::Commits(_) | Cause::Timer(_) => None,
        };
        let mut report = Report::default();
        for flow in self.flows(is_file_stream).filter(|flow| only.is_empty() || only.contains(&flow.target)) {
            self.run(flow, trigger, &mut report, async |run: FlowRun<'_>| run.land_files(objects).await).await;
        }
        report
    }

    /// Moves what is new in tables to the tables that stream from them, and runs backfills that
    /// weren't run yet. After `Commits` only flows that read one of those tables are looked at; a timer
    /// looks at all flows, or those into the tables that it names.
    pub async fn advance_streams(&self, trigger: &Trigger) -> Report {
        let notice = matches!(trigger.cause, Cause::Commits(_));
        let (mut report, mut is_done) = (Report::default(), true);
        for flow in self.flows(is_table_stream).filter(|flow| is_woken(flow, &trigger.cause)) {
            let advance = async |run: FlowRun<'_>| {
                let (reports, is_last) = run.advance(notice).await;
                is_done &= is_last;
                reports
            };
            self.run(flow, trigger, &mut report, advance).await;
        }
        for flow in self.flows(|flow| flow.kind == FlowKind::Once).filter(|flow| is_woken(flow, &trigger.cause)) {
            self.run(flow, trigger, &mut report, async |run: FlowRun<'_>| run.backfill().await).await;
        }
        report.is_done = is_done;
        report
    }

    /// Brings materialized views up to date, sources before their readers. A view that reads one that
    /// failed is skipped. Holistic groupings are the grouper's.
    pub async fn refresh_views(&self, trigger: &Trigger, grouper: &Grouper) -> Report {
        let only = named(&trigger.cause);
        let mut report = Report::default();
        let mut failed: BTreeSet<DatasetName> = BTreeSet::new();
        for flow in self
            .flows(|flow| flow.kind == FlowKind::Materialize)
            .filter(|flow| only.is_empty() || only.contains(&flow.target))
        {
            if let Some(upstream) = flow.reads().find(|source| failed.contains(source)) {
                report.flows.push(skipped(flow, trigger, upstream.clone()));
                failed.insert(flow.target.clone());
                continue;
            }
            self.run(flow, trigger, &mut report, async |run: FlowRun<'_>| run.refresh_view(grouper).await).await;
            if report.flows.last().is_some_and(|last| matches!(last.outcome, Outcome::Failed { .. })) {
                failed.insert(flow.target.clone());
            }
        }
        report
    }

    fn flows(&self, wanted: fn(&Flow) -> bool) -> impl Iterator<Item = &Flow> {
        self.pipeline().flows.iter().filter(move |flow| wanted(flow))
    }

    async fn run<'a>(
        &'a self,
        flow: &'a Flow,
        trigger: &Trigger,
        report: &mut Report,
        work: impl AsyncFnOnce(FlowRun<'a>) -> Vec<FlowReport>,
    ) {
        match FlowRun::new(self, flow, trigger.cause.word(), trigger.deadline) {
            Ok(run) => report.flows.extend(work(run).await),
            Err(error) => tracing::error!(flow = %flow.name, %error, "flow can't be run"),
        }
    }
}

fn named(cause: &Cause) -> &[DatasetName] {
    match cause {
        Cause::Timer(names) => names,
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) | Cause::Commits(_) => &[],
    }
}

fn is_woken(flow: &Flow, cause: &Cause) -> bool {
    match cause {
        Cause::Commits(tables) => flow.reads().any(|read| tables.contains(read)),
        Cause::Timer(names) => names.is_empty() || names.contains(&flow.target),
        Cause::Messages(_) | Cause::Partitions(_) | Cause::Objects(_) => false,
    }
}

fn is_file_stream(flow: &Flow) -> bool {
    matches!(flow.stream().map(|relation| &relation.source), Some(RelationSource::Files { .. }))
}

fn is_table_stream(flow: &Flow) -> bool {
    matches!(flow.stream().map(|relation| &relation.source), Some(RelationSource::TableStream { .. }))
}

fn skipped(flow: &Flow, trigger: &Trigger, upstream: DatasetName) -> FlowReport {
    let mut report = FlowReport::new(flow.name.clone(), flow.target.clone(), trigger.cause.word());
    report.outcome = Outcome::Skipped { upstream };
    report
}
