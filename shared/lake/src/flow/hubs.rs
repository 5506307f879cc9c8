//! Lands what was read of the partitions of a hub.
//!
//! A table keeps the last sequence number that it has committed of each partition, in a `txn` each, in the commit that holds the rows. So there is no
//! checkpoint to fall behind or run ahead. What a table holds by number is left out; what begins after a hole isn't landed. A side
//! table that is ahead of its target tells that a batch died between the two commits: what it holds of the numbers up to its own isn't put aside again.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use headwater_core::hub::{Fit, HubBatch, HubIdentity, PartitionBatch};
use headwater_core::model::Flow;
use headwater_core::report::{FlowReport, Input, Outcome, Report};
use headwater_core::trigger::Message;

use super::FlowRun;
use super::earlier::Share;
use super::messages::{Fresh, reads};
use super::settle::Identity;
use crate::error::Result;
use crate::lake::Lake;
use crate::ledger::LedgerColumn;
use crate::table::Table;

/// What a batch has for one table.
#[derive(Default)]
struct Taken {
    messages: Vec<Message>,
    goals: Vec<(String, i64)>,
    inputs: Vec<Input>,
    held: u64,
    /// Ids that the quarantine and the late table may hold.
    aside: [HashSet<String>; 2],
}

impl Lake {
    /// The last number of each of a hub's partitions that every table that reads a source has committed; a partition of which one of them has committed
    /// nothing is left out.
    ///
    /// # Errors
    /// `Unavailable` when a table can't be read.
    pub async fn committed_numbers(
        &self,
        source: &str,
        hub: &HubIdentity,
        partitions: &[String],
    ) -> Result<BTreeMap<String, i64>> {
        let mut committed: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for flow in self.flows_of(source) {
            let table = self.table(&flow.target).await?;
            for partition in partitions {
                let number = self.committed(flow, table.as_ref(), hub, partition).await?;
                let lowest = committed.entry(partition.clone()).or_insert(number);
                *lowest = (*lowest).min(number);
            }
        }
        Ok(committed.into_iter().filter_map(|(partition, number)| Some((partition, number?))).collect())
    }

    /// Lands what was read of a hub in every table that reads its source. What one of them couldn't take is read again after the number that it
    /// has committed.
    pub async fn land_partitions(&self, batch: &HubBatch, deadline: Option<DateTime<Utc>>) -> Report {
        let mut report = Report::default();
        for flow in self.flows_of(&batch.source) {
            match FlowRun::new(self, flow, "partitions", deadline) {
                Ok(run) => report.flows.push(Box::pin(run.land_partitions(batch)).await),
                Err(error) => tracing::error!(%error, "flow has no target"),
            }
        }
        report
    }

    fn flows_of(&self, source: &str) -> impl Iterator<Item = &Flow> {
        self.pipeline().flows.iter().filter(move |flow| reads(flow.stream(), source))
    }

    async fn committed(
        &self,
        flow: &Flow,
        table: Option<&Table>,
        hub: &HubIdentity,
        partition: &str,
    ) -> Result<Option<i64>> {
        let Some(table) = table else { return Ok(None) };
        let app_id = flow.name.partition_app_id(&self.pipeline().name, hub, partition);
        Ok(table.transaction(&app_id).await?.filter(|number| *number >= 0))
    }
}

impl FlowRun<'_> {
    async fn land_partitions(&self, batch: &HubBatch) -> FlowReport {
        loop {
            match self.try_land_partitions(batch).await {
                Ok(Some(report)) => return report,
                Ok(None) if self.is_out_of_time() => {
                    let mut report = self.report();
                    report.outcome = Outcome::Retryable { reason: "the deadline came before a race was won".into() };
                    return report;
                }
                Ok(None) => {}
                Err(error) => return self.failure(&error),
            }
        }
    }

    /// One attempt; `None` when a race was lost.
    async fn try_land_partitions(&self, batch: &HubBatch) -> Result<Option<FlowReport>> {
        let pinned = self.pin_target().await?;
        let mut report = self.report();
        let mut taken = Taken::default();
        for (name, partition) in &batch.partitions {
            let committed = self.lake.committed(self.flow, pinned.main.as_ref(), &batch.hub, name).await?;
            match partition.fit(committed) {
                Fit::Landed => taken.held += partition.events.len() as u64,
                Fit::Missing { from, to } => {
                    let reason = format!("partition {name} must be read from {from} to {to} first");
                    report.outcome = Outcome::Retryable { reason };
                    return Ok(Some(report));
                }
                Fit::After { held } => {
                    taken.held += held as u64;
                    let sides = [&pinned.quarantine, &pinned.late];
                    let mut ahead = [None; 2];
                    for (number, side) in ahead.iter_mut().zip(sides) {
                        *number = self.lake.committed(self.flow, side.as_ref(), &batch.hub, name).await?;
                    }
                    self.take(&mut taken, (batch, name), (partition, held), (committed, ahead));
                }
            }
        }
        if taken.messages.is_empty() {
            report.rows.read = taken.held;
            report.rows.duplicate = taken.held;
            report.outcome = Outcome::AlreadyApplied;
            return Ok(Some(report));
        }
        report.inputs = taken.inputs;
        let aside = taken.aside.map(|ids| Share::of_records(LedgerColumn::MessageId, ids));
        let identity = Identity::Numbers(taken.goals);
        let fresh = Fresh { messages: taken.messages, source: &batch.source, aside, identity, report };
        Box::pin(self.land(fresh, &pinned)).await
    }

    /// Takes what is new of a partition.
    fn take(
        &self,
        taken: &mut Taken,
        (batch, name): (&HubBatch, &str),
        (partition, held): (&PartitionBatch, usize),
        (committed, ahead): (Option<i64>, [Option<i64>; 2]),
    ) {
        let fresh = &partition.events[held..];
        for (ids, number) in taken.aside.iter_mut().zip(ahead) {
            let known = fresh.iter().filter(|event| Some(event.sequence_number) <= number);
            ids.extend(known.map(|event| event.id(name)));
        }
        taken.messages.extend(fresh.iter().map(|event| event.clone().into_message(name)));
        let app_id = self.flow.name.partition_app_id(&self.lake.pipeline().name, &batch.hub, name);
        taken.goals.push((app_id, partition.through));
        taken.inputs.push(Input::Partition {
            source: batch.source.clone(),
            partition: name.to_owned(),
            after: committed,
            through: partition.through,
            events: fresh.len() as u64,
            lost: partition.lost.clone(),
        });
    }
}
