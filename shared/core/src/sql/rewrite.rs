//! Rewrites a query to the engine's dialect.
//!
//! Every table becomes a plain name; `a RLIKE b` becomes `rlike(a, b)`; a JSON path `a:b.c` becomes
//! `get_json_object(a, '$.b.c')`; `explode` becomes `unnest`; names qualified by a table's schema
//! are shortened to the table. What the engine would ignore or misread is refused.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, JsonPathElem,
    ObjectName, ObjectNamePart, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};

use super::qualifiers::Qualifiers;
use super::scope::Scope;
use super::text::Text;
use super::{Name, ParsedRelation, ParsedSource, functions, types};
use crate::diagnostic::{Diagnostic, Span};

/// Rewrites a query or an expression and gives the relations that it reads: those taken out before,
/// and the tables found here.
pub(super) fn rewrite(
    text: &Text,
    tree: &mut impl VisitMut,
    relations: Vec<ParsedRelation>,
    span: &Span,
) -> Result<Vec<ParsedRelation>, Vec<Diagnostic>> {
    let taken = relations.len();
    let mut rewriter =
        Rewriter { text, taken, scope: Scope::default(), relations, found: Vec::new(), span, lambdas: 0 };
    let _: ControlFlow<()> = tree.visit(&mut rewriter);
    let Rewriter { relations, found, .. } = rewriter;
    if !found.is_empty() {
        return Err(found);
    }
    let _: ControlFlow<()> = tree.visit(&mut Qualifiers::of(&relations));
    Ok(relations)
}

