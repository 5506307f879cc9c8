//! What is true of each message, as the journal tells it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Depth;
use super::segment::SegmentName;

/// Places in segments, sorted and disjoint in each: `(start, length)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ranges(BTreeMap<Uuid, Vec<(u32, u32)>>);

impl Ranges {
    /// Adds a range that starts at or after the end of the segment's last.
    pub(super) fn add(&mut self, name: SegmentName, start: u32, len: u32) {
        let ranges = self.0.entry(name.id).or_default();
        match ranges.last_mut() {
            Some((last, known)) if *last + *known == start => *known += len,
            _ => ranges.push((start, len)),
        }
    }

    pub(super) fn extend(&mut self, name: SegmentName, runs: &[Run]) {
        for run in runs {
            self.add(name, run.start, run.len);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().flatten().map(|(_, len)| u64::from(*len)).sum()
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub(super) enum Entry {
    /// Messages are about to be handed out, and hidden until then (microseconds since 1970).
    Lease { until: i64, ranges: Ranges },
    /// Messages are hidden until then; 0 shows them.
    Hide { until: i64, ranges: Ranges },
    /// Messages are gone.
    Delete { ranges: Ranges },
    /// Messages are dead letters.
    Dead { ranges: Ranges },
    /// Dead letters are messages again, with all their tries.
    Redrive,
    /// The journal was damaged: messages of these segments may have been received once more often.
    Suspect { segments: Vec<Uuid> },
    /// All that is true of one segment, in a rewritten journal.
    Segment { id: Uuid, runs: Vec<Run> },
}

/// Neighbouring messages of which the same is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The first message's place in its segment.
    pub(super) start: u32,
    /// How many.
    pub(super) len: u32,
    /// How often each may have been received.
    pub(super) count: u32,
    /// Of these, how many don't count towards becoming a dead letter.
    pub(super) forgiven: u32,
    /// Hidden from receivers until then, in microseconds since 1970.
    pub(super) until: i64,
    /// A dead letter.
    pub(super) dead: bool,
}

impl Run {
    pub(super) const fn end(&self) -> u32 {
        self.start + self.len
    }

    const fn fresh(count: u32) -> Self {
        Self { start: 0, len: count, count: 0, forgiven: 0, until: 0, dead: false }
    }

    const fn is_waiting(&self, now: i64) -> bool {
        !self.dead && self.until <= now
    }

    /// Whether the next run only goes on with this one.
    const fn joins(&self, next: &Self) -> bool {
        self.end() == next.start
            && self.count == next.count
            && self.forgiven == next.forgiven
            && self.until == next.until
            && self.dead == next.dead
    }
}

/// The folder that a segment lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Segments,
    Dead,
    /// Nothing of it is left.
    Nowhere,
}

#[derive(Debug)]
struct Known {
    name: SegmentName,
    place: Place,
    runs: Vec<Run>,
}

impl Known {
    fn belongs(&self) -> Place {
        if self.runs.is_empty() {
            Place::Nowhere
        } else if self.runs.iter().all(|run| run.dead) {
            Place::Dead
        } else {
            Place::Segments
        }
    }
}

/// All segments, and how far the journal has been read.
#[derive(Debug, Default)]
pub(super) struct State {
    segments: BTreeMap<Uuid, Known>,
    /// Which journal was read.
    pub(super) generation: Option<Uuid>,
    /// Bytes of it that were applied.
    pub(super) position: u64,
    /// Bytes that it had when it was rewritten last.
    pub(super) rewritten: u64,
}

impl State {
    /// Forgets all, to read a journal from its start.
    pub(super) fn reset(&mut self, generation: Uuid, position: u64) {
        *self = Self { segments: BTreeMap::new(), generation: Some(generation), position, rewritten: position };
    }

    /// Takes up what the folders hold now: new segments as never received, vanished ones not at all.
    pub(super) fn see(&mut self, listed: &[(Place, SegmentName)]) {
        let mut before = std::mem::take(&mut self.segments);
        for (place, name) in listed {
            let runs = before.remove(&name.id).map_or_else(|| vec![Run::fresh(name.count)], |known| known.runs);
            self.segments.insert(name.id, Known { name: *name, place: *place, runs });
        }
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Lease { until, ranges } => {
                self.update(&ranges, |run| Some(Run { count: run.count.saturating_add(1), until, ..run }))
            }
            Entry::Hide { until, ranges } => {
                self.update(&ranges, |run| Some(if run.dead { run } else { Run { until, ..run } }));
            }
            Entry::Delete { ranges } => self.update(&ranges, |_| None),
            Entry::Dead { ranges } => self.update(&ranges, |run| Some(Run { dead: true, ..run })),
            Entry::Redrive => self.redrive(),
            Entry::Suspect { segments } => {
                for id in &segments {
                    self.segments.get_mut(id).into_iter().for_each(|known| suspect(&mut known.runs));
                }
            }
            Entry::Segment { id, runs } => {
                if let Some(known) = self.segments.get_mut(&id) {
                    known.runs = runs;
                }
            }
        }
    }

