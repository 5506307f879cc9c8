//! Record batches to data frames and back, without copying values.
//!
//! Both libraries speak the Arrow C data interface, whose two structs are laid out by its
//! specification (<https://arrow.apache.org/docs/format/CDataInterface.html>); each has its own Rust
//! type for them. Ownership moves with the struct: who receives it calls its `release`.
#![expect(unsafe_code, reason = "the C data interface is the only way between the two libraries that doesn't copy")]

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use polars::prelude::{Column, CompatLevel, DataFrame, IntoColumn, PlSmallStr, Series};
use polars_arrow::array::Array as PolarsArray;
use polars_arrow::ffi::{ArrowArray, ArrowSchema};

use crate::error::FramesError;

const _: () = assert!(size_of::<FFI_ArrowArray>() == size_of::<ArrowArray>());
const _: () = assert!(size_of::<FFI_ArrowSchema>() == size_of::<ArrowSchema>());
const _: () = assert!(align_of::<FFI_ArrowArray>() == align_of::<ArrowArray>());
const _: () = assert!(align_of::<FFI_ArrowSchema>() == align_of::<ArrowSchema>());

/// A frame of the batches' columns, chunk by chunk.
pub(crate) fn to_frame(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<DataFrame, FramesError> {
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let chunks = match batches {
            [] => vec![to_polars(&arrow::array::new_empty_array(field.data_type()))?],
            _ => batches.iter().map(|batch| to_polars(batch.column(index))).collect::<Result<_, _>>()?,
        };
        Ok(Series::try_from((PlSmallStr::from(field.name().as_str()), chunks))?.into_column())
    });
    let columns = columns.collect::<Result<Vec<Column>, FramesError>>()?;
    Ok(DataFrame::new_infer_height(columns)?)
}

/// The frame's rows as one batch.
pub(crate) fn to_batch(mut frame: DataFrame) -> Result<RecordBatch, FramesError> {
    frame.rechunk_mut();
    let rows = frame.height();
    let mut fields = Vec::with_capacity(frame.width());
    let mut arrays = Vec::with_capacity(frame.width());
    for column in frame.columns() {
        let (field, array) = to_arrow(column.as_materialized_series())?;
        fields.push(field);
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

fn to_polars(array: &ArrayRef) -> Result<Box<dyn PolarsArray>, FramesError> {
    let (array, schema) = to_ffi(&array.to_data())?;
    // SAFETY: both types are the C data interface's structs, of the same size and alignment, and both
    // are moved, so each is released once, by its new owner. arrow-rs has just filled them, and they
    // describe each other.
    unsafe {
        let schema: ArrowSchema = std::mem::transmute(schema);
        let field = polars_arrow::ffi::import_field_from_c(&schema)?;
        let array: ArrowArray = std::mem::transmute(array);
        Ok(polars_arrow::ffi::import_array_from_c(array, field.dtype().clone())?)
    }
}

fn to_arrow(series: &Series) -> Result<(Field, ArrayRef), FramesError> {
    let field = series.field().to_arrow(CompatLevel::newest());
    let array = series.to_arrow(0, CompatLevel::newest());
    // SAFETY: as in `to_polars`, with Polars filling the structs: the array was made from the series
    // whose field it is.
    let (schema, array) = unsafe {
        let schema: FFI_ArrowSchema = std::mem::transmute(polars_arrow::ffi::export_field_to_c(&field));
        let array: FFI_ArrowArray = std::mem::transmute(polars_arrow::ffi::export_array_to_c(array));
        let data = from_ffi(array, &schema)?;
        (schema, make_array(data))
    };
    Ok((Field::try_from(&schema)?.with_nullable(true), array))
}
