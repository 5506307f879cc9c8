//! Which files and row groups may hold one of some keys, by statistics and Bloom filters.

use std::ops::RangeInclusive;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, Int64Type, SchemaRef};
use datafusion::common::ScalarValue;
use headwater_core::among::{SortedTexts, Texts};
use serde_json::Value;

use super::key_set::KeySet;
use crate::condition::Condition;
use crate::error::{LakeError, Result};
use crate::groups::{ColumnProbes, Probes};
use crate::table::DataFile;

/// So many values are looked for in Bloom filters at most: of more, one of any group is taken for another.
const SOME: usize = 1 << 15;

/// Bytes of texts that are kept to be looked for in Bloom filters.
const SOME_BYTES: usize = 4 << 20;

/// The values of each key column among some keys, which are gathered.
#[derive(Debug)]
pub(super) struct Gathered {
    columns: Vec<(String, Values)>,
}

/// The values of one column that statistics can be held against.
#[derive(Debug)]
enum Values {
    Numbers(Vec<i64>),
    /// All texts, those that are looked for in filters unless they are more, and the lowest and highest.
    Texts(Texts, Option<KeySet>, Option<[String; 2]>),
    /// Statistics of the type don't bound its values, or not in a way that can be compared here.
    Any,
}

/// The values of each key column among some keys.
#[derive(Debug)]
pub(super) struct Spread {
    columns: Vec<(String, Sorted)>,
}

/// Values that can be looked for.
#[derive(Debug)]
enum Sorted {
    Numbers(Vec<i64>),
    Texts(SortedTexts, Option<KeySet>, Option<[String; 2]>),
    Any,
}

impl Gathered {
    /// No values yet, of columns of these names and types.
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a Field>) -> Self {
        Self { columns: columns.map(|field| (field.name().clone(), Values::of(field.data_type()))).collect() }
    }

    /// Adds the values of these columns in some rows of a batch, given by their positions.
    pub(super) fn add(&mut self, values: &[ArrayRef], rows: impl Iterator<Item = usize> + Clone) -> Result<()> {
        for ((_, column), values) in self.columns.iter_mut().zip(values) {
            column.add(values, rows.clone())?;
        }
        Ok(())
    }

    /// Looks for NULL as for any other value, which statistics don't: a column with one of them rules nothing out.
    pub(super) fn add_null(&mut self, column: usize) {
        self.columns[column].1 = Values::Any;
    }

    /// Ends the gathering.
    pub(super) fn sorted(self) -> Spread {
        Spread { columns: self.columns.into_iter().map(|(name, values)| (name, values.sorted())).collect() }
    }
}

impl Values {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Numbers(Vec::new()),
            DataType::Utf8 | DataType::Date32 => Self::Texts(Texts::default(), Some(KeySet::default()), None),
            _ => Self::Any,
        }
    }

    fn add(&mut self, values: &ArrayRef, rows: impl Iterator<Item = usize>) -> Result<()> {
        if values.as_primitive_opt::<Date32Type>().is_some_and(|days| !are_ordered_as_texts(days)) {
            *self = Self::Any;
        }
        let rows = rows.filter(|row| values.is_valid(*row));
        match self {
            Self::Numbers(numbers) => {
                let values = cast(values, &DataType::Int64).map_err(LakeError::arrow)?;
                let values = values.as_primitive::<Int64Type>();
                numbers.extend(rows.map(|row| values.value(row)));
            }
            Self::Texts(texts, some, ends) => {
                let values = cast(values, &DataType::Utf8).map_err(LakeError::arrow)?;
                let values = values.as_string::<i32>();
                for text in rows.map(|row| values.value(row)) {
                    texts.add(text);
                    match ends {
                        Some([lowest, _]) if text < lowest.as_str() => text.clone_into(lowest),
                        Some([_, highest]) if text > highest.as_str() => text.clone_into(highest),
                        Some(_) => {}
                        None => *ends = Some([text.to_owned(), text.to_owned()]),
                    }
                    if let Some(texts) = some {
                        texts.insert(text.as_bytes());
                    }
                    some.take_if(|texts| texts.len() > SOME || texts.size() > SOME_BYTES);
                }
            }
            Self::Any => {}
        }
        Ok(())
    }

    fn sorted(self) -> Sorted {
        match self {
            Self::Numbers(mut numbers) => {
                numbers.sort_unstable();
                numbers.dedup();
                Sorted::Numbers(numbers)
            }
            Self::Texts(texts, some, ends) => Sorted::Texts(texts.sorted(), some, ends),
            Self::Any => Sorted::Any,
        }
    }
}

impl Spread {
    /// The values of those key columns that have so few that Bloom filters may tell which row groups have none.
    pub(super) fn probes(&self) -> ColumnProbes {
        self.columns.iter().filter_map(|(name, values)| Some((name.clone(), values.probes()?))).collect()
    }

    /// What rows with one of the keys fulfil, of columns of these types: that they lie between the lowest and the highest.
    pub(super) fn condition(&self, schema: &SchemaRef) -> Option<Condition> {
        let between = |(name, values): &(String, Sorted)| {
            let data_type = schema.field_with_name(name).ok()?.data_type();
            let [lowest, highest] = values.ends()?.map(|end| end.cast_to(data_type));
            Condition::between(name, &lowest.ok()?, &highest.ok()?)
        };
        self.columns.iter().filter_map(between).reduce(Condition::and)
    }

