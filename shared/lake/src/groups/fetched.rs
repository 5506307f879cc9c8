//! Parts of a stored file that are in memory.

use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Parts of a file, each with the place where it begins. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    parts: Arc<[(u64, Bytes)]>,
    size: u64,
}

impl Fetched {
    /// Parts of a file of so many bytes.
    pub(super) fn new(parts: impl IntoIterator<Item = (u64, Bytes)>, size: u64) -> Self {
        Self { parts: parts.into_iter().collect(), size }
    }

    /// What is there from a place on.
    fn from(&self, start: u64) -> Result<Bytes> {
        let after = |(begin, bytes): &(u64, Bytes)| {
            let skipped = usize::try_from(start.checked_sub(*begin)?).ok()?;
            (skipped < bytes.len()).then(|| bytes.slice(skipped..))
        };
        self.parts.iter().find_map(after).ok_or_else(|| ParquetError::EOF(format!("byte {start} wasn't read")))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} on weren't read")));
        }
        Ok(bytes.slice(..length))
    }
}
