//! The newest files of a table, by its newest log entries alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use headwater_core::compaction::{HEAT, hot_partitions};

use crate::data_file::{DataFile, Partition, partition_of};
use crate::error::Result;
use crate::table::Table;

/// Entries that are read for it; for more, all live files are.
const ENTRIES: usize = 32;

/// Of which so many are read at once.
const READ_AT_ONCE: usize = 8;

impl Table {
    /// The live files that storage got commits of since then, and that were written since; `None` where the newest entries
    /// don't tell, or files were read already. Clocks may differ by less than the caller has allowed for.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read, `Invalid` when it is broken.
    pub(crate) async fn added_since(&self, since: DateTime<Utc>) -> Result<Option<Vec<DataFile>>> {
        let Some(times) = self.log_times()? else { return Ok(None) };
        if times.entries.first().is_some_and(|(version, _)| *version != self.version()) {
            return Ok(None);
        }
        let recent = times.entries.iter().take_while(|(_, at)| at.is_none_or(|at| at >= since));
        let mut versions: Vec<u64> = recent.map(|(version, _)| *version).collect();
        // What a checkpoint holds is older than it, but may be recent if the checkpoint is: its entries are there for some time yet.
        if versions.len() == times.entries.len() && times.checkpoint.is_some_and(|at| at >= since) {
            let held = times.entries.last().map_or(self.version() + 1, |(version, _)| *version);
            versions.extend((0..held).rev().take(ENTRIES + 1));
        }
        let (mut removed, mut added) = (HashSet::new(), Vec::new());
        let mut entries = stream::iter(versions).map(|version| self.entry(version)).buffered(READ_AT_ONCE).enumerate();
        while let Some((at, entry)) = entries.next().await {
            let Some(entry) = entry? else { return Ok(None) };
            if entry.stored_at < since {
                break;
            }
            if at == ENTRIES {
                return Ok(None);
            }
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
        let versions = (0..=self.version()).rev().take(ENTRIES);
        let mut entries = stream::iter(versions).map(|version| self.entry(version)).buffered(READ_AT_ONCE);
        while let Some(Some(entry)) = entries.try_next().await? {
            if entry.committed_at() < now - HEAT {
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
