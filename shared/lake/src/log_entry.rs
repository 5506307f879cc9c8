//! Log entries.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use deltalake::kernel::{Action, Metadata, Protocol, Remove};
use deltalake::logstore::get_actions;
use headwater_core::commit::entry_name;
use headwater_core::report::{COMMIT_INFO_KEY, FlowReport};
use headwater_core::totals::{TOTALS_KEY, Totals};
use object_store::ObjectStoreExt;
use serde::Deserialize;
use serde_json::Value;

use crate::data_file::DataFile;
use crate::error::{LakeError, Result};
use crate::storage::Storage;

/// The key of a commit's token in `commitInfo`.
pub(crate) const TOKEN_KEY: &str = "headwaterToken";

/// The key of the marks of a commit's records in `commitInfo`.
pub(crate) const MARKS_KEY: &str = "headwaterRecords";

/// One commit, as its log entry tells.
#[derive(Debug, Clone)]
pub struct CommitEntry {
    /// Its version.
    pub version: u64,
    /// When it was committed, by the committer's clock.
    pub timestamp: Option<DateTime<Utc>>,
    /// What the writer called it (`WRITE`, `OPTIMIZE`, …).
    pub operation: Option<String>,
    /// Headwater's report, if Headwater committed it.
    pub report: Option<FlowReport>,
    /// `txn` actions.
    pub txns: Vec<(String, i64)>,
    /// When storage got it, by its clock; of an entry that this process has put, by its own.
    pub(crate) stored_at: DateTime<Utc>,
    pub(crate) token: Option<String>,
    pub(crate) marks: Option<String>,
    pub(crate) added: Vec<DataFile>,
    pub(crate) removed: Vec<Remove>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) protocol: Option<Protocol>,
    /// What the table's live files amounted to then, if the commit tells.
    pub(crate) totals: Option<Totals>,
}

impl CommitEntry {
    /// Whether it takes rows away or changes them; compaction doesn't.
    #[must_use]
    pub fn removes_rows(&self) -> bool {
        self.removed.iter().any(|remove| remove.data_change)
    }

    /// Files with rows that weren't in the table before.
    #[must_use]
    pub fn rows_added(&self) -> Vec<DataFile> {
        self.added.iter().filter(|file| file.add.data_change).cloned().collect()
    }

    /// When it was committed: as it says, or when storage got it.
    #[must_use]
    pub fn committed_at(&self) -> DateTime<Utc> {
        self.timestamp.unwrap_or(self.stored_at)
    }

    /// Whether any row came or went.
    #[must_use]
    pub fn changes_rows(&self) -> bool {
        self.removes_rows() || self.added.iter().any(|file| file.add.data_change)
    }

    /// What the table's live files amount to after it, given what they did before; `None` where that can't be told without
    /// reading them: whoever takes files away, or names files that may be there already, must say what it makes.
    pub(crate) fn totals_after(&self, before: Option<Totals>) -> Option<Totals> {
        let only_adds = self.removed.is_empty() && self.added.iter().all(|file| file.add.data_change);
        let brought_up = || self.added.iter().fold(before, |totals, file| Some(totals?.with(file.in_totals())));
        self.totals.clone().or_else(|| if only_adds { brought_up() } else { None })
    }

    pub(crate) fn removed_paths(&self) -> BTreeSet<String> {
        self.removed.iter().map(|remove| remove.path.clone()).collect()
    }

    fn take(&mut self, storage: &Storage, table: &str, action: Action) {
        match action {
            Action::Add(add) => self.added.push(DataFile::new(storage, table, add)),
            Action::Remove(remove) => self.removed.push(remove),
            Action::Txn(txn) => self.txns.push((txn.app_id, txn.version)),
            Action::Metadata(metadata) => self.metadata = Some(metadata),
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::CommitInfo(info) => {
                self.timestamp = info.timestamp.and_then(DateTime::from_timestamp_millis);
                self.operation.clone_from(&info.operation);
                let text = |key| info.info.get(key).and_then(Value::as_str).map(str::to_owned);
                (self.token, self.marks) = (text(TOKEN_KEY), text(MARKS_KEY));
                self.totals = info.info.get(TOTALS_KEY).and_then(|totals| Totals::deserialize(totals).ok());
                self.report =
                    info.info.get(COMMIT_INFO_KEY).and_then(|report| serde_json::from_value(report.clone()).ok());
            }
            Action::Cdc(_) | Action::DomainMetadata(_) => {}
        }
    }
}

/// Reads one log entry; `None` if it isn't there.
pub(crate) async fn read_commit(storage: &Storage, table: &str, version: u64) -> Result<Option<CommitEntry>> {
    let location = storage.location(&format!("{table}/_delta_log/{}", entry_name(version)));
    let unread = |source: object_store::Error| LakeError::delta(&storage.table_url(table), source.into());
    let got = match storage.object_store().get(&location).await {
        Ok(got) => got,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(unread(error)),
    };
    let stored_at = got.meta.last_modified;
    let bytes = got.bytes().await.map_err(unread)?;
    parsed(storage, table, version, stored_at, &bytes).map(Some)
}

/// A log entry of these bytes, which storage got then.
pub(crate) fn parsed(
    storage: &Storage,
    table: &str,
    version: u64,
    stored_at: DateTime<Utc>,
    bytes: &Bytes,
) -> Result<CommitEntry> {
    let mut entry = CommitEntry {
        version,
        timestamp: None,
        operation: None,
        report: None,
        txns: Vec::new(),
        stored_at,
        token: None,
        marks: None,
        added: Vec::new(),
        removed: Vec::new(),
        metadata: None,
        protocol: None,
        totals: None,
    };
    let actions = get_actions(version, bytes).map_err(|source| LakeError::delta(&storage.table_url(table), source))?;
    for action in actions {
        entry.take(storage, table, action);
    }
    Ok(entry)
}
