//! A table's columns, as actions of its log and as Delta's JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::{Action, Metadata, MetadataExt, StructType, new_metadata};
use headwater_core::graph::properties::ENABLE_TYPE_WIDENING;
use url::Url;

use crate::commit::SchemaChange;
use crate::error::{LakeError, Result};
use crate::pin::Head;
use crate::protocol::{protocol_for, raised};
use crate::widened_log::{parse_changes, with_changes};
use crate::widening::Growth;

/// The actions that make a table, or change its columns.
///
/// # Errors
/// `Invalid` for columns that a Delta table can't have.
pub(crate) fn schema_actions(url: &Url, change: Option<&SchemaChange>, head: Option<&Head>) -> Result<Vec<Action>> {
    let delta = |source: deltalake::kernel::Error| LakeError::delta(url, source.into());
    Ok(match change {
        Some(SchemaChange::Create { schema, partitioned_by, configuration, comment }) => {
            let mut metadata = new_metadata(&delta_schema(schema)?, partitioned_by, configuration).map_err(delta)?;
            if let Some(comment) = comment {
                metadata = metadata.with_description(comment.clone()).map_err(delta)?;
            }
            vec![Action::Protocol(protocol_for(schema, configuration)?), Action::Metadata(metadata)]
        }
        Some(SchemaChange::Relayout { schema, partitioned_by, configuration }) => {
            let Some(head) = head else { return Ok(Vec::new()) };
            let protocol = raised(&head.protocol, schema, configuration)?.map(Action::Protocol);
            let present = &head.metadata;
            let mut properties = present.configuration().clone();
            properties.extend(configuration.clone());
            let mut metadata = new_metadata(&delta_schema(schema)?, partitioned_by, properties).map_err(delta)?;
            metadata = metadata.with_table_id(present.id().to_owned()).map_err(delta)?;
            if let Some(comment) = present.description() {
                metadata = metadata.with_description(comment.to_owned()).map_err(delta)?;
            }
            protocol.into_iter().chain([Action::Metadata(metadata)]).collect()
        }
        Some(SchemaChange::SetColumns { schema, configuration }) => {
            let Some(head) = head else { return Ok(Vec::new()) };
            with_columns(url, head, (schema, configuration), Growth::Columns)?
        }
        Some(SchemaChange::Widen { schema, configuration }) => {
            let Some(head) = head else { return Ok(Vec::new()) };
            let mut configuration = configuration.clone();
            configuration.insert(ENABLE_TYPE_WIDENING.to_owned(), "true".to_owned());
            with_columns(url, head, (schema, &configuration), Growth::Types)?
        }
        None => Vec::new(),
    })
}

fn with_columns(
    url: &Url,
    head: &Head,
    (schema, configuration): (&SchemaRef, &BTreeMap<String, String>),
    growth: Growth,
) -> Result<Vec<Action>> {
    let delta = |source: deltalake::kernel::Error| LakeError::delta(url, source.into());
    let protocol = raised(&head.protocol, schema, configuration)?.map(Action::Protocol);
    let before = serde_json::to_value(head.columns.as_ref()).map_err(unexpected)?;
    let mut columns = serde_json::to_value(delta_schema(schema)?).map_err(unexpected)?;
    with_changes(&before, &mut columns, growth == Growth::Types);
    let columns: StructType = serde_json::from_value(columns).map_err(unexpected)?;
    let present: Metadata = head.metadata.clone();
    let mut metadata = present.with_schema(&columns).map_err(delta)?;
    for (key, value) in configuration {
        metadata = metadata.add_config_key(key.clone(), value.clone()).map_err(delta)?;
    }
    Ok(protocol.into_iter().chain([Action::Metadata(metadata)]).collect())
}

/// The columns of a table with what they tell of the types that they had, for a table that gets its files.
pub(crate) fn columns_with_changes(head: &Head) -> Result<SchemaRef> {
    let columns: arrow::datatypes::Schema = head.columns.as_ref().try_into_arrow().map_err(LakeError::arrow)?;
    Ok(Arc::new(columns))
}

/// A schema as Delta's JSON.
pub(crate) fn schema_to_json(schema: &SchemaRef) -> Result<String> {
    serde_json::to_string(&delta_schema(schema)?).map_err(unexpected)
}

/// A schema of Delta's JSON; `None` if it isn't one.
pub(crate) fn schema_from_json(json: &str) -> Option<SchemaRef> {
    let schema: StructType = serde_json::from_str(json).ok()?;
    let schema: arrow::datatypes::Schema = (&schema).try_into_arrow().ok()?;
    Some(Arc::new(schema))
}

fn delta_schema(schema: &SchemaRef) -> Result<StructType> {
    let columns: StructType =
        schema.as_ref().try_into_kernel().map_err(|source: arrow::error::ArrowError| LakeError::Configuration {
            message: format!("a column's type can't be kept in a Delta table: {source}"),
            help: "cast it in the query to a SQL type".into(),
        })?;
    let mut columns = serde_json::to_value(columns).map_err(unexpected)?;
    parse_changes(&mut columns);
    serde_json::from_value(columns).map_err(unexpected)
}

fn unexpected(source: serde_json::Error) -> LakeError {
    LakeError::Internal { message: source.to_string() }
}
