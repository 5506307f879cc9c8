//! Takes streaming reads and table functions out of a statement's tokens.
//!
//! What stays in their place is a plain name `__r0`, `__r1`, …, with an alias: the user's, or the
//! last part of the relation's own name, so that `flights.carrier` still finds its table.

use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::cdc::begins_clause;
use super::text::Text;
use super::tokens::{Tokens, after_brackets, is_word, range};
use super::trailing::misplaced;
use super::{Name, ParsedRelation, ParsedSource, options, time_travel};
use crate::as_of::AsOf;
use crate::diagnostic::{Diagnostic, Span};
use crate::name::DatasetName;

/// Table functions that read an outside source.
const FUNCTIONS: [&str; 4] = ["read_files", "read_events", "cloud_files", STATE];

/// The table function that tells of a table's files.
const STATE: &str = "cloud_files_state";

/// Table functions of other engines, and what to use here.
const FOREIGN: [(&str, &str); 5] = [
    ("read_kafka", "bind a queue or an event hub to a name under `sources:` and read it with read_events('name', …)"),
    ("read_kinesis", "bind a queue or an event hub to a name under `sources:` and read it with read_events('name', …)"),
    ("read_pubsub", "bind a queue or an event hub to a name under `sources:` and read it with read_events('name', …)"),
    ("read_pulsar", "bind a queue or an event hub to a name under `sources:` and read it with read_events('name', …)"),
    ("read_state_store", "Headwater keeps no state store"),
];

/// A statement without streaming reads and table functions.
#[derive(Debug)]
pub(super) struct Extracted {
    pub(super) tokens: Tokens,
    pub(super) relations: Vec<ParsedRelation>,
    pub(super) found: Vec<Diagnostic>,
}

/// Takes every streaming read and table function out.
pub(super) fn extract(text: &Text, tokens: &[TokenWithSpan]) -> Extracted {
    let mut extracted =
        Extracted { tokens: Vec::with_capacity(tokens.len()), relations: Vec::new(), found: Vec::new() };
    let mut at = 0;
    while at < tokens.len() {
        if let Some(after_name) = time_travel::after_name(tokens, at) {
            let mut reader = RelationReader { text, tokens, at, found: Vec::new() };
            let read = reader.table_as_of(after_name);
            extracted.found.append(&mut reader.found);
            let end = reader.at;
            if let Some((source, own_name, as_of)) = read {
                extracted.put(text, &tokens[at..end], (source, &own_name, Some(as_of)), &tokens[end..]);
            }
            at = end;
            continue;
        }
        if !begins_relation(tokens, at) {
            if let Some((end, found)) = misplaced(text, tokens, at) {
                extracted.found.push(found);
                at = end;
                continue;
            }
            extracted.tokens.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut reader = RelationReader { text, tokens, at, found: Vec::new() };
        let source = reader.relation();
        extracted.found.append(&mut reader.found);
        let end = reader.at.max(at + 1).min(tokens.len());
        if let Some((source, own_name)) = source {
            extracted.put(text, &tokens[at..end], (source, &own_name, None), &tokens[end..]);
        }
        at = end;
    }
    extracted
}

impl Extracted {
    fn put(
        &mut self,
        text: &Text,
        tokens: &[TokenWithSpan],
        (source, own_name, as_of): (ParsedSource, &str, Option<AsOf>),
        rest: &[TokenWithSpan],
    ) {
        let alias = format!("__r{}", self.relations.len());
        let place = tokens[0].span;
        self.tokens.push(TokenWithSpan::new(word(&alias, Some('"')), place));
        if !begins_alias(rest) {
            self.tokens.push(TokenWithSpan::new(word("AS", None), place));
            self.tokens.push(TokenWithSpan::new(word(own_name, Some('"')), place));
        }
        self.relations.push(ParsedRelation { alias, source, as_of, span: text.span(&range(text, tokens)) });
    }
}

/// Reads one relation from a position on.
pub(super) struct RelationReader<'a> {
    pub(super) text: &'a Text,
    pub(super) tokens: &'a [TokenWithSpan],
    pub(super) at: usize,
    pub(super) found: Vec<Diagnostic>,
}