    /// Whether statistics let a file hold one of the keys.
    pub(super) fn may_be_in(&self, file: &DataFile) -> bool {
        self.may_be_within(|name| match file.add.partition_values.get(name) {
            Some(value) => value.as_ref().map(|value| (value.as_str().into(), value.as_str().into())),
            None => Some((file.min(&[name])?, file.max(&[name])?)),
        })
    }

    /// Whether rows with these bounds of columns may hold one of the keys.
    pub(super) fn may_be_within(&self, bounds: impl Fn(&str) -> Option<(Value, Value)>) -> bool {
        self.columns.iter().all(|(name, values)| values.may_be_within(|| bounds(name)))
    }
}

impl Sorted {
    /// The lowest and the highest value.
    fn ends(&self) -> Option<[ScalarValue; 2]> {
        match self {
            Self::Numbers(numbers) => Some([(*numbers.first()?).into(), (*numbers.last()?).into()]),
            Self::Texts(_, _, ends) => ends.as_ref().map(|ends| ends.each_ref().map(|end| end.as_str().into())),
            Self::Any => None,
        }
    }

    /// The values, unless there are many.
    fn probes(&self) -> Option<Probes> {
        match self {
            Self::Numbers(numbers) if (1..=SOME).contains(&numbers.len()) => Some(Probes::Numbers(numbers.clone())),
            Self::Texts(_, Some(some), _) if some.len() > 0 => {
                Some(Probes::Texts(some.iter().map(|text| str::from_utf8(text).ok()).collect()))
            }
            Self::Numbers(_) | Self::Texts(..) | Self::Any => None,
        }
    }

    fn may_be_within(&self, bounds: impl Fn() -> Option<(Value, Value)>) -> bool {
        match self {
            Self::Any => true,
            Self::Numbers(numbers) => {
                let bounds = bounds().and_then(|(min, max)| Some((whole(&min)?, whole(&max)?)));
                bounds.is_none_or(|(min, max)| {
                    min > max || numbers.get(numbers.partition_point(|own| *own < min)).is_some_and(|own| *own <= max)
                })
            }
            Self::Texts(texts, ..) => match bounds() {
                Some((Value::String(min), Value::String(max))) => min > max || texts.may_lie_between(&min, &max),
                _ => true,
            },
        }
    }
}

/// Whether dates compare as their texts do: not those with a sign, before the year 0 and after 9999.
fn are_ordered_as_texts(days: &Date32Array) -> bool {
    const YEARS_OF_FOUR_DIGITS: RangeInclusive<i32> = -719_528..=2_932_896;
    days.iter().flatten().all(|day| YEARS_OF_FOUR_DIGITS.contains(&day))
}

/// A whole number, as statistics and partitions have it.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    /// Days since 1970 of the first day of years.
    fn may_be_within(days: &[i32], min: &str, max: &str) -> bool {
        let mut gathered = Gathered::new([&Field::new("day", DataType::Date32, true)].into_iter());
        let values: ArrayRef = Arc::new(Date32Array::from(days.to_vec()));
        gathered.add(&[values], 0..days.len()).unwrap();
        gathered.sorted().may_be_within(|_| Some((min.into(), max.into())))
    }

    /// How many texts of this length are looked for in filters, of so many that are gathered.
    fn probed(count: usize, length: usize) -> Option<usize> {
        let mut gathered = Gathered::new([&Field::new("text", DataType::Utf8, true)].into_iter());
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..count).map(|at| format!("{at:08}").repeat(length / 8))));
        gathered.add(&[texts], 0..count).unwrap();
        let probes = gathered.sorted().probes();
        probes.first().map(|(_, probes)| match probes {
            Probes::Texts(texts) => texts.len(),
            Probes::Numbers(numbers) => numbers.len(),
        })
    }

    #[test]
    fn as_many_texts_are_kept_as_filters_are_good_for() {
        assert_eq!(probed(0, 8), None);
        assert_eq!(probed(SOME, 8), Some(SOME));
        assert_eq!(probed(SOME + 1, 8), None);
        assert_eq!(probed(4, 1 << 20), Some(4));
        assert_eq!(probed(5, 1 << 20), None);
    }

    #[test]
    fn dates_are_found_whatever_their_years() {
        let [before_christ, this_year, far_away] = [-735_599, 20_454, 3_652_059];
        assert!(may_be_within(&[before_christ], "-0050-01-01", "2025-12-31"));
        assert!(may_be_within(&[far_away], "2020-01-01", "+13000-01-01"));
        assert!(may_be_within(&[this_year], "2026-01-01", "2026-01-01"));
        assert!(may_be_within(&[this_year], "-0050-01-01", "+13000-01-01"));
        assert!(!may_be_within(&[this_year], "2026-01-02", "2027-01-01"));
        assert!(may_be_within(&[this_year, before_christ], "-0045-01-01", "2000-01-01"));
    }
}
