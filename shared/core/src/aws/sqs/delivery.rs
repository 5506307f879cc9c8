//! Which message a delivery is, and which deliveries of a batch have to come again.
//!
//! SQS gives a message that is sent again a new id. What `headwater redrive` returns from a dead-letter queue carries its
//! [`ORIGIN`], so that it keeps its id and its time of sending: rows that it gave before its death are found, and none is doubled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::trigger::Message;

/// The message attribute that says which message this was when it was sent first: `<id> <milliseconds since 1970>`.
pub const ORIGIN: &str = "headwater.origin";
/// Attributes of SQS that a message keeps beside its sender's.
pub const KEPT: [&str; 4] = ["AWSTraceHeader", "MessageDeduplicationId", GROUP, SEQUENCE];
/// The attribute of SQS that tells a message of a FIFO queue from others, and its place in the queue.
const SEQUENCE: &str = "SequenceNumber";
const GROUP: &str = "MessageGroupId";

/// A message as SQS delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id that SQS knows it by.
    pub id: String,
    /// The payload.
    pub body: Bytes,
    /// `SentTimestamp`.
    pub sent_at: DateTime<Utc>,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// The sender's attributes and those of SQS that are kept.
    pub attributes: BTreeMap<String, String>,
}

impl Delivery {
    /// The message that it is. One that was returned from a dead-letter queue counts as received before.
    #[must_use]
    pub fn into_message(mut self) -> Message {
        let origin = self.attributes.remove(ORIGIN);
        let origin = origin.as_deref().and_then(read_origin);
        let receive_count = if origin.is_some() { self.receive_count.max(2) } else { self.receive_count };
        let (id, enqueued_at) = origin.unwrap_or((self.id, self.sent_at));
        Message { id, body: self.body, enqueued_at, receive_count, attributes: self.attributes }
    }
}

/// The value of [`ORIGIN`] for a message of that id, sent at that time.
#[must_use]
pub fn origin(id: &str, sent_at: DateTime<Utc>) -> String {
    format!("{id} {}", sent_at.timestamp_millis())
}

fn read_origin(text: &str) -> Option<(String, DateTime<Utc>)> {
    let (id, millis) = text.split_once(' ').filter(|(id, _)| !id.is_empty())?;
    Some((id.to_owned(), DateTime::from_timestamp_millis(millis.parse().ok()?)?))
}

/// Places of the messages that have to come again: those that failed, and in a FIFO queue all that come after one of them in its
/// group, so that they don't overtake it.
#[must_use]
pub fn coming_again(messages: &[Message], failed: &BTreeSet<&str>) -> BTreeSet<usize> {
    let has_failed = |message: &Message| failed.contains(message.id.as_str());
    let mut first_failed: BTreeMap<&str, u128> = BTreeMap::new();
    for (group, sequence) in messages.iter().filter(|message| has_failed(message)).filter_map(place) {
        let first = first_failed.entry(group).or_insert(sequence);
        *first = sequence.min(*first);
    }
    let is_held = |message: &Message| {
        place(message).is_some_and(|(group, sequence)| first_failed.get(group).is_some_and(|first| *first < sequence))
    };
    let again = messages.iter().enumerate().filter(|(_, message)| has_failed(message) || is_held(message));
    again.map(|(index, _)| index).collect()
}

/// Where a message of a FIFO queue stands in its group; `None` in a standard queue, whose groups have no order.
fn place(message: &Message) -> Option<(&str, u128)> {
    let group = message.attributes.get(GROUP)?;
    Some((group, message.attributes.get(SEQUENCE)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: &str, attributes: &[(&str, &str)]) -> Delivery {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sent_at = DateTime::<Utc>::from_timestamp_millis(5_000).unwrap();
        Delivery { id: id.to_owned(), body: Bytes::new(), sent_at, receive_count: 1, attributes }
    }

    fn fifo(id: &str, group: &str, sequence: &str) -> Message {
        delivery(id, &[(GROUP, group), (SEQUENCE, sequence)]).into_message()
    }

    fn again(messages: &[Message], failed: &[&str]) -> Vec<String> {
        let places = coming_again(messages, &failed.iter().copied().collect());
        places.into_iter().map(|index| messages[index].id.clone()).collect()
    }

    #[test]
    fn a_returned_message_is_the_one_that_it_was() {
        let first = delivery("a", &[]).into_message();
        let origin = origin(&first.id, first.enqueued_at);
        let returned = delivery("b", &[(ORIGIN, &origin), ("own", "x")]).into_message();
        assert_eq!((&returned.id, returned.enqueued_at, returned.receive_count), (&first.id, first.enqueued_at, 2));
        assert_eq!(returned.attributes.into_keys().collect::<Vec<_>>(), ["own"]);
    }

    #[test]
    fn an_origin_that_says_nothing_changes_nothing() {
        for text in ["", "a", " 5", "a x", "a 99999999999999999999"] {
            let message = delivery("b", &[(ORIGIN, text)]).into_message();
            assert_eq!((message.id.as_str(), message.receive_count), ("b", 1), "{text}");
        }
    }

    #[test]
    fn nothing_overtakes_what_failed_in_its_group() {
        let messages = [fifo("c", "g", "30"), fifo("a", "g", "9"), fifo("b", "g", "10"), fifo("d", "h", "11")];
        assert_eq!(again(&messages, &["b"]), ["c", "b"]);
        assert_eq!(again(&messages, &["a"]), ["c", "a", "b"]);
        assert_eq!(again(&messages, &["d"]), ["d"]);
        assert!(again(&messages, &[]).is_empty());
    }

    #[test]
    fn groups_of_a_standard_queue_have_no_order() {
        let message = |id| delivery(id, &[(GROUP, "g")]).into_message();
        assert_eq!(again(&[message("a"), message("b")], &["a"]), ["a"]);
    }
}
