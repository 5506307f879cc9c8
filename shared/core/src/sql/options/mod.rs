//! Options of `read_files`, `read_events` and `cloud_files`, by Auto Loader's names.

mod evolution;
mod files;

use std::time::Duration;

use sqlparser::ast::{
    BinaryOperator, ColumnDef, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, Value,
};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::ParsedSource;
use super::dialect::SparkDialect;
use super::option_names::refusal;
use super::query::{message_of, syntax_error};
use super::text::Text;
use super::tokens::{range, too_deep, too_long};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::envelope::Envelope;
use crate::model::{Column, CsvOptions, Evolution, Format, Hint, ReadOptions};

/// A table function's call as a source; all that is wrong with it at once.
pub(super) fn read_call(
    text: &Text,
    call: &[TokenWithSpan],
    name: &str,
    stream: bool,
) -> Result<ParsedSource, Vec<Diagnostic>> {
    let span = text.span(&range(text, call));
    let dialect = SparkDialect::of_options(call.len());
    let parsed = Parser::new(&dialect).with_tokens_with_locations(call.to_vec()).parse_expr();
    let expr = parsed.map_err(|error| vec![syntax_error(text, &error, &range(text, call))])?;
    let Arguments { positional, named } = arguments(text, &expr, &span)?;
    let Some((first, _)) = positional.first().cloned() else {
        let wanted = if name == "read_events" { "the name of a source" } else { "a path" };
        return Err(vec![Diagnostic::error("MISSING_ARGUMENT", format!("`{name}` needs {wanted} first")).at(span)]);
    };
    let mut options = Options {
        span: span.clone(),
        read: ReadOptions { infer_column_types: name != "cloud_files", ..ReadOptions::new(Format::Raw) },
        is_of_files: name != "read_events",
        evolution: None,
        retention: None,
        destination: None,
        found: Vec::new(),
        given: Vec::new(),
        csv: CsvOptions::default(),
        multi_line: false,
        format: None,
    };
    if name == "cloud_files" {
        match positional.get(1) {
            Some((format, place)) => options.set("format", format, place),
            None => options.fail(
                "MISSING_ARGUMENT",
                "`cloud_files` needs a format as its second argument".into(),
                "write cloud_files('path', 'json')",
            ),
        }
    }
    options.refuse_more(name, &positional);
    for NamedOption { key, value, span } in &named {
        options.set(key, value, span);
    }
    options.span = span;
    let read = options.finish(name)?;
    let watermark = None;
    Ok(match name {
        "read_events" => ParsedSource::Events { source: first, read, stream, watermark },
        // Legacy Auto Loader is a stream with or without the word.
        "cloud_files" => ParsedSource::Files { path: first, read, stream: true, watermark },
        _ => ParsedSource::Files { path: first, read, stream, watermark },
    })
}

/// Columns of a DDL string such as `id BIGINT, at TIMESTAMP NOT NULL`.
pub fn columns_of_ddl(ddl: &str) -> Result<Vec<Column>, String> {
    Ok(list_of_ddl(ddl, |parser| parser.parse_column_def())?.into_iter().map(column).collect())
}

/// Hints of a DDL string such as `id BIGINT, customer.tags.element STRING`.
fn hints_of_ddl(ddl: &str) -> Result<Vec<Hint>, String> {
    list_of_ddl(ddl, |parser| {
        let mut path = vec![parser.parse_identifier()?.value];
        while parser.consume_token(&Token::Period) {
            path.push(parser.parse_identifier()?.value);
        }
        let data_type = parser.parse_data_type()?;
        while parser.parse_optional_column_option()?.is_some() {}
        Ok(Hint { path, data_type })
    })
}

