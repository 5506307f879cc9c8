//! Tables as they were.
//!
//! A state can be read while its log can be put together: from the first entry on, or from the oldest
//! checkpoint that clean-up has left. The time of a state is the one in its commit, or of its log entry where
//! another writer gave none.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::TryStreamExt;
use headwater_core::as_of::AsOf;
use headwater_core::commit::entry_version;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{LakeError, Result};
use crate::log_entry::read_commit;
use crate::table::Table;

/// Digits of a version in the name of a log's file.
const DIGITS: usize = 20;

impl Table {
    /// The table in an earlier state, or in the present one.
    ///
    /// # Errors
    /// `Invalid` when there is no such state, or not any more; `Unavailable` when the log can't be read.
    pub async fn as_of(&self, as_of: AsOf) -> Result<Self> {
        let first = self.first_readable().await?;
        let version = match as_of {
            AsOf::Version(version) => self.checked(version, first)?,
            AsOf::Time(time) => self.version_at(time, first).await?,
        };
        if version == self.version() { Ok(self.clone()) } else { self.at(version).await }
    }

    fn checked(&self, version: u64, first: u64) -> Result<u64> {
        let (path, last) = (self.path(), self.version());
        let message = match version {
            version if version > last => format!("`{path}` has no version {version} yet: its last one is {last}"),
            version if version < first => {
                format!(
                    "version {version} of `{path}` can't be read any more: its log was cleaned up to version {first}"
                )
            }
            version => return Ok(version),
        };
        Err(LakeError::Configuration { message, help: format!("give a version from {first} to {last}") })
    }

    /// The last version that was committed by then.
    async fn version_at(&self, time: DateTime<Utc>, first: u64) -> Result<u64> {
        let (mut low, mut high) = (first, self.version() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.time_of(middle).await? {
                Some(committed) if committed > time => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        if low > first {
            return Ok(low - 1);
        }
        let began = self.time_of(first).await?.map(|began| began.to_rfc3339_opts(SecondsFormat::Secs, true));
        let began = began.unwrap_or_else(|| "later".into());
        let (path, time) = (self.path(), AsOf::Time(time));
        let message = match first {
            0 => format!("`{path}` wasn't there yet at {time}: it was made at {began}"),
            first => format!(
                "`{path}` as of {time} can't be read any more: its log was cleaned up to version {first}, of {began}"
            ),
        };
        Err(LakeError::Configuration { message, help: format!("give a time from {began} on") })
    }

    /// When a version was committed; `None` if its entry is gone.
    async fn time_of(&self, version: u64) -> Result<Option<DateTime<Utc>>> {
        let Some(entry) = read_commit(self.storage(), self.path(), version).await? else { return Ok(None) };
        if entry.timestamp.is_some() {
            return Ok(entry.timestamp);
        }
        let path = format!("{}/_delta_log/{version:0DIGITS$}.json", self.path());
        let found = self.storage().object_store().head(&self.storage().location(&path)).await;
        let found = found.map_err(|source| LakeError::Storage { action: "can't read", path, source })?;
        Ok(Some(found.last_modified))
    }

    /// The oldest version that can be put together.
    async fn first_readable(&self) -> Result<u64> {
        let path = format!("{}/_delta_log", self.path());
        let folder = self.storage().location(&path);
        let store = self.storage().object_store();
        let (mut entries, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
        let mut listed = store.list(Some(&folder));
        let failed = |source| LakeError::Storage { action: "can't list", path: path.clone(), source };
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let name = object.location.filename().unwrap_or_default();
            entries.extend(entry_version(name));
            checkpoints.extend(checkpoint_version(name));
        }
        let last = self.version();
        let is_followed = |from: u64| (from + 1..=last).all(|version| entries.contains(&version));
        let starts = entries.contains(&0).then_some(0).into_iter().chain(checkpoints);
        Ok(starts.into_iter().find(|start| is_followed(*start)).unwrap_or(last))
    }
}

/// The version of a checkpoint, by the name of a file of it.
fn checkpoint_version(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(DIGITS)?;
    let is_one = rest.starts_with(".checkpoint.") && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| digits.parse().ok())?
}
