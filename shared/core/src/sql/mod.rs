//! The pipeline language: from the text of a file to typed statements.
//!
//! Accepted is the union of Databricks' DLT / Lakeflow SQL and Spark Declarative Pipelines' SQL. What
//! parses but isn't executed is refused by name, with its place and what to use instead; nothing is
//! silently ignored. A statement that can't be parsed is reported and the next one is read, so that
//! one call finds everything that is wrong.
//!
//! The work is done in steps: [`text`] substitutes `${…}` and keeps places right, [`tokens`] cuts the
//! file into statements, [`lexis`] brings Spark's literals to sqlparser's, [`parameters`] binds `:name`,
//! [`relations`] takes streaming reads and table functions out of a query, [`statement`] reads the
//! clauses that are ours, sqlparser reads the queries, and [`rewrite`] brings them to the engine's dialect.

mod cdc;
mod clauses;
mod dialect;
mod elements;
mod flows;
mod functions;
mod interval;
mod lexis;
mod option_names;
mod options;
mod parameters;
mod places;
mod qualifiers;
mod query;
mod reader;
mod relations;
mod rewrite;
mod scope;
mod snapshot;
mod statement;
mod text;
mod time_travel;
mod tokens;
mod trailing;
mod types;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sqlparser::ast;

pub use options::columns_of_ddl;

pub use self::places::{place_of_column, place_of_name, rest_of_statement};
use crate::as_of::AsOf;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::model::{AutoCdc, Column, DatasetKind, Expectation, ReadOptions, Watermark};

/// A file larger than this is refused: it is no SQL that a person wrote.
const LARGEST_FILE: usize = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// Its statements, in order, those with errors left out.
    pub statements: Vec<Statement>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// A statement of a definition file.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE … STREAMING TABLE | MATERIALIZED VIEW | VIEW`
    CreateDataset(Box<CreateDataset>),
    /// `CREATE FLOW … AS INSERT INTO …`, `CREATE FLOW … AS AUTO CDC INTO …`, `APPLY CHANGES INTO …`
    CreateFlow(Box<CreateFlow>),
    /// `SET key = value`
    Set {
        /// The key.
        key: String,
        /// The value, without quotes.
        value: String,
        /// Where it stands.
        span: Span,
    },
    /// `USE [CATALOG | SCHEMA | DATABASE] name`, `SET CATALOG name`
    Use {
        /// A schema, or a catalog, which is accepted and has no meaning in a lake.
        schema: Option<String>,
        /// Where it stands.
        span: Span,
    },
}

/// A name of one to three parts as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `[catalog.][schema.]name`, without quotes; a leading `LIVE` is taken off.
    pub parts: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// A dataset as written.
#[derive(Debug, Clone)]
pub struct CreateDataset {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: DatasetKind,
    /// `PRIVATE` or `TEMPORARY`.
    pub private: bool,
    /// Declared columns.
    pub columns: Vec<Column>,
    /// `CONSTRAINT … EXPECT`, in order.
    pub expectations: Vec<Expectation>,
    /// `PARTITIONED BY`.
    pub partitioned_by: Vec<String>,
    /// `CLUSTER BY`.
    pub clustered_by: Vec<String>,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `TBLPROPERTIES`, with places.
    pub properties: Vec<(String, String, Span)>,
    /// `AS query` or `FLOW INSERT BY NAME query`, or the source of `FLOW AUTO CDC`.
    pub query: Option<ParsedQuery>,
    /// `FLOW INSERT ONCE`.
    pub once: bool,
    /// `FLOW AUTO CDC`: the query gives changes of rows.
    pub changes: Option<Box<AutoCdc>>,
}

/// A flow as written.
#[derive(Debug, Clone)]
pub struct CreateFlow {
    /// Its name.
    pub name: Name,
    /// What it writes.
    pub target: Name,
    /// `INSERT ONCE`.
    pub once: bool,
    /// What it runs.
    pub query: ParsedQuery,
    /// `AUTO CDC` or `APPLY CHANGES`: the query gives changes of rows.
    pub changes: Option<Box<AutoCdc>>,
}

/// A query whose relations are plain names; see [`crate::model::Query`].
#[derive(Debug, Clone)]
pub struct ParsedQuery {
    /// The tree.
    pub ast: Box<ast::Query>,
    /// What the plain names stand for.
    pub relations: Vec<ParsedRelation>,
    /// Where the query stands.
    pub span: Span,
}

