//! Which files may hold a key, by statistics alone.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use serde_json::Value;

use super::held::{Held, Place};
use super::shape::Shape;
use crate::error::{LakeError, Result};
use crate::lookup::{FEW, is_one_of};
use crate::table::DataFile;

/// The values of each key column among some keys.
#[derive(Debug)]
pub(super) struct Spread {
    columns: Vec<Column>,
    types: Vec<DataType>,
}

/// The values of one column that statistics can be held against.
#[derive(Debug)]
enum Column {
    Numbers(String, BTreeSet<i64>),
    Texts(String, BTreeSet<String>),
    /// Statistics of the type don't bound its values, or not in a way that can be compared here.
    Any,
}

impl Spread {
    /// The values of the keys of these changes.
    pub(super) fn new<'a>(held: &Held, shape: &Shape, places: impl Iterator<Item = &'a Place> + Clone) -> Result<Self> {
        let column = |at: &usize| {
            let name = shape.wide.field(*at).name().clone();
            let mut column = match shape.wide.field(*at).data_type() {
                DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                    Column::Numbers(name, BTreeSet::new())
                }
                DataType::Utf8 | DataType::Date32 => Column::Texts(name, BTreeSet::new()),
                _ => return Ok(Column::Any),
            };
            let mut values: Vec<Option<ArrayRef>> = vec![None; held.batches.len()];
            for place in places.clone() {
                let (batch, row) = place.at;
                if values[batch].is_none() {
                    values[batch] = Some(column.values(&held.batches[batch], *at)?);
                }
                if let Some(values) = &values[batch] {
                    column.add(values, row);
                }
            }
            Ok(column)
        };
        let types = shape.keys.iter().map(|at| shape.wide.field(*at).data_type().clone()).collect();
        Ok(Self { columns: shape.keys.iter().map(column).collect::<Result<_>>()?, types })
    }

    /// That each key column has one of the values, where there are so few that Bloom filters tell which row groups have none.
    pub(super) fn one_of(&self) -> Option<Expr> {
        let columns = self.columns.iter().zip(&self.types);
        columns.filter_map(|(column, data_type)| column.one_of(data_type)).reduce(Expr::and)
    }

    /// Whether statistics let a file hold one of the keys.
    pub(super) fn may_be_in(&self, file: &DataFile) -> bool {
        self.columns.iter().all(|column| column.may_be_in(file))
    }
}

impl Column {
    /// A batch's column in the form that is compared.
    fn values(&self, batch: &RecordBatch, at: usize) -> Result<ArrayRef> {
        let form = match self {
            Self::Numbers(..) => DataType::Int64,
            Self::Texts(..) | Self::Any => DataType::Utf8,
        };
        cast(batch.column(at), &form).map_err(LakeError::arrow)
    }

    fn add(&mut self, values: &ArrayRef, row: usize) {
        match self {
            _ if values.is_null(row) => {}
            Self::Numbers(_, numbers) => drop(numbers.insert(values.as_primitive::<Int64Type>().value(row))),
            Self::Texts(_, texts) => {
                let text = values.as_string::<i32>().value(row);
                if !texts.contains(text) {
                    texts.insert(text.to_owned());
                }
            }
            Self::Any => {}
        }
    }

    fn one_of(&self, data_type: &DataType) -> Option<Expr> {
        let typed = |value: ScalarValue| value.cast_to(data_type).ok();
        let (name, values): (_, Option<Vec<ScalarValue>>) = match self {
            Self::Numbers(name, numbers) => {
                (name, numbers.iter().take(FEW + 1).map(|number| typed(ScalarValue::from(*number))).collect())
            }
            Self::Texts(name, texts) => {
                (name, texts.iter().take(FEW + 1).map(|text| typed(ScalarValue::from(text.as_str()))).collect())
            }
            Self::Any => return None,
        };
        is_one_of(name, values?.into_iter())
    }

    fn may_be_in(&self, file: &DataFile) -> bool {
        let bounds = |name: &str| Some((file.min(name)?, file.max(name)?));
        match self {
            Self::Any => true,
            Self::Numbers(name, numbers) => {
                let bounds = bounds(name).and_then(|(min, max)| Some((min.as_i64()?, max.as_i64()?)));
                bounds.is_none_or(|(min, max)| min > max || numbers.range(min..=max).next().is_some())
            }
            Self::Texts(name, texts) => {
                let text = |value: Value| value.as_str().map(str::to_owned);
                let bounds = bounds(name).and_then(|(min, max)| Some((text(min)?, text(max)?)));
                bounds.is_none_or(|(min, max)| min > max || texts.range(min..=max).next().is_some())
            }
        }
    }
}
