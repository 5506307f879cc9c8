//! Spark's functions that the engine lacks.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanBuilder, Float64Array, ListArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use serde_json::Value;

/// Registers Spark's functions: those of the libraries first, then ours.
pub(super) fn register(context: &mut SessionContext) -> Result<()> {
    datafusion_functions_json::register_all(context)?;
    for function in datafusion_spark::all_default_scalar_functions() {
        if !KEPT.contains(&function.name()) {
            context.register_udf(function.as_ref().clone());
        }
    }
    for name in ["collect_list", "collect_set"] {
        if let Some(function) =
            datafusion_spark::all_default_aggregate_functions().into_iter().find(|function| function.name() == name)
        {
            context.register_udaf(function.as_ref().clone());
        }
    }
    for kind in [Text::RLike, Text::GetJsonObject, Text::RegexpExtract] {
        context.register_udf(ScalarUDF::from(TextFunction::new(kind)));
    }
    context.register_udaf(approx_distinct_udaf().as_ref().clone().with_aliases(["approx_count_distinct"]));
    context.register_udaf(AggregateUDF::from(Percentile::new()));
    Ok(())
}

/// Functions of DataFusion that are kept in place of datafusion-spark's of the same name.
const KEPT: [&str; 3] = ["date_trunc", "date_part", "concat"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Text {
    RLike,
    GetJsonObject,
    RegexpExtract,
}

/// A function of texts, row by row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    kind: Text,
    signature: Signature,
}

impl TextFunction {
    fn new(kind: Text) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        match self.kind {
            Text::RLike => "rlike",
            Text::GetJsonObject => "get_json_object",
            Text::RegexpExtract => "regexp_extract",
        }
    }

    fn aliases(&self) -> &[String] {
        &[]
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, types.len()) {
            (Text::RLike | Text::GetJsonObject | Text::RegexpExtract, 2) => Ok(vec![DataType::Utf8, DataType::Utf8]),
            (Text::RegexpExtract, 3) => Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Int64]),
            _ => exec_err!(
                "{} takes {}",
                self.name(),
                if self.kind == Text::RegexpExtract { "a text, a pattern and a group" } else { "two texts" }
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.kind == Text::RLike { DataType::Boolean } else { DataType::Utf8 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [texts, patterns, rest @ ..] = arrays.as_slice() else {
            return exec_err!("{} lacks arguments", self.name());
        };
        let (texts, patterns) = (texts.as_string::<i32>(), patterns.as_string::<i32>());
        let pairs = texts.iter().zip(patterns.iter());
        let array: ArrayRef = match self.kind {
            Text::RLike => Arc::new(matches(pairs)?),
            Text::GetJsonObject => {
                Arc::new(pairs.map(|(text, path)| json_at(text?, path?)).collect::<arrow::array::StringArray>())
            }
            Text::RegexpExtract => Arc::new(extract(pairs, rest.first())?),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Compiles a pattern once while it stays the same.
#[derive(Default)]
struct Patterns {
    last: Option<(String, regex::Regex)>,
}

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&regex::Regex> {
        if self.last.as_ref().is_none_or(|(last, _)| last != pattern) {
            let compiled = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
            let compiled = compiled.map_err(|source| {
                datafusion::error::DataFusionError::Execution(format!("pattern `{pattern}`: {source}"))
            })?;
            self.last = Some((pattern.to_owned(), compiled));
        }
        match &self.last {
            Some((_, regex)) => Ok(regex),
            None => exec_err!("no pattern"),
        }
    }
}

fn matches<'a>(pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Result<arrow::array::BooleanArray> {
    let mut patterns = Patterns::default();
    let mut found = BooleanBuilder::new();
    for pair in pairs {
        match pair {
            (Some(text), Some(pattern)) => found.append_value(patterns.get(pattern)?.is_match(text)),
            _ => found.append_null(),
        }
    }
    Ok(found.finish())
}

/// The group of the first match; an empty text where there is none, as in Spark.
fn extract<'a>(
    pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
    groups: Option<&ArrayRef>,
) -> Result<arrow::array::StringArray> {
    let mut patterns = Patterns::default();
    let mut found = StringBuilder::new();
    let groups = groups.map(|groups| groups.as_primitive::<arrow::datatypes::Int64Type>());
    for (row, pair) in pairs.enumerate() {
        let (Some(text), Some(pattern)) = pair else {
            found.append_null();
            continue;
        };
        let group = groups.map_or(1, |groups| groups.value(row));
        let captures = patterns.get(pattern)?.captures(text);
        let group = usize::try_from(group).ok().and_then(|group| captures.as_ref()?.get(group));
        found.append_value(group.map_or("", |group| group.as_str()));
    }
    Ok(found.finish())
}

