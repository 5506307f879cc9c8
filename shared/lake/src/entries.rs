//! The newest log entries of a table, as its handles have read them.
//!
//! A log entry never changes, and what its files amount to or which of them are new is asked of it in every batch. So it
//! is parsed once. Nothing here is needed for correctness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::log_entry::{CommitEntry, read_commit};
use crate::storage::Storage;

/// Entries that are kept of one table.
const KEPT: usize = 64;
/// An entry that names more files isn't kept.
const FILES: usize = 256;

/// Entries of one table, shared by its handles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    kept: Arc<Mutex<BTreeMap<u64, Arc<CommitEntry>>>>,
}

impl Entries {
    /// One entry; `None` if it isn't there.
    ///
    /// # Errors
    /// `Unavailable` when it can't be read, `Invalid` when it is broken.
    pub(crate) async fn read(&self, storage: &Storage, table: &str, version: u64) -> Result<Option<Arc<CommitEntry>>> {
        if let Some(entry) = self.kept().get(&version).cloned() {
            return Ok(Some(entry));
        }
        let entry = read_commit(storage, table, version).await?.map(Arc::new);
        if let Some(entry) = &entry {
            self.keep(Arc::clone(entry));
        }
        Ok(entry)
    }

    /// Keeps an entry, in place of an older one if there are many.
    pub(crate) fn keep(&self, entry: Arc<CommitEntry>) {
        if entry.added.len() + entry.removed.len() > FILES {
            return;
        }
        let mut kept = self.kept();
        kept.insert(entry.version, entry);
        if kept.len() > KEPT {
            kept.pop_first();
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<CommitEntry>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
