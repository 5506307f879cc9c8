//! Finds type errors before anything runs.
//!
//! Each query is planned over empty tables, sources before their readers, as its flow would plan it.
//! The columns of an empty table are those that are declared, those that the flows into it give, and
//! those of the table in the lake. Where columns can't be known there is a note, and what reads them
//! isn't checked: a finding that is an error is one that would fail a flow.

mod dataset;
mod faults;
mod lake;
mod plan;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use headwater_core::check::{Fault, unchecked};
use headwater_core::diagnostic::{Diagnostic, Span};
use headwater_core::graph::{lineage, view_names};
use headwater_core::model::{Dataset, Flow, FlowKind, Query};
use headwater_core::name::DatasetName;
use headwater_core::sql::rest_of_statement;

use self::dataset::{Before, left_out, misfits};
use self::sources::Source;
use super::FlowRun;
use super::cdc::{UnknownColumn, target_columns, unknown_column};
use super::target::{target_schema, without_hidden};
use crate::align::merged;
use crate::engine::storable_schema;
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::table::Table;
use crate::widening::Growth;

impl Lake {
    /// All type errors of the pipeline, and notes on what can't be checked. Nothing is written. The
    /// tables of `anew` count as empty: they are about to be refreshed fully. In a lake with shadows only these are
    /// checked, over the tables as they are.
    pub async fn check(&self, anew: &BTreeSet<DatasetName>) -> Vec<Diagnostic> {
        self.check_of(self.pipeline().datasets.iter(), anew).await
    }

    /// As [`Self::check`], of these datasets and what they read, directly or not: what else there is isn't looked at.
    pub async fn check_only(&self, datasets: &BTreeSet<DatasetName>, anew: &BTreeSet<DatasetName>) -> Vec<Diagnostic> {
        let lineages = datasets.iter().filter_map(|name| lineage(self.pipeline(), name));
        let read: BTreeSet<DatasetName> = lineages.flat_map(|lineage| lineage.upstream).collect();
        let is_concerned = |dataset: &&Dataset| datasets.contains(&dataset.name) || read.contains(&dataset.name);
        self.check_of(self.pipeline().datasets.iter().filter(is_concerned), anew).await
    }

    async fn check_of<'a>(
        &'a self,
        datasets: impl Iterator<Item = &'a Dataset>,
        anew: &'a BTreeSet<DatasetName>,
    ) -> Vec<Diagnostic> {
        let mut check =
            Check { lake: self, anew, columns: BTreeMap::new(), broken: BTreeSet::new(), found: Vec::new() };
        for dataset in datasets {
            match &dataset.view {
                Some(query) if check.is_planned(&dataset.name) => check.view(dataset, query).await,
                Some(_) => {}
                None => check.table(dataset).await,
            }
        }
        check.found
    }
}

/// The columns of a table.
#[derive(Debug, Clone)]
struct Columns {
    schema: SchemaRef,
    /// Whether the types are known; after a fault upstream only the names are.
    are_typed: bool,
}

