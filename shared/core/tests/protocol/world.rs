//! What there is: a log, files, puts that are still under way, and writers.

use std::collections::{BTreeMap, BTreeSet};

/// A commit, and the one file that it may add: the writer and the number of its attempt.
pub(crate) type Token = (u8, u8);

/// Who wrote what was there from the start.
pub(crate) const FOUNDER: u8 = 9;

/// What a writer is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Job {
    /// Moves the versions of a source, of which version `n` has row `n`; the progress is a `txn`.
    Stream,
    /// Lands a message, which all writers with this job are handed; the table is the ledger.
    Messages,
    /// Puts all files together, once.
    Compact,
    /// Puts one row in the place of all; a `txn` says that it is done.
    Replace,
    /// Takes all rows away and sets the progress of streams back.
    Refresh,
}

impl Job {
    pub(crate) const ALL: [Self; 5] = [Self::Stream, Self::Messages, Self::Compact, Self::Replace, Self::Refresh];
}

/// The row of the message.
pub(crate) const MESSAGE: u8 = 20;
/// The row that replaces all others.
pub(crate) const REPLACEMENT: u8 = 99;

/// Whose progress a `txn` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum App {
    Stream,
    View,
}

/// What a commit says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    /// Rows of the file that it adds, if it adds one.
    pub(crate) adds: Option<Vec<u8>>,
    pub(crate) removes: BTreeSet<Token>,
    pub(crate) data_change: bool,
    pub(crate) txn: Option<(App, i8)>,
}

/// A commit that is being tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) entry: Entry,
    /// Version that it puts next.
    pub(crate) next: usize,
    /// The `txn` as it was read.
    pub(crate) from: Option<i8>,
    pub(crate) replaces_table: bool,
}

/// How far a writer is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Was just woken.
    Woken,
    /// Has been handed the message when the log had so many entries; whether somebody had it before.
    Received {
        entries: usize,
        again: bool,
    },
    /// Is about to put.
    Ready(Attempt),
    /// Has put, and believes nothing about it.
    Unsure(Attempt),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) phase: Phase,
    /// Attempts so far.
    pub(crate) attempts: u8,
}

/// A state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) log: Vec<Entry>,
    /// Puts that their writers have given up: the version, and what would be put.
    pub(crate) late: BTreeSet<(usize, Entry)>,
    /// Files that were deleted because they would never be committed.
    pub(crate) discarded: BTreeSet<Token>,
    pub(crate) writers: Vec<Writer>,
    /// The message has been handed to somebody.
    pub(crate) received: bool,
    /// Rows that a reader should see: what each commit meant, whatever its files say.
    pub(crate) expected: Vec<u8>,
    /// The first thing that a commit broke.
    pub(crate) broken: Option<&'static str>,
    /// Puts that may still go wrong.
    pub(crate) faults: u8,
    /// Deaths that may still come.
    pub(crate) deaths: u8,
}

impl World {
    /// A table of two files, one row each.
    pub(crate) fn founded(writers: usize, faults: u8, deaths: u8) -> Self {
        let file = |at, row| Entry {
            token: (FOUNDER, at),
            adds: Some(vec![row]),
            removes: BTreeSet::new(),
            data_change: true,
            txn: None,
        };
        Self {
            log: vec![file(0, 50), file(1, 51)],
            late: BTreeSet::new(),
            discarded: BTreeSet::new(),
            writers: vec![Writer { phase: Phase::Woken, attempts: 0 }; writers],
            received: false,
            expected: vec![50, 51],
            broken: None,
            faults,
            deaths,
        }
    }

    /// Live files and their rows, as any Delta reader finds them.
    pub(crate) fn live(&self) -> BTreeMap<Token, &Vec<u8>> {
        let mut live = BTreeMap::new();
        for entry in &self.log {
            live.retain(|file, _| !entry.removes.contains(file));
            live.extend(entry.adds.as_ref().map(|rows| (entry.token, rows)));
        }
        live
    }

    /// Rows that a reader sees, in order.
    pub(crate) fn rows(&self) -> Vec<u8> {
        let mut rows: Vec<u8> = self.live().into_values().flatten().copied().collect();
        rows.sort_unstable();
        rows
    }

    pub(crate) fn progress(&self, app: App) -> Option<i8> {
        let txns = self.log.iter().rev().filter_map(|entry| entry.txn);
        txns.filter(|(other, _)| *other == app).map(|(_, version)| version).next()
    }

    /// A put reaches the store: it is there, unless another one is.
    pub(crate) fn land(&mut self, version: usize, entry: &Entry) -> bool {
        if version != self.log.len() {
            return false;
        }
        if entry.data_change {
            if !entry.removes.is_empty() || entry.adds.is_none() {
                self.expected.clear();
            }
            self.expected.extend(entry.adds.iter().flatten());
            self.expected.sort_unstable();
        }
        self.log.push(entry.clone());
        true
    }

    pub(crate) fn is_over(&self) -> bool {
        self.late.is_empty() && self.writers.iter().all(|writer| writer.phase == Phase::Done)
    }

    /// Versions of late puts whose writers have gone on to something else.
    pub(crate) fn left_behind(&self) -> impl Iterator<Item = usize> {
        let is_tried = |token| {
            let tries =
                |writer: &Writer| matches!(&writer.phase, Phase::Ready(a) | Phase::Unsure(a) if a.entry.token == token);
            self.writers.iter().any(tries)
        };
        self.late.iter().filter(move |(_, entry)| !is_tried(entry.token)).map(|(version, _)| *version)
    }
}
