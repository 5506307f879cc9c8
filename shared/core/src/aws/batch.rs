//! The answer to a batch of SQS: which of its messages have to come again.

use std::collections::BTreeSet;

use serde::Serialize;

/// What a function answers to a batch of SQS: messages that aren't listed are deleted, those that are listed come again,
/// or go to the dead-letter queue when they came often enough. Sent as it serializes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The messages that failed.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A message that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Its id.
    pub item_identifier: String,
}

impl BatchResponse {
    /// The answer that fails these messages, each once.
    #[must_use]
    pub fn failing<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let failures: BTreeSet<_> =
            ids.into_iter().map(|id| BatchItemFailure { item_identifier: id.to_owned() }).collect();
        Self { batch_item_failures: failures.into_iter().collect() }
    }
}
