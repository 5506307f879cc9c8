//! Lands messages of an unordered, at-least-once queue.
//!
//! The target is the ledger: `_metadata.message_id` and `_metadata.enqueued_time` are columns. A
//! message received for the first time can only have been landed by a commit since then; one that
//! was received before is looked up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::datasource::MemTable;
use headwater_core::model::{ReadOptions, Relation, RelationSource};
use headwater_core::provenance::{Trace, project_traces};
use headwater_core::report::{FlowReport, Input, Outcome, Report, Retry};
use headwater_core::trigger::{Message, MessageBatch};

use super::FlowRun;
use super::common::Work;
use super::earlier::Share;
use super::relations::register_source;
use super::settle::Identity;
use super::target::Pinned;
use crate::error::{LakeError, Result};
use crate::ingest::{BadRecord, decode_messages, message_schema, sample_messages};
use crate::lake::Lake;
use crate::ledger::{LedgerColumn, held, suspects};
use crate::table::Table;

/// Messages that the target doesn't hold.
pub(super) struct Fresh<'a> {
    pub(super) messages: Vec<Message>,
    /// The name of their source.
    pub(super) source: &'a str,
    /// What an earlier attempt may have put aside of them: in the quarantine, in the late table.
    pub(super) aside: [Share; 2],
    /// What makes them land once.
    pub(super) identity: Identity,
    /// The report of the batch so far.
    pub(super) report: FlowReport,
}

impl Lake {
    /// Lands a batch of messages in every table that reads its source. A message is to be
    /// redelivered (`retry`) when one of the tables couldn't take it.
    pub async fn land_messages(&self, batch: &MessageBatch, deadline: Option<DateTime<Utc>>) -> Report {
        let mut report = Report::default();
        let flows: Vec<_> = self.pipeline().flows.iter().filter(|flow| reads(flow.stream(), &batch.source)).collect();
        if flows.is_empty() {
            report.retry = retries(batch, &format!("no flow reads source `{}`", batch.source));
        }
        for flow in flows {
            match FlowRun::new(self, flow, "messages", deadline) {
                Ok(run) => report.flows.extend(run.land_messages(batch).await),
                Err(error) => tracing::error!(%error, "flow has no target"),
            }
        }
        if let Some(reason) = report.flows.iter().find_map(unsettled) {
            report.retry = retries(batch, &reason);
        }
        report
    }
}

/// Messages as rows.
pub(in crate::flow) struct Decoded {
    /// Their columns, without `_metadata`.
    pub(in crate::flow) columns: SchemaRef,
    /// What to remember of the columns from now on.
    remembered: Option<(String, String)>,
    /// The rows.
    pub(in crate::flow) rows: RecordBatch,
    /// What can't be decoded.
    pub(in crate::flow) bad: Vec<BadRecord>,
}

