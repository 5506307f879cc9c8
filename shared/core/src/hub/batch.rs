//! Events of a hub, on their way to a table.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{HubIdentity, Lost};
use crate::trigger::Message;

/// The attribute that holds a message's partition.
pub const PARTITION: &str = "x-opt-partition-id";
/// The attribute that holds its number in the partition.
pub const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";

/// An event of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEvent {
    /// Its number in the partition.
    pub sequence_number: i64,
    /// Its place in the partition.
    pub offset: Option<String>,
    /// When the hub took it.
    pub enqueued_at: DateTime<Utc>,
    /// What its sender had its partition chosen by.
    pub partition_key: Option<String>,
    /// The payload; empty if there is none.
    pub body: Bytes,
    /// The type of the payload, as its sender says.
    pub content_type: Option<String>,
    /// The id that its sender gave it.
    pub message_id: Option<String>,
    /// What its sender relates it to.
    pub correlation_id: Option<String>,
    /// What its sender set beside the payload, as text.
    pub properties: BTreeMap<String, String>,
    /// What the hub set besides the fields above, such as the device of an event of IoT Hub, as text.
    pub system_properties: BTreeMap<String, String>,
}

impl HubEvent {
    /// The id by which rows of the event are known.
    #[must_use]
    pub fn id(&self, partition: &str) -> String {
        format!("{partition}:{}", self.sequence_number)
    }

    /// The event as a message, known by where it stands: `<partition>:<number>`. What its sender and the hub set beside the payload are its
    /// attributes, by their names in AMQP.
    #[must_use]
    pub fn into_message(self, partition: &str) -> Message {
        let id = self.id(partition);
        let Self { sequence_number, offset, enqueued_at, partition_key, body, .. } = self;
        let mut attributes = self.properties;
        attributes.extend(self.system_properties);
        let named = [
            ("content-type", self.content_type),
            ("message-id", self.message_id),
            ("correlation-id", self.correlation_id),
            (PARTITION, Some(partition.to_owned())),
            (SEQUENCE_NUMBER, Some(sequence_number.to_string())),
            ("x-opt-offset", offset),
            ("x-opt-partition-key", partition_key),
        ];
        attributes.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Message { id, body, enqueued_at, receive_count: 1, attributes }
    }
}

/// What was read of a hub for one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubBatch {
    /// The source's name, as in `read_events('<name>')`.
    pub source: String,
    /// Which hub it was.
    pub hub: HubIdentity,
    /// The partitions that have something new, by name.
    pub partitions: BTreeMap<String, PartitionBatch>,
}

impl HubBatch {
    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.values().map(|partition| partition.events.len()).sum()
    }

    /// Whether nothing was read, and nothing is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// What was read of a partition: all that comes after one number, through another, but for what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionBatch {
    /// The number that it was read after; `None` for the beginning of what the partition holds.
    pub after: Option<i64>,
    /// The events, in order.
    pub events: Vec<HubEvent>,
    /// What is committed once these events are: the last number that was read or is lost.
    pub through: i64,
    /// What retention took before it was read.
    pub lost: Vec<Lost>,
}

/// What a part of a batch is to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Fit {
    /// The table lacks all but so many of its first events.
    After {
        /// How many the table holds.
        held: usize,
    },
    /// The table holds all of it.
    Landed,
    /// It begins after a hole: what comes between must be read first.
    Missing {
        /// The first number that is missing.
        from: i64,
        /// The last one.
        to: i64,
    },
}

impl PartitionBatch {
    /// Events that somebody handed over; `None` when there are none, or when some are missing between them.
    #[must_use]
    pub fn handed_over(events: Vec<HubEvent>) -> Option<Self> {
        let numbers = events.iter().map(|event| event.sequence_number);
        if !numbers.clone().zip(numbers.skip(1)).all(|(number, next)| next == number + 1) {
            return None;
        }
        let (first, through) = (events.first()?.sequence_number, events.last()?.sequence_number);
        Some(Self { after: Some(first - 1), events, through, lost: Vec::new() })
    }

    /// Decides what of it is new to a table that has committed everything up to a number. Of a partition of which nothing is committed nobody
    /// knows where it begins, so that only what was read from its beginning fits, or what begins with number 0.
    pub fn fit(&self, committed: Option<i64>) -> Fit {
        let committed = committed.unwrap_or(-1);
        if committed >= self.through {
            return Fit::Landed;
        }
        if let Some(after) = self.after.filter(|after| *after > committed) {
            return Fit::Missing { from: committed + 1, to: after };
        }
        Fit::After { held: self.events.partition_point(|event| event.sequence_number <= committed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(numbers: &[i64]) -> Vec<HubEvent> {
        let event = |number: &i64| HubEvent {
            sequence_number: *number,
            offset: None,
            enqueued_at: DateTime::UNIX_EPOCH,
            partition_key: None,
            body: Bytes::new(),
            content_type: None,
            message_id: None,
            correlation_id: None,
            properties: BTreeMap::new(),
            system_properties: BTreeMap::new(),
        };
        numbers.iter().map(event).collect()
    }

    fn handed_over(numbers: &[i64]) -> PartitionBatch {
        PartitionBatch::handed_over(events(numbers)).unwrap()
    }

    #[test]
    fn what_is_handed_over_fits_right_after_what_is_committed() {
        assert_eq!(handed_over(&[5, 6]).fit(Some(4)), Fit::After { held: 0 });
        assert_eq!(handed_over(&[5, 6]).fit(Some(5)), Fit::After { held: 1 });
        assert_eq!(handed_over(&[5, 6]).fit(Some(6)), Fit::Landed);
        assert_eq!(handed_over(&[7, 8]).fit(Some(4)), Fit::Missing { from: 5, to: 6 });
        assert_eq!(handed_over(&[0, 1]).fit(None), Fit::After { held: 0 });
        assert_eq!(handed_over(&[3]).fit(None), Fit::Missing { from: 0, to: 2 });
    }

    #[test]
    fn a_message_is_known_by_where_its_event_stands() {
        let event = events(&[7]).remove(0);
        let properties = BTreeMap::from([("n".to_owned(), "1".to_owned())]);
        let message = HubEvent { properties, content_type: Some("text/plain".into()), ..event }.into_message("3");
        assert_eq!(message.id, "3:7");
        let attributes: Vec<_> = message.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(attributes, ["content-type=text/plain", "n=1", "x-opt-partition-id=3", "x-opt-sequence-number=7"]);
    }

    #[test]
    fn what_is_handed_over_with_a_hole_is_of_no_use() {
        assert_eq!(PartitionBatch::handed_over(events(&[5, 7])), None);
        assert_eq!(PartitionBatch::handed_over(events(&[5, 5])), None);
        assert_eq!(PartitionBatch::handed_over(Vec::new()), None);
    }

    #[test]
    fn what_was_read_from_the_beginning_fits_whatever_retention_took() {
        let lost = vec![Lost { from: 3, to: 4 }];
        let read = PartitionBatch { after: None, events: events(&[5, 6]), through: 6, lost };
        assert_eq!(read.fit(None), Fit::After { held: 0 });
        assert_eq!(read.fit(Some(2)), Fit::After { held: 0 });
        assert_eq!(read.fit(Some(5)), Fit::After { held: 1 });
    }
}
