//! Takes streaming reads and table functions out of a statement's tokens.
//!
//! What stays in their place is a plain name `__r0`, `__r1`, …, with an alias: the user's, or the
//! last part of the relation's own name, so that `flights.carrier` still finds its table.

use std::time::Duration;

use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::cdc::begins_clause;
use super::text::Text;
use super::tokens::{Tokens, after_brackets, are_words, is_word, range};
use super::{Name, ParsedRelation, ParsedSource, options};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::Watermark;

/// Table functions that read an outside source.
const FUNCTIONS: [&str; 3] = ["read_files", "read_events", "cloud_files"];

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
        if !begins_relation(tokens, at) {
            extracted.tokens.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut reader = Reader { text, tokens, at, found: Vec::new() };
        let source = reader.relation();
        extracted.found.append(&mut reader.found);
        let end = reader.at.max(at + 1).min(tokens.len());
        if let Some((source, own_name)) = source {
            extracted.put(text, &tokens[at..end], (source, &own_name), &tokens[end..]);
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
        (source, own_name): (ParsedSource, &str),
        rest: &[TokenWithSpan],
    ) {
        let alias = format!("__r{}", self.relations.len());
        let place = tokens[0].span;
        self.tokens.push(TokenWithSpan::new(word(&alias, Some('"')), place));
        if !begins_alias(rest) {
            self.tokens.push(TokenWithSpan::new(word("AS", None), place));
            self.tokens.push(TokenWithSpan::new(word(own_name, Some('"')), place));
        }
        self.relations.push(ParsedRelation { alias, source, span: text.span(&range(text, tokens)) });
    }
}

