//! Reads a query and rewrites it to the engine's dialect.
//!
//! Every table becomes a plain name; `a RLIKE b` becomes `rlike(a, b)`; a JSON path `a:b.c` becomes
//! `get_json_object(a, '$.b.c')`; strings in double quotes become strings, identifiers in backticks
//! become identifiers in double quotes.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, JsonPathElem,
    ObjectName, ObjectNamePart, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::text::{Text, known};
use super::{Name, ParsedQuery, ParsedRelation, ParsedSource};
use crate::diagnostic::{Diagnostic, Span};

/// Reads a query at the parser's position up to its end.
pub(super) fn parse_query(
    text: &Text,
    parser: &mut Parser<'_>,
    relations: Vec<ParsedRelation>,
    configuration: &BTreeMap<String, String>,
) -> Result<ParsedQuery, Vec<Diagnostic>> {
    let start = offset(text, parser);
    let end = text.as_str().len();
    let mut ast = parser.parse_query().map_err(|error| vec![syntax_error(text, &error, &(start..end))])?;
    let stop = text.offset(parser.get_current_token().span.end.line, parser.get_current_token().span.end.column);
    let span = text.span(&(start..stop.max(start)));
    let mut rewriter = Rewriter { scopes: Vec::new(), relations, found: Vec::new(), span: span.clone(), configuration };
    let _: ControlFlow<()> = ast.visit(&mut rewriter);
    let Rewriter { relations, found, .. } = rewriter;
    if found.is_empty() { Ok(ParsedQuery { ast, relations, span }) } else { Err(found) }
}

/// Rewrites an expression that stands outside of a query: an expectation's predicate.
pub(super) fn rewrite_expr(
    expr: &mut Expr,
    configuration: &BTreeMap<String, String>,
    span: &Span,
) -> Result<(), Vec<Diagnostic>> {
    let mut rewriter =
        Rewriter { scopes: Vec::new(), relations: Vec::new(), found: Vec::new(), span: span.clone(), configuration };
    let _: ControlFlow<()> = expr.visit(&mut rewriter);
    if rewriter.found.is_empty() { Ok(()) } else { Err(rewriter.found) }
}

/// The offset of the parser's next token.
pub(super) fn offset(text: &Text, parser: &Parser<'_>) -> usize {
    let token = parser.peek_token();
    match token.token {
        Token::EOF => text.as_str().len(),
        _ => text.offset(token.span.start.line, token.span.start.column),
    }
}

/// A parser's error at the place that its text names, or at the statement.
pub(super) fn syntax_error(text: &Text, error: &ParserError, statement: &Range<usize>) -> Diagnostic {
    let (message, place) = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => located(message),
        ParserError::RecursionLimitExceeded => ("the statement is nested too deeply".to_owned(), None),
    };
    let start = place.map_or(statement.start, |(line, column)| text.offset(line, column)).min(text.as_str().len());
    let rest = &text.as_str()[start..];
    let word = rest.find(|ch: char| !ch.is_alphanumeric() && ch != '_').map_or(rest.len(), |length| length.max(1));
    let end = (start + word..).find(|at| text.as_str().is_char_boundary(*at)).unwrap_or(start).min(text.as_str().len());
    Diagnostic::error("PARSE_SYNTAX_ERROR", message).at(text.span(&(start..end)))
}

/// Parts `… at Line: 3, Column: 5` from a message.
fn located(message: &str) -> (String, Option<(u64, u64)>) {
    let message = message.strip_prefix("sql parser error: ").unwrap_or(message);
    let Some((what, place)) = message.rsplit_once(" at Line: ") else { return (lower_first(message), None) };
    let numbers = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some((line.trim().parse().ok()?, column.trim().parse().ok()?)));
    (lower_first(what), numbers)
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// The common table expressions of a query that is being visited, body by body.
struct Ctes {
    names: Vec<String>,
    recursive: bool,
    /// Queries directly below that were left; the first ones are the bodies of the expressions.
    left: usize,
}

impl Ctes {
    fn of(query: &ast::Query) -> Self {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = tables.map(|table| table.alias.name.value.to_lowercase()).collect();
        Self { names, recursive: query.with.as_ref().is_some_and(|with| with.recursive), left: 0 }
    }

    /// Those in scope: in a body, the ones before it, so that `WITH t AS (SELECT * FROM t)` reads a table.
    fn visible(&self) -> &[String] {
        let count = if self.recursive { self.names.len() } else { self.left.min(self.names.len()) };
        &self.names[..count]
    }
}

