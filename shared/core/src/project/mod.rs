//! The project file: from YAML to validated settings.
//!
//! A project is a folder with a `pipeline.yml` (or Spark's `spark-pipeline.yml`, which has the same
//! keys) and `.sql` files. Text comes in, a [`Project`] or every finding at once goes out; which
//! files exist is the caller's knowledge, see [`Project::select`].
//!
//! ```yaml
//! name: airlines                      # required
//! storage: lake                       # required: a URL, or a path relative to this file
//! catalog: main                       # optional: the one catalog that SQL may name
//! schema: flights                     # optional (or `database`): the default schema
//! configuration: {start: "2013-01-01"} # `${start}` and `:start` in SQL
//! libraries:                          # optional: all `.sql` files if left out
//!   - glob: {include: transformations/**}
//! sources:                            # what each read_events('name') is bound to
//!   flights: {spool: events/flights, visibility_timeout: 30s, max_receive_count: 5}
//! roots:                              # what paths in SQL stand for
//!   /Volumes/main/raw: data           # read_files('/Volumes/main/raw/x') reads data/x
//!   landing: s3://bucket/landing      # read_files('landing:/x') reads s3://bucket/landing/x
//! tables: {delta.appendOnly: "true"}  # TBLPROPERTIES of every table
//! target_file_size: 128MB             # and the other settings of `model::Settings`
//! ```

mod fields;
mod overrides;
mod sections;
mod select;
mod units;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::fields::{Entry, Findings};
use self::yaml::{Node, Value};
use crate::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use crate::model::{EventSource, Settings};

pub use self::overrides::variable_name;
pub use self::select::SelectedFiles;

/// The names of a project file, in the order in which they are looked for.
pub const FILE_NAMES: [&str; 4] = ["pipeline.yml", "pipeline.yaml", "spark-pipeline.yml", "spark-pipeline.yaml"];

const KEYS: [&str; 17] = [
    "name",
    "storage",
    "catalog",
    "schema",
    "database",
    "configuration",
    "libraries",
    "sources",
    "roots",
    "tables",
    "target_file_size",
    "max_batch_bytes",
    "max_batch_messages",
    "max_record_bytes",
    "max_decompression_ratio",
    "compact_min_files",
    "memory_limit",
];

/// A validated project file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The file that it was read from.
    pub file: Arc<SourceFile>,
    /// `name`; part of each flow's identity.
    pub name: String,
    /// `storage`: root of the lake, an absolute URL or a path relative to the project's folder.
    pub storage: String,
    /// `catalog`, in lower case: the one catalog that three-part names may bear.
    pub catalog: Option<String>,
    /// `schema` (or `database`), in lower case: names qualified by it are of the default schema.
    pub schema: Option<String>,
    /// `configuration`: values of `${key}` and `:key` in SQL.
    pub configuration: BTreeMap<String, String>,
    /// `libraries`: which files belong to the project.
    pub libraries: Vec<Library>,
    /// `sources`: what each `read_events` name is bound to.
    pub sources: BTreeMap<String, EventSource>,
    /// `roots`: prefixes of paths in SQL, such as `/Volumes/main/raw`, and what they stand for.
    pub roots: BTreeMap<String, String>,
    /// `tables`: `TBLPROPERTIES` that every table starts from.
    pub tables: BTreeMap<String, String>,
    /// Sizes and limits.
    pub settings: Settings,
}

/// One entry of `libraries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// A pattern on paths relative to the project's folder, with `/` between parts.
    pub include: String,
    /// Where it stands.
    pub span: Span,
}

