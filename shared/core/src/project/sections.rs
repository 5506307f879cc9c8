//! The sections of a project file, one function each.

use std::collections::BTreeMap;
use std::time::Duration;

use globset::GlobBuilder;

use super::Library;
use super::fields::{Entry, Findings};
use super::overrides::variable_name;
use super::yaml::{Node, Value};
use crate::diagnostic::Diagnostic;
use crate::graph::properties;
use crate::model::{EventSource, Settings};

const INVALID: &str = "PIPELINE_SPEC_INVALID_VALUE";

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
    let fields = findings.fields(&section, entry.value, &["spool", "visibility_timeout", "max_receive_count"]);
    let (mut spool, mut visibility_timeout, mut max_receive_count) = (None, Duration::from_secs(30), 5);
    for field in &fields {
        match field.name {
            "spool" => spool = findings.text("spool", field.value),
            "visibility_timeout" => {
                visibility_timeout = findings.duration("visibility_timeout", field.value).unwrap_or(visibility_timeout);
            }
            _ => max_receive_count = findings.count("max_receive_count", field.value).unwrap_or(max_receive_count),
        }
    }
    if !fields.iter().any(|field| field.name == "spool") {
        let finding =
            Diagnostic::error("PIPELINE_SPEC_MISSING_REQUIRED_FIELD", format!("{section} is bound to nothing"))
                .help(format!("add `spool: events/{}`, the folder of the embedded queue", entry.name));
        findings.add(finding, &entry.key.range);
    }
    Some(EventSource::Spool { path: spool?, visibility_timeout, max_receive_count })
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
