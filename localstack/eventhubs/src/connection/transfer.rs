//! Messages that a peer sends: events and requests.

use std::sync::Arc;

use super::attach::CREDIT;
use super::{Connection, Flow, Result, Role, Session};
use crate::amqp::{Encoder, Fields, Malformed, Value, code, described, entries, outcome_rejected, sections};
use crate::faults::Fault;
use crate::hub::{Hub, now};
use crate::readers::Refusal;

/// A message that has come whole.
struct Arrived {
    message: Vec<u8>,
    delivery: u32,
    is_batch: bool,
    is_settled: bool,
}

impl Connection {
    /// Takes a frame of a message; when it was the last one, the message.
    pub(super) fn transfer(&mut self, channel: u16, fields: &Fields<'_>) -> Result<()> {
        let handle = fields.unsigned(0).unwrap_or(0);
        let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
        session.next_in = session.next_in.wrapping_add(1);
        let Some(link) = session.links.get_mut(&handle) else { return Ok(()) };
        if let Some(delivery) = fields.unsigned(1) {
            (link.delivery, link.format) = (delivery, fields.unsigned(3).unwrap_or(0));
        }
        link.partial.extend_from_slice(fields.rest);
        let limit = self.broker.options.max_message;
        if link.partial.len() > limit {
            let description =
                format!("The received message (size:{} bytes) exceeds the limit ({limit} bytes)", link.partial.len());
            self.remove(channel, handle, &Refusal { condition: "amqp:link:message-size-exceeded", description });
            return Ok(());
        }
        if fields.is_true(5) {
            return Ok(());
        }
        let message = std::mem::take(&mut link.partial);
        let (delivery, is_batch) = (link.delivery, link.format != 0);
        let arrived = Arrived { message, delivery, is_batch, is_settled: fields.is_true(4) };
        link.count = link.count.wrapping_add(1);
        link.credit -= 1;
        let is_low = link.credit < i64::from(CREDIT / 2);
        if is_low {
            link.credit = i64::from(CREDIT);
        }
        match &link.role {
            Role::Events { hub, partition } => {
                let (hub, partition) = (Arc::clone(hub), *partition);
                self.events(channel, (&hub, partition), &arrived)?;
            }
            Role::Requests { node } => {
                let node = node.clone();
                self.settle(channel, &arrived, &accepted());
                self.request(&node, &arrived.message)?;
            }
            Role::Answers { .. } | Role::Receiver { .. } => {}
        }
        if is_low {
            self.put_flow(channel, Some(handle));
        }
        Ok(())
    }

    /// Stores a message or a batch, unless a fault strikes.
    fn events(&mut self, channel: u16, (hub, partition): (&Hub, Option<usize>), arrived: &Arrived) -> Result<()> {
        let faults = &self.broker.faults;
        if faults.strikes(Fault::Throttle) {
            let busy =
                outcome_rejected("com.microsoft:server-busy", "The server is busy. Wait 4 seconds and try again.");
            self.settle(channel, arrived, &busy);
            return Ok(());
        }
        if faults.strikes(Fault::Reject) {
            self.settle(channel, arrived, &outcome_rejected("amqp:internal-error", "The batch was refused."));
            return Ok(());
        }
        store(hub, partition, arrived)?;
        self.broker.tell();
        let faults = &self.broker.faults;
        if faults.strikes(Fault::Lose) {
            self.flow = Flow::Drop;
        } else if !faults.strikes(Fault::Silence) {
            self.settle(channel, arrived, &accepted());
        }
        Ok(())
    }

    /// Says what became of a message, after the delay that answers have.
    fn settle(&self, channel: u16, arrived: &Arrived, outcome: &[u8]) {
        if arrived.is_settled {
            return;
        }
        let disposition = Encoder::default().boolean(true).uint(arrived.delivery).uint(arrived.delivery);
        let disposition = disposition.boolean(true).raw(outcome).boolean(false).described(code::DISPOSITION);
        self.put_later(channel, &disposition);
    }

    /// Takes what the peer says of credit and of its window.
    pub(super) fn credit(&mut self, channel: u16, fields: &Fields<'_>) {
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        let number = |index| i64::from(fields.unsigned(index).unwrap_or(0));
        session.window = number(0) + number(1) - i64::from(session.next_out);
        session.next_in = fields.unsigned(2).unwrap_or(session.next_in);
        let (is_drain, is_echo) = (fields.is_true(8), fields.is_true(9));
        let Some(handle) = fields.unsigned(4) else {
            if is_echo {
                self.put_flow(channel, None);
            }
            return;
        };
        if let Some(link) = session.links.get_mut(&handle).filter(|link| link.is_outgoing()) {
            link.credit = number(5) + number(6) - i64::from(link.count);
        }
        if is_drain {
            self.deliver_all();
            let link = self.sessions.get_mut(&channel).and_then(|session| session.links.get_mut(&handle));
            if let Some(link) = link {
                link.count = link.count.wrapping_add(u32::try_from(link.credit).unwrap_or(0));
                link.credit = 0;
            }
        }
        if is_drain || is_echo {
            self.put_flow(channel, Some(handle));
        }
    }

    /// Tells the state of a session, and of a link if one is named.
    pub(super) fn put_flow(&mut self, channel: u16, handle: Option<u32>) {
        let Some(session) = self.sessions.get(&channel) else { return };
        let flow = flow(session, handle);
        self.put(channel, &flow);
    }
}

fn flow(session: &Session, handle: Option<u32>) -> Vec<u8> {
    let link = handle.and_then(|handle| session.links.get(&handle));
    let flow = Encoder::default().uint(session.next_in).uint(super::WINDOW).uint(session.next_out).uint(super::WINDOW);
    let flow = flow.uint_or_null(link.and(handle)).uint_or_null(link.map(|link| link.count));
    let flow = flow.uint_or_null(link.map(|link| u32::try_from(link.credit).unwrap_or(0)));
    flow.uint_or_null(link.map(|_| 0)).boolean(false).boolean(false).null().described(code::FLOW)
}

fn accepted() -> Vec<u8> {
    Encoder::default().described(code::ACCEPTED)
}

/// Puts the events of a message into their partition: the one of the link, of the key, or the next in turn.
fn store(hub: &Hub, partition: Option<usize>, arrived: &Arrived) -> std::result::Result<(), Malformed> {
    let sections = sections(&arrived.message)?;
    let mut key = None;
    for section in sections.iter().filter(|section| section.code == code::MESSAGE_ANNOTATIONS) {
        let found = entries(section.body)?.into_iter().find(|(name, ..)| name.text() == Some("x-opt-partition-key"));
        key = found.map(|(_, _, value)| value.to_vec());
    }
    let index = partition.unwrap_or_else(|| hub.choose(key.as_deref()));
    let Some(mut partition) = hub.partition(index) else { return Ok(()) };
    if !arrived.is_batch {
        return partition.append(&arrived.message, key.as_deref(), now());
    }
    for section in sections.iter().filter(|section| section.code == code::DATA) {
        match section.value()? {
            Value::Binary(message) if message.first() == Some(&0) => {
                partition.append(&message, key.as_deref(), now())?
            }
            Value::Binary(body) => {
                let body = described(code::DATA, &[&[0xb0][..], &(body.len() as u32).to_be_bytes(), &body].concat());
                partition.append(&body, key.as_deref(), now())?;
            }
            _ => return Err(Malformed("a batch holds something else than bytes")),
        }
    }
    Ok(())
}
