//! Requests to the service itself: tokens, and what is known of hubs and partitions.

use std::collections::HashMap;

use super::{Connection, Result, Role};
use crate::amqp::{Encoder, Section, Value, code, described, performative, sections, text_array};
use crate::faults::Fault;
use crate::hub::now;
use crate::token::{self, Grant};

/// An answer: its status, the words for it, and the encoded body.
struct Answer {
    status: i32,
    description: String,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: i32, description: &str) -> Self {
        Self { status, description: description.to_owned(), body: vec![0x40] }
    }
}

type Properties = HashMap<String, String>;

impl Connection {
    /// Answers a request on the link on which its sender waits.
    pub(super) fn request(&mut self, node: &str, message: &[u8]) -> Result<()> {
        let (mut id, mut reply_to) = (vec![0x40], String::new());
        let (mut properties, mut body) = (Properties::new(), Value::Null);
        for section in sections(message)? {
            match section.code {
                code::PROPERTIES => {
                    let fields = performative(section.whole)?;
                    (id, reply_to) = (fields.raw(0).to_vec(), token::path(fields.text(4)));
                }
                code::APPLICATION_PROPERTIES => properties = texts(&section)?,
                code::AMQP_VALUE => body = section.value()?,
                _ => {}
            }
        }
        let answer = if node == "$cbs" {
            self.put_token(&properties, body.text().unwrap_or_default())
        } else if self.broker.faults.strikes(Fault::Hang) {
            return Ok(());
        } else if self.broker.faults.strikes(Fault::Busy) {
            Answer::new(503, "The server is busy.")
        } else {
            self.tell_of(&properties)
        };
        self.answer((node, &reply_to), &encode(&answer, &id));
        Ok(())
    }

    fn answer(&mut self, (node, to): (&str, &str), message: &[u8]) {
        let links = self.sessions.values_mut().flat_map(|session| session.links.values_mut());
        let answers = links.filter_map(|link| match &mut link.role {
            Role::Answers { node: of, reply_to, waiting } if of == node => Some((reply_to == to, waiting)),
            _ => None,
        });
        if let Some((_, waiting)) = answers.max_by_key(|(is_exact, _)| *is_exact) {
            waiting.push_back(message.to_vec());
        }
    }

    fn put_token(&mut self, properties: &Properties, text: &str) -> Answer {
        let audience = properties.get("name").map(String::as_str).unwrap_or_default();
        let is_signed = properties.get("type").is_some_and(|kind| kind.ends_with("sastoken"));
        let grant = match &self.broker.options.key {
            Some((name, key)) if is_signed => token::check(text, (name, key), now() / 1_000),
            _ if text.is_empty() => Err("the token is empty"),
            _ => Ok(Grant::new(audience, i64::MAX)),
        };
        match grant {
            Ok(grant) => {
                self.granted.push(grant);
                Answer::new(202, "Accepted")
            }
            Err(problem) => Answer::new(401, &format!("InvalidSignature: {problem}")),
        }
    }

    fn tell_of(&self, properties: &Properties) -> Answer {
        let field = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
        let (name, kind) = (field("name"), field("type"));
        let Some(hub) = self.broker.hub(name) else {
            return Answer::new(404, "The messaging entity could not be found.");
        };
        let about = Encoder::default().text("name").text(name).text("type").text(kind);
        let about = match kind {
            "com.microsoft:eventhub" => {
                let ids: Vec<String> = (0..hub.len()).map(|index| index.to_string()).collect();
                let ids = text_array(0xb1, &ids.iter().map(String::as_str).collect::<Vec<_>>());
                let about = about.text("created_at").time(hub.created).text("partition_count").int(hub.len() as i32);
                about.text("partition_ids").raw(&ids)
            }
            "com.microsoft:partition" => {
                let id = field("partition");
                let state = id.parse().ok().and_then(|index| Some(hub.partition(index)?.state()));
                let Some(state) = state else { return Answer::new(404, "The specified partition is invalid.") };
                let about = about.text("partition").text(id).text("begin_sequence_number").long(state.beginning);
                let about = about.text("begin_sequence_number_epoch").long(0);
                let about = about.text("last_enqueued_sequence_number").long(state.last);
                let about = about.text("last_enqueued_sequence_number_epoch").long(0);
                let about = about.text("last_enqueued_offset").text(&state.last_offset);
                let about = about.text("last_enqueued_time_utc").time(state.last_time);
                about.text("is_partition_empty").boolean(state.is_empty)
            }
            _ => return Answer::new(400, "The type of entity is unknown."),
        };
        Answer { body: about.map(), ..Answer::new(200, "OK") }
    }
}

/// The entries of a map that are texts.
fn texts(section: &Section<'_>) -> Result<Properties> {
    let Value::Map(entries) = section.value()? else { return Ok(Properties::new()) };
    let text = |(name, value): (Value, Value)| Some((name.text()?.to_owned(), value.text()?.to_owned()));
    Ok(entries.into_iter().filter_map(text).collect())
}

fn encode(answer: &Answer, correlation: &[u8]) -> Vec<u8> {
    let properties = Encoder::default().nulls(5).raw(correlation).nulls(7).described(code::PROPERTIES);
    let status = Encoder::default().text("status-code").int(answer.status);
    let status = status.text("status-description").text(&answer.description);
    let status = status.described_map(code::APPLICATION_PROPERTIES);
    [properties, status, described(code::AMQP_VALUE, &answer.body)].concat()
}
