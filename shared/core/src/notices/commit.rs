//! Objects that are commits of a table, as the Delta protocol names them:
//! `<table>/_delta_log/<20 digits>.json`.

use std::collections::BTreeMap;

use super::StoredObject;
use crate::commit::entry_version;
use crate::name::{DatasetName, Layer};

/// A commit that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// The table.
    pub table: DatasetName,
    /// Its version.
    pub version: u64,
}

impl StoredCommit {
    /// The commit that an object is: its key must end in `<layer>/<table>/_delta_log/<20 digits>.json`.
    /// `None` for anything else, so for data files, checkpoints, checksums and temporary files.
    #[must_use]
    pub fn of(object: &StoredObject) -> Option<Self> {
        let mut parts = object.key.rsplit('/');
        let version = entry_version(parts.next()?)?;
        parts.next().filter(|log| *log == "_delta_log")?;
        let table = parts.next().filter(|table| !table.is_empty())?;
        let layer = parts.next()?;
        let layers = [Layer::Bronze, Layer::Silver, Layer::Gold];
        layers
            .iter()
            .any(|known| known.folder() == layer)
            .then(|| Self { table: DatasetName::from(table.to_owned()), version })
    }
}

/// The tables that commits are of, each once, with the latest version that was told of.
#[must_use]
pub fn coalesce(commits: impl IntoIterator<Item = StoredCommit>) -> BTreeMap<DatasetName, u64> {
    let mut tables = BTreeMap::new();
    for StoredCommit { table, version } in commits {
        let latest = tables.entry(table).or_insert(version);
        *latest = version.max(*latest);
    }
    tables
}
