//! Finds where a name stands in a statement that was read before.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text::{Text, substitute};
use super::tokens::{Tokens, is_word, range, statements};
use crate::diagnostic::{SourceFile, Span};

/// The first place in `within` that refers to a column, a function or a table of this name, its
/// qualifier included; `None` if there is none. Names are compared without case; strings, comments
/// and the names that `AS` gives don't count.
#[must_use]
pub fn place_of_name(within: &Span, qualifier: Option<&str>, name: &str) -> Option<Span> {
    let (text, tokens) = read(within)?;
    let mentions: Vec<usize> = (0..tokens.len()).filter(|at| is_mention(&tokens, *at, name)).collect();
    let qualified = |at: &&usize| qualifier.is_some_and(|qualifier| is_qualified(&tokens, **at, qualifier));
    let alone = |at: &&usize| qualifier.is_none() && !follows_dot(&tokens, **at);
    let found = mentions.iter().find(qualified).map(|at| at - 2..at + 1);
    let found = found.or_else(|| mentions.iter().find(alone).or(mentions.first()).map(|at| *at..at + 1))?;
    Some(placed(within, &text, &tokens[found]))
}

/// Where a query gives a column of this name: after the last `AS`, else where it is first mentioned.
#[must_use]
pub fn place_of_column(query: &Span, name: &str) -> Option<Span> {
    let (text, tokens) = read(query)?;
    let given = (0..tokens.len()).rev().find(|at| is_named(&tokens[*at], name) && follows_as(&tokens, *at));
    given.map(|at| placed(query, &text, &tokens[at..=at])).or_else(|| place_of_name(query, None, name))
}

/// The statement that begins before a place, up to its semicolon.
#[must_use]
pub fn rest_of_statement(from: &Span) -> Span {
    let rest = from.file.text.get(from.range.start..).unwrap_or_default();
    let text = substitute(&SourceFile::new("", rest), &BTreeMap::new(), &[], &mut Vec::new());
    let first = statements(&text).0.into_iter().next().unwrap_or_default();
    let mut span = from.clone();
    span.range.end = span.range.end.max(span.range.start + range(&text, &first).end).min(from.file.text.len());
    span
}

fn read(within: &Span) -> Option<(Text, Tokens)> {
    let slice = within.file.text.get(within.range.clone())?;
    let text = substitute(&SourceFile::new("", slice), &BTreeMap::new(), &[], &mut Vec::new());
    let tokens = statements(&text).0.into_iter().flatten().collect();
    Some((text, tokens))
}

fn is_mention(tokens: &[TokenWithSpan], at: usize, name: &str) -> bool {
    is_named(&tokens[at], name) && !follows_as(tokens, at)
}

fn is_named(token: &TokenWithSpan, name: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case(name))
}

fn follows_as(tokens: &[TokenWithSpan], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| is_word(&tokens[before], "AS"))
}

fn follows_dot(tokens: &[TokenWithSpan], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| tokens[before].token == Token::Period)
}

fn is_qualified(tokens: &[TokenWithSpan], at: usize, qualifier: &str) -> bool {
    let before = at.checked_sub(2).map(|before| &tokens[before].token);
    let is_it = matches!(before, Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(qualifier));
    is_it && follows_dot(tokens, at)
}

fn placed(within: &Span, text: &Text, tokens: &[TokenWithSpan]) -> Span {
    let found = range(text, tokens);
    let start = within.range.start;
    Span { file: Arc::clone(&within.file), range: start + found.start..start + found.end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str, qualifier: Option<&str>, name: &str) -> Option<(usize, String)> {
        let whole = Span { file: SourceFile::new("a.sql", sql), range: 0..sql.len() };
        place_of_name(&whole, qualifier, name)
            .map(|span| (span.range.start, span.file.text[span.range.clone()].to_owned()))
    }

    #[test]
    fn a_name_is_found_where_it_is_used_and_not_where_it_is_said_or_given() {
        let sql = "SELECT 'nme', 1 AS nme -- nme\n, Nme FROM t";
        assert_eq!(found(sql, None, "nme"), Some((32, "Nme".into())));
        assert_eq!(found(sql, None, "name"), None);
    }

    #[test]
    fn a_qualified_name_is_found_with_its_qualifier() {
        let sql = "SELECT a.x, b.x, x FROM a JOIN b";
        assert_eq!(found(sql, Some("b"), "x"), Some((12, "b.x".into())));
        assert_eq!(found(sql, None, "x"), Some((17, "x".into())));
        assert_eq!(found(sql, Some("c"), "x"), Some((9, "x".into())));
    }

    #[test]
    fn a_name_in_backticks_and_letters_of_any_width_is_found() {
        assert_eq!(found("SELECT 'é', `my col` FROM t", None, "my col"), Some((13, "`my col`".into())));
    }

    #[test]
    fn a_column_is_given_by_its_last_as() {
        let sql = "SELECT n, CAST(n AS INT) AS n FROM t";
        let whole = Span { file: SourceFile::new("a.sql", sql), range: 0..sql.len() };
        assert_eq!(place_of_column(&whole, "N").map(|span| span.range), Some(28..29));
        assert_eq!(place_of_column(&whole, "t").map(|span| span.range), Some(35..36));
    }

    #[test]
    fn a_statement_ends_at_its_semicolon() {
        let file = SourceFile::new("a.sql", "CREATE VIEW a AS SELECT ';' AS b; SELECT 2");
        let rest = rest_of_statement(&Span { file, range: 12..13 });
        assert_eq!(&rest.file.text[rest.range.clone()], "a AS SELECT ';' AS b");
    }
}
