//! Rows in a wanted schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, RecordBatch, StructArray, UInt64Array, new_null_array,
};
use arrow::compute::{CastOptions, cast, cast_with_options, filter_record_batch, not, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;

use crate::error::{LakeError, Result};
use crate::widening::{Growth, widened};

/// A batch in the target's schema: columns by name, cast where the types differ, NULL where the
/// query doesn't give a column.
pub(crate) fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(column) => fitted(column, field),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    in_schema(batch, schema, columns)
}

/// Why rows don't fit, by their numbers.
pub(crate) type Reasons = BTreeMap<usize, Vec<String>>;

/// Rows of which a value doesn't fit its column.
#[derive(Debug)]
pub(crate) struct Misfits {
    /// Them in the wanted schema; what doesn't fit is NULL.
    pub(crate) rows: RecordBatch,
    /// What doesn't fit, for each.
    pub(crate) reasons: Vec<String>,
    /// Each as a JSON object, as the query gave it.
    pub(crate) given: Vec<Vec<u8>>,
}

/// A batch in the target's schema as [`align`], without those rows of which a value doesn't fit; and for each row of the
/// batch whether it does, if not all do.
pub(crate) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<(RecordBatch, Option<(BooleanArray, Misfits)>)> {
    match align(batch, schema) {
        Err(LakeError::ColumnDoesNotFit { .. }) => {}
        aligned => return Ok((aligned?, None)),
    }
    let mut reasons = Reasons::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => fitted_where(column, field, &mut reasons)?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    parted(batch, &in_schema(batch, schema, columns)?, reasons)
}

/// Rows in the wanted schema without those that there are reasons against, as [`fit`].
pub(crate) fn parted(
    batch: &RecordBatch,
    all: &RecordBatch,
    reasons: Reasons,
) -> Result<(RecordBatch, Option<(BooleanArray, Misfits)>)> {
    if reasons.is_empty() {
        return Ok((all.clone(), None));
    }
    let fits: BooleanArray = (0..batch.num_rows()).map(|row| Some(!reasons.contains_key(&row))).collect();
    let not_fitting = not(&fits).map_err(LakeError::arrow)?;
    let only = |rows: &RecordBatch, those: &BooleanArray| filter_record_batch(rows, those).map_err(LakeError::arrow);
    let misfits = Misfits {
        rows: only(all, &not_fitting)?,
        reasons: reasons.into_values().map(|reasons| reasons.join("; ")).collect(),
        given: as_json(&only(batch, &not_fitting)?)?,
    };
    Ok((only(all, &fits)?, Some((fits, misfits))))
}

/// Where a column of this name is; of names that differ in case alone, the one that is spelled so.
pub(crate) fn position(schema: &Schema, name: &str) -> Option<usize> {
    field_position(schema.fields(), name)
}

/// Where a field of this name is, likewise.
pub(crate) fn field_position(fields: &Fields, name: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| is_same_name(field.name(), name)))
}

/// Whether tables take two names for the same: in any case.
pub(crate) fn is_same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || !one.is_ascii() && one.to_lowercase() == other.to_lowercase()
}

/// Whether values of the new type fit a column of the old one without loss.
pub(crate) fn fits(new: &DataType, old: &DataType) -> bool {
    let rank = |data_type: &DataType| match data_type {
        DataType::Int8 => Some(1),
        DataType::Int16 => Some(2),
        DataType::Int32 => Some(3),
        DataType::Int64 => Some(4),
        _ => None,
    };
    let widens = rank(new).zip(rank(old)).is_some_and(|(new, old)| new <= old);
    new.equals_datatype(old) || widens || (matches!(new, DataType::Float32) && matches!(old, DataType::Float64))
}

/// The type of a column that takes values of the new type beside those of the old one: the old one, with new fields
/// of structs after those that it has, or a wider one where it may grow so. `None` if there is none.
pub(crate) fn joined(old: &DataType, new: &DataType, growth: Growth) -> Option<DataType> {
    let (DataType::Struct(old_fields), DataType::Struct(new_fields)) = (old, new) else {
        let same = fits(new, old).then(|| old.clone());
        return same.or_else(|| if growth == Growth::Types { widened(old, new) } else { None });
    };
    Some(DataType::Struct(joined_fields(old_fields, new_fields, |old, new| joined(old, new, growth))?))
}

/// The same, but a field of a struct that can't have such a type keeps its own, beside what is new.
pub(crate) fn joined_where_it_can(old: &DataType, new: &DataType, growth: Growth) -> Option<DataType> {
    let (DataType::Struct(old_fields), DataType::Struct(new_fields)) = (old, new) else {
        return joined(old, new, growth);
    };
    let field = |old: &DataType, new: &DataType| joined_where_it_can(old, new, growth).or_else(|| Some(old.clone()));
    Some(DataType::Struct(joined_fields(old_fields, new_fields, field)?))
}

fn joined_fields(
    old: &Fields,
    new: &Fields,
    join: impl Fn(&DataType, &DataType) -> Option<DataType>,
) -> Option<Fields> {
    let mut fields: Vec<Arc<Field>> = old.to_vec();
    for new in new {
        match fields.iter_mut().find(|old| is_same_name(old.name(), new.name())) {
            Some(old) => {
                let data_type = join(old.data_type(), new.data_type())?;
                *old = Arc::new(old.as_ref().clone().with_data_type(data_type));
            }
            None => fields.push(Arc::new(new.as_ref().clone().with_nullable(true))),
        }
    }
    Some(fields.into())
}

