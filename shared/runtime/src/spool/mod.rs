//! The embedded durable queue: a folder that behaves like SQS.
//!
//! Delivery is unordered and at least once, with receive counts, a visibility time-out and dead
//! letters. Any number of processes may send and receive at once; there is no daemon. Each of them
//! may be killed at any instruction.
//!
//! # On disk
//! ```text
//! segments/<uuid>.<count>.seg   messages of one send, immutable; in the order of their sending
//! dead/<uuid>.<count>.seg       segments of which nothing but dead letters is left
//! journal                       what happened to messages: leases, deletions, dead letters
//! lock                          held (flock) while the journal is read and written
//! tmp/                          files being written
//! ```
//! A **segment** is written aside, synced and renamed: it is there as a whole or not at all, and a
//! sender needs no lock. It starts with a table of lengths and checksums (see `segment`), so that a
//! damaged record costs only itself: it becomes a dead letter, never a panic.
//!
//! The **journal** has one line for each operation: a checksum and a JSON object. A lease is synced
//! before its messages are handed out, so that a message that may have been received before always
//! has a receive count above 1. A torn last line is an operation that never answered, and is cut
//! off; but since damage could have hit an older line too, each message is from then on counted as
//! received once already. The kernel frees the lock of a process that dies.
//!
//! A segment with nothing left is unlinked; a grown journal is rewritten as what is still true.
//!
//! A message's id is its segment's uuid and its place there: unique for ever, the same on each
//! redelivery, dead letters brought back included.

mod journal;
mod segment;
mod state;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use headwater_core::trigger::Message;
use uuid::Uuid;

use self::journal::Reading;
use self::segment::{Segment, SegmentName};
use self::state::{Entry, Place, Ranges, State};
use crate::error::{AtPath, Result};

/// Files in `tmp` older than this were left by a sender that died.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// How a spool treats its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// A received message is hidden from other receivers for so long.
    pub visibility_timeout: Duration,
    /// A message received so often without a delete becomes a dead letter.
    pub max_receive_count: u32,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self { visibility_timeout: Duration::from_secs(30), max_receive_count: 5 }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewMessage {
    /// The payload, verbatim.
    pub body: Bytes,
    /// Attributes, handed over with it.
    pub attributes: BTreeMap<String, String>,
}

impl NewMessage {
    /// A message without attributes.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), attributes: BTreeMap::new() }
    }
}

/// How many messages are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Can be received.
    pub waiting: u64,
    /// Received, neither deleted nor visible again.
    pub in_flight: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A queue in a folder. Cheap to clone; its calls block.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    options: SpoolOptions,
    state: Mutex<State>,
}

/// The spool, locked against other threads and processes, with what is true now.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    /// Unlocks when it is closed.
    _lock: File,
}

