//! The tables that a batch writes to, pinned, and the schema that they have or get.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_core::graph::properties::ENABLE_TYPE_WIDENING;
use headwater_core::model::{Dataset, FlowKind};
use headwater_core::provenance::{EVENT_TIME, METADATA};

use super::FlowRun;
use super::outlet::TablePlan;
use crate::align::{grown, joined, merged};
use crate::commit::SchemaChange;
use crate::engine::{arrow_schema, sql_name, storable_schema};
use crate::error::{LakeError, Result};
use crate::ingest::side_schema;
use crate::layout::keys;
use crate::table::Table;
use crate::widening::Growth;

/// The handles of a target and its side tables, all pinned before the batch is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Pinned {
    pub(super) main: Option<Table>,
    pub(super) quarantine: Option<Table>,
    pub(super) late: Option<Table>,
    /// What the target's changes are held against; only of a flow of changes.
    pub(super) changes: Option<Table>,
}

/// Fields of `_metadata` that a query may name, and that aren't kept unless it gives them names of their own.
const NOT_KEPT: [&str; 3] = ["file_block_start", "file_block_length", "row_index"];

impl FlowRun<'_> {
    /// Pins the target and its side tables at their latest versions.
    pub(super) async fn pin_target(&self) -> Result<Pinned> {
        let name = &self.flow.target;
        let changes = match &self.flow.changes {
            Some(_) => self.lake.table(&name.changes()).await?,
            None => None,
        };
        let (quarantine, late) = (name.quarantine(), name.late());
        let (main, quarantine, late) =
            futures::join!(self.lake.table(name), self.lake.table(&quarantine), self.lake.table(&late));
        Ok(Pinned { main: main?, quarantine: quarantine?, late: late?, changes })
    }

    /// The same for records that nobody has tried to land before: a side table that was missing has none of them. If it is
    /// there by now, its first version is a race that the batch loses, and pins all anew.
    pub(super) async fn pin_target_of_new_records(&self) -> Result<Pinned> {
        let name = &self.flow.target;
        let (quarantine, late) = (name.quarantine(), name.late());
        let (main, quarantine, late) = futures::join!(
            self.lake.table(name),
            self.lake.table_once_seen(&quarantine),
            self.lake.table_once_seen(&late)
        );
        Ok(Pinned { main: main?, quarantine: quarantine?, late: late?, changes: None })
    }

    /// The target as this batch writes it, from the query's columns.
    pub(super) async fn target_plan(
        &self,
        pinned: &Pinned,
        query_schema: &SchemaRef,
        remembered: Option<(String, String)>,
    ) -> Result<TablePlan> {
        let given = without_hidden(&storable_schema(query_schema));
        let replaced = match &pinned.main {
            Some(table) => self.flow.kind == FlowKind::Materialize || table.is_empty().await?,
            None => true,
        };
        let kept = pinned.main.as_ref().filter(|_| !replaced);
        if let Some(table) = kept
            && !same_columns(&table.partitioned_by(), &self.dataset.partitioned_by)
        {
            return Err(LakeError::Configuration {
                message: format!("`{}` isn't partitioned in the lake as it is declared", self.dataset.name),
                help: format!("declare the partition columns that it has, or run --full-refresh={}", self.dataset.name),
            });
        }
        let existing = kept.map(Table::schema);
        let growth = self.growth_of(pinned.main.as_ref());
        let schema = target_schema(self.dataset, (existing.as_ref(), growth), &given)?;
        Ok(TablePlan {
            path: self.lake.table_path(&self.flow.target)?,
            keys: keys(self.lake.pipeline(), &self.flow.target, &schema),
            schema,
            partitioned_by: self.dataset.partitioned_by.clone(),
            configuration: delta_configuration(&self.dataset.properties).into_iter().chain(remembered).collect(),
            comment: self.dataset.comment.clone(),
            growth,
        })
    }

    /// How the columns of the target may grow: their types do as the pipeline says, or where the table in the lake asks for it.
    /// A view, whose rows are all replaced, needs no growth.
    pub(super) fn growth_of(&self, main: Option<&Table>) -> Growth {
        let is_declared = self.dataset.properties.contains_key(ENABLE_TYPE_WIDENING);
        let by_lake = main.and_then(|table| table.property(ENABLE_TYPE_WIDENING)).filter(|_| !is_declared);
        let widens = self.lake.pipeline().may_widen(&self.flow.target)
            || by_lake.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Growth::of(self.flow.kind != FlowKind::Materialize && widens)
    }

    /// A side table of the target.
    pub(super) fn side_plan(
        &self,
        side: &headwater_core::name::DatasetName,
        main: &TablePlan,
        table: Option<&Table>,
    ) -> Result<TablePlan> {
        let wanted = side_schema(&main.schema);
        let schema = table.map_or_else(|| Arc::clone(&wanted), |table| grown(&table.schema(), &wanted, main.growth));
        Ok(TablePlan {
            path: self.lake.table_path(side)?,
            keys: Vec::new(),
            schema,
            partitioned_by: Vec::new(),
            configuration: BTreeMap::new(),
            comment: None,
            growth: main.growth,
        })
    }
}

