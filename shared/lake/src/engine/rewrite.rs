//! Rewrites a query to what DataFusion does as Spark would.
//!
//! Columns, aliases and functions are found whatever their case; numbers have Spark's types; casts give
//! NULL for what they can't convert; columns without a name are called as they are written.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType as ArrowType, Fields};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, LimitClause, OrderBy, OrderByKind, Query, Select, SelectItem, Subscript,
    TableAlias, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrameBound, WindowSpec, WindowType,
};
use headwater_core::model::Relation;

use super::build::{call, text};
use super::calls::{self, field};
use crate::error::{LakeError, Result};

/// The names of all columns and fields that a query can see.
pub(super) async fn columns(session: &SessionContext, relations: &[Relation]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for relation in relations {
        let table = session.table_provider(relation.alias.as_str()).await.map_err(LakeError::query)?;
        names.extend(field_names(table.schema().fields()));
    }
    Ok(names)
}

/// Names of fields, and of those in them.
pub(super) fn field_names(fields: &Fields) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for field in fields {
        names.insert(field.name().clone());
        names.append(&mut nested_names(field.data_type()));
    }
    names
}

fn nested_names(data_type: &ArrowType) -> BTreeSet<String> {
    match data_type {
        ArrowType::Struct(fields) => field_names(fields),
        ArrowType::List(item) | ArrowType::LargeList(item) | ArrowType::FixedSizeList(item, _) => {
            nested_names(item.data_type())
        }
        _ => BTreeSet::new(),
    }
}

/// The query as DataFusion is to plan it.
pub(super) fn rewrite(mut query: Query, columns: BTreeSet<String>) -> Query {
    let mut names = Names { names: columns };
    let _: ControlFlow<()> = query.visit(&mut names);
    let _: ControlFlow<()> = query.visit(&mut Rewriter { names: &names.names, window: None });
    query
}

/// The expression as DataFusion is to plan it.
pub(super) fn rewrite_expr(mut expr: Expr, columns: &BTreeSet<String>) -> Expr {
    let _: ControlFlow<()> = expr.visit(&mut Rewriter { names: columns, window: None });
    expr
}

/// Adds the names that a query gives: aliases of columns and of tables.
struct Names {
    names: BTreeSet<String>,
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        tables.for_each(|table| self.add(&table.alias));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.names.insert(alias.value.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor
        {
            self.add(alias);
        }
        ControlFlow::Continue(())
    }
}

impl Names {
    fn add(&mut self, alias: &TableAlias) {
        self.names.insert(alias.name.value.clone());
        self.names.extend(alias.columns.iter().map(|column| column.name.value.clone()));
    }
}

struct Rewriter<'a> {
    names: &'a BTreeSet<String>,
    /// What `window` stands for in a query that groups by it.
    window: Option<Expr>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.window = if self.names.contains("window") { None } else { grouped_window(select) };
        if let Some(Expr::Function(window)) = &self.window {
            select.selection = with_time(select.selection.take(), window);
        }
        select.projection.iter_mut().for_each(name_column);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
            groups.iter_mut().for_each(as_written);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        positions_as_written(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let (Some(window), [first, rest @ ..]) = (&self.window, parts.as_slice())
            && first.value.eq_ignore_ascii_case("window")
        {
            let access_chain = rest.iter().map(|part| at(text(&part.value.to_lowercase()))).collect();
            *expr = Expr::CompoundFieldAccess { root: Box::new(window.clone()), access_chain };
        } else if let (Expr::Identifier(ident), Some(window)) = (&*expr, &self.window)
            && ident.value.eq_ignore_ascii_case("window")
        {
            *expr = window.clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.names_of(expr);
        if let Some(meaning) = meaning(expr) {
            *expr = meaning;
        }
        ControlFlow::Continue(())
    }
}

/// Positions that a query orders by, and its limits, as they are written.
fn positions_as_written(query: &mut Query) {
    if let Some(OrderBy { kind: OrderByKind::Expressions(orders), .. }) = &mut query.order_by {
        orders.iter_mut().for_each(|order| as_written(&mut order.expr));
    }
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)).for_each(as_written);
    }
}