impl RelationReader<'_> {
    /// The relation and the last part of its name.
    fn relation(&mut self) -> Option<(ParsedSource, String)> {
        let stream = self.word("STREAM");
        let bracketed = stream && self.tokens.get(self.at).is_some_and(|token| token.token == Token::LParen);
        if bracketed {
            self.at += 1;
        }
        let read = if self.at_function() { self.function(stream) } else { self.table(stream) };
        if bracketed && !self.consume(&Token::RParen) {
            self.fail(self.at, "expected `)` after the relation that STREAM reads", None);
        }
        let (mut source, name) = read?;
        self.trailing(&mut source, &name);
        Some((source, name))
    }

    fn at_function(&self) -> bool {
        let bracket = self.tokens.get(self.at + 1).is_some_and(|token| token.token == Token::LParen);
        bracket && matches!(self.tokens.get(self.at).map(|token| &token.token), Some(Token::Word(_)))
    }

    fn function(&mut self, stream: bool) -> Option<(ParsedSource, String)> {
        let start = self.at;
        let end = after_brackets(self.tokens, start + 1);
        self.at = end;
        let call = &self.tokens[start..end];
        let name = call[0].token.to_string().to_lowercase();
        if let Some((_, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
            let span = self.text.span(&range(self.text, call));
            self.found.push(
                Diagnostic::error("UNSUPPORTED_SOURCE", format!("`{name}` isn't a source of Headwater"))
                    .at(span)
                    .help(*instead),
            );
            return None;
        }
        if name == STATE {
            return self.files_state(call, stream);
        }
        match options::read_call(self.text, call, &name, stream) {
            Ok(source) => Some((source, name)),
            Err(found) => {
                self.found.extend(found);
                None
            }
        }
    }

    /// `cloud_files_state('table')` or `cloud_files_state(TABLE(table))`.
    fn files_state(&mut self, call: &[TokenWithSpan], stream: bool) -> Option<(ParsedSource, String)> {
        let span = self.text.span(&range(self.text, call));
        let inside = call.get(2..call.len().saturating_sub(1)).unwrap_or_default();
        let inside = match inside {
            [table, open, name @ .., close]
                if is_word(table, "TABLE") && open.token == Token::LParen && close.token == Token::RParen =>
            {
                name
            }
            other => other,
        };
        let text: String = inside.iter().map(|token| plain(&token.token)).collect();
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if stream || parts.iter().any(String::is_empty) {
            let found =
                Diagnostic::error("INVALID_ARGUMENT", "`cloud_files_state` tells of one table, and is no stream");
            self.found.push(found.at(span).help("write cloud_files_state('table')"));
            return None;
        }
        let mut name = Name { parts, span }.without_live();
        if let Some(last) = name.parts.last_mut() {
            *last = DatasetName::new(last).files_state().name().to_owned();
        }
        let source =
            ParsedSource::Table { name, stream, skip_change_commits: false, starting_version: None, watermark: None };
        Some((source, STATE.to_owned()))
    }

    pub(super) fn table(&mut self, stream: bool) -> Option<(ParsedSource, String)> {
        let name = self.name()?;
        let last = name.parts.last().cloned().unwrap_or_default();
        let source =
            ParsedSource::Table { name, stream, skip_change_commits: false, starting_version: None, watermark: None };
        Some((source, last))
    }

    fn name(&mut self) -> Option<Name> {
        let start = self.at;
        let mut parts = Vec::new();
        while let Some(Token::Word(part)) = self.tokens.get(self.at).map(|token| &token.token) {
            parts.push(part.value.clone());
            self.at += 1;
            if !self.consume(&Token::Period) {
                break;
            }
        }
        if parts.is_empty() {
            self.fail(
                start,
                "expected the name of a table after STREAM",
                Some("write STREAM table, STREAM(table) or STREAM read_files(…)"),
            );
            return None;
        }
        let span = self.text.span(&range(self.text, &self.tokens[start..self.at]));
        Some(Name { parts, span }.without_live())
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| is_word(token, word));
        self.at += usize::from(found);
        found
    }

    pub(super) fn consume(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|found| found.token == *token);
        self.at += usize::from(found);
        found
    }

    pub(super) fn fail(&mut self, at: usize, message: &str, help: Option<&str>) {
        let mut found = Diagnostic::error("PARSE_SYNTAX_ERROR", message).at(self.place(at));
        found.help = help.map(str::to_owned);
        self.found.push(found);
    }

    pub(super) fn place(&self, at: usize) -> Span {
        let token = self.tokens.get(at).or(self.tokens.last());
        self.text.span(&range(self.text, &token.cloned().into_iter().collect::<Vec<_>>()))
    }
}

fn begins_relation(tokens: &[TokenWithSpan], at: usize) -> bool {
    let next = tokens.get(at + 1).map(|token| &token.token);
    let after_dot = at > 0 && tokens[at - 1].token == Token::Period;
    let function = |name: &str| is_word(&tokens[at], name);
    let call = matches!(next, Some(Token::LParen))
        && (FUNCTIONS.iter().any(|name| function(name)) || FOREIGN.iter().any(|(name, _)| function(name)));
    let stream = is_word(&tokens[at], "STREAM")
        && matches!(next, Some(Token::Word(_) | Token::LParen))
        && !next_is_clause(tokens, at + 1);
    !after_dot && (call || stream)
}

/// `STREAM` may also be a name: then a clause follows, no relation.
fn next_is_clause(tokens: &[TokenWithSpan], at: usize) -> bool {
    matches!(&tokens[at].token, Token::Word(word) if word.quote_style.is_none() && ENDS_RELATION.contains(&word.keyword))
}

/// Words after a relation that aren't its alias.
const ENDS_RELATION: [Keyword; 24] = [
    Keyword::WHERE,
    Keyword::JOIN,
    Keyword::INNER,
    Keyword::LEFT,
    Keyword::RIGHT,
    Keyword::FULL,
    Keyword::CROSS,
    Keyword::NATURAL,
    Keyword::ON,
    Keyword::USING,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::LATERAL,
    Keyword::QUALIFY,
    Keyword::WINDOW,
    Keyword::SORT,
    Keyword::CLUSTER,
    Keyword::DISTRIBUTE,
    Keyword::PIVOT,
];

fn begins_alias(rest: &[TokenWithSpan]) -> bool {
    match rest.first().map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => {
            !ENDS_RELATION.contains(&word.keyword) && !begins_clause(rest)
        }
        Some(Token::Word(_)) => true,
        _ => false,
    }
}

fn word(value: &str, quote_style: Option<char>) -> Token {
    let keyword = if quote_style.is_none() && value == "AS" { Keyword::AS } else { Keyword::NoKeyword };
    Token::Word(Word { value: value.to_owned(), quote_style, keyword })
}

/// A word or a string without its quotes.
pub(super) fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Name {
    /// The name without the legacy `LIVE.` prefix.
    pub(super) fn without_live(mut self) -> Self {
        if self.parts.len() > 1 && self.parts[0].eq_ignore_ascii_case("live") {
            self.parts.remove(0);
        }
        self
    }

    /// A name from identifiers.
    pub(super) fn of(parts: impl IntoIterator<Item = Ident>, span: Span) -> Self {
        Self { parts: parts.into_iter().map(|part| part.value).collect(), span }.without_live()
    }
}
