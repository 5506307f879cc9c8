//! Plans a query over empty tables, and goes on after a name that isn't known.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;
use headwater_core::cdc::project_changes;
use headwater_core::check::Fault;
use headwater_core::diagnostic::{Diagnostic, Severity};
use headwater_core::model::{FlowKind, Query, RelationSource};
use headwater_core::provenance::{METADATA, Trace, project_traces, without_distinct};
use sqlparser::ast::{Expr, Select, SelectItem, Value, VisitMut, VisitorMut};

use super::Columns;
use super::faults::faults;
use super::sources::KnownSource;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::relations::{register, register_source};

/// A query with more unknown names isn't looked at further.
const MOST: usize = 32;

/// What came of planning a query.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Its columns, if it has no fault but names that aren't known.
    pub(super) columns: Option<Columns>,
    pub(super) faults: Vec<Fault>,
    /// Whether its columns are known by samples only.
    pub(super) samples_only: bool,
}

/// Plans a flow's query; its relations have these columns, in their order.
pub(super) async fn plan(run: FlowRun<'_>, sources: Vec<KnownSource>) -> Planned {
    let samples_only = sources.iter().any(|source| source.may_grow);
    match traced(run) {
        Ok(query) => Planned { samples_only, ..attempt(run, query, &sources).await },
        Err(error) => Planned { faults: vec![of_error(run, &error, &[])], ..Planned::default() },
    }
}

/// A missing column of a source that is known by samples only may still come.
pub(super) fn weighed(finding: Diagnostic, samples_only: bool) -> Diagnostic {
    if samples_only && finding.code == "UNRESOLVED_COLUMN" {
        let message = format!("{} in what has come so far", finding.message);
        return Diagnostic { severity: Severity::Warning, message, ..finding };
    }
    finding
}

async fn attempt(run: FlowRun<'_>, mut query: Query, sources: &[KnownSource]) -> Planned {
    let known = shown(sources);
    let are_typed = sources.iter().all(|source| source.are_typed);
    let mut found: Vec<Fault> = Vec::new();
    while found.len() < MOST {
        let error = match columns(run, &query, sources).await {
            Ok(schema) => {
                let columns = Columns { schema, are_typed: found.is_empty() && are_typed };
                return Planned { columns: Some(columns), faults: found, ..Planned::default() };
            }
            Err(error) => error,
        };
        let faults = match &error {
            LakeError::Query(source) => faults(run.lake.engine(), source, &known),
            _ => vec![of_error(run, &error, &known)],
        };
        let (named, others): (Vec<_>, Vec<_>) = faults.into_iter().partition(Fault::is_about_a_name);
        let is_first = found.is_empty();
        let mut went_on = false;
        for fault in named.into_iter().filter(|fault| are_typed || !is_of_a_column(fault, &known)) {
            went_on |= blank(&mut query, &fault);
            if !found.contains(&fault) {
                found.push(fault);
            }
        }
        if is_first && found.is_empty() && are_typed {
            found.extend(others);
        }
        if !went_on {
            break;
        }
    }
    Planned { faults: found, ..Planned::default() }
}

/// Whether it is about a field of a column, whose type may not be known.
fn is_of_a_column(fault: &Fault, columns: &[String]) -> bool {
    let Fault::Column { qualifier: Some(qualifier), .. } = fault else { return false };
    columns.iter().any(|column| column.eq_ignore_ascii_case(qualifier))
}

/// The columns of a query that plans, down to its operators.
async fn columns(run: FlowRun<'_>, query: &Query, sources: &[KnownSource]) -> Result<SchemaRef> {
    let session = run.session();
    for (relation, source) in run.flow.query.relations.iter().zip(sources) {
        let empty = Arc::new(EmptyTable::new(Arc::clone(&source.columns)));
        match (&relation.source, relation.is_stream()) {
            (RelationSource::Events { .. } | RelationSource::Files { .. }, true) => {
                register_source(&session, relation, empty)?;
            }
            _ => register(&session, relation, query, empty)?,
        }
    }
    operators(run, &session, query).await
}

