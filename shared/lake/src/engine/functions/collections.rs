//! Functions of arrays and maps.

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::functions_nested::map_extract::map_extract;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, lit};

/// `element_at(array, n)`, counted from 1, or from the end if negative, and `element_at(map, key)`;
/// NULL where there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ElementAt {
    signature: Signature,
    aliases: Vec<String>,
}

impl ElementAt {
    pub(super) fn new() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { signature, aliases: vec!["try_element_at".into()] }
    }
}

/// Types of key and value.
fn entry(map: &DataType) -> Option<(&DataType, &DataType)> {
    let DataType::Map(entries, _) = map else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    Some((fields.first()?.data_type(), fields.get(1)?.data_type()))
}

impl ScalarUDFImpl for ElementAt {
    fn name(&self) -> &'static str {
        "element_at"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [map @ DataType::Map(..), _] => {
                let key = entry(map).map_or(DataType::Utf8, |(key, _)| key.clone());
                Ok(vec![map.clone(), key])
            }
            [list, _] => Ok(vec![list.clone(), DataType::Int64]),
            other => plan_err!("element_at takes an array and a place, or a map and a key, not {other:?}"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
                Ok(item.data_type().clone())
            }
            Some(other) => match entry(other) {
                Some((_, value)) => Ok(value.clone()),
                None => plan_err!("element_at takes an array or a map, not {other}"),
            },
            None => plan_err!("element_at takes an array or a map"),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [collection, place] = args.as_slice() else { return Ok(ExprSimplifyResult::Original(args)) };
        let (collection, place) = (collection.clone(), place.clone());
        Ok(ExprSimplifyResult::Simplified(match info.get_data_type(&collection)? {
            DataType::Map(..) => array_element(map_extract(collection, place), lit(1_i64)),
            _ => array_element(collection, place),
        }))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("element_at wasn't simplified")
    }
}
