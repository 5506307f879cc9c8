//! How many messages wait, and where a queue's dead letters go.

use aws_sdk_sqs::types::QueueAttributeName;
use headwater_core::aws::sqs::QueueAddress;
use serde::Deserialize;

use super::{Queue, client};
use crate::error::{Result, RuntimeError};
use crate::spool::Depth;

/// The part of a queue's redrive policy that names the queue of its dead letters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    dead_letter_target_arn: String,
}

impl Queue {
    /// How many messages are where, about: SQS counts no more exactly. Delayed messages wait too. The age of the oldest isn't
    /// told to who asks a queue; CloudWatch has it.
    ///
    /// # Errors
    /// `Invalid` when the queue can't be used, `Unavailable` when it doesn't answer.
    pub async fn depth(&self) -> Result<Depth> {
        let (mut depth, policy) = self.look().await?;
        if let Some(queue) = self.dead_letter_queue(policy)? {
            depth.dead = queue.look().await?.0.waiting;
        }
        Ok(depth)
    }

    /// The queue that messages of this one go to when they were received too often; `None` when they stay.
    ///
    /// # Errors
    /// As [`Queue::depth`].
    pub async fn dead_letters(&self) -> Result<Option<Self>> {
        let (_, policy) = self.look().await?;
        self.dead_letter_queue(policy)
    }

    fn dead_letter_queue(&self, policy: Option<Policy>) -> Result<Option<Self>> {
        let Some(policy) = policy else { return Ok(None) };
        let address = QueueAddress::of_arn(&policy.dead_letter_target_arn);
        let address = address.map_err(|error| RuntimeError::Task { reason: error.to_string() })?;
        let endpoint = self.address().endpoint.clone();
        let address = QueueAddress { endpoint, ..address };
        // It is in the same region, as SQS asks for.
        Ok(Some(Self::with_client(address, self.inner.client.get().cloned())))
    }

    /// Depth without dead letters, and the redrive policy.
    async fn look(&self) -> Result<(Depth, Option<Policy>)> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible,
            RedrivePolicy,
        };
        let connection = self.connection().await?;
        let names = [
            ApproximateNumberOfMessages,
            ApproximateNumberOfMessagesDelayed,
            ApproximateNumberOfMessagesNotVisible,
            RedrivePolicy,
        ];
        let request = connection.client.get_queue_attributes().queue_url(connection.url);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|error| client::failed(self.address(), "look at", error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name: &QueueAttributeName| attributes.get(name).and_then(|count| count.parse().ok()).unwrap_or(0);
        let waiting = count(&ApproximateNumberOfMessages) + count(&ApproximateNumberOfMessagesDelayed);
        let depth = Depth { waiting, in_flight: count(&ApproximateNumberOfMessagesNotVisible), dead: 0 };
        let policy = attributes.get(&RedrivePolicy).and_then(|policy| serde_json::from_str(policy).ok());
        Ok((depth, policy))
    }
}