struct Check<'a> {
    lake: &'a Lake,
    anew: &'a BTreeSet<DatasetName>,
    /// The columns of the tables so far; `None` where they can't be known.
    columns: BTreeMap<DatasetName, Option<Columns>>,
    /// Views that don't plan, or that weren't planned.
    broken: BTreeSet<DatasetName>,
    found: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    /// Whether a flow that may run reads a view.
    fn is_planned(&self, view: &DatasetName) -> bool {
        let mut flows = self.lake.pipeline().flows.iter().filter(|flow| self.lake.computes(&flow.target));
        self.lake.computes(view) || flows.any(|flow| view_names(&flow.query).contains(view))
    }

    async fn table(&mut self, dataset: &'a Dataset) {
        let existing = match self.lake.table(&dataset.name).await {
            Ok(table) => table.filter(|_| !self.anew.contains(&dataset.name)),
            Err(error) => return self.unreadable(dataset, &error),
        };
        if !self.lake.computes(&dataset.name) {
            let columns = existing.map(|table| Columns { schema: table.schema(), are_typed: true });
            self.columns.insert(dataset.name.clone(), columns);
            return;
        }
        if let Err(error) = self.against_lake(dataset, existing.as_ref()).await {
            return self.unreadable(dataset, &error);
        }
        let flows: Vec<&Flow> = self.lake.pipeline().flows_into(&dataset.name).collect();
        let is_view = flows.iter().any(|flow| flow.kind == FlowKind::Materialize);
        let kept = match existing.as_ref().filter(|_| !is_view) {
            Some(table) => table.is_empty().await.is_ok_and(|is_empty| !is_empty).then_some(table),
            None => None,
        };
        let mut columns = kept.map(Table::schema);
        let or_else = "cast it to the table's type in the query";
        let rebuild = kept.map(|_| self.rebuild(std::slice::from_ref(&dataset.name), or_else));
        let (mut complete, mut are_typed) = (true, true);
        for flow in flows {
            let given = self.flow(dataset, flow, existing.as_ref()).await;
            let run = FlowRun { lake: self.lake, flow, dataset, trigger: "check", deadline: None };
            let growth = run.growth_of(existing.as_ref());
            let before = columns.as_ref().map(|columns| Before { columns, rebuild: rebuild.as_deref(), growth });
            let fitted = given.and_then(|given| {
                are_typed &= given.are_typed;
                self.fitted(dataset, flow, &given, before)
            });
            complete &= fitted.is_some();
            columns = fitted.or(columns);
        }
        let promised = self.promised(dataset).filter(|_| !complete || !are_typed);
        let known = match promised {
            Some(schema) => Some(Columns { schema, are_typed: true }),
            None => columns.filter(|_| complete).map(|schema| Columns { schema, are_typed }),
        };
        if let Some(known) = &known {
            self.definition(dataset, known);
        }
        self.columns.insert(dataset.name.clone(), known);
    }

    /// The table's columns with those that a flow gives, where they fit.
    fn fitted(
        &mut self,
        dataset: &Dataset,
        flow: &Flow,
        given: &Columns,
        before: Option<Before<'_>>,
    ) -> Option<SchemaRef> {
        let are_typed = given.are_typed;
        let given = without_hidden(&storable_schema(&given.schema));
        if !are_typed {
            return Some(before.map_or_else(|| SchemaRef::clone(&given), |before| merged(before.columns, &given)));
        }
        let found = misfits(dataset, flow, &given, before);
        let sound = !found.iter().any(Diagnostic::is_error);
        self.found.extend(found);
        let before = before.map_or((None, Growth::Columns), |before| (Some(before.columns), before.growth));
        target_schema(dataset, before, &given).ok().filter(|_| sound)
    }

    async fn view(&mut self, dataset: &'a Dataset, query: &'a Query) {
        let flow = Flow {
            name: headwater_core::name::FlowName::new(&dataset.name.to_string()),
            target: dataset.name.clone(),
            kind: FlowKind::Materialize,
            query: query.clone(),
            changes: None,
            span: dataset.span.clone(),
        };
        match self.flow(dataset, &flow, None).await {
            Some(given) if given.are_typed => self.view_definition(dataset, &given.schema),
            Some(_) | None => {
                self.broken.insert(dataset.name.clone());
            }
        }
    }

    /// The columns that a flow's query gives; `None` if it has faults or what it reads isn't known.
    async fn flow(&mut self, dataset: &Dataset, flow: &Flow, existing: Option<&Table>) -> Option<Columns> {
        if view_names(&flow.query).iter().any(|view| self.broken.contains(view)) {
            return None;
        }
        let run = FlowRun { lake: self.lake, flow, dataset, trigger: "check", deadline: None };
        let mut sources = Vec::new();
        for relation in &flow.query.relations {
            match self.source(run, relation, existing).await {
                Source::Known(source) => sources.push(source),
                Source::Unread(name) => {
                    self.found.push(unchecked(&dataset.name, &name, relation));
                    return None;
                }
                Source::Unknown(note) => {
                    self.found.push(note);
                    return None;
                }
            }
        }
        let planned = plan::plan(run, sources).await;
        let texts = Self::texts(dataset, flow);
        let within: Vec<&Span> = texts.iter().collect();
        let faults = planned.faults.into_iter().map(|fault| fault.finding(&within, &flow.span));
        self.found.extend(faults.map(|finding| plan::weighed(finding, planned.samples_only)));
        match (planned.columns, &flow.changes) {
            (Some(columns), Some(changes)) => {
                let given = storable_schema(&columns.schema);
                if let Some(UnknownColumn { name, known, .. }) = unknown_column(changes, &given) {
                    let fault = Fault::Column { qualifier: None, name, known };
                    let finding = fault.finding(&[&rest_of_statement(&changes.span)], &changes.span);
                    self.found.push(plan::weighed(finding, planned.samples_only));
                    return None;
                }
                let schema = target_columns(changes, &given, dataset);
                self.found.extend(left_out(dataset, changes, &columns.schema));
                ok(schema, &changes.span, &mut self.found).map(|schema| Columns { schema, ..columns })
            }
            (columns, _) => columns,
        }
    }

    /// Where a flow's names may stand: its query, a view's conditions, the watermark of a read, the clauses of changes.
    fn texts(dataset: &Dataset, flow: &Flow) -> Vec<Span> {
        let rules = dataset.expectations.iter().filter(|_| dataset.view.is_some()).map(|rule| rule.span.clone());
        let reads = flow.query.relations.iter().map(|relation| relation.span.clone());
        let clauses = flow.changes.iter().map(|changes| rest_of_statement(&changes.span));
        std::iter::once(flow.query.span.clone()).chain(rules).chain(reads).chain(clauses).collect()
    }

    fn unreadable(&mut self, dataset: &Dataset, error: &LakeError) {
        let message = format!("`{}` isn't checked, because its table can't be read: {error}", dataset.name);
        self.found.push(Diagnostic::note("UNREADABLE_TABLE", message).at(dataset.span.clone()));
        self.columns.insert(dataset.name.clone(), None);
    }

    /// The columns that a table will have for certain, though its flows aren't known.
    fn promised(&self, dataset: &Dataset) -> Option<SchemaRef> {
        let declared =
            crate::engine::arrow_schema(&dataset.columns).ok().filter(|schema| !schema.fields().is_empty())?;
        let streams = self.lake.pipeline().flows_into(&dataset.name).filter_map(|flow| flow.stream());
        let origins = streams.filter_map(|stream| sources::origin_of(&stream.source));
        Some(origins.fold(declared, |columns, origin| merged(&columns, &origin)))
    }
}

/// The whole definition that begins at a dataset's name.
fn definition_of(dataset: &Dataset) -> Span {
    rest_of_statement(&dataset.span)
}

/// An error's finding at a place.
fn refused(error: &LakeError, at: Span) -> Diagnostic {
    let text = error.to_string();
    let (message, help) = text.split_once("\n  help: ").unwrap_or((&text, "mend the definition"));
    Diagnostic::error("INVALID_DEFINITION", message).at(at).help(help)
}

fn ok<T>(result: Result<T>, at: &Span, found: &mut Vec<Diagnostic>) -> Option<T> {
    result.map_err(|error| found.push(refused(&error, at.clone()))).ok()
}
