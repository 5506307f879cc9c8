//! Reads AUTO CDC, also spelled APPLY CHANGES, clause by clause in any order.

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::SparkDialect;
use super::query::{offset, parse_query, rewrite_predicate, syntax_error};
use super::reader::{Found, Reader};
use super::tokens::{are_words, range};
use super::{ParsedQuery, snapshot};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::{AutoCdc, ChangeSource, ColumnChoice, StoredAs};
use crate::nearest::nearest;

/// How clauses begin, and how they are written.
const CLAUSES: [(&[&str], &str); 9] = [
    (&["KEYS"], "KEYS (id)"),
    (&["SEQUENCE", "BY"], "SEQUENCE BY column"),
    (&["SYSTEM", "SEQUENCE"], "SYSTEM SEQUENCE BY column"),
    (&["IGNORE", "NULL"], "IGNORE NULL UPDATES, or IGNORE NULL UPDATES ON (a, b)"),
    (&["APPLY", "AS"], "APPLY AS DELETE WHEN condition, or APPLY AS TRUNCATE WHEN condition"),
    (&["COLUMNS"], "COLUMNS (a, b), COLUMNS * EXCEPT (a, b), or COLUMNS TO UPDATE column"),
    (&["STORED", "AS"], "STORED AS SCD TYPE 1, or STORED AS SCD TYPE 2"),
    (&["TRACK", "HISTORY"], "TRACK HISTORY ON (a, b), or TRACK HISTORY ON * EXCEPT (a, b)"),
    (&["WHERE"], "WHERE condition"),
];

/// Whether a clause of AUTO CDC begins here; a lone `KEYS` or `COLUMNS` may be an alias.
pub(super) fn begins_clause(tokens: &[TokenWithSpan]) -> bool {
    let begins = CLAUSES.iter().map(|(words, _)| *words).find(|words| are_words(tokens, 0, words));
    let next = tokens.get(1).map(|token| &token.token);
    match begins {
        Some(["KEYS"]) => next == Some(&Token::LParen),
        Some(["COLUMNS"]) => matches!(next, Some(Token::LParen | Token::Mul)) || are_words(tokens, 1, &["TO"]),
        Some(_) => true,
        None => false,
    }
}

/// A clause's value and place.
pub(super) type Placed<T> = Option<(T, Span)>;

#[derive(Default)]
pub(super) struct Clauses {
    pub(super) from: ChangeSource,
    keys: Placed<Vec<String>>,
    pub(super) sequence_by: Placed<Expr>,
    pub(super) ignore_null_updates: Placed<ColumnChoice>,
    pub(super) delete_when: Placed<Expr>,
    pub(super) truncate_when: Placed<Expr>,
    pub(super) columns: Placed<ColumnChoice>,
    pub(super) columns_to_update: Placed<String>,
    stored_as: Placed<u8>,
    tracked: Placed<ColumnChoice>,
    condition: Placed<Vec<TokenWithSpan>>,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// From `FROM` to the end; `span` is the place of the words AUTO CDC.
    pub(super) fn changes(&mut self, span: Span) -> Found<(ParsedQuery, AutoCdc)> {
        if !self.words(&["FROM"]) {
            return Err(vec![self.error("expected FROM and the source of changes")]);
        }
        let from = self.takes_snapshots();
        let mut source = self.until_clause();
        if from == ChangeSource::Snapshots {
            snapshot::unwrap(&mut source);
        }
        if source.is_empty() {
            return Err(vec![self.error("expected the source of changes after FROM").help("write FROM STREAM table")]);
        }
        let mut clauses = Clauses { from, ..Clauses::default() };
        while self.parser.peek_token().token != Token::EOF {
            let start = offset(self.text, &self.parser);
            if let Err(found) = self.change_clause(&mut clauses, start) {
                clauses.found.extend(found);
                self.until_clause();
            }
        }
        if let Some((condition, _)) = clauses.condition.take() {
            source.push(TokenWithSpan::new(Token::make_keyword("WHERE"), source[source.len() - 1].span));
            source.extend(condition);
        }
        match self.source_query(source) {
            Ok(query) => Ok((query, clauses.finish(span)?)),
            Err(found) => Err(clauses.found.into_iter().chain(found).collect()),
        }
    }

