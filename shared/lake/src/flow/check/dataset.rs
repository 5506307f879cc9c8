//! What a dataset's definition says of its columns, against the columns that it has.

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, SchemaRef};
use headwater_core::check::suggestion;
use headwater_core::diagnostic::{Diagnostic, Span};
use headwater_core::graph::properties::{ENABLE_TYPE_WIDENING, Z_ORDER};
use headwater_core::model::{AutoCdc, Dataset, Dedup, Expectation, Flow};
use headwater_core::provenance::{EVENT_TIME, METADATA};
use headwater_core::sql::{place_of_column, place_of_name};

use super::faults::faults;
use super::{Check, Columns, definition_of, ok, refused};
use crate::align::{fits, joined};
use crate::engine::{self, arrow_schema, sql_name as sql};
use crate::error::LakeError;
use crate::flow::cdc::is_left_out;
use crate::flow::dedup::column;
use crate::layout::has_order;
use crate::widening::Growth;

/// The columns that a table has before a flow writes to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) columns: &'a SchemaRef,
    /// How to have other columns, if the lake has the table; `None` if another flow makes it.
    pub(super) rebuild: Option<&'a str>,
    /// How they grow with what the flow gives.
    pub(super) growth: Growth,
}

/// What a flow gives and the table can't take.
pub(super) fn misfits(
    dataset: &Dataset,
    flow: &Flow,
    given: &SchemaRef,
    before: Option<Before<'_>>,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let at = |name: &str| place_of_column(&flow.query.span, name).unwrap_or_else(|| flow.span.clone());
    let declared = ok(arrow_schema(&dataset.columns), &dataset.span, &mut found);
    let declared = declared.filter(|declared| !declared.fields().is_empty());
    for field in given.fields().iter().filter(|field| field.name() != METADATA) {
        let Some(declared) = &declared else { continue };
        match declared.field_with_name(field.name()) {
            Ok(wanted) => {
                found.extend(conversion(dataset, field, wanted).map(|finding| finding.at(at(field.name()))));
            }
            Err(_) => found.push(undeclared(dataset, field.name(), declared).at(at(field.name()))),
        }
    }
    let wanted = declared.as_ref().unwrap_or(given);
    let Some(before) = before else { return found };
    for field in wanted.fields() {
        let Ok(old) = before.columns.field_with_name(field.name()) else { continue };
        if joined(old.data_type(), field.data_type(), before.growth).is_none() {
            let finding = match before.rebuild {
                Some(rebuild) => changed(dataset, (field, old), rebuild),
                None => disagreement(flow, field, old),
            };
            found.push(finding.at(at(field.name())));
        }
    }
    found
}

impl Check<'_> {
    /// Rules, keys, and columns of the layout.
    pub(super) fn definition(&mut self, dataset: &Dataset, known: &Columns) {
        let columns = &known.schema;
        let definition = definition_of(dataset);
        for rule in &dataset.expectations {
            self.rule(dataset, rule, known);
        }
        let named =
            |names: &[String], what: &'static str| names.iter().map(|name| (name.clone(), what)).collect::<Vec<_>>();
        let clustering = if dataset.properties.contains_key(Z_ORDER) { Z_ORDER } else { "CLUSTER BY" };
        let keys = match &dataset.dedup {
            Some(Dedup::Keys(keys)) => keys.as_slice(),
            Some(Dedup::WholeRow) | None => &[],
        };
        let all = named(&dataset.partitioned_by, "PARTITIONED BY")
            .into_iter()
            .chain(named(&dataset.clustered_by, clustering))
            .chain(named(keys, "headwater.dedup.keys"));
        for (name, what) in all.filter(|(name, _)| column(columns, name).is_err()) {
            let span = place_of_name(&definition, None, &name).filter(|_| what != "headwater.dedup.keys");
            let known: Vec<String> = visible(columns);
            let message = format!("{what} names `{name}`, which is no column of `{}`", dataset.name);
            let finding = Diagnostic::error("UNRESOLVED_COLUMN", message).help(suggestion(&name, &known));
            self.found.push(finding.at(span.unwrap_or_else(|| dataset.span.clone())));
        }
        let nested = dataset.clustered_by.iter().filter_map(|name| Some(columns.field(column(columns, name).ok()?)));
        for field in nested.filter(|field| known.are_typed && !has_order(field.data_type())) {
            let (name, data_type) = (field.name(), sql(field.data_type()));
            let message = format!("{clustering} names `{name}`, and rows have no order by a {data_type}");
            let finding = Diagnostic::error("CLUSTER_BY_UNSUPPORTED_TYPE", message).at(dataset.span.clone());
            self.found.push(finding.help("name columns that queries filter by: numbers, texts, dates, timestamps"));
        }
    }

    /// A view's names for its columns, and its rules.
    pub(super) fn view_definition(&mut self, dataset: &Dataset, given: &SchemaRef) {
        if !dataset.columns.is_empty() && dataset.columns.len() != given.fields().len() {
            let (named, gives) = (dataset.columns.len(), given.fields().len());
            let message = format!("the view `{}` names {named} columns, but its query gives {gives}", dataset.name);
            let finding = Diagnostic::error("NUM_COLUMNS_MISMATCH", message).at(dataset.span.clone());
            self.found.push(finding.help("name as many columns as the query gives"));
            self.broken.insert(dataset.name.clone());
            return;
        }
        let names = dataset.columns.iter().map(|column| column.name.clone());
        let renamed: Vec<Field> = if dataset.columns.is_empty() {
            given.fields().iter().map(|field| field.as_ref().clone()).collect()
        } else {
            given.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name)).collect()
        };
        let columns = Columns { schema: SchemaRef::new(arrow::datatypes::Schema::new(renamed)), are_typed: true };
        for rule in &dataset.expectations {
            self.rule(dataset, rule, &columns);
        }
    }

    fn rule(&mut self, dataset: &Dataset, rule: &Expectation, known: &Columns) {
        let columns = &known.schema;
        let session = self.lake.engine().session();
        let Err(error) = engine::predicate(&session, columns, &rule.predicate) else { return };
        let found = match &error {
            LakeError::Query(source) => faults(self.lake.engine(), source, &visible(columns)),
            _ => Vec::new(),
        };
        if found.is_empty() && known.are_typed {
            let finding = refused(&error, rule.span.clone());
            self.found.push(Diagnostic { code: "INVALID_EXPECTATION", ..finding });
        }
        let within = within(&rule.span);
        for fault in found.into_iter().filter(|fault| known.are_typed || fault.is_about_a_name()) {
            let finding = fault.finding(&[&within], &rule.span);
            let message = format!("expectation `{}` of `{}`: {}", rule.name, dataset.name, finding.message);
            self.found.push(Diagnostic { message, ..finding });
        }
    }
}

