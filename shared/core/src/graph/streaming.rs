//! What a query may do with rows that arrive batch by batch.
//!
//! A flow sees each input row once, in some batch. So a query may do with a stream only what gives
//! the same rows however the input is cut into batches: project, filter, explode, join with tables
//! as they are now. Everything else is refused by name. How a query nests is followed through CTEs
//! and derived tables, so that reading one stream twice is seen.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, JoinOperator, ObjectName, Query, Select, SetExpr, SetOperator, SetQuantifier,
    TableFactor, TableWithJoins, visit_expressions, visit_relations,
};

use super::functions::is_aggregate;
use crate::diagnostic::Diagnostic;

const STREAM_JOIN: &str = "UNSUPPORTED_STREAM_STREAM_JOIN";
const UNSUPPORTED: &str = "UNSUPPORTED_STREAMING_OPERATION";
const USE_MATERIALIZED_VIEW: &str =
    "read the table without STREAM in a materialized view, which is always equal to its query";

/// How often the rows of the streaming relation `alias` come into a query's result, and a finding
/// without a place for each operation that a stream doesn't support.
pub(super) fn check(query: &Query, alias: &str) -> Vec<Diagnostic> {
    let mut walk = Walk { findings: Vec::new() };
    let mut scope = Scope::new();
    scope.insert(alias.to_owned(), 1);
    if walk.query(query, &scope, true) == 0 && walk.findings.is_empty() {
        walk.refuse(UNSUPPORTED, "the stream is not read in FROM", "read the stream in the query's FROM clause");
    }
    walk.findings.dedup();
    walk.findings
}

/// Whether the first relation of the outer SELECT is `alias` itself.
pub(super) fn is_outermost(query: &Query, alias: &str) -> bool {
    let Some(select) = outer_select(query) else { return false };
    select.from.first().is_some_and(
        |first| matches!(&first.relation, TableFactor::Table { name, .. } if name.to_string().trim_matches('"') == alias),
    )
}

/// Takes a `DISTINCT` from the outer SELECT; whether there was one.
pub(super) fn take_distinct(query: &mut Query) -> bool {
    match query.body.as_mut() {
        SetExpr::Select(select) => {
            matches!(select.distinct, Some(Distinct::Distinct)) && select.distinct.take().is_some()
        }
        SetExpr::Query(inner) => take_distinct(inner),
        _ => false,
    }
}

/// The SELECT whose columns are the query's, unless it is a set operation or a list of values.
pub(super) fn outer_select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(inner) => outer_select(inner),
        _ => None,
    }
}

/// Streaming occurrences behind each name that is in scope; names that aren't there are tables.
type Scope = HashMap<String, usize>;

struct Walk {
    findings: Vec<Diagnostic>,
}

impl Walk {
    fn refuse(&mut self, code: &'static str, message: &str, help: &str) {
        self.findings.push(Diagnostic::error(code, message).help(help));
    }

