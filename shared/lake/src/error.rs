//! Errors of the lake, by what the caller does.

use std::error::Error;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use headwater_core::error::ErrorKind;
use headwater_core::report::ExpectationCount;

use crate::remedy;

/// What to do about a log that can't be read.
const RESTORE: &str =
    "open it with a newer Headwater if it needs features that this one lacks; otherwise restore its log";

/// Shorthand.
pub type Result<T, E = LakeError> = std::result::Result<T, E>;

/// What can go wrong between a flow and its tables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LakeError {
    /// Configuration or SQL that can't work.
    #[error("{message}\n  help: {help}")]
    Configuration {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Storage said no, or nothing.
    #[error("{action} {path}: {}", remedy::told(&source.to_string()))]
    Storage {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// Storage failed under a table that was read or written.
    #[error("table {table}: {}", remedy::told(&source.to_string()))]
    TableOutOfReach {
        /// The table's URL.
        table: String,
        /// What failed.
        source: Box<DeltaTableError>,
    },
    /// A table's log or files are not as the protocol says, or need what we don't have.
    #[error("table {table}: {message}\n  help: {help}")]
    TableUnusable {
        /// The table's URL.
        table: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: &'static str,
    },
    /// Log entries that a stream still needs were cleaned up.
    #[error(
        "table {table}: version {version} of its log is gone, but a flow has read only up to the one before\n  help: run the flow's target with --full-refresh, and keep the log longer (delta.logRetentionDuration)"
    )]
    LogEntryGone {
        /// The table's URL.
        table: String,
        /// The first missing version.
        version: u64,
    },
    /// A data file can't be read.
    #[error("data file {path}: {message}\n  help: restore the file, or remove it from the table with a full refresh")]
    DataFileUnreadable {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// A stream's source lost or changed rows.
    #[error(
        "flow {flow}: version {version} of {source_table} changes or removes rows, which a stream can't follow\n  help: read it WITH (SKIPCHANGECOMMITS = true), or run the target with --full-refresh"
    )]
    SourceChanged {
        /// The flow.
        flow: String,
        /// Its source.
        source_table: String,
        /// The commit.
        version: u64,
    },
    /// A stream has read further than its source goes.
    #[error(
        "[TABLE_CHANGED.SOURCE] flow {flow} has read {source_table} up to version {read}, but the table is at version {version}: it was made anew\n  help: bring the source's table back, or run the target with --full-refresh={target}"
    )]
    SourceMadeAnew {
        /// The flow.
        flow: String,
        /// Its source.
        source_table: String,
        /// What it writes.
        target: String,
        /// The version that it has read up to.
        read: u64,
        /// The source's version.
        version: u64,
    },
    /// A column's type isn't the table's.
    #[error(
        "table {table}: column `{column}` is {from}, but the query now gives {to}\n  help: {remedy}cast it in the query, or run the table with --full-refresh"
    )]
    SchemaMismatch {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The table's type.
        from: String,
        /// The query's type.
        to: String,
        /// What helps beside a cast and a full refresh, with a comma after it.
        remedy: String,
    },
    /// The side table that a table is kept by isn't there.
    #[error(
        "table {table}: `{side}`, by which it is kept, can't be found\n  help: try again; if it was deleted, rebuild the table with --full-refresh={table}"
    )]
    SideTableGone {
        /// The table.
        table: String,
        /// The side table.
        side: String,
    },
    /// A value doesn't fit its column's type.
    #[error(
        "column `{column}`: a value of type {from} doesn't fit {to}: {message}\n  help: cast it in the query with TRY_CAST, or declare the column with a wider type"
    )]
    ColumnDoesNotFit {
        /// The column.
        column: String,
        /// The value's type.
        from: String,
        /// The column's type.
        to: String,
        /// Which value.
        message: String,
    },
    /// Records have fields that no column is known for, and they aren't to be left out.
    #[error(
        "{origin} has columns that aren't known: {}\n  help: add them to `schema` or `schemaHints`, take the file away, or let schemaEvolutionMode be addNewColumns",
        columns.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
    )]
    NewColumns {
        /// The file, or what messages are called.
        origin: String,
        /// The columns that are missing.
        columns: arrow::datatypes::SchemaRef,
    },
    /// A `FAIL UPDATE` expectation was violated; nothing of the batch is in the table.
    #[error(
        "flow {flow} failed to meet its expectations on {dataset}: {violated}\n  help: nothing of the batch was written; mend the source or the query, or let the rule drop rows (ON VIOLATION DROP ROW)"
    )]
    ExpectationsViolated {
        /// The flow.
        flow: String,
        /// The dataset.
        dataset: String,
        /// Names and counts.
        violated: String,
        /// Counts of every rule.
        counts: Vec<ExpectationCount>,
    },
    /// An expectation's predicate failed on a row.
    #[error(
        "expectation {expectation}: {source}\n  help: write the predicate so that it can't fail on any row, for instance with TRY_CAST"
    )]
    ExpectationFailedToRun {
        /// The expectation.
        expectation: String,
        /// Why.
        source: Box<DataFusionError>,
    },
    /// A query failed to plan or to run.
    #[error("query: {}", remedy::without_backtrace(&.0.to_string()))]
    Query(Box<DataFusionError>),
    /// A bug.
    #[error("internal error: {message}\n  help: please report it with the command and the log")]
    Internal {
        /// What was impossible.
        message: String,
    },
}

