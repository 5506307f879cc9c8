//! What a target's `txn`s tell of files, besides its rows: which are in though they gave it none, and how far large ones are.
//!
//! `…/file/<path>` is in, as it was when it was landed. Of a file that is landed in parts, `…/part/bytes/<fingerprint>/<path>` tells
//! how many bytes of its text are in, and `lines` and `rows` how many of these; when all are, it is marked as being in.

use std::collections::{BTreeMap, HashMap};

use headwater_core::model::ReadOptions;
use headwater_core::parts::{Position, fingerprint};

use super::FlowRun;
use crate::error::Result;
use crate::ingest::FoundFile;
use crate::table::Table;

/// Marks of files.
#[derive(Debug, Default)]
pub(super) struct FileMarks {
    done: HashMap<String, i64>,
    /// By path, and by the file that had it.
    parts: HashMap<String, BTreeMap<u64, Position>>,
}

/// What marks tell of a file as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// Nothing.
    Nothing,
    /// It is in.
    Done,
    /// It is in up to here.
    UpTo(Position),
    /// What had its name before was in up to here, and isn't there any more. It may be in by its rows.
    Replaced(Position),
}

impl FileMarks {
    /// What they tell of a file.
    pub(super) fn of(&self, file: &FoundFile, read: &ReadOptions) -> Marked {
        if self.done.get(&file.path).is_some_and(|mark| *mark >= mark_of(file, read)) {
            return Marked::Done;
        }
        let Some(parts) = self.parts.get(&file.path) else { return Marked::Nothing };
        let furthest = parts.values().max_by_key(|position| position.bytes);
        match (parts.get(&fingerprint_of(file)), furthest) {
            (Some(own), _) => Marked::UpTo(*own),
            (None, Some(other)) if !self.is_done(&file.path) => Marked::Replaced(*other),
            (None, _) => Marked::Nothing,
        }
    }

    /// Whether a file of this path is in, or was, whatever its rows tell.
    pub(super) fn is_done(&self, path: &str) -> bool {
        self.done.contains_key(path)
    }

    /// Whether some of a path is in, and the rest may be to come.
    pub(super) fn is_in_parts(&self, path: &str) -> bool {
        self.parts.contains_key(path) && !self.is_done(path)
    }

    /// Whether a part that began at a byte of a path's file is in.
    pub(super) fn is_behind(&self, path: &str, start: u64) -> bool {
        let parts = self.parts.get(path);
        self.is_done(path) || parts.is_some_and(|parts| parts.values().any(|position| position.bytes > start))
    }
}

impl FlowRun<'_> {
    /// The marks in a table.
    pub(super) async fn file_marks(&self, table: Option<&Table>) -> Result<FileMarks> {
        let mut marks = FileMarks::default();
        for (app_id, version) in self.file_mark_ids(table).await? {
            let Some(rest) = app_id.strip_prefix(&format!("{}/", self.app_id())) else { continue };
            if let Some(path) = rest.strip_prefix(DONE).filter(|_| version > 0) {
                marks.done.insert(path.to_owned(), version);
            } else if let Some((what, file, path)) = rest.strip_prefix(PART).and_then(part_of)
                && let Ok(number) = u64::try_from(version)
            {
                let position = marks.parts.entry(path.to_owned()).or_default().entry(file).or_default();
                match what {
                    BYTES => position.bytes = number,
                    LINES => position.lines = number,
                    ROWS => position.rows = number,
                    _ => {}
                }
            }
        }
        // What was set back to the start has no bytes.
        marks.parts.retain(|_, files| {
            files.retain(|_, position| position.bytes > 0);
            !files.is_empty()
        });
        Ok(marks)
    }

    /// The `txn`s that are marks of files. Where there are none, that is all that is asked of the log.
    pub(super) async fn file_mark_ids(&self, table: Option<&Table>) -> Result<Vec<(String, i64)>> {
        let Some(table) = table else { return Ok(Vec::new()) };
        if table.transaction(&self.any_marks_app_id()).await?.is_none() {
            return Ok(Vec::new());
        }
        let own = table.transactions_below(&format!("{}/", self.app_id())).await?;
        let start = self.app_id().len() + 1;
        let is_mark = |app_id: &str| app_id[start..].starts_with(DONE) || app_id[start..].starts_with(PART);
        Ok(own.into_iter().filter(|(app_id, _)| is_mark(app_id)).collect())
    }

    /// The `txn` of a file that is in, and its version.
    pub(super) fn done_mark(&self, file: &FoundFile, read: &ReadOptions) -> (String, i64) {
        (format!("{}/{DONE}{}", self.app_id(), file.path), mark_of(file, read))
    }

    /// What tells that some file has a mark.
    pub(super) fn any_marks_app_id(&self) -> String {
        format!("{}/files-without-rows", self.app_id())
    }

    /// The `txn` that tells how many bytes of a file are in.
    pub(super) fn part_app_id(&self, file: &FoundFile) -> String {
        self.part_of(file, BYTES)
    }

    /// The `txn`s of the lines and rows before a place in a file.
    pub(super) fn place_marks(&self, file: &FoundFile, at: Position) -> [(String, i64); 2] {
        let version = |number| i64::try_from(number).unwrap_or(i64::MAX);
        [(self.part_of(file, LINES), version(at.lines)), (self.part_of(file, ROWS), version(at.rows))]
    }

    /// The `txn` by which a side table tells the byte that the part began at which it holds last.
    pub(super) fn part_start_app_id(&self, file: &FoundFile) -> String {
        self.part_of(file, START)
    }

    fn part_of(&self, file: &FoundFile, what: &str) -> String {
        format!("{}/{PART}{what}/{:016x}/{}", self.app_id(), fingerprint_of(file), file.path)
    }

    fn app_id(&self) -> String {
        self.lake.app_id(self.flow)
    }
}

const DONE: &str = "file/";
const PART: &str = "part/";
const BYTES: &str = "bytes";
const LINES: &str = "lines";
const ROWS: &str = "rows";
const START: &str = "start";

/// `<what>/<fingerprint>/<path>`
fn part_of(rest: &str) -> Option<(&str, u64, &str)> {
    let (what, rest) = rest.split_once('/')?;
    let (file, path) = rest.split_once('/')?;
    Some((what, u64::from_str_radix(file, 16).ok()?, path))
}

fn fingerprint_of(file: &FoundFile) -> u64 {
    fingerprint(file.modified.timestamp_micros(), file.size, file.etag.as_deref())
}

/// The mark of a file: where it may be written again, when it was written.
fn mark_of(file: &FoundFile, read: &ReadOptions) -> i64 {
    if read.files.allow_overwrites { file.modified.timestamp_micros().max(1) } else { 1 }
}
