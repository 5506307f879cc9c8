//! Rows in a wanted schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, not, take};
use arrow::datatypes::{Field, SchemaRef};
use arrow::json::LineDelimitedWriter;

use crate::error::{LakeError, Result};

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

/// A column in the field's type.
fn fitted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(ArrayRef::clone(column));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &strict).map_err(|source| LakeError::ColumnDoesNotFit {
        column: field.name().clone(),
        from: column.data_type().to_string(),
        to: field.data_type().to_string(),
        message: source.to_string(),
    })
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
