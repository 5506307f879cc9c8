//! How outside sources are read: formats, columns, and which files.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlparser::ast::DataType;

use super::Column;
use crate::envelope::Envelope;

/// How records are decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOptions {
    /// The format; `Raw` gives the body as it is (`body BINARY`).
    pub format: Format,
    /// What a record is wrapped in; its columns are among those given or hinted.
    pub envelope: Option<Envelope>,
    /// Columns given; empty if they are inferred.
    pub schema: Vec<Column>,
    /// Types for some inferred columns, and for fields within them.
    pub schema_hints: Vec<Hint>,
    /// Infer types of JSON and CSV columns, rather than taking them as strings.
    pub infer_column_types: bool,
    /// What becomes of fields that no column is known for.
    pub evolution: Evolution,
    /// The column that takes, as JSON, what has no column or doesn't fit its own; without one, a record that doesn't
    /// fit goes to quarantine.
    pub rescued_column: Option<String>,
    /// Which files, of a source of files.
    pub files: FileOptions,
}

impl ReadOptions {
    /// A format with the defaults of all else.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            envelope: None,
            schema: Vec::new(),
            schema_hints: Vec::new(),
            infer_column_types: true,
            evolution: Evolution::AddNewColumns,
            rescued_column: None,
            files: FileOptions::default(),
        }
    }
}

/// A type for an inferred column, or for what is within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The column's name, then those of fields of structs; `element` is that of an array, `key` and `value` those of a map.
    pub path: Vec<String>,
    /// The type.
    pub data_type: DataType,
}

/// What becomes of fields that no column is known for: Auto Loader's `schemaEvolutionMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evolution {
    /// Columns are added for them. Unlike in Auto Loader, no run fails for it.
    AddNewColumns,
    /// The same, and a column with a value that doesn't fit its type gets a wider one, where Delta's type widening has
    /// one.
    AddNewColumnsWithTypeWidening,
    /// They go to the rescued column; columns stay as they are.
    Rescue,
    /// The batch fails, until they are in the schema or the file is gone.
    FailOnNewColumns,
    /// They are left out, unless there is a rescued column.
    None,
}

impl Evolution {
    /// Whether columns are added.
    #[must_use]
    pub const fn adds_columns(self) -> bool {
        match self {
            Self::AddNewColumns | Self::AddNewColumnsWithTypeWidening => true,
            Self::Rescue | Self::FailOnNewColumns | Self::None => false,
        }
    }

    /// Whether the types of columns widen.
    #[must_use]
    pub const fn widens_types(self) -> bool {
        match self {
            Self::AddNewColumnsWithTypeWidening => true,
            Self::AddNewColumns | Self::Rescue | Self::FailOnNewColumns | Self::None => false,
        }
    }
}

/// Which files are read, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// Files of one batch at most.
    pub max_files: Option<usize>,
    /// Bytes of one batch, about.
    pub max_bytes: Option<u64>,
    /// Only file names that match.
    pub path_glob_filter: Option<String>,
    /// Only files written after this time.
    pub modified_after: Option<DateTime<Utc>>,
    /// Only files written before this time.
    pub modified_before: Option<DateTime<Utc>>,
    /// Files that were there before the flow first ran are read too.
    pub include_existing: bool,
    /// A file that is written again under its name is read again.
    pub allow_overwrites: bool,
    /// Columns that are taken from `name=value` folders; `None` for all of them, where columns are inferred.
    pub partition_columns: Option<Vec<String>>,
    /// What becomes of files that are in.
    pub clean_source: CleanSource,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            max_files: None,
            max_bytes: None,
            path_glob_filter: None,
            modified_after: None,
            modified_before: None,
            include_existing: true,
            allow_overwrites: false,
            partition_columns: None,
            clean_source: CleanSource::Off,
        }
    }
}

/// What becomes of files that are in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanSource {
    /// They stay.
    Off,
    /// They are deleted.
    Delete {
        /// So long after they were landed.
        after: Duration,
    },
    /// They are moved.
    Move {
        /// So long after they were landed.
        after: Duration,
        /// To this folder, in the same bucket; folders below the source's are kept.
        to: String,
    },
}

/// Formats that are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, or one a message.
    Json,
    /// JSON objects over any number of lines, or arrays of them.
    JsonDocument,
    /// Delimited text.
    Csv(CsvOptions),
    /// Lines, each a row with the column `value`.
    Text,
    /// The bytes as they are.
    Raw,
    /// Files of columns: Parquet.
    Parquet,
    /// Files of columns: Avro, with what Event Hubs Capture writes among it.
    Avro,
    /// One row a file: `path`, `modificationTime`, `length`, `content`.
    BinaryFile,
}

impl Format {
    /// Whether records say nothing of their columns' types, so that these are inferred.
    #[must_use]
    pub const fn is_untyped(&self) -> bool {
        match self {
            Self::Json | Self::JsonDocument | Self::Csv(_) => true,
            Self::Text | Self::Raw | Self::Parquet | Self::Avro | Self::BinaryFile => false,
        }
    }

    /// Whether the columns are the same for all inputs.
    #[must_use]
    pub const fn has_fixed_columns(&self) -> bool {
        match self {
            Self::Text | Self::Raw | Self::BinaryFile => true,
            Self::Json | Self::JsonDocument | Self::Csv(_) | Self::Parquet | Self::Avro => false,
        }
    }
}

/// Options of CSV, with Auto Loader's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// The first line names the columns.
    pub header: bool,
    /// Between fields.
    pub separator: u8,
    /// Around fields.
    pub quote: u8,
    /// Before a quote in a quoted field.
    pub escape: Option<u8>,
    /// Starts a comment line.
    pub comment: Option<u8>,
    /// Text that means NULL, besides the empty field.
    pub null_value: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: false,
            separator: b',',
            quote: b'"',
            escape: Some(b'\\'),
            comment: None,
            null_value: String::new(),
        }
    }
}
