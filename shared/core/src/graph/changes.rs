//! Checks of flows of changes (`AUTO CDC`), and of the tables that they keep.

use super::draft::Draft;
use super::properties::DEDUP_KEYS;
use super::{flows, streaming};
use crate::cdc::project_changes;
use crate::diagnostic::Diagnostic;
use crate::model::{AutoCdc, ChangeSource, Dataset, Flow, Relation, RelationSource};

/// Findings about the tables that flows of changes keep.
pub(super) fn check(draft: &mut Draft) {
    let mut findings = Vec::new();
    for dataset in &draft.datasets {
        let flows: Vec<&Flow> = draft.flows_into(&dataset.name).collect();
        let Some((first, changes)) = flows.iter().find_map(|flow| Some((flow, flow.changes.as_ref()?))) else {
            continue;
        };
        findings.extend(flows.iter().filter_map(|flow| disagreement(flow, (first, changes))));
        findings.extend(check_table(dataset));
    }
    draft.findings.append(&mut findings);
}

/// All flows into one table keep it in one way.
fn disagreement(flow: &Flow, (first, changes): (&Flow, &AutoCdc)) -> Option<Diagnostic> {
    let (message, help) = match &flow.changes {
        None => (
            format!("flow `{}` appends to `{}`, which flow `{}` keeps by changes", flow.name, flow.target, first.name),
            "write AUTO CDC in both, or give each flow a table of its own",
        ),
        Some(other) if other.keys != changes.keys || other.stored_as != changes.stored_as => (
            format!("flows `{}` and `{}` keep `{}` in two ways", first.name, flow.name, flow.target),
            "give both the same KEYS, STORED AS and TRACK HISTORY ON",
        ),
        Some(other) if other.is_partial() != changes.is_partial() => (
            format!(
                "only one of the flows `{}` and `{}` into `{}` leaves columns alone",
                first.name, flow.name, flow.target
            ),
            "write IGNORE NULL UPDATES or COLUMNS TO UPDATE in both or in none",
        ),
        Some(_)
            if flow.name != first.name
                && [flow.changes.as_ref(), Some(changes)].iter().flatten().any(is_of_snapshots) =>
        {
            (
                format!("flow `{}` and another keep `{}`, one of them by snapshots", flow.name, flow.target),
                "a snapshot holds every row of its table: let one flow alone keep it",
            )
        }
        Some(_) => return None,
    };
    Some(Diagnostic::error("AUTOCDC_CONFLICTING_FLOWS", message).at(flow.span.clone()).help(help))
}

fn is_of_snapshots(changes: &&AutoCdc) -> bool {
    changes.source == ChangeSource::Snapshots
}

fn check_table(dataset: &Dataset) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if dataset.dedup.is_some() {
        let message = format!("`{}` is kept by changes, of which each has its effect once anyway", dataset.name);
        found.push(Diagnostic::error("CONFLICTING_DEDUP", message).help(format!("remove `{DEDUP_KEYS}`")));
    }
    let is_append_only = |(key, value): &(&String, &String)| {
        key.eq_ignore_ascii_case("delta.appendOnly") && value.eq_ignore_ascii_case("true")
    };
    found.extend(dataset.properties.iter().find(is_append_only).map(|(key, _)| {
        let message = format!("`{key}` can't be set on `{}`: changes rewrite the table's rows", dataset.name);
        Diagnostic::error("UNSUPPORTED_TABLE_PROPERTY", message).help("remove it")
    }));
    found.into_iter().map(|finding| finding.at(dataset.span.clone())).collect()
}

/// The rows of a table that is kept by changes change: it is no stream.
pub(super) fn check_read(relation: &Relation, source: &Dataset, draft: &Draft) -> Option<Diagnostic> {
    let RelationSource::TableStream { dataset, skip_change_commits: false, .. } = &relation.source else { return None };
    let is_kept = draft.flows_into(&source.name).any(|flow| flow.changes.is_some());
    (is_kept && dataset == &source.name).then(|| {
        let message = format!("`{dataset}` is kept by AUTO CDC, so its rows change: it can't be read with STREAM");
        Diagnostic::error("STREAMING_SOURCE_NOT_APPEND_ONLY", message)
            .at(relation.span.clone())
            .help("read it without STREAM in a materialized view, or read with STREAM what it reads")
    })
}

/// Findings about the source of changes and about what the clauses compute of it.
pub(super) fn check_stream(flow: &Flow, changes: &AutoCdc, stream: &Relation) -> Vec<Diagnostic> {
    if stream.dataset().is_none() {
        return vec![
            Diagnostic::error(
                "UNSUPPORTED_CHANGE_SOURCE",
                "changes are read from a table, and this is an outside source",
            )
            .at(stream.span.clone())
            .help("land it in a streaming table first, and read that table with STREAM"),
        ];
    }
    if stream.watermark().is_some() {
        return vec![
            Diagnostic::error(
                "UNSUPPORTED_CLAUSE",
                "a watermark has no meaning for changes, which may come in any order",
            )
            .at(stream.span.clone())
            .help("leave WATERMARK out: a late change has its effect where it belongs in the sequence"),
        ];
    }
    let Some(projected) = project_changes(&flow.query, changes) else { return Vec::new() };
    let mut found = flows::check_stream(&projected, stream);
    if streaming::outer_select(&flow.query.ast).is_some_and(|select| select.distinct.is_some()) {
        found.push(
            Diagnostic::error("UNSUPPORTED_STREAMING_OPERATION", "DISTINCT has no meaning for changes")
                .at(stream.span.clone())
                .help("leave it out: a change that comes twice has its effect once"),
        );
    }
    found
}

/// What is read without `STREAM` has no new rows to take changes from.
pub(super) fn batch_for_changes(flow: &Flow) -> Diagnostic {
    let span = flow.query.relations.first().map_or(&flow.query.span, |relation| &relation.span);
    let is_of_snapshots = flow.changes.as_ref().is_some_and(|changes| is_of_snapshots(&changes));
    let (message, help) = if is_of_snapshots {
        (
            format!("flow `{}` takes snapshots from a table that it reads whole", flow.name),
            "write FROM SNAPSHOT STREAM table for a table of landed snapshots, or FROM SNAPSHOT (read_files(…))",
        )
    } else {
        (
            format!("flow `{}` reads no stream of changes", flow.name),
            "write STREAM before the table, or AUTO CDC ONCE to apply all that it holds one time",
        )
    };
    Diagnostic::error("INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE", message).at(span.clone()).help(help)
}

pub(super) fn is_once_of_snapshots(flow: &Flow) -> bool {
    flow.changes.as_ref().is_some_and(|changes| is_of_snapshots(&changes))
}

/// Snapshots come one after the other: taking them once says nothing of what has changed.
pub(super) fn refuse_once(flow: &Flow) -> Diagnostic {
    let span = flow.changes.as_ref().map_or(&flow.span, |changes| &changes.span);
    Diagnostic::error("UNSUPPORTED_CLAUSE", "ONCE has no meaning for snapshots")
        .at(span.clone())
        .help("leave ONCE out: the first snapshot gives the whole table, and each later one what has changed")
}