fn list_of_ddl<T>(ddl: &str, parse: impl FnMut(&mut Parser<'_>) -> Result<T, ParserError>) -> Result<Vec<T>, String> {
    let file = SourceFile::new("schema", ddl);
    let text = super::text::substitute(&file, &std::collections::BTreeMap::new(), &[], &mut Vec::new());
    let (statements, failure) = super::tokens::statements(&text);
    if let Some(failure) = failure {
        return Err(failure.message);
    }
    let tokens: Vec<_> = statements.into_iter().flatten().filter(|token| token.token != Token::Colon).collect();
    if too_deep(&tokens).or_else(|| too_long(&tokens)).is_some() {
        return Err("it is nested too deeply".to_owned());
    }
    let dialect = SparkDialect::new(tokens.len());
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let columns = parser.parse_comma_separated(parse).map_err(|error| message_of(&error))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(format!("unexpected `{}` after the columns", rest.token));
    }
    Ok(columns)
}

fn column(definition: ColumnDef) -> Column {
    use sqlparser::ast::ColumnOption;
    let not_null = definition.options.iter().any(|option| matches!(option.option, ColumnOption::NotNull));
    let comment = definition.options.iter().find_map(|option| match &option.option {
        ColumnOption::Comment(comment) => Some(comment.clone()),
        _ => None,
    });
    Column { name: definition.name.value, data_type: definition.data_type, not_null, comment }
}

struct Options {
    /// Where the option that is read stands; the call, before and after them.
    span: Span,
    read: ReadOptions,
    found: Vec<Diagnostic>,
    /// Names so far, in lower case.
    given: Vec<String>,
    csv: CsvOptions,
    multi_line: bool,
    format: Option<(String, Span)>,
    /// Whether files are read, rather than messages.
    is_of_files: bool,
    evolution: Option<Evolution>,
    /// Of `cleanSource`.
    retention: Option<Duration>,
    /// Of `cleanSource`.
    destination: Option<String>,
}

/// Formats of files.
const FILE_FORMATS: &str = "json, csv, parquet, avro, text or binaryFile";

impl Options {
    fn set(&mut self, key: &str, value: &str, span: &Span) {
        const PREFIX: usize = "cloudFiles.".len();
        let has_prefix = key.get(..PREFIX).is_some_and(|prefix| prefix.eq_ignore_ascii_case("cloudFiles."));
        let name = if has_prefix { &key[PREFIX..] } else { key };
        span.clone_into(&mut self.span);
        let lower = name.to_lowercase();
        if self.given.contains(&lower) {
            return self.fail("DUPLICATE_KEY", format!("option `{name}` is given twice"), "keep one of them");
        }
        self.given.push(lower.clone());
        match lower.as_str() {
            "format" => self.format = Some((value.to_lowercase(), span.clone())),
            "envelope" => self.envelope(value),
            "schema" => self.read.schema = self.list(name, value, columns_of_ddl),
            "schemahints" => self.read.schema_hints = self.list(name, value, hints_of_ddl),
            "infercolumntypes" | "inferschema" => self.read.infer_column_types = self.boolean(name, value),
            "header" => self.csv.header = self.boolean(name, value),
            "sep" | "delimiter" => self.csv.separator = self.byte(name, value).unwrap_or(b','),
            // None, as in Spark: no text holds this one.
            "quote" if value.is_empty() => self.csv.quote = 0,
            "quote" => self.csv.quote = self.byte(name, value).unwrap_or(b'"'),
            "escape" => self.csv.escape = self.byte(name, value),
            "comment" => self.csv.comment = self.byte(name, value),
            "nullvalue" => value.clone_into(&mut self.csv.null_value),
            "multiline" => self.multi_line = self.boolean(name, value),
            "schemaevolutionmode" => self.evolution = self.evolution(name, value),
            "rescueddatacolumn" => self.read.rescued_column = Some(value.to_owned()),
            _ if self.set_of_files(&lower, name, value) => {}
            _ => self.unknown(name),
        }
    }

    /// A call takes a path or a name; `cloud_files` a format too.
    fn refuse_more(&mut self, name: &str, positional: &[(String, Span)]) {
        let taken = if name == "cloud_files" { 2 } else { 1 };
        for (value, span) in positional.iter().skip(taken) {
            span.clone_into(&mut self.span);
            self.fail("INVALID_ARGUMENT", format!("`{value}` has no name"), "write options as name => value");
        }
    }

