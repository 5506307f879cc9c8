//! The one place that commits.
//!
//! One loop for every commit: put `v + 1` if it isn't there; on any error wait, read `v + 1…` and look for
//! our own token before believing that it failed; let [`headwater_core::commit::decide`] say what the
//! winners mean. Checkpoints and log clean-up have no place here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use deltalake::kernel::transaction::{CommitBuilder, TransactionError};
use deltalake::kernel::{Action, Add, AddCDCFile, Transaction};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::{StreamExt, TryStreamExt};
use headwater_core::backoff::{Setback, next_delay};
use headwater_core::commit::{Attempt, Decision, Fence, Winner, decide};
use headwater_core::marks::{marks_of, may_share};
use headwater_core::report::{COMMIT_INFO_KEY, FlowReport, Outcome};
use headwater_core::totals::{TOTALS_KEY, Totals};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::data_file::{in_totals, without_escaped_letters};
use crate::error::{LakeError, Result};
use crate::ledger::{LedgerColumn, held};
use crate::log_entry::{CommitEntry, MARKS_KEY, TOKEN_KEY, parsed, read_commit};
use crate::protocol::{check_removal, check_writable};
use crate::schema_actions::schema_actions;
use crate::storage::Storage;
use crate::table::{DataFile, Table};

/// Log entries that are read at once after a lost race: mostly there is one, and nothing after it.
const READ_AT_ONCE: usize = 2;

/// A change of one table, all or nothing.
#[derive(Debug, Clone)]
pub struct Change {
    /// Files to add; written already.
    pub adds: Vec<Add>,
    /// Files of the change data feed; written already.
    pub feed: Vec<Add>,
    /// Files to remove.
    pub removes: Vec<DataFile>,
    /// Columns to set.
    pub schema: Option<SchemaChange>,
    /// `txn`s to set.
    pub txns: Vec<(String, i64)>,
    /// The `txn` that carries the flow's watermark. It never moves back: that of a winner stays if it is higher.
    pub watermark: Option<(String, i64)>,
    /// What must still hold.
    pub fence: Fence,
    /// Records that no other commit may have landed meanwhile.
    pub records: Option<(LedgerColumn, HashSet<String>)>,
    /// Rows come or go; false for compaction and vacuum.
    pub data_change: bool,
    /// Goes into `commitInfo`.
    pub report: FlowReport,
}

/// A change of a table's columns.
#[derive(Debug, Clone)]
pub enum SchemaChange {
    /// Make the table.
    Create {
        /// Its columns.
        schema: SchemaRef,
        /// Partition columns.
        partitioned_by: Vec<String>,
        /// Delta's own properties.
        configuration: BTreeMap<String, String>,
        /// Comment.
        comment: Option<String>,
    },
    /// Set columns and partition columns of a table whose rows are all replaced.
    Relayout {
        /// All columns.
        schema: SchemaRef,
        /// Partition columns.
        partitioned_by: Vec<String>,
        /// Properties to set.
        configuration: BTreeMap<String, String>,
    },
    /// Set the columns: the present ones and new ones.
    SetColumns {
        /// All columns.
        schema: SchemaRef,
        /// Properties to set.
        configuration: BTreeMap<String, String>,
    },
    /// The same, with wider types for present columns, whose files stay as they are.
    Widen {
        /// All columns.
        schema: SchemaRef,
        /// Properties to set.
        configuration: BTreeMap<String, String>,
    },
}

/// How a commit ended.
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    /// It is this version.
    Committed {
        /// The version.
        version: u64,
        /// Tries, the successful one included.
        attempts: u32,
    },
    /// Another attempt of the same flow had done the work.
    AlreadyApplied {
        /// The version that did it.
        version: u64,
    },
    /// What it was computed from has changed.
    Redo {
        /// Why.
        reason: &'static str,
    },
    /// Time ran out; whether it landed is not known to this attempt, but the next one will see.
    Retryable {
        /// Why.
        reason: String,
    },
}

/// What a report says of it, for work that isn't tried again before the next trigger.
impl From<CommitOutcome> for Outcome {
    fn from(outcome: CommitOutcome) -> Self {
        match outcome {
            CommitOutcome::Committed { version, .. } => Self::Committed { version },
            CommitOutcome::AlreadyApplied { .. } => Self::AlreadyApplied,
            CommitOutcome::Redo { reason } => Self::Retryable { reason: reason.to_owned() },
            CommitOutcome::Retryable { reason } => Self::Retryable { reason },
        }
    }
}

