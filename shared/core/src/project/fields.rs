//! Typed reading of a YAML tree that collects every finding instead of stopping at the first.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::units;
use super::yaml::{Node, Value};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::nearest::did_you_mean;

/// What was found so far in one file.
pub(super) struct Findings {
    file: Arc<SourceFile>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn new(file: &Arc<SourceFile>) -> Self {
        Self { file: Arc::clone(file), diagnostics: Vec::new() }
    }

    /// A place in the file.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        Span { file: Arc::clone(&self.file), range: range.clone() }
    }

    pub(super) fn add(&mut self, finding: Diagnostic, range: &Range<usize>) {
        let finding = finding.at(self.span(range));
        self.diagnostics.push(finding);
    }

    fn invalid(&mut self, node: &Node, message: String, help: &str) {
        self.add(Diagnostic::error("PIPELINE_SPEC_INVALID_VALUE", message).help(help), &node.range);
    }

    /// A plain value as text; a finding for anything else.
    pub(super) fn text(&mut self, name: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar(text) if !text.trim().is_empty() => Some(text.clone()),
            value => {
                let found = if matches!(value, Value::Scalar(_)) { "an empty text" } else { value.word() };
                self.invalid(node, format!("`{name}` must be a text, not {found}"), &format!("write `{name}: value`"));
                None
            }
        }
    }

    /// A positive number of bytes.
    pub(super) fn bytes(&mut self, name: &str, node: &Node) -> Option<u64> {
        let bytes = self.scalar(node).and_then(units::bytes).filter(|bytes| *bytes > 0);
        if bytes.is_none() {
            self.invalid(
                node,
                format!("`{name}` must be a size"),
                "write a number of bytes, or one with a unit, such as `128MB` or `16MiB`",
            );
        }
        bytes
    }

    /// A positive time.
    pub(super) fn duration(&mut self, name: &str, node: &Node) -> Option<Duration> {
        let time = self.scalar(node).and_then(units::duration).filter(|time| !time.is_zero());
        if time.is_none() {
            self.invalid(
                node,
                format!("`{name}` must be a time"),
                "write a number with a unit, such as `500ms`, `30s`, `5m` or `1h`",
            );
        }
        time
    }

    /// A positive whole number.
    pub(super) fn count(&mut self, name: &str, node: &Node) -> Option<u32> {
        let count = self.scalar(node).and_then(|text| text.replace('_', "").parse().ok()).filter(|count| *count > 0);
        if count.is_none() {
            self.invalid(node, format!("`{name}` must be a whole number above zero"), &format!("write `{name}: 10`"));
        }
        count
    }

    fn scalar<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a mapping, each key once; findings for anything that is no mapping, keys that
    /// aren't texts, and keys that come twice. Nothing (`key:`) is an empty mapping.
    pub(super) fn entries<'n>(&mut self, name: &str, node: &'n Node) -> Vec<Entry<'n>> {
        let mut entries: Vec<Entry<'n>> = Vec::new();
        let pairs = match &node.value {
            Value::Map(pairs) => pairs,
            Value::Null => return entries,
            value @ (Value::Scalar(_) | Value::List(_)) => {
                let message = format!("{name} must be a mapping, not {}", value.word());
                self.add(
                    Diagnostic::error("PIPELINE_SPEC_FIELD_NOT_DICT", message)
                        .help("write `key: value` lines below it"),
                    &node.range,
                );
                return entries;
            }
        };
        for (key, value) in pairs {
            let Value::Scalar(text) = &key.value else {
                let message = format!("a key of {name} must be a text, not {}", key.value.word());
                self.add(Diagnostic::error("PIPELINE_SPEC_DICT_KEY_NOT_STRING", message), &key.range);
                continue;
            };
            if entries.iter().any(|entry| entry.name == text) {
                let message = format!("`{text}` is given twice");
                self.add(
                    Diagnostic::error("PIPELINE_SPEC_DUPLICATE_FIELD", message).help("keep one of them"),
                    &key.range,
                );
                continue;
            }
            entries.push(Entry { name: text, key, value });
        }
        entries
    }

    /// The entries of a mapping whose keys are all known.
    pub(super) fn fields<'n>(&mut self, name: &str, node: &'n Node, known: &[&'static str]) -> Vec<Entry<'n>> {
        let mut entries = self.entries(name, node);
        entries.retain(|entry| {
            let is_known = known.contains(&entry.name);
            if !is_known {
                let message = format!("unknown key `{}` in {name}", entry.name);
                let help = foreign_key(entry.name)
                    .map_or_else(|| did_you_mean(entry.name, known.iter().copied()), str::to_owned);
                self.add(Diagnostic::error("PIPELINE_SPEC_UNEXPECTED_FIELD", message).help(help), &entry.key.range);
            }
            is_known
        });
        entries
    }

    /// A mapping of texts to texts; numbers and booleans count as what is written.
    pub(super) fn texts<'n>(&mut self, name: &str, node: &'n Node) -> Vec<(Entry<'n>, &'n str)> {
        let mut texts = Vec::new();
        for entry in self.entries(name, node) {
            match &entry.value.value {
                Value::Scalar(text) => texts.push((entry, text.as_str())),
                value @ (Value::Null | Value::List(_) | Value::Map(_)) => {
                    let message = format!("`{}` in {name} must be a text, not {}", entry.name, value.word());
                    self.add(
                        Diagnostic::error("PIPELINE_SPEC_DICT_VALUE_NOT_STRING", message)
                            .help(format!("write `{}: \"value\"`", entry.name)),
                        &entry.value.range,
                    );
                }
            }
        }
        texts
    }
}

/// One line of a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'n> {
    pub(super) name: &'n str,
    pub(super) key: &'n Node,
    pub(super) value: &'n Node,
}

/// What to do about a key of another product's project file.
fn foreign_key(name: &str) -> Option<&'static str> {
    match name {
        "target" => Some("name the default schema with `schema`"),
        "clusters" | "serverless" | "photon" | "edition" | "channel" | "node_type_id" | "development" => {
            Some("remove it: there is no cluster to set up")
        }
        "continuous" | "trigger" => Some("remove it: use `headwater run --watch`"),
        "notebook" | "file" | "jar" | "whl" | "maven" => Some("list SQL files with `glob: {include: …}`"),
        _ => None,
    }
}
