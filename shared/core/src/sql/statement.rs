//! Reads one statement: the clauses that are the pipeline language's own.

use std::collections::BTreeMap;
use std::ops::Range;

use sqlparser::ast::{ColumnOption, Ident};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::SparkDialect;
use super::query::{offset, parse_query, rewrite_predicate, syntax_error};
use super::relations::{Extracted, extract};
use super::text::Text;
use super::tokens::{Tokens, range, too_deep};
use super::{CreateDataset, CreateFlow, Name, ParsedQuery, ParsedRelation, Statement, lexis, parameters};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::{Column, DatasetKind, Expectation, Violation};
use crate::nearest::nearest;

type Found<T> = Result<T, Vec<Diagnostic>>;

/// Words that a statement begins with.
const STATEMENTS: [&str; 5] = ["CREATE", "SET", "USE", "APPLY", "AUTO"];

/// Reads one statement; all that is wrong with it at once, as far as it can be read.
pub(super) fn parse(text: &Text, tokens: Tokens, configuration: &BTreeMap<String, String>) -> Found<Statement> {
    let whole = range(text, &tokens);
    if let Some(deep) = too_deep(&tokens) {
        let span = text.span(&range(text, std::slice::from_ref(deep)));
        return Err(vec![
            Diagnostic::error("PARSE_SYNTAX_ERROR", "the statement is nested too deeply")
                .at(span)
                .help("put inner queries into views"),
        ]);
    }
    let tokens = parameters::bind(text, &lexis::normalize(text, &tokens)?, configuration)?;
    let Extracted { tokens, relations, found } = extract(text, &tokens);
    if !found.is_empty() {
        return Err(found);
    }
    let dialect = SparkDialect;
    let parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut reader = Reader { text, parser, relations, whole, refused: Vec::new() };
    let statement = reader.statement()?;
    reader.expect_end()?;
    if reader.refused.is_empty() { Ok(statement) } else { Err(reader.refused) }
}