/// A relation as written.
#[derive(Debug, Clone)]
pub struct ParsedRelation {
    /// The plain name in the tree: `__r0`, `__r1`, …
    pub alias: String,
    /// What it is.
    pub source: ParsedSource,
    /// `VERSION AS OF`, `TIMESTAMP AS OF`
    pub as_of: Option<AsOf>,
    /// Where it stands.
    pub span: Span,
}

/// What a relation reads.
#[derive(Debug, Clone)]
pub enum ParsedSource {
    /// A table or view of the pipeline.
    Table {
        /// Its name.
        name: Name,
        /// Read with `STREAM`.
        stream: bool,
        /// `SKIPCHANGECOMMITS`
        skip_change_commits: bool,
        /// `STARTINGVERSION`
        starting_version: Option<u64>,
        /// `WATERMARK`
        watermark: Option<Watermark>,
    },
    /// `read_events('name', …)`
    Events {
        /// The source's name.
        source: String,
        /// How bodies are decoded.
        read: ReadOptions,
        /// Read with `STREAM`.
        stream: bool,
        /// `WATERMARK`
        watermark: Option<Watermark>,
    },
    /// `read_files('path', …)` or `cloud_files('path', 'format', map(…))`
    Files {
        /// The path as written.
        path: String,
        /// How files are decoded.
        read: ReadOptions,
        /// Read with `STREAM`.
        stream: bool,
        /// `WATERMARK`
        watermark: Option<Watermark>,
    },
}

/// Parses a file. `configuration` gives `${key}` and `:name` their values; a `SET` adds to it for what
/// follows in its file.
#[must_use]
pub fn parse_file(file: &Arc<SourceFile>, configuration: &BTreeMap<String, String>) -> Parsed {
    let mut parsed = Parsed::default();
    if file.text.len() > LARGEST_FILE {
        let found = Diagnostic::error(
            "PARSE_FILE_TOO_LARGE",
            format!("the file has {} bytes; {LARGEST_FILE} are read at most", file.text.len()),
        );
        parsed.diagnostics.push(found.at(Span { file: Arc::clone(file), range: 0..0 }).help("split it"));
        return parsed;
    }
    let settings = settings(file, configuration);
    let text = text::substitute(file, configuration, &settings, &mut parsed.diagnostics);
    let (statements, failure) = tokens::statements(&text);
    retain_in_statements(&text, &statements, &mut parsed.diagnostics);
    let unknown = places(&parsed.diagnostics);
    parsed.diagnostics.extend(failure);
    let mut configuration = configuration.clone();
    for tokens in statements {
        match statement::parse(&text, tokens, &configuration) {
            Ok(statement) => {
                if let Statement::Set { key, value, .. } = &statement {
                    configuration.insert(key.clone(), value.clone());
                }
                parsed.statements.push(statement);
            }
            // What stands for an unknown value is no mistake of its own.
            Err(found) => parsed.diagnostics.extend(found.into_iter().filter(|finding| {
                let start = finding.span.as_ref().map(|span| span.range.start);
                !start.is_some_and(|start| unknown.iter().any(|place| place.contains(&start)))
            })),
        }
    }
    parsed
}

/// Keeps findings about what statements hold; comments may hold anything.
fn retain_in_statements(text: &text::Text, statements: &[tokens::Tokens], found: &mut Vec<Diagnostic>) {
    if found.is_empty() {
        return;
    }
    let range = |token| text.span(&tokens::range(text, std::slice::from_ref(token))).range;
    let ranges: Vec<Range<usize>> = statements.iter().flatten().map(range).collect();
    found.retain(|finding| {
        let Some(place) = &finding.span else { return true };
        let after = ranges.partition_point(|range| range.end <= place.range.start);
        ranges.get(after).is_some_and(|range| range.start < place.range.end)
    });
}

fn places(found: &[Diagnostic]) -> Vec<Range<usize>> {
    found.iter().filter_map(|finding| finding.span.as_ref()).map(|span| span.range.clone()).collect()
}

/// What the `SET` statements of a file set, and from which byte on.
fn settings(file: &Arc<SourceFile>, configuration: &BTreeMap<String, String>) -> Vec<text::Setting> {
    let text = text::substitute(file, configuration, &[], &mut Vec::new());
    let (statements, _) = tokens::statements(&text);
    let sets = statements.into_iter().filter(|tokens| tokens::are_words(tokens, 0, &["set"]));
    sets.filter_map(|tokens| match statement::parse(&text, tokens, configuration) {
        Ok(Statement::Set { key, value, span }) => Some(text::Setting { from: span.range.end, key, value }),
        Ok(_) | Err(_) => None,
    })
    .collect()
}
