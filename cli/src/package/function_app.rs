//! The files that make a folder a function app: `host.json`, and a folder for each function with its binding.
//!
//! They are those of `infra/azure/functions`, which the template there counts on. One function lands the events of one hub: the hub that
//! the template makes for a source, by the source's name, or the one that the project binds the source to, and maybe others with it. All others are
//! the same for each pipeline, since their triggers are.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::hub::HubAddress;
use headwater_core::model::{EventSource, Pipeline, RelationSource};
use headwater_core::project::variable_name;
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::package::archive::Entry;

/// What `host.json` calls the program.
pub(crate) const PROGRAM: &str = "headwater";

/// Where the name of the hub stands in the binding of events.
const HUB: &str = "%HEADWATER_EVENT_HUB%";
/// The setting that names the namespace of the template's hubs. That of a hub of one's own has the source's name behind it.
const CONNECTION: &str = "HEADWATER_EVENT_HUBS";
/// The function that lands events. A pipeline with several hubs has one for each, named after the first source that reads it.
const EVENTS: &str = "bronze-events";
/// What is behind the names of functions that a timer wakes.
const SWEEP: &str = "sweep";
/// What the names of functions and of hubs may both be long.
const MAX_NAME: usize = 50;

macro_rules! embedded {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../infra/azure/functions/", $path)))
    };
}

const COMMON: [(&str, &str); 7] = [
    embedded!("host.json"),
    embedded!("bronze-files/function.json"),
    embedded!("bronze-files-sweep/function.json"),
    embedded!("silver/function.json"),
    embedded!("silver-sweep/function.json"),
    embedded!("gold/function.json"),
    embedded!("compact/function.json"),
];
const SWEEP_OF_EVENTS: (&str, &str) = embedded!("bronze-events-sweep/function.json");
const BINDING_OF_EVENTS: &str = include_str!("../../../infra/azure/functions/bronze-events/function.json");

/// The files, without the program and the project.
///
/// # Errors
/// `Invalid` for a source whose name no hub or function can have.
pub(crate) fn app_entries(pipeline: &Pipeline) -> Result<Vec<Entry>> {
    let sources = sources(pipeline);
    let mut entries: Vec<Entry> =
        COMMON.into_iter().map(|(name, text)| Entry::text(name.to_owned(), text.into())).collect();
    if !sources.is_empty() {
        let (name, text) = SWEEP_OF_EVENTS;
        entries.push(Entry::text(name.to_owned(), text.into()));
    }
    sources.iter().try_for_each(|source| check(source))?;
    let hubs = hubs(pipeline, &sources);
    for readers in &hubs {
        let Some(source) = readers.first() else { continue };
        let function = if hubs.len() == 1 { EVENTS.to_owned() } else { format!("{EVENTS}-{source}") };
        let binding = match own_hub(pipeline, source) {
            None => BINDING_OF_EVENTS.replace(HUB, source),
            Some(own) => {
                let connection = format!("{CONNECTION}_{}", variable_name(source));
                let binding = BINDING_OF_EVENTS.replace(HUB, &own.hub);
                binding.replace(&format!("\"{CONNECTION}\""), &format!("\"{connection}\""))
            }
        };
        let binding = match readers.len() {
            1 => binding,
            // For whoever binds them elsewhere; the host passes over it.
            _ => binding.replacen('{', &format!("{{\n  \"sources\": {},", json!(readers)), 1),
        };
        entries.push(Entry::text(format!("{function}/function.json"), binding.into_bytes()));
    }
    Ok(entries)
}

/// The sources of each hub. Two functions with the same consumer group would take each other's partitions.
fn hubs<'a>(pipeline: &Pipeline, sources: &BTreeSet<&'a str>) -> Vec<Vec<&'a str>> {
    let mut hubs: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for source in sources {
        let place = match own_hub(pipeline, source) {
            Some(own) => (own.namespace.to_lowercase(), own.hub.to_lowercase()),
            None => (String::new(), (*source).to_owned()),
        };
        hubs.entry(place).or_default().push(source);
    }
    hubs.into_values().collect()
}

/// The hub that the project binds a source to.
pub(crate) fn own_hub<'a>(pipeline: &'a Pipeline, source: &str) -> Option<&'a HubAddress> {
    match pipeline.sources.get(source) {
        Some(EventSource::EventHubs { hub }) => Some(hub),
        Some(EventSource::Spool { .. } | EventSource::Sqs { .. }) | None => None,
    }
}

/// The event sources that the pipeline reads.
pub(crate) fn sources(pipeline: &Pipeline) -> BTreeSet<&str> {
    let relations = pipeline.flows.iter().flat_map(|flow| &flow.query.relations);
    relations
        .filter_map(|relation| match &relation.source {
            RelationSource::Events { source, .. } => Some(source.as_str()),
            RelationSource::Files { .. } | RelationSource::Table(_) | RelationSource::TableStream { .. } => None,
        })
        .collect()
}

fn check(source: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let has_edges = [source.chars().next(), source.chars().last()]
        .into_iter()
        .all(|edge| edge.is_some_and(|edge| edge.is_ascii_alphanumeric()));
    if source == SWEEP {
        let message =
            format!("`{EVENTS}-{SWEEP}` is the function of a timer, so that the source `{source}` can have none");
        return Err(Failure::invalid(message, "give the source another name"));
    }
    if has_edges && source.len() <= MAX_NAME && source.chars().all(is_plain) {
        return Ok(());
    }
    Err(Failure::invalid(
        format!("no event hub can have the name of the source `{source}`"),
        format!("name it by at most {MAX_NAME} letters, digits, `-` and `_`, with a letter or a digit at both ends"),
    ))
}
