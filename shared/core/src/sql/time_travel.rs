//! Reads `table VERSION AS OF 3` and `table TIMESTAMP AS OF '2025-01-31'`.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::ParsedSource;
use super::relations::{RelationReader, plain};
use super::tokens::are_words;
use super::trailing::BOUNDS;
use crate::as_of::AsOf;

/// Tokens of `VERSION AS OF 3`.
const LENGTH: usize = 4;

/// Whether a clause of time travel begins here; `SELECT version AS of FROM` begins none.
pub(super) fn begins(tokens: &[TokenWithSpan], at: usize) -> bool {
    BOUNDS.iter().any(|bound| are_words(tokens, at, &[bound, "AS", "OF"]))
        && (is_literal(tokens, at + LENGTH - 1)
            || tokens.get(at + LENGTH).is_some_and(|token| token.token == Token::LParen))
}

/// The position after the name of a table that begins here, if a state of it is named by a literal.
pub(super) fn after_name(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let is_word = |at: usize| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(_)));
    let is_dot = |at: usize| tokens.get(at).is_some_and(|token| token.token == Token::Period);
    if !is_word(at) || (at > 0 && (is_dot(at - 1) || super::tokens::is_word(&tokens[at - 1], "STREAM"))) {
        return None;
    }
    let mut end = at + 1;
    while is_dot(end) && is_word(end + 1) {
        end += 2;
    }
    (begins(tokens, end) && is_literal(tokens, end + LENGTH - 1)).then_some(end)
}

fn is_literal(tokens: &[TokenWithSpan], at: usize) -> bool {
    let value = tokens.get(at).map(|token| &token.token);
    matches!(value, Some(Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)))
}

impl RelationReader<'_> {
    /// The table whose name ends before `after_name`, the last part of its name, and its state.
    pub(super) fn table_as_of(&mut self, after_name: usize) -> Option<(ParsedSource, String, AsOf)> {
        let table = self.table(false);
        let value = plain(&self.tokens[after_name + LENGTH - 1].token);
        let is_version = self.tokens[after_name].token.to_string().to_uppercase().ends_with("VERSION");
        let as_of = if is_version { value.parse().ok().map(AsOf::Version) } else { AsOf::time(&value) };
        if as_of.is_none() {
            let help = "write VERSION AS OF 12, TIMESTAMP AS OF '2025-01-31' or TIMESTAMP AS OF '2025-01-31T10:00:00Z'";
            self.fail(after_name + LENGTH - 1, &format!("`{value}` names no state of a table"), Some(help));
        }
        self.at = after_name + LENGTH;
        let (source, name) = table?;
        Some((source, name, as_of?))
    }
}