    fn finish(mut self, name: &str) -> Result<ReadOptions, Vec<Diagnostic>> {
        let format = self.format.take();
        if let Some((_, span)) = &format {
            span.clone_into(&mut self.span);
        }
        let known = if name == "read_events" { "json, csv, text or raw" } else { FILE_FORMATS };
        match format.as_ref().map(|(format, _)| format.as_str()) {
            Some("json") if self.multi_line => self.read.format = Format::JsonDocument,
            Some("json") => self.read.format = Format::Json,
            Some("csv") => self.read.format = Format::Csv(self.csv.clone()),
            Some("text") => self.read.format = Format::Text,
            Some("raw" | "binary") if name == "read_events" => self.read.format = Format::Raw,
            Some("parquet") if name != "read_events" => self.read.format = Format::Parquet,
            Some("avro") if name != "read_events" => self.read.format = Format::Avro,
            Some("binaryfile") if name != "read_events" => self.read.format = Format::BinaryFile,
            Some(format @ ("parquet" | "avro" | "binaryfile" | "xml" | "orc")) => {
                let message = format!("format `{format}` isn't read here");
                self.fail("UNSUPPORTED_FORMAT", message, &format!("use {known}"));
            }
            Some(format) => {
                let message = format!("there is no format `{format}`");
                self.fail("UNSUPPORTED_FORMAT", message, &format!("use {known}"));
            }
            None if name == "read_events" => self.read.format = Format::Raw,
            None => self.fail(
                "MISSING_ARGUMENT",
                "the files' format isn't given".into(),
                &format!("add format => with one of {FILE_FORMATS}"),
            ),
        }
        self.unwrap();
        self.settle_evolution();
        self.settle_cleaning();
        if self.read.format.has_fixed_columns() && !(self.read.schema.is_empty() && self.read.schema_hints.is_empty()) {
            let message = "the columns of this format are fixed".to_owned();
            self.fail("INVALID_OPTION", message, "leave schema and schemaHints out, and cast in the query");
        }
        self.settle_folders();
        if self.found.is_empty() { Ok(self.read) } else { Err(self.found) }
    }

    fn envelope(&mut self, value: &str) {
        self.read.envelope = Envelope::named(value);
        if self.read.envelope.is_none() {
            let help = "write envelope => 'debezium'; rows without an envelope, as AWS DMS writes them, need none";
            self.fail("INVALID_OPTION", format!("there is no envelope `{value}`"), help);
        }
    }

    /// The envelope's columns come after those given, or after those inferred.
    fn unwrap(&mut self) {
        let Some(envelope) = self.read.envelope else { return };
        if self.read.format != Format::Json {
            self.fail("INVALID_OPTION", "an envelope is JSON".into(), "add format => 'json'");
        }
        let is_new = |column: &Column| {
            let is_same = |known: &str| known.eq_ignore_ascii_case(&column.name);
            let hinted = self.read.schema_hints.iter().any(|hint| hint.path.first().is_some_and(|name| is_same(name)));
            !hinted && !self.read.schema.iter().any(|known| is_same(&known.name))
        };
        let more: Vec<Column> = envelope.columns().into_iter().filter(is_new).collect();
        if self.read.schema.is_empty() {
            let hints = more.into_iter().map(|column| Hint { path: vec![column.name], data_type: column.data_type });
            self.read.schema_hints.extend(hints);
        } else {
            self.read.schema.extend(more);
        }
    }

    fn list<T>(&mut self, name: &str, value: &str, parse: fn(&str) -> Result<Vec<T>, String>) -> Vec<T> {
        parse(value).unwrap_or_else(|message| {
            self.fail(
                "INVALID_SCHEMA",
                format!("`{name}` can't be read: {message}"),
                "write columns as in a table: 'id BIGINT, at TIMESTAMP'",
            );
            Vec::new()
        })
    }