/// The rule after its name, which may be that of a column.
fn within(rule: &Span) -> Span {
    let text = rule.file.text.get(rule.range.clone()).unwrap_or_default();
    let start = rule.range.start + text.find('(').unwrap_or_default();
    Span { file: std::sync::Arc::clone(&rule.file), range: start..rule.range.end }
}

fn visible(columns: &SchemaRef) -> Vec<String> {
    let names = columns.fields().iter().map(|field| field.name().clone());
    names.filter(|name| name != METADATA && name != EVENT_TIME).collect()
}

/// A note on columns of a source of changes that the target doesn't declare.
pub(super) fn left_out(dataset: &Dataset, changes: &AutoCdc, given: &SchemaRef) -> Option<Diagnostic> {
    let names = given.fields().iter().map(|field| field.name().as_str());
    let left: Vec<String> =
        names.filter(|name| is_left_out(name, changes, dataset)).map(|name| format!("`{name}`")).collect();
    let message = format!("`{}` doesn't declare {} of its source of changes", dataset.name, left.join(", "));
    let note = Diagnostic::note("UNDECLARED_COLUMN", message).at(changes.span.clone());
    (!left.is_empty()).then(|| note.help("declare what is to be kept, or leave it out with COLUMNS * EXCEPT (…)"))
}

fn undeclared(dataset: &Dataset, name: &str, declared: &SchemaRef) -> Diagnostic {
    let message = format!("the query of `{}` gives column `{name}`, which the table doesn't declare", dataset.name);
    let near = headwater_core::nearest::nearest(name, declared.fields().iter().map(|field| field.name().as_str()));
    let help = near.map_or_else(
        || "declare the column, or leave it out of the SELECT".to_owned(),
        |near| format!("declare the column, leave it out of the SELECT, or name it `{near}` with AS"),
    );
    Diagnostic::error("UNDECLARED_COLUMN", message).help(help)
}

/// A value that can't become the declared type, or of which some can't.
fn conversion(dataset: &Dataset, given: &Field, declared: &Field) -> Option<Diagnostic> {
    let (from, to) = (given.data_type(), declared.data_type());
    if from.equals_datatype(to) || fits(from, to) {
        return None;
    }
    let (name, from_name, to_name) = (given.name(), sql(from), sql(to));
    let says = format!("`{name}` of `{}` is declared {to_name}, but the query gives {from_name}", dataset.name);
    if !can_cast_types(from, to) || from.is_nested() != to.is_nested() {
        let help = format!("give a value of type {to_name}, or declare the column {from_name}");
        return Some(Diagnostic::error("DATATYPE_MISMATCH", says).help(help));
    }
    let always_fits = matches!(to, DataType::Utf8) || (from.is_integer() && to.is_floating());
    (!always_fits).then(|| {
        let message = format!("{says}: a row with a value that doesn't fit goes to quarantine");
        let help = format!("write TRY_CAST({name} AS {to_name}) AS {name} to have NULL instead");
        Diagnostic::warning("DATATYPE_MISMATCH", message).help(help)
    })
}

fn disagreement(flow: &Flow, new: &Field, old: &Field) -> Diagnostic {
    let (name, was, is) = (new.name(), sql(old.data_type()), sql(new.data_type()));
    let message =
        format!("flow `{}` gives `{name}` as {is}, but another flow into `{}` gives {was}", flow.name, flow.target);
    let help = format!("give one type in all flows: CAST(… AS {was}) AS {name}");
    Diagnostic::error("INCOMPATIBLE_FLOWS", message).help(help)
}

fn changed(dataset: &Dataset, (new, old): (&Field, &Field), rebuild: &str) -> Diagnostic {
    let (name, was, is) = (new.name(), sql(old.data_type()), sql(new.data_type()));
    let message = format!("`{name}` of `{}` is {was}, but would become {is}", dataset.name);
    let help = match joined(old.data_type(), new.data_type(), Growth::Types) {
        Some(_) => format!("set TBLPROPERTIES ('{ENABLE_TYPE_WIDENING}' = 'true') to widen it; or {rebuild}"),
        None => rebuild.to_owned(),
    };
    Diagnostic::error("TABLE_CHANGED.COLUMN_TYPE", message).help(help)
}
