//! Brings Spark's spelling of literals and operators to what sqlparser reads.
//!
//! `r'\d'` becomes a plain string, `1.5D` a cast, `10L` a number, `!` a `NOT`, and `exists(array,
//! x -> …)` a function of another name, since sqlparser expects a subquery there.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text::Text;
use super::tokens::{Tokens, is_word, range};
use crate::diagnostic::Diagnostic;

/// The statement in sqlparser's lexis.
pub(super) fn normalize(text: &Text, tokens: &[TokenWithSpan]) -> Result<Tokens, Vec<Diagnostic>> {
    let mut lexis = Lexis { text, tokens, at: 0, out: Tokens::with_capacity(tokens.len()), found: Vec::new() };
    while lexis.at < tokens.len() {
        lexis.next();
    }
    if lexis.found.is_empty() { Ok(lexis.out) } else { Err(lexis.found) }
}

struct Lexis<'a> {
    text: &'a Text,
    tokens: &'a [TokenWithSpan],
    at: usize,
    out: Tokens,
    found: Vec<Diagnostic>,
}

impl Lexis<'_> {
    fn next(&mut self) {
        let token = &self.tokens[self.at];
        let touching = self.tokens.get(self.at + 1).filter(|next| next.span.start == token.span.end);
        match (&token.token, touching.map(|next| &next.token)) {
            (Token::Word(_), Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)))
                if is_word(token, "r") =>
            {
                self.raw_string();
            }
            (Token::Number(number, _), Some(Token::Word(suffix))) if suffix.quote_style.is_none() => {
                let cast = suffixed(number, &suffix.value.to_uppercase());
                match cast {
                    Some(cast) => self.put(2, &cast),
                    None => self.keep(),
                }
            }
            (Token::ExclamationMark, _) => self.put(1, &[Token::make_keyword("NOT")]),
            (Token::DoubleExclamationMark, _) => {
                self.put(1, &[Token::make_keyword("NOT"), Token::make_keyword("NOT")]);
            }
            (Token::Word(_), _) if self.is_exists_of_array() => self.put(1, &[Token::make_word("any_match", None)]),
            (Token::Word(word), _) if is_own_name(&word.value) => {
                let message = format!("`{}` is a name of Headwater's own", word.value);
                self.refuse("RESERVED_NAME", message, "choose another name", self.at + 1);
            }
            _ => self.keep(),
        }
    }

    fn keep(&mut self) {
        self.out.push(self.tokens[self.at].clone());
        self.at += 1;
    }

    /// Puts tokens in the place of the next ones.
    fn put(&mut self, instead_of: usize, tokens: &[Token]) {
        let span = self.tokens[self.at].span;
        self.out.extend(tokens.iter().map(|token| TokenWithSpan::new(token.clone(), span)));
        self.at += instead_of;
    }

    /// `r'…'`: what stands between the quotes, as it is.
    fn raw_string(&mut self) {
        let quoted = range(self.text, &self.tokens[self.at + 1..=self.at + 1]);
        let source = &self.text.as_str()[quoted];
        let quote = if source.starts_with('"') { '"' } else { '\'' };
        let inside = source.strip_prefix(quote).and_then(|source| source.strip_suffix(quote)).unwrap_or_default();
        if inside.contains(quote) {
            let message = "a raw string holds its own quote, or ends in a backslash".to_owned();
            return self.refuse(
                "PARSE_SYNTAX_ERROR",
                message,
                "write it without r, and `\\\\` for a backslash",
                self.at + 2,
            );
        }
        self.put(2, &[Token::SingleQuotedString(inside.to_owned())]);
    }

    /// `EXISTS (` that isn't followed by a query.
    fn is_exists_of_array(&self) -> bool {
        const QUERIES: [&str; 5] = ["SELECT", "WITH", "FROM", "VALUES", "TABLE"];
        let next = self.tokens.get(self.at + 1).map(|token| &token.token);
        let inside = self.tokens.get(self.at + 2);
        is_word(&self.tokens[self.at], "EXISTS")
            && next == Some(&Token::LParen)
            && inside.is_some_and(|first| {
                matches!(first.token, Token::Word(_)) && !QUERIES.iter().any(|query| is_word(first, query))
            })
    }

    fn refuse(&mut self, code: &'static str, message: String, help: &str, end: usize) {
        let span = self.text.span(&range(self.text, &self.tokens[self.at..end]));
        self.found.push(Diagnostic::error(code, message).at(span).help(help));
        self.at = end;
    }
}

/// `__r` and a number: how the tree names relations.
fn is_own_name(name: &str) -> bool {
    name.strip_prefix("__r").is_some_and(|number| !number.is_empty() && number.chars().all(|ch| ch.is_ascii_digit()))
}

/// A number with a suffix as a cast; `None` if it is no suffix.
fn suffixed(number: &str, suffix: &str) -> Option<Vec<Token>> {
    let literal = Token::Number(number.to_owned(), false);
    let name = match suffix {
        "L" => return Some(vec![Token::Number(number.to_owned(), true)]),
        "D" => "DOUBLE",
        "F" => "FLOAT",
        "S" => "SMALLINT",
        "Y" => "TINYINT",
        "BD" => return decimal(number),
        _ => return None,
    };
    Some(cast(literal, &[Token::make_keyword(name)]))
}

/// `1.50BD` has three digits, two of them after the point.
fn decimal(number: &str) -> Option<Vec<Token>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |text: &str| text.chars().all(|ch| ch.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let (precision, scale) = ((whole.len() + fraction.len()).max(1), fraction.len());
    let digits = |count: usize| Token::Number(count.to_string(), false);
    let decimal =
        [Token::make_keyword("DECIMAL"), Token::LParen, digits(precision), Token::Comma, digits(scale), Token::RParen];
    Some(cast(Token::SingleQuotedString(number.to_owned()), &decimal))
}

fn cast(value: Token, data_type: &[Token]) -> Vec<Token> {
    let mut tokens = vec![Token::make_keyword("CAST"), Token::LParen, value, Token::make_keyword("AS")];
    tokens.extend_from_slice(data_type);
    tokens.push(Token::RParen);
    tokens
}