impl TablePlan {
    /// What a commit must change in the table's schema: create it, add columns, or nothing.
    pub(super) fn schema_change(&self, table: Option<&Table>) -> Option<SchemaChange> {
        let Some(table) = table else {
            return Some(SchemaChange::Create {
                schema: Arc::clone(&self.schema),
                partitioned_by: self.partitioned_by.clone(),
                configuration: self.configuration.clone(),
                comment: self.comment.clone(),
            });
        };
        let present = table.schema();
        if !same_columns(&table.partitioned_by(), &self.partitioned_by) {
            return Some(SchemaChange::Relayout {
                schema: Arc::clone(&self.schema),
                partitioned_by: self.partitioned_by.clone(),
                configuration: self.configuration.clone(),
            });
        }
        let differs = present.fields().len() != self.schema.fields().len()
            || !self.schema.fields().iter().all(|field| {
                present
                    .field_with_name(field.name())
                    .is_ok_and(|old| old.data_type().equals_datatype(field.data_type()))
            });
        let configuration: BTreeMap<String, String> = self
            .configuration
            .iter()
            .filter(|(key, value)| table.property(key).as_ref() != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !differs && configuration.is_empty() {
            return None;
        }
        let schema = Arc::clone(&self.schema);
        Some(match self.growth {
            Growth::Types if merged(&present, &schema) != grown(&present, &schema, Growth::Types) => {
                SchemaChange::Widen { schema, configuration }
            }
            Growth::Types | Growth::Columns => SchemaChange::SetColumns { schema, configuration },
        })
    }
}

/// The schema to write: the declared columns, or the table's with the query's new ones after them,
/// or the query's.
pub(super) fn target_schema(
    dataset: &Dataset,
    (existing, growth): (Option<&SchemaRef>, Growth),
    given: &SchemaRef,
) -> Result<SchemaRef> {
    let wanted = if dataset.columns.is_empty() { Arc::clone(given) } else { declared(dataset, given)? };
    let Some(existing) = existing else { return Ok(wanted) };
    for field in wanted.fields() {
        if let Ok(old) = existing.field_with_name(field.name())
            && joined(old.data_type(), field.data_type(), growth).is_none()
        {
            let (from, to) = (old.data_type(), field.data_type());
            let remedy = match joined(from, to, Growth::Types) {
                Some(_) => format!("set TBLPROPERTIES ('{ENABLE_TYPE_WIDENING}' = 'true') to widen it, "),
                None => String::new(),
            };
            return Err(LakeError::SchemaMismatch {
                table: dataset.name.to_string(),
                column: field.name().clone(),
                from: sql_name(from),
                to: sql_name(to),
                remedy,
            });
        }
    }
    Ok(grown(existing, &wanted, growth))
}

/// The declared columns, then `_metadata` where the query gives it. A column of the query that isn't
/// declared is an error, as it would be lost.
fn declared(dataset: &Dataset, given: &SchemaRef) -> Result<SchemaRef> {
    let declared = arrow_schema(&dataset.columns)?;
    let mut fields: Vec<Arc<Field>> = declared.fields().iter().cloned().collect();
    for field in given.fields() {
        if field.name() == METADATA {
            fields.push(Arc::clone(field));
        } else if declared.column_with_name(field.name()).is_none() {
            return Err(LakeError::Configuration {
                message: format!(
                    "the query of `{}` gives column `{}`, which the table doesn't declare",
                    dataset.name,
                    field.name()
                ),
                help: "declare the column, or leave it out of the SELECT".into(),
            });
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The columns that are kept: not the event time of a watermark, and of `_metadata` only what tells what a row is of.
pub(super) fn without_hidden(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| field.name() != EVENT_TIME);
    let kept = fields.map(|field| match field.data_type() {
        DataType::Struct(fields) if field.name() == METADATA => {
            let kept = fields.iter().filter(|field| !NOT_KEPT.contains(&field.name().as_str()));
            Field::new(METADATA, DataType::Struct(kept.cloned().collect()), true)
        }
        _ => field.as_ref().clone().with_nullable(true),
    });
    Arc::new(Schema::new(kept.collect::<Vec<_>>()))
}

/// Whether two lists name the same columns in the same order.
pub(super) fn same_columns(first: &[String], second: &[String]) -> bool {
    first.len() == second.len() && first.iter().zip(second).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Properties that Delta itself reads.
fn delta_configuration(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    properties
        .iter()
        .filter(|(key, _)| key.starts_with("delta."))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