    fn change_clause(&mut self, clauses: &mut Clauses, start: usize) -> Found<()> {
        if self.words(&["KEYS"]) {
            let keys = self.column_names()?;
            let span = self.since(start);
            if keys.is_empty() {
                clauses.fail("AUTOCDC_EMPTY_KEYS", "KEYS names no column", &span, "write KEYS (id)");
            }
            return clauses.set(|clauses| &mut clauses.keys, "KEYS", keys, span);
        }
        if self.words(&["SEQUENCE", "BY"]) {
            let value = self.condition()?;
            return clauses.set(|clauses| &mut clauses.sequence_by, "SEQUENCE BY", value, self.since(start));
        }
        if self.words(&["IGNORE", "NULL", "UPDATES"]) {
            let value = if self.words(&["ON"]) { self.choice()? } else { ColumnChoice::All };
            let span = self.since(start);
            return clauses.set(|clauses| &mut clauses.ignore_null_updates, "IGNORE NULL UPDATES", value, span);
        }
        if self.words(&["APPLY", "AS", "DELETE", "WHEN"]) {
            let value = self.condition()?;
            return clauses.set(|clauses| &mut clauses.delete_when, "APPLY AS DELETE", value, self.since(start));
        }
        if self.words(&["APPLY", "AS", "TRUNCATE", "WHEN"]) {
            let value = self.condition()?;
            return clauses.set(|clauses| &mut clauses.truncate_when, "APPLY AS TRUNCATE", value, self.since(start));
        }
        if self.words(&["COLUMNS", "TO", "UPDATE"]) {
            let value = self.parser.parse_identifier().map_err(|error| vec![self.syntax(&error)])?.value;
            return clauses.set(
                |clauses| &mut clauses.columns_to_update,
                "COLUMNS TO UPDATE",
                value,
                self.since(start),
            );
        }
        if self.words(&["COLUMNS"]) {
            let value = self.choice()?;
            return clauses.set(|clauses| &mut clauses.columns, "COLUMNS", value, self.since(start));
        }
        if self.words(&["TRACK", "HISTORY", "ON"]) {
            let value = self.choice()?;
            return clauses.set(|clauses| &mut clauses.tracked, "TRACK HISTORY ON", value, self.since(start));
        }
        if self.words(&["WHERE"]) {
            let value = self.until_clause();
            return clauses.set(|clauses| &mut clauses.condition, "WHERE", value, self.since(start));
        }
        self.storage_clause(clauses, start)
    }

    /// `STORED AS …` and what belongs to two axes of time; anything else is a mistake.
    fn storage_clause(&mut self, clauses: &mut Clauses, start: usize) -> Found<()> {
        if self.words(&["STORED", "AS", "BITEMPORAL"]) {
            self.refuse_since(start, "STORED AS BITEMPORAL isn't executed", "use STORED AS SCD TYPE 2");
            return Ok(());
        }
        if self.words(&["SYSTEM", "SEQUENCE", "BY"]) {
            self.condition()?;
            let instead = "it belongs to STORED AS BITEMPORAL: use SEQUENCE BY alone";
            self.refuse_since(start, "SYSTEM SEQUENCE BY isn't executed", instead);
            return Ok(());
        }
        if self.words(&["STORED", "AS"]) {
            let number = self.words(&["SCD", "TYPE"]).then(|| self.parser.next_token().token.to_string());
            let stored_as = match number.as_deref() {
                Some("1") => 1,
                Some("2") => 2,
                Some(_) | None => {
                    let message = "expected SCD TYPE 1 or SCD TYPE 2 after STORED AS";
                    return Err(vec![
                        Diagnostic::error("PARSE_SYNTAX_ERROR", message)
                            .at(self.since(start))
                            .help("1 keeps the last state of each key, 2 keeps every state"),
                    ]);
                }
            };
            return clauses.set(|clauses| &mut clauses.stored_as, "STORED AS", stored_as, self.since(start));
        }
        let word = self.peek_text();
        let mut found = self.error(&format!("expected a clause of AUTO CDC, found `{word}`"));
        let near = nearest(&word, CLAUSES.map(|(words, _)| words[0]));
        let form = near.and_then(|near| CLAUSES.iter().find(|(words, _)| words[0] == near));
        found.help = Some(match form {
            Some((_, form)) => format!("write {form}"),
            None => "clauses are KEYS, SEQUENCE BY, IGNORE NULL UPDATES, APPLY AS DELETE WHEN, APPLY AS TRUNCATE WHEN, COLUMNS, COLUMNS TO UPDATE, STORED AS SCD TYPE and TRACK HISTORY ON".into(),
        });
        self.parser.next_token();
        Err(vec![found])
    }

