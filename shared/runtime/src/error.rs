//! What can go wrong between a host and its sources.

use std::io;
use std::path::{Path, PathBuf};

use headwater_core::error::ErrorKind;
use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// Errors of hosts, sources and configuration.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// A file or folder could not be used. `Invalid` when a person must mend it (not there, no
    /// permission, read-only), else `Unavailable`.
    #[error("could not {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No project file in the folder or above it. `Invalid`.
    #[error(
        "no project file in {} or any folder above it; make a project with `headwater init NAME`, or name its \
         folder with `--project`", start.display()
    )]
    NoProject {
        /// Where the search began.
        start: PathBuf,
    },
    /// A message id that no spool gave. `Invalid`.
    #[error("`{id}` is no message id of a spool")]
    UnknownMessage {
        /// The id.
        id: String,
    },
    /// A message or a batch of them is larger than a segment can hold. `Invalid`.
    #[error("{bytes} bytes are too many for one {what}; the limit is {limit}")]
    TooLarge {
        /// `message` or `batch`.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A setting is wrong. `Invalid`.
    #[error("{name}: {problem}")]
    Setting {
        /// The option or environment variable.
        name: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// Flows failed; their reasons are in the log. The kind is the first one's.
    #[error("{} failed ({kind}); the log says why", flows.join(", "))]
    FlowsFailed {
        /// The flows.
        flows: Vec<String>,
        /// What the caller does about it.
        kind: ErrorKind,
    },
    /// A queue of a cloud could not be used. The kind is the one of what its service answered.
    #[error("could not {action} queue `{queue}`: {reason}; {remedy}")]
    Queue {
        /// The queue's address.
        queue: String,
        /// What was tried, such as `send to`.
        action: &'static str,
        /// What the service says.
        reason: String,
        /// What the caller does about it.
        kind: ErrorKind,
        /// What a person can do.
        remedy: &'static str,
    },
    /// A hub of events could not be used. The kind is the one of what its service answered.
    #[error("could not {action} hub `{hub}`: {reason}; {remedy}")]
    Hub {
        /// The hub's address.
        hub: String,
        /// What was tried, such as `read`.
        action: &'static str,
        /// What the service says.
        reason: String,
        /// What the caller does about it.
        kind: ErrorKind,
        /// What a person can do.
        remedy: &'static str,
    },
    /// The lake couldn't say what it has committed of a hub. The kind is the lake's.
    #[error("could not read what is committed of hub `{hub}`: {reason}")]
    Committed {
        /// The hub's address.
        hub: String,
        /// What the lake says.
        reason: String,
        /// What the caller does about it.
        kind: ErrorKind,
    },
    /// A background task ended without an answer. `Internal`.
    #[error("a background task of the host ended without an answer: {reason}")]
    Task {
        /// How it ended.
        reason: String,
    },
}

impl RuntimeError {
    /// What the caller does about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if needs_a_person(source) => ErrorKind::Invalid,
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::NoProject { .. } | Self::UnknownMessage { .. } | Self::TooLarge { .. } | Self::Setting { .. } => {
                ErrorKind::Invalid
            }
            Self::FlowsFailed { kind, .. }
            | Self::Queue { kind, .. }
            | Self::Hub { kind, .. }
            | Self::Committed { kind, .. } => *kind,
            Self::Task { .. } => ErrorKind::Internal,
        }
    }
}

fn needs_a_person(source: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        source.kind(),
        NotFound | PermissionDenied | ReadOnlyFilesystem | NotADirectory | IsADirectory | InvalidData
    )
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; check the owner and the permissions",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a folder on a file system that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and run again",
        io::ErrorKind::FileTooLarge => "; raise the limit on the size of files (`ulimit -f`) and run again",
        io::ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}

/// Gives an I/O error its place.
pub(crate) trait AtPath<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| RuntimeError::Io { action, path: path.to_owned(), source })
    }
}
