//! The names that a log on the local disk holds from its last checkpoint on, without reading the others.
//!
//! A folder's names can only be read one by one, and those of an old log are many. But entries follow each other, so that each is looked
//! for by its name. Whether that finds all is told by the folder's time: whatever comes into a folder or goes from it changes that, so
//! that nothing is newer than the newest of these names in a folder that has changed last when that came.

use std::path::Path;
use std::time::{Duration, SystemTime};

use headwater_core::commit::{checkpoint_version, entry_name, version_digits};

/// The name of the file that tells which checkpoint is the last one.
pub(crate) const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// A name comes into its folder at most so long after its file was written: disks keep times to a second or better.
const MOMENT: Duration = Duration::from_secs(1);

/// The names after this one, where it is that of the last checkpoint's version; `None` if it isn't, if they are more than `most`, or if others
/// may be there.
pub(crate) fn named_tail(folder: &Path, after: &str, most: usize) -> Option<Vec<String>> {
    let changed = folder.metadata().ok()?.modified().ok()?;
    let first = checkpoint_version(&std::fs::read(folder.join(LAST_CHECKPOINT)).ok()?)?;
    if version_digits(first) != after {
        return None;
    }
    let mut tail = Tail { folder, names: Vec::new(), newest: SystemTime::UNIX_EPOCH };
    let begins =
        tail.take(LAST_CHECKPOINT.into())? && tail.take(checkpoint_name(first))? && tail.take(entry_name(first))?;
    let mut version = first;
    while begins && tail.names.len() <= most {
        tail.take(format!("{}.crc", version_digits(version)))?;
        version = version.checked_add(1)?;
        if !tail.take(entry_name(version))? {
            return tail.is_all(changed).then_some(tail.names);
        }
        tail.take(checkpoint_name(version))?;
    }
    None
}

fn checkpoint_name(version: u64) -> String {
    format!("{}.checkpoint.parquet", version_digits(version))
}

struct Tail<'a> {
    folder: &'a Path,
    names: Vec<String>,
    /// When the newest of the files was written.
    newest: SystemTime,
}

impl Tail<'_> {
    /// Adds a name if it is there; `None` if that can't be told, or if it isn't a file's.
    fn take(&mut self, name: String) -> Option<bool> {
        let found = match self.folder.join(&name).symlink_metadata() {
            Ok(found) => found,
            Err(error) => return (error.kind() == std::io::ErrorKind::NotFound).then_some(false),
        };
        self.newest = self.newest.max(found.is_file().then(|| found.modified().ok())??);
        self.names.push(name);
        Some(true)
    }

    /// Whether there are no others, in a folder that has changed at this time.
    fn is_all(&self, changed: SystemTime) -> bool {
        changed.duration_since(self.newest).unwrap_or_else(|earlier| earlier.duration()) <= MOMENT
    }
}
