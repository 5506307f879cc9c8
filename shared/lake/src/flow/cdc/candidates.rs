//! Which files may hold a key, by statistics alone.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use serde_json::Value;

use super::held::{Held, Place};
use super::shape::Shape;
use crate::error::{LakeError, Result};
use crate::groups::{Probe, Probes};
use crate::lookup::FEW;
use crate::table::DataFile;

/// The values of each key column among some keys.
#[derive(Debug)]
pub(super) struct Spread {
    columns: Vec<Column>,
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
        Ok(Self { columns: shape.keys.iter().map(column).collect::<Result<_>>()? })
    }

    /// The values of those key columns that have so few that Bloom filters tell which row groups have none.
    pub(super) fn few(&self) -> Probes {
        self.columns.iter().filter_map(Column::few).collect()
    }

    /// Whether statistics let a file hold one of the keys.
    pub(super) fn may_be_in(&self, file: &DataFile) -> bool {
        self.may_be_within(|name| Some((file.min(name)?, file.max(name)?)))
    }

    /// Whether rows with these bounds of columns may hold one of the keys.
    pub(super) fn may_be_within(&self, bounds: impl Fn(&str) -> Option<(Value, Value)>) -> bool {
        self.columns.iter().all(|column| column.may_be_within(&bounds))
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

    /// The values, unless there are many.
    fn few(&self) -> Option<(String, Vec<Probe>)> {
        match self {
            Self::Numbers(name, numbers) if (1..=FEW).contains(&numbers.len()) => {
                Some((name.clone(), numbers.iter().copied().map(Probe::Number).collect()))
            }
            Self::Texts(name, texts) if (1..=FEW).contains(&texts.len()) => {
                Some((name.clone(), texts.iter().cloned().map(Probe::Text).collect()))
            }
            Self::Numbers(..) | Self::Texts(..) | Self::Any => None,
        }
    }

    fn may_be_within(&self, bounds: &impl Fn(&str) -> Option<(Value, Value)>) -> bool {
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
