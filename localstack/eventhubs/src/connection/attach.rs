//! New links: who may attach to what.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Connection, Link, Role};
use crate::amqp::{Encoder, Fields, Value, code};
use crate::hub::{Hub, now};
use crate::position::Position;
use crate::readers::{Reader, Refusal};
use crate::token;

/// Credit that senders get at once.
pub(super) const CREDIT: u32 = 1_000;

impl Connection {
    /// Answers an attach; a refused one by a detach after it, as the protocol wants.
    pub(super) fn attach(&mut self, channel: u16, fields: &Fields<'_>) {
        let handle = fields.unsigned(1).unwrap_or(0);
        let is_outgoing = fields.is_true(2);
        let attach = Encoder::default().text(fields.text(0)).uint(handle).boolean(!is_outgoing);
        let attach = attach.ubyte(fields.unsigned(3).unwrap_or(2) as u8).ubyte(0).raw(fields.raw(5)).raw(fields.raw(6));
        let attach = attach.null().boolean(false).uint_or_null(is_outgoing.then_some(0));
        let attach = attach.ulong(self.broker.options.max_message as u64).nulls(3).described(code::ATTACH);
        self.put(channel, &attach);
        let role = if is_outgoing { self.source(fields) } else { self.target(fields) };
        let role = match role {
            Ok(role) => role,
            Err(refusal) => return self.detach(channel, handle, &refusal),
        };
        let mut link = Link::new(handle, role);
        link.credit = if is_outgoing { 0 } else { i64::from(CREDIT) };
        let Some(session) = self.sessions.get_mut(&channel) else { return link.leave() };
        if let Some(before) = session.links.insert(handle, link) {
            before.leave();
        }
        if !is_outgoing {
            self.put_flow(channel, Some(handle));
        }
    }

    /// What the peer wants to send to.
    fn target(&self, fields: &Fields<'_>) -> Result<Role, Refusal> {
        let node = address(fields.list(6));
        if is_service(&node) {
            return Ok(Role::Requests { node });
        }
        self.admit(&node)?;
        let parts: Vec<&str> = node.split('/').collect();
        match parts[..] {
            [hub] => Ok(Role::Events { hub: self.hub(hub)?, partition: None }),
            [hub, "Partitions", partition] => {
                let hub = self.hub(hub)?;
                let partition = Some(number(&hub, partition)?);
                Ok(Role::Events { hub, partition })
            }
            _ => Err(not_found(&node)),
        }
    }

    /// What the peer wants to receive from.
    fn source(&self, fields: &Fields<'_>) -> Result<Role, Refusal> {
        let source = fields.list(5);
        let node = address(source);
        if is_service(&node) {
            return Ok(Role::Answers { node, reply_to: address(fields.list(6)), waiting: VecDeque::new() });
        }
        self.admit(&node)?;
        let parts: Vec<&str> = node.split('/').collect();
        let [hub, groups, group, "Partitions", partition] = parts[..] else { return Err(not_found(&node)) };
        if !groups.eq_ignore_ascii_case("ConsumerGroups") {
            return Err(not_found(&node));
        }
        let hub = self.hub(hub)?;
        let index = number(&hub, partition)?;
        let position = Position::parse(filter(source)).ok_or_else(|| Refusal {
            condition: "amqp:invalid-field",
            description: "The filter of the link isn't understood.".to_owned(),
        })?;
        let reader = self.broker.next_id();
        let next = {
            let mut partition = hub.partition(index).ok_or_else(|| not_found(&node))?;
            let next = partition.start(position);
            let next =
                next.map_err(|description| Refusal { condition: "com.microsoft:argument-error", description })?;
            let (group, epoch) = (group.to_lowercase(), epoch(fields.value(13)));
            partition.readers.enter(Reader { id: reader, group, epoch, expel: self.expel.clone() })?;
            next
        };
        Ok(Role::Receiver { hub, partition: index, next, reader })
    }

    fn hub(&self, name: &str) -> Result<Arc<Hub>, Refusal> {
        self.broker.hub(name).ok_or_else(|| not_found(name))
    }

    /// Whether a token was put that covers the node.
    fn admit(&self, node: &str) -> Result<(), Refusal> {
        let seconds = now() / 1_000;
        if self.broker.options.key.is_none() || self.granted.iter().any(|grant| grant.covers(node, seconds)) {
            return Ok(());
        }
        let description = format!("Unauthorized access. No token covers '{node}'.");
        Err(Refusal { condition: "amqp:unauthorized-access", description })
    }
}

fn address(terminus: &[Value]) -> String {
    terminus.first().and_then(Value::text).map(token::path).unwrap_or_default()
}

fn is_service(node: &str) -> bool {
    node == "$cbs" || node.ends_with("$management")
}

fn number(hub: &Hub, partition: &str) -> Result<usize, Refusal> {
    partition.parse().ok().filter(|index| *index < hub.len()).ok_or_else(|| Refusal {
        condition: "com.microsoft:argument-out-of-range",
        description: format!("The specified partition '{partition}' is invalid for the hub."),
    })
}

fn not_found(node: &str) -> Refusal {
    let description = format!("The messaging entity '{node}' could not be found.");
    Refusal { condition: "amqp:not-found", description }
}

/// The filter of a source: the text of the first one in its filter set.
fn filter(source: &[Value]) -> Option<&str> {
    match source.get(7) {
        Some(Value::Map(filters)) => filters.iter().find_map(|(_, filter)| filter.plain().text()),
        _ => None,
    }
}

fn epoch(properties: &Value) -> Option<i64> {
    let Value::Map(properties) = properties else { return None };
    let found = properties.iter().find(|(name, _)| name.text() == Some("com.microsoft:epoch"));
    found.and_then(|(_, epoch)| epoch.number())
}