    /// An expression over the columns of a change.
    fn condition(&mut self) -> Found<Expr> {
        let start = offset(self.text, &self.parser);
        let mut expr = self.parser.parse_expr().map_err(|error| vec![self.syntax(&error)])?;
        rewrite_predicate(self.text, &mut expr, &self.since(start))?;
        Ok(expr)
    }

    /// `(a, b)`, `* EXCEPT (a, b)` or `*`.
    fn choice(&mut self) -> Found<ColumnChoice> {
        if !self.parser.consume_token(&Token::Mul) {
            return self.column_names().map(ColumnChoice::Only);
        }
        if self.words(&["EXCEPT"]) { self.column_names().map(ColumnChoice::Except) } else { Ok(ColumnChoice::All) }
    }

    /// `(a, b)`: columns of the source, not fields of them.
    fn column_names(&mut self) -> Found<Vec<String>> {
        self.expect(&Token::LParen)?;
        let mut names = Vec::new();
        let mut found = Vec::new();
        while !self.parser.consume_token(&Token::RParen) {
            let start = offset(self.text, &self.parser);
            let problem = match self.parser.parse_expr().map_err(|error| vec![self.syntax(&error)])? {
                Expr::Identifier(name) => {
                    names.push(name.value);
                    None
                }
                Expr::CompoundIdentifier(_) => {
                    Some(("AUTOCDC_MULTIPART_COLUMN_IDENTIFIER", "a column is named by one part here"))
                }
                _ => Some(("AUTOCDC_NON_COLUMN_IDENTIFIER", "only columns can stand here, no expressions")),
            };
            found.extend(problem.map(|(code, message)| {
                Diagnostic::error(code, message).at(self.since(start)).help("name it in a view of the source with AS")
            }));
            if !self.parser.consume_token(&Token::Comma) && self.parser.peek_token().token != Token::RParen {
                return Err(vec![self.error("expected `,` or `)` in the list of columns")]);
            }
        }
        if found.is_empty() { Ok(names) } else { Err(found) }
    }