struct Rewriter<'a> {
    scopes: Vec<Ctes>,
    relations: Vec<ParsedRelation>,
    found: Vec<Diagnostic>,
    span: Span,
    configuration: &'a BTreeMap<String, String>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        let ctes = Ctes::of(query);
        if let Some(name) = ctes.names.iter().find(|name| name.starts_with("__")) {
            self.refuse(&format!("`{name}` begins with `__`, as Headwater's own names do"), "choose another name");
        }
        self.scopes.push(ctes);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut() {
            outer.left += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => self.table(name, alias),
            TableFactor::Table { name, args: Some(_), .. } => self.refuse(
                &format!("table function `{name}` isn't known"),
                "read files with read_files and messages with read_events",
            ),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {
                self.refuse("PIVOT isn't executed", "use aggregates with FILTER (WHERE …), one a column")
            }
            TableFactor::Function { name, .. } if !name.to_string().eq_ignore_ascii_case("explode") => {
                self.refuse(
                    &format!("table function `{name}` isn't known"),
                    "read files with read_files and messages with read_events",
                );
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
            Expr::JsonAccess { value, path } => {
                if let Some(path) = json_path(path) {
                    let path = Expr::Value(Value::SingleQuotedString(path).into());
                    *expr = function("get_json_object", vec![(**value).clone(), path]);
                }
            }
            Expr::Value(value) => self.value(value),
            Expr::Identifier(ident) => requote(ident),
            Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(requote),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let ast::SelectItem::ExprWithAlias { alias, .. } = item {
                requote(alias);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn table(&mut self, name: &mut ObjectName, alias: &mut Option<TableAlias>) {
        let parts: Vec<Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect();
        let Some(last) = parts.last().cloned() else { return };
        if let Some(alias) = alias {
            requote(&mut alias.name);
        }
        let taken = self.relations.iter().any(|relation| relation.alias == last.value);
        if parts.len() == 1 && (taken || self.is_cte(&last.value)) {
            requote_name(name);
            return;
        }
        let place = format!("__r{}", self.relations.len());
        let source = ParsedSource::Table {
            name: Name::of(parts, self.span.clone()),
            stream: false,
            skip_change_commits: false,
            starting_version: None,
            watermark: None,
        };
        self.relations.push(ParsedRelation { alias: place.clone(), source, span: self.span.clone() });
        *name = ObjectName::from(vec![Ident::with_quote('"', place)]);
        if alias.is_none() {
            let name = Ident::with_quote('"', last.value);
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
    }

    fn is_cte(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.scopes.iter().any(|ctes| ctes.visible().contains(&name))
    }

    /// Double-quoted strings are strings; `:name` is the configured value.
    fn value(&mut self, value: &mut ast::ValueWithSpan) {
        match &value.value {
            Value::DoubleQuotedString(text) => value.value = Value::SingleQuotedString(text.clone()),
            Value::Placeholder(name) => {
                let key = name.trim_start_matches([':', '$', '@']);
                match self.configuration.get(key) {
                    Some(text) => value.value = parameter(text),
                    None => {
                        let found = Diagnostic::error("UNBOUND_SQL_PARAMETER", format!("`:{key}` has no value"));
                        self.found.push(found.at(self.span.clone()).help(known(key, self.configuration)));
                    }
                }
            }
            _ => {}
        }
    }

    fn refuse(&mut self, message: &str, help: &str) {
        self.found.push(Diagnostic::error("UNSUPPORTED_QUERY", message).at(self.span.clone()).help(help));
    }
}

/// A parameter's value as a literal: a number where it is one, else a string.
fn parameter(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(_) => Value::Number(text.to_owned(), false),
        Err(_) => Value::SingleQuotedString(text.to_owned()),
    }
}

fn requote_name(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(ident) = part {
            requote(ident);
        }
    }
}

fn requote(ident: &mut Ident) {
    if ident.quote_style == Some('`') {
        ident.quote_style = Some('"');
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

/// `$.a.b[0]` of a path of literal steps.
fn json_path(path: &ast::JsonPath) -> Option<String> {
    let mut text = "$".to_owned();
    for step in &path.path {
        match step {
            JsonPathElem::Dot { key, .. } => text.push_str(&format!(".{key}")),
            JsonPathElem::Bracket { key: Expr::Value(value) }
            | JsonPathElem::ColonBracket { key: Expr::Value(value) } => match &value.value {
                Value::Number(index, _) => text.push_str(&format!("[{index}]")),
                Value::SingleQuotedString(key) => text.push_str(&format!(".{key}")),
                _ => return None,
            },
            JsonPathElem::Bracket { .. } | JsonPathElem::ColonBracket { .. } => return None,
        }
    }
    Some(text)
}
