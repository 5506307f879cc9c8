//! What `host.json` and a function's `function.json` say.

use chrono::TimeDelta;
use serde::Deserialize;

use crate::notices::EventError;

/// What a function app without a `functionTimeout` is given at least.
const DEFAULT_TIMEOUT: TimeDelta = TimeDelta::minutes(5);

/// A function, as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name of its folder.
    pub name: String,
    /// What wakes it.
    pub trigger: TriggerKind,
    /// The name under which the host hands over what woke it.
    pub binding: String,
    /// Whether bodies are handed over as bytes, in Base64.
    pub is_binary: bool,
}

/// The triggers that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// A message of a storage queue: `queueTrigger`.
    Queue,
    /// Events of a partition: `eventHubTrigger`, cardinality `many`.
    EventHub,
    /// `timerTrigger`.
    Timer,
}

impl Function {
    /// Reads a `function.json`.
    ///
    /// # Errors
    /// [`EventError`], when it has none of the triggers.
    pub fn read(name: &str, document: &str) -> Result<Self, EventError> {
        let Bindings { bindings } = serde_json::from_str(document)?;
        let known = |binding: Binding| {
            let trigger = TriggerKind::named(&binding.kind)?;
            let is_binary = binding.data_type.is_some_and(|kind| kind.eq_ignore_ascii_case("binary"));
            Some(Self { name: name.to_owned(), trigger, binding: binding.name, is_binary })
        };
        let expected = "a function with a queueTrigger, an eventHubTrigger or a timerTrigger";
        bindings.into_iter().find_map(known).ok_or(EventError::Unknown { expected })
    }
}

impl TriggerKind {
    fn named(kind: &str) -> Option<Self> {
        let known = [("queueTrigger", Self::Queue), ("eventHubTrigger", Self::EventHub), ("timerTrigger", Self::Timer)];
        known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(kind)).map(|(_, trigger)| trigger)
    }
}

/// How long the host waits for an answer, as `functionTimeout` of a `host.json` says; `None` is for ever.
///
/// # Errors
/// [`EventError`], when it is no JSON or no time.
pub fn function_timeout(document: &str) -> Result<Option<TimeDelta>, EventError> {
    let Host { function_timeout } = serde_json::from_str(document)?;
    match function_timeout.as_deref() {
        None => Ok(Some(DEFAULT_TIMEOUT)),
        Some("-1") => Ok(None),
        Some(text) => {
            let place = || EventError::Field { place: "functionTimeout".to_owned() };
            duration(text).filter(|time| *time > TimeDelta::zero()).map(Some).ok_or_else(place)
        }
    }
}

/// `[days.]hours:minutes:seconds`.
fn duration(text: &str) -> Option<TimeDelta> {
    let (days, clock) = text.split_once('.').unwrap_or(("0", text));
    let parts = clock.split(':').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let (days, hours) = (u64::from(days.parse::<u32>().ok()?), u64::from(hours));
    let total = ((days * 24 + hours) * 60 + u64::from(minutes)) * 60 + u64::from(seconds);
    TimeDelta::try_seconds(i64::try_from(total).ok()?)
}

#[derive(Debug, Deserialize)]
struct Bindings {
    bindings: Vec<Binding>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    data_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    function_timeout: Option<String>,
}