    /// Takes everything before the next clause.
    fn until_clause(&mut self) -> Vec<TokenWithSpan> {
        let mut taken = Vec::new();
        let mut depth = 0_usize;
        loop {
            let next = [self.parser.peek_token(), self.parser.peek_nth_token(1)];
            match next[0].token {
                Token::EOF => return taken,
                _ if depth == 0 && begins_clause(&next) => return taken,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            taken.push(self.parser.next_token());
        }
    }

    /// `SELECT * FROM source`
    fn source_query(&mut self, source: Vec<TokenWithSpan>) -> Found<ParsedQuery> {
        let place = source[0].span;
        let whole = range(self.text, &source);
        let select = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
        let tokens: Vec<_> = select.map(|token| TokenWithSpan::new(token, place)).into_iter().chain(source).collect();
        let dialect = SparkDialect::new(tokens.len());
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
        let query = parse_query(self.text, &mut parser, std::mem::take(&mut self.relations))?;
        let rest = parser.expect_token(&Token::EOF);
        rest.map_err(|error| vec![syntax_error(self.text, &error, &whole)])?;
        Ok(query)
    }
}

impl Clauses {
    fn set<T>(&mut self, slot: impl Fn(&mut Self) -> &mut Placed<T>, name: &str, value: T, span: Span) -> Found<()> {
        if slot(self).is_some() {
            self.fail("DUPLICATE_CLAUSES", &format!("{name} is given twice"), &span, "keep one of them");
        } else {
            *slot(self) = Some((value, span));
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, code: &'static str, message: &str, span: &Span, help: &str) {
        self.found.push(Diagnostic::error(code, message).at(span.clone()).help(help));
    }

    /// The model of the clauses, where they fit each other.
    fn finish(mut self, span: Span) -> Found<AutoCdc> {
        if self.from == ChangeSource::Snapshots {
            self.check_snapshots(&span);
        }
        if self.found.is_empty() {
            self.check_presence(&span);
            self.check_combinations();
            self.check_keys();
        }
        let history = self.stored_as.as_ref().is_some_and(|(number, _)| *number == 2);
        let tracked = value(self.tracked).unwrap_or(ColumnChoice::All);
        match (value(self.keys), value(self.sequence_by)) {
            (Some(keys), Some(sequence_by)) if self.found.is_empty() => Ok(AutoCdc {
                source: self.from,
                keys,
                sequence_by,
                ignore_null_updates: value(self.ignore_null_updates),
                delete_when: value(self.delete_when),
                truncate_when: value(self.truncate_when),
                columns: value(self.columns).unwrap_or(ColumnChoice::All),
                columns_to_update: value(self.columns_to_update),
                stored_as: if history { StoredAs::History { tracked } } else { StoredAs::Latest },
                span,
            }),
            _ => Err(self.found),
        }
    }

    /// Clauses that must be there.
    fn check_presence(&mut self, span: &Span) {
        if self.keys.is_none() {
            self.fail("MISSING_CLAUSES_FOR_OPERATION", "AUTO CDC has no KEYS", span, "add KEYS (id) after the source");
        }
        if self.sequence_by.is_none() {
            let help = "add SEQUENCE BY column: it says which change of a key is the last one";
            self.fail("MISSING_CLAUSES_FOR_OPERATION", "AUTO CDC has no SEQUENCE BY", span, help);
        }
    }

    fn check_combinations(&mut self) {
        let history = matches!(self.stored_as, Some((2, _)));
        if let (Some((_, span)), false) = (self.tracked.clone(), history) {
            let message = "TRACK HISTORY needs a history";
            self.fail(
                "AUTOCDC_TRACK_HISTORY_REQUIRES_SCD2",
                message,
                &span,
                "add STORED AS SCD TYPE 2, or leave it out",
            );
        }
        if let (Some((_, span)), true) = (self.truncate_when.clone(), history) {
            let message = "APPLY AS TRUNCATE would remove the history of SCD TYPE 2";
            self.fail("UNSUPPORTED_CLAUSE", message, &span, "use SCD TYPE 1, or leave it out");
        }
        if let (Some((_, span)), Some(_)) = (self.columns_to_update.clone(), &self.ignore_null_updates) {
            let message = "COLUMNS TO UPDATE and IGNORE NULL UPDATES both say which columns a change leaves alone";
            self.fail("UNSUPPORTED_CLAUSE", message, &span, "keep one of them");
        }
    }

    /// Keys must be among the columns that are kept.
    fn check_keys(&mut self) {
        let (Some((keys, _)), Some((columns, span))) = (&self.keys, &self.columns) else { return };
        let is_in = |names: &[String], key: &String| names.iter().any(|name| name.eq_ignore_ascii_case(key));
        let missing = keys.iter().find(|key| match columns {
            ColumnChoice::All => false,
            ColumnChoice::Only(names) => !is_in(names, key),
            ColumnChoice::Except(names) => is_in(names, key),
        });
        if let Some(key) = missing {
            let near = match columns {
                ColumnChoice::Only(names) => nearest(key, names.iter().map(String::as_str)),
                ColumnChoice::All | ColumnChoice::Except(_) => None,
            };
            let help = near.map_or_else(String::new, |near| format!("did you mean KEYS ({near})? "))
                + "keep every column of KEYS";
            let (message, span) = (format!("COLUMNS leaves out the key `{key}`"), span.clone());
            self.fail("AUTOCDC_KEY_NOT_IN_SELECTED_SCHEMA", &message, &span, &help);
        }
    }
}

fn value<T>(placed: Placed<T>) -> Option<T> {
    placed.map(|(value, _)| value)
}