/// The value at `$.a.b[0]`: a string without quotes, anything else as JSON, NULL where there is none.
fn json_at(text: &str, path: &str) -> Option<String> {
    let document: Value = serde_json::from_str(text).ok()?;
    let mut value = &document;
    for step in path.strip_prefix('$')?.split(['.', '[']).filter(|step| !step.is_empty()) {
        value = match step.strip_suffix(']') {
            Some(index) => match index.trim_matches('\'').parse::<usize>() {
                Ok(index) => value.get(index)?,
                Err(_) => value.get(index.trim_matches('\''))?,
            },
            None => value.get(step)?,
        };
    }
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// `percentile(column, p)`: exact, linearly interpolated, NULLs ignored, as in Spark.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    signature: Signature,
    aliases: Vec<String>,
}

impl Percentile {
    fn new() -> Self {
        let signature = Signature::coercible(
            vec![
                datafusion::logical_expr::Coercion::new_implicit(
                    datafusion::logical_expr::TypeSignatureClass::Native(datafusion::common::types::logical_float64()),
                    vec![datafusion::logical_expr::TypeSignatureClass::Numeric],
                    datafusion::common::types::NativeType::Float64,
                );
                2
            ],
            Volatility::Immutable,
        );
        Self { signature, aliases: vec!["percentile_approx".into(), "approx_percentile".into()] }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        "percentile"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(vec![
            Arc::new(Field::new(format!("{}[values]", args.name), list, true)),
            Arc::new(Field::new(format!("{}[fraction]", args.name), DataType::Float64, true)),
        ])
    }
}

/// All values of a group.
#[derive(Debug, Default)]
struct Values {
    values: Vec<f64>,
    fraction: Option<f64>,
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column, fractions] = values else { return exec_err!("percentile takes a column and a fraction") };
        let column = cast(column, &DataType::Float64)?;
        let fractions = cast(fractions, &DataType::Float64)?;
        self.fraction = self.fraction.or_else(|| fractions.as_primitive::<Float64Type>().iter().flatten().next());
        self.values.extend(column.as_primitive::<Float64Type>().iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(fraction) = self.fraction.filter(|_| !self.values.is_empty()) else {
            return Ok(ScalarValue::Float64(None));
        };
        if !(0.0..=1.0).contains(&fraction) {
            return exec_err!("percentile takes a fraction between 0 and 1, not {fraction}");
        }
        self.values.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "no group has 2^52 rows")]
        let position = fraction * (self.values.len() - 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the number of values"
        )]
        let (low, high) = (position.floor() as usize, position.ceil() as usize);
        let (low, high) = (self.values[low], self.values[high]);
        Ok(ScalarValue::Float64(Some((high - low).mul_add(position.fract(), low))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: ArrayRef = Arc::new(Float64Array::from(std::mem::take(&mut self.values)));
        let list = datafusion::common::utils::SingleRowListArrayBuilder::new(values).build_list_scalar();
        Ok(vec![list, ScalarValue::Float64(self.fraction)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [lists, fractions] = states else { return exec_err!("percentile has two states") };
        let lists: &ListArray = lists.as_list::<i32>();
        for list in lists.iter().flatten() {
            self.values.extend(list.as_primitive::<Float64Type>().iter().flatten());
        }
        self.fraction = self.fraction.or_else(|| fractions.as_primitive::<Float64Type>().iter().flatten().next());
        Ok(())
    }
}
