//! Reads the list of a dataset's columns and constraints.

use sqlparser::ast::{ColumnOption, Ident};
use sqlparser::tokenizer::Token;

use super::CreateDataset;
use super::query::{offset, rewrite_predicate};
use super::reader::{Found, Reader};
use crate::diagnostic::Diagnostic;
use crate::model::{Column, DatasetKind, Expectation, Violation};

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
        self.parser.prev_token();
        let definition = self.parser.parse_column_def().map_err(|error| vec![self.syntax(&error)])?;
        let mut column =
            Column { name: definition.name.value, data_type: definition.data_type, not_null: false, comment: None };
        for option in definition.options {
            match option.option {
                ColumnOption::NotNull => column.not_null = true,
                ColumnOption::Null => {}
                ColumnOption::Comment(comment) => column.comment = Some(comment),
                other => {
                    let span = self.since(start);
                    let found = Diagnostic::error(
                        "UNSUPPORTED_CLAUSE",
                        format!("`{other}` of column `{}` isn't executed", column.name),
                    );
                    self.refused
                        .push(found.at(span).help("compute the column in the query, or check it with an expectation"));
                }
            }
        }
        let mask = offset(self.text, &self.parser);
        if self.words(&["MASK"]) {
            self.skip_element();
            self.refuse_since(mask, "MASK isn't executed", "leave the column out of the query, or hash it there");
        }
        dataset.columns.push(column);
        Ok(())
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
