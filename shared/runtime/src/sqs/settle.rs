//! What becomes of received messages: they are deleted, or stay hidden for longer, or are there again.

use std::time::Duration;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry};
use headwater_core::aws::sqs::requests::ENTRIES;
use headwater_core::batch::{Limits, plan_batches};

use super::entries::{Answer, Call, run};
use super::receive::{Receipts, seconds};
use super::{Queue, client};
use crate::error::{Result, RuntimeError};

impl Queue {
    /// Deletes messages that were dealt with. One that can't be deleted comes again, which is all that it does: so
    /// the answer is how many those are.
    ///
    /// # Errors
    /// When the queue can't be reached at all.
    pub async fn delete(&self, receipts: &Receipts) -> Result<usize> {
        let handles = receipts.all();
        if handles.is_empty() {
            return Ok(0);
        }
        let connection = self.connection().await?;
        let request = async |part: &[usize]| {
            let mut request = connection.client.delete_message_batch().queue_url(connection.url);
            for (id, index) in part.iter().enumerate() {
                let entry =
                    DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(handles[*index]);
                match entry.build() {
                    Ok(entry) => request = request.entries(entry),
                    Err(error) => return Answer::Failed(RuntimeError::Task { reason: error.to_string() }),
                }
            }
            match request.send().await {
                Ok(answer) => Answer::Entries {
                    done: answer.successful.into_iter().map(|entry| entry.id).collect(),
                    failed: answer.failed,
                },
                Err(error) => Answer::Failed(client::failed(self.address(), "delete from", error)),
            }
        };
        let outcome = run(
            Call { address: self.address(), action: "delete from", in_order: false },
            parts(handles.len()),
            request,
        )
        .await;
        if let Some(error) = &outcome.error {
            tracing::warn!(messages = outcome.left.len(), %error, "messages that were dealt with come again");
        }
        Ok(outcome.left.len())
    }

    /// Hides received messages for so long from now; for no time to have them received again at once. Those that
    /// are gone or there again already are passed over.
    ///
    /// # Errors
    /// When the queue can't be reached, or doesn't do it.
    pub async fn hide(&self, receipts: &Receipts, hidden: Duration) -> Result<()> {
        let handles = receipts.all();
        if handles.is_empty() {
            return Ok(());
        }
        let connection = self.connection().await?;
        let request = async |part: &[usize]| {
            let mut request = connection.client.change_message_visibility_batch().queue_url(connection.url);
            for (id, index) in part.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(handles[*index])
                    .visibility_timeout(seconds(hidden));
                match entry.build() {
                    Ok(entry) => request = request.entries(entry),
                    Err(error) => return Answer::Failed(RuntimeError::Task { reason: error.to_string() }),
                }
            }
            match request.send().await {
                Ok(answer) => {
                    let (gone, failed): (Vec<_>, _) = answer.failed.into_iter().partition(|entry| is_gone(&entry.code));
                    let gone = gone.into_iter().map(|entry| entry.id);
                    Answer::Entries {
                        done: answer.successful.into_iter().map(|entry| entry.id).chain(gone).collect(),
                        failed,
                    }
                }
                Err(error) => Answer::Failed(client::failed(self.address(), "hide messages of", error)),
            }
        };
        let call = Call { address: self.address(), action: "hide messages of", in_order: false };
        match run(call, parts(handles.len()), request).await.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn parts(entries: usize) -> Vec<Vec<usize>> {
    let sizes = vec![1; entries];
    let limits = Limits { items: ENTRIES, bytes: u64::MAX };
    plan_batches(&sizes, limits).into_iter().map(Iterator::collect).collect()
}

/// Whether a message isn't this receiver's any more.
fn is_gone(code: &str) -> bool {
    ["MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"].iter().any(|gone| code.contains(gone))
}
