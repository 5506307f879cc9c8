//! Requests of ten entries, repeated until each entry is done or never will be.

use std::collections::BTreeSet;
use std::ops::AsyncFn;

use aws_sdk_sqs::types::BatchResultErrorEntry;
use futures::StreamExt;
use headwater_core::aws::sqs::QueueAddress;
use headwater_core::aws::sqs::fault::{self, NO_ANSWER};
use headwater_core::aws::sqs::requests::{EntryFailure, judge, next_wait};

use super::client;
use crate::error::RuntimeError;

/// Requests side by side.
const WIDTH: usize = 8;

/// Whose requests they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The queue.
    pub(super) address: &'a QueueAddress,
    /// What is done, such as `send to`.
    pub(super) action: &'static str,
    /// Whether one request has to wait for the one before.
    pub(super) in_order: bool,
}

/// What the service answered to one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Each entry has an answer of its own.
    Entries {
        /// Ids of those that are done.
        done: Vec<String>,
        /// The others.
        failed: Vec<BatchResultErrorEntry>,
    },
    /// Nothing was done.
    Failed(RuntimeError),
    /// Nothing was done, because the request was too long as a whole.
    TooLong(RuntimeError),
}

/// What became of all entries.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Places of entries that aren't done.
    pub(super) left: BTreeSet<usize>,
    /// Why the first of them isn't.
    pub(super) error: Option<RuntimeError>,
}

impl Outcome {
    fn fail(&mut self, left: impl IntoIterator<Item = usize>, error: RuntimeError) {
        self.left.extend(left);
        self.error.get_or_insert(error);
    }
}

/// Does what `request` does for these parts of all entries. An entry's id in a request is its place there, in digits.
pub(super) async fn run(call: Call<'_>, parts: Vec<Vec<usize>>, request: impl AsyncFn(&[usize]) -> Answer) -> Outcome {
    let width = if call.in_order { 1 } else { WIDTH };
    let request = &request;
    let work = parts.into_iter().map(|part| run_part(call, part, request));
    let outcomes = futures::stream::iter(work).buffered(width);
    outcomes
        .fold(Outcome::default(), async |mut all, one| {
            all.left.extend(one.left);
            all.error = all.error.or(one.error);
            all
        })
        .await
}

async fn run_part(
    Call { address, action, .. }: Call<'_>,
    part: Vec<usize>,
    request: &impl AsyncFn(&[usize]) -> Answer,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open = vec![(part, 0)];
    while let Some((part, failed)) = open.pop() {
        match request(&part).await {
            Answer::Entries { done, failed: failures } => {
                let (again, refused) = sort(&part, &done, failures);
                for failure in refused {
                    let error = client::error(address, action, failure.code.clone(), fault::of_code(&failure.code));
                    outcome.fail([part[failure.index]], error);
                }
                match next_wait(failed, rand::random()) {
                    _ if again.is_empty() => {}
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        open.push((again, failed + 1));
                    }
                    None => outcome.fail(again, client::error(address, action, "too busy".to_owned(), NO_ANSWER)),
                }
            }
            Answer::TooLong(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                open.push((second.to_vec(), failed));
                open.push((first.to_vec(), failed));
            }
            Answer::Failed(error) | Answer::TooLong(error) => outcome.fail(part, error),
        }
    }
    outcome
}

/// Places of entries to try again, and refusals by their place in the request. An entry without an answer is tried again.
fn sort(part: &[usize], done: &[String], failed: Vec<BatchResultErrorEntry>) -> (Vec<usize>, Vec<EntryFailure>) {
    let index = |id: &str| id.parse().ok().filter(|index: &usize| *index < part.len());
    let failure = |entry: BatchResultErrorEntry| {
        Some(EntryFailure { index: index(&entry.id)?, code: entry.code, is_senders: entry.sender_fault })
    };
    let refused = judge(failed.into_iter().filter_map(failure).collect()).refused;
    let over: BTreeSet<usize> =
        done.iter().filter_map(|id| index(id)).chain(refused.iter().map(|one| one.index)).collect();
    let again = (0..part.len()).filter(|index| !over.contains(index)).map(|index| part[index]).collect();
    (again, refused)
}
