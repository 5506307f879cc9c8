//! Tables with columns that were widened, as delta-rs scans them.
//!
//! delta-rs reads files whose columns are narrower than the table's as the table's, but refuses a table that asks for it by
//! name. So it is handed a snapshot that doesn't ask, made from the form in which it hands one on to other processes. Only
//! scans get it: whatever is written sees the table as it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use deltalake::kernel::{Protocol, Snapshot};
use deltalake::{DeltaResult, DeltaTableError};
use serde_json::{Map, Value};

use crate::widening::is_supported;

/// The feature of such tables.
pub(crate) const TYPE_WIDENING: &str = "typeWidening";

/// Where a field tells of the types that it had.
pub(crate) const TYPE_CHANGES: &str = "delta.typeChanges";

/// Where a snapshot's parts are in that form.
const PROTOCOL: usize = 2;
const METADATA: usize = 3;

/// Whether a table may have such columns.
pub(crate) fn may_be_widened(protocol: &Protocol) -> bool {
    protocol.reader_features().is_some_and(|features| features.iter().any(|feature| feature.as_ref() == TYPE_WIDENING))
}

/// A protocol that asks for all but that.
pub(crate) fn without_widening(protocol: &Protocol) -> DeltaResult<Protocol> {
    Ok(serde_json::from_value(without_feature(serde_json::to_value(protocol)?))?)
}

/// The same table for scans.
///
/// # Errors
/// For a change of a type that can't be followed.
pub(crate) fn scannable(log: &Snapshot) -> DeltaResult<Snapshot> {
    let mut form = serde_json::to_value(log)?;
    let unknown = || DeltaTableError::Generic("a snapshot has another form than is known".to_owned());
    let protocol = form.get_mut(PROTOCOL).ok_or_else(unknown)?;
    *protocol = without_feature(protocol.take());
    let columns = form.get_mut(METADATA).and_then(|metadata| metadata.get_mut("schemaString")).ok_or_else(unknown)?;
    let mut schema: Value = serde_json::from_str(columns.as_str().unwrap_or_default())?;
    for (column, from, to) in taken_changes(&mut schema) {
        if !is_supported(&from, &to) {
            let text = format!("its column `{column}` was changed from {from} to {to}, which isn't read here");
            return Err(DeltaTableError::Generic(text));
        }
    }
    *columns = schema.to_string().into();
    Ok(serde_json::from_value(form)?)
}

/// Columns without what they tell of the types that they had.
pub(crate) fn without_changes(columns: SchemaRef) -> SchemaRef {
    if columns.fields().iter().any(tells_changes) {
        return Arc::new(Schema::new(columns.fields().iter().map(plain).collect::<Fields>()));
    }
    columns
}

/// Has the fields of Delta's JSON tell of the types that they had: those that the same fields of `before` tell of, and where
/// the types `are_widened` theirs.
pub(crate) fn with_changes(before: &Value, now: &mut Value, are_widened: bool) {
    for field in fields_mut(now) {
        let name = field.get("name").cloned();
        let old = fields(before).iter().find(|old| old.get("name") == name.as_ref());
        let Some((old, Value::Object(field))) = old.map(|old| (old, field)) else { continue };
        let (from, to) = (&old["type"], field.get("type").cloned().unwrap_or_default());
        let told = old["metadata"].get(TYPE_CHANGES).and_then(Value::as_array).cloned();
        let mut changes = told.unwrap_or_default();
        if from.is_string() && to.is_string() && *from != to {
            if !are_widened {
                continue;
            }
            changes.push(serde_json::json!({"fromType": from, "toType": to}));
        }
        if let Some(inner) = field.get_mut("type").filter(|inner| inner.is_object()) {
            with_changes(from, inner, are_widened);
        }
        if changes.is_empty() {
            continue;
        }
        if let Value::Object(metadata) = field.entry("metadata").or_insert_with(|| Value::Object(Map::new())) {
            metadata.insert(TYPE_CHANGES.to_owned(), Value::Array(changes));
        }
    }
}

/// Makes lists of what fields tell of their types, where it is text, as columns of Arrow have it.
pub(crate) fn parse_changes(data_type: &mut Value) {
    for inner in ["elementType", "keyType", "valueType"] {
        data_type.get_mut(inner).into_iter().for_each(parse_changes);
    }
    for field in fields_mut(data_type) {
        if let Some(changes) = field.get_mut("metadata").and_then(|metadata| metadata.get_mut(TYPE_CHANGES))
            && let Some(list) = changes.as_str().and_then(|text| serde_json::from_str(text).ok())
        {
            *changes = list;
        }
        field.get_mut("type").into_iter().for_each(parse_changes);
    }
}

fn tells_changes(field: &Arc<Field>) -> bool {
    field.metadata().contains_key(TYPE_CHANGES)
        || matches!(field.data_type(), DataType::Struct(fields) if fields.iter().any(tells_changes))
}

fn plain(field: &Arc<Field>) -> Arc<Field> {
    let mut metadata = field.metadata().clone();
    metadata.remove(TYPE_CHANGES);
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
}

fn without_feature(mut protocol: Value) -> Value {
    for side in ["readerFeatures", "writerFeatures"] {
        if let Some(features) = protocol.get_mut(side).and_then(Value::as_array_mut) {
            features.retain(|feature| feature != TYPE_WIDENING);
        }
    }
    protocol
}

/// Takes from the fields of a type, at any depth, what they tell of their types before: name, type, next type.
fn taken_changes(data_type: &mut Value) -> Vec<(String, String, String)> {
    let Value::Object(data_type) = data_type else { return Vec::new() };
    let mut taken = Vec::new();
    for inner in ["elementType", "keyType", "valueType"] {
        taken.extend(data_type.get_mut(inner).map(taken_changes).unwrap_or_default());
    }
    for field in data_type.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default().to_owned();
        let changes = field.get_mut("metadata").and_then(Value::as_object_mut).and_then(|all| all.remove(TYPE_CHANGES));
        let text = |change: &Value, key: &str| change[key].as_str().unwrap_or_default().to_owned();
        for change in changes.as_ref().and_then(Value::as_array).into_iter().flatten() {
            taken.push((name.clone(), text(change, "fromType"), text(change, "toType")));
        }
        taken.extend(field.get_mut("type").map(taken_changes).unwrap_or_default());
    }
    taken
}

fn fields(data_type: &Value) -> &[Value] {
    data_type.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn fields_mut(data_type: &mut Value) -> &mut [Value] {
    data_type.get_mut("fields").and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}
