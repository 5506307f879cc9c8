//! Hubs, their partitions and the events in them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::amqp::{Encoder, Malformed, code, entries, sections};
use crate::position::{Field, Position};
use crate::readers::Readers;

/// Bytes that an event takes besides its message, for offsets.
const OVERHEAD: i64 = 64;
/// Annotations that the service sets.
const OWN: [&str; 3] = ["x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time"];
const KEY: &str = "x-opt-partition-key";

/// An event as it is delivered.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) message: Vec<u8>,
}

/// What is known of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionState {
    /// The oldest sequence number that is kept, or the next one if none is.
    pub beginning: i64,
    /// The last sequence number given; -1 if none was.
    pub last: i64,
    /// The last offset given; `-1` if none was.
    pub last_offset: String,
    /// When the last event came, in milliseconds since 1970; 0 if none came.
    pub last_time: i64,
    /// Whether it holds no event.
    pub is_empty: bool,
    /// How many receivers were ever let in.
    pub receivers: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Partition {
    events: VecDeque<Arc<Event>>,
    next: i64,
    next_offset: i64,
    last_offset: Option<i64>,
    last_time: i64,
    pub(crate) readers: Readers,
}

impl Partition {
    /// Keeps a message, with the annotations of the service.
    pub(crate) fn append(&mut self, message: &[u8], key: Option<&[u8]>, now: i64) -> Result<(), Malformed> {
        let (mut head, mut annotations, mut tail) = (Vec::new(), Encoder::default(), Vec::new());
        for section in sections(message)? {
            match section.code {
                code::DELIVERY_ANNOTATIONS => {}
                code::SECTION_HEADER => head.extend_from_slice(section.whole),
                code::MESSAGE_ANNOTATIONS => {
                    for (name, raw, value) in entries(section.body)? {
                        let name = name.text().unwrap_or_default();
                        if !OWN.contains(&name) && (name != KEY || key.is_none()) {
                            annotations = annotations.raw(raw).raw(value);
                        }
                    }
                }
                _ => tail.extend_from_slice(section.whole),
            }
        }
        if let Some(key) = key {
            annotations = annotations.symbol(KEY).raw(key);
        }
        let (sequence, offset) = (self.next, self.next_offset);
        let time = now.max(self.last_time);
        let annotations = annotations.symbol(OWN[0]).long(sequence).symbol(OWN[1]).text(&offset.to_string());
        let annotations = annotations.symbol(OWN[2]).time(time).described_map(code::MESSAGE_ANNOTATIONS);
        let message = [head, annotations, tail].concat();
        self.next_offset += message.len() as i64 + OVERHEAD;
        self.next += 1;
        (self.last_offset, self.last_time) = (Some(offset), time);
        self.events.push_back(Arc::new(Event { sequence, offset, time, message }));
        Ok(())
    }

    /// The event of this number, or the oldest that is kept after it.
    pub(crate) fn event(&self, sequence: i64) -> Option<Arc<Event>> {
        let index = usize::try_from((sequence - self.beginning()).max(0)).ok()?;
        self.events.get(index).map(Arc::clone)
    }

    fn beginning(&self) -> i64 {
        self.events.front().map_or(self.next, |event| event.sequence)
    }

    /// Takes away the events before a sequence number.
    pub(crate) fn trim(&mut self, before: i64) {
        while self.events.front().is_some_and(|event| event.sequence < before) {
            self.events.pop_front();
        }
    }

    /// The sequence number that a receiver begins with; what is wrong with its position.
    pub(crate) fn start(&self, position: Position) -> Result<i64, String> {
        let beginning = self.beginning();
        let Position::At { field, value, inclusive } = position else {
            return Ok(if position == Position::Latest { self.next } else { beginning });
        };
        let last = self.next - 1;
        if field == Field::Sequence && value > last {
            return Err(format!(
                "The supplied sequence number '{value}' is invalid. The last sequence number in the system is '{last}'"
            ));
        }
        let of = |event: &Event| match field {
            Field::Sequence => event.sequence,
            Field::Offset => event.offset,
            Field::Time => event.time,
        };
        let first = self.events.partition_point(|event| of(event) < value || (of(event) == value && !inclusive));
        Ok(beginning + first as i64)
    }

    pub(crate) fn state(&self) -> PartitionState {
        PartitionState {
            beginning: self.beginning(),
            last: self.next - 1,
            last_offset: self.last_offset.map_or_else(|| "-1".to_owned(), |offset| offset.to_string()),
            last_time: self.last_time,
            is_empty: self.events.is_empty(),
            receivers: self.readers.entered,
        }
    }
}

/// One life of a hub: made anew, it is another one.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Milliseconds since 1970.
    pub(crate) created: i64,
    partitions: Vec<Mutex<Partition>>,
    turn: AtomicUsize,
}

impl Hub {
    pub(crate) fn new(partitions: usize, created: i64) -> Self {
        let partitions = (0..partitions.max(1)).map(|_| Mutex::default()).collect();
        Self { created, partitions, turn: AtomicUsize::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// A partition, held for as long as it is looked at.
    pub(crate) fn partition(&self, index: usize) -> Option<MutexGuard<'_, Partition>> {
        self.partitions.get(index).map(|partition| partition.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The partition of a key; by turns without one.
    pub(crate) fn choose(&self, key: Option<&[u8]>) -> usize {
        let hashed = |key: &[u8]| key.iter().fold(7_usize, |hash, byte| hash.wrapping_mul(31) + usize::from(*byte));
        key.map_or_else(|| self.turn.fetch_add(1, Relaxed), hashed) % self.len()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::described;

    fn partition(events: i64) -> Partition {
        let mut partition = Partition::default();
        let body = described(code::DATA, &[0xa0, 1, b'x']);
        (0..events).for_each(|at| partition.append(&body, Some(&[0xa1, 1, b'k']), 1_000 + at).unwrap());
        partition
    }

    #[test]
    fn receivers_start_where_their_filters_say() {
        let mut partition = partition(10);
        partition.trim(4);
        let at = |field, value, inclusive| partition.start(Position::At { field, value, inclusive });
        assert_eq!(partition.start(Position::Earliest), Ok(4));
        assert_eq!(partition.start(Position::Latest), Ok(10));
        assert_eq!((at(Field::Sequence, 6, false), at(Field::Sequence, 6, true)), (Ok(7), Ok(6)));
        assert_eq!((at(Field::Sequence, -1, false), at(Field::Sequence, 9, false)), (Ok(4), Ok(10)));
        assert_eq!((at(Field::Time, 1_005, true), at(Field::Time, 9_999, true)), (Ok(5), Ok(10)));
        assert_eq!((at(Field::Offset, 0, false), at(Field::Offset, i64::MAX, false)), (Ok(4), Ok(10)));
        assert!(at(Field::Sequence, 10, false).unwrap_err().contains("'9'"));
    }

    #[test]
    fn retention_takes_the_oldest() {
        let mut partition = partition(3);
        partition.trim(99);
        let state = partition.state();
        assert_eq!((state.beginning, state.last, state.is_empty), (3, 2, true));
        assert!(partition.event(0).is_none());
    }
}