impl Rewriter<'_> {
    fn names_of(&self, expr: &mut Expr) {
        match expr {
            Expr::Identifier(ident) => self.resolve(ident),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| self.resolve(part)),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
                        self.resolve(ident);
                        *access = at(text(&ident.value));
                    }
                }
            }
            _ => {}
        }
    }

    /// Gives a name the case of the only column or alias that it can mean.
    fn resolve(&self, ident: &mut Ident) {
        if self.names.contains(&ident.value) {
            return;
        }
        let mut meant = self.names.iter().filter(|name| name.eq_ignore_ascii_case(&ident.value));
        if let (Some(name), None) = (meant.next(), meant.next()) {
            ident.value.clone_from(name);
        }
    }
}

fn at(index: Expr) -> AccessExpr {
    AccessExpr::Subscript(Subscript::Index { index })
}

/// The `window(…)` that a query groups by.
fn grouped_window(select: &Select) -> Option<Expr> {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return None };
    let window = groups
        .iter()
        .find(|group| matches!(group, Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("window")));
    window.cloned()
}

/// A condition that also leaves out rows without a time: they are in no window.
fn with_time(condition: Option<Expr>, window: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &window.args else { return condition };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(time))) = list.args.first() else { return condition };
    let timed = Expr::IsNotNull(Box::new(time.clone()));
    Some(match condition {
        Some(condition) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(condition))),
            op: BinaryOperator::And,
            right: Box::new(timed),
        },
        None => timed,
    })
}

/// Calls a column without a name as it is written; an exploded one `col`, as Spark does.
fn name_column(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    let alias = match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => return,
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(field))) => field.value.clone(),
            Some(_) | None => expr.to_string(),
        },
        Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("explode") => "col".to_owned(),
        _ => expr.to_string(),
    };
    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', alias) };
}

/// A number as Spark types it: INT if it fits, DOUBLE with an exponent, otherwise DECIMAL or, as the
/// engine has it, BIGINT.
fn typed(number: &str) -> Option<Expr> {
    let literal = |data_type: DataType, value: Value| {
        let (kind, expr) = (CastKind::Cast, Box::new(Expr::Value(value.into())));
        Some(Expr::Cast { kind, expr, data_type, array: false, format: None })
    };
    if number.contains(['e', 'E']) {
        return literal(DataType::Double(ExactNumberInfo::None), Value::SingleQuotedString(number.to_owned()));
    }
    number.parse::<i32>().ok()?;
    literal(DataType::Int(None), Value::Number(number.to_owned(), false))
}

/// Takes the type of [`typed`] off again, where a number isn't a value: a position, a count, a frame.
pub(super) fn as_written(expr: &mut Expr) {
    if let Expr::Cast { kind: CastKind::Cast, expr: inner, .. } = expr
        && matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
    {
        *expr = inner.as_ref().clone();
    }
}

fn frame_as_written(function: &mut Function) {
    let Some(WindowType::WindowSpec(WindowSpec { window_frame: Some(frame), .. })) = &mut function.over else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(count)) | WindowFrameBound::Following(Some(count)) = bound {
            as_written(count);
        }
    }
}

/// What an expression means; `None` if it means itself.
fn meaning(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, false) => typed(number),
            _ => None,
        },
        Expr::Interval(interval) => {
            as_written(&mut interval.value);
            None
        }
        Expr::UnaryOp { op: op @ UnaryOperator::BangNot, .. } => {
            *op = UnaryOperator::Not;
            None
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => Some(call("bitwise_not", vec![expr.as_ref().clone()])),
        Expr::Cast { kind: kind @ (CastKind::Cast | CastKind::DoubleColon), .. } => {
            *kind = CastKind::TryCast;
            None
        }
        Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
            let length = substring_for.iter().map(|length| length.as_ref().clone());
            let start = [expr.as_ref().clone(), from.as_ref().clone()];
            Some(call("substring", start.into_iter().chain(length).collect()))
        }
        Expr::Extract { field, expr, .. } => calls::part_of_extract(&field.to_string(), expr.as_ref().clone()),
        Expr::Struct { values, fields } if fields.is_empty() => {
            let named = values.iter().enumerate().flat_map(|(at, value)| field(at, value));
            Some(call("named_struct", named.collect()))
        }
        Expr::Function(function) => {
            frame_as_written(function);
            calls::meaning(function)
        }
        _ => None,
    }
}
