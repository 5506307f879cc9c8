//! Notices of stored objects: what they say together, and which of them have to come again.
//!
//! A cloud's storage tells of each object that was stored, in documents of its own (`aws::notice`, `azure::notice`). Notices
//! may be lost, doubled and out of order, and nothing depends on it. An object may be a commit of a table ([`commit`]).

pub mod commit;
#[cfg(test)]
pub(crate) mod damage;
mod error;

use std::collections::{BTreeMap, BTreeSet};

pub use self::error::EventError;

use self::commit::{StoredCommit, coalesce};
use crate::model::Pipeline;
use crate::name::DatasetName;
use crate::report::{FlowReport, Outcome, Report};

/// An object that was stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredObject {
    /// The URL of its bucket or container, such as `s3://lake`.
    pub root: String,
    /// Its key, decoded.
    pub key: String,
}

impl StoredObject {
    /// Its URL, the key as it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.root, self.key)
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

/// Of what was read of each message, by its id.
impl FromIterator<(String, Result<Vec<StoredObject>, EventError>)> for NoticeBatch {
    fn from_iter<T: IntoIterator<Item = (String, Result<Vec<StoredObject>, EventError>)>>(messages: T) -> Self {
        let mut batch = Self::default();
        for (id, read) in messages {
            match read {
                Ok(objects) => drop(batch.notices.insert(id, objects)),
                Err(error) => drop(batch.unreadable.insert(id, error)),
            }
        }
        batch
    }
}

impl NoticeBatch {
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

    /// The messages that have to come again after files were landed: all notices of objects when a flow couldn't take
    /// them, since only that flow knows which are its.
    #[must_use]
    pub fn failed_files(&self, report: &Report) -> BTreeSet<&str> {
        let failed = !report.retry.is_empty() || report.flows.iter().any(is_unsettled);
        self.failed(|objects| failed && !objects.is_empty())
    }

    /// The messages that have to come again after streams were advanced: a notice of a table that an unsettled flow
    /// reads. A flow that the pipeline doesn't have might read any.
    #[must_use]
    pub fn failed_commits(&self, report: &Report, pipeline: &Pipeline) -> BTreeSet<&str> {
        let unsettled: Vec<_> = report.flows.iter().filter(|flow| is_unsettled(flow)).collect();
        let reads = |flow: &FlowReport, table: &DatasetName| {
            let known = pipeline.flows.iter().find(|known| known.name == flow.flow);
            known.is_none_or(|known| known.reads().any(|read| read == table))
        };
        self.failed(|objects| {
            let mut commits = objects.iter().filter_map(StoredCommit::of);
            commits.any(|commit| unsettled.iter().any(|flow| reads(flow, &commit.table)))
        })
    }

    /// Those that can't be read, and those of which the objects failed.
    fn failed(&self, is_failed: impl Fn(&[StoredObject]) -> bool) -> BTreeSet<&str> {
        let failed = self.notices.iter().filter(|(_, objects)| is_failed(objects)).map(|(id, _)| id);
        self.unreadable.keys().chain(failed).map(String::as_str).collect()
    }
}

/// Whether a flow's work isn't in its target.
fn is_unsettled(flow: &FlowReport) -> bool {
    match flow.outcome {
        Outcome::Retryable { .. } | Outcome::Failed { .. } | Outcome::Skipped { .. } => true,
        Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. } | Outcome::Waiting { .. } => false,
    }
}
