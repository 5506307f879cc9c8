//! The document that a function is invoked with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::queue::{QueueBatch, Record};
use crate::name::DatasetName;
use crate::notices::EventError;

/// Why Lambda invoked a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// An event source mapping handed over messages.
    Queue(QueueBatch),
    /// A timer of EventBridge, or a person. Empty means every dataset that the function serves.
    Timer(Vec<DatasetName>),
}

impl Invocation {
    /// Reads the document of an invocation: an event of SQS, a scheduled event of EventBridge, or an
    /// input `{"datasets": ["<name>", …]}`, as a rule with an input or a person gives it; `{}` means all.
    ///
    /// # Errors
    /// [`EventError`], when it is none of them.
    pub fn read(document: &[u8]) -> Result<Self, EventError> {
        serde_json::from_slice::<Document<'_>>(document)?.try_into()
    }
}

/// As [`Invocation::read`]; the error quotes nothing of the document either.
impl<'de> Deserialize<'de> for Invocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Document::deserialize(deserializer);
        let document = document.map_err(|_| D::Error::custom("the document is not as the cloud sends it"))?;
        Self::try_from(document).map_err(D::Error::custom)
    }
}

impl TryFrom<Document<'_>> for Invocation {
    type Error = EventError;

    fn try_from(document: Document<'_>) -> Result<Self, EventError> {
        match document {
            Document { records: Some(records), .. } => Ok(Self::Queue(QueueBatch::from_records(records)?)),
            Document { source: Some(source), detail_type: Some(kind), .. } if is_timer(&source, &kind) => {
                Ok(Self::Timer(Vec::new()))
            }
            Document { source: None, detail_type: None, other, datasets, .. } if other.is_empty() => {
                let names = datasets.unwrap_or_default();
                Ok(Self::Timer(names.into_iter().map(|name| DatasetName::from(name.into_owned())).collect()))
            }
            Document { .. } => Err(EventError::Unknown {
                expected: "a batch of SQS, a scheduled event, or an input `{\"datasets\": [\"name\"]}`",
            }),
        }
    }
}

fn is_timer(source: &str, kind: &str) -> bool {
    kind == "Scheduled Event" && matches!(source, "aws.events" | "aws.scheduler")
}

#[derive(Debug, Deserialize)]
struct Document<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<Record<'a>>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(rename = "detail-type", borrow)]
    detail_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    datasets: Option<Vec<Cow<'a, str>>>,
    /// So that a misspelt input isn't taken for one that names all datasets.
    #[serde(flatten)]
    other: BTreeMap<Cow<'a, str>, IgnoredAny>,
}
