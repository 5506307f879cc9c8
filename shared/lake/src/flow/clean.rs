//! Deletes or moves files that are in their table: Auto Loader's `cleanSource`.
//!
//! A file goes only when the target holds it as it is now, for as long as it was told. One that another flow
//! hasn't read yet goes too: whoever cleans a folder reads it for all. What only a shadow holds stays.

use std::time::Duration;

use headwater_core::model::CleanSource;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::FlowRun;
use super::marks::Marked;
use crate::error::{LakeError, Result};
use crate::ingest::{FoundFile, Landing};
use crate::lake::Lake;
use crate::storage::Storage;

impl FlowRun<'_> {
    /// Cleans the folder up, as far as it can be done: what stays is tried again the next time.
    pub(super) async fn clean_source(&self, landing: &Landing) {
        if self.lake.is_shadowed(&self.flow.target) {
            return;
        }
        match self.try_clean(landing).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(flow = %self.flow.name, files, "files that were landed are cleaned up"),
            Err(error) => tracing::warn!(flow = %self.flow.name, %error, "files that were landed can't be cleaned up"),
        }
    }

    async fn try_clean(&self, landing: &Landing) -> Result<usize> {
        let (_, _, read) = self.files_relation()?;
        let (after, to) = match &read.files.clean_source {
            CleanSource::Off => return Ok(0),
            CleanSource::Delete { after } => (*after, None),
            CleanSource::Move { after, to } => (*after, Some(destination(landing, &self.lake.resolve(to))?)),
        };
        let done = self.landed_before(landing, after).await?;
        let store = landing.storage().object_store();
        for file in &done {
            let moved = match &to {
                None => store.delete(&file.location).await,
                Some(to) => store.rename(&file.location, &below(landing, to, &file.location)).await,
            };
            moved.map_err(|source| LakeError::Storage { action: "can't clean up", path: file.path.clone(), source })?;
        }
        Ok(done.len())
    }

    /// Files that the target has held for so long, as they are now.
    async fn landed_before(&self, landing: &Landing, after: Duration) -> Result<Vec<FoundFile>> {
        let (_, _, read) = self.files_relation()?;
        let Some(table) = self.lake.table(&self.flow.target).await? else { return Ok(Vec::new()) };
        let until = Lake::now() - after;
        let mut files = landing.list().await?;
        files.retain(|file| file.modified <= until);
        if files.is_empty() {
            return Ok(files);
        }
        let entries = self.entries(Some(&table), &files).await?;
        let marks = self.file_marks(Some(&table)).await?;
        files.retain(|file| !matches!(marks.of(file, read), Marked::UpTo(_) | Marked::Replaced(_)));
        files.retain(|file| {
            let entry = entries.get(&file.path);
            entry.is_some_and(|entry| entry.modified == file.modified.timestamp_micros() && entry.landed <= until)
        });
        Ok(files)
    }
}

/// The folder to move to.
fn destination(landing: &Landing, to: &str) -> Result<Storage> {
    let storage = Storage::of(to)?;
    let (from, to_url) = (landing.storage().url(), storage.url());
    let is_elsewhere = (from.scheme(), from.authority()) != (to_url.scheme(), to_url.authority());
    let is_below = storage.location("").prefix_matches(&landing.storage().location(""));
    if is_elsewhere || is_below {
        return Err(LakeError::Configuration {
            message: format!("files can't be moved from {from} to {to_url}"),
            help: "write a cleanSource.moveDestination in the same bucket, and not below the source".into(),
        });
    }
    Ok(storage)
}

/// The same place below another folder.
fn below(landing: &Landing, to: &Storage, location: &Path) -> Path {
    let (root, folder) = (landing.storage().location(""), to.location(""));
    let parts = location.prefix_match(&root).into_iter().flatten();
    Path::from_iter(folder.parts().chain(parts))
}
