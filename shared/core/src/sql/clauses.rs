//! Reads the clauses between a dataset's columns and its query.

use sqlparser::tokenizer::Token;

use super::CreateDataset;
use super::query::offset;
use super::reader::{Found, Reader, unquoted};
use crate::diagnostic::Diagnostic;

impl Reader<'_> {
    /// One clause between the columns and the query; false when there is none.
    pub(super) fn clause(&mut self, dataset: &mut CreateDataset) -> Found<bool> {
        let start = offset(self.text, &self.parser);
        if self.words(&["COMMENT"]) {
            dataset.comment = Some(self.string()?);
        } else if self.words(&["PARTITIONED", "BY"]) {
            dataset.partitioned_by = self.identifiers()?;
        } else if self.words(&["CLUSTER", "BY", "AUTO"]) || self.words(&["CLUSTER", "BY", "NONE"]) {
            self.refuse_since(start, "CLUSTER BY AUTO and NONE aren't executed", "name the columns: CLUSTER BY (a, b)");
        } else if self.words(&["CLUSTER", "BY"]) {
            dataset.clustered_by = self.identifiers()?;
        } else if self.words(&["TBLPROPERTIES"]) {
            self.properties(dataset)?;
        } else if self.words(&["USING"]) {
            let (format, span) = self.name()?;
            if !format.iter().any(|format| format.eq_ignore_ascii_case("delta")) {
                self.refused.push(
                    Diagnostic::error("UNSUPPORTED_CLAUSE", format!("USING {} isn't executed", format.join(".")))
                        .at(span)
                        .help("every table is a Delta table: leave it out"),
                );
            }
        } else {
            return self.refused_clause();
        }
        Ok(true)
    }

    /// A clause that parses but isn't executed; false when there is none.
    fn refused_clause(&mut self) -> Found<bool> {
        let refusals = [
            (&["LOCATION"][..], "LOCATION", "tables live under the pipeline's `storage`"),
            (&["SCHEDULE"], "SCHEDULE", "materialized views are refreshed by the timer of the gold function"),
            (
                &["TRIGGER", "ON", "UPDATE"],
                "TRIGGER ON UPDATE",
                "materialized views are refreshed by the timer of the gold function, only when a source changed",
            ),
            (&["WITH", "ROW", "FILTER"], "ROW FILTER", "filter in the query, or give readers a view"),
            (&["ROW", "FILTER"], "ROW FILTER", "filter in the query, or give readers a view"),
            (&["REFRESH", "POLICY"], "REFRESH POLICY", "the cheapest refresh that is right is chosen: leave it out"),
            (&["DEFAULT", "COLLATION"], "DEFAULT COLLATION", "strings are compared by their bytes: leave it out"),
            (&["OPTIONS"], "OPTIONS", "use TBLPROPERTIES"),
            (&["STORED", "AS"], "STORED AS", "every table is a Delta table: leave it out"),
            (&["CLUSTERED", "BY"], "CLUSTERED BY", "use CLUSTER BY"),
            (&["SKEWED", "BY"], "SKEWED BY", "leave it out"),
            (&["ROW", "FORMAT"], "ROW FORMAT", "leave it out"),
        ];
        let start = offset(self.text, &self.parser);
        for (words, clause, instead) in refusals {
            if self.words(words) {
                self.skip_to_clause();
                self.refuse_since(start, &format!("{clause} isn't executed"), instead);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn properties(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        self.expect(&Token::LParen)?;
        while !self.parser.consume_token(&Token::RParen) {
            let start = offset(self.text, &self.parser);
            let mut key = String::new();
            while !matches!(self.parser.peek_token().token, Token::Eq | Token::RParen | Token::Comma | Token::EOF)
                && (key.is_empty() || key.ends_with('.') || self.parser.peek_token().token == Token::Period)
            {
                key.push_str(&unquoted(&self.parser.next_token().token));
            }
            let _ = self.parser.consume_token(&Token::Eq);
            let value = unquoted(&self.parser.next_token().token);
            let span = self.since(start);
            if key.is_empty() || value.is_empty() && self.parser.peek_token().token == Token::EOF {
                return Err(vec![self.error("expected 'key' = 'value' in TBLPROPERTIES")]);
            }
            dataset.properties.push((key, value, span));
            if !self.parser.consume_token(&Token::Comma) && self.parser.peek_token().token != Token::RParen {
                return Err(vec![self.error("expected `,` or `)` in TBLPROPERTIES")]);
            }
        }
        Ok(())
    }
}
