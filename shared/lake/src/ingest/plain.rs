//! Values of columnar files in types that tables keep.
//!
//! A union of Avro becomes what Spark makes of it: a struct with a field for each type, `member0`, `member1`, …
//! Times of day and intervals become text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, MapArray, RecordBatch, StructArray, UInt32Array,
    UnionArray,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, UnionFields};
use arrow::error::ArrowError;

use crate::engine::storable_schema;

/// The columns that a file's become. All can be NULL, nested ones too: the next file may lack them.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| plain_field(field).with_nullable(true)).collect();
    storable_schema(&Arc::new(Schema::new(fields)))
}

/// A file's rows in types that can be cast to those of [`plain_schema`].
pub(super) fn plain_rows(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields: Vec<Field> = rows.schema().fields().iter().map(|field| plain_field(field)).collect();
    let columns = rows.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), true)
}

fn plain_type(data_type: &DataType) -> DataType {
    let plain_arc = |field: &Arc<Field>| Arc::new(plain_field(field));
    match data_type {
        DataType::Union(members, _) => DataType::Struct(member_fields(members)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_arc).collect()),
        DataType::List(element) => DataType::List(plain_arc(element)),
        DataType::LargeList(element) => DataType::LargeList(plain_arc(element)),
        DataType::Map(entries, sorted) => DataType::Map(plain_entries(entries), *sorted),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_) | DataType::Duration(_) => DataType::Utf8,
        other => other.clone(),
    }
}

/// Entries of a map, of which neither they nor their keys can be NULL.
fn plain_entries(entries: &Arc<Field>) -> Arc<Field> {
    let DataType::Struct(pair) = plain_type(entries.data_type()) else { return Arc::clone(entries) };
    let pair = pair.iter().enumerate().map(|(at, side)| side.as_ref().clone().with_nullable(at > 0));
    Arc::new(Field::new(entries.name(), DataType::Struct(pair.collect()), false))
}

/// The members of a union that aren't NULL.
fn members(union: &UnionFields) -> impl Iterator<Item = (i8, &Arc<Field>)> {
    union.iter().filter(|(_, field)| !field.data_type().is_null())
}

fn member_fields(union: &UnionFields) -> Fields {
    let field = |(at, (_, field)): (usize, (i8, &Arc<Field>))| {
        Field::new(format!("member{at}"), plain_type(field.data_type()), true)
    };
    members(union).enumerate().map(field).collect()
}

fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let wanted = plain_type(column.data_type());
    if wanted == *column.data_type() {
        return Ok(ArrayRef::clone(column));
    }
    Ok(match (column.data_type(), &wanted) {
        (DataType::Union(fields, _), _) => Arc::new(members_of(column.as_union(), fields)?),
        (DataType::Struct(_), DataType::Struct(fields)) => Arc::new(plain_struct(column.as_struct(), fields)?),
        (DataType::List(_), DataType::List(element)) => Arc::new(plain_list(column.as_list::<i32>(), element)?),
        (DataType::LargeList(_), DataType::LargeList(element)) => {
            Arc::new(plain_list(column.as_list::<i64>(), element)?)
        }
        (DataType::Map(_, sorted), DataType::Map(entries, _)) => {
            let map = column.as_map();
            let DataType::Struct(fields) = entries.data_type() else { return cast(column, &wanted) };
            let values = plain_struct(map.entries(), fields)?;
            Arc::new(MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                values,
                map.nulls().cloned(),
                *sorted,
            )?)
        }
        _ => cast(column, &wanted)?,
    })
}

fn plain_struct(column: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = column.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new(fields.clone(), columns, column.nulls().cloned())
}

fn plain_list<O: arrow::array::OffsetSizeTrait>(
    list: &GenericListArray<O>,
    element: &Arc<Field>,
) -> Result<GenericListArray<O>, ArrowError> {
    GenericListArray::try_new(Arc::clone(element), list.offsets().clone(), plain(list.values())?, list.nulls().cloned())
}

/// A struct with one field a member, of which each row has the one that it holds; none for NULL.
fn members_of(union: &UnionArray, fields: &UnionFields) -> Result<StructArray, ArrowError> {
    let rows: Vec<(i8, u32)> = (0..union.len())
        .map(|row| (union.type_id(row), u32::try_from(union.value_offset(row)).unwrap_or(u32::MAX)))
        .collect();
    let member = |(id, _): (i8, &Arc<Field>)| {
        let places: UInt32Array = rows.iter().map(|(held, at)| (*held == id).then_some(*at)).collect();
        plain(&take(union.child(id), &places, None)?)
    };
    let columns = members(fields).map(member).collect::<Result<Vec<_>, _>>()?;
    let is_held: BooleanArray = rows.iter().map(|(held, _)| Some(members(fields).any(|(id, _)| id == *held))).collect();
    StructArray::try_new(member_fields(fields), columns, Some(is_held.values().clone().into()))
}
