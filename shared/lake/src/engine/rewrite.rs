//! Rewrites a query to what DataFusion does as Spark would.
//!
//! Columns are found whatever their case; `/` divides as floating point and `div` as whole numbers,
//! and by zero both give NULL.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Query, Value, VisitMut, VisitorMut,
};
use headwater_core::model::Relation;

use crate::error::{LakeError, Result};

/// The names of all columns that a query can see.
pub(super) async fn columns(session: &SessionContext, relations: &[Relation]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for relation in relations {
        let table = session.table_provider(relation.alias.as_str()).await.map_err(LakeError::query)?;
        names.extend(table.schema().fields().iter().map(|field| field.name().clone()));
    }
    Ok(names)
}

/// The query as DataFusion is to plan it.
pub(super) fn rewrite(mut query: Query, columns: &BTreeSet<String>) -> Query {
    let _: ControlFlow<()> = query.visit(&mut Rewriter { columns });
    query
}

/// The expression as DataFusion is to plan it.
pub(super) fn rewrite_expr(mut expr: Expr, columns: &BTreeSet<String>) -> Expr {
    let _: ControlFlow<()> = expr.visit(&mut Rewriter { columns });
    expr
}

struct Rewriter<'a> {
    columns: &'a BTreeSet<String>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.resolve(ident),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| self.resolve(part)),
            Expr::BinaryOp { left, op: BinaryOperator::Divide, right } => {
                **left = double((**left).clone());
                **right = null_if_zero((**right).clone());
            }
            Expr::BinaryOp { left, op: BinaryOperator::MyIntegerDivide, right } => {
                let right = Box::new(null_if_zero((**right).clone()));
                let quotient = Expr::BinaryOp { left: left.clone(), op: BinaryOperator::Divide, right };
                *expr = cast(quotient, ast::DataType::BigInt(None));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// Gives a name the case of the only column that it can mean.
    fn resolve(&self, ident: &mut Ident) {
        if self.columns.contains(&ident.value) {
            return;
        }
        let mut meant = self.columns.iter().filter(|column| column.eq_ignore_ascii_case(&ident.value));
        if let (Some(column), None) = (meant.next(), meant.next()) {
            ident.value.clone_from(column);
        }
    }
}

fn double(expr: Expr) -> Expr {
    cast(expr, ast::DataType::Double(ast::ExactNumberInfo::None))
}

fn cast(expr: Expr, data_type: ast::DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Nested(Box::new(expr))),
        data_type,
        array: false,
        format: None,
    }
}

fn null_if_zero(expr: Expr) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let zero = Expr::Value(Value::Number("0".into(), false).into());
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("nullif")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument(expr), argument(zero)],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
