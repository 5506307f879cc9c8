//! A table as far as a few of its commits have made it.
//!
//! delta-rs reads data files through a snapshot of the log. For the files that a few commits have added, a snapshot of those
//! commits is enough, and costs the same at any age of the table. It is made from the form in which delta-rs hands a
//! snapshot on to other processes: the log's files are named there, and all but those commits are left out.

use std::ops::RangeInclusive;

use deltalake::kernel::Snapshot;
use serde_json::Value;

/// Where a snapshot's parts are in that form.
const VERSION: usize = 0;
const COMMITS: usize = 4;
const COMPACTED_COMMITS: usize = 5;
const CHECKPOINT: usize = 6;
const CHECKSUMS: usize = 7;
const LAST_COMMIT: usize = 8;

/// The table of these commits alone, with the columns that it has in the whole log; `None` unless all of them come after the
/// last checkpoint.
pub(crate) fn few_commits(log: &Snapshot, versions: RangeInclusive<u64>) -> Option<Snapshot> {
    let mut form = serde_json::to_value(log).ok()?;
    let listed = form.get(COMMITS)?.as_array()?;
    let entry = |version: u64| {
        let name = format!("/{version:020}.json");
        listed
            .iter()
            .find(|entry| entry["location"].as_str().is_some_and(|location| location.ends_with(&name)))
            .cloned()
    };
    let wanted: Vec<Value> = versions.clone().map(entry).collect::<Option<_>>()?;
    let nothing = Value::Array(Vec::new());
    for (place, left) in [
        (VERSION, (*versions.end()).into()),
        (LAST_COMMIT, wanted.last()?.clone()),
        (COMMITS, wanted.into()),
        (COMPACTED_COMMITS, nothing.clone()),
        (CHECKPOINT, nothing),
        (CHECKSUMS, Value::Null),
    ] {
        *form.get_mut(place)? = left;
    }
    let few: Snapshot = serde_json::from_value(form).ok()?;
    (few.version() == *versions.end() && few.metadata() == log.metadata()).then_some(few)
}
