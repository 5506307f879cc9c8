//! Which files and row groups may hold one of some keys, by statistics and Bloom filters.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use serde_json::Value;

use crate::error::{LakeError, Result};
use crate::groups::{Probe, Probes};
use crate::table::DataFile;

/// So many values are looked for in Bloom filters: each has its chance to be taken for another, and with one false answer of a hundred, half of
/// the row groups that hold none are ruled out.
const FEW: usize = 64;

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
    /// No values yet, of columns of these names and types.
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a Field>) -> Self {
        Self { columns: columns.map(Column::new).collect() }
    }

    /// Adds the values of these columns in some rows of a batch, given by their positions.
    pub(super) fn add(&mut self, values: &[&ArrayRef], rows: impl Iterator<Item = usize> + Clone) -> Result<()> {
        for (column, values) in self.columns.iter_mut().zip(values) {
            column.add(&column.comparable(values)?, rows.clone());
        }
        Ok(())
    }

    /// Looks for NULL as for any other value, which statistics don't: a column with one of them rules nothing out.
    pub(super) fn add_null(&mut self, column: usize) {
        self.columns[column] = Column::Any;
    }

    /// The values of those key columns that have so few that Bloom filters tell which row groups have none.
    pub(super) fn few(&self) -> Probes {
        self.columns.iter().filter_map(Column::few).collect()
    }

    /// Whether statistics let a file hold one of the keys.
    pub(super) fn may_be_in(&self, file: &DataFile) -> bool {
        self.may_be_within(|name| match file.add.partition_values.get(name) {
            Some(value) => value.as_ref().map(|value| (value.as_str().into(), value.as_str().into())),
            None => Some((file.min(name)?, file.max(name)?)),
        })
    }

    /// Whether rows with these bounds of columns may hold one of the keys.
    pub(super) fn may_be_within(&self, bounds: impl Fn(&str) -> Option<(Value, Value)>) -> bool {
        self.columns.iter().all(|column| column.may_be_within(&bounds))
    }
}

impl Column {
    fn new(field: &Field) -> Self {
        let name = field.name().clone();
        match field.data_type() {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Numbers(name, BTreeSet::new())
            }
            DataType::Utf8 | DataType::Date32 => Self::Texts(name, BTreeSet::new()),
            _ => Self::Any,
        }
    }

    /// A batch's column in the form that is compared.
    fn comparable(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match self {
            Self::Numbers(..) => cast(values, &DataType::Int64).map_err(LakeError::arrow),
            Self::Texts(..) => cast(values, &DataType::Utf8).map_err(LakeError::arrow),
            Self::Any => Ok(ArrayRef::clone(values)),
        }
    }

    fn add(&mut self, values: &ArrayRef, rows: impl Iterator<Item = usize>) {
        let rows = rows.filter(|row| values.is_valid(*row));
        match self {
            Self::Numbers(_, numbers) => {
                let values = values.as_primitive::<Int64Type>();
                numbers.extend(rows.map(|row| values.value(row)));
            }
            Self::Texts(_, texts) => {
                let values = values.as_string::<i32>();
                for text in rows.map(|row| values.value(row)) {
                    if !texts.contains(text) {
                        texts.insert(text.to_owned());
                    }
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
                let bounds = bounds(name).and_then(|(min, max)| Some((whole(&min)?, whole(&max)?)));
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

/// A whole number, as statistics and partitions have it.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
