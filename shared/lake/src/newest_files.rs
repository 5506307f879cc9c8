//! The newest files of a table, by its newest log entries alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use headwater_core::compaction::{HEAT, hot_partitions};

use crate::data_file::{DataFile, Partition, partition_of};
use crate::error::Result;
use crate::table::Table;

/// Entries that are read for it; for more, all live files are.
const ENTRIES: usize = 32;

impl Table {
    /// The live files that storage got commits of since then, and that were written since; `None` where the newest entries
    /// don't tell, or files were read already. Clocks may differ by less than the caller has allowed for.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read, `Invalid` when it is broken.
    pub(crate) async fn added_since(&self, since: DateTime<Utc>) -> Result<Option<Vec<DataFile>>> {
        let Some(times) = self.log_times()? else { return Ok(None) };
        let recent = times.entries.iter().take_while(|(_, at)| at.is_none_or(|at| at >= since));
        let versions: Vec<u64> = recent.map(|(version, _)| *version).collect();
        let is_whole = times.entries.first().is_none_or(|(version, _)| *version == self.version());
        // What a checkpoint holds is older than it.
        let in_checkpoint = versions.len() == times.entries.len() && times.checkpoint.is_some_and(|at| at >= since);
        if versions.len() > ENTRIES || in_checkpoint || !is_whole {
            return Ok(None);
        }
        let (mut removed, mut added) = (HashSet::new(), Vec::new());
        for version in versions {
            let Some(entry) = self.entry(version).await? else { return Ok(None) };
            added.extend(entry.added.iter().filter(|file| !removed.contains(file.path())).cloned());
            removed.extend(entry.removed_paths());
        }
        added.retain(|file| file.modified() >= since);
        Ok(Some(added))
    }

    /// The partitions whose rows are being changed, as the newest log entries tell.
    ///
    /// # Errors
    /// As [`Self::added_since`].
    pub(crate) async fn hot_partitions(&self, now: DateTime<Utc>) -> Result<BTreeSet<Partition>> {
        let mut changed = Vec::new();
        for version in (0..=self.version()).rev().take(ENTRIES) {
            let Some(entry) = self.entry(version).await? else { break };
            if entry.timestamp.is_none_or(|at| at < now - HEAT) {
                break;
            }
            let removed = entry.removed.iter().filter(|file| file.data_change);
            changed.push(
                removed.map(|file| partition_of(file.partition_values.as_ref().unwrap_or(&HashMap::new()))).collect(),
            );
        }
        Ok(hot_partitions(changed))
    }
}
