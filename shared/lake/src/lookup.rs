//! Looking for rows by the values of a column.
//!
//! Statistics rule out files whose range none of the values is in. Values that are spread over all ranges, such as random ids, are
//! ruled out by the Bloom filters of row groups (`write`), before anything of the column is read; but only a few at a time, since each
//! value has its chance to be taken for another.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ident, lit};

/// So many values are looked for one by one: with one false answer of a hundred, half of the row groups that hold none are ruled out.
pub(crate) const FEW: usize = 64;

/// That a column has one of these values, if there are any and they are few.
pub(crate) fn is_one_of(column: &str, values: impl ExactSizeIterator<Item = ScalarValue>) -> Option<Expr> {
    (1..=FEW).contains(&values.len()).then(|| ident(column).in_list(values.map(lit).collect(), false))
}