/// How long to try.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    deadline: DateTime<Utc>,
}

impl RetryPolicy {
    /// Until shortly before a deadline, a minute if there is none.
    #[must_use]
    pub fn until(deadline: Option<DateTime<Utc>>) -> Self {
        let margin = chrono::Duration::milliseconds(500);
        Self { deadline: deadline.map_or_else(|| Utc::now() + chrono::Duration::seconds(60), |at| at - margin) }
    }
}

/// Commits a change on top of a pinned table, or creates it.
///
/// # Errors
/// `Invalid` when the table needs what can't be written, before anything is put; `Unavailable` when
/// storage refuses for a reason that a person must mend. What may pass is tried again until the policy ends.
pub async fn commit(
    storage: &Storage,
    path: &str,
    table: Option<&Table>,
    change: &Change,
    policy: RetryPolicy,
) -> Result<CommitOutcome> {
    let mut committer = Committer::new(storage, path, change);
    committer.before = totals_before(table).await;
    let mut next = table.map_or(0, |table| table.version() + 1);
    loop {
        committer.tries += 1;
        let Err(failure) = committer.put(table, next).await? else { return Ok(committer.committed(next)) };
        let has_time = committer.wait(&failure, policy).await;
        let (entries, winners) = committer.winners_from(next).await?;
        match decide(&committer.attempt, &winners) {
            Decision::Applied { version, ours: true } => return Ok(committer.committed(version)),
            Decision::Applied { version, ours: false } => return Ok(CommitOutcome::AlreadyApplied { version }),
            Decision::Redo { reason } => return Ok(CommitOutcome::Redo { reason: reason.words() }),
            Decision::Rebase { .. } if winners.is_empty() && failure.is_lasting() => return Err(failure),
            Decision::Rebase { .. } if !has_time => {
                let reason = format!("{} tries to commit to {path}: {failure}", committer.tries);
                return Ok(CommitOutcome::Retryable { reason });
            }
            Decision::Rebase { .. } if winners.is_empty() => {}
            Decision::Rebase { onto } => {
                committer.keep_highest_watermark(&winners);
                committer.before =
                    entries.iter().fold(committer.before.take(), |totals, entry| entry.totals_after(totals));
                next = onto + 1;
            }
        }
    }
}

/// One commit over its tries.
struct Committer<'a> {
    storage: &'a Storage,
    path: &'a str,
    change: &'a Change,
    attempt: Attempt,
    watermark: Option<(String, i64)>,
    /// What the table's live files amount to before the next try, as far as it is known without reading them.
    before: Option<Totals>,
    seed: u64,
    tries: u32,
    /// When the last try began.
    begun: Instant,
}

impl<'a> Committer<'a> {
    fn new(storage: &'a Storage, path: &'a str, change: &'a Change) -> Self {
        let token = Uuid::new_v4();
        let removes: BTreeSet<String> = change.removes.iter().map(|file| file.path().to_owned()).collect();
        let attempt = Attempt { token: token.to_string(), removes, fence: change.fence.clone() };
        let (watermark, seed) = (change.watermark.clone(), token.as_u64_pair().0);
        Self { storage, path, change, attempt, watermark, before: None, seed, tries: 0, begun: Instant::now() }
    }

    /// Leaves the watermark to the winners, if one has moved it further.
    fn keep_highest_watermark(&mut self, winners: &[Winner]) {
        let txns = winners.iter().flat_map(|winner| &winner.txns);
        let is_ahead =
            |(app_id, ours): &(String, i64)| txns.clone().any(|(other, version)| other == app_id && version >= ours);
        self.watermark = self.watermark.take().filter(|ours| !is_ahead(ours));
    }

    const fn committed(&self, version: u64) -> CommitOutcome {
        CommitOutcome::Committed { version, attempts: self.tries }
    }

    /// Waits after a try, so that what is read then is as new as can be when the next one is put; false if there
    /// is no time for it.
    async fn wait(&self, failure: &LakeError, policy: RetryPolicy) -> bool {
        let is_lost = matches!(failure, LakeError::Storage { source: object_store::Error::AlreadyExists { .. }, .. });
        let setback = if is_lost { Setback::Lost { took: self.begun.elapsed() } } else { Setback::Failed };
        let delay = next_delay(setback, self.tries, self.seed);
        let has_time = Utc::now() + delay < policy.deadline;
        if has_time {
            tokio::time::sleep(delay).await;
        }
        has_time
    }

