//! `mode(column)`: the most frequent value, the smallest of several, NULLs left out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Mode {
    signature: Signature,
}

impl Mode {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &'static str {
        "mode"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Counts { counts: HashMap::new(), none: ScalarValue::try_from(args.return_type())? }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name: &str, item: DataType| {
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            Arc::new(Field::new(format!("{}[{name}]", args.name), list, true))
        };
        Ok(vec![list("values", args.return_type().clone()), list("counts", DataType::Int64)])
    }
}

/// How often each value of a group came.
#[derive(Debug)]
struct Counts {
    counts: HashMap<ScalarValue, i64>,
    none: ScalarValue,
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column] = values else { return exec_err!("mode takes one column") };
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            *self.counts.entry(ScalarValue::try_from_array(column, row)?).or_default() += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut best: Option<(&ScalarValue, i64)> = None;
        for (value, count) in &self.counts {
            let better = best.is_none_or(|(other, most)| {
                *count > most || (*count == most && value.partial_cmp(other).is_some_and(std::cmp::Ordering::is_lt))
            });
            if better {
                best = Some((value, *count));
            }
        }
        Ok(best.map_or_else(|| self.none.clone(), |(value, _)| value.clone()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.keys().map(|value| value.size() + size_of::<i64>()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts): (Vec<ScalarValue>, Vec<i64>) = self.counts.drain().unzip();
        let values = match values.is_empty() {
            true => arrow::array::new_empty_array(&self.none.data_type()),
            false => ScalarValue::iter_to_array(values)?,
        };
        let counts: ArrayRef = Arc::new(arrow::array::Int64Array::from(counts));
        let list = |items| SingleRowListArrayBuilder::new(items).build_list_scalar();
        Ok(vec![list(values), list(counts)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, counts] = states else { return exec_err!("mode has two states") };
        for (values, counts) in values.as_list::<i32>().iter().zip(counts.as_list::<i32>().iter()) {
            let (Some(values), Some(counts)) = (values, counts) else { continue };
            for (row, count) in counts.as_primitive::<Int64Type>().values().iter().enumerate() {
                *self.counts.entry(ScalarValue::try_from_array(&values, row)?).or_default() += count;
            }
        }
        Ok(())
    }
}
