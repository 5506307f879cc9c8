//! The sections of a project file, one function each.

use std::collections::BTreeMap;

use globset::GlobBuilder;

use super::Library;
use super::fields::{Entry, Findings};
use super::overrides::variable_name;
use super::yaml::{Node, Value};
use crate::aws::sqs::{AddressError, QueueAddress};
use crate::diagnostic::Diagnostic;
use crate::graph::properties;
use crate::hub::{HubAddress, HubAddressError};
use crate::model::{EventSource, Settings};

pub(super) const INVALID: &str = "PIPELINE_SPEC_INVALID_VALUE";

/// The pipeline's name: a part of `txn` ids, so it holds no `/` and no control character.
pub(super) fn name(node: &Node, findings: &mut Findings) -> String {
    let name = findings.text("name", node).unwrap_or_default();
    if name.len() > 200 || name.contains(|letter: char| letter == '/' || letter.is_control()) {
        let finding = Diagnostic::error(INVALID, "`name` holds `/` or a control character, or is too long")
            .help("use letters, digits, `_` and `-`");
        findings.add(finding, &node.range);
    }
    name
}

/// A single-part name in lower case.
pub(super) fn identifier(key: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let text = findings.text(key, node)?;
    if text.contains(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '-')) {
        let finding = Diagnostic::error(INVALID, format!("`{key}` must be one plain name, not `{text}`"))
            .help("use letters, digits, `_` and `-`");
        findings.add(finding, &node.range);
        return None;
    }
    Some(text.to_lowercase())
}

/// The root of the lake must be somewhere that Headwater can write to.
pub(super) fn check_storage(storage: &str, node: &Node, findings: &mut Findings) {
    let foreign =
        ["dbfs:", "/Volumes/", "hdfs:", "wasb:", "wasbs:"].iter().find(|prefix| storage.starts_with(**prefix));
    if let Some(prefix) = foreign {
        let finding =
            Diagnostic::error("PIPELINE_STORAGE_ROOT_INVALID", format!("`storage` can't be below `{prefix}`"))
                .help("use a path, `file:///…`, `s3://bucket/…` or `abfss://container@account.dfs.core.windows.net/…`");
        findings.add(finding, &node.range);
    }
}

/// `configuration`, with a warning for Spark's own settings, which only serve as `${…}` here.
pub(super) fn configuration(node: &Node, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut configuration = BTreeMap::new();
    for (entry, text) in findings.texts("`configuration`", node) {
        if let Some(finding) = properties::check_configuration(entry.name) {
            findings.add(finding, &entry.key.range);
        }
        configuration.insert(entry.name.to_owned(), text.to_owned());
    }
    configuration
}

/// `libraries: - glob: {include: pattern}`.
pub(super) fn libraries(node: &Node, findings: &mut Findings) -> Vec<Library> {
    let Value::List(items) = &node.value else {
        let finding = Diagnostic::error(INVALID, format!("`libraries` must be a list, not {}", node.value.word()))
            .help("write `libraries:` and below it `- glob: {include: transformations/**}`");
        findings.add(finding, &node.range);
        return Vec::new();
    };
    items.iter().filter_map(|item| library(item, findings)).collect()
}

fn library(item: &Node, findings: &mut Findings) -> Option<Library> {
    let fields = findings.fields("`libraries`", item, &["glob"]);
    let glob = required(&fields, "glob", item, findings)?;
    let fields = findings.fields("`glob`", glob.value, &["include"]);
    let include = required(&fields, "include", glob.value, findings)?;
    let pattern = findings.text("include", include.value)?;
    if let Err(reason) = check_pattern(&pattern) {
        let finding = Diagnostic::error("PIPELINE_SPEC_INVALID_GLOB_PATTERN", format!("`{pattern}` {reason}"))
            .help("use a path or pattern below the project's folder, such as `transformations/**`");
        findings.add(finding, &include.value.range);
        return None;
    }
    Some(Library { include: pattern, span: findings.span(&include.value.range) })
}

