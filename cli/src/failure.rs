//! How a command ends when it doesn't end well.

use std::fmt;
use std::io;

use headwater_core::diagnostic::Diagnostic;
use headwater_core::error::ErrorKind;
use headwater_lake::error::LakeError;
use headwater_runtime::error::RuntimeError;

/// Shorthand.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The command's exit code; documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is well.
    Done = 0,
    /// A flow failed.
    Failed = 1,
    /// The command line or the project is wrong.
    Invalid = 2,
    /// The same command may work later.
    Retry = 3,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Conflict | ErrorKind::Unavailable => Self::Retry,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Data | ErrorKind::Internal => Self::Failed,
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The project is wrong, at these places.
    Findings(Vec<Diagnostic>),
    /// Anything else: what is wrong, and what to do.
    Message {
        /// The exit code.
        exit: Exit,
        /// What is wrong and where.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// Nobody reads the output any more, so there is nobody to tell either.
    OutputClosed,
}

impl Failure {
    /// The command line or something that it names is wrong.
    pub(crate) fn invalid(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Message { exit: Exit::Invalid, message: message.into(), help: Some(help.into()) }
    }

    /// A file or folder of the user's can't be used.
    pub(crate) fn file(action: &str, path: &std::path::Path, source: &io::Error) -> Self {
        let help = match source.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check the permissions",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
            io::ErrorKind::FileTooLarge => "raise the limit on the size of files (`ulimit -f`)",
            io::ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written to",
            io::ErrorKind::InvalidData => "the file must be text in UTF-8",
            _ => "check the file, its disk and its permissions",
        };
        Self::invalid(format!("can't {action} {}: {source}", path.display()), help)
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Findings(_) => Exit::Invalid,
            Self::Message { exit, .. } => *exit,
            Self::OutputClosed => Exit::Done,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Findings(findings) => findings.iter().try_for_each(|finding| writeln!(f, "{finding}")),
            Self::Message { message, help, .. } => {
                f.write_str(message)?;
                help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
            }
            Self::OutputClosed => f.write_str("output closed"),
        }
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(findings: Vec<Diagnostic>) -> Self {
        Self::Findings(findings)
    }
}

impl From<LakeError> for Failure {
    fn from(error: LakeError) -> Self {
        Self::Message { exit: error.kind().into(), message: error.to_string(), help: None }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Message { exit: error.kind().into(), message: error.to_string(), help: None }
    }
}
