//! What a table's live files amount to.
//!
//! Each commit of ours tells it ([`headwater_core::totals`]), so that the newest entries of the log are enough: the files
//! themselves are read only where another engine's commit has left it open.

use headwater_core::totals::{FileSize, Totals};

use crate::error::Result;
use crate::table::Table;

/// So many commits of others are looked through for one that tells.
const LOOK_BACK: u64 = 8;

impl Table {
    /// What the live data files amount to.
    ///
    /// # Errors
    /// `Unavailable` when the log can't be read, `Invalid` when it is broken.
    pub async fn totals(&self) -> Result<Totals> {
        match self.told_totals().await? {
            Some(totals) => Ok(totals),
            None => self.counted_totals().await,
        }
    }

    /// The same, if it is known without reading the files, or they were read already.
    pub(crate) async fn told_totals(&self) -> Result<Option<Totals>> {
        if self.has_read_files() {
            return self.counted_totals().await.map(Some);
        }
        let mut later = Vec::new();
        let mut totals = None;
        for version in (0..=self.version()).rev().take(usize::try_from(LOOK_BACK).unwrap_or(usize::MAX)) {
            let Some(entry) = self.entry(version).await? else { return Ok(None) };
            let is_told = entry.totals.is_some();
            later.push(entry);
            if is_told || version == 0 {
                totals = Some(Totals::default());
                break;
            }
        }
        Ok(later.into_iter().rev().fold(totals, |totals, entry| entry.totals_after(totals)))
    }

    async fn counted_totals(&self) -> Result<Totals> {
        let count = |totals: Totals, file: &deltalake::kernel::LogicalFileView| {
            totals.with(FileSize {
                bytes: u64::try_from(file.size()).unwrap_or_default(),
                rows: file.num_records().map(|rows| rows as u64),
                written: file.modification_time(),
            })
        };
        Ok(self.live_files().await?.iter().fold(Totals::default(), |totals, file| count(totals, &file)))
    }
}