    fn boolean(&mut self, name: &str, value: &str) -> bool {
        match value.to_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => {
                self.fail("INVALID_OPTION", format!("`{value}` is no value of `{name}`"), "write true or false");
                false
            }
        }
    }

    fn number(&mut self, name: &str, value: &str) -> Option<u64> {
        let number = value.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.fail("INVALID_OPTION", format!("`{value}` is no value of `{name}`"), "write a whole number above 0");
        }
        number
    }

    fn byte(&mut self, name: &str, value: &str) -> Option<u8> {
        match value.as_bytes() {
            [byte] if byte.is_ascii() => Some(*byte),
            [] => None,
            b"\\t" => Some(b'\t'),
            _ => {
                self.fail("INVALID_OPTION", format!("`{value}` is no value of `{name}`"), "write one ASCII character");
                None
            }
        }
    }

    fn unknown(&mut self, name: &str) {
        let (code, message, help) = refusal(name);
        self.fail(code, message, &help);
    }

    fn fail(&mut self, code: &'static str, message: String, help: &str) {
        self.found.push(Diagnostic::error(code, message).at(self.span.clone()).help(help));
    }
}

/// `name => value`, and where it stands.
struct NamedOption {
    key: String,
    value: String,
    span: Span,
}

#[derive(Default)]
struct Arguments {
    positional: Vec<(String, Span)>,
    named: Vec<NamedOption>,
}

fn arguments(text: &Text, call: &Expr, span: &Span) -> Result<Arguments, Vec<Diagnostic>> {
    let mut arguments = Arguments::default();
    let mut found = Vec::new();
    let Expr::Function(function) = call else { return Ok(arguments) };
    let FunctionArguments::List(list) = &function.args else { return Ok(arguments) };
    for argument in &list.args {
        let span = place(text, argument.span(), span);
        match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                take(&name.value, value, &mut arguments, &mut found, span);
            }
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(value), .. } => {
                take(name.to_string().trim_matches('"'), value, &mut arguments, &mut found, span);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(map)))
                if map.name.to_string().eq_ignore_ascii_case("map") =>
            {
                pairs(text, map, &mut arguments, &mut found, &span);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => match literal(value) {
                Some(value) => arguments.positional.push((value, span)),
                None => found.push(not_literal(value, span)),
            },
            other => {
                found.push(Diagnostic::error("INVALID_ARGUMENT", format!("`{other}` is no argument here")).at(span));
            }
        }
    }
    if found.is_empty() { Ok(arguments) } else { Err(found) }
}

fn pairs(
    text: &Text,
    map: &sqlparser::ast::Function,
    arguments: &mut Arguments,
    found: &mut Vec<Diagnostic>,
    span: &Span,
) {
    let FunctionArguments::List(list) = &map.args else { return };
    let values = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some((literal(value)?, value.span())),
        _ => None,
    });
    match values.collect::<Option<Vec<_>>>().filter(|values| values.len() % 2 == 0) {
        Some(values) => arguments.named.extend(values.chunks_exact(2).map(|pair| {
            let span = place(text, pair[0].1.union(&pair[1].1), span);
            NamedOption { key: pair[0].0.clone(), value: pair[1].0.clone(), span }
        })),
        None => found.push(
            Diagnostic::error("INVALID_ARGUMENT", "map(…) takes pairs of literal keys and values").at(span.clone()),
        ),
    }
}

fn take(name: &str, value: &Expr, arguments: &mut Arguments, found: &mut Vec<Diagnostic>, span: Span) {
    match literal(value) {
        Some(value) => arguments.named.push(NamedOption { key: name.to_owned(), value, span }),
        None => found.push(not_literal(value, span)),
    }
}

/// Where a part of the call stands; the whole call if it doesn't say.
fn place(text: &Text, span: sqlparser::tokenizer::Span, call: &Span) -> Span {
    text.placed(span).unwrap_or_else(|| call.clone())
}

fn not_literal(value: &Expr, span: Span) -> Diagnostic {
    Diagnostic::error("INVALID_ARGUMENT", format!("`{value}` isn't a literal"))
        .at(span)
        .help("write a string, a number, true or false")
}

fn literal(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => Some(literal(left)? + &literal(right)?),
        _ => None,
    }
}