/// The first schema's fields, then the second's new ones, those of structs too. All can be NULL: rows written before a
/// column was added have none.
pub(crate) fn merged(first: &SchemaRef, second: &SchemaRef) -> SchemaRef {
    grown(first, second, Growth::Columns)
}

/// The same, and where types may grow with those that have grown.
pub(crate) fn grown(first: &SchemaRef, second: &SchemaRef, growth: Growth) -> SchemaRef {
    let same = |schema: &SchemaRef, name: &str| {
        schema.fields().iter().find(|field| is_same_name(field.name(), name)).map(Arc::clone)
    };
    let kept = first.fields().iter().map(|field| {
        let new = same(second, field.name());
        let data_type = new.and_then(|new| joined_where_it_can(field.data_type(), new.data_type(), growth));
        let data_type = data_type.unwrap_or_else(|| field.data_type().clone());
        field.as_ref().clone().with_data_type(data_type).with_nullable(true)
    });
    let added = second.fields().iter().filter(|field| same(first, field.name()).is_none());
    let fields: Vec<Field> = kept.chain(added.map(|field| field.as_ref().clone().with_nullable(true))).collect();
    Arc::new(Schema::new(fields))
}

/// A column in the field's type.
pub(crate) fn fitted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    cast_by_name(column, field.data_type()).map_err(|error| LakeError::ColumnDoesNotFit {
        column: field.name().clone(),
        from: column.data_type().to_string(),
        to: field.data_type().to_string(),
        message: error.to_string(),
    })
}

/// Values in another type, fields of structs by their names at any depth.
fn cast_by_name(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (column.data_type(), to) {
        (from, to) if from == to => Ok(ArrayRef::clone(column)),
        // Of any type.
        _ if column.logical_null_count() == column.len() => Ok(new_null_array(to, column.len())),
        (DataType::Struct(_), DataType::Struct(to)) => Ok(Arc::new(struct_by_name(column.as_struct(), to)?)),
        (DataType::List(_), DataType::List(to)) => {
            let list = column.as_list::<i32>();
            let values = cast_by_name(list.values(), to.data_type())?;
            let list = ListArray::try_new(Arc::clone(to), list.offsets().clone(), values, list.nulls().cloned())?;
            Ok(Arc::new(list))
        }
        (
            DataType::LargeList(element)
            | DataType::FixedSizeList(element, _)
            | DataType::ListView(element)
            | DataType::LargeListView(element),
            DataType::List(_),
        ) => cast_by_name(&cast(column, &DataType::List(Arc::clone(element)))?, to),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let (map, DataType::Struct(pair)) = (column.as_map(), entries.data_type()) else {
                return Err(ArrowError::CastError(format!("{entries} isn't a map's entry")));
            };
            let sides = map.entries().columns().iter().zip(pair).map(|(side, to)| cast_by_name(side, to.data_type()));
            let values = StructArray::try_new(pair.clone(), sides.collect::<Result<_, _>>()?, None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, values, nulls, *sorted)?))
        }
        (_, to) => cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() }),
    }
}

/// A struct with these fields, by name; NULL for one that it lacks.
fn struct_by_name(column: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let inner = |field: &Arc<Field>| match field_position(column.fields(), field.name()) {
        Some(at) => cast_by_name(column.column(at), field.data_type())
            .map_err(|error| ArrowError::CastError(format!("`{}`: {error}", field.name()))),
        None => Ok(new_null_array(field.data_type(), column.len())),
    };
    let columns = fields.iter().map(inner).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, column.nulls().cloned(), column.len())
}

/// The same, with NULL for each value that doesn't fit, of which the reasons are kept by row.
fn fitted_where(column: &ArrayRef, field: &Field, reasons: &mut Reasons) -> Result<ArrayRef> {
    if let Ok(all) = fitted(column, field) {
        return Ok(all);
    }
    // Not slices, whose lists would still hold the elements of the other rows.
    let only = |rows: Vec<Option<u64>>| take(column, &UInt64Array::from(rows), None).map_err(LakeError::arrow);
    let mut fitting = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        let failure = fitted(&only(vec![Some(row as u64)])?, field).err();
        fitting.push(failure.is_none().then_some(row as u64));
        if let Some(LakeError::ColumnDoesNotFit { column, to, message, .. }) = failure {
            reasons.entry(row).or_default().push(format!("`{column}` doesn't fit {to}: {message}"));
        }
    }
    fitted(&only(fitting)?, field)
}

/// Each row as a JSON object, without what is NULL.
pub(crate) fn as_json(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(rows).and_then(|()| writer.finish()).map_err(LakeError::arrow)?;
    let lines = writer.into_inner();
    Ok(lines.split(|byte| *byte == b'\n').take(rows.num_rows()).map(<[u8]>::to_vec).collect())
}

/// Columns as a batch of as many rows.
pub(crate) fn in_schema(batch: &RecordBatch, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(LakeError::arrow)
}
