//! What a function did, item by item and flow by flow.
//!
//! The report of a commit goes into its `commitInfo` under the key `headwater`, so that history,
//! data quality, lineage and freshness need no second store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::hub::Lost;
use crate::model::Violation;
use crate::name::{DatasetName, FlowName};

/// The key of a flow's report in `commitInfo`.
pub const COMMIT_INFO_KEY: &str = "headwater";

/// What one invocation did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// One entry a flow that was looked at, in the order of work.
    pub flows: Vec<FlowReport>,
    /// One outcome a message or object of the trigger; what isn't listed is done.
    pub retry: Vec<Retry>,
    /// Whether it was seen that nothing is left of what the trigger asked for. A function that doesn't tell is woken until it
    /// commits nothing more.
    #[serde(skip)]
    pub is_done: bool,
}

impl Report {
    /// Whether every flow ended well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.retry.is_empty() && self.flows.iter().all(|flow| !matches!(flow.outcome, Outcome::Failed { .. }))
    }

    /// Adds another invocation's entries after this one's.
    pub fn extend(&mut self, other: Self) {
        self.flows.extend(other.flows);
        self.retry.extend(other.retry);
        self.is_done &= other.is_done;
    }
}

/// An item of the trigger that is worth a redelivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Message id or object path.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// What one flow did in one batch, or what one maintenance step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    /// The flow; for maintenance `compact`, `checkpoint` or `vacuum`.
    pub flow: FlowName,
    /// The table that it writes.
    pub target: DatasetName,
    /// The trigger's word.
    pub trigger: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was read: one entry a source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Counts of rows.
    #[serde(default)]
    pub rows: Rows,
    /// Counts of changes, for a flow of changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeCounts>,
    /// Counts of each expectation, in the order declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExpectationCount>,
    /// Data files and bytes added to the target.
    #[serde(default)]
    pub files_added: u64,
    /// Bytes of the added data files.
    #[serde(default)]
    pub bytes_added: u64,
    /// Data files removed from the target.
    #[serde(default)]
    pub files_removed: u64,
    /// How far a table's compaction has come with this commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// Event-time watermark after the batch, for a flow that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<DateTime<Utc>>,
    /// How often the commit was tried.
    #[serde(default)]
    pub attempts: u32,
    /// Wall time from reading to just before the commit, in milliseconds.
    #[serde(default)]
    pub millis: u64,
}

impl FlowReport {
    /// A report of a flow that did nothing yet.
    #[must_use]
    pub fn new(flow: FlowName, target: DatasetName, trigger: &str) -> Self {
        Self {
            flow,
            target,
            trigger: trigger.to_owned(),
            outcome: Outcome::NothingNew,
            inputs: Vec::new(),
            rows: Rows::default(),
            changes: None,
            expectations: Vec::new(),
            files_added: 0,
            bytes_added: 0,
            files_removed: 0,
            slice: None,
            watermark: None,
            attempts: 0,
            millis: 0,
        }
    }
}

/// A compaction is done in slices, each of them a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Slices that are done, this one among them.
    pub done: u64,
    /// Slices that were planned.
    pub planned: u64,
    /// Bytes of those that are left.
    pub bytes_left: u64,
}

/// How a flow's batch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Outcome {
    /// There was nothing to do; nothing was committed.
    NothingNew,
    /// Another attempt had done the work already; nothing was committed.
    AlreadyApplied,
    /// Committed as this version.
    Committed {
        /// The target's new version; in `commitInfo` it is left out by the writer as 0.
        version: u64,
    },
    /// Stopped before the deadline or by lost races; the next trigger goes on.
    Retryable {
        /// Why.
        reason: String,
    },
    /// There is nothing to compute from yet: a table that it reads has no data, and wakes it when it has.
    Waiting {
        /// For what.
        reason: String,
    },
    /// Not run, because a flow that it reads from failed.
    Skipped {
        /// The dataset that failed.
        upstream: DatasetName,
    },
    /// Failed; nothing of the batch is in the target.
    Failed {
        /// What the caller does about it.
        kind: ErrorKind,
        /// What, where, and what to do.
        message: String,
    },
}

/// One source of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Input {
    /// Commits of a table of the lake, `(after, through]`.
    Table {
        /// The table.
        dataset: DatasetName,
        /// The last version consumed before; `None` at the start.
        after: Option<u64>,
        /// The last version consumed now.
        through: u64,
    },
    /// Messages.
    Events {
        /// The source.
        source: String,
        /// How many messages were handed over.
        messages: u64,
    },
    /// What a partition of a hub gave, `(after, through]`.
    Partition {
        /// The source.
        source: String,
        /// The partition.
        partition: String,
        /// The last number committed before; `None` at the start.
        after: Option<i64>,
        /// The last number committed now.
        through: i64,
        /// How many events were read.
        events: u64,
        /// Numbers that retention took before they were read, both ends among them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Lost>,
    },
    /// Files.
    Files {
        /// The folder.
        path: String,
        /// How many files were read.
        files: u64,
        /// Their size, as stored.
        bytes: u64,
    },
}

/// Counts of rows of a batch. `read = written + dropped + late + duplicate` for a flow that keeps
/// its rows one to one; `quarantined` counts what went to the quarantine table, undecodable records
/// included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rows {
    /// Rows that the query gave, before expectations; for events and files, records read.
    pub read: u64,
    /// Rows added to the target.
    pub written: u64,
    /// Rows that failed a `DROP ROW` expectation.
    pub dropped: u64,
    /// Rows and undecodable records added to the quarantine table.
    pub quarantined: u64,
    /// Rows added to the late table.
    pub late: u64,
    /// Rows whose key or source record was in the target already.
    pub duplicate: u64,
}

impl Rows {
    /// Sums two batches.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            written: self.written + other.written,
            dropped: self.dropped + other.dropped,
            quarantined: self.quarantined + other.quarantined,
            late: self.late + other.late,
            duplicate: self.duplicate + other.duplicate,
        }
    }
}

/// What the changes of a batch (`AUTO CDC`) did to their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Rows that upserts made or changed; in a history, upserts that are part of it now.
    pub upserted: u64,
    /// Rows that deletes and truncations took away; in a history, states that deletes ended.
    pub deleted: u64,
    /// Changes that a later one of their key had overtaken, in the batch or before it.
    pub stale: u64,
    /// Deletes that are remembered, in case an earlier change of their key comes later.
    pub tombstones: u64,
}

impl ChangeCounts {
    /// Sums two batches.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            upserted: self.upserted + other.upserted,
            deleted: self.deleted + other.deleted,
            stale: self.stale + other.stale,
            tombstones: self.tombstones + other.tombstones,
        }
    }
}

/// Counts of one expectation in one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationCount {
    /// Its name.
    pub name: String,
    /// What a violation does.
    pub action: Violation,
    /// Rows for which the predicate is true.
    pub passed: u64,
    /// Rows for which it is false or NULL.
    pub failed: u64,
}
