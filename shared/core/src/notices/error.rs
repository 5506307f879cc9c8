//! Documents that can't be understood.

use serde_json::error::Category;
use thiserror::Error;

use crate::error::ErrorKind;

/// Why a document isn't what a cloud hands over. Quotes nothing of the document: it may be anybody's data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// It isn't JSON, or is cut short.
    #[error("the document is not JSON (line {line}, column {column})")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1; 0 for the end of a line before.
        column: usize,
    },
    /// It is JSON, and something in it has another type than the cloud gives it.
    #[error("the document is not as the cloud sends it (line {line}, column {column})")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A part that the cloud always sends is missing, or has a value that can't be.
    #[error("`{place}` is missing or can't be read")]
    Field {
        /// The path in the document, such as `Records[3].messageId`.
        place: String,
    },
    /// Nothing says what it is.
    #[error("the document is not {expected}")]
    Unknown {
        /// What it might have been.
        expected: &'static str,
    },
}

impl EventError {
    /// What the caller does about it: always `Invalid`, as the same document won't be read next time either.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotJson { .. } | Self::Malformed { .. } | Self::Field { .. } | Self::Unknown { .. } => {
                ErrorKind::Invalid
            }
        }
    }

    /// A part of one record of a document.
    pub(crate) fn record(index: usize, field: &str) -> Self {
        Self::Field { place: format!("Records[{index}].{field}") }
    }
}

/// The message of serde's error is dropped, because it quotes values.
impl From<serde_json::Error> for EventError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Syntax | Category::Eof | Category::Io => Self::NotJson { line, column },
            Category::Data => Self::Malformed { line, column },
        }
    }
}
