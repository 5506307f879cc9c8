//! Bytes of messages and files to record batches, and what can't be decoded to quarantine.
//!
//! A text is cut into records, each checked to be one whole record, and records are decoded in bulk.
//! Where that fails, the bulk is halved until the bad records stand alone: they go verbatim to
//! quarantine with the reason and the position, and the others are decoded as if they weren't there.
//!
//! A file of columns (Parquet, Avro) has no records that could be told from damage around them: it is
//! decoded whole or is one bad record, while rows whose values don't fit go to quarantine one by one. Of one that is landed in
//! parts, what comes before the damage counts.

mod avro;
mod captured;
mod columnar;
mod compression;
mod decode;
mod files;
mod fitting;
mod folders;
mod hints;
mod infer;
mod inferred;
mod json;
mod landing;
mod messages;
mod parquet;
mod parted;
mod plain;
mod ranges;
mod records;
mod rescue;
mod sample;
mod side;
mod text;
mod unknown;
mod unwrap;
mod whole;
mod wider;

pub(crate) use files::damaged;
pub use files::{FileDecoder, FoundFile, file_schema};
pub use infer::infer_schema;
pub use landing::{Landing, split_glob};
pub use messages::{decode_messages, message_schema, sample_messages};
pub(crate) use ranges::Ranges;
pub use sample::{Sample, read_sample};
pub(crate) use side::{HEADWATER, RAW_FIELDS, misfit_rows};
pub use side::{SideContext, bad_records, side_rows, side_schema};
pub(crate) use text::{Reached, TextPart};

use bytes::Bytes;
use chrono::{DateTime, Utc};

/// A record that can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Why.
    pub reason: String,
    /// The record, verbatim; its beginning if it is over the limit of a record's size.
    pub raw: Bytes,
    /// Where it stands: `path:line` or `message id:line`.
    pub position: String,
    /// Which message or file it came from.
    pub origin: Origin,
}

/// What a record came from; the content of `_metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A message.
    Message {
        /// Its id.
        id: String,
        /// When it was sent.
        enqueued_at: DateTime<Utc>,
        /// The source's name.
        source: String,
        /// Its attributes as a JSON object, if it has any.
        attributes: Option<String>,
        /// The partition of the hub that it stands in.
        partition: Option<String>,
        /// Its number there.
        sequence_number: Option<i64>,
    },
    /// A file.
    File {
        /// Its path, as a URL.
        path: String,
        /// Bytes as stored.
        size: u64,
        /// When it was written.
        modified: DateTime<Utc>,
    },
}

/// Limits on what is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of a record.
    pub record_bytes: usize,
    /// Bytes that a compressed byte may become.
    pub ratio: u64,
}