impl Spool {
    /// Opens the spool in a folder, and makes the folder if need be.
    ///
    /// # Errors
    /// `Invalid` or `Unavailable` when the folder can't be made or written.
    pub fn open(folder: impl Into<PathBuf>, options: SpoolOptions) -> Result<Self> {
        let folder = folder.into();
        for part in ["segments", "dead", "tmp"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        remove_abandoned(&folder.join("tmp"));
        let spool = Self { inner: Arc::new(Inner { folder, options, state: Mutex::new(State::default()) }) };
        drop(spool.locked()?);
        Ok(spool)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// How it treats its messages.
    #[must_use]
    pub fn options(&self) -> &SpoolOptions {
        &self.inner.options
    }

    /// Sends messages, all or none of them; they are on disk when this returns. One call costs one
    /// file, so many messages a call are cheap.
    ///
    /// # Errors
    /// `Invalid` when there are too many bytes for one segment; `Unavailable` when the disk can't be written.
    pub fn send(&self, messages: &[NewMessage], now: DateTime<Utc>) -> Result<Vec<String>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let name = SegmentName { id: new_id(now), count: segment::count(messages)? };
        let written = self.inner.folder.join("tmp").join(name.id.simple().to_string());
        let target = self.path(Place::Segments, name);
        let outcome = segment::write(&written, messages, now)
            .and_then(|()| fs::rename(&written, &target).at("write", &target))
            .and_then(|()| sync_folder(&self.inner.folder.join("segments")));
        if outcome.is_err() {
            drop(fs::remove_file(&written));
        }
        outcome.map(|()| (0..name.count).map(|index| name.message_id(index)).collect())
    }

    /// Receives up to so many messages and about so many bytes (one message at least, if any waits),
    /// and hides them from other receivers until the visibility time-out has passed.
    ///
    /// # Errors
    /// `Unavailable` when the disk can't be read or written; nothing is handed out then.
    pub fn receive(&self, max_messages: usize, max_bytes: u64, now: DateTime<Utc>) -> Result<Vec<Message>> {
        loop {
            let leased = self.lease(max_messages, max_bytes, now)?;
            if leased.is_empty() {
                return Ok(Vec::new());
            }
            let (messages, damaged) = Self::read(leased)?;
            if !damaged.is_empty() {
                tracing::warn!(messages = damaged.count(), "damaged messages of a spool became dead letters");
                self.locked()?.write(self, Entry::Dead { ranges: damaged })?;
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// Deletes messages that were dealt with. Ids of messages that are gone are passed over.
    ///
    /// # Errors
    /// `Invalid` for an id that no spool gave; `Unavailable` when the disk can't be written.
    pub fn delete<S: AsRef<str>>(&self, ids: &[S]) -> Result<()> {
        let ranges = segment::ranges(ids)?;
        self.change(ranges, |ranges| Entry::Delete { ranges })
    }

    /// Makes received messages visible again at once.
    ///
    /// # Errors
    /// As [`Spool::delete`].
    pub fn release<S: AsRef<str>>(&self, ids: &[S]) -> Result<()> {
        let ranges = segment::ranges(ids)?;
        self.change(ranges, |ranges| Entry::Hide { until: 0, ranges })
    }

    /// Hides received messages for one more visibility time-out, from now.
    ///
    /// # Errors
    /// As [`Spool::delete`].
    pub fn extend<S: AsRef<str>>(&self, ids: &[S], now: DateTime<Utc>) -> Result<()> {
        let until = self.hidden_until(now);
        let ranges = segment::ranges(ids)?;
        self.change(ranges, |ranges| Entry::Hide { until, ranges })
    }

    /// How many messages are where.
    ///
    /// # Errors
    /// `Unavailable` when the folder can't be read.
    pub fn depth(&self, now: DateTime<Utc>) -> Result<Depth> {
        Ok(self.locked()?.state.depth(now.timestamp_micros()))
    }

    /// Up to so many dead letters, oldest first. One that is damaged has the bytes that are left, and
    /// the attribute `headwater.damaged`.
    ///
    /// # Errors
    /// `Unavailable` when the disk can't be read.
    pub fn dead_letters(&self, max_messages: usize) -> Result<Vec<Message>> {
        let locked = self.locked()?;
        let mut letters = Vec::new();
        for (name, runs) in locked.state.dead(max_messages) {
            let mut open = Segment::open(&self.path(locked.state.place(name), name))?;
            for run in runs {
                letters.extend(open.read_leniently(name, run)?);
            }
        }
        Ok(letters)
    }

    /// Brings all dead letters back to the queue, with their ids; says how many. Their receive counts
    /// go on, so that each counts as received before, but they have all their tries again.
    ///
    /// # Errors
    /// `Unavailable` when the disk can't be written.
    pub fn redrive(&self) -> Result<u64> {
        let mut locked = self.locked()?;
        let dead = locked.state.depth(0).dead;
        if dead > 0 {
            locked.write(self, Entry::Redrive)?;
        }
        Ok(dead)
    }

    /// Chooses what to hand out, and makes that durable.
    fn lease(&self, max_messages: usize, max_bytes: u64, now: DateTime<Utc>) -> Result<Vec<Leased>> {
        let mut locked = self.locked()?;
        let exhausted = locked.state.exhausted(now.timestamp_micros(), self.inner.options.max_receive_count);
        if !exhausted.is_empty() {
            locked.write(self, Entry::Dead { ranges: exhausted })?;
        }
        let mut budget = Budget { messages: max_messages, bytes: max_bytes, any: false };
        let mut leased = Vec::new();
        let mut unreadable = Ranges::default();
        for (name, runs) in locked.state.waiting(now.timestamp_micros(), max_messages) {
            match Segment::open(&self.path(locked.state.place(name), name)) {
                Ok(open) if open.is_sound(name) => leased.extend(take(&mut budget, name, open, &runs)),
                Ok(_) => unreadable.extend(name, &runs),
                Err(error) => return Err(error),
            }
            if budget.is_spent() {
                break;
            }
        }
        if !unreadable.is_empty() {
            tracing::warn!(
                messages = unreadable.count(),
                "damaged segment of a spool: its messages became dead letters"
            );
            locked.write(self, Entry::Dead { ranges: unreadable })?;
        }
        if !leased.is_empty() {
            let mut ranges = Ranges::default();
            for one in &mut leased {
                ranges.extend(one.name, &one.runs);
                one.runs.iter_mut().for_each(|run| run.count = run.count.saturating_add(1));
            }
            locked.write(self, Entry::Lease { until: self.hidden_until(now), ranges })?;
        }
        Ok(leased)
    }

    fn read(leased: Vec<Leased>) -> Result<(Vec<Message>, Ranges)> {
        let mut messages = Vec::new();
        let mut damaged = Ranges::default();
        for mut one in leased {
            for run in &one.runs {
                let found = one.segment.read(one.name, run)?;
                for index in found.damaged {
                    damaged.add(one.name, index, 1);
                }
                messages.extend(found.messages);
            }
        }
        Ok((messages, damaged))
    }

    fn change(&self, ranges: Ranges, entry: impl FnOnce(Ranges) -> Entry) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let mut locked = self.locked()?;
        let known = locked.state.known(ranges);
        if known.is_empty() { Ok(()) } else { locked.write(self, entry(known)) }
    }

    fn hidden_until(&self, now: DateTime<Utc>) -> i64 {
        let timeout = i64::try_from(self.inner.options.visibility_timeout.as_micros()).unwrap_or(i64::MAX);
        now.timestamp_micros().saturating_add(timeout)
    }

    /// Takes the lock and catches up with what other processes did.
    fn locked(&self) -> Result<Locked<'_>> {
        let state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.inner.folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).at("open", &path)?;
        lock.lock().at("lock", &path)?;
        let mut locked = Locked { state, _lock: lock };
        locked.catch_up(self)?;
        Ok(locked)
    }

    fn path(&self, place: Place, name: SegmentName) -> PathBuf {
        let part = if place == Place::Dead { "dead" } else { "segments" };
        self.inner.folder.join(part).join(name.to_string())
    }

    /// All segments; only who holds the lock moves them.
    fn list(&self) -> Result<Vec<(Place, SegmentName)>> {
        let mut listed = Vec::new();
        for (place, part) in [(Place::Segments, "segments"), (Place::Dead, "dead")] {
            let path = self.inner.folder.join(part);
            for entry in fs::read_dir(&path).at("read", &path)? {
                let entry = entry.at("read", &path)?;
                listed.extend(entry.file_name().to_str().and_then(SegmentName::parse).map(|name| (place, name)));
            }
        }
        Ok(listed)
    }
}

impl Locked<'_> {
    fn catch_up(&mut self, spool: &Spool) -> Result<()> {
        let listed = spool.list()?;
        let reading = journal::catch_up(spool.folder(), &mut self.state, &listed)?;
        if reading == Reading::Damaged {
            tracing::warn!(spool = %spool.folder().display(), "the journal of a spool was damaged: its messages count as received before");
            let segments = self.state.ids();
            self.write(spool, Entry::Suspect { segments })?;
        }
        self.settle(spool)
    }

