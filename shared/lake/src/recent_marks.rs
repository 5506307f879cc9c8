//! Marks of the files that were added a moment ago.
//!
//! Whoever looks for records in the newest files of a table has just read the log entries that added them, and their marks
//! mostly tell that a file needn't be read. Nothing here is needed for correctness: a file without marks is read.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_core::marks::may_share;

use crate::log_entry::read_commit;
use crate::table::{DataFile, Table};

/// Files of one table whose marks are kept.
const FILES: usize = 256;
/// Entries further back aren't read again: the files that they added are old.
const ENTRIES: u64 = 64;

/// What is known of the newest files, by the tables' paths.
#[derive(Debug, Default)]
pub(crate) struct RecentMarks {
    tables: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The version up to which entries were looked at.
    through: u64,
    /// Paths of files and their commits' marks, oldest first.
    marks: VecDeque<(String, Arc<str>)>,
}

impl RecentMarks {
    /// Takes in what was committed since the last look. The handle was refreshed just before, so that the entries needn't
    /// be asked for again.
    pub(crate) async fn look(&self, table: &Table) {
        let through = self.tables().get(table.path()).map_or_else(|| table.version(), |kept| kept.through);
        let first = (through + 1).max(table.version().saturating_sub(ENTRIES));
        let mut found = Vec::new();
        for version in first..=table.version() {
            let Ok(Some(entry)) = read_commit(table.storage(), table.path(), version).await else { continue };
            let Some(marks) = entry.marks.as_deref().map(Arc::<str>::from) else { continue };
            found.extend(entry.added.iter().map(|file| (file.path().to_owned(), Arc::clone(&marks))));
        }
        let mut tables = self.tables();
        let kept = tables.entry(table.path().to_owned()).or_default();
        kept.through = table.version();
        kept.marks.extend(found);
        let old = kept.marks.len().saturating_sub(FILES);
        kept.marks.drain(..old);
    }

    /// Of these files of a table, those that may hold one of the records.
    pub(crate) fn suspects(&self, table: &Table, files: Vec<DataFile>, ids: &HashSet<String>) -> Vec<DataFile> {
        let tables = self.tables();
        let Some(kept) = tables.get(table.path()) else { return files };
        let marks: BTreeMap<&str, &Arc<str>> = kept.marks.iter().map(|(path, marks)| (path.as_str(), marks)).collect();
        let may_hold = |file: &DataFile| marks.get(file.path()).is_none_or(|marks| may_share(marks, ids));
        files.into_iter().filter(may_hold).collect()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