impl LakeError {
    /// What the caller does about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Configuration { .. }
            | Self::TableUnusable { .. }
            | Self::LogEntryGone { .. }
            | Self::NewColumns { .. }
            | Self::SourceChanged { .. }
            | Self::SourceMadeAnew { .. }
            | Self::SchemaMismatch { .. } => ErrorKind::Invalid,
            Self::ColumnDoesNotFit { .. } | Self::ExpectationsViolated { .. } | Self::ExpectationFailedToRun { .. } => {
                ErrorKind::Data
            }
            Self::DataFileUnreadable { .. } | Self::SideTableGone { .. } => ErrorKind::Unavailable,
            Self::Storage { source, .. } => storage_kind(source),
            Self::TableOutOfReach { source, .. } => failure_below(source.as_ref()).unwrap_or(ErrorKind::Unavailable),
            Self::Query(source) => query_kind(source),
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// An error of the query engine; one of ours that has passed through it is itself again.
    #[must_use]
    pub fn query(source: DataFusionError) -> Self {
        match source {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Query(Box::new(DataFusionError::External(other))),
            },
            other => Self::Query(Box::new(other)),
        }
    }

    /// An error of the query engine that a table's scan began with: what its log says can't be understood, unless storage
    /// failed or the query is at fault.
    #[must_use]
    pub(crate) fn scan(table: &url::Url, source: DataFusionError) -> Self {
        let is_of_log = match source.find_root() {
            DataFusionError::ArrowError(..) => true,
            DataFusionError::External(inner) => !inner.is::<Self>(),
            _ => false,
        };
        if !is_of_log || failure_below(&source).is_some() {
            return Self::query(source);
        }
        Self::TableUnusable {
            table: table.to_string(),
            message: remedy::without_backtrace(&source.to_string()).to_owned(),
            help: RESTORE,
        }
    }

    /// A task that died.
    #[must_use]
    pub(crate) fn join(source: tokio::task::JoinError) -> Self {
        Self::Internal { message: source.to_string() }
    }

    /// The columns that records have and that aren't known, if that is what an error is about.
    pub(crate) fn new_columns(&self) -> Option<&arrow::datatypes::SchemaRef> {
        let mut error: Option<&(dyn Error + 'static)> = match self {
            Self::Query(source) => Some(source.as_ref()),
            other => Some(other),
        };
        while let Some(next) = error {
            if let Some(Self::NewColumns { columns, .. }) = next.downcast_ref() {
                return Some(columns);
            }
            error = next.source();
        }
        None
    }

    /// An error of Arrow where none can be.
    #[must_use]
    pub fn arrow(source: arrow::error::ArrowError) -> Self {
        Self::Internal { message: source.to_string() }
    }

    /// An error of delta-rs about a table.
    #[must_use]
    pub fn delta(table: &url::Url, source: DeltaTableError) -> Self {
        let table = table.to_string();
        match source {
            DeltaTableError::ObjectStore { source } => Self::Storage { action: "can't use", path: table, source },
            other if failure_below(&other).is_some() => Self::TableOutOfReach { table, source: Box::new(other) },
            other => Self::TableUnusable {
                table,
                message: remedy::without_backtrace(&other.to_string()).to_owned(),
                help: RESTORE,
            },
        }
    }

    /// Whether storage said no in a way that trying again won't change, so that a person has to act:
    /// the disk is full or read-only, this user may not write, credentials are wrong.
    #[must_use]
    pub(crate) fn is_lasting(&self) -> bool {
        !self.kind().is_retryable() || remedy::is_lasting(&self.to_string())
    }
}

/// The kind of the storage failure that an error comes from, however many libraries it has passed;
/// `None` if it comes from something else.
fn failure_below(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(source) = error.downcast_ref::<object_store::Error>() {
        return Some(storage_kind(source));
    }
    if let Some(source) = error.downcast_ref::<std::io::Error>() {
        return io_failure(source);
    }
    if let Some(DeltaTableError::KernelError(source)) = error.downcast_ref() {
        return kernel_failure(&source.to_string());
    }
    failure_below(error.source()?)
}

/// An error of reading or writing, unless it is about what was read.
fn io_failure(source: &std::io::Error) -> Option<ErrorKind> {
    use std::io::ErrorKind as Io;
    match source.get_ref() {
        Some(inner) => failure_below(inner),
        None => match source.kind() {
            Io::InvalidData | Io::InvalidInput | Io::UnexpectedEof => None,
            _ => Some(ErrorKind::Unavailable),
        },
    }
}

/// The Delta kernel keeps its cause in the text only.
fn kernel_failure(text: &str) -> Option<ErrorKind> {
    let causes = ["Error interacting with object store", "Reqwest Error", "os error "];
    causes.iter().any(|cause| text.contains(cause)).then_some(ErrorKind::Unavailable)
}

fn storage_kind(source: &object_store::Error) -> ErrorKind {
    match source {
        object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    }
}

fn query_kind(source: &DataFusionError) -> ErrorKind {
    use DataFusionError as E;
    if let Some(kind) = failure_below(source) {
        return kind;
    }
    match source.find_root() {
        // A data file that can't be read; of storage's failure only the text is left.
        E::ParquetError(_) => ErrorKind::Unavailable,
        E::ObjectStore(_) | E::IoError(_) | E::ResourcesExhausted(_) => ErrorKind::Unavailable,
        E::ArrowError(..) | E::Execution(_) => ErrorKind::Data,
        E::Internal(_) => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    }
}
