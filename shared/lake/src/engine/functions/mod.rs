//! Spark's functions that the libraries lack.
//!
//! NULL in gives NULL out, and so does a value that can't be converted: Spark's semantics without ANSI
//! mode, so that one bad row never fails its batch.

mod chosen;
mod decimals;
mod json;
mod mode;
mod moments;
mod pattern;
mod percentile;
mod round;
mod text;
mod units;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

pub(super) use decimals::{decimal_of, divide};
pub(super) use moments::{seconds_of, text_of_moment, text_to_date, text_to_timestamp, timestamp_of_seconds, utc};
pub(super) use text::{text_of_double, text_to_integer};

/// Registers Spark's functions: those of the libraries first, then ours.
pub(super) fn register(context: &mut SessionContext) -> Result<()> {
    datafusion_functions_json::register_all(context)?;
    for function in datafusion_spark::all_default_scalar_functions() {
        if !KEPT.contains(&function.name()) {
            context.register_udf(function.as_ref().clone());
        }
    }
    for function in datafusion_spark::all_default_aggregate_functions() {
        if ["collect_list", "collect_set", "try_sum"].contains(&function.name()) {
            context.register_udaf(function.as_ref().clone());
        }
    }
    let ours = [text::functions(), json::functions(), moments::functions(), units::functions()];
    for function in ours.into_iter().flatten() {
        context.register_udf(ScalarUDF::from(function));
    }
    context.register_udf(ScalarUDF::from(json::FromJson::new()));
    context.register_udf(ScalarUDF::from(round::Round::new()));
    for function in chosen::functions() {
        context.register_udf(ScalarUDF::from(function));
    }
    context.register_udaf(approx_distinct_udaf().as_ref().clone().with_aliases(["approx_count_distinct"]));
    for percentile in percentile::functions() {
        context.register_udaf(AggregateUDF::from(percentile));
    }
    context.register_udaf(AggregateUDF::from(mode::Mode::new()));
    LEFT_OUT.iter().for_each(|name| context.deregister_udf(name));
    Ok(())
}

/// Functions of DataFusion that are kept in place of datafusion-spark's of the same name.
const KEPT: [&str; 3] = ["date_trunc", "date_part", "concat"];

/// Functions that only fail when they run, or do something else than Spark's; unknown, they fail when they
/// are planned.
const LEFT_OUT: [&str; 3] = ["input_file_name", "arrays_zip", "make_interval"];

/// Types that a call's arguments are coerced to, and the type of its result.
pub(super) type Typed = (Vec<DataType>, DataType);

/// A function of rows: its types from those of its arguments, and its values from theirs.
#[derive(Clone)]
pub(super) struct RowFunction {
    name: &'static str,
    signature: Signature,
    types: fn(&[DataType]) -> Result<Typed>,
    run: fn(&[ArrayRef]) -> Result<ArrayRef>,
}

impl RowFunction {
    pub(super) fn new(
        name: &'static str,
        types: fn(&[DataType]) -> Result<Typed>,
        run: fn(&[ArrayRef]) -> Result<ArrayRef>,
    ) -> Self {
        Self { name, signature: Signature::user_defined(Volatility::Immutable), types, run }
    }
}

impl fmt::Debug for RowFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        (self.types)(types).map(|(arguments, _)| arguments)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        (self.types)(types).map(|(_, result)| result)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        run(&args.args, self.run)
    }
}

/// Runs a function over arrays; once, if all arguments are constants.
fn run(args: &[ColumnarValue], run: impl Fn(&[ArrayRef]) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let values = run(&ColumnarValue::values_to_arrays(args)?)?;
    if constant {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?));
    }
    Ok(ColumnarValue::Array(values))
}

/// A function made known outside of a session.
pub(super) fn shared(function: RowFunction) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(function))
}