fn required<'n>(fields: &[Entry<'n>], key: &str, node: &Node, findings: &mut Findings) -> Option<Entry<'n>> {
    let found = fields.iter().find(|field| field.name == key).copied();
    if found.is_none() && matches!(node.value, Value::Map(_) | Value::Null) {
        let finding = Diagnostic::error("PIPELINE_SPEC_MISSING_REQUIRED_FIELD", format!("`{key}` is missing"))
            .help("write `- glob: {include: transformations/**}`");
        findings.add(finding, &node.range);
    }
    found
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.starts_with('/') || pattern.contains(':') || pattern.split('/').any(|part| part == "..") {
        return Err("leaves the project's folder".to_owned());
    }
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|_| ())
        .map_err(|error| format!("is no pattern: {}", error.kind()))
}

/// `sources: name: {spool: folder, …}`.
pub(super) fn sources(node: &Node, findings: &mut Findings) -> BTreeMap<String, EventSource> {
    let entries = findings.entries("`sources`", node);
    check_variables("source", &entries, findings);
    let mut sources = BTreeMap::new();
    for entry in &entries {
        if let Some(source) = source(entry, findings) {
            sources.insert(entry.name.to_owned(), source);
        }
    }
    sources
}

fn source(entry: &Entry<'_>, findings: &mut Findings) -> Option<EventSource> {
    let section = format!("source `{}`", entry.name);
    if matches!(entry.value.value, Value::Scalar(_) | Value::Null) {
        let finding =
            Diagnostic::error("PIPELINE_SPEC_FIELD_NOT_DICT", format!("{section} says not what it is bound to"))
                .help(format!("write `{}: {{spool: events/{}}}`", entry.name, entry.name));
        findings.add(finding, &entry.key.range);
        return None;
    }
    let names = ["spool", "sqs", "eventhubs", "visibility_timeout", "max_receive_count"];
    let fields = findings.fields(&section, entry.value, &names);
    let field = |name: &str| fields.iter().find(|field| field.name == name);
    match (field("spool"), field("sqs"), field("eventhubs")) {
        (Some(path), None, None) => spool(findings.text("spool", path.value)?, &fields, findings),
        (None, Some(address), None) => sqs(address, &fields, findings),
        (None, None, Some(address)) => hub(address, &fields, findings),
        (None, None, None) => {
            let help = format!(
                "add `spool: events/{}`, the folder of the embedded queue, `sqs: sqs://<queue>` or `eventhubs: eventhubs://<namespace>/<hub>`",
                entry.name
            );
            let code = "PIPELINE_SPEC_MISSING_REQUIRED_FIELD";
            let finding = Diagnostic::error(code, format!("{section} is bound to nothing")).help(help);
            findings.add(finding, &entry.key.range);
            None
        }
        _ => {
            let finding = Diagnostic::error(INVALID, format!("{section} is bound twice"));
            findings.add(finding.help("leave one of `spool`, `sqs` and `eventhubs`"), &entry.key.range);
            None
        }
    }
}

/// A hub keeps its events for as long as it is told, and nothing else is up to its reader.
fn hub(address: &Entry<'_>, fields: &[Entry<'_>], findings: &mut Findings) -> Option<EventSource> {
    for field in fields.iter().filter(|field| matches!(field.name, "visibility_timeout" | "max_receive_count")) {
        let finding = Diagnostic::error(INVALID, format!("`{}` is for a queue, and a hub is none", field.name));
        findings.add(
            finding.help("leave it out: a hub's events are read again until they are committed"),
            &field.key.range,
        );
    }
    match HubAddress::parse(&findings.text("eventhubs", address.value)?) {
        Ok(hub) => Some(EventSource::EventHubs { hub }),
        Err(error) => {
            let finding = Diagnostic::error(INVALID, error.to_string()).help(HubAddressError::HELP);
            findings.add(finding, &address.value.range);
            None
        }
    }
}

