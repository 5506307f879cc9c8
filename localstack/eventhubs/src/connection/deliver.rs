//! Messages that go to a peer, as far as its credit and its window reach.

use super::{Arrival, Connection, ENOUGH, Flow, Link, Role};
use crate::amqp::{Encoder, HEADER, code, put_frame};
use crate::faults::Fault;
use crate::readers::Refusal;

/// Bytes that a transfer takes in a frame besides the message, at most.
const OVERHEAD: usize = HEADER + 64;
/// Messages of one link before the next one has its turn.
const TURN: usize = 256;

/// What else is to happen after a message was delivered.
enum After {
    Detach(u16, u32, Refusal),
    Drop,
}

impl Connection {
    /// Delivers what may be, up to a good deal of output; the rest when its turn comes.
    pub(super) fn deliver(&mut self) {
        while self.flow == Flow::GoOn && self.out.len() < ENOUGH {
            if !self.deliver_turn() {
                return;
            }
        }
        // Without a receiver the connection is ending.
        let _ = self.arrivals.send(Arrival::More);
    }

    /// Delivers all that may be.
    pub(super) fn deliver_all(&mut self) {
        while self.flow == Flow::GoOn && self.deliver_turn() {}
    }

    /// One turn of each link; whether there was anything.
    fn deliver_turn(&mut self) -> bool {
        let (mut has_delivered, mut after) = (false, Vec::new());
        let size = self.peer_frame - OVERHEAD;
        for (channel, session) in &mut self.sessions {
            for link in session.links.values_mut().filter(|link| link.is_outgoing()) {
                for _ in 0..TURN {
                    if link.credit <= 0 || session.window <= 0 {
                        break;
                    }
                    let Some(message) = next_message(link) else { break };
                    let mut parts = message.chunks(size).peekable();
                    while let Some(part) = parts.next() {
                        let transfer = Encoder::default().uint(link.handle).uint(session.next_delivery);
                        let transfer = transfer.binary(&link.count.to_be_bytes()).uint(0).boolean(true);
                        let transfer = transfer.boolean(parts.peek().is_some()).nulls(2);
                        let transfer = transfer.boolean(false).boolean(false).boolean(false).described(code::TRANSFER);
                        put_frame(&mut self.out, 0, *channel, &[&transfer, part]);
                        session.next_out = session.next_out.wrapping_add(1);
                        session.window -= 1;
                    }
                    session.next_delivery = session.next_delivery.wrapping_add(1);
                    link.count = link.count.wrapping_add(1);
                    link.credit -= 1;
                    has_delivered = true;
                    let is_event = link.reader().is_some();
                    if is_event && self.broker.faults.strikes(Fault::Detach) {
                        let refusal = refusal("amqp:link:detach-forced", "The link was detached by the emulator.");
                        after.push(After::Detach(*channel, link.handle, refusal));
                        break;
                    }
                    if is_event && self.broker.faults.strikes(Fault::Steal) {
                        let refusal = refusal("amqp:link:stolen", "New receiver with higher epoch is created");
                        after.push(After::Detach(*channel, link.handle, refusal));
                        break;
                    }
                    if is_event && self.broker.faults.strikes(Fault::Drop) {
                        after.push(After::Drop);
                        break;
                    }
                }
            }
        }
        for after in after {
            match after {
                After::Drop => self.flow = Flow::Close,
                After::Detach(channel, handle, refusal) => self.remove(channel, handle, &refusal),
            }
        }
        has_delivered
    }
}

fn refusal(condition: &'static str, description: &str) -> Refusal {
    Refusal { condition, description: description.to_owned() }
}

fn next_message(link: &mut Link) -> Option<Vec<u8>> {
    match &mut link.role {
        Role::Answers { waiting, .. } => waiting.pop_front(),
        Role::Receiver { hub, partition, next, .. } => {
            let event = hub.partition(*partition)?.event(*next)?;
            *next = event.sequence + 1;
            Some(event.message.clone())
        }
        Role::Events { .. } | Role::Requests { .. } => None,
    }
}