struct Reader<'a> {
    text: &'a Text,
    parser: Parser<'a>,
    relations: Vec<ParsedRelation>,
    whole: Range<usize>,
    /// Clauses that parse but aren't executed.
    refused: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn statement(&mut self) -> Found<Statement> {
        if self.words(&["CREATE"]) {
            return self.create();
        }
        if self.words(&["SET", "CATALOG"]) || self.words(&["USE", "CATALOG"]) {
            let (_, span) = self.name()?;
            return Ok(Statement::Use { schema: None, span });
        }
        if self.words(&["SET"]) {
            return self.set();
        }
        if self.words(&["USE"]) {
            let _ = self.words(&["SCHEMA"]) || self.words(&["DATABASE"]) || self.words(&["NAMESPACE"]);
            let (parts, span) = self.name()?;
            return Ok(Statement::Use { schema: parts.last().cloned(), span });
        }
        if self.words(&["APPLY", "CHANGES"]) || self.words(&["AUTO", "CDC"]) {
            return Err(vec![self.cdc()]);
        }
        let word = self.peek_text();
        let mut found = Diagnostic::error(
            "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND",
            format!("`{word}` is no statement of a pipeline"),
        )
        .at(self.whole_span());
        found.help = Some(match nearest(&word, STATEMENTS) {
            Some(near) => format!("did you mean {near}?"),
            None => "a pipeline's files hold CREATE STREAMING TABLE, CREATE MATERIALIZED VIEW, CREATE VIEW, CREATE FLOW, SET and USE".into(),
        });
        Err(vec![found])
    }

    fn set(&mut self) -> Found<Statement> {
        let mut key = String::new();
        while !matches!(self.parser.peek_token().token, Token::Eq | Token::EOF) {
            key.push_str(&unquoted(&self.parser.next_token().token));
        }
        if self.parser.next_token().token != Token::Eq || key.is_empty() {
            return Err(vec![self.error("expected SET key = value")]);
        }
        let mut value = String::new();
        let mut last: Option<TokenWithSpan> = None;
        while self.parser.peek_token().token != Token::EOF {
            let token = self.parser.next_token();
            if last.is_some_and(|last| last.span.end != token.span.start) {
                value.push(' ');
            }
            value.push_str(&unquoted(&token.token));
            last = Some(token);
        }
        Ok(Statement::Set { key, value, span: self.whole_span() })
    }

    fn create(&mut self) -> Found<Statement> {
        let _ = self.words(&["OR", "REFRESH"]) || self.words(&["OR", "REPLACE"]);
        if self.words(&["FLOW"]) {
            return self.flow();
        }
        let private = self.words(&["PRIVATE"]) || self.words(&["TEMPORARY"]) || self.words(&["TEMP"]);
        let kind = self.kind(private)?;
        let _ = self.words(&["IF", "NOT", "EXISTS"]);
        let (parts, span) = self.name()?;
        let mut dataset = CreateDataset {
            name: Name { parts, span }.without_live(),
            kind,
            private,
            columns: Vec::new(),
            expectations: Vec::new(),
            partitioned_by: Vec::new(),
            clustered_by: Vec::new(),
            comment: None,
            properties: Vec::new(),
            query: None,
            once: false,
        };
        if self.parser.peek_token().token == Token::LParen {
            self.elements(&mut dataset)?;
        }
        while self.clause(&mut dataset)? {}
        self.body(&mut dataset)?;
        Ok(Statement::CreateDataset(Box::new(dataset)))
    }

    fn kind(&mut self, temporary: bool) -> Found<DatasetKind> {
        let streaming = [
            &["STREAMING", "TABLE"][..],
            &["STREAMING", "LIVE", "TABLE"],
            &["INCREMENTAL", "LIVE", "TABLE"],
            &["LIVE", "STREAMING", "TABLE"],
        ];
        let materialized = [&["MATERIALIZED", "VIEW"][..], &["LIVE", "TABLE"], &["MATERIALIZED", "LIVE", "VIEW"]];
        let views = [&["STREAMING", "LIVE", "VIEW"][..], &["LIVE", "VIEW"], &["STREAMING", "VIEW"]];
        if streaming.iter().any(|words| self.words(words)) {
            return Ok(DatasetKind::StreamingTable);
        }
        if materialized.iter().any(|words| self.words(words)) {
            return Ok(DatasetKind::MaterializedView);
        }
        if views.iter().any(|words| self.words(words)) {
            return Ok(DatasetKind::TemporaryView);
        }
        if self.words(&["VIEW"]) {
            return Ok(if temporary { DatasetKind::TemporaryView } else { DatasetKind::View });
        }
        let word = self.peek_text();
        let help = match word.to_uppercase().as_str() {
            "TABLE" => {
                "write CREATE STREAMING TABLE for rows that are appended, or CREATE MATERIALIZED VIEW for a result that is kept"
            }
            "SINK" => "a sink isn't executed: downstream systems read the Delta tables",
            "FUNCTION" => "functions can't be defined in a pipeline: use the built-in ones",
            _ => "what can be created is a STREAMING TABLE, a MATERIALIZED VIEW, a VIEW or a FLOW",
        };
        Err(vec![
            Diagnostic::error(
                "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND",
                format!("CREATE {word} is no statement of a pipeline"),
            )
            .at(self.here())
            .help(help),
        ])
    }

    /// `( column …, CONSTRAINT … EXPECT …, … )`
    fn elements(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        self.expect(&Token::LParen)?;
        while !self.parser.consume_token(&Token::RParen) {
            if self.words(&["CONSTRAINT"]) {
                self.constraint(dataset)?;
            } else if self.words(&["PRIMARY", "KEY"]) || self.words(&["FOREIGN", "KEY"]) {
                self.refuse(
                    "PRIMARY KEY and FOREIGN KEY constraints aren't kept",
                    "use an expectation, or `headwater.dedup.keys` for unique rows",
                );
                self.skip_element();
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
                    let span = self.text.span(&(start..self.previous_end()));
                    let found = Diagnostic::error(
                        "UNSUPPORTED_CLAUSE",
                        format!("`{other}` of column `{}` isn't executed", column.name),
                    );
                    self.refused
                        .push(found.at(span).help("compute the column in the query, or check it with an expectation"));
                }
            }
        }
        if self.words(&["MASK"]) {
            self.refuse("MASK isn't executed", "leave the column out of the query, or hash it there");
            self.skip_element();
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
            let span = self.text.span(&(start..self.previous_end()));
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
            self.refuse(
                "only EXPECT constraints are executed",
                "write CONSTRAINT name EXPECT (condition) [ON VIOLATION DROP ROW | FAIL UPDATE]",
            );
            self.skip_element();
            return Ok(());
        }
        self.expect(&Token::LParen)?;
        let mut predicate = self.parser.parse_expr().map_err(|error| vec![self.syntax(&error)])?;
        self.expect(&Token::RParen)?;
        rewrite_predicate(self.text, &mut predicate, &self.text.span(&(start..self.previous_end())))?;
        let action = self.violation()?;
        let span = self.text.span(&(start..self.previous_end()));
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

    /// One clause between the columns and the query; false when there is none.
    fn clause(&mut self, dataset: &mut CreateDataset) -> Found<bool> {
        if self.words(&["COMMENT"]) {
            dataset.comment = Some(self.string()?);
        } else if self.words(&["PARTITIONED", "BY"]) {
            dataset.partitioned_by = self.identifiers()?;
        } else if self.words(&["CLUSTER", "BY", "AUTO"]) || self.words(&["CLUSTER", "BY", "NONE"]) {
            self.refuse("CLUSTER BY AUTO and NONE aren't executed", "name the columns: CLUSTER BY (a, b)");
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
        for (words, clause, instead) in refusals {
            if self.words(words) {
                self.refuse(&format!("{clause} isn't executed"), instead);
                self.skip_to_clause();
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
            let span = self.text.span(&(start..self.previous_end()));
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

    /// `AS query`, `FLOW …`, a query without its AS, or nothing.
    fn body(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        if self.words(&["FLOW"]) {
            return self.inline_flow(dataset);
        }
        let has_as = self.words(&["AS"]);
        let next = self.peek_text().to_uppercase();
        if has_as || ["SELECT", "WITH", "FROM", "VALUES"].contains(&next.as_str()) || next == "(" {
            dataset.query = Some(self.query()?);
        } else if matches!(dataset.kind, DatasetKind::MaterializedView | DatasetKind::View | DatasetKind::TemporaryView)
        {
            let word = self.peek_text();
            let what = if word.is_empty() {
                "the statement ends before its query".to_owned()
            } else {
                format!("expected AS and a query, found `{word}`")
            };
            return Err(vec![self.error(&what).help("write AS SELECT … after the clauses")]);
        }
        Ok(())
    }

    fn inline_flow(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        if self.words(&["AUTO", "CDC"]) {
            return Err(vec![self.cdc()]);
        }
        if self.words(&["REPLACE"]) {
            return Err(vec![self.replace()]);
        }
        if !self.words(&["INSERT"]) {
            return Err(vec![self.error("expected INSERT BY NAME or AUTO CDC after FLOW")]);
        }
        dataset.once = self.words(&["ONCE"]);
        let _ = self.words(&["BY", "NAME"]);
        dataset.query = Some(self.query()?);
        Ok(())
    }

    /// After `CREATE FLOW`.
    fn flow(&mut self) -> Found<Statement> {
        let (parts, span) = self.name()?;
        let name = Name { parts, span };
        if self.words(&["COMMENT"]) {
            self.string()?;
        }
        if !self.words(&["AS"]) {
            return Err(vec![self.error("expected AS INSERT INTO … after the flow's name")]);
        }
        if self.words(&["AUTO", "CDC"]) || self.words(&["APPLY", "CHANGES"]) {
            return Err(vec![self.cdc()]);
        }
        if !self.words(&["INSERT"]) {
            return Err(vec![self.error("expected INSERT INTO or AUTO CDC INTO")]);
        }
        let mut once = self.words(&["ONCE"]);
        let _ = self.words(&["INTO"]);
        once |= self.words(&["ONCE"]);
        let (parts, span) = self.name()?;
        let target = Name { parts, span }.without_live();
        if self.words(&["REPLACE"]) {
            return Err(vec![self.replace()]);
        }
        if !self.words(&["BY", "NAME"]) {
            return Err(vec![
                self.error("expected BY NAME after the target")
                    .help("columns are matched by name: write INSERT INTO target BY NAME SELECT …"),
            ]);
        }
        if self.words(&["REPLACE"]) {
            return Err(vec![self.replace()]);
        }
        let query = self.query()?;
        Ok(Statement::CreateFlow(Box::new(CreateFlow { name, target, once, query })))
    }

    fn query(&mut self) -> Found<ParsedQuery> {
        let relations = std::mem::take(&mut self.relations);
        parse_query(self.text, &mut self.parser, relations)
    }

    fn cdc(&self) -> Diagnostic {
        Diagnostic::error("UNSUPPORTED_CLAUSE", "AUTO CDC (APPLY CHANGES) isn't executed yet")
            .at(self.whole_span())
            .help("append the changes to a streaming table, and keep the latest of each key in a materialized view with ROW_NUMBER() OVER (PARTITION BY key ORDER BY sequence DESC)")
    }

    fn replace(&self) -> Diagnostic {
        Diagnostic::error("UNSUPPORTED_CLAUSE", "REPLACE WHERE and REPLACE USING aren't executed")
            .at(self.whole_span())
            .help("use a materialized view, which is replaced as a whole")
    }

    fn refuse(&mut self, message: &str, instead: &str) {
        let start = self.previous_start();
        let span = self.text.span(&(start..self.previous_end()));
        self.refused.push(Diagnostic::error("UNSUPPORTED_CLAUSE", message).at(span).help(instead));
    }

    /// Skips to the comma or bracket that ends the element.
    fn skip_element(&mut self) {
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
    fn skip_to_clause(&mut self) {
        const BEGINS: [&str; 9] =
            ["AS", "FLOW", "COMMENT", "PARTITIONED", "CLUSTER", "TBLPROPERTIES", "USING", "SELECT", "SCHEDULE"];
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

    fn identifiers(&mut self) -> Found<Vec<String>> {
        self.expect(&Token::LParen)?;
        let names = self
            .parser
            .parse_comma_separated(|parser| parser.parse_identifier())
            .map_err(|error| vec![self.syntax(&error)])?;
        self.expect(&Token::RParen)?;
        Ok(names.into_iter().map(|name| name.value).collect())
    }

    fn name(&mut self) -> Found<(Vec<String>, Span)> {
        let start = offset(self.text, &self.parser);
        let name = self.parser.parse_object_name(false).map_err(|error| vec![self.syntax(&error)])?;
        let span = self.text.span(&(start..self.previous_end()));
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

    fn string(&mut self) -> Found<String> {
        match self.parser.next_token().token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Ok(text),
            _ => {
                self.parser.prev_token();
                Err(vec![self.error("expected a string")])
            }
        }
    }

    fn expect(&mut self, token: &Token) -> Found<()> {
        self.parser.expect_token(token).map(|_| ()).map_err(|error| vec![self.syntax(&error)])
    }

    fn expect_end(&mut self) -> Found<()> {
        if self.parser.peek_token().token == Token::EOF {
            return Ok(());
        }
        const CLAUSES: [&str; 9] =
            ["COMMENT", "PARTITIONED", "CLUSTER", "TBLPROPERTIES", "USING", "AS", "FLOW", "WHERE", "GROUP"];
        let word = self.peek_text();
        let mut found = self.error(&format!("unexpected `{word}`"));
        found.help = Some(
            nearest(&word, CLAUSES)
                .map_or_else(|| "statements end with `;`".into(), |near| format!("did you mean {near}?")),
        );
        Err(vec![found])
    }

    /// Takes these words if they come next.
    fn words(&mut self, words: &[&str]) -> bool {
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

    fn peek_text(&self) -> String {
        match self.parser.peek_token().token {
            Token::EOF => String::new(),
            token => token.to_string(),
        }
    }

    fn error(&self, message: &str) -> Diagnostic {
        Diagnostic::error("PARSE_SYNTAX_ERROR", message).at(self.here())
    }

    fn syntax(&self, error: &sqlparser::parser::ParserError) -> Diagnostic {
        syntax_error(self.text, error, &self.whole)
    }

    fn here(&self) -> Span {
        let token = self.parser.peek_token();
        match token.token {
            Token::EOF => self.text.span(&(self.whole.end..self.whole.end)),
            _ => self.text.span(&range(self.text, &[token])),
        }
    }

    fn whole_span(&self) -> Span {
        self.text.span(&self.whole)
    }

    fn previous_start(&self) -> usize {
        let start = self.parser.get_current_token().span.start;
        self.text.offset(start.line, start.column)
    }

    fn previous_end(&self) -> usize {
        let end = self.parser.get_current_token().span.end;
        self.text.offset(end.line, end.column)
    }
}

/// A word or a string without its quotes.
fn unquoted(token: &Token) -> String {
    match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    }
}