    fn query(&mut self, query: &Query, outer: &Scope, is_outermost: bool) -> usize {
        let mut scope = outer.clone();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let streams = self.query(&cte.query, &scope, false);
            scope.insert(cte.alias.name.value.to_lowercase(), streams);
        }
        let streams = self.body(&query.body, &scope, is_outermost);
        if streams > 0 && query.order_by.is_some() {
            self.refuse(
                UNSUPPORTED,
                "ORDER BY has no meaning on a stream",
                "remove it, and order where the table is read",
            );
        }
        if streams > 0 && (query.limit_clause.is_some() || query.fetch.is_some()) {
            self.refuse(UNSUPPORTED, "LIMIT has no meaning on a stream", USE_MATERIALIZED_VIEW);
        }
        streams
    }

    fn body(&mut self, body: &SetExpr, scope: &Scope, is_outermost: bool) -> usize {
        match body {
            SetExpr::Select(select) => self.select(select, scope, is_outermost),
            SetExpr::Query(query) => self.query(query, scope, is_outermost),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let (left, right) = (self.body(left, scope, false), self.body(right, scope, false));
                self.set_operation(*op, *set_quantifier, left.min(right) > 0, left.max(right) > 0);
                left.max(right)
            }
            SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => 0,
        }
    }

    fn set_operation(&mut self, op: SetOperator, quantifier: SetQuantifier, both: bool, any: bool) {
        let is_union_all =
            op == SetOperator::Union && matches!(quantifier, SetQuantifier::All | SetQuantifier::AllByName);
        if any && !is_union_all {
            let message = format!("{op} compares the rows of all batches, which a stream doesn't hold");
            self.refuse(UNSUPPORTED, &message, "use UNION ALL, or a materialized view");
        } else if any && !both {
            self.refuse(
                UNSUPPORTED,
                "UNION ALL of a stream and a table would add the table's rows with every batch",
                "add the table's rows once with `CREATE FLOW name AS INSERT INTO ONCE target BY NAME SELECT …`",
            );
        }
    }

    fn select(&mut self, select: &Select, scope: &Scope, is_outermost: bool) -> usize {
        let mut streams = 0;
        for tables in &select.from {
            streams += self.tables(tables, scope);
        }
        if streams > 1 {
            self.refuse(
                STREAM_JOIN,
                "a stream is joined with a stream",
                "read one of them without STREAM, as a table as it is when the batch starts",
            );
        }
        self.subqueries(select, scope);
        if streams > 0 {
            self.stateful(select, is_outermost);
        }
        streams
    }

    fn tables(&mut self, tables: &TableWithJoins, scope: &Scope) -> usize {
        let mut streams = self.factor(&tables.relation, scope);
        for join in &tables.joins {
            let right = self.factor(&join.relation, scope);
            self.join(&join.join_operator, streams > 0, right > 0);
            streams += right;
        }
        streams
    }

    fn join(&mut self, operator: &JoinOperator, left: bool, right: bool) {
        let keeps_unmatched_table_rows = match operator {
            JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::LeftSemi(_)
            | JoinOperator::LeftAnti(_) => right && !left,
            JoinOperator::Semi(_) | JoinOperator::Anti(_) => right && !left,
            JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::RightAnti(_) => left && !right,
            JoinOperator::FullOuter(_) => left != right,
            _ => false,
        };
        if keeps_unmatched_table_rows {
            self.refuse(
                UNSUPPORTED,
                "this join keeps rows of the table side, and would add them with every batch",
                "make the stream the side whose rows are kept: `STREAM s LEFT JOIN t`",
            );
        }
    }

    fn factor(&mut self, factor: &TableFactor, scope: &Scope) -> usize {
        match factor {
            TableFactor::Table { name, .. } => streams_of(name, scope),
            TableFactor::Derived { subquery, .. } => self.query(subquery, scope, false),
            TableFactor::NestedJoin { table_with_joins, .. } => self.tables(table_with_joins, scope),
            _ => 0,
        }
    }

    /// Subqueries in expressions may read tables, not the stream.
    fn subqueries(&mut self, select: &Select, scope: &Scope) {
        let mut found = false;
        let mut look = |expression: &Expr| {
            let subquery = match expression {
                Expr::Subquery(query) | Expr::Exists { subquery: query, .. } => Some(query),
                Expr::InSubquery { subquery, .. } => Some(subquery),
                _ => None,
            };
            found |= subquery.is_some_and(|query| reads_stream(query, scope));
            ControlFlow::<()>::Continue(())
        };
        let _ = visit_expressions(&select.projection, &mut look);
        let _ = visit_expressions(&select.selection, &mut look);
        let _ = visit_expressions(&select.having, &mut look);
        let _ = visit_expressions(&select.from, &mut look);
        if found {
            self.refuse(
                UNSUPPORTED,
                "a subquery in an expression reads a stream",
                "read the table without STREAM there, or the stream in FROM",
            );
        }
    }

    fn stateful(&mut self, select: &Select, is_outermost: bool) {
        let is_grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(expressions, modifiers) => !expressions.is_empty() || !modifiers.is_empty(),
        };
        let (aggregates, windows) = calls(select);
        if is_grouped || select.having.is_some() || aggregates {
            self.refuse(UNSUPPORTED, "an aggregate over a stream would only see one batch", USE_MATERIALIZED_VIEW);
        }
        if windows || select.qualify.is_some() {
            self.refuse(UNSUPPORTED, "a window function over a stream would only see one batch", USE_MATERIALIZED_VIEW);
        }
        match &select.distinct {
            Some(Distinct::On(_)) => self.refuse(
                UNSUPPORTED,
                "DISTINCT ON is not supported on a stream",
                "name the key columns: `TBLPROPERTIES ('headwater.dedup.keys' = 'a, b')`",
            ),
            Some(Distinct::Distinct) if !is_outermost => self.refuse(
                UNSUPPORTED,
                "DISTINCT in a subquery of a stream would only see one batch",
                "write SELECT DISTINCT in the outer query, or name keys: `TBLPROPERTIES ('headwater.dedup.keys' = 'a, b')`",
            ),
            Some(Distinct::Distinct | Distinct::All) | None => {}
        }
    }
}