    pub(super) fn depth(&self, now: i64) -> Depth {
        let mut depth = Depth::default();
        for run in self.segments.values().flat_map(|known| &known.runs) {
            let counter = match run {
                run if run.dead => &mut depth.dead,
                run if run.is_waiting(now) => &mut depth.waiting,
                _ => &mut depth.in_flight,
            };
            *counter += u64::from(run.len);
        }
        depth
    }

    /// Messages that wait, but have had all their tries.
    pub(super) fn exhausted(&self, now: i64, max_receive_count: u32) -> Ranges {
        let mut ranges = Ranges::default();
        for known in self.segments.values() {
            for run in known.runs.iter().filter(|run| run.is_waiting(now)) {
                if run.count.saturating_sub(run.forgiven) >= max_receive_count.max(1) {
                    ranges.add(known.name, run.start, run.len);
                }
            }
        }
        ranges
    }

    /// Up to so many waiting messages, oldest segments first.
    pub(super) fn waiting(&self, now: i64, max_messages: usize) -> Vec<(SegmentName, Vec<Run>)> {
        self.pick(max_messages, |run| run.is_waiting(now))
    }

    /// Up to so many dead letters.
    pub(super) fn dead(&self, max_messages: usize) -> Vec<(SegmentName, Vec<Run>)> {
        self.pick(max_messages, |run| run.dead)
    }

    /// Only the ranges of segments that are still there.
    pub(super) fn known(&self, mut ranges: Ranges) -> Ranges {
        ranges.0.retain(|id, _| self.segments.contains_key(id));
        ranges
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.segments.keys().copied().collect()
    }

    pub(super) fn place(&self, name: SegmentName) -> Place {
        self.segments.get(&name.id).map_or(Place::Nowhere, |known| known.place)
    }

    /// Segments that lie where they don't belong: which, from where, to where.
    pub(super) fn misplaced(&self) -> Vec<(SegmentName, Place, Place)> {
        let misplaced = self.segments.values().filter(|known| known.place != known.belongs());
        misplaced.map(|known| (known.name, known.place, known.belongs())).collect()
    }

    /// Notes that a segment was moved or removed.
    pub(super) fn moved(&mut self, name: SegmentName, to: Place) {
        if to == Place::Nowhere {
            self.segments.remove(&name.id);
        } else if let Some(known) = self.segments.get_mut(&name.id) {
            known.place = to;
        }
    }

    /// The lines of a journal that says just what is true now.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let touched = self.segments.values().filter(|known| known.runs != [Run::fresh(known.name.count)]);
        touched.map(|known| Entry::Segment { id: known.name.id, runs: known.runs.clone() })
    }

    fn pick(&self, max_messages: usize, wanted: impl Fn(&Run) -> bool) -> Vec<(SegmentName, Vec<Run>)> {
        let mut picked = Vec::new();
        let mut left = max_messages;
        for known in self.segments.values() {
            let mut runs = Vec::new();
            for run in known.runs.iter().filter(|run| wanted(run)) {
                let len = run.len.min(u32::try_from(left).unwrap_or(u32::MAX));
                left -= len as usize;
                if len > 0 {
                    runs.push(Run { len, ..*run });
                }
            }
            if !runs.is_empty() {
                picked.push((known.name, runs));
            }
            if left == 0 {
                break;
            }
        }
        picked
    }

    fn update(&mut self, ranges: &Ranges, mut change: impl FnMut(Run) -> Option<Run>) {
        for (id, ranges) in &ranges.0 {
            if let Some(known) = self.segments.get_mut(id) {
                known.runs = updated(&known.runs, ranges, &mut change);
            }
        }
    }

    fn redrive(&mut self) {
        for run in self.segments.values_mut().flat_map(|known| &mut known.runs).filter(|run| run.dead) {
            *run = Run { dead: false, until: 0, forgiven: run.count, ..*run };
        }
    }
}

fn suspect(runs: &mut [Run]) {
    for run in runs {
        run.count = run.count.saturating_add(1);
        run.forgiven = run.forgiven.saturating_add(1);
    }
}

/// The runs with a change to what lies in the ranges; both are sorted and disjoint.
fn updated(runs: &[Run], ranges: &[(u32, u32)], change: &mut impl FnMut(Run) -> Option<Run>) -> Vec<Run> {
    let mut result: Vec<Run> = Vec::with_capacity(runs.len() + 2);
    let mut next = 0;
    for run in runs {
        let mut start = run.start;
        while start < run.end() {
            while ranges.get(next).is_some_and(|(at, len)| at.saturating_add(*len) <= start) {
                next += 1;
            }
            let (from, to) = ranges.get(next).map_or((u32::MAX, u32::MAX), |(at, len)| (*at, at.saturating_add(*len)));
            let inside = from <= start;
            let end = run.end().min(if inside { to } else { from });
            let piece = Run { start, len: end - start, ..*run };
            push(&mut result, if inside { change(piece) } else { Some(piece) });
            start = end;
        }
    }
    result
}

fn push(runs: &mut Vec<Run>, piece: Option<Run>) {
    let Some(piece) = piece else { return };
    match runs.last_mut() {
        Some(last) if last.joins(&piece) => last.len += piece.len,
        _ => runs.push(piece),
    }
}
