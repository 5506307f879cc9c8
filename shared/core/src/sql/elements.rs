//! Reads the list of a dataset's columns and constraints.

use sqlparser::ast::Ident;
use sqlparser::tokenizer::Token;

use super::CreateDataset;
use super::query::{offset, rewrite_predicate};
use super::reader::{Found, Reader};
use super::tokens::{are_words, is_word};
use crate::diagnostic::Diagnostic;
use crate::model::{Column, DatasetKind, Expectation, Violation};

/// Properties of columns that aren't executed, and what to do instead.
const PROPERTIES: [(&[&str], &str); 11] = [
    (&["GENERATED", "ALWAYS", "AS", "IDENTITY"], "take a key from the source, or make one with uuid()"),
    (&["GENERATED", "BY", "DEFAULT", "AS", "IDENTITY"], "take a key from the source, or make one with uuid()"),
    (&["GENERATED", "ALWAYS", "AS"], "compute the column in the query"),
    (&["DEFAULT"], "write coalesce(column, value) in the query"),
    (&["MASK"], "leave the column out of the query, or hash it there"),
    (&["PRIMARY", "KEY"], "use `headwater.dedup.keys` for unique rows"),
    (&["UNIQUE"], "use `headwater.dedup.keys` for unique rows"),
    (&["REFERENCES"], "join in the query, and test the result with an expectation"),
    (&["CHECK"], "write CONSTRAINT name EXPECT (condition) among the columns"),
    (&["CONSTRAINT"], "write CONSTRAINT name EXPECT (condition) after a comma"),
    (&["COLLATE"], "strings are compared by their bytes: leave it out"),
];

impl Reader<'_> {
    /// `( column …, CONSTRAINT … EXPECT …, … )`
    pub(super) fn elements(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        self.expect(&Token::LParen)?;
        while !self.parser.consume_token(&Token::RParen) {
            let start = offset(self.text, &self.parser);
            if self.words(&["CONSTRAINT"]) {
                self.constraint(dataset)?;
            } else if self.words(&["PRIMARY", "KEY"]) || self.words(&["FOREIGN", "KEY"]) {
                self.skip_element();
                self.refuse_since(
                    start,
                    "PRIMARY KEY and FOREIGN KEY constraints aren't kept",
                    "use an expectation, or `headwater.dedup.keys` for unique rows",
                );
            } else {
                self.column(dataset)?;
            }
            if !self.parser.consume_token(&Token::Comma) && self.parser.peek_token().token != Token::RParen {
                return Err(vec![self.error("expected `,` or `)` in the list of columns and constraints")]);
            }
        }
        Ok(())
    }

    fn column(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        let start = offset(self.text, &self.parser);
        let views_only = dataset.kind == DatasetKind::TemporaryView || dataset.kind == DatasetKind::View;
        let name = self.parser.parse_identifier().map_err(|error| vec![self.syntax(&error)])?;
        if views_only || matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            return self.untyped_column(&name, start);
        }
        let data_type = self.parser.parse_data_type().map_err(|error| vec![self.syntax(&error)])?;
        let mut column = Column { name: name.value, data_type, not_null: false, comment: None };
        while self.property(&mut column)? {}
        dataset.columns.push(column);
        Ok(())
    }

    /// One property of a column; false when there is none.
    fn property(&mut self, column: &mut Column) -> Found<bool> {
        if self.words(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if self.words(&["COMMENT"]) {
            column.comment = Some(self.string()?);
        } else if !self.words(&["NULL"]) {
            return Ok(self.refused_property(&column.name));
        }
        Ok(true)
    }

    /// A property that parses but isn't executed; false when there is none.
    fn refused_property(&mut self, column: &str) -> bool {
        let start = offset(self.text, &self.parser);
        for (words, instead) in PROPERTIES {
            if self.words(words) {
                self.skip_property();
                self.refuse_since(start, &format!("{} of column `{column}` isn't executed", words.join(" ")), instead);
                return true;
            }
        }
        false
    }

    /// Skips to the next property, or to the comma or bracket that ends the column.
    fn skip_property(&mut self) {
        let mut depth = 0_usize;
        loop {
            let next = [self.parser.peek_token(), self.parser.peek_nth_token(1)];
            let begins = are_words(&next, 0, &["NOT", "NULL"])
                || is_word(&next[0], "COMMENT")
                || PROPERTIES.iter().any(|(words, _)| is_word(&next[0], words[0]));
            match next[0].token {
                Token::EOF => return,
                Token::Comma | Token::RParen if depth == 0 => return,
                _ if begins && depth == 0 => return,
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            self.parser.next_token();
        }
    }

    /// A view's column, or one without a type: only its name and comment may stand.
    fn untyped_column(&mut self, name: &Ident, start: usize) -> Found<()> {
        if self.words(&["COMMENT"]) {
            self.string()?;
        }
        if matches!(self.parser.peek_token().token, Token::Comma | Token::RParen) {
            let span = self.since(start);
            let found =
                Diagnostic::error("UNSUPPORTED_CLAUSE", format!("column `{}` is declared without a type", name.value));
            self.refused.push(found.at(span).help("name columns in the query with AS"));
            return Ok(());
        }
        Err(vec![self.error("expected a comment, `,` or `)` after the name of a view's column")])
    }

    /// After `CONSTRAINT`.
    fn constraint(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        let start = offset(self.text, &self.parser);
        let name = self.parser.parse_identifier().map_err(|error| vec![self.syntax(&error)])?;
        if !self.words(&["EXPECT"]) {
            self.skip_element();
            self.refuse_since(
                start,
                "only EXPECT constraints are executed",
                "write CONSTRAINT name EXPECT (condition) [ON VIOLATION DROP ROW | FAIL UPDATE]",
            );
            return Ok(());
        }
        self.expect(&Token::LParen)?;
        let mut predicate = self.parser.parse_expr().map_err(|error| vec![self.syntax(&error)])?;
        self.expect(&Token::RParen)?;
        rewrite_predicate(self.text, &mut predicate, &self.since(start))?;
        let action = self.violation()?;
        let span = self.since(start);
        dataset.expectations.push(Expectation { name: name.value, predicate, action, span });
        Ok(())
    }

    fn violation(&mut self) -> Found<Violation> {
        if !self.words(&["ON", "VIOLATION"]) {
            return Ok(Violation::Warn);
        }
        if self.words(&["DROP", "ROW"]) {
            return Ok(Violation::Drop);
        }
        if self.words(&["FAIL", "UPDATE"]) {
            return Ok(Violation::Fail);
        }
        Err(vec![self.error("expected DROP ROW or FAIL UPDATE after ON VIOLATION")])
    }
}