fn reads_stream(query: &Query, scope: &Scope) -> bool {
    visit_relations(
        query,
        |name| {
            if streams_of(name, scope) > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )
    .is_break()
}

fn streams_of(name: &ObjectName, scope: &Scope) -> usize {
    let ident = name.0.last().and_then(|part| part.as_ident());
    ident.and_then(|ident| scope.get(&ident.value.to_lowercase())).copied().unwrap_or(0)
}

/// Whether a SELECT's own expressions call aggregates, and window functions.
fn calls(select: &Select) -> (bool, bool) {
    let (mut aggregates, mut windows) = (false, false);
    let mut look = |expression: &Expr| {
        if let Expr::Function(function) = expression {
            windows |= function.over.is_some();
            aggregates |= function.over.is_none() && is_aggregate(&function.name.to_string());
        }
        if matches!(expression, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. }) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    for item in &select.projection {
        let _ = visit_expressions(item, &mut look);
    }
    (aggregates, windows)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use sqlparser::dialect::GenericDialect;
    use sqlparser::parser::Parser;

    use super::*;

    fn parse(sql: &str) -> Query {
        *Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_query().unwrap()
    }

    const FINE: [&str; 9] = [
        "SELECT a, b + 1 AS c FROM __r0 WHERE a > 0",
        "WITH s AS (SELECT * FROM __r0) SELECT * FROM s",
        "SELECT * FROM (SELECT * FROM __r0) AS x JOIN __r1 AS t ON x.a = t.a",
        "SELECT * FROM __r0 AS s LEFT JOIN __r1 AS t ON s.a = t.a",
        "SELECT * FROM __r1 AS t RIGHT JOIN __r0 AS s ON s.a = t.a",
        "SELECT * FROM __r0 LEFT ANTI JOIN (SELECT a, count(*) AS n FROM __r1 GROUP BY a) AS t ON t.a = __r0.a",
        "SELECT *, (SELECT max(a) FROM __r1) AS m FROM __r0 WHERE a IN (SELECT a FROM __r1 ORDER BY a LIMIT 3)",
        "SELECT DISTINCT a FROM __r0",
        "WITH s AS (SELECT * FROM __r0) SELECT a FROM s WHERE a = 1 UNION ALL SELECT b FROM s",
    ];

    const REFUSED: [&str; 23] = [
        "SELECT count(*) FROM __r0",
        "SELECT a FROM __r0 GROUP BY a",
        "SELECT a FROM __r0 GROUP BY ALL",
        "SELECT m FROM (SELECT max(a) AS m FROM __r0) AS x",
        "WITH s AS (SELECT a, sum(b) AS b FROM __r0 GROUP BY a) SELECT * FROM s JOIN __r1 ON true",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b) AS n FROM __r0",
        "SELECT a FROM __r0 QUALIFY rank() OVER (ORDER BY a) = 1",
        "SELECT a FROM __r0 ORDER BY a",
        "SELECT a FROM __r0 LIMIT 5",
        "SELECT * FROM (SELECT DISTINCT a FROM __r0) AS x",
        "SELECT DISTINCT ON (a) b FROM __r0",
        "SELECT * FROM __r0 AS a JOIN __r0 AS b ON a.x = b.x",
        "WITH s AS (SELECT * FROM __r0) SELECT * FROM s AS a, S AS b",
        "SELECT * FROM __r1 AS t LEFT JOIN __r0 AS s ON s.a = t.a",
        "SELECT * FROM __r0 AS s RIGHT JOIN __r1 AS t ON s.a = t.a",
        "SELECT * FROM __r0 AS s FULL JOIN __r1 AS t ON s.a = t.a",
        "SELECT a FROM __r0 UNION SELECT a FROM __r0",
        "SELECT a FROM __r0 UNION ALL SELECT a FROM __r1",
        "SELECT a FROM __r1 EXCEPT SELECT a FROM __r0",
        "SELECT * FROM __r1 WHERE a IN (SELECT a FROM __r0)",
        "WITH s AS (SELECT * FROM __r0) SELECT *, (SELECT max(a) FROM s) AS m FROM __r1",
        "WITH s AS (SELECT * FROM __r0) SELECT * FROM s JOIN __r1 AS t ON t.a IN (SELECT a FROM s)",
        "SELECT 1",
    ];

    #[test]
    fn what_treats_each_row_by_itself_is_fine() {
        for sql in FINE {
            assert_eq!(check(&parse(sql), "__r0"), [], "{sql}");
        }
    }

    #[test]
    fn what_looks_across_batches_is_refused() {
        let mut golden = String::new();
        for sql in REFUSED {
            writeln!(golden, "{sql}").unwrap();
            for finding in check(&parse(sql), "__r0") {
                writeln!(golden, "  {finding}").unwrap();
            }
        }
        insta::assert_snapshot!(golden);
    }

    #[test]
    fn the_outermost_source_is_the_first_of_the_outer_select() {
        for (sql, outermost) in [
            ("SELECT * FROM __r0", true),
            ("(SELECT * FROM \"__r0\" AS x JOIN __r1 ON true)", true),
            ("WITH c AS (SELECT 1) SELECT * FROM __r0 AS e, c", true),
            ("SELECT * FROM __r1 JOIN __r0 ON true", false),
            ("SELECT * FROM (SELECT * FROM __r0) AS x", false),
            ("SELECT * FROM __r0 UNION ALL SELECT * FROM __r0", false),
        ] {
            assert_eq!(is_outermost(&parse(sql), "__r0"), outermost, "{sql}");
        }
    }

    #[test]
    fn distinct_is_taken_from_the_outer_select_only() {
        let mut query = parse("SELECT DISTINCT a FROM (SELECT DISTINCT a FROM __r0) AS x");
        assert!(take_distinct(&mut query));
        assert_eq!(query.to_string(), "SELECT a FROM (SELECT DISTINCT a FROM __r0) AS x");
        assert!(!take_distinct(&mut query));
    }
}
