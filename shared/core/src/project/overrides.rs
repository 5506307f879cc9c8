//! What environment variables change in a project.

use std::collections::BTreeMap;

use super::Project;
use super::fields::Findings;
use super::sections::INVALID;
use crate::aws::sqs::{AddressError, QueueAddress};
use crate::diagnostic::Diagnostic;
use crate::hub::{HubAddress, HubAddressError};
use crate::model::EventSource;
use crate::nearest::did_you_mean;

const SOURCES: &str = "HEADWATER_SOURCES_";
const ROOTS: &str = "HEADWATER_ROOTS_";
const CONFIGURATION: &str = "HEADWATER_CONFIGURATION_";

/// Applies all overrides; a finding for each that overrides nothing.
pub(super) fn apply(project: &mut Project, environment: &BTreeMap<String, String>, findings: &mut Findings) {
    if let Some(storage) = environment.get("HEADWATER_STORAGE").filter(|value| !value.trim().is_empty()) {
        project.storage.clone_from(storage);
    }
    for (key, value) in environment.iter().filter(|(_, value)| !value.trim().is_empty()) {
        if let Some(name) = key.strip_prefix(SOURCES) {
            if let Some(source) = entry(&mut project.sources, name, key, findings) {
                rebind(source, value, key, findings);
            }
        } else if let Some(name) = key.strip_prefix(ROOTS) {
            replace(&mut project.roots, (name, value), key, findings);
        } else if let Some(name) = key.strip_prefix(CONFIGURATION) {
            replace(&mut project.configuration, (name, value), key, findings);
        }
    }
}

/// Binds a source to a queue of SQS, to a hub, or to another folder.
fn rebind(source: &mut EventSource, value: &str, variable: &str, findings: &mut Findings) {
    if HubAddress::is_meant(value) {
        match HubAddress::parse(value) {
            Ok(hub) => *source = EventSource::EventHubs { hub },
            Err(error) => {
                let finding = Diagnostic::error(INVALID, format!("{variable}: {error}")).help(HubAddressError::HELP);
                findings.add(finding, &(0..0));
            }
        }
        return;
    }
    if QueueAddress::is_meant(value) {
        match QueueAddress::parse(value) {
            Ok(queue) => match source {
                EventSource::Sqs { queue: bound, .. } => *bound = queue,
                EventSource::Spool { .. } | EventSource::EventHubs { .. } => *source = EventSource::sqs(queue),
            },
            Err(error) => {
                let finding = Diagnostic::error(INVALID, format!("{variable}: {error}")).help(AddressError::HELP);
                findings.add(finding, &(0..0));
            }
        }
        return;
    }
    match source {
        EventSource::Spool { path, .. } => value.clone_into(path),
        EventSource::Sqs { .. } | EventSource::EventHubs { .. } => *source = EventSource::spool(value.to_owned()),
    }
}

fn replace(map: &mut BTreeMap<String, String>, (name, value): (&str, &str), variable: &str, findings: &mut Findings) {
    if let Some(current) = entry(map, name, variable, findings) {
        value.clone_into(current);
    }
}

fn entry<'m, V>(
    map: &'m mut BTreeMap<String, V>,
    name: &str,
    variable: &str,
    findings: &mut Findings,
) -> Option<&'m mut V> {
    let Some(key) = map.keys().find(|key| variable_name(key) == name).cloned() else {
        let known: Vec<String> = map.keys().map(|key| variable_name(key)).collect();
        let message = format!("the environment variable `{variable}` overrides nothing in the project file");
        let help = did_you_mean(name, known.iter().map(String::as_str));
        findings.add(Diagnostic::warning("UNUSED_OVERRIDE", message).help(help), &(0..0));
        return None;
    };
    map.get_mut(&key)
}

/// A name as the end of an environment variable: capitals, other characters as single `_`.
#[must_use]
pub fn variable_name(name: &str) -> String {
    name.split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_uppercase)
        .collect::<Vec<_>>()
        .join("_")
}
