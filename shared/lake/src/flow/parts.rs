//! Lands a large file in parts: each is a batch of its own, cut between two records, row groups or blocks.
//!
//! How far a file was landed is a `txn` of the commit that holds the rows up to there. A part is known by the byte that it begins at, and
//! its rows in side tables name that byte. A side table that is further than its target tells that an attempt died between the two
//! commits, or that its commit came late: the next part goes at least as far, and what was put aside isn't put aside once more.

use std::sync::OnceLock;

use headwater_core::model::{ChangeSource, Flow, Format, ReadOptions};
use headwater_core::name::DatasetName;
use headwater_core::parts::{Access, Position, is_cut, part_bytes, reads_until};

use super::FlowRun;
use super::earlier::Share;
use super::marks::Marked;
use super::settle::{Batch, Identity};
use super::target::Pinned;
use crate::error::{LakeError, Result};
use crate::ingest::{FoundFile, Reached, TextPart};
use crate::lake::Lake;

/// A part whose rows are held in memory is so many times smaller.
const IN_MEMORY: u64 = 8;

/// The next part of a file.
#[derive(Debug)]
pub(super) struct FilePart {
    /// What of the file it is.
    pub(super) text: TextPart,
    /// Why the rest of the file can't be read, if it can't.
    pub(super) lost: Option<String>,
    /// How far it came; set once it has been read.
    pub(super) reached: OnceLock<Reached>,
    /// What its rows in side tables name: the byte that it begins at, or that at which an attempt began that put rows of it aside.
    pub(super) named: u64,
    app_id: String,
}

impl FilePart {
    const fn start(&self) -> u64 {
        self.text.from.bytes
    }

    /// Whether nothing of its file follows, once it has been read.
    pub(super) fn is_last(&self) -> bool {
        self.reached.get().is_some_and(|reached| reached.is_end)
    }

    /// Bytes of its text, once it has been read.
    pub(super) fn bytes(&self) -> u64 {
        self.reached.get().map_or(0, |reached| reached.at.bytes.saturating_sub(self.start()))
    }
}

impl FlowRun<'_> {
    /// Whether the next batch is a part of this file, rather than the whole of it.
    pub(super) fn is_landed_in_parts(&self, file: &FoundFile, marked: Marked, read: &ReadOptions) -> bool {
        match marked {
            Marked::UpTo(_) | Marked::Replaced(_) => true,
            Marked::Nothing | Marked::Done => {
                let (has_places, access) = match read.format {
                    Format::Json | Format::JsonDocument | Format::Csv(_) | Format::Text => (true, file.access()),
                    Format::Parquet | Format::Avro => (true, Access::Random),
                    Format::Raw | Format::BinaryFile => (false, Access::Random),
                };
                has_places && is_cut(file.size, access, self.part_limit()) && !self.feeds_snapshots()
            }
        }
    }

    /// The next part of a file, and what an earlier attempt may have put aside of it.
    pub(super) async fn next_part(
        &self,
        file: &FoundFile,
        marked: Marked,
        pinned: &Pinned,
    ) -> Result<(FilePart, [Share; 2])> {
        let (from, is_lost) = match marked {
            Marked::UpTo(from) => (from, false),
            Marked::Replaced(from) => (from, true),
            Marked::Nothing | Marked::Done => (Position::default(), false),
        };
        let app_id = self.part_app_id(file);
        let (mut at_least, mut named) = (from.bytes, from.bytes);
        let mut aside = [Share::Nothing, Share::Nothing];
        for (side, share) in [&pinned.quarantine, &pinned.late].into_iter().zip(&mut aside) {
            let Some(table) = side else { continue };
            let number = async |app_id: &str| {
                let version = table.transaction(app_id).await?;
                Ok::<_, LakeError>(version.and_then(|version| u64::try_from(version).ok()))
            };
            let reached = number(&app_id).await?.filter(|reached| *reached > from.bytes);
            at_least = at_least.max(reached.unwrap_or_default());
            // What died may have begun before this part, and have been committed after parts that put nothing aside.
            let start = match reached {
                Some(_) => number(&self.part_start_app_id(file)).await?.unwrap_or(from.bytes),
                None => from.bytes,
            };
            named = named.min(start);
            if self.holds(table, &file.path).await? {
                *share = Share::Part { path: file.path.clone(), start };
            }
        }
        // Rows of a part are in memory where they are deduplicated.
        let access = if self.dataset.dedup.is_some() { Access::Random } else { file.access() };
        let text = TextPart {
            from,
            bytes: part_bytes(from.bytes, access, self.part_limit()),
            at_least,
            until: self.deadline.map(|deadline| reads_until(Lake::now(), deadline)),
        };
        let lost = is_lost.then(|| {
            format!(
                "the file was written anew while it was landed in parts: its first {} bytes are in, and what follows isn't \
                 read; write the new file under a name of its own",
                from.bytes
            )
        });
        Ok((FilePart { text, lost, reached: OnceLock::new(), named, app_id }, aside))
    }

    /// What makes a part that was read happen once.
    pub(super) fn identity_of(&self, file: &FoundFile, part: &FilePart) -> Result<Identity> {
        let unread = || LakeError::Internal { message: "a part of a file wasn't read to its end".into() };
        let reached = part.reached.get().ok_or_else(unread)?;
        let least = part.start() + u64::from(reached.is_end);
        let to = i64::try_from(reached.at.bytes.max(least)).unwrap_or(i64::MAX);
        Ok(Identity::Part { path: file.path.clone(), app_id: part.app_id.clone(), to })
    }

    /// Tells in a finished batch how far its file is in.
    pub(super) fn mark_part(&self, batch: &mut Batch, file: &FoundFile, part: &FilePart, read: &ReadOptions) {
        let any = (self.any_marks_app_id(), 1);
        let start = i64::try_from(part.named).unwrap_or(i64::MAX);
        batch.joined.extend([any.clone(), (self.part_start_app_id(file), start)]);
        batch.txns.push(any);
        if let Some(reached) = part.reached.get() {
            batch.txns.extend(self.place_marks(file, reached.at));
        }
        if part.is_last() {
            batch.txns.push(self.done_mark(file, read));
        }
    }

    /// Bytes of a part, about.
    fn part_limit(&self) -> u64 {
        let limit = self.lake.pipeline().settings.max_batch_bytes;
        if self.dataset.dedup.is_some() { (limit / IN_MEMORY).max(1) } else { limit }
    }

    /// Whether rows of the target are compared as whole snapshots further on: then a file lands whole.
    fn feeds_snapshots(&self) -> bool {
        let flows = &self.lake.pipeline().flows;
        let takes_snapshots =
            |flow: &Flow| flow.changes.as_ref().is_some_and(|changes| changes.source == ChangeSource::Snapshots);
        let mut reached: Vec<&DatasetName> = vec![&self.flow.target];
        let mut next = 0;
        while let Some(name) = reached.get(next).copied() {
            next += 1;
            for flow in flows.iter().filter(|flow| flow.reads().any(|read| read == name)) {
                if takes_snapshots(flow) {
                    return true;
                }
                if !reached.contains(&&flow.target) {
                    reached.push(&flow.target);
                }
            }
        }
        false
    }
}
