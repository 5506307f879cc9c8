//! Checks of flows: what they write, what they read, and whether that fits.

use super::datasets::RESERVED_COLUMNS;
use super::draft::Draft;
use super::{changes, streaming};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::{CleanSource, DatasetKind, Flow, FlowKind, Query, Relation, RelationSource};
use crate::name::DatasetName;
use crate::nearest::{did_you_mean, nearest};
use crate::project::Project;

use sqlparser::ast::SelectItem;

/// Findings about names: targets, sources, bindings. Views needn't be expanded.
pub(super) fn check_names(draft: &mut Draft, project: &Project) {
    let mut findings = Vec::new();
    for (at, flow) in draft.flows.iter().enumerate() {
        let same = |first: &&Flow| first.name == flow.name && !(is_default(first) && is_default(flow));
        findings.extend(draft.flows[..at].iter().find(same).map(|first| duplicate_flow(flow, first)));
        findings.extend(check_target(flow, draft));
        findings.extend(draft.flows[..at].iter().find_map(|first| read_twice(flow, first)));
        findings.extend(draft.flows.iter().find_map(|other| cleaned_for_others(flow, other)));
        findings.extend(moved_into_source(flow));
    }
    let queries =
        draft.flows.iter().map(|flow| &flow.query).chain(draft.datasets.iter().filter_map(|set| set.view.as_ref()));
    for relation in queries.flat_map(|query| &query.relations) {
        findings.extend(check_source(relation, draft));
        findings.extend(check_binding(relation, project));
    }
    draft.findings.append(&mut findings);
}

/// Whether a flow is its dataset's own; two of these mean that the dataset is defined twice.
fn is_default(flow: &Flow) -> bool {
    flow.name.as_str() == flow.target.to_string()
}

fn duplicate_flow(flow: &Flow, first: &Flow) -> Diagnostic {
    Diagnostic::error("PIPELINE_DUPLICATE_IDENTIFIERS.FLOW", format!("flow `{}` is defined twice", flow.name))
        .at(flow.span.clone())
        .help(format!("the first definition is at {}: rename one, progress is kept by flow name", first.span))
}

/// A table knows the records that it holds by their ids, whichever flow landed them: a second flow that
/// reads the same records into it would find them done.
fn read_twice(flow: &Flow, first: &Flow) -> Option<Diagnostic> {
    let (stream, other) = (flow.stream()?, first.stream()?);
    let is_twice = flow.target == first.target && flow.name != first.name && shares_records(stream, other);
    is_twice.then(|| {
        let message =
            format!("flows `{}` and `{}` read the same records into `{}`", first.name, flow.name, flow.target);
        Diagnostic::error("SOURCE_READ_TWICE", message)
            .at(stream.span.clone())
            .help("land them in a table of their own, and let both flows read that table with STREAM")
    })
}

/// Files that a flow deletes or moves once they are in its own table may not be in that of another flow yet.
fn cleaned_for_others(flow: &Flow, other: &Flow) -> Option<Diagnostic> {
    let stream = flow.stream()?;
    let RelationSource::Files { path, read, .. } = &stream.source else { return None };
    if read.files.clean_source == CleanSource::Off || std::ptr::eq(flow, other) {
        return None;
    }
    let reads_some = other.query.relations.iter().any(|relation| match &relation.source {
        RelationSource::Files { path: theirs, read: their_read, .. } => {
            let (ours, theirs) = (root(path), root(theirs));
            let filters = [&read.files.path_glob_filter, &their_read.files.path_glob_filter];
            let may_share = filters[0] == filters[1] || filters.contains(&&None);
            may_share && (holds(ours, theirs) || holds(theirs, ours))
        }
        _ => false,
    });
    reads_some.then(|| {
        let message =
            format!("flow `{}` cleans up files that `{}` reads too, and may not have read yet", flow.name, other.name);
        Diagnostic::error("CLEAN_SOURCE_SHARED", message)
            .at(stream.span.clone())
            .help("leave out cleanSource, or land the files in one table and let both read that with STREAM")
    })
}

