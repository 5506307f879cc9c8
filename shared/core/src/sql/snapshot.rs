//! Reads `AUTO CDC … FROM SNAPSHOT`, whose source gives whole states instead of changes.

use sqlparser::ast::{Expr, Ident};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cdc::{Clauses, begins_clause};
use super::reader::Reader;
use crate::diagnostic::Span;
use crate::model::{ChangeSource, ColumnChoice};
use crate::provenance::METADATA;

/// The field of `_metadata` by which snapshots are told apart and ordered, unless `SEQUENCE BY` says otherwise.
const FILE: &str = "file_path";

impl Reader<'_> {
    /// Takes the word `SNAPSHOT`, unless it is the name of the source.
    pub(super) fn takes_snapshots(&mut self) -> ChangeSource {
        let rest: Vec<TokenWithSpan> = (1..3).map(|at| self.parser.peek_nth_token(at)).collect();
        let is_name = rest[0].token == Token::Period || begins_clause(&rest);
        if !is_name && self.words(&["SNAPSHOT"]) { ChangeSource::Snapshots } else { ChangeSource::Changes }
    }
}

/// Takes the brackets around a source off, if what is in them is no query.
pub(super) fn unwrap(source: &mut Vec<TokenWithSpan>) {
    let is_wrapped = |source: &[TokenWithSpan]| {
        source.len() > 2
            && source[0].token == Token::LParen
            && super::tokens::after_brackets(source, 0) == source.len()
            && !["SELECT", "WITH"].iter().any(|word| super::tokens::is_word(&source[1], word))
    };
    while is_wrapped(source) {
        source.pop();
        source.remove(0);
    }
}

impl Clauses {
    /// What snapshots can't have, and what they have unless it is given.
    pub(super) fn check_snapshots(&mut self, whole: &Span) {
        let refused = [
            ("IGNORE NULL UPDATES", self.ignore_null_updates.as_ref().map(|(_, span)| span.clone())),
            ("APPLY AS DELETE", self.delete_when.as_ref().map(|(_, span)| span.clone())),
            ("APPLY AS TRUNCATE", self.truncate_when.as_ref().map(|(_, span)| span.clone())),
            ("COLUMNS TO UPDATE", self.columns_to_update.as_ref().map(|(_, span)| span.clone())),
        ];
        for (clause, span) in refused {
            if let Some(span) = span {
                let message = format!("{clause} has no meaning for snapshots, which hold every row as it is");
                self.fail(
                    "UNSUPPORTED_CLAUSE",
                    &message,
                    &span,
                    "leave it out: a row that isn't in a snapshot is gone",
                );
            }
        }
        let by_file = || Expr::CompoundIdentifier(vec![Ident::new(METADATA), Ident::new(FILE)]);
        let (sequence, span) = self.sequence_by.take().unwrap_or_else(|| (by_file(), whole.clone()));
        if sequence.to_string().contains(METADATA) {
            self.leave_metadata_out(span.clone());
        }
        self.sequence_by = Some((sequence, span));
    }

    /// What tells where a row came from isn't compared.
    fn leave_metadata_out(&mut self, span: Span) {
        let metadata = || METADATA.to_owned();
        self.columns = match self.columns.take() {
            None | Some((ColumnChoice::All, _)) => Some((ColumnChoice::Except(vec![metadata()]), span)),
            Some((ColumnChoice::Except(mut names), span)) => {
                names.push(metadata());
                Some((ColumnChoice::Except(names), span))
            }
            only @ Some((ColumnChoice::Only(_), _)) => only,
        };
    }
}
