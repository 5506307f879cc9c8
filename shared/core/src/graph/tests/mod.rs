//! Whole projects, from SQL or from definitions without the parser. Of the latter, each is a kind and a query in which `stream.t` stands for
//! `STREAM t`, `events.x` for `STREAM read_events('x')`, and `files.x` for `STREAM read_files('x')`.

mod assembled;
mod bound;
mod refused;

use std::fmt::Write;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, visit_relations_mut};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use super::draft::Draft;
use super::*;
use crate::diagnostic::Span;
use crate::model::{Dataset, DatasetKind, Dedup, Flow, FlowKind, Format, Query, ReadOptions, Relation, RelationSource};
use crate::name::{DatasetName, FlowName};
use crate::project::parse;

const PROJECT: &str = "
name: airlines
storage: lake
sources:
  flights: {spool: events/flights}
";

const PROJECT_WITH_NAMES: &str = "
name: airlines
storage: lake
catalog: main
schema: ops
sources:
  flights: {spool: events/flights}
roots:
  /Volumes/main/raw: data
";

/// Builds a project of these files; the project file has more lines.
fn build_with(lines: &str, files: &[(&str, &str)]) -> Built {
    let file = SourceFile::new("pipeline.yml", format!("{PROJECT_WITH_NAMES}{lines}"));
    let parsed = parse(&file, &Default::default());
    let files: Vec<Arc<SourceFile>> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    build(&parsed.project.unwrap(), &files)
}

fn project() -> Project {
    parse(&SourceFile::new("pipeline.yml", PROJECT), &Default::default()).project.unwrap()
}

fn span(sql: &str) -> Span {
    Span { file: SourceFile::new("a.sql", sql), range: 0..sql.len() }
}

fn query(sql: &str) -> Query {
    let mut tree = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_query().unwrap();
    let ctes: Vec<String> =
        tree.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.clone()).collect();
    let mut relations = Vec::new();
    let _ = visit_relations_mut(&mut tree, |name: &mut ObjectName| {
        let parts: Vec<String> = name.0.iter().map(ToString::to_string).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if !ctes.iter().any(|cte| parts == [cte]) {
            let alias = format!("__r{}", relations.len());
            relations.push(Relation {
                alias: alias.clone(),
                source: source(&parts),
                as_of: None,
                span: span(&name.to_string()),
            });
            *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(alias))]);
        }
        ControlFlow::<()>::Continue(())
    });
    Query { ast: tree, relations, span: span(sql) }
}

fn source(parts: &[&str]) -> RelationSource {
    let read = || ReadOptions::new(Format::Json);
    match parts {
        ["stream", name] => RelationSource::TableStream {
            dataset: DatasetName::new(name),
            skip_change_commits: false,
            starting_version: None,
            watermark: None,
        },
        ["events", name] => RelationSource::Events { source: (*name).to_owned(), read: read(), watermark: None },
        ["files", name] => {
            RelationSource::Files { path: (*name).to_owned(), read: read(), stream: true, watermark: None }
        }
        [name] => RelationSource::Table(DatasetName::new(name)),
        _ => panic!("no source: {parts:?}"),
    }
}

fn dataset(name: &str, kind: DatasetKind) -> Dataset {
    Dataset {
        name: DatasetName::new(name),
        kind,
        layer: None,
        columns: Vec::new(),
        expectations: Vec::new(),
        partitioned_by: Vec::new(),
        clustered_by: Vec::new(),
        comment: None,
        properties: Default::default(),
        dedup: None,
        view: None,
        span: span(name),
    }
}

/// `("table flights", query)`, `("view v", query)`, `("temporary v", query)`, `("gold g", query)`,
/// `("flow f into t", query)`, `("once f into t", query)`; a table with an empty query has no flow of
/// its own.
fn draft(definitions: &[(&str, &str)]) -> Draft {
    let mut draft = Draft::default();
    for (definition, sql) in definitions {
        let words: Vec<&str> = definition.split(' ').collect();
        let (target, kind) = (*words.last().unwrap(), words[0]);
        let set_kind = match kind {
            "table" => Some(DatasetKind::StreamingTable),
            "gold" => Some(DatasetKind::MaterializedView),
            "view" => Some(DatasetKind::View),
            "temporary" => Some(DatasetKind::TemporaryView),
            _ => None,
        };
        let is_view = set_kind.is_some_and(|kind| !kind.has_table());
        draft.datasets.extend(set_kind.map(|kind| {
            let view = is_view.then(|| query(sql));
            Dataset { view, ..dataset(target, kind) }
        }));
        if !is_view && !sql.is_empty() {
            let flow_kind = match kind {
                "gold" => FlowKind::Materialize,
                "once" => FlowKind::Once,
                _ => FlowKind::Append,
            };
            draft.flows.push(Flow {
                name: FlowName::new(words[1]),
                target: DatasetName::new(target),
                kind: flow_kind,
                query: query(sql),
                changes: None,
                span: span(definition),
            });
        }
    }
    draft
}

fn built(draft: Draft) -> Built {
    let file = SourceFile::new("a.sql", "");
    check(&project(), draft, &[file])
}

fn pipeline(definitions: &[(&str, &str)]) -> Pipeline {
    let built = built(draft(definitions));
    built.pipeline.unwrap_or_else(|| panic!("{}", render(&built.diagnostics)))
}

fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Everything that the flows of a pipeline are made of, in short.
fn outline(pipeline: &Pipeline) -> String {
    let mut text = String::new();
    for dataset in &pipeline.datasets {
        let layer = dataset.layer.map_or("-".to_owned(), |layer| layer.to_string());
        write!(text, "{} [{layer} {:?}]", dataset.name, dataset.kind).unwrap();
        match &dataset.dedup {
            Some(Dedup::Keys(keys)) => write!(text, " dedup by {}", keys.join(", ")).unwrap(),
            Some(Dedup::WholeRow) => write!(text, " dedup of rows").unwrap(),
            None => {}
        }
        text.push('\n');
    }
    for flow in &pipeline.flows {
        writeln!(text, "{} -> {} [{:?}] {}", flow.name, flow.target, flow.kind, flow.query.ast).unwrap();
        for relation in &flow.query.relations {
            writeln!(text, "  {} = {}", relation.alias, origin(relation)).unwrap();
        }
    }
    text
}

fn origin(relation: &Relation) -> String {
    let stream = if relation.is_stream() { "STREAM " } else { "" };
    match &relation.source {
        RelationSource::Table(name) | RelationSource::TableStream { dataset: name, .. } => format!("{stream}{name}"),
        RelationSource::Events { source, .. } => format!("{stream}events {source}"),
        RelationSource::Files { path, .. } => format!("{stream}files {path}"),
    }
}