impl FlowRun<'_> {
    async fn land_messages(&self, batch: &MessageBatch) -> Vec<FlowReport> {
        let mut messages = batch.messages.clone();
        loop {
            match self.try_land(&messages, batch).await {
                Ok(Some(reports)) => return reports,
                Ok(None) if self.is_out_of_time() => {
                    let mut report = self.report();
                    report.outcome = Outcome::Retryable { reason: "the deadline came before a race was won".into() };
                    return vec![report];
                }
                Ok(None) => {
                    messages.iter_mut().for_each(|message| message.receive_count = message.receive_count.max(2))
                }
                Err(error) => return vec![self.failure(&error)],
            }
        }
    }

    /// One attempt; `None` when a race was lost and all must be looked up again.
    async fn try_land(&self, messages: &[Message], batch: &MessageBatch) -> Result<Option<Vec<FlowReport>>> {
        let mut reports = Vec::new();
        let are_new = messages.iter().all(|message| message.receive_count <= 1);
        let pinned = if are_new { self.pin_target_of_new_records().await? } else { self.pin_target().await? };
        let landed = self.held_in_suspects(pinned.main.as_ref(), messages, batch).await?;
        let mut taken = HashSet::new();
        let mut fresh = messages.to_vec();
        fresh.retain(|message| !landed.contains(&message.id) && taken.insert(message.id.clone()));
        let duplicates = (messages.len() - fresh.len()) as u64;
        if duplicates > 0 {
            let mut report = self.report();
            report.inputs = vec![Input::Events { source: batch.source.clone(), messages: duplicates }];
            report.rows.read = duplicates;
            report.rows.duplicate = duplicates;
            report.outcome = Outcome::AlreadyApplied;
            reports.push(report);
        }
        if !fresh.is_empty() {
            let Some(report) = self.land_fresh(fresh, batch, &pinned).await? else { return Ok(None) };
            reports.push(report);
        }
        Ok(Some(reports))
    }

    /// Which of the messages a table holds, as far as it must be asked.
    async fn held_in_suspects(
        &self,
        table: Option<&Table>,
        messages: &[Message],
        batch: &MessageBatch,
    ) -> Result<HashSet<String>> {
        let Some(table) = table else { return Ok(HashSet::new()) };
        let ids: HashSet<String> = messages.iter().map(|message| message.id.clone()).collect();
        let files = suspects(table, messages, batch.received_at).await?;
        self.lake.marks().look(table).await;
        let files = self.lake.marks().suspects(table, files, &ids);
        held(self.lake.storage(), LedgerColumn::MessageId, &ids, &files).await
    }

    /// Lands messages that the target doesn't hold; `None` when a race was lost.
    async fn land_fresh(
        &self,
        messages: Vec<Message>,
        batch: &MessageBatch,
        pinned: &Pinned,
    ) -> Result<Option<FlowReport>> {
        let mut report = self.report();
        report.inputs = vec![Input::Events { source: batch.source.clone(), messages: messages.len() as u64 }];
        let aside = [
            self.held_in_suspects(pinned.quarantine.as_ref(), &messages, batch).await?,
            self.held_in_suspects(pinned.late.as_ref(), &messages, batch).await?,
        ];
        let aside = aside.map(|ids| Share::of_records(LedgerColumn::MessageId, ids));
        let ids = messages.iter().map(|message| message.id.clone()).collect();
        let identity = Identity::Sources { column: LedgerColumn::MessageId, ids };
        self.land(Fresh { messages, source: &batch.source, aside, identity, report }, pinned).await
    }

    /// Decodes messages, runs the query over them, and settles what it gives; `None` when a race was lost.
    pub(super) async fn land(&self, fresh: Fresh<'_>, pinned: &Pinned) -> Result<Option<FlowReport>> {
        let Fresh { messages, source, aside, identity, mut report } = fresh;
        let started = Instant::now();
        let (relation, read) = self.events_relation()?;
        let Decoded { columns, remembered, rows, bad } =
            self.decoded_messages(pinned.main.as_ref(), (&messages, source), read)?;
        drop(messages);
        let traces = relation.watermark().map(|watermark| Trace::EventTime(&watermark.column));
        let traces: Vec<_> = std::iter::once(Trace::Metadata).chain(traces).collect();
        let query = project_traces(&self.flow.query, &traces).ok_or_else(|| self.untraceable())?;
        let session = self.session();
        let statics = self.pin_tables().await?;
        if self.register_static(&session, &query, &statics).await?.is_none() {
            report.outcome = Outcome::Retryable { reason: "a table that the query joins has no data yet".into() };
            return Ok(Some(report));
        }
        let table = MemTable::try_new(message_schema(&columns), vec![vec![rows]]).map_err(LakeError::query)?;
        register_source(&session, relation, Arc::new(table))?;
        let frame = self.lake.engine().plan(&session, &query).await?;
        let work = Work { aside: Some(aside), remembered, ..Work::default() };
        let plan = self.plan(pinned, frame.schema().inner(), work).await?;
        let watermark = self.watermark(pinned.main.as_ref()).await?;
        let plan = self.with_keys_of_target(plan, pinned, (&session, &query), watermark).await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(bad).await.map_err(|source| LakeError::Internal { message: source.to_string() })?;
        drop(sender);
        let executed = super::execute::execute(frame, &plan, watermark, Some(receiver)).await?;
        report.millis = super::elapsed_millis(started);
        let batch = self.finish(&plan, executed, watermark, (identity, report)).await?;
        self.settle(pinned, &plan, batch).await
    }

    /// Messages decoded; columns are added as they are met.
    pub(in crate::flow) fn decoded_messages(
        &self,
        main: Option<&Table>,
        (messages, source): (&[Message], &str),
        read: &ReadOptions,
    ) -> Result<Decoded> {
        let mut sample = sample_messages(messages);
        loop {
            let (columns, remembered) = self.source_columns(main, read, &sample)?;
            match decode_messages(messages, source, read, &columns, self.decode_limits()) {
                Ok((rows, bad)) => return Ok(Decoded { columns, remembered, rows, bad }),
                Err(error) if self.learns(&error, read, &mut sample) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn events_relation(&self) -> Result<(&Relation, &ReadOptions)> {
        match self.flow.stream() {
            Some(relation) => match &relation.source {
                RelationSource::Events { read, .. } => Ok((relation, read)),
                _ => Err(self.no_stream()),
            },
            None => Err(self.no_stream()),
        }
    }
}

pub(super) fn reads(stream: Option<&Relation>, name: &str) -> bool {
    matches!(stream.map(|relation| &relation.source), Some(RelationSource::Events { source, .. }) if source == name)
}

fn retries(batch: &MessageBatch, reason: &str) -> Vec<Retry> {
    let retry = |message: &Message| Retry { item: message.id.clone(), reason: reason.to_owned() };
    batch.messages.iter().map(retry).collect()
}

/// Why a flow's batch isn't in its target.
pub(super) fn unsettled(report: &FlowReport) -> Option<String> {
    match &report.outcome {
        Outcome::Retryable { reason } | Outcome::Failed { message: reason, .. } => Some(reason.clone()),
        Outcome::Skipped { upstream } => Some(format!("{upstream} failed")),
        Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. } | Outcome::Waiting { .. } => None,
    }
}
