//! Ranges of the object that was found, not of one that has taken its place since.

use std::io::{BufRead, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use object_store::{GetOptions, ObjectStore};

use super::FoundFile;
use crate::error::LakeError;
use crate::landing_progress::LandingProgress;

/// Bytes read from storage at a time.
pub(super) const CHUNK: usize = 4 << 20;

/// Why a file gives no rows, or no more.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is no file of its format, or not a whole one: reading it again is of no use.
    Damaged(String),
    /// It can't be read now.
    Unreadable(LakeError),
}

/// Reads ranges, and remembers what storage said when one couldn't be read. Clones remember together.
#[derive(Debug, Clone)]
pub(crate) struct Ranges {
    store: Arc<dyn ObjectStore>,
    file: FoundFile,
    /// All of the file, if it was read before.
    body: Option<Bytes>,
    /// Who is told of what is read.
    progress: Option<Arc<LandingProgress>>,
    failure: Arc<Mutex<Option<object_store::Error>>>,
}

impl Ranges {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, file: &FoundFile) -> Self {
        Self { store, file: file.clone(), body: None, progress: None, failure: Arc::default() }
    }

    /// The same, which tell how much is read.
    pub(crate) fn told(mut self, progress: &Arc<LandingProgress>) -> Self {
        self.progress = Some(Arc::clone(progress));
        self
    }

    /// The file that they are of.
    pub(crate) const fn file(&self) -> &FoundFile {
        &self.file
    }

    /// Reads the whole file now. If it can't be read, it will be told when it is read again.
    pub(crate) async fn ahead(mut self) -> Self {
        if self.file.size > 0 {
            self.body = self.try_read(0..self.file.size).await.ok();
        }
        self
    }

    /// The bytes of a range; an error that says no more than that is remembered.
    pub(super) async fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let read = self.try_read(range).await;
        read.map_err(|source| {
            let told = std::io::Error::other(source.to_string());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
            told
        })
    }

    /// What an error means that was met while the file was read: storage's own, or the file's.
    pub(super) fn stop(&self, reason: impl Into<String>) -> Stop {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => {
                Stop::Unreadable(LakeError::Storage { action: "can't read", path: self.file.path.clone(), source })
            }
            None => Stop::Damaged(reason.into()),
        }
    }

    async fn try_read(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let within = range.start <= range.end && range.end <= self.file.size;
        if let (Some(body), true, Ok(start), Ok(end)) =
            (&self.body, within, usize::try_from(range.start), usize::try_from(range.end))
        {
            return Ok(body.slice(start..end));
        }
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let found = self.store.get_opts(&self.file.location, options).await?;
        let is_other =
            self.file.etag.as_deref().zip(found.meta.e_tag.as_deref()).is_some_and(|(a, b)| bare(a) != bare(b));
        if found.meta.size != self.file.size || is_other {
            let source = "the file changed while it was read; it is read whole the next time".into();
            return Err(object_store::Error::Generic { store: "files", source });
        }
        let bytes = found.bytes().await?;
        if let Some(progress) = &self.progress {
            progress.read(0, bytes.len() as u64);
        }
        Ok(bytes)
    }
}

/// Listings of some stores leave the quotes of a tag out.
fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// A file from its beginning to its end, for a thread that may block.
#[derive(Debug)]
pub(super) struct RangeReader {
    ranges: Ranges,
    runtime: tokio::runtime::Handle,
    at: u64,
    buffer: Bytes,
}

impl RangeReader {
    pub(super) const fn new(ranges: Ranges, runtime: tokio::runtime::Handle) -> Self {
        Self { ranges, runtime, at: 0, buffer: Bytes::new() }
    }

    /// From a byte on.
    pub(super) fn starting_at(self, at: u64) -> Self {
        Self { at, buffer: Bytes::new(), ..self }
    }

    /// The next byte's place.
    pub(super) fn place(&self) -> u64 {
        self.at - self.buffer.len() as u64
    }
}

impl BufRead for RangeReader {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        let size = self.ranges.file.size;
        if self.buffer.is_empty() && self.at < size {
            let end = (self.at + CHUNK as u64).min(size);
            self.buffer = self.runtime.block_on(self.ranges.read(self.at..end))?;
            self.at = end;
        }
        Ok(&self.buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.advance(amount);
    }
}

impl Read for RangeReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