    /// Puts one version. The inner result says why it may not be there; nothing but the log tells.
    async fn put(&mut self, table: Option<&Table>, version: u64) -> Result<Result<()>> {
        let url = self.storage.table_url(self.path);
        let log = table.map_or_else(|| self.storage.log_store(self.path), Table::log_store);
        let bytes = self.bytes(table, &log, version).await?;
        self.begun = Instant::now();
        let put = log.write_commit_entry(version, CommitOrBytes::LogBytes(bytes.clone()), Uuid::new_v4()).await;
        if let (Ok(()), Some(table)) = (&put, table) {
            table.keep_entry(parsed(self.storage, self.path, version, Utc::now(), &bytes)?);
        }
        Ok(put.map_err(|source| {
            tracing::debug!(table = %url, version, error = %source, "commit not seen to land");
            not_seen_to_land(self.path, version, source)
        }))
    }

    /// The log entry, checked against the table's protocol.
    async fn bytes(&self, table: Option<&Table>, log: &LogStoreRef, version: u64) -> Result<Bytes> {
        let url = self.storage.table_url(self.path);
        if let Some(table) = table {
            check_writable(&url, table.head())?;
            if self.change.data_change && !self.change.removes.is_empty() {
                check_removal(&url, table.head())?;
            }
        }
        let prepared = CommitBuilder::default()
            .with_actions(self.actions(table)?)
            .with_app_metadata(self.metadata(version)?)
            .with_max_retries(0)
            .build(None, Arc::clone(log), self.operation())
            .into_prepared_commit_future()
            .await
            .map_err(|source| LakeError::delta(&url, source))?;
        match prepared.commit_or_bytes() {
            CommitOrBytes::LogBytes(bytes) if self.change.removes.iter().all(|file| file.path().is_ascii()) => {
                Ok(bytes.clone())
            }
            CommitOrBytes::LogBytes(bytes) => {
                removed_as_spelled(bytes).map_err(|source| LakeError::Internal { message: source.to_string() })
            }
            CommitOrBytes::TmpCommit(path) => {
                Err(LakeError::Internal { message: format!("a log entry was put aside at {path}") })
            }
        }
    }

