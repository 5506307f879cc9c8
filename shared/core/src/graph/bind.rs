//! From statements to a draft: names are resolved where they stand, properties and paths by the
//! project file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::properties::{self, DEDUP_KEYS, Z_ORDER};
use super::{paths, scope::Scope, snapshot};
use crate::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use crate::model::{Dataset, DatasetKind, Dedup, Flow, FlowKind, Query, Relation, RelationSource};
use crate::name::{DatasetName, FlowName};
use crate::project::Project;
use crate::sql::{CreateDataset, CreateFlow, Name, ParsedQuery, ParsedRelation, ParsedSource, Statement, parse_file};

/// Parses all files; `SET` and `USE` count from where they stand to the end of their file.
pub(super) fn bind(project: &Project, files: &[Arc<SourceFile>]) -> Draft {
    let mut binder = Binder { project, scope: Scope::new(project), draft: Draft::default() };
    for file in files {
        binder.scope = Scope::new(project);
        let parsed = parse_file(file, &project.configuration);
        if parsed.diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
            binder.draft.maybe_defined.extend(words_after(&file.text, &["table", "view"]));
            binder.draft.maybe_filled.extend(words_after(&file.text, &["into"]));
        }
        binder.draft.findings.extend(parsed.diagnostics);
        for statement in parsed.statements {
            binder.statement(statement);
        }
    }
    binder.draft
}

struct Binder<'a> {
    project: &'a Project,
    scope: Scope,
    draft: Draft,
}