/// What the project file holds: a project, unless a finding is an error.
#[derive(Debug, Clone)]
pub struct ParsedProject {
    /// The project; `None` when any finding is an error.
    pub project: Option<Project>,
    /// All findings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a project file.
///
/// `environment` overrides what the file says; other keys are ignored, so that the whole
/// environment may be given:
/// - `HEADWATER_STORAGE`: `storage`;
/// - `HEADWATER_SOURCES_<NAME>`: what a source of the file is bound to: a folder, `sqs://…` or `eventhubs://…`;
/// - `HEADWATER_ROOTS_<NAME>`: the target of a root of the file;
/// - `HEADWATER_CONFIGURATION_<NAME>`: a value of `configuration`.
///
/// `<NAME>` is the name in capitals, each run of other characters than letters and digits as one `_`:
/// `/Volumes/main/raw` is `HEADWATER_ROOTS_VOLUMES_MAIN_RAW`.
#[must_use]
pub fn parse(file: &Arc<SourceFile>, environment: &BTreeMap<String, String>) -> ParsedProject {
    let mut findings = Findings::new(file);
    let project = match yaml::read(&file.text) {
        Ok(node) => Some(read(&node, file, environment, &mut findings)),
        Err(failure) => {
            let finding = Diagnostic::error("PIPELINE_SPEC_INVALID_YAML", failure.message)
                .help("the project file is YAML: indent with spaces, put `: ` between key and value");
            findings.add(finding, &failure.range);
            None
        }
    };
    let mut diagnostics = findings.diagnostics;
    diagnostics.sort_by_key(|finding| finding.span.as_ref().map_or(0, |span| span.range.start));
    let sound = diagnostics.iter().all(|finding| finding.severity != Severity::Error);
    ParsedProject { project: project.filter(|_| sound), diagnostics }
}

fn read(
    node: &Node,
    file: &Arc<SourceFile>,
    environment: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Project {
    let mut project = empty(file);
    let entries = findings.fields("the project file", node, &KEYS);
    for entry in &entries {
        read_entry(&mut project, entry, findings);
    }
    if let Some(database) = both_schemas(&entries) {
        let finding = Diagnostic::error("PIPELINE_SPEC_UNEXPECTED_FIELD", "`database` and `schema` mean the same")
            .help("keep `schema`");
        findings.add(finding, &database.key.range);
    }
    overrides::apply(&mut project, environment, findings);
    if let Some(storage) = entries.iter().find(|entry| entry.name == "storage") {
        sections::check_storage(&project.storage, storage.value, findings);
    }
    check_required(&project, &entries, node, findings);
    project
}

fn empty(file: &Arc<SourceFile>) -> Project {
    Project {
        file: Arc::clone(file),
        name: String::new(),
        storage: String::new(),
        catalog: None,
        schema: None,
        configuration: BTreeMap::new(),
        libraries: Vec::new(),
        sources: BTreeMap::new(),
        roots: BTreeMap::new(),
        tables: BTreeMap::new(),
        settings: Settings::default(),
    }
}

fn read_entry(project: &mut Project, entry: &Entry<'_>, findings: &mut Findings) {
    match entry.name {
        "name" => project.name = sections::name(entry.value, findings),
        "storage" => project.storage = findings.text("storage", entry.value).unwrap_or_default(),
        "catalog" => project.catalog = sections::identifier("catalog", entry.value, findings),
        "schema" | "database" => project.schema = sections::identifier(entry.name, entry.value, findings),
        "configuration" => project.configuration = sections::configuration(entry.value, findings),
        "libraries" => project.libraries = sections::libraries(entry.value, findings),
        "sources" => project.sources = sections::sources(entry.value, findings),
        "roots" => project.roots = sections::roots(entry.value, findings),
        "tables" => project.tables = sections::tables(entry.value, findings),
        setting => sections::setting(&mut project.settings, setting, entry.value, findings),
    }
}

fn both_schemas<'a, 'n>(entries: &'a [Entry<'n>]) -> Option<&'a Entry<'n>> {
    let has_schema = entries.iter().any(|entry| entry.name == "schema");
    entries.iter().find(|entry| entry.name == "database").filter(|_| has_schema)
}

fn check_required(project: &Project, entries: &[Entry<'_>], node: &Node, findings: &mut Findings) {
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        return;
    }
    let given = |key: &str| entries.iter().any(|entry| entry.name == key);
    if project.name.is_empty() && !given("name") {
        missing("name", "name: my_pipeline", node, findings);
    }
    if project.storage.is_empty() && !given("storage") {
        missing("storage", "storage: lake", node, findings);
    }
}

fn missing(key: &str, example: &str, node: &Node, findings: &mut Findings) {
    let finding = Diagnostic::error("PIPELINE_SPEC_MISSING_REQUIRED_FIELD", format!("the project file has no `{key}`"))
        .help(format!("add `{example}`"));
    let start = node.range.start;
    findings.add(finding, &(start..start));
}

#[cfg(test)]
mod tests;
