//! Batches of notices: what they say together, and which of them have to come again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::commit::{StoredCommit, coalesce};
use super::error::EventError;
use super::notice::{StoredObject, stored_objects};
use crate::model::Pipeline;
use crate::name::DatasetName;
use crate::report::{FlowReport, Outcome, Report};
use crate::trigger::Message;

/// What a function answers to a batch of SQS: messages that aren't listed are deleted, those that are listed come again,
/// or go to the dead-letter queue when they came often enough. Sent as it serializes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The messages that failed.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A message that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Its id.
    pub item_identifier: String,
}

impl BatchResponse {
    /// The answer that fails these messages, each once.
    #[must_use]
    pub fn failing<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let failures: BTreeSet<_> =
            ids.into_iter().map(|id| BatchItemFailure { item_identifier: id.to_owned() }).collect();
        Self { batch_item_failures: failures.into_iter().collect() }
    }
}

/// A batch of messages that are notices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoticeBatch {
    /// What each message says, by its id.
    pub notices: BTreeMap<String, Vec<StoredObject>>,
    /// Messages that are no notices. They fail until they are dead letters, so that somebody hears of them.
    pub unreadable: BTreeMap<String, EventError>,
}

impl NoticeBatch {
    /// Reads each message.
    #[must_use]
    pub fn read(messages: &[Message]) -> Self {
        let mut batch = Self::default();
        for message in messages {
            match stored_objects(&message.body) {
                Ok(objects) => drop(batch.notices.insert(message.id.clone(), objects)),
                Err(error) => drop(batch.unreadable.insert(message.id.clone(), error)),
            }
        }
        batch
    }

    /// URLs of all stored objects, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let objects: BTreeSet<_> = self.notices.values().flatten().collect();
        objects.into_iter().map(StoredObject::url).collect()
    }

    /// The tables with new commits, each once. Empty when the batch is about other objects only.
    #[must_use]
    pub fn tables(&self) -> Vec<DatasetName> {
        coalesce(self.notices.values().flatten().filter_map(StoredCommit::of)).into_keys().collect()
    }

    /// The answer after files were landed: all notices of objects come again when a flow couldn't take them,
    /// since only that flow knows which are its.
    #[must_use]
    pub fn files_response(&self, report: &Report) -> BatchResponse {
        let failed = !report.retry.is_empty() || report.flows.iter().any(is_unsettled);
        self.response(|objects| failed && !objects.is_empty())
    }

    /// The answer after streams were advanced: a notice comes again when it is of a table that an unsettled
    /// flow reads. A flow that the pipeline doesn't have might read any.
    #[must_use]
    pub fn commits_response(&self, report: &Report, pipeline: &Pipeline) -> BatchResponse {
        let unsettled: Vec<_> = report.flows.iter().filter(|flow| is_unsettled(flow)).collect();
        let reads = |flow: &FlowReport, table: &DatasetName| {
            let known = pipeline.flows.iter().find(|known| known.name == flow.flow);
            known.is_none_or(|known| known.reads().any(|read| read == table))
        };
        self.response(|objects| {
            let mut commits = objects.iter().filter_map(StoredCommit::of);
            commits.any(|commit| unsettled.iter().any(|flow| reads(flow, &commit.table)))
        })
    }

    fn response(&self, is_failed: impl Fn(&[StoredObject]) -> bool) -> BatchResponse {
        let failed = self.notices.iter().filter(|(_, objects)| is_failed(objects)).map(|(id, _)| id);
        BatchResponse::failing(self.unreadable.keys().chain(failed).map(String::as_str))
    }
}

/// Whether a flow's work isn't in its target.
fn is_unsettled(flow: &FlowReport) -> bool {
    match flow.outcome {
        Outcome::Retryable { .. } | Outcome::Failed { .. } | Outcome::Skipped { .. } => true,
        Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. } => false,
    }
}