impl Binder<'_> {
    fn statement(&mut self, statement: Statement) {
        match statement {
            Statement::CreateDataset(dataset) => self.dataset(*dataset),
            Statement::CreateFlow(flow) => self.flow(*flow),
            Statement::Set { key, span, .. } => {
                let finding = properties::check_configuration(&key);
                self.draft.findings.extend(finding.map(|finding| finding.at(span)));
            }
            Statement::Use { schema: Some(schema), .. } => self.scope.use_schema(&schema),
            Statement::Use { schema: None, .. } => {}
        }
    }

    fn dataset(&mut self, mut written: CreateDataset) {
        let Some(name) = self.name(&written.name) else { return };
        let properties = self.properties(&written.properties, written.kind);
        if let (Some(changes), Some(query)) = (&written.changes, &mut written.query)
            && let Some(landed) = snapshot::landing(changes, &written.name, query)
        {
            self.dataset(landed);
        }
        let query = written.query.map(|query| self.query(query));
        if let Some(columns) = properties.get(Z_ORDER).filter(|_| written.clustered_by.is_empty()) {
            written.clustered_by = properties::columns(columns);
        }
        let mut dataset = Dataset {
            dedup: properties.get(DEDUP_KEYS).map(|keys| Dedup::Keys(properties::columns(keys))),
            name: name.clone(),
            kind: written.kind,
            layer: None,
            columns: written.columns,
            expectations: written.expectations,
            partitioned_by: written.partitioned_by,
            clustered_by: written.clustered_by,
            comment: written.comment,
            properties,
            view: None,
            span: written.name.span.clone(),
        };
        if !written.kind.has_table() {
            dataset.view = query;
        } else if let Some(query) = query {
            let kind = match written.kind {
                DatasetKind::MaterializedView => FlowKind::Materialize,
                _ if written.once => FlowKind::Once,
                _ => FlowKind::Append,
            };
            let flow = FlowName::new(&name.to_string());
            let changes = written.changes.map(|changes| *changes);
            self.draft.flows.push(Flow { name: flow, target: name, kind, query, changes, span: written.name.span });
        }
        self.draft.datasets.push(dataset);
    }

    fn flow(&mut self, mut written: CreateFlow) {
        if let Some(changes) = &written.changes
            && let Some(landed) = snapshot::landing(changes, &written.name, &mut written.query)
        {
            self.dataset(landed);
        }
        let target = self.name(&written.target);
        let query = self.query(written.query);
        let [name] = written.name.parts.as_slice() else {
            let message = format!("a flow's name has one part, not `{}`", written.name.parts.join("."));
            let finding = Diagnostic::error("INVALID_FLOW_NAME", message).at(written.name.span);
            self.draft.findings.push(finding.help("leave the schema out"));
            return;
        };
        let kind = if written.once { FlowKind::Once } else { FlowKind::Append };
        let name = FlowName::new(name);
        let changes = written.changes.map(|changes| *changes);
        let flow = |target| Flow { name, target, kind, query, changes, span: written.name.span };
        self.draft.flows.extend(target.map(flow));
    }

    /// The dataset that a name stands for here.
    fn name(&mut self, name: &Name) -> Option<DatasetName> {
        let parts: Vec<&str> = name.parts.iter().map(String::as_str).collect();
        let resolved = self.scope.resolve(&parts);
        resolved.map_err(|finding| self.draft.findings.push(finding.at(name.span.clone()))).ok()
    }

    /// A table's properties over the project's defaults; views have only their own.
    fn properties(&mut self, written: &[(String, String, Span)], kind: DatasetKind) -> BTreeMap<String, String> {
        let mut own: BTreeMap<String, String> = BTreeMap::new();
        for (key, value, span) in written {
            let finding = properties::check(key, value);
            self.draft.findings.extend(finding.map(|finding| finding.at(span.clone())));
            if own.insert(key.clone(), value.clone()).is_some() {
                let finding = Diagnostic::error("DUPLICATE_KEY", format!("property `{key}` is given twice"));
                self.draft.findings.push(finding.at(span.clone()).help("keep one of them"));
            }
        }
        if !kind.has_table() {
            return own;
        }
        let mut properties = self.project.tables.clone();
        properties.append(&mut own);
        properties
    }

    fn query(&mut self, written: ParsedQuery) -> Query {
        let relations = written.relations.into_iter().filter_map(|relation| self.relation(relation)).collect();
        Query { ast: written.ast, relations, span: written.span }
    }

    fn relation(&mut self, written: ParsedRelation) -> Option<Relation> {
        let ParsedRelation { alias, source, as_of, span } = written;
        let source = match source {
            ParsedSource::Table { name, stream, skip_change_commits, starting_version, watermark } => {
                let dataset = self.name(&name)?;
                if stream {
                    RelationSource::TableStream { dataset, skip_change_commits, starting_version, watermark }
                } else {
                    let streams_only = skip_change_commits || starting_version.is_some() || watermark.is_some();
                    self.require_stream(!streams_only, "the options and WATERMARK of a table", &span);
                    RelationSource::Table(dataset)
                }
            }
            ParsedSource::Events { source, read, stream, watermark } => {
                self.require_stream(stream, "`read_events`", &span);
                RelationSource::Events { source, read, watermark }
            }
            ParsedSource::Files { path, read, stream, watermark } => {
                self.require_stream(stream || watermark.is_none(), "WATERMARK", &span);
                RelationSource::Files { path: self.path(path, &span), read, stream, watermark }
            }
        };
        Some(Relation { alias, source, as_of, span })
    }

    /// The path by the project's roots.
    fn path(&mut self, path: String, span: &Span) -> String {
        paths::resolve(&path, &self.project.roots).unwrap_or_else(|finding| {
            self.draft.findings.push(finding.at(span.clone()));
            path
        })
    }

    fn require_stream(&mut self, is_met: bool, what: &str, span: &Span) {
        if !is_met {
            let finding = Diagnostic::error("MISSING_STREAM", format!("{what} can only be read as a stream"));
            self.draft.findings.push(finding.at(span.clone()).help("write STREAM before it"));
        }
    }
}

/// Names after these words, whether or not the text can be parsed.
fn words_after(text: &str, words: &[&str]) -> Vec<String> {
    let all: Vec<String> =
        text.split(|letter: char| letter.is_whitespace() || letter == '(').map(str::to_lowercase).collect();
    let names = all.windows(2).filter(|pair| words.contains(&pair[0].as_str()));
    let last_part = |name: &String| name.rsplit('.').next().unwrap_or_default().trim_matches(['`', ';']).to_owned();
    names.map(|pair| last_part(&pair[1])).collect()
}
