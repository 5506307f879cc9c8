//! Percentiles, all exact: `percentile` interpolates, `percentile_approx` gives a value of the group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::{SortOptions, cast, concat, filter, is_not_null, sort, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

pub(super) fn functions() -> [Percentile; 2] {
    [Percentile::new(Kind::Interpolated), Percentile::new(Kind::Discrete)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Interpolated,
    Discrete,
}

/// `percentile(column, fraction)` and `percentile_approx(column, fraction)`; an array of fractions
/// gives an array.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    kind: Kind,
    signature: Signature,
    aliases: Vec<String>,
}

impl Percentile {
    fn new(kind: Kind) -> Self {
        let aliases = match kind {
            Kind::Interpolated => Vec::new(),
            Kind::Discrete => vec!["approx_percentile".into()],
        };
        Self { kind, signature: Signature::user_defined(Volatility::Immutable), aliases }
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Interpolated => "percentile",
            Kind::Discrete => "percentile_approx",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [column, fraction] = types else {
            return plan_err!("{} takes a column and a fraction, not {} arguments", self.name(), types.len());
        };
        let column = match (self.kind, column) {
            (Kind::Interpolated, _) => DataType::Float64,
            (Kind::Discrete, DataType::Null | DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) => {
                DataType::Float64
            }
            (Kind::Discrete, other) => other.clone(),
        };
        let fraction = match fraction {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list_of(DataType::Float64),
            _ => DataType::Float64,
        };
        Ok(vec![column, fraction])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types {
            [column, DataType::List(_)] => list_of(column.clone()),
            [column, ..] => column.clone(),
            [] => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let returned = args.return_type();
        let many = matches!(args.expr_fields.get(1).map(|field| field.data_type()), Some(DataType::List(_)));
        let item = match returned {
            DataType::List(item) if many => item.data_type().clone(),
            other => other.clone(),
        };
        Ok(Box::new(Values { kind: self.kind, item, many, values: Vec::new(), fractions: None }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let many = matches!(args.input_fields.get(1).map(|field| field.data_type()), Some(DataType::List(_)));
        let values = if many { args.return_type().clone() } else { list_of(args.return_type().clone()) };
        Ok(vec![
            Arc::new(Field::new(format!("{}[values]", args.name), values, true)),
            Arc::new(Field::new(format!("{}[fractions]", args.name), list_of(DataType::Float64), true)),
        ])
    }
}

/// All values of a group.
#[derive(Debug)]
struct Values {
    kind: Kind,
    item: DataType,
    many: bool,
    values: Vec<ArrayRef>,
    fractions: Option<Vec<f64>>,
}

impl Values {
    fn add(&mut self, values: ArrayRef) -> Result<()> {
        let values = if values.null_count() > 0 { filter(&values, &is_not_null(&values)?)? } else { values };
        if !values.is_empty() {
            // A slice would keep the whole batch alive.
            let places: UInt64Array = (0..values.len() as u64).map(Some).collect();
            self.values.push(take(&values, &places, None)?);
        }
        self.join_equals()
    }

    /// Joins pieces while the last one is as large as the one before: so few are left, and no value is
    /// copied more often than the logarithm of their number.
    fn join_equals(&mut self) -> Result<()> {
        while let [.., before, last] = self.values.as_slice()
            && before.len() <= last.len()
        {
            let joined = concat(&[before.as_ref(), last.as_ref()])?;
            self.values.truncate(self.values.len() - 2);
            self.values.push(joined);
        }
        Ok(())
    }

    fn joined(&self) -> Result<ArrayRef> {
        let pieces: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        match pieces.as_slice() {
            [] => Ok(arrow::array::new_empty_array(&self.item)),
            pieces => Ok(concat(pieces)?),
        }
    }

    /// One value for each fraction.
    fn quantiles(&self, fractions: &[f64]) -> Result<ArrayRef> {
        if let Some(wrong) = fractions.iter().find(|fraction| !(0.0..=1.0).contains(*fraction)) {
            return exec_err!("a percentile takes a fraction between 0 and 1, not {wrong}");
        }
        let sorted = sort(&self.joined()?, Some(SortOptions::default()))?;
        match self.kind {
            Kind::Interpolated => {
                let values = sorted.as_primitive::<Float64Type>().values();
                let found: arrow::array::Float64Array =
                    fractions.iter().map(|fraction| interpolated(values, *fraction)).collect();
                Ok(Arc::new(found))
            }
            Kind::Discrete => {
                let places: UInt64Array = fractions.iter().map(|fraction| rank(sorted.len(), *fraction)).collect();
                Ok(take(&sorted, &places, None)?)
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place between 0 and the number of values, which is far below 2^52"
)]
fn interpolated(values: &[f64], fraction: f64) -> Option<f64> {
    let position = fraction * values.len().checked_sub(1)? as f64;
    let (low, high) = (values[position.floor() as usize], values[position.ceil() as usize]);
    if low == high { Some(low) } else { Some((high - low).mul_add(position.fract(), low)) }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place between 0 and the number of values, which is far below 2^52"
)]
fn rank(count: usize, fraction: f64) -> Option<u64> {
    (count > 0).then(|| ((fraction * count as f64).ceil() as u64).saturating_sub(1))
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column, fractions] = values else { return exec_err!("a percentile takes a column and a fraction") };
        if self.fractions.is_none() && !fractions.is_empty() && fractions.is_valid(0) {
            let first = if self.many { fractions.as_list::<i32>().value(0) } else { fractions.slice(0, 1) };
            let first = cast(&first, &DataType::Float64)?;
            self.fractions = Some(first.as_primitive::<Float64Type>().values().to_vec());
        }
        self.add(cast(column, &self.item)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let none = || {
            let data_type = if self.many { list_of(self.item.clone()) } else { self.item.clone() };
            ScalarValue::try_from(&data_type)
        };
        let Some(fractions) = self.fractions.as_ref().filter(|_| !self.values.is_empty()) else { return none() };
        let found = self.quantiles(fractions)?;
        if self.many {
            return Ok(SingleRowListArrayBuilder::new(found).build_list_scalar());
        }
        ScalarValue::try_from_array(&found, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.iter().map(|values| values.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.joined()?;
        self.values.clear();
        let fractions = arrow::array::Float64Array::from(self.fractions.clone().unwrap_or_default());
        let list = |items| SingleRowListArrayBuilder::new(items).build_list_scalar();
        Ok(vec![list(values), list(Arc::new(fractions) as ArrayRef)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [lists, fractions] = states else { return exec_err!("a percentile has two states") };
        for values in lists.as_list::<i32>().iter().flatten() {
            self.add(values)?;
        }
        let mut known = fractions.as_list::<i32>().iter().flatten().filter(|known| !known.is_empty());
        if let (None, Some(known)) = (&self.fractions, known.next()) {
            self.fractions = Some(known.as_primitive::<Float64Type>().values().to_vec());
        }
        Ok(())
    }
}
