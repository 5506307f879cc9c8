//! What a table asks of its readers and writers.
//!
//! New tables get the lowest protocol that their columns need, so that every reader can open them. A
//! table of somebody else's may ask for what isn't done here: it is refused by name, before anything
//! is put, rather than written wrongly.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};
use deltalake::kernel::Protocol;
use deltalake::kernel::transaction::{PROTOCOL, TransactionError};
use headwater_core::graph::properties::{ENABLE_TYPE_WIDENING, FORGETS};
use serde_json::{Value, json};
use url::Url;

use crate::error::{LakeError, Result};
use crate::pin::Head;
use crate::widened_log::{TYPE_WIDENING, without_widening};

/// Readers and writers that know features by their names.
const BY_NAME: (u64, u64) = (3, 7);

/// Writers that know the change data feed.
const FEEDING: u64 = 4;

/// The property of a table that asks for a change data feed.
pub(crate) const CHANGE_DATA_FEED: &str = "delta.enableChangeDataFeed";

/// What every writer knows.
const BASIC: (u64, u64) = (1, 2);

/// Features that a table may ask of its writers: those that bind nobody who only adds or removes whole files, and those
/// whose rules [`check_writable`] asks for one by one.
const WRITTEN: [&str; 13] = [
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "columnMapping",
    "deletionVectors",
    "generatedColumns",
    "invariants",
    "timestampNtz",
    "typeWidening",
    "v2Checkpoint",
    "variantType",
    "variantType-preview",
];

/// A feature that columns or properties need.
struct Need {
    feature: &'static str,
    /// Its readers must know it, too.
    is_read: bool,
    /// The version of writers that stands for it, if there is one.
    since: Option<u64>,
}

/// The lowest protocol for a new table.
pub(crate) fn protocol_for(schema: &SchemaRef, configuration: &BTreeMap<String, String>) -> Result<Protocol> {
    let needs = needs(schema, configuration);
    if needs.iter().all(|need| need.since.is_some()) {
        let writer = needs.iter().filter_map(|need| need.since).max().unwrap_or(BASIC.1);
        return protocol(&json!({"minReaderVersion": BASIC.0, "minWriterVersion": writer}));
    }
    let mut writers: Vec<&str> = Vec::new();
    if is_true(configuration, "delta.appendOnly") {
        writers.push("appendOnly");
    }
    writers.extend(needs.iter().map(|need| need.feature));
    let readers: Vec<&str> = needs.iter().filter(|need| need.is_read).map(|need| need.feature).collect();
    protocol(&json!({"minReaderVersion": BY_NAME.0, "minWriterVersion": BY_NAME.1,
        "readerFeatures": readers, "writerFeatures": writers}))
}

/// The protocol that new columns and properties raise a table to; `None` if it has what they need.
pub(crate) fn raised(
    present: &Protocol,
    schema: &SchemaRef,
    configuration: &BTreeMap<String, String>,
) -> Result<Option<Protocol>> {
    let present = serde_json::to_value(present).map_err(|source| internal(&source))?;
    let version = |key: &str| present.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (reader, writer) = (version("minReaderVersion"), version("minWriterVersion"));
    let mut readers = named(&present, "readerFeatures");
    let mut writers = named(&present, "writerFeatures");
    if writer < BY_NAME.1 {
        writers.extend(implied(writer));
    }
    let mut needs = needs(schema, configuration);
    needs.retain(|need| writers.iter().all(|known| known != need.feature));
    if needs.is_empty() {
        return Ok(None);
    }
    if writer < BY_NAME.1 && needs.iter().all(|need| need.since.is_some()) {
        let wanted = needs.iter().filter_map(|need| need.since).fold(writer, u64::max);
        return protocol(&json!({"minReaderVersion": reader, "minWriterVersion": wanted})).map(Some);
    }
    writers.extend(needs.iter().map(|need| need.feature.to_owned()));
    let mut raised = json!({"minReaderVersion": reader, "minWriterVersion": BY_NAME.1, "writerFeatures": writers});
    if reader == BY_NAME.0 || needs.iter().any(|need| need.is_read) {
        readers.extend((reader == 2).then(|| "columnMapping".to_owned()));
        readers.extend(needs.iter().filter(|need| need.is_read).map(|need| need.feature.to_owned()));
        raised["minReaderVersion"] = json!(BY_NAME.0);
        raised["readerFeatures"] = json!(readers);
    }
    protocol(&raised).map(Some)
}

fn needs(schema: &SchemaRef, configuration: &BTreeMap<String, String>) -> Vec<Need> {
    let all = [
        (has_local_time(schema), Need { feature: "timestampNtz", is_read: true, since: None }),
        (is_true(configuration, ENABLE_TYPE_WIDENING), Need { feature: TYPE_WIDENING, is_read: true, since: None }),
        (
            is_true(configuration, CHANGE_DATA_FEED),
            Need { feature: "changeDataFeed", is_read: false, since: Some(FEEDING) },
        ),
    ];
    all.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, need)| need).collect()
}

