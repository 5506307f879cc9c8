//! Reads one statement.

use std::collections::BTreeMap;

use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::SparkDialect;
use super::reader::{Found, Reader, unquoted};
use super::relations::{Extracted, extract};
use super::text::Text;
use super::tokens::{Tokens, range, too_deep, too_long};
use super::{CreateDataset, Name, Statement, lexis, parameters};
use crate::diagnostic::Diagnostic;
use crate::model::DatasetKind;
use crate::nearest::nearest;

/// Words that a statement begins with.
const STATEMENTS: [&str; 5] = ["CREATE", "SET", "USE", "APPLY", "AUTO"];

/// Commands of Spark that a pipeline doesn't hold, and what to do instead.
const COMMANDS: [(&[&str], &str); 9] = [
    (&["SELECT", "WITH", "VALUES", "FROM", "("], "give it a name: CREATE MATERIALIZED VIEW name AS SELECT …"),
    (&["INSERT"], "write CREATE FLOW name AS INSERT INTO target BY NAME SELECT …"),
    (&["COPY"], "write CREATE STREAMING TABLE name AS SELECT * FROM STREAM read_files('path', format => 'json')"),
    (&["MERGE", "UPDATE", "DELETE", "TRUNCATE"], "a pipeline's tables are changed by its flows only"),
    (&["REFRESH"], "`headwater run` brings tables up to date"),
    (&["ALTER"], "change the CREATE statement"),
    (&["DROP"], "take the CREATE statement out; its table's files stay"),
    (&["OPTIMIZE", "VACUUM", "ANALYZE"], "`headwater compact` looks after the tables"),
    (&["EXPLAIN", "DESCRIBE", "SHOW"], "`headwater validate` shows what the pipeline is"),
];

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
    if let Some(link) = too_long(&tokens) {
        let span = text.span(&range(text, std::slice::from_ref(link)));
        return Err(vec![
            Diagnostic::error("PARSE_SYNTAX_ERROR", "the statement chains too many operators")
                .at(span)
                .help("write a list with IN, or put parts of it into views"),
        ]);
    }
    let tokens = parameters::bind(text, &lexis::normalize(text, &tokens)?, configuration)?;
    let Extracted { tokens, relations, found } = extract(text, &tokens);
    if !found.is_empty() {
        return Err(found);
    }
    let dialect = SparkDialect::new(tokens.len());
    let parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut reader = Reader { text, parser, relations, whole, refused: Vec::new() };
    let statement = reader.statement().and_then(|statement| reader.expect_end().map(|()| statement));
    match statement {
        Ok(statement) if reader.refused.is_empty() => Ok(statement),
        Ok(_) => Err(reader.refused),
        Err(found) => Err(reader.refused.into_iter().chain(found).collect()),
    }
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
        if let Some(span) = self.cdc_words() {
            return self.changes_into(span, None);
        }
        let word = self.peek_text();
        let message = format!("`{word}` is no statement of a pipeline");
        let found = Diagnostic::error("UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND", message).at(self.whole_span());
        let command = COMMANDS.iter().find(|(commands, _)| commands.contains(&word.to_uppercase().as_str()));
        Err(vec![found.help(match (command, nearest(&word, STATEMENTS)) {
            (Some((_, instead)), _) => (*instead).to_owned(),
            (None, Some(near)) => format!("did you mean {near}?"),
            (None, None) => "a pipeline's files hold CREATE STREAMING TABLE, CREATE MATERIALIZED VIEW, CREATE VIEW, CREATE FLOW, SET and USE".to_owned(),
        })])
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
            changes: None,
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
            "STREAMING" | "INCREMENTAL" => "write CREATE STREAMING TABLE",
            "MATERIALIZED" => "write CREATE MATERIALIZED VIEW",
            _ => match nearest(&word, ["STREAMING", "MATERIALIZED", "TEMPORARY", "PRIVATE", "VIEW", "FLOW"]) {
                Some("STREAMING") => "did you mean STREAMING TABLE?",
                Some("MATERIALIZED") => "did you mean MATERIALIZED VIEW?",
                Some("TEMPORARY") => "did you mean TEMPORARY VIEW?",
                _ => "what can be created is a STREAMING TABLE, a MATERIALIZED VIEW, a VIEW or a FLOW",
            },
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
}
