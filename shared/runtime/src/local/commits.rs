//! New commits of tables on local disk: the names in their `_delta_log`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use headwater_core::commit::entry_version;
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
            let latest = latest_version(&table.folder.join("_delta_log"))?;
            let before = self.seen.get(&table.dataset).copied();
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

/// The largest version in a log; `None` if there is no table yet.
fn latest_version(log: &Path) -> Result<Option<u64>> {
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
