//! The query that gives changes: the source's columns, and hidden ones that say what a row does.

use sqlparser::ast::{Expr, Ident, SelectItem, SetExpr};

use crate::model::{AutoCdc, Query};

/// The hidden column with the value of `SEQUENCE BY`.
pub const SEQUENCE: &str = "__headwater_sequence";
/// The hidden column that is true for a delete.
pub const DELETED: &str = "__headwater_deleted";
/// The hidden column that is true for a truncation; only with `APPLY AS TRUNCATE WHEN`.
pub const TRUNCATED: &str = "__headwater_truncated";
/// The hidden column that lists the columns an upsert gives; only with `COLUMNS TO UPDATE`.
pub const GIVEN: &str = "__headwater_given";

/// Where a state of a history begins: the sequence of the change that made it.
pub const START_AT: &str = "__START_AT";
/// Where a state of a history ends: the sequence of the change that ended it, NULL while it is current.
pub const END_AT: &str = "__END_AT";

/// The source's query with the hidden columns after its own. `None` when it isn't a plain `SELECT`.
#[must_use]
pub fn project_changes(query: &Query, changes: &AutoCdc) -> Option<Query> {
    let mut projected = query.clone();
    let SetExpr::Select(select) = projected.ast.body.as_mut() else { return None };
    let is_true = |condition: &Expr| Expr::IsTrue(Box::new(Expr::Nested(Box::new(condition.clone()))));
    let never = || Expr::Value(sqlparser::ast::Value::Boolean(false).into());
    let truncated = changes.truncate_when.as_ref().map(|condition| (is_true(condition), TRUNCATED));
    let given = changes.columns_to_update.as_deref().map(|column| (Expr::Identifier(quoted(column)), GIVEN));
    let hidden =
        [(changes.sequence_by.clone(), SEQUENCE), (changes.delete_when.as_ref().map_or_else(never, is_true), DELETED)];
    let hidden = hidden.into_iter().chain(truncated).chain(given);
    let item = |(expr, alias)| SelectItem::ExprWithAlias { expr, alias: quoted(alias) };
    select.projection.extend(hidden.map(item));
    Some(projected)
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
