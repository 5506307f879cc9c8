//! Binds `:name` parameters and `IDENTIFIER(…)`, and brings quotes to the engine's: strings in
//! single quotes, identifiers in double quotes.

use std::collections::BTreeMap;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::text::{Text, known};
use super::tokens::{Tokens, after_brackets, is_word, range};
use crate::diagnostic::Diagnostic;

/// The statement with its parameters bound; all that have no value are reported.
pub(super) fn bind(
    text: &Text,
    tokens: &[TokenWithSpan],
    configuration: &BTreeMap<String, String>,
) -> Result<Tokens, Vec<Diagnostic>> {
    let mut bound = Tokens::with_capacity(tokens.len());
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(key) = parameter_at(tokens, at) else {
            bound.push(requoted(&tokens[at]));
            at += 1;
            continue;
        };
        match configuration.get(key) {
            Some(value) => bound.push(TokenWithSpan::new(literal(value), tokens[at].span)),
            None => found.push(
                Diagnostic::error("UNBOUND_SQL_PARAMETER", format!("`:{key}` has no value"))
                    .at(text.span(&range(text, &tokens[at..at + 2])))
                    .help(known(key, configuration)),
            ),
        }
        at += 2;
    }
    if found.is_empty() { identifiers(text, &bound) } else { Err(found) }
}

/// The name of a parameter that begins here. A colon that touches the operand before it begins a
/// JSON path, one that doesn't touch the word after it belongs to a type.
fn parameter_at(tokens: &[TokenWithSpan], at: usize) -> Option<&str> {
    let (colon, next) = (tokens.get(at)?, tokens.get(at + 1)?);
    let Token::Word(word) = &next.token else { return None };
    if colon.token != Token::Colon || colon.span.end != next.span.start {
        return None;
    }
    let is_path = at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| {
        let is_operand = matches!(before.token, Token::Word(_) | Token::RParen | Token::RBracket);
        is_operand && before.span.end == colon.span.start
    });
    (!is_path).then_some(word.value.as_str())
}

/// A parameter's value: a number where it is one, else a string.
fn literal(value: &str) -> Token {
    match value.parse::<i64>() {
        Ok(_) => Token::Number(value.to_owned(), false),
        Err(_) => Token::SingleQuotedString(value.to_owned()),
    }
}

fn requoted(token: &TokenWithSpan) -> TokenWithSpan {
    let mut token = token.clone();
    match &mut token.token {
        Token::DoubleQuotedString(text) => token.token = Token::SingleQuotedString(std::mem::take(text)),
        Token::Word(word) if word.quote_style == Some('`') => word.quote_style = Some('"'),
        _ => {}
    }
    token
}

/// `IDENTIFIER('a.b')` becomes the name itself; strings in it may be joined by `||`.
fn identifiers(text: &Text, tokens: &[TokenWithSpan]) -> Result<Tokens, Vec<Diagnostic>> {
    let mut named = Tokens::with_capacity(tokens.len());
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_call = tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        if !is_call || !is_word(&tokens[at], "IDENTIFIER") {
            named.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = after_brackets(tokens, at + 1);
        match tokens.get(at + 2..end - 1).and_then(joined) {
            Some(name) => push_name(&mut named, &name, &tokens[at]),
            None => found.push(
                Diagnostic::error("PARSE_SYNTAX_ERROR", "IDENTIFIER takes strings and parameters, joined by `||`")
                    .at(text.span(&range(text, &tokens[at..end])))
                    .help("write IDENTIFIER(:name) or IDENTIFIER(:schema || '.table')"),
            ),
        }
        at = end;
    }
    if found.is_empty() { Ok(named) } else { Err(found) }
}

/// The text of literals that are joined by `||`.
fn joined(tokens: &[TokenWithSpan]) -> Option<String> {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        match (&token.token, at % 2) {
            (Token::SingleQuotedString(part) | Token::Number(part, _), 0) => text.push_str(part),
            (Token::StringConcat, 1) => {}
            _ => return None,
        }
    }
    (tokens.len() % 2 == 1).then_some(text)
}

fn push_name(named: &mut Tokens, name: &str, place: &TokenWithSpan) {
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            named.push(TokenWithSpan::new(Token::Period, place.span));
        }
        let value = part.trim().trim_matches('`').to_owned();
        let word = Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword };
        named.push(TokenWithSpan::new(Token::Word(word), place.span));
    }
}
