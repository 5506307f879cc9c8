//! Where a row came from: the `_metadata` column.
//!
//! A bronze table keeps each row's `_metadata`, because that is its ledger: which messages and files
//! it holds. A user's query needn't name it; it is projected for them. When a table that has the
//! column is read, it stays hidden, as in Databricks, until a query names it.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Ident, SelectItem, SetExpr, TableFactor, Visit, Visitor};

use crate::model::Query;

/// The name of the column.
pub const METADATA: &str = "_metadata";

/// Whether a query names the `_metadata` column anywhere.
#[must_use]
pub fn names_metadata(query: &ast::Query) -> bool {
    struct Names;
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let found = match expr {
                Expr::Identifier(ident) => is_metadata(ident),
                Expr::CompoundIdentifier(parts) => parts.iter().any(is_metadata),
                _ => false,
            };
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.visit(&mut Names).is_break()
}

/// The hidden column that carries the event time of a row of a stream with a watermark. The flow
/// takes it off before rows are written.
pub const EVENT_TIME: &str = "__event_time";

/// What a flow wants to know of each row, besides what its query gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace<'a> {
    /// The record that it came from, as column [`METADATA`].
    Metadata,
    /// This column of its stream, as column [`EVENT_TIME`].
    EventTime(&'a str),
}