    /// What goes into `commitInfo`.
    fn metadata(&self, version: u64) -> Result<HashMap<String, Value>> {
        let internal = |source: serde_json::Error| LakeError::Internal { message: source.to_string() };
        let mut report = self.change.report.clone();
        report.outcome = Outcome::Committed { version };
        report.attempts = self.tries;
        let marks = self.change.records.as_ref().and_then(|(_, ids)| marks_of(ids));
        let totals = self.totals().map(serde_json::to_value).transpose().map_err(internal)?;
        let given = [
            Some((COMMIT_INFO_KEY, serde_json::to_value(&report).map_err(internal)?)),
            Some((TOKEN_KEY, self.attempt.token.clone().into())),
            marks.map(|marks| (MARKS_KEY, marks.into())),
            totals.map(|totals| (TOTALS_KEY, totals)),
        ];
        Ok(given.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// What the table's live files amount to after the commit, if it is known what they do before.
    fn totals(&self) -> Option<Totals> {
        let removes = self.change.removes.iter();
        let left = removes.fold(self.before.clone(), |totals, file| totals?.without(file.in_totals()));
        let adds = self.change.adds.iter().map(in_totals);
        left.map(|left| adds.fold(left, Totals::with))
    }

    fn actions(&self, table: Option<&Table>) -> Result<Vec<Action>> {
        let now = Utc::now();
        let url = self.storage.table_url(self.path);
        let mut actions = schema_actions(&url, self.change.schema.as_ref(), table.map(Table::head))?;
        let removal = |file: &DataFile| Action::Remove(file.removal(self.change.data_change, now));
        actions.extend(self.change.removes.iter().map(removal));
        actions.extend(
            self.change
                .adds
                .iter()
                .cloned()
                .map(|add| Action::Add(Add { data_change: self.change.data_change, ..add })),
        );
        actions.extend(self.change.feed.iter().cloned().map(|file| {
            let Add { path, size, partition_values, tags, .. } = file;
            Action::Cdc(AddCDCFile { path, size, partition_values, data_change: false, tags })
        }));
        let txn = |(app_id, version): &(String, i64)| {
            Action::Txn(Transaction::new_with_last_update(app_id, *version, Some(now.timestamp_millis())))
        };
        actions.extend(self.change.txns.iter().chain(&self.watermark).map(txn));
        Ok(actions)
    }

    fn operation(&self) -> DeltaOperation {
        if self.change.data_change {
            let mode = if self.change.removes.is_empty() { SaveMode::Append } else { SaveMode::Overwrite };
            DeltaOperation::Write { mode, partition_by: None, predicate: None }
        } else if self.change.adds.is_empty() && self.change.removes.is_empty() {
            DeltaOperation::VacuumEnd { status: "COMPLETED".to_owned() }
        } else {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        }
    }

    /// Every commit from a version on. None, if they can't be read for now: the same version is then put
    /// again, and if ours is there already, it is found.
    async fn winners_from(&self, first: u64) -> Result<(Vec<CommitEntry>, Vec<Winner>)> {
        match self.read_winners(first).await {
            Err(error) if !error.is_lasting() => {
                tracing::debug!(table = self.path, %error, "winners can't be read");
                Ok((Vec::new(), Vec::new()))
            }
            read => read,
        }
    }

    async fn read_winners(&self, first: u64) -> Result<(Vec<CommitEntry>, Vec<Winner>)> {
        let entries = futures::stream::iter(first..)
            .map(|version| read_commit(self.storage, self.path, version))
            .buffered(READ_AT_ONCE)
            .try_take_while(|entry| std::future::ready(Ok(entry.is_some())));
        let entries: Vec<_> = entries.try_filter_map(|entry| std::future::ready(Ok(entry))).try_collect().await?;
        let mut winners = Vec::new();
        for entry in &entries {
            winners.push(self.winner(entry).await?);
        }
        Ok((entries, winners))
    }

    async fn winner(&self, entry: &CommitEntry) -> Result<Winner> {
        let holds_our_records = match &self.change.records {
            Some((column, ids)) if entry.marks.as_ref().is_none_or(|marks| may_share(marks, ids)) => {
                !held(self.storage, *column, ids, &entry.rows_added()).await?.is_empty()
            }
            Some(_) | None => false,
        };
        Ok(Winner {
            version: entry.version,
            token: entry.token.clone(),
            removes: entry.removed_paths(),
            adds_rows: !entry.rows_added().is_empty(),
            removes_rows: entry.removes_rows(),
            txns: entry.txns.clone(),
            changes_table: entry.metadata.is_some() || entry.protocol.is_some(),
            holds_our_records,
        })
    }
}

/// The entry with another removal for each of a path that isn't ASCII: an `add` and its `remove` are told to be of one file by the letters
/// of their paths, which delta-rs escapes and other engines don't.
fn removed_as_spelled(entry: &[u8]) -> serde_json::Result<Bytes> {
    let mut lines = entry.to_vec();
    for line in entry.split(|byte| *byte == b'\n').filter(|line| line.starts_with(br#"{"remove""#)) {
        let mut action: Value = serde_json::from_slice(line)?;
        let path = &mut action["remove"]["path"];
        let Some(plain) = path.as_str().map(without_escaped_letters) else { continue };
        if path.as_str() != Some(&plain) {
            *path = plain.into();
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, &action)?;
        }
    }
    Ok(lines.into())
}

/// What a table's live files amount to, if the log tells. A commit that can't tell what it makes is as good as one that can.
async fn totals_before(table: Option<&Table>) -> Option<Totals> {
    let Some(table) = table else { return Some(Totals::default()) };
    table.told_totals().await.unwrap_or_else(|error| {
        tracing::debug!(table = table.path(), %error, "totals can't be read");
        None
    })
}

/// Why a commit was not seen to land.
fn not_seen_to_land(path: &str, version: u64, source: TransactionError) -> LakeError {
    let action = "can't put a commit of";
    let source = match source {
        TransactionError::ObjectStore { source } => source,
        other => object_store::Error::AlreadyExists { path: format!("version {version}"), source: Box::new(other) },
    };
    LakeError::Storage { action, path: path.to_owned(), source }
}
