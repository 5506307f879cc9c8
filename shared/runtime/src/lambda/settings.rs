//! What Lambda's environment says about the function that this process is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headwater_core::batch::Limits;

use crate::error::{Result, RuntimeError};
use crate::function::FunctionKind;
use crate::pairs::sources;

/// Lambda's variable with the function's handler, which is the name of one of the five functions.
const HANDLER: &str = "_HANDLER";
/// The project's folder; without it `pipeline`, beside the program.
const PROJECT: &str = "HEADWATER_PROJECT";
/// `<source>=<name of its queue>`, separated by commas.
pub(super) const QUEUES: &str = "HEADWATER_QUEUES";

/// Bytes of messages that a batch is filled up to from its queue; without it batches are as Lambda hands them over.
const DRAIN_BYTES: &str = "HEADWATER_DRAIN_BYTES";
/// Messages that a batch is filled up to, where bytes are said.
const DRAIN_MESSAGES: &str = "HEADWATER_DRAIN_MESSAGES";
/// Messages of a batch that is filled up, unless the environment says otherwise.
const MESSAGES: usize = 50_000;

/// The settings of a function's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which function it is.
    pub function: FunctionKind,
    /// The project's folder.
    pub project: PathBuf,
    /// The event source that each queue is bound to, by the queue's name.
    pub queues: BTreeMap<String, String>,
    /// What batches of messages are filled up to from their queues.
    pub drain: Option<Limits>,
}

impl Settings {
    /// Reads them from the environment.
    ///
    /// # Errors
    /// `Invalid` when the handler is none of the functions, the queues aren't pairs, or a number is none.
    pub fn read(environment: &BTreeMap<String, String>) -> Result<Self> {
        let text = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let handler = text(HANDLER).unwrap_or_default();
        let function = FunctionKind::named(handler).ok_or_else(|| {
            let names = FunctionKind::ALL.map(FunctionKind::name).join(", ");
            setting(HANDLER, format!("`{handler}` is no function; the handler is one of {names}"))
        })?;
        let queues = sources(QUEUES, text(QUEUES), "queue")?;
        let number = |name: &str| text(name).map(|value| whole(name, value)).transpose();
        let (bytes, messages) = (number(DRAIN_BYTES)?, number(DRAIN_MESSAGES)?);
        let items = messages.map_or(MESSAGES, |messages| usize::try_from(messages).unwrap_or(usize::MAX));
        let drain = bytes.filter(|bytes| *bytes > 0).map(|bytes| Limits { items, bytes });
        Ok(Self { function, project: PathBuf::from(text(PROJECT).unwrap_or("pipeline")), queues, drain })
    }
}

fn whole(name: &str, text: &str) -> Result<u64> {
    text.parse().map_err(|_| setting(name, format!("`{text}` is no whole number")))
}

fn setting(name: &str, problem: String) -> RuntimeError {
    RuntimeError::Setting { name: name.to_owned(), problem }
}
