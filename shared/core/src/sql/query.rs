//! Reads a query, and says where sqlparser's errors stand.

use std::ops::Range;

use sqlparser::ast::Expr;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::rewrite::rewrite;
use super::text::Text;
use super::{ParsedQuery, ParsedRelation};
use crate::diagnostic::{Diagnostic, Span};

/// Reads a query at the parser's position up to its end.
pub(super) fn parse_query(
    text: &Text,
    parser: &mut Parser<'_>,
    relations: Vec<ParsedRelation>,
) -> Result<ParsedQuery, Vec<Diagnostic>> {
    let start = offset(text, parser);
    let end = text.as_str().len();
    let mut ast = parser.parse_query().map_err(|error| vec![syntax_error(text, &error, &(start..end))])?;
    let stop = text.offset(parser.get_current_token().span.end.line, parser.get_current_token().span.end.column);
    let span = text.span(&(start..stop.max(start)));
    let relations = rewrite(text, &mut ast, relations, &span)?;
    Ok(ParsedQuery { ast, relations, span })
}

/// Rewrites a condition on one row, which reads its columns and no table.
pub(super) fn rewrite_predicate(text: &Text, predicate: &mut Expr, span: &Span) -> Result<(), Vec<Diagnostic>> {
    let relations = rewrite(text, predicate, Vec::new(), span)?;
    let refused = relations.into_iter().map(|relation| {
        Diagnostic::error("UNSUPPORTED_QUERY", "a condition on one row reads a table")
            .at(relation.span)
            .help("join in the query, and test the result's columns")
    });
    let found: Vec<_> = refused.collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
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

/// A parser's error without its place.
pub(super) fn message_of(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => located(message).0,
        ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
    }
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
