//! The order of rows in a clustered table: by the column, or along a Z-order of several.
//!
//! What the Z-order is, is in [`headwater_core::zorder`]. Values of all types become ranks here: bytes that compare as
//! the values do, NULL first, are held against those of a sample of the rows, column by column.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarUDF, Volatility, create_udf, ident};
use futures::TryStreamExt;
use headwater_core::zorder::{interleave, rank};

use crate::error::{LakeError, Result};

/// Rows of a sample, about.
const SAMPLE: u64 = 8192;

/// Rows, of which there are so many, in the order of these columns. They are sorted within the engine's memory, and on disk
/// what doesn't fit.
///
/// # Errors
/// `Invalid` when the rows can't be read.
pub(crate) async fn ordered(frame: DataFrame, columns: &[String], rows: u64) -> Result<DataFrame> {
    let by = columns.iter().map(ident).map(first_nulls);
    let by = match columns {
        [] => return Ok(frame),
        [_] => by.collect(),
        _ => {
            let curve = Curve::through(&frame, columns, rows).await?;
            std::iter::once(first_nulls(curve.key().call(columns.iter().map(ident).collect()))).chain(by).collect()
        }
    };
    frame.sort(by).map_err(LakeError::query)
}

fn first_nulls(by: Expr) -> datafusion::logical_expr::SortExpr {
    by.sort(true, true)
}

/// The places of rows along a Z-order.
#[derive(Debug)]
struct Curve {
    axes: Vec<Axis>,
}

/// One column: a sample of its values in order, as bytes.
#[derive(Debug)]
struct Axis {
    data_type: DataType,
    converter: RowConverter,
    sample: Vec<Box<[u8]>>,
}

impl Curve {
    async fn through(frame: &DataFrame, columns: &[String], rows: u64) -> Result<Arc<Self>> {
        let frame = frame.clone().select(columns.iter().map(ident).collect::<Vec<_>>()).map_err(LakeError::query)?;
        let types = frame.schema().fields().iter().map(|field| field.data_type().clone());
        let mut axes = types.map(Axis::new).collect::<Result<Vec<_>, ArrowError>>().map_err(LakeError::arrow)?;
        // An odd stride doesn't keep step with what alternates.
        let stride = usize::try_from(rows / SAMPLE).unwrap_or(usize::MAX) | 1;
        let mut batches = frame.execute_stream().await.map_err(LakeError::query)?;
        let mut next = 0;
        while let Some(batch) = batches.try_next().await.map_err(LakeError::query)? {
            let taken: Vec<usize> = (next..batch.num_rows()).step_by(stride).collect();
            next = taken.last().map_or(next, |last| last + stride) - batch.num_rows();
            for (axis, values) in axes.iter_mut().zip(batch.columns()) {
                axis.add(values, &taken).map_err(LakeError::arrow)?;
            }
        }
        for axis in &mut axes {
            axis.sample.sort_unstable();
        }
        Ok(Arc::new(Self { axes }))
    }

    /// The function of the columns that gives a row's key.
    fn key(self: Arc<Self>) -> ScalarUDF {
        let types = self.axes.iter().map(|axis| axis.data_type.clone()).collect();
        let keys = move |values: &[ColumnarValue]| {
            let keys = self.keys(&ColumnarValue::values_to_arrays(values)?).map_err(DataFusionError::from)?;
            Ok(ColumnarValue::Array(Arc::new(keys)))
        };
        create_udf("z_order", types, DataType::UInt64, Volatility::Immutable, Arc::new(keys))
    }

    fn keys(&self, columns: &[ArrayRef]) -> Result<UInt64Array, ArrowError> {
        let ranks = self.axes.iter().zip(columns).map(|(axis, values)| axis.ranks(values));
        Ok(interleave(&ranks.collect::<Result<Vec<_>, _>>()?).into())
    }
}

impl Axis {
    fn new(data_type: DataType) -> Result<Self, ArrowError> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { data_type, converter, sample: Vec::new() })
    }

    /// Adds these rows' values to the sample.
    fn add(&mut self, values: &ArrayRef, rows: &[usize]) -> Result<(), ArrowError> {
        let values = self.converter.convert_columns(std::slice::from_ref(values))?;
        self.sample.extend(rows.iter().map(|row| Box::from(values.row(*row).as_ref())));
        Ok(())
    }

    fn ranks(&self, values: &ArrayRef) -> Result<Vec<u16>, ArrowError> {
        let values = self.converter.convert_columns(std::slice::from_ref(values))?;
        let smaller = |value: &[u8]| self.sample.partition_point(|known| known.as_ref() < value);
        Ok(values.iter().map(|value| rank(smaller(value.as_ref()), self.sample.len())).collect())
    }
}
