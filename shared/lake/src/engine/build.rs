//! Pieces of syntax trees.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByExpr, Value,
};

/// A call of a function.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let arguments = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// An aggregate call over the rows where a condition holds, in an order.
pub(super) fn flagged(call: Expr, condition: Expr, order: Option<OrderByExpr>) -> Expr {
    let Expr::Function(mut function) = call else { return call };
    let condition = match function.filter.take() {
        Some(filter) => {
            Expr::BinaryOp { left: Box::new(Expr::Nested(filter)), op: BinaryOperator::And, right: Box::new(condition) }
        }
        None => condition,
    };
    function.filter = Some(Box::new(condition));
    if let (FunctionArguments::List(list), Some(order)) = (&mut function.args, order) {
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
    }
    Expr::Function(function)
}

/// `TRY_CAST(expr AS type)`: Spark's cast gives NULL for what it can't convert.
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::TryCast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// A whole number.
pub(super) fn number(value: u32) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

/// A text.
pub(super) fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}
