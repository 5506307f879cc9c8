//! Views become common table expressions of their readers.
//!
//! The CTE's name tells the view ([`view_names`]), so that lineage survives the expansion.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    self, Cte, Expr, Ident, ObjectName, ObjectNamePart, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, With,
    visit_relations, visit_relations_mut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::diagnostic::Diagnostic;
use crate::model::{Query, Relation};
use crate::name::DatasetName;

const PREFIX: &str = "__view:";
/// Views of views can double at each step; a query that grows past this is refused.
const MAX_PARTS: usize = 500;
/// Views nest in the tree as they nest in the project; what walks the tree recurses.
const MAX_DEPTH: usize = 32;

/// A view whose own views are expanded.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) query: Query,
    /// Columns named by the definition; empty if the query's names are taken.
    pub(super) columns: Vec<String>,
    size: Size,
}

/// How large an expanded query is.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Relations and views in it.
    parts: usize,
    /// How deep views nest in it.
    depth: usize,
}

/// Views by name.
pub(super) type Views = BTreeMap<DatasetName, View>;

impl View {
    /// Expands a view's query by the views before it, and keeps only rows for which all of `filters` are true.
    pub(super) fn new(
        query: &Query,
        columns: Vec<String>,
        filters: &[Expr],
        views: &Views,
    ) -> Result<Self, Diagnostic> {
        let (mut query, size) = expand_sized(query, views)?;
        if !filters.is_empty() {
            query.ast = filtered(query.ast, filters)?;
        }
        Ok(Self { query, columns, size })
    }
}

/// Replaces each relation that is a view by a CTE with the view's query, whose relations are
/// renumbered to stay unique.
pub(super) fn expand(query: &Query, views: &Views) -> Result<Query, Diagnostic> {
    expand_sized(query, views).map(|(query, _)| query)
}

fn expand_sized(query: &Query, views: &Views) -> Result<(Query, Size), Diagnostic> {
    let mut expansion = Expansion { next: next_number(&query.relations), relations: Vec::new(), ctes: Vec::new() };
    let mut renamed = HashMap::new();
    let mut size = Size { parts: query.relations.len(), depth: 0 };
    for relation in &query.relations {
        let Some((name, view)) = relation.dataset().and_then(|name| views.get_key_value(name)) else {
            expansion.relations.push(relation.clone());
            continue;
        };
        size = Size { parts: size.parts + view.size.parts + 1, depth: size.depth.max(view.size.depth + 1) };
        if size.parts > MAX_PARTS || size.depth > MAX_DEPTH {
            return Err(too_large(query));
        }
        renamed.insert(relation.alias.clone(), expansion.add(name, view));
    }
    let mut tree = query.ast.clone();
    rename(&mut tree, &renamed);
    prepend(&mut tree, expansion.ctes);
    Ok((Query { ast: tree, relations: expansion.relations, span: query.span.clone() }, size))
}

fn too_large(query: &Query) -> Diagnostic {
    let message = format!(
        "the views behind this query expand to more than {MAX_PARTS} relations, or nest deeper than {MAX_DEPTH}"
    );
    Diagnostic::error("VIEWS_TOO_LARGE", message)
        .at(query.span.clone())
        .help("make one of the views a materialized view")
}

struct Expansion {
    next: usize,
    relations: Vec<Relation>,
    ctes: Vec<Cte>,
}

impl Expansion {
    /// Adds a CTE for one reading of a view; its name.
    fn add(&mut self, name: &DatasetName, view: &View) -> String {
        let mut fresh = HashMap::new();
        for relation in &view.query.relations {
            let alias = format!("__r{}", self.next);
            self.next += 1;
            fresh.insert(relation.alias.clone(), alias.clone());
            self.relations.push(Relation { alias, ..relation.clone() });
        }
        let mut body = view.query.ast.clone();
        rename(&mut body, &fresh);
        let alias = format!("{PREFIX}{name}:{}", self.ctes.len());
        self.ctes.push(cte(&alias, &view.columns, body));
        alias
    }
}

fn cte(alias: &str, columns: &[String], query: Box<ast::Query>) -> Cte {
    let column = |name: &String| TableAliasColumnDef { name: quoted(name), data_type: None };
    Cte {
        alias: TableAlias {
            explicit: false,
            name: quoted(alias),
            columns: columns.iter().map(column).collect(),
            at: None,
        },
        query,
        from: None,
        materialized: None,
        closing_paren_token: AttachedToken::empty(),
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn next_number(relations: &[Relation]) -> usize {
    relations
        .iter()
        .filter_map(|relation| relation.alias.strip_prefix("__r")?.parse::<usize>().ok())
        .max()
        .map_or(0, |highest| highest + 1)
}

fn rename(tree: &mut ast::Query, names: &HashMap<String, String>) {
    let _ = visit_relations_mut(tree, |name: &mut ObjectName| {
        if let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice()
            && let Some(new) = names.get(&ident.value)
        {
            *ident = quoted(new);
        }
        ControlFlow::<()>::Continue(())
    });
}

fn prepend(tree: &mut ast::Query, ctes: Vec<Cte>) {
    if ctes.is_empty() {
        return;
    }
    let with = tree.with.get_or_insert_with(|| With {
        with_token: AttachedToken::empty(),
        recursive: false,
        cte_tables: Vec::new(),
    });
    with.cte_tables.splice(0..0, ctes);
}

/// `SELECT * FROM (query) AS q WHERE (filter) IS TRUE AND …`.
fn filtered(query: Box<ast::Query>, filters: &[Expr]) -> Result<Box<ast::Query>, Diagnostic> {
    let internal = || Diagnostic::error("INTERNAL_ERROR", "a view's expectations can't be made a filter");
    let mut template = Parser::new(&GenericDialect {})
        .try_with_sql("SELECT * FROM (SELECT 1) AS q WHERE TRUE")
        .and_then(|mut parser| parser.parse_query())
        .map_err(|_| internal())?;
    let SetExpr::Select(select) = template.body.as_mut() else { return Err(internal()) };
    if let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|first| &mut first.relation) {
        *subquery = query;
    }
    select.selection =
        filters.iter().map(|filter| Expr::IsTrue(Box::new(Expr::Nested(Box::new(filter.clone()))))).reduce(
            |left, right| Expr::BinaryOp { left: Box::new(left), op: ast::BinaryOperator::And, right: Box::new(right) },
        );
    Ok(template)
}

/// The views that a query reads itself, in the order of their CTEs.
pub fn view_names(query: &Query) -> Vec<DatasetName> {
    let ctes = query.ast.with.iter().flat_map(|with| &with.cte_tables);
    ctes.filter_map(|cte| view_name(&cte.alias.name.value)).collect()
}

/// The aliases of the relations that a query reads itself, not through a view.
pub(super) fn direct_aliases(query: &Query) -> Vec<String> {
    let mut tree = query.ast.clone();
    if let Some(with) = &mut tree.with {
        with.cte_tables.retain(|cte| view_name(&cte.alias.name.value).is_none());
    }
    let mut aliases = Vec::new();
    let _ = visit_relations(&tree, |name| {
        if let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() {
            aliases.push(ident.value.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    aliases
}

fn view_name(cte: &str) -> Option<DatasetName> {
    let (name, _) = cte.strip_prefix(PREFIX)?.rsplit_once(':')?;
    Some(DatasetName::from(name.to_owned()))
}
