//! Cuts a file into statements of tokens.

use std::ops::Range;

use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use super::dialect::SparkDialect;
use super::text::Text;
use crate::diagnostic::Diagnostic;

/// Statements deeper than this in brackets are refused rather than overflowing a stack.
const DEEPEST: usize = 200;

/// Types within types, which take more of a stack each.
const DEEPEST_TYPE: usize = 50;

/// Expressions of more operators, which nest to the left, are refused for the same reason.
const LONGEST_CHAIN: usize = 1_000;

/// Steps into JSON (`a:b`) become calls within calls, which take as much of a stack as so many operators.
const JSON_STEP: usize = 20;

/// Queries of more set operations, too.
const MOST_SET_OPERATIONS: usize = 500;

/// The tokens of one statement, without white space and comments; never empty.
pub(super) type Tokens = Vec<TokenWithSpan>;

/// The statements of a text. A text that can't be cut into tokens gives those before the fault.
pub(super) fn statements(text: &Text) -> (Vec<Tokens>, Option<Diagnostic>) {
    let mut tokens = Vec::new();
    let dialect = SparkDialect::new(0);
    let outcome = Tokenizer::new(&dialect, text.as_str()).tokenize_with_location_into_buf(&mut tokens);
    let failure = outcome.err().map(|error| unreadable(text, &error));
    let mut statements = Vec::new();
    let mut current = Tokens::new();
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => statements.push(std::mem::take(&mut current)),
            _ => current.push(token),
        }
    }
    if failure.is_none() {
        statements.push(current);
    }
    statements.retain(|tokens| !tokens.is_empty());
    (statements, failure)
}

/// Where a run of tokens stands in the text.
pub(super) fn range(text: &Text, tokens: &[TokenWithSpan]) -> Range<usize> {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => {
            let start = text.offset(first.span.start.line, first.span.start.column);
            start..text.offset(last.span.end.line, last.span.end.column).max(start)
        }
        _ => 0..0,
    }
}

/// Whether a token is this word, in any case and without quotes.
pub(super) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Whether the tokens at a position are these words.
pub(super) fn are_words(tokens: &[TokenWithSpan], at: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(offset, word)| tokens.get(at + offset).is_some_and(|token| is_word(token, word)))
}

/// The position after the bracket that closes the one at `open`; the end if none does.
pub(super) fn after_brackets(tokens: &[TokenWithSpan], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The place of the first token that is too deep in brackets, those of types included.
pub(super) fn too_deep(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    const GENERIC: [&str; 3] = ["ARRAY", "MAP", "STRUCT"];
    let (mut depth, mut types) = (0_usize, 0_usize);
    let mut before: Option<&TokenWithSpan> = None;
    tokens.iter().find(|token| {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Lt if before.is_some_and(|word| GENERIC.iter().any(|name| is_word(word, name))) => types += 1,
            Token::Gt => types = types.saturating_sub(1),
            Token::ShiftRight => types = types.saturating_sub(2),
            _ => {}
        }
        before = Some(token);
        depth > DEEPEST || types > DEEPEST_TYPE
    })
}

/// The place of the first operator that makes an expression, or a union, too long.
pub(super) fn too_long(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    const SETS: [&str; 4] = ["UNION", "EXCEPT", "INTERSECT", "MINUS"];
    let mut sets = 0_usize;
    // Operators of the expression at each depth of brackets; a comma ends an expression.
    let mut chains = vec![0_usize];
    tokens.iter().find(|token| {
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(chains.last().copied().unwrap_or_default()),
            Token::RParen | Token::RBracket if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma => {
                let outer = chains.len().checked_sub(2).map_or(0, |outer| chains[outer]);
                chains.pop();
                chains.push(outer);
            }
            Token::Word(_) if SETS.iter().any(|set| is_word(token, set)) => sets += 1,
            _ => {
                let links = if token.token == Token::Colon { JSON_STEP } else { usize::from(is_operator(token)) };
                chains.iter_mut().last().into_iter().for_each(|chain| *chain += links);
            }
        }
        sets > MOST_SET_OPERATIONS || chains.last().is_some_and(|chain| *chain > LONGEST_CHAIN)
    })
}

/// Whether a token makes an expression deeper. Names and literals don't, all else might.
fn is_operator(token: &TokenWithSpan) -> bool {
    const WORDS: [&str; 12] =
        ["AND", "OR", "NOT", "IS", "LIKE", "ILIKE", "RLIKE", "REGEXP", "IN", "BETWEEN", "DIV", "COLLATE"];
    match token.token {
        Token::Word(_) => WORDS.iter().any(|word| is_word(token, word)) || is_word(token, "AT"),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::Period => false,
        _ => true,
    }
}

fn unreadable(text: &Text, error: &TokenizerError) -> Diagnostic {
    let start = text.offset(error.location.line, error.location.column);
    let span = text.span(&(start..text.as_str().len().min(start + 1)));
    Diagnostic::error("PARSE_SYNTAX_ERROR", error.message.clone())
        .at(span)
        .help("close the quote or comment that begins here")
}