/// Reads one relation from a position on.
struct Reader<'a> {
    text: &'a Text,
    tokens: &'a [TokenWithSpan],
    at: usize,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
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
        self.trailing(&mut source);
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
        match options::read_call(self.text, call, &name, stream) {
            Ok(source) => Some((source, name)),
            Err(found) => {
                self.found.extend(found);
                None
            }
        }
    }

    fn table(&mut self, stream: bool) -> Option<(ParsedSource, String)> {
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

    /// `WITH (…)`, `CHANGES …`, `IDENTIFIED BY …` and `WATERMARK …` after a relation.
    fn trailing(&mut self, source: &mut ParsedSource) {
        loop {
            let start = self.at;
            if are_words(self.tokens, self.at, &["WATERMARK"]) {
                self.at += 1;
                self.watermark(source);
            } else if self.tokens.get(self.at).is_some_and(|token| is_word(token, "WITH")) && self.bracket_follows() {
                self.at += 1;
                self.options(source);
            } else if are_words(self.tokens, self.at, &["CHANGES"]) {
                self.fail(
                    start,
                    "CHANGES isn't executed: a stream reads the rows that its source added",
                    Some("leave it out; a source that changes rows is read WITH (SKIPCHANGECOMMITS = true)"),
                );
                self.at += 1;
            } else if are_words(self.tokens, self.at, &["IDENTIFIED", "BY"]) {
                self.fail(
                    start,
                    "IDENTIFIED BY isn't executed: a flow's name is the identity of its progress",
                    Some("leave it out, and name the flow with CREATE FLOW"),
                );
                self.at += 3;
            } else {
                return;
            }
        }
    }

    fn bracket_follows(&self) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| token.token == Token::LParen)
    }

    fn options(&mut self, source: &mut ParsedSource) {
        let end = after_brackets(self.tokens, self.at);
        let inside = self.tokens[self.at + 1..end.saturating_sub(1).max(self.at + 1)].to_vec();
        self.at = end;
        for option in inside.split(|token| token.token == Token::Comma) {
            self.option(source, option);
        }
    }

    fn option(&mut self, source: &mut ParsedSource, option: &[TokenWithSpan]) {
        let Some(first) = option.first() else { return };
        let key = plain(&first.token).to_lowercase();
        let value = option.last().map(|token| plain(&token.token)).unwrap_or_default();
        let span = self.text.span(&range(self.text, option));
        let ParsedSource::Table { skip_change_commits, starting_version, .. } = source else {
            self.found.push(
                Diagnostic::error(
                    "UNSUPPORTED_OPTION",
                    format!("option `{key}` belongs inside the brackets of the table function"),
                )
                .at(span),
            );
            return;
        };
        match (key.as_str(), value.to_lowercase().as_str(), value.parse::<u64>()) {
            ("skipchangecommits", "true", _) => *skip_change_commits = true,
            ("skipchangecommits", "false", _) => *skip_change_commits = false,
            ("startingversion", _, Ok(version)) => *starting_version = Some(version),
            ("skipchangecommits" | "startingversion", ..) => {
                self.found
                    .push(Diagnostic::error("INVALID_OPTION", format!("`{value}` is no value of `{key}`")).at(span));
            }
            _ => self.found.push(
                Diagnostic::error("UNSUPPORTED_OPTION", format!("option `{key}` of a streaming read isn't executed"))
                    .at(span)
                    .help("known are SKIPCHANGECOMMITS and STARTINGVERSION"),
            ),
        }
    }

    fn watermark(&mut self, source: &mut ParsedSource) {
        let start = self.at;
        let Some(Token::Word(column)) = self.tokens.get(self.at).map(|token| token.token.clone()) else {
            return self.fail(
                start,
                "expected the event-time column after WATERMARK",
                Some("write WATERMARK column DELAY OF INTERVAL 10 MINUTES"),
            );
        };
        self.at += 1;
        if !are_words(self.tokens, self.at, &["DELAY", "OF"]) {
            return self.fail(self.at, "expected DELAY OF after the column of WATERMARK", Some("a watermark takes a column of its source, not an expression: write WATERMARK column DELAY OF INTERVAL 10 MINUTES"));
        }
        self.at += 2;
        let Some(delay) = self.interval() else {
            return self.fail(
                self.at,
                "expected an interval",
                Some("write INTERVAL 10 MINUTES, with a unit from SECOND to WEEK"),
            );
        };
        let found = Some(Watermark { column: column.value, delay });
        match source {
            ParsedSource::Table { stream: true, watermark, .. }
            | ParsedSource::Events { stream: true, watermark, .. }
            | ParsedSource::Files { stream: true, watermark, .. } => *watermark = found,
            ParsedSource::Table { .. } | ParsedSource::Events { .. } | ParsedSource::Files { .. } => {
                self.fail(
                    start,
                    "WATERMARK stands on a relation that isn't read with STREAM",
                    Some("read it with STREAM, or leave the watermark out"),
                );
            }
        }
    }

    fn interval(&mut self) -> Option<Duration> {
        self.word("INTERVAL");
        if let Some(Token::SingleQuotedString(text)) = self.tokens.get(self.at).map(|token| token.token.clone()) {
            self.at += 1;
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            if words.len() % 2 == 1 {
                words.push(self.unit()?);
            }
            return total(&words);
        }
        let mut words = Vec::new();
        while let Some(Token::Number(number, _)) = self.tokens.get(self.at).map(|token| token.token.clone()) {
            self.at += 1;
            words.push(number);
            words.push(self.unit()?);
        }
        (!words.is_empty()).then(|| total(&words)).flatten()
    }

    fn unit(&mut self) -> Option<String> {
        let Some(Token::Word(unit)) = self.tokens.get(self.at).map(|token| &token.token) else { return None };
        self.at += 1;
        Some(unit.value.clone())
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| is_word(token, word));
        self.at += usize::from(found);
        found
    }

    fn consume(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|found| found.token == *token);
        self.at += usize::from(found);
        found
    }

    fn fail(&mut self, at: usize, message: &str, help: Option<&str>) {
        let mut found = Diagnostic::error("PARSE_SYNTAX_ERROR", message).at(self.place(at));
        found.help = help.map(str::to_owned);
        self.found.push(found);
    }

    fn place(&self, at: usize) -> Span {
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
fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The sum of `number unit` pairs.
fn total(words: &[String]) -> Option<Duration> {
    words.chunks(2).try_fold(Duration::ZERO, |sum, pair| {
        let number: u64 = pair.first()?.parse().ok()?;
        let unit = match pair.get(1)?.to_lowercase().trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return None,
        };
        sum.checked_add(Duration::from_secs(number.checked_mul(unit)?))
    })
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
