//! The names that a log on the local disk was found to hold a moment ago.
//!
//! A folder's names can only be read one by one, old ones too. But entries of a log follow each other: those after the last
//! one that is known are found by their names. That holds for a moment: what clean-up takes away from between them is older.
//! Nothing here is needed for correctness.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use headwater_core::commit::{entry_name, entry_version};
use tokio::time::Instant;

use crate::named_tail::LAST_CHECKPOINT;

/// After so long all names are read again.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Logs that are known at once.
const KEPT: usize = 64;

/// Names of a few logs.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    kept: Mutex<VecDeque<Known>>,
}

/// What a log held after a name.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    folder: PathBuf,
    after: String,
    checkpoint: Option<(SystemTime, u64)>,
    began: Instant,
    names: Vec<String>,
}

impl Known {
    /// Begins to look at what a log holds after this name.
    pub(crate) fn begin(folder: &Path, after: &str) -> Self {
        let (folder, after) = (folder.to_owned(), after.to_owned());
        Self { checkpoint: last_checkpoint(&folder), folder, after, began: Instant::now(), names: Vec::new() }
    }

    /// The names after this one, with those of entries that have come since; `None` if others may have come or gone.
    fn brought_up(mut self, after: &str) -> Option<Vec<String>> {
        if self.began.elapsed() > KEPT_FOR || self.checkpoint != last_checkpoint(&self.folder) {
            return None;
        }
        let mut last = self.names.iter().filter_map(|name| entry_version(name)).max()?;
        let is_there = |version: u64| self.folder.join(entry_name(version)).try_exists();
        if !is_there(last).ok()? {
            return None;
        }
        while is_there(last + 1).ok()? {
            last += 1;
            self.names.push(entry_name(last));
        }
        self.names.retain(|name| name.as_str() > after);
        Some(self.names)
    }
}

impl KnownNames {
    /// The names of a log after this one, without reading the others; `None` if they aren't known.
    pub(crate) fn find(&self, folder: &Path, after: &str) -> Option<Vec<String>> {
        let is_wanted = |known: &&Known| known.folder == folder && known.after.as_str() <= after;
        let known = self.kept().iter().rev().find(is_wanted).cloned()?;
        known.brought_up(after)
    }

    /// Keeps what was found.
    pub(crate) fn keep(&self, known: Known, names: &[String]) {
        let mut kept = self.kept();
        kept.retain(|other| other.folder != known.folder);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Known { names: names.to_vec(), ..known });
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the name of the last checkpoint was written, and its length: a newer checkpoint is looked for among all names.
fn last_checkpoint(folder: &Path) -> Option<(SystemTime, u64)> {
    let found = folder.join(LAST_CHECKPOINT).metadata().ok()?;
    Some((found.modified().ok()?, found.len()))
}
