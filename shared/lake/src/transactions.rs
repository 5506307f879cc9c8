//! The `txn`s of a table, asked of its log once.
//!
//! To find one the whole log is read backwards, checkpoint included. It is asked for in every batch, and only the few commits
//! since the last look can have changed it: those were read a moment ago, when the handle moved to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::log_entry::read_commit;
use crate::table::Table;

/// Answers that are kept of one table; some tables have a `txn` for each file that they have seen.
const KEPT: usize = 128;
/// So many commits are looked through for a newer answer; for more of them the log is asked.
const NEWER: u64 = 16;

/// What is known of the `txn`s of one table, shared by its handles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transactions {
    known: Arc<Mutex<HashMap<String, Known>>>,
}

/// A `txn` as it was in one version of the table.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: u64,
    version: Option<i64>,
}

impl Transactions {
    /// The version of a `txn` in the version that the handle is pinned at; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read, `Invalid` when the log is broken.
    pub(crate) async fn find(&self, table: &Table, app_id: &str) -> Result<Option<i64>> {
        let at = table.version();
        let known = self.known().get(app_id).copied();
        let version = match known.filter(|known| known.at <= at && at - known.at <= NEWER) {
            Some(known) => brought_up(table, app_id, known).await?,
            None => table.search_transaction(app_id).await?,
        };
        let mut kept = self.known();
        if kept.len() >= KEPT && !kept.contains_key(app_id) {
            kept.clear();
        }
        if kept.get(app_id).is_none_or(|known| known.at < at) {
            kept.insert(app_id.to_owned(), Known { at, version });
        }
        Ok(version)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer after the commits since it was known.
async fn brought_up(table: &Table, app_id: &str, known: Known) -> Result<Option<i64>> {
    for version in (known.at + 1..=table.version()).rev() {
        let Some(entry) = read_commit(table.storage(), table.path(), version).await? else {
            return table.search_transaction(app_id).await;
        };
        if let Some((_, found)) = entry.txns.iter().rev().find(|(other, _)| other == app_id) {
            return Ok(Some(*found));
        }
    }
    Ok(known.version)
}