/// Whether rows may be written as they are, without rules that only the table's writers would hold.
///
/// # Errors
/// `Invalid`, naming the rule or the feature.
pub(crate) fn check_writable(url: &Url, head: &Head) -> Result<()> {
    let known = without_widening(&head.protocol).map_err(|source| LakeError::delta(url, source))?;
    PROTOCOL.can_read_from_protocol(&known).map_err(|source| LakeError::delta(url, source.into()))?;
    let metadata = &head.metadata;
    let refused = |message: String, help| Err(LakeError::TableUnusable { table: url.to_string(), message, help });
    let unknown = unknown_features(&head.protocol)?;
    if !unknown.is_empty() {
        let help = "write it with the engine that made it, or with a newer Headwater";
        return refused(format!("it asks its writers for what this one doesn't know: {}", unknown.join(", ")), help);
    }
    let configuration = metadata.configuration();
    if let Some(name) = configuration.keys().find_map(|key| key.strip_prefix("delta.constraints.")) {
        let help = "drop the constraint, and declare it in the pipeline as an expectation";
        return refused(format!("its constraint `{name}` would not be checked by this writer"), help);
    }
    if configuration.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
        return refused(
            "its columns are mapped to other names in its files".into(),
            "rewrite it without column mapping",
        );
    }
    if configuration.contains_key(FORGETS) {
        let help = "unset the property: a flow couldn't tell what it has read, and would read it again";
        return refused(format!("it forgets the progress of its writers, by {FORGETS}"), help);
    }
    for field in head.columns.fields() {
        for rule in ["delta.invariants", "delta.generationExpression", "delta.identity.start"] {
            if field.metadata().contains_key(rule) {
                let help = "drop the rule, or write the table with the engine that made it";
                return refused(
                    format!("its column `{}` has {rule}, which this writer doesn't know", field.name()),
                    help,
                );
            }
        }
    }
    Ok(())
}

/// Whether rows may be removed, where an attempt does that.
///
/// # Errors
/// `Invalid` for a table that is declared as one whose rows are only added to.
pub(crate) fn check_removal(url: &Url, head: &Head) -> Result<()> {
    if head.is_append_only {
        return Err(LakeError::delta(url, TransactionError::DeltaTableAppendOnly.into()));
    }
    Ok(())
}

/// The features of a table that aren't known here, of those that it asks of its writers.
fn unknown_features(protocol: &Protocol) -> Result<Vec<String>> {
    let protocol = serde_json::to_value(protocol).map_err(|source| internal(&source))?;
    let version = protocol.get("minWriterVersion").and_then(Value::as_u64).unwrap_or_default();
    let mut asked = if version < BY_NAME.1 { implied(version) } else { named(&protocol, "writerFeatures") };
    asked.retain(|feature| !WRITTEN.contains(&feature.as_str()));
    Ok(asked)
}

/// Whether old log entries may be taken away as their age allows.
pub(crate) fn may_clean_log(head: &Head) -> bool {
    let protocol = serde_json::to_value(&head.protocol).unwrap_or_default();
    let wanted = head.metadata.configuration().get("delta.enableExpiredLogCleanup");
    wanted.is_none_or(|wanted| !wanted.eq_ignore_ascii_case("false"))
        && !named(&protocol, "writerFeatures").iter().any(|feature| feature == "checkpointProtection")
}

fn protocol(value: &Value) -> Result<Protocol> {
    serde_json::from_value(value.clone()).map_err(|source| internal(&source))
}

fn internal(source: &serde_json::Error) -> LakeError {
    LakeError::Internal { message: source.to_string() }
}

fn named(protocol: &Value, key: &str) -> Vec<String> {
    let features = protocol.get(key).and_then(Value::as_array).into_iter().flatten();
    features.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The features that a writer version stands for:
/// <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#valid-feature-names-in-table-features>.
fn implied(writer_version: u64) -> Vec<String> {
    let since = [
        (2, "appendOnly"),
        (2, "invariants"),
        (3, "checkConstraints"),
        (4, "changeDataFeed"),
        (4, "generatedColumns"),
        (5, "columnMapping"),
        (6, "identityColumns"),
    ];
    since.into_iter().filter(|(version, _)| *version <= writer_version).map(|(_, name)| name.to_owned()).collect()
}

fn is_true(configuration: &BTreeMap<String, String>, key: &str) -> bool {
    configuration.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a column, however deep, is a timestamp without a time zone.
fn has_local_time(schema: &SchemaRef) -> bool {
    schema.fields().iter().any(|field| is_local_time(field.data_type()))
}

fn is_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => zone.is_none(),
        DataType::Struct(fields) => fields.iter().any(|field| is_local_time(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            is_local_time(field.data_type())
        }
        _ => false,
    }
}
