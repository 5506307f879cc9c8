//! Reads what stands after a relation: `WITH (…)`, `WATERMARK …`, `CHANGES …`, `IDENTIFIED BY …`.

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::ParsedSource;
use super::dialect::SparkDialect;
use super::interval::interval;
use super::option_names::refusal_of_stream;
use super::query::syntax_error;
use super::relations::{RelationReader, plain};
use super::text::Text;
use super::time_travel::begins;
use super::tokens::{after_brackets, are_words, is_word, range};
use crate::diagnostic::Diagnostic;
use crate::model::Watermark;

/// How the bounds of `CHANGES` begin.
pub(super) const BOUNDS: [&str; 4] = ["VERSION", "TIMESTAMP", "SYSTEM_VERSION", "SYSTEM_TIME"];

/// A watermark's expression has fewer tokens.
const LONGEST: usize = 256;

const NO_TIME_TRAVEL: &str = "write `table VERSION AS OF 3` or `table TIMESTAMP AS OF '2025-01-31'`, with a literal, after a table that isn't read with STREAM";
const NO_CHANGES: &str = "leave it out; a source that changes rows is read WITH (SKIPCHANGECOMMITS = true)";

impl RelationReader<'_> {
    /// All clauses after the relation whose last name is `name`.
    pub(super) fn trailing(&mut self, source: &mut ParsedSource, name: &str) {
        loop {
            let start = self.at;
            if self.word("WATERMARK") {
                self.watermark(source, name);
            } else if self.tokens.get(self.at).is_some_and(|token| is_word(token, "WITH")) && self.bracket_follows() {
                self.at += 1;
                self.options(source);
            } else if self.word("CHANGES") {
                self.at = after_bounds(self.tokens, self.at);
                self.refuse(start, "CHANGES isn't executed: a stream reads the rows that its source added", NO_CHANGES);
            } else if are_words(self.tokens, self.at, &["IDENTIFIED", "BY"]) {
                self.at += 3;
                self.refuse(
                    start,
                    "IDENTIFIED BY isn't executed: a flow's name is the identity of its progress",
                    "leave it out, and name the flow with CREATE FLOW",
                );
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
        let key = plain(&first.token);
        let value = option.last().map(|token| plain(&token.token)).unwrap_or_default();
        let ParsedSource::Table { skip_change_commits, starting_version, .. } = source else {
            let message = format!("option `{key}` belongs inside the brackets of the table function");
            return self.fail_option("UNSUPPORTED_OPTION", message, &format!("write {key} => {value} there"), option);
        };
        match (key.to_lowercase().as_str(), value.to_lowercase().as_str(), value.parse::<u64>()) {
            ("skipchangecommits", "true", _) => *skip_change_commits = true,
            ("skipchangecommits", "false", _) => *skip_change_commits = false,
            ("startingversion", _, Ok(version)) => *starting_version = Some(version),
            ("skipchangecommits", ..) => {
                let message = format!("`{value}` is no value of `{key}`");
                self.fail_option("INVALID_OPTION", message, "write true or false", option);
            }
            ("startingversion", ..) => {
                let message = format!("`{value}` is no value of `{key}`");
                self.fail_option("INVALID_OPTION", message, "write the number of a version", option);
            }
            _ => {
                let (code, message, help) = refusal_of_stream(&key);
                self.fail_option(code, message, &help, option);
            }
        }
    }

    fn fail_option(&mut self, code: &'static str, message: String, help: &str, option: &[TokenWithSpan]) {
        let span = self.text.span(&range(self.text, option));
        self.found.push(Diagnostic::error(code, message).at(span).help(help));
    }

    /// After `WATERMARK`: `[FOR] expression [AS alias] DELAY OF interval`.
    fn watermark(&mut self, source: &mut ParsedSource, name: &str) {
        let start = self.at - 1;
        let delay = (self.at..self.tokens.len().min(self.at + LONGEST))
            .find(|at| are_words(self.tokens, *at, &["DELAY", "OF"]));
        let Some(end) = delay.filter(|end| *end > self.at) else {
            let help = "write WATERMARK column DELAY OF INTERVAL 10 MINUTES";
            return self.fail(self.at, "expected a column and DELAY OF after WATERMARK", Some(help));
        };
        let column = self.watermark_column(end, name);
        self.at = end + 2;
        let Some(delay) = interval(self.tokens, &mut self.at) else {
            let help = "write INTERVAL 10 MINUTES, with a unit from MILLISECOND to WEEK";
            return self.fail(self.at, "expected an interval after DELAY OF", Some(help));
        };
        let found = column.map(|column| Watermark { column, delay });
        match source {
            ParsedSource::Table { stream: true, watermark, .. }
            | ParsedSource::Events { stream: true, watermark, .. }
            | ParsedSource::Files { stream: true, watermark, .. } => *watermark = found,
            ParsedSource::Table { .. } | ParsedSource::Events { .. } | ParsedSource::Files { .. } => {
                self.refuse(start, NOT_A_STREAM, "read it with STREAM, or leave the watermark out");
            }
        }
    }

    /// The column of a watermark, which is the relation's own; anything else is reported.
    fn watermark_column(&mut self, end: usize, name: &str) -> Option<String> {
        if end > self.at + 1 {
            self.word("FOR");
        }
        let named = &self.tokens[self.at..end];
        let dialect = SparkDialect::new(named.len());
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(named.to_vec());
        let parsed = parser.parse_expr().and_then(|expr| {
            let is_named = parser.parse_keyword(sqlparser::keywords::Keyword::AS) || parser.peek_token() != Token::EOF;
            let alias = is_named.then(|| parser.parse_identifier()).transpose()?;
            parser.expect_token(&Token::EOF).map(|_| (expr, alias))
        });
        match parsed {
            Ok((Expr::Identifier(column), None)) => Some(column.value),
            Ok((Expr::CompoundIdentifier(parts), None)) if parts.len() == 2 && parts[0].value == name => {
                parts.into_iter().last().map(|column| column.value)
            }
            Ok(_) => {
                let help = "compute the column in a view or in the table before, and write WATERMARK column";
                let (start, message) = (self.at, "a watermark on an expression isn't executed");
                self.at = end;
                self.refuse(start, message, help);
                None
            }
            Err(error) => {
                self.found.push(syntax_error(self.text, &error, &range(self.text, named)));
                None
            }
        }
    }

    /// Refuses the clause from `start` to the reader's position.
    fn refuse(&mut self, start: usize, message: &str, help: &str) {
        let clause = &self.tokens[start..self.at.clamp(start + 1, self.tokens.len())];
        let span = self.text.span(&range(self.text, clause));
        self.found.push(Diagnostic::error("UNSUPPORTED_CLAUSE", message).at(span).help(help));
    }
}

const NOT_A_STREAM: &str = "WATERMARK stands on a relation that isn't read with STREAM";

/// A clause that would be taken for an alias: of time travel, or of a stream after an alias or on a
/// table. Gives the position after it, too.
pub(super) fn misplaced(text: &Text, tokens: &[TokenWithSpan], at: usize) -> Option<(usize, Diagnostic)> {
    let (end, message, help) = if begins(tokens, at) {
        (at + 4, "time travel stands after the name of a table, before its alias", NO_TIME_TRAVEL)
    } else if is_word(&tokens[at], "CHANGES") && after_bounds(tokens, at + 1) > at + 1 {
        (after_bounds(tokens, at + 1), "CHANGES isn't executed", NO_CHANGES)
    } else if is_word(&tokens[at], "WATERMARK") {
        let delay = (at + 2..tokens.len().min(at + LONGEST)).find(|at| are_words(tokens, *at, &["DELAY", "OF"]))?;
        let mut end = delay + 2;
        interval(tokens, &mut end)?;
        (
            end,
            NOT_A_STREAM,
            "write STREAM table WATERMARK column DELAY OF interval AS alias, or leave the watermark out",
        )
    } else {
        return None;
    };
    let end = end.min(tokens.len());
    let span = text.span(&range(text, &tokens[at..end]));
    Some((end, Diagnostic::error("UNSUPPORTED_CLAUSE", message).at(span).help(help)))
}

/// The position after `FROM VERSION 1 INCLUSIVE TO VERSION 2 …`; `at` if none begins there.
fn after_bounds(tokens: &[TokenWithSpan], mut at: usize) -> usize {
    for word in ["FROM", "TO"] {
        let is_bound = BOUNDS.iter().any(|bound| are_words(tokens, at, &[word, bound]));
        if is_bound && at + 2 < tokens.len() {
            let is_call = tokens.get(at + 3).is_some_and(|token| token.token == Token::LParen);
            at = if is_call { after_brackets(tokens, at + 3) } else { at + 3 };
            at += usize::from(are_words(tokens, at, &["INCLUSIVE"]) || are_words(tokens, at, &["EXCLUSIVE"]));
        }
    }
    at
}
