//! Sending.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use headwater_core::aws::sqs::requests::{SEND, SEND_SMALL, sendable};
use headwater_core::batch::plan_batches;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::entries::{Answer, Call, Outcome, run};
use super::{Connection, Queue, client};
use crate::error::Result;
use crate::replay::Sink;
use crate::spool::NewMessage;

/// The message group of what says none.
const GROUP: &str = "headwater";
const GROUP_ATTRIBUTE: &str = "MessageGroupId";
const ACTION: &str = "send to";

/// A message on its way out.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    pub(super) body: String,
    pub(super) attributes: HashMap<String, MessageAttributeValue>,
    pub(super) group: Option<String>,
    /// What a FIFO queue knows a repetition by.
    pub(super) deduplication: String,
}

impl Outgoing {
    /// Bytes as SQS counts them.
    fn size(&self) -> u64 {
        let attribute = |(name, value): (&String, &MessageAttributeValue)| {
            let binary = value.binary_value.as_ref().map_or(0, |bytes| bytes.as_ref().len());
            name.len() + value.data_type.len() + value.string_value.as_ref().map_or(0, String::len) + binary
        };
        (self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()) as u64
    }
}

impl Queue {
    /// Sends messages. A body ends where the first byte is that SQS takes in no message. One whose answer was lost is sent
    /// again: a standard queue may then hold it twice, under two ids; a FIFO queue doesn't.
    ///
    /// # Errors
    /// `Invalid` for what the queue refuses, `Unavailable` when it doesn't answer. Others of the messages may have been sent.
    pub async fn send(&self, messages: &[NewMessage]) -> Result<()> {
        let outgoing: Vec<_> = messages.iter().map(outgoing).collect();
        match self.send_all(&outgoing).await?.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) async fn send_all(&self, outgoing: &[Outgoing]) -> Result<Outcome> {
        let connection = self.connection().await?;
        let limits = if self.address().endpoint.is_some() { SEND_SMALL } else { SEND };
        let sizes: Vec<_> = outgoing.iter().map(Outgoing::size).collect();
        let parts = plan_batches(&sizes, limits).into_iter().map(Iterator::collect).collect();
        let request = async |part: &[usize]| self.request(connection, part, outgoing).await;
        let call = Call { address: self.address(), action: ACTION, in_order: self.address().is_fifo() };
        Ok(run(call, parts, request).await)
    }

    async fn request(&self, connection: Connection<'_>, part: &[usize], outgoing: &[Outgoing]) -> Answer {
        let mut request = connection.client.send_message_batch().queue_url(connection.url);
        for (id, index) in part.iter().enumerate() {
            match self.entry(id, &outgoing[*index]) {
                Ok(entry) => request = request.entries(entry),
                Err(error) => return Answer::Failed(error),
            }
        }
        match request.send().await {
            Ok(answer) => Answer::Entries {
                done: answer.successful.into_iter().map(|entry| entry.id).collect(),
                failed: answer.failed,
            },
            Err(error) => {
                let is_too_long = error.code().is_some_and(|code| code.contains("BatchRequestTooLong"));
                let error = client::failed(self.address(), ACTION, error);
                if is_too_long { Answer::TooLong(error) } else { Answer::Failed(error) }
            }
        }
    }

    fn entry(&self, id: usize, message: &Outgoing) -> Result<SendMessageBatchRequestEntry> {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(&message.body)
            .set_message_attributes((!message.attributes.is_empty()).then(|| message.attributes.clone()));
        let group = message.group.as_ref().or(self.address().group.as_ref());
        if self.address().is_fifo() {
            let group = group.map_or(GROUP, String::as_str);
            entry = entry.message_group_id(group).message_deduplication_id(&message.deduplication);
        } else {
            entry = entry.set_message_group_id(group.cloned());
        }
        let incomplete =
            |error: aws_sdk_sqs::error::BuildError| crate::RuntimeError::Task { reason: error.to_string() };
        entry.build().map_err(incomplete)
    }
}

fn outgoing(message: &NewMessage) -> Outgoing {
    let mut attributes: BTreeMap<_, _> = message.attributes.clone();
    let group = attributes.remove(GROUP_ATTRIBUTE);
    let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, text(&value)?))).collect();
    let body = sendable(&message.body).into_owned();
    Outgoing { body, attributes, group, deduplication: Uuid::new_v4().to_string() }
}

/// An attribute of the kind `String`.
pub(super) fn text(value: &str) -> Option<MessageAttributeValue> {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().ok()
}

/// A queue as the target of a replay, which blocks.
#[derive(Debug, Clone)]
pub struct BlockingSender {
    queue: Queue,
    runtime: Handle,
}

impl BlockingSender {
    /// Sends to a queue by this runtime; not from a thread that the runtime's own work runs on.
    #[must_use]
    pub const fn new(queue: Queue, runtime: Handle) -> Self {
        Self { queue, runtime }
    }
}

impl Sink for BlockingSender {
    fn send(&self, messages: &[NewMessage]) -> Result<()> {
        self.runtime.block_on(self.queue.send(messages))
    }
}