async fn operators(run: FlowRun<'_>, session: &SessionContext, query: &Query) -> Result<SchemaRef> {
    let frame = run.lake.engine().plan(session, query).await?;
    let columns = SchemaRef::clone(frame.schema().inner());
    frame.create_physical_plan().await.map_err(LakeError::query)?;
    Ok(columns)
}

/// The query as the flow runs it.
fn traced(run: FlowRun<'_>) -> Result<Query> {
    let query = &run.flow.query;
    if let Some(changes) = &run.flow.changes {
        return project_changes(query, changes).ok_or_else(|| run.untraceable());
    }
    let Some(stream) = run.flow.stream().filter(|_| run.flow.kind == FlowKind::Append) else {
        return Ok(query.clone());
    };
    let event_time = stream.watermark().map(|watermark| Trace::EventTime(&watermark.column));
    let from_outside = stream.dataset().is_none().then_some(Trace::Metadata);
    let traces: Vec<_> = from_outside.into_iter().chain(event_time).collect();
    if traces.is_empty() {
        return Ok(without_distinct(query));
    }
    project_traces(query, &traces).ok_or_else(|| run.untraceable())
}

fn of_error(run: FlowRun<'_>, error: &LakeError, known: &[String]) -> Fault {
    if let LakeError::Query(source) = error
        && let Some(fault) = faults(run.lake.engine(), source, known).into_iter().next()
    {
        return fault;
    }
    let text = error.to_string();
    let (message, help) = text.split_once("\n  help: ").unwrap_or((&text, "change the query"));
    Fault::Other { code: "INVALID_QUERY", message: message.into(), names: Vec::new(), help: help.into() }
}

/// The columns that a query may name, `_metadata` last.
fn shown(sources: &[KnownSource]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = sources.iter().flat_map(|source| source.columns.fields()).map(|field| field.name().clone());
    let (mut hidden, mut shown): (Vec<_>, Vec<_>) =
        names.filter(|name| seen.insert(name.clone())).partition(|name| name == METADATA);
    shown.append(&mut hidden);
    shown
}

/// Puts NULL wherever the unknown name stands, so that the rest can be looked at; false if it stands
/// nowhere.
fn blank(query: &mut Query, fault: &Fault) -> bool {
    let mut blanks = Blanks { fault, done: false };
    let _: ControlFlow<()> = query.ast.visit(&mut blanks);
    blanks.done
}

struct Blanks<'a> {
    fault: &'a Fault,
    done: bool,
}

impl VisitorMut for Blanks<'_> {
    type Break = ();

    /// A column keeps its name, so that no two are called NULL.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.is_it(expr)
                && let Some(alias) = last_name(expr)
            {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.is_it(expr) {
            *expr = Expr::Value(Value::Null.into());
            self.done = true;
        }
        ControlFlow::Continue(())
    }
}

impl Blanks<'_> {
    fn is_it(&self, expr: &Expr) -> bool {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        match (self.fault, expr) {
            (Fault::Column { qualifier: None, name, .. }, Expr::Identifier(ident)) => same(&ident.value, name),
            (Fault::Column { qualifier, name, .. }, Expr::CompoundIdentifier(parts)) => match parts.as_slice() {
                [table, column, ..] => {
                    same(&column.value, name) && qualifier.as_ref().is_none_or(|of| same(&table.value, of))
                        || qualifier.is_none() && same(&table.value, name)
                }
                _ => false,
            },
            (Fault::Function { name, .. }, Expr::Function(call)) => same(&call.name.to_string(), name),
            _ => false,
        }
    }
}

fn last_name(expr: &Expr) -> Option<sqlparser::ast::Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().cloned(),
        Expr::Function(call) => Some(sqlparser::ast::Ident::with_quote('"', call.to_string())),
        _ => None,
    }
}