fn spool(path: String, fields: &[Entry<'_>], findings: &mut Findings) -> Option<EventSource> {
    let mut source = EventSource::spool(path);
    let EventSource::Spool { visibility_timeout, max_receive_count, .. } = &mut source else { return None };
    for field in fields {
        match field.name {
            "visibility_timeout" => replace(visibility_timeout, findings.duration(field.name, field.value)),
            "max_receive_count" => replace(max_receive_count, findings.count(field.name, field.value)),
            _ => {}
        }
    }
    Some(source)
}

fn sqs(address: &Entry<'_>, fields: &[Entry<'_>], findings: &mut Findings) -> Option<EventSource> {
    let queue = match QueueAddress::parse(&findings.text("sqs", address.value)?) {
        Ok(queue) => queue,
        Err(error) => {
            findings.add(Diagnostic::error(INVALID, error.to_string()).help(AddressError::HELP), &address.value.range);
            return None;
        }
    };
    let mut source = EventSource::sqs(queue);
    let EventSource::Sqs { visibility_timeout, .. } = &mut source else { return None };
    for field in fields {
        match field.name {
            "visibility_timeout" => replace(visibility_timeout, findings.duration(field.name, field.value)),
            "max_receive_count" => {
                let finding = Diagnostic::error(INVALID, "`max_receive_count` is for the embedded queue")
                    .help("say it in the redrive policy of the SQS queue (`maxReceiveCount`), and leave it out here");
                findings.add(finding, &field.key.range);
            }
            _ => {}
        }
    }
    Some(source)
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Names whose environment variables would be the same can't be overridden one by one.
fn check_variables(what: &str, entries: &[Entry<'_>], findings: &mut Findings) {
    for (at, entry) in entries.iter().enumerate() {
        let same = entries[..at].iter().find(|other| variable_name(other.name) == variable_name(entry.name));
        if let Some(same) = same {
            let message = format!("{what} `{}` and `{}` have the same environment variable", entry.name, same.name);
            findings.add(Diagnostic::error(INVALID, message).help("rename one of them"), &entry.key.range);
        }
    }
}

/// `roots: prefix: folder or URL`.
pub(super) fn roots(node: &Node, findings: &mut Findings) -> BTreeMap<String, String> {
    let texts = findings.texts("`roots`", node);
    let entries: Vec<Entry<'_>> = texts.iter().map(|(entry, _)| *entry).collect();
    check_variables("root", &entries, findings);
    texts.into_iter().map(|(entry, text)| (entry.name.trim_end_matches('/').to_owned(), text.to_owned())).collect()
}

/// `tables: property: value`.
pub(super) fn tables(node: &Node, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut tables = BTreeMap::new();
    for (entry, text) in findings.texts("`tables`", node) {
        if let Some(finding) = properties::check(entry.name, text) {
            findings.add(finding, &entry.key.range);
        }
        tables.insert(entry.name.to_owned(), text.to_owned());
    }
    tables
}

/// One of the settings.
pub(super) fn setting(settings: &mut Settings, key: &str, node: &Node, findings: &mut Findings) {
    let size = |findings: &mut Findings, current: u64| findings.bytes(key, node).unwrap_or(current);
    match key {
        "target_file_size" => settings.target_file_size = size(findings, settings.target_file_size),
        "max_batch_bytes" => settings.max_batch_bytes = size(findings, settings.max_batch_bytes),
        "max_record_bytes" => settings.max_record_bytes = size(findings, settings.max_record_bytes),
        "memory_limit" => settings.memory_limit = size(findings, settings.memory_limit),
        "max_decompression_ratio" => {
            settings.max_decompression_ratio =
                findings.count(key, node).map_or(settings.max_decompression_ratio, u64::from);
        }
        "max_batch_messages" => {
            settings.max_batch_messages =
                findings.count(key, node).map_or(settings.max_batch_messages, |count| count as usize);
        }
        _ => {
            settings.compact_min_files =
                findings.count(key, node).map_or(settings.compact_min_files, |count| count as usize);
        }
    }
}
