//! Rows in a wanted schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;

use crate::error::{LakeError, Result};

/// A batch in the target's schema: columns by name, cast where the types differ, NULL where the
/// query doesn't give a column.
pub(crate) fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(ArrayRef::clone(column)),
        Some(column) => {
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(column, field.data_type(), &strict).map_err(|source| LakeError::ColumnDoesNotFit {
                column: field.name().clone(),
                from: column.data_type().to_string(),
                to: field.data_type().to_string(),
                message: source.to_string(),
            })
        }
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(LakeError::arrow)
}