struct Rewriter<'a> {
    text: &'a Text,
    /// How many relations were taken out before.
    taken: usize,
    scope: Scope,
    relations: Vec<ParsedRelation>,
    found: Vec<Diagnostic>,
    span: &'a Span,
    /// How many lambda parameters were named so far.
    lambdas: usize,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        if let Some(name) = query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|cte| &cte.alias.name)
            .find(|name| name.value.starts_with("__"))
        {
            let message = format!("`{}` begins with `__`, as Headwater's own names do", name.value);
            self.refuse(self.place(name.span), &message, "choose another name");
        }
        self.scope.enter(query);
        if let Some(command) = command_of(&query.body) {
            self.refuse(self.span.clone(), &format!("{command} isn't part of a query"), "write SELECT …");
        }
        if !query.locks.is_empty() {
            self.refuse(self.span.clone(), "FOR UPDATE isn't executed", "leave it out");
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<()> {
        self.scope.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        let refusals = [
            (
                select.lateral_views.first().map(|view| view.lateral_view.span()),
                "LATERAL VIEW",
                "write SELECT *, explode(items) AS item FROM … in a view or a common table expression",
            ),
            (select.sort_by.first().map(|order| order.expr.span()), "SORT BY", "use ORDER BY"),
            (select.cluster_by.first().map(Spanned::span), "CLUSTER BY", "leave it out: a query has no partitions"),
            (
                select.distribute_by.first().map(Spanned::span),
                "DISTRIBUTE BY",
                "leave it out: a query has no partitions",
            ),
        ];
        for (place, clause, instead) in refusals {
            if let Some(place) = place {
                self.refuse(self.place(place), &format!("{clause} isn't executed in a query"), instead);
            }
        }
        for item in &mut select.projection {
            name_exploded(item);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let sources = "read files with read_files and messages with read_events";
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                let place = self.place(name.span());
                self.refuse(place, &format!("table function `{name}` isn't known"), sources);
            }
            TableFactor::TableFunction { expr, .. } => {
                let place = self.place(expr.span());
                self.refuse(place, "TABLE(function) isn't executed", sources);
            }
            TableFactor::Table { name, sample: Some(_), .. } => {
                let place = self.place(name.span());
                self.refuse(place, "TABLESAMPLE isn't executed", "filter rows by a hash of their key");
            }
            TableFactor::Table { name, with_hints, .. } if !with_hints.is_empty() => {
                let place = self.place(name.span());
                self.refuse(place, "WITH options are for a table that is read with STREAM", "leave them out");
            }
            TableFactor::Table { name, alias, .. } => self.table(name, alias),
            TableFactor::Pivot { table, .. } => {
                let place = self.place(table.span());
                self.refuse(place, "PIVOT isn't executed", "use aggregates with FILTER (WHERE …), one a column");
            }
            TableFactor::Unpivot { table, .. } => {
                let place = self.place(table.span());
                self.refuse(place, "UNPIVOT isn't executed", "use UNION ALL of one SELECT a column");
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::RLike { negated, expr: text, pattern, .. } => {
                let call = function("rlike", vec![(**text).clone(), (**pattern).clone()]);
                *expr =
                    if *negated { Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(call) } } else { call };
            }
            Expr::BinaryOp { left, op: ast::BinaryOperator::Spaceship, right } => {
                *expr = Expr::IsNotDistinctFrom(left.clone(), right.clone());
            }
            Expr::JsonAccess { value, path } => match json_path(path) {
                Some(path) => {
                    let path = Expr::Value(Value::SingleQuotedString(path).into());
                    *expr = function("get_json_object", vec![(**value).clone(), path]);
                }
                None => {
                    let place = self.place(expr.span());
                    self.refuse(
                        place,
                        "a JSON path holds an expression, or a key with a dot or a bracket",
                        "write literal steps: a:b.c[0]",
                    );
                }
            },
            Expr::Cast { data_type, .. } => *data_type = types::planned(data_type.clone()),
            Expr::Function(function) => {
                if let Some((message, help)) = functions::rewrite(function) {
                    let place = self.place(function.name.span());
                    self.refuse(place, &message, help);
                }
            }
            Expr::Lambda(lambda) => self.lambdas = functions::own_parameters(lambda, self.lambdas),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                let message = format!("`{value}` has no value");
                self.refuse(self.place(value.span), &message, "write :name for a parameter of the project");
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn table(&mut self, name: &mut ObjectName, alias: &mut Option<TableAlias>) {
        let parts: Vec<Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect();
        let Some(last) = parts.last().cloned() else { return };
        let is_single = parts.len() == 1;
        if is_single && self.relations[..self.taken].iter().any(|relation| relation.alias == last.value) {
            return;
        }
        let span = self.place(name.span());
        let expression = self.scope.find(&last.value).filter(|_| is_single).map(str::to_owned);
        let place = expression.clone().unwrap_or_else(|| format!("__r{}", self.relations.len()));
        if alias.is_none() && place != last.value {
            let name = Ident::with_quote('"', &last.value);
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        *name = ObjectName::from(vec![Ident::with_quote('"', &place)]);
        if expression.is_none() {
            let name = Name::of(parts, span.clone());
            let source = ParsedSource::Table {
                name,
                stream: false,
                skip_change_commits: false,
                starting_version: None,
                watermark: None,
            };
            self.relations.push(ParsedRelation { alias: place, source, as_of: None, span });
        }
    }

    /// The place of a part of the tree; of the whole for a part that was made here.
    fn place(&self, span: sqlparser::tokenizer::Span) -> Span {
        self.text.placed(span).unwrap_or_else(|| self.span.clone())
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) {
        self.found.push(Diagnostic::error("UNSUPPORTED_QUERY", message).at(span).help(help));
    }
}

/// The command that stands in a query's place.
fn command_of(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        SetExpr::Table(_) => Some("TABLE"),
        SetExpr::SetOperation { left, right, .. } => command_of(left).or_else(|| command_of(right)),
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => None,
    }
}

/// Spark names the column of an `explode` without alias `col`.
fn name_exploded(item: &mut SelectItem) {
    if let SelectItem::UnnamedExpr(Expr::Function(call)) = item
        && functions::is_explode(call)
    {
        *item = SelectItem::ExprWithAlias { expr: Expr::Function(call.clone()), alias: Ident::new("col") };
    }
}

fn function(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `$.a.b[0]` of a path of literal steps, whose keys hold nothing that parts steps.
fn json_path(path: &ast::JsonPath) -> Option<String> {
    let mut text = "$".to_owned();
    for step in &path.path {
        let key = match step {
            JsonPathElem::Dot { key, .. } => key,
            JsonPathElem::Bracket { key: Expr::Value(value) }
            | JsonPathElem::ColonBracket { key: Expr::Value(value) } => match &value.value {
                Value::Number(index, _) => {
                    text.push_str(&format!("[{index}]"));
                    continue;
                }
                Value::SingleQuotedString(key) => key,
                _ => return None,
            },
            JsonPathElem::Bracket { .. } | JsonPathElem::ColonBracket { .. } => return None,
        };
        if key.is_empty() || key.contains(['.', '[', ']', '\'', '*']) {
            return None;
        }
        text.push_str(&format!(".{key}"));
    }
    Some(text)
}