    /// Makes an operation durable, then true; then clears away what it ended.
    fn write(&mut self, spool: &Spool, entry: Entry) -> Result<()> {
        journal::append(spool.folder(), &mut self.state, &entry)?;
        self.state.apply(entry);
        self.settle(spool)?;
        journal::rewrite_if_grown(spool.folder(), &mut self.state)
    }

    /// Moves segments to where they belong. Unlinking is synced, so that no journal that knows nothing
    /// of a segment any more can see it come back.
    fn settle(&mut self, spool: &Spool) -> Result<()> {
        let misplaced = self.state.misplaced();
        for (name, from, to) in &misplaced {
            let path = spool.path(*from, *name);
            match to {
                Place::Nowhere => fs::remove_file(&path).at("remove", &path)?,
                Place::Segments | Place::Dead => fs::rename(&path, spool.path(*to, *name)).at("move", &path)?,
            }
            self.state.moved(*name, *to);
        }
        if !misplaced.is_empty() {
            sync_folder(&spool.folder().join("segments"))?;
            sync_folder(&spool.folder().join("dead"))?;
        }
        Ok(())
    }
}

/// Messages of one segment that are to be handed out.
#[derive(Debug)]
struct Leased {
    name: SegmentName,
    segment: Segment,
    runs: Vec<state::Run>,
}

struct Budget {
    messages: usize,
    bytes: u64,
    any: bool,
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.messages == 0 || (self.any && self.bytes == 0)
    }

    /// Whether one more message of that size fits; the first always does.
    fn take(&mut self, bytes: u64) -> bool {
        if self.messages == 0 || (self.any && bytes > self.bytes) {
            self.bytes = if self.any { 0 } else { self.bytes };
            return false;
        }
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.any = true;
        true
    }
}

/// As much of a segment's visible messages as the budget allows.
fn take(budget: &mut Budget, name: SegmentName, segment: Segment, runs: &[state::Run]) -> Option<Leased> {
    let mut taken = Vec::new();
    for run in runs {
        let fits = (run.start..run.end()).take_while(|index| budget.take(segment.length(*index))).count();
        let len = u32::try_from(fits).unwrap_or(u32::MAX);
        if len > 0 {
            taken.push(state::Run { len, ..*run });
        }
        if len < run.len {
            break;
        }
    }
    (!taken.is_empty()).then_some(Leased { name, segment, runs: taken })
}

pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|open| open.sync_all()).at("sync", folder)
}

fn new_id(now: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    let mut noise = [0; 10];
    noise.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &noise).into_uuid()
}

/// Clears away what senders that died left behind; a file that can't be removed does no harm.
fn remove_abandoned(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|found| found.modified()).ok();
        if modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod killed;
