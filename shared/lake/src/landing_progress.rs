//! How far the landing of files is, for whoever draws it. Nothing depends on it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_core::name::DatasetName;

/// Where the landing of one table's files stands; shared with whoever looks.
#[derive(Debug, Default)]
pub struct LandingProgress {
    standing: Mutex<Option<Standing>>,
}

/// Files of a table that waited when its flow began, and how many of them are in or on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The table.
    pub dataset: DatasetName,
    /// All files.
    pub files: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    waiting: Amount,
    read: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Amount {
    files: u64,
    bytes: u64,
}

impl Standing {
    /// Files that are in, or read.
    #[must_use]
    pub fn files_done(&self) -> u64 {
        (self.files - self.waiting.files + self.read.files).min(self.files)
    }

    /// Their bytes, and those of files that are being read.
    #[must_use]
    pub fn bytes_done(&self) -> u64 {
        (self.bytes - self.waiting.bytes + self.read.bytes).min(self.bytes)
    }
}

impl LandingProgress {
    /// Where it stands; `None` while no files are landed.
    #[must_use]
    pub fn now(&self) -> Option<Standing> {
        self.standing().clone()
    }

    /// So many files of a table wait before its next batch.
    pub fn plan(&self, dataset: &DatasetName, files: u64, bytes: u64) {
        let mut standing = self.standing();
        let before = standing.take().filter(|standing| standing.dataset == *dataset);
        let (all_files, all_bytes) = before.map_or((0, 0), |standing| (standing.files, standing.bytes));
        *standing = Some(Standing {
            dataset: dataset.clone(),
            files: all_files.max(files),
            bytes: all_bytes.max(bytes),
            waiting: Amount { files, bytes },
            read: Amount::default(),
        });
    }

    /// So much more was read of the batch.
    pub fn read(&self, files: u64, bytes: u64) {
        if let Some(standing) = self.standing().as_mut() {
            standing.read.files += files;
            standing.read.bytes += bytes;
        }
    }

    /// All that waited is in, or nothing more is tried now.
    pub fn end(&self) {
        *self.standing() = None;
    }

    fn standing(&self) -> MutexGuard<'_, Option<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