/// Files that are moved to where they came from would come again, and aren't moved.
fn moved_into_source(flow: &Flow) -> Option<Diagnostic> {
    let stream = flow.stream()?;
    let RelationSource::Files { path, read, .. } = &stream.source else { return None };
    let CleanSource::Move { to, .. } = &read.files.clean_source else { return None };
    holds(root(path), root(to)).then(|| {
        let message = format!("files of `{path}` can't be moved to `{to}`, where they would be read again");
        Diagnostic::error("CLEAN_SOURCE_INTO_ITSELF", message)
            .at(stream.span.clone())
            .help("write a cleanSource.moveDestination in the same bucket that isn't below the source")
    })
}

/// The folder that all files of a path are in.
fn root(path: &str) -> &str {
    let fixed = path.find(['*', '?', '[', '{']).map_or(path, |at| path[..at].rsplit_once('/').map_or("", |(up, _)| up));
    let fixed = fixed.trim_end_matches('/');
    fixed.strip_prefix("./").unwrap_or(if fixed == "." { "" } else { fixed })
}

/// Whether one folder is in another, or the same. A path that isn't absolute is in the project's folder.
fn holds(outer: &str, inner: &str) -> bool {
    let is_elsewhere = inner.starts_with('/') || inner.contains("://");
    outer.is_empty() && !is_elsewhere
        || !outer.is_empty() && inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn shares_records(stream: &Relation, other: &Relation) -> bool {
    match (&stream.source, &other.source) {
        (RelationSource::Events { source, .. }, RelationSource::Events { source: other, .. }) => source == other,
        (RelationSource::Files { path, read, .. }, RelationSource::Files { path: other, read: other_read, .. }) => {
            let (path, other) = (path.trim_end_matches('/'), other.trim_end_matches('/'));
            let is_whole = |path: &str| !path.contains(['*', '?', '[', '{']);
            let holds = |outer: &str, inner: &str| {
                is_whole(outer) && inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
            };
            read.files.path_glob_filter == other_read.files.path_glob_filter
                && (path == other || holds(path, other) || holds(other, path))
        }
        _ => false,
    }
}

fn check_target(flow: &Flow, draft: &Draft) -> Option<Diagnostic> {
    let Some(target) = draft.dataset(&flow.target) else {
        if draft.maybe_defined.contains(flow.target.name()) {
            return None;
        }
        let message = format!("flow `{}` writes to `{}`, which is not defined", flow.name, flow.target);
        let names = draft.names();
        let help = nearest(&flow.target.to_string(), names.iter().map(String::as_str)).map_or_else(
            || format!("add `CREATE STREAMING TABLE {}`", flow.target),
            |name| format!("did you mean `{name}`?"),
        );
        return Some(Diagnostic::error("TABLE_OR_VIEW_NOT_FOUND", message).at(flow.span.clone()).help(help));
    };
    let (code, message, help) = match target.kind {
        DatasetKind::StreamingTable => return None,
        DatasetKind::MaterializedView if flow.kind == FlowKind::Materialize => return None,
        DatasetKind::MaterializedView => (
            "MATERIALIZED_VIEW_WITH_MULTIPLE_QUERIES",
            format!("`{}` is a materialized view, which has one query of its own", flow.target),
            "make it a streaming table, or combine the queries with UNION ALL",
        ),
        DatasetKind::View | DatasetKind::TemporaryView => (
            "INVALID_FLOW_TARGET",
            format!("`{}` is a view, which no flow can write to", flow.target),
            "write to a streaming table",
        ),
    };
    Some(Diagnostic::error(code, message).at(flow.span.clone()).help(help))
}

fn check_source(relation: &Relation, draft: &Draft) -> Option<Diagnostic> {
    let name = relation.dataset()?;
    let Some(source) = draft.source(name) else {
        return (!draft.maybe_defined.contains(name.name())).then(|| not_found(name, relation, draft));
    };
    if relation.as_of.is_some() && !source.kind.has_table() {
        let message = format!("`{name}` is a view, which has no versions");
        let help = "name a state of the tables that it reads";
        return Some(Diagnostic::error("UNSUPPORTED_CLAUSE", message).at(relation.span.clone()).help(help));
    }
    let is_stream = matches!(relation.source, RelationSource::TableStream { .. });
    if let Some(finding) = changes::check_read(relation, source, draft) {
        return Some(finding);
    }
    (is_stream && source.kind == DatasetKind::MaterializedView).then(|| {
        Diagnostic::error(
            "STREAMING_SOURCE_NOT_APPEND_ONLY",
            format!("`{name}` is a materialized view, whose rows change: it can't be read with STREAM"),
        )
        .at(relation.span.clone())
        .help("read it without STREAM in a materialized view, or join it as a table")
    })
}

fn not_found(name: &DatasetName, relation: &Relation, draft: &Draft) -> Diagnostic {
    let names = draft.names();
    Diagnostic::error("TABLE_OR_VIEW_NOT_FOUND", format!("`{name}` is not a dataset of this pipeline"))
        .at(relation.span.clone())
        .help(did_you_mean(&name.to_string(), names.iter().map(String::as_str)))
}

fn check_binding(relation: &Relation, project: &Project) -> Option<Diagnostic> {
    let RelationSource::Events { source, .. } = &relation.source else { return None };
    if project.sources.contains_key(source) {
        return None;
    }
    let meant = nearest(source, project.sources.keys().map(String::as_str));
    let help = meant.map_or_else(
        || format!("add to {}:\n    sources:\n      {source}: {{spool: events/{source}}}", project.file.path),
        |name| format!("did you mean `{name}`?"),
    );
    Some(
        Diagnostic::error("UNBOUND_EVENT_SOURCE", format!("event source `{source}` is bound to nothing"))
            .at(relation.span.clone())
            .help(help),
    )
}

/// Findings about a view's query, its own views expanded.
pub(super) fn check_view(kind: DatasetKind, query: &Query) -> Option<Diagnostic> {
    let stream = query.relations.iter().find(|relation| relation.is_stream())?;
    (kind == DatasetKind::View).then(|| {
        Diagnostic::error("INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_PERSISTED_VIEW", "a view can't read a stream")
            .at(stream.span.clone())
            .help("write CREATE TEMPORARY VIEW, or leave STREAM out")
    })
}

/// A streaming view is read with `STREAM`, any other without; before views are expanded.
pub(super) fn check_view_read(
    relation: &Relation,
    is_streaming: impl Fn(&DatasetName) -> Option<bool>,
) -> Option<Diagnostic> {
    let name = relation.dataset()?;
    let is_streaming = is_streaming(name)?;
    let (code, message, help) = match &relation.source {
        RelationSource::Table(_) if is_streaming => (
            "INCOMPATIBLE_BATCH_VIEW_READ",
            format!("`{name}` is a view of a stream, and is read as a table"),
            format!("write `STREAM {name}`, or leave STREAM out of the view"),
        ),
        RelationSource::TableStream { .. } if !is_streaming => (
            "INCOMPATIBLE_STREAMING_VIEW_READ",
            format!("`{name}` is a view of tables, and is read with STREAM"),
            format!("write `{name}` without STREAM, or read a stream in the view"),
        ),
        RelationSource::TableStream { skip_change_commits, starting_version, watermark, .. }
            if *skip_change_commits || starting_version.is_some() || watermark.is_some() =>
        {
            (
                "INCOMPATIBLE_STREAMING_VIEW_READ",
                format!("options and WATERMARK on `STREAM {name}` belong to a table, and `{name}` is a view"),
                "put them after the STREAM in the view".to_owned(),
            )
        }
        _ => return None,
    };
    Some(Diagnostic::error(code, message).at(relation.span.clone()).help(help))
}

/// Findings about a flow's query, its views expanded.
pub(super) fn check_query(flow: &Flow) -> Vec<Diagnostic> {
    let streams: Vec<&Relation> = flow.query.relations.iter().filter(|relation| relation.is_stream()).collect();
    let mut findings = reserved_columns(&flow.query);
    match (flow.kind, streams.as_slice()) {
        (FlowKind::Append, []) if flow.changes.is_some() => findings.push(changes::batch_for_changes(flow)),
        (FlowKind::Append, []) => findings.push(batch_for_streaming_table(flow)),
        (FlowKind::Append, [stream]) => match &flow.changes {
            Some(changes) => findings.extend(changes::check_stream(flow, changes, stream)),
            None => findings.extend(check_stream(&flow.query, stream)),
        },
        (FlowKind::Append, [_, second, ..]) => findings.push(
            Diagnostic::error("UNSUPPORTED_STREAM_STREAM_JOIN", format!("flow `{}` reads two streams", flow.name))
                .at(second.span.clone())
                .help("read one of them without STREAM, or give each stream a flow of its own: `CREATE FLOW name AS INSERT INTO …`"),
        ),
        (FlowKind::Once, _) if changes::is_once_of_snapshots(flow) => findings.push(changes::refuse_once(flow)),
        (FlowKind::Once | FlowKind::Materialize, []) => {}
        (FlowKind::Once, [stream, ..]) => findings.push(
            Diagnostic::error("INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_ONCE_FLOW", "a ONCE flow can't read a stream")
                .at(stream.span.clone())
                .help("leave STREAM out, or leave ONCE out"),
        ),
        (FlowKind::Materialize, [stream, ..]) => findings.push(
            Diagnostic::error(
                "INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_MATERIALIZED_VIEW",
                format!("materialized view `{}` reads a stream", flow.target),
            )
            .at(stream.span.clone())
            .help("leave STREAM out, or make it a STREAMING TABLE"),
        ),
    }
    findings
}

fn batch_for_streaming_table(flow: &Flow) -> Diagnostic {
    let span = flow.query.relations.first().map_or(&flow.query.span, |relation| &relation.span);
    Diagnostic::error(
        "INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE",
        format!("streaming table `{}` reads no stream", flow.target),
    )
    .at(span.clone())
    .help("write STREAM before the table to append its new rows, or make it a MATERIALIZED VIEW")
}

pub(super) fn check_stream(query: &Query, stream: &Relation) -> Vec<Diagnostic> {
    let findings = streaming::check(&query.ast, &stream.alias);
    let mut findings: Vec<Diagnostic> = findings.into_iter().map(|finding| finding.at(stream.span.clone())).collect();
    let is_outside = stream.dataset().is_none();
    if is_outside && !streaming::is_outermost(&query.ast, &stream.alias) {
        findings.push(nested_source(&stream.span));
    }
    findings
}

fn nested_source(span: &Span) -> Diagnostic {
    Diagnostic::error("UNSUPPORTED_NESTED_SOURCE", "an outside source is read in a view, CTE or subquery")
        .at(span.clone())
        .help("read it first in the FROM of the table's own SELECT: each row is stored with the `_metadata` of its record")
}

/// A query must not make columns that Headwater writes itself; passing `_metadata` on is fine.
fn reserved_columns(query: &Query) -> Vec<Diagnostic> {
    let items = streaming::outer_select(&query.ast).map_or(&[][..], |select| &select.projection);
    let aliases = items.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(&alias.value),
        _ => None,
    });
    aliases
        .filter(|alias| RESERVED_COLUMNS.contains(&alias.to_lowercase().as_str()))
        .map(|alias| {
            Diagnostic::error("RESERVED_NAME", format!("column `{alias}` is written by Headwater itself"))
                .at(query.span.clone())
                .help("choose another name after AS")
        })
        .collect()
}
