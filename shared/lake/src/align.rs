//! Rows in a wanted schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray, UInt64Array, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, not, nullif, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
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
    let mut reasons: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => fitted_where(column, field, &mut reasons)?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    let all = in_schema(batch, schema, columns)?;
    let fits: BooleanArray = (0..batch.num_rows()).map(|row| Some(!reasons.contains_key(&row))).collect();
    let not_fitting = not(&fits).map_err(LakeError::arrow)?;
    let only = |rows: &RecordBatch, those: &BooleanArray| filter_record_batch(rows, those).map_err(LakeError::arrow);
    let misfits = Misfits {
        rows: only(&all, &not_fitting)?,
        reasons: reasons.into_values().map(|reasons| reasons.join("; ")).collect(),
        given: as_json(&only(batch, &not_fitting)?)?,
    };
    Ok((only(&all, &fits)?, Some((fits, misfits))))
}

/// Where a column of this name is; of names that differ in case alone, the one that is spelled so.
pub(crate) fn position(schema: &SchemaRef, name: &str) -> Option<usize> {
    let exact = schema.index_of(name).ok();
    exact.or_else(|| schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name)))
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
    let mut fields: Vec<Arc<Field>> = old_fields.to_vec();
    for new in new_fields {
        match fields.iter_mut().find(|old| old.name().eq_ignore_ascii_case(new.name())) {
            Some(old) => {
                let data_type = joined(old.data_type(), new.data_type(), growth)?;
                *old = Arc::new(old.as_ref().clone().with_data_type(data_type));
            }
            None => fields.push(Arc::new(new.as_ref().clone().with_nullable(true))),
        }
    }
    Some(DataType::Struct(fields.into()))
}

/// The first schema's fields, then the second's new ones, those of structs too. All can be NULL: rows written before a
/// column was added have none.
pub(crate) fn merged(first: &SchemaRef, second: &SchemaRef) -> SchemaRef {
    grown(first, second, Growth::Columns)
}

/// The same, and where types may grow with those that have grown.
pub(crate) fn grown(first: &SchemaRef, second: &SchemaRef, growth: Growth) -> SchemaRef {
    let same = |schema: &SchemaRef, name: &str| {
        schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name)).map(Arc::clone)
    };
    let kept = first.fields().iter().map(|field| {
        let new = same(second, field.name());
        let data_type = new.and_then(|new| joined(field.data_type(), new.data_type(), growth));
        let data_type = data_type.unwrap_or_else(|| field.data_type().clone());
        field.as_ref().clone().with_data_type(data_type).with_nullable(true)
    });
    let added = second.fields().iter().filter(|field| same(first, field.name()).is_none());
    let fields: Vec<Field> = kept.chain(added.map(|field| field.as_ref().clone().with_nullable(true))).collect();
    Arc::new(Schema::new(fields))
}

/// A batch in the wanted schema, and for each row what of it isn't there, as a JSON object: columns that aren't wanted,
/// and values that don't fit theirs.
pub(crate) fn rescued(batch: &RecordBatch, schema: &SchemaRef) -> Result<(RecordBatch, Vec<Option<String>>)> {
    let is_wanted = |name: &str| schema.field_with_name(name).is_ok();
    let unknown = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| !is_wanted(field.name()))
        .map(|(field, column)| (field.name().clone(), Arc::clone(column), true))
        .collect::<Vec<_>>();
    let (mut rest, mut columns) = (unknown, Vec::with_capacity(schema.fields().len()));
    for field in schema.fields() {
        let Some(column) = batch.column_by_name(field.name()) else {
            columns.push(new_null_array(field.data_type(), batch.num_rows()));
            continue;
        };
        let mut reasons = BTreeMap::new();
        let fitted = fitted_where(column, field, &mut reasons)?;
        columns.push(exact(column, fitted, &mut reasons)?);
        if !reasons.is_empty() {
            let fits: BooleanArray = (0..batch.num_rows()).map(|row| Some(!reasons.contains_key(&row))).collect();
            rest.push((field.name().clone(), nullif(column, &fits).map_err(LakeError::arrow)?, true));
        }
    }
    let rows = in_schema(batch, schema, columns)?;
    if rest.is_empty() {
        return Ok((rows, vec![None; batch.num_rows()]));
    }
    let rest = RecordBatch::try_from_iter_with_nullable(rest).map_err(LakeError::arrow)?;
    let text = |line: Vec<u8>| String::from_utf8(line).ok().filter(|line| line != "{}");
    Ok((rows, as_json(&rest)?.into_iter().map(text).collect()))
}

/// A column in the field's type.
fn fitted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(ArrayRef::clone(column));
    }
    if let (DataType::Struct(from), DataType::Struct(to)) = (column.data_type(), field.data_type())
        && !to.iter().map(|field| field.name()).eq(from.iter().map(|field| field.name()))
    {
        return fitted_struct(column.as_struct(), to);
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &strict).map_err(|source| LakeError::ColumnDoesNotFit {
        column: field.name().clone(),
        from: column.data_type().to_string(),
        to: field.data_type().to_string(),
        message: source.to_string(),
    })
}

/// A struct with these fields, by name; NULL for one that it lacks.
fn fitted_struct(column: &StructArray, fields: &Fields) -> Result<ArrayRef> {
    let inner = |field: &Arc<Field>| match column.column_by_name(field.name()) {
        Some(inner) => fitted(inner, field),
        None => Ok(new_null_array(field.data_type(), column.len())),
    };
    let columns = fields.iter().map(inner).collect::<Result<Vec<_>>>()?;
    let fitted = StructArray::try_new_with_length(fields.clone(), columns, column.nulls().cloned(), column.len());
    Ok(Arc::new(fitted.map_err(LakeError::arrow)?))
}

/// The same, with NULL for each value that doesn't fit, of which the reasons are kept by row.
fn fitted_where(column: &ArrayRef, field: &Field, reasons: &mut BTreeMap<usize, Vec<String>>) -> Result<ArrayRef> {
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

/// Values in their column's type, with NULL for each that has lost a fraction or a time of day in it.
fn exact(given: &ArrayRef, fitted: ArrayRef, reasons: &mut BTreeMap<usize, Vec<String>>) -> Result<ArrayRef> {
    let (from, to) = (given.data_type(), fitted.data_type());
    let may_lose = match from {
        DataType::Float32 | DataType::Float64 => to.is_integer() || matches!(to, DataType::Decimal128(..)),
        DataType::Decimal128(..) => from != to && to.is_numeric(),
        DataType::Timestamp(..) => matches!(to, DataType::Date32),
        _ => false,
    };
    if !may_lose {
        return Ok(fitted);
    }
    let back = cast_with_options(&fitted, from, &CastOptions::default()).map_err(LakeError::arrow)?;
    let is_other = distinct(&back, given).map_err(LakeError::arrow)?;
    for row in (0..is_other.len()).filter(|row| is_other.value(*row)) {
        reasons.entry(row).or_default().push("a part of it would be lost".to_owned());
    }
    nullif(&fitted, &is_other).map_err(LakeError::arrow)
}

fn as_json(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(rows).and_then(|()| writer.finish()).map_err(LakeError::arrow)?;
    let lines = writer.into_inner();
    Ok(lines.split(|byte| *byte == b'\n').take(rows.num_rows()).map(<[u8]>::to_vec).collect())
}

fn in_schema(batch: &RecordBatch, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(LakeError::arrow)
}