/// The query of a streaming flow with these columns of its stream among its own.
///
/// Returns `None` when the outer query isn't a plain `SELECT` that reads the stream in its own
/// `FROM` clause; rows of such a query can't be traced to one record. A `DISTINCT` is taken off: it
/// is carried out as deduplication of whole rows, which ignores what is added here.
#[must_use]
pub fn project_traces(query: &Query, traces: &[Trace<'_>]) -> Option<Query> {
    let relation = query.relations.iter().find(|relation| relation.is_stream())?;
    let mut projected = query.clone();
    let SetExpr::Select(select) = projected.ast.body.as_mut() else { return None };
    let from = select
        .from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    let qualifier = from.filter_map(|factor| qualifier_of(factor, &relation.alias)).next()?;
    select.distinct = None;
    for trace in traces {
        let (column, alias) = match trace {
            Trace::Metadata if select.projection.iter().any(|item| gives_metadata(item, &qualifier)) => continue,
            Trace::Metadata => (METADATA, METADATA),
            Trace::EventTime(column) => (*column, EVENT_TIME),
        };
        select.projection.push(SelectItem::ExprWithAlias {
            expr: Expr::CompoundIdentifier(vec![qualifier.clone(), quoted(column)]),
            alias: quoted(alias),
        });
    }
    Some(projected)
}

/// The query without an outer `DISTINCT`, which deduplication carries out.
#[must_use]
pub fn without_distinct(query: &Query) -> Query {
    let mut plain = query.clone();
    if let SetExpr::Select(select) = plain.ast.body.as_mut() {
        select.distinct = None;
    }
    plain
}

fn is_metadata(ident: &Ident) -> bool {
    ident.value.eq_ignore_ascii_case(METADATA)
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The name by which a table factor's columns are qualified, if it is the relation.
fn qualifier_of(factor: &TableFactor, relation: &str) -> Option<Ident> {
    let TableFactor::Table { name, alias, .. } = factor else { return None };
    let ident = name.0.last()?.as_ident()?;
    if name.0.len() != 1 || ident.value != relation {
        return None;
    }
    Some(alias.as_ref().map_or_else(|| ident.clone(), |alias| alias.name.clone()))
}

fn gives_metadata(item: &SelectItem, qualifier: &Ident) -> bool {
    match item {
        SelectItem::Wildcard(options) => !excludes_metadata(options),
        SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let of_source = name
                .0
                .last()
                .and_then(ast::ObjectNamePart::as_ident)
                .is_some_and(|ident| ident.value.eq_ignore_ascii_case(&qualifier.value));
            of_source && !excludes_metadata(options)
        }
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => is_metadata(ident),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().is_some_and(is_metadata),
        SelectItem::ExprWithAlias { alias, .. } => is_metadata(alias),
        SelectItem::UnnamedExpr(_) | SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => false,
    }
}

fn excludes_metadata(options: &ast::WildcardAdditionalOptions) -> bool {
    let except = options.opt_except.as_ref().is_some_and(|except| {
        std::iter::once(&except.first_element).chain(&except.additional_elements).any(is_metadata)
    });
    let exclude = match &options.opt_exclude {
        Some(ast::ExcludeSelectItem::Single(name)) => ends_in_metadata(name),
        Some(ast::ExcludeSelectItem::Multiple(names)) => names.iter().any(ends_in_metadata),
        None => false,
    };
    except || exclude
}

fn ends_in_metadata(name: &ast::ObjectName) -> bool {
    name.0.last().and_then(ast::ObjectNamePart::as_ident).is_some_and(is_metadata)
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;
    use sqlparser::parser::Parser;

    use super::*;
    use crate::diagnostic::{SourceFile, Span};
    use crate::model::{Format, ReadOptions, Relation, RelationSource};

    fn query(sql: &str) -> Query {
        let span = Span { file: SourceFile::new("q.sql", sql), range: 0..0 };
        let read = ReadOptions::new(Format::Json);
        let source = RelationSource::Events { source: "s".into(), read, watermark: None };
        let relation = Relation { alias: "__r0".into(), source, as_of: None, span: span.clone() };
        let ast = Parser::new(&GenericDialect).try_with_sql(sql).unwrap().parse_query().unwrap();
        Query { ast, relations: vec![relation], span }
    }

    fn projected(sql: &str) -> Option<String> {
        project_traces(&query(sql), &[Trace::Metadata]).map(|query| query.ast.to_string())
    }

    #[test]
    fn the_column_is_added_where_a_query_does_not_give_it() {
        let added = [
            ("SELECT a FROM __r0 AS t", "SELECT a, t.\"_metadata\" AS \"_metadata\" FROM __r0 AS t"),
            ("SELECT a FROM __r0", "SELECT a, __r0.\"_metadata\" AS \"_metadata\" FROM __r0"),
            ("SELECT DISTINCT a FROM __r0", "SELECT a, __r0.\"_metadata\" AS \"_metadata\" FROM __r0"),
            (
                "SELECT * EXCEPT (_metadata) FROM __r0",
                "SELECT * EXCEPT (_metadata), __r0.\"_metadata\" AS \"_metadata\" FROM __r0",
            ),
            (
                "SELECT d.* FROM dim AS d JOIN __r0 AS t ON true",
                "SELECT d.*, t.\"_metadata\" AS \"_metadata\" FROM dim AS d JOIN __r0 AS t ON true",
            ),
        ];
        for (sql, expected) in added {
            assert_eq!(projected(sql).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_query_that_gives_it_stays_as_it_is() {
        for sql in [
            "SELECT * FROM __r0",
            "SELECT t.* FROM __r0 AS t",
            "SELECT a, _metadata FROM __r0",
            "SELECT t._metadata FROM __r0 AS t",
        ] {
            assert_eq!(projected(sql).as_deref(), Some(sql));
        }
    }

    #[test]
    fn the_event_time_is_carried_beside_a_wildcard() {
        let traced = project_traces(&query("SELECT * FROM __r0 AS t"), &[Trace::EventTime("at")]).unwrap();
        assert_eq!(traced.ast.to_string(), "SELECT *, t.\"at\" AS \"__event_time\" FROM __r0 AS t");
    }

    #[test]
    fn a_source_inside_a_subquery_cannot_be_traced() {
        assert_eq!(projected("SELECT a FROM (SELECT a FROM __r0) AS t"), None);
        assert_eq!(projected("SELECT a FROM __r0 UNION ALL SELECT a FROM __r0"), None);
    }

    #[test]
    fn a_mention_is_found_at_any_depth() {
        let mentions = |sql: &str| names_metadata(&query(sql).ast);
        assert!(mentions("SELECT a FROM t WHERE lower(t._METADATA.file_path) = 'x'"));
        assert!(mentions("SELECT a FROM (SELECT _metadata FROM t) AS s"));
        assert!(!mentions("SELECT metadata FROM t"));
    }
}
