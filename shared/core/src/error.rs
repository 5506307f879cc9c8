//! What a caller does about an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The five kinds of error, each named for what the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// Somebody else committed first: rebase and retry.
    Conflict,
    /// Storage, queue or network is out of reach: let the trigger be redelivered.
    Unavailable,
    /// Configuration, SQL or trigger is wrong: a person must mend it; dead-letter.
    Invalid,
    /// A record is bad: quarantine it and go on.
    Data,
    /// A bug of Headwater.
    Internal,
}

impl ErrorKind {
    /// Whether the same work may succeed later without anybody mending anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Conflict | Self::Unavailable => true,
            Self::Invalid | Self::Data | Self::Internal => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::Data => "data",
            Self::Internal => "internal",
        })
    }
}
