//! The position in a statement, and what every part of the grammar reads with.

use std::ops::Range;

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::query::{offset, parse_query, syntax_error};
use super::text::Text;
use super::tokens::range;
use super::{ParsedQuery, ParsedRelation};
use crate::diagnostic::{Diagnostic, Span};
use crate::nearest::nearest;

/// What was read, or all that is wrong with it.
pub(super) type Found<T> = Result<T, Vec<Diagnostic>>;

/// Reads a statement, whose relations were taken out before.
pub(super) struct Reader<'a> {
    pub(super) text: &'a Text,
    pub(super) parser: Parser<'a>,
    pub(super) relations: Vec<ParsedRelation>,
    /// Where the statement stands in the text.
    pub(super) whole: Range<usize>,
    /// Clauses that parse but aren't executed.
    pub(super) refused: Vec<Diagnostic>,
}

impl Reader<'_> {
    pub(super) fn query(&mut self) -> Found<ParsedQuery> {
        let relations = std::mem::take(&mut self.relations);
        parse_query(self.text, &mut self.parser, relations)
    }

    /// Refuses the clause from `start` to the parser's position.
    pub(super) fn refuse_since(&mut self, start: usize, message: &str, instead: &str) {
        let found = Diagnostic::error("UNSUPPORTED_CLAUSE", message).at(self.since(start)).help(instead);
        self.refused.push(found);
    }

    /// Skips to the comma or bracket that ends the element.
    pub(super) fn skip_element(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.parser.peek_token().token {
                Token::EOF => return,
                Token::Comma | Token::RParen if depth == 0 => return,
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.parser.next_token();
        }
    }

    /// Skips what belongs to a refused clause.
    pub(super) fn skip_to_clause(&mut self) {
        const BEGINS: [&str; 19] = [
            "AS",
            "CLUSTERED",
            "SKEWED",
            "ROW",
            "FLOW",
            "COMMENT",
            "PARTITIONED",
            "CLUSTER",
            "TBLPROPERTIES",
            "USING",
            "SELECT",
            "SCHEDULE",
            "TRIGGER",
            "LOCATION",
            "WITH",
            "REFRESH",
            "DEFAULT",
            "OPTIONS",
            "STORED",
        ];
        let mut depth = 0_usize;
        let mut first = true;
        loop {
            let token = self.parser.peek_token().token;
            match token {
                Token::EOF => return,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Word(word)
                    if depth == 0 && !first && BEGINS.iter().any(|begin| word.value.eq_ignore_ascii_case(begin)) =>
                {
                    return;
                }
                _ => {}
            }
            first = false;
            self.parser.next_token();
        }
    }

    pub(super) fn identifiers(&mut self) -> Found<Vec<String>> {
        self.expect(&Token::LParen)?;
        let names = self
            .parser
            .parse_comma_separated(|parser| parser.parse_identifier())
            .map_err(|error| vec![self.syntax(&error)])?;
        self.expect(&Token::RParen)?;
        Ok(names.into_iter().map(|name| name.value).collect())
    }

    pub(super) fn name(&mut self) -> Found<(Vec<String>, Span)> {
        let start = offset(self.text, &self.parser);
        let name = self.parser.parse_object_name(false).map_err(|error| vec![self.syntax(&error)])?;
        let span = self.since(start);
        let parts: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone()).collect();
        if parts.len() > 3 {
            return Err(vec![
                Diagnostic::error("PARSE_SYNTAX_ERROR", "a name has at most three parts")
                    .at(span)
                    .help("write [catalog.][schema.]name"),
            ]);
        }
        Ok((parts, span))
    }

    pub(super) fn string(&mut self) -> Found<String> {
        match self.parser.next_token().token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Ok(text),
            _ => {
                self.parser.prev_token();
                Err(vec![self.error("expected a string")])
            }
        }
    }

    pub(super) fn expect(&mut self, token: &Token) -> Found<()> {
        self.parser.expect_token(token).map(|_| ()).map_err(|error| vec![self.syntax(&error)])
    }

    pub(super) fn expect_end(&mut self) -> Found<()> {
        if self.parser.peek_token().token == Token::EOF {
            return Ok(());
        }
        const CLAUSES: [&str; 10] =
            ["COMMENT", "PARTITIONED", "CLUSTER", "TBLPROPERTIES", "USING", "AS", "FLOW", "FROM", "WHERE", "GROUP"];
        let word = self.peek_text();
        let mut found = self.error(&format!("unexpected `{word}`"));
        found.help = Some(
            nearest(&word, CLAUSES)
                .map_or_else(|| "statements end with `;`".into(), |near| format!("did you mean {near}?")),
        );
        Err(vec![found])
    }

    /// Takes these words if they come next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let there = words.iter().enumerate().all(|(at, word)| match self.parser.peek_nth_token(at).token {
            Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
            _ => false,
        });
        if there {
            for _ in words {
                self.parser.next_token();
            }
        }
        there
    }

    pub(super) fn peek_text(&self) -> String {
        match self.parser.peek_token().token {
            Token::EOF => String::new(),
            token => token.to_string(),
        }
    }

    pub(super) fn error(&self, message: &str) -> Diagnostic {
        Diagnostic::error("PARSE_SYNTAX_ERROR", message).at(self.here())
    }

    pub(super) fn syntax(&self, error: &sqlparser::parser::ParserError) -> Diagnostic {
        syntax_error(self.text, error, &self.whole)
    }

    pub(super) fn here(&self) -> Span {
        let token = self.parser.peek_token();
        match token.token {
            Token::EOF => self.text.span(&(self.whole.end..self.whole.end)),
            _ => self.text.span(&range(self.text, &[token])),
        }
    }

    pub(super) fn whole_span(&self) -> Span {
        self.text.span(&self.whole)
    }

    /// From a byte of the text to the end of the last token that was read.
    pub(super) fn since(&self, start: usize) -> Span {
        let end = self.parser.get_current_token().span.end;
        let end = self.text.offset(end.line, end.column);
        self.text.span(&(start..end.max(start)))
    }
}

/// A word or a string without its quotes.
pub(super) fn unquoted(token: &Token) -> String {
    match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    }
}
