//! New commits of tables on local disk: the names in their `_delta_log`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use headwater_core::commit::{checkpoint_version, entry_name, entry_version};
use headwater_core::name::DatasetName;

use super::WatchedTable;
use crate::error::{AtPath, Result};

/// The latest version of each watched table that was seen so far.
#[derive(Debug, Clone, Default)]
pub struct CommitLog {
    seen: BTreeMap<DatasetName, u64>,
}

impl CommitLog {
    /// Tables that have commits which weren't seen before; they count as seen from now on.
    ///
    /// # Errors
    /// When a log is there but can't be listed.
    pub fn changed(&mut self, tables: &[WatchedTable]) -> Result<Vec<DatasetName>> {
        let mut changed = Vec::new();
        for table in tables {
            let before = self.seen.get(&table.dataset).copied();
            let latest = latest_version(&table.folder.join("_delta_log"), before)?;
            if latest != before {
                changed.push(table.dataset.clone());
            }
            match latest {
                Some(version) => self.seen.insert(table.dataset.clone(), version),
                None => self.seen.remove(&table.dataset),
            };
        }
        Ok(changed)
    }
}

/// The last version of a log; `None` if there is no table yet.
///
/// Entries follow each other, so that the names after one that is there are tried, and not all read: they may be many.
fn latest_version(log: &Path, seen: Option<u64>) -> Result<Option<u64>> {
    let Some(mut latest) = seen.max(last_checkpoint(log)) else { return listed(log) };
    // It may be another table of that name by now, or so far on that this entry was cleaned up.
    if !is_there(log, latest)? {
        return listed(log);
    }
    while is_there(log, latest + 1)? {
        latest += 1;
    }
    Ok(Some(latest))
}

fn is_there(log: &Path, version: u64) -> Result<bool> {
    let entry = log.join(entry_name(version));
    fs::exists(&entry).at("look for", &entry)
}

/// The version of the last checkpoint, if the log tells.
fn last_checkpoint(log: &Path) -> Option<u64> {
    checkpoint_version(&fs::read(log.join("_last_checkpoint")).ok()?)
}

/// The largest version in a log, by all names; `None` if there is no table yet.
fn listed(log: &Path) -> Result<Option<u64>> {
    let entries = match fs::read_dir(log) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", log),
    };
    let mut latest = None;
    for entry in entries {
        let name = entry.at("read", log)?.file_name();
        latest = latest.max(name.to_str().and_then(entry_version));
    }
    Ok(latest)
}
