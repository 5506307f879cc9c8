//! The ends of the Parquet files that were opened a moment ago.
//!
//! Whoever opens a Parquet file asks for its last eight bytes, then for the footer that they tell the length of, and then for columns: of a small
//! file three requests, each of which costs money and time. Here the first one reads on to the front, and what lies in what came is
//! not asked for again. Data files of a table never change. Checkpoints may be written again under the same name, so a part of one is never kept:
//! small ones are read whole, and large ones are left out. Files that land are no business of this store.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::Instant;

/// What a Parquet file ends with: the length of its footer, and four letters.
const LAST: u64 = 8;
/// Bytes of a data file that are read instead.
const END: u64 = 64 << 10;
/// Bytes of a checkpoint that is read whole.
const WHOLE: u64 = 1 << 20;
/// After so long they are forgotten: who opened the file has read its footer by then.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Bytes that are kept at once.
const KEPT_BYTES: usize = 4 << 20;

/// A store that remembers the ends of Parquet files for a moment.
#[derive(Debug)]
pub(crate) struct RecentEnds {
    inner: Arc<dyn ObjectStore>,
    kept: Mutex<VecDeque<End>>,
}

#[derive(Debug, Clone)]
struct End {
    kept_at: Instant,
    meta: ObjectMeta,
    start: u64,
    bytes: Bytes,
}

impl RecentEnds {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, kept: Mutex::default() }
    }

    fn find(&self, location: &Path, range: &Range<u64>) -> Option<GetResult> {
        let mut kept = self.kept();
        let old = kept.iter().take_while(|end| end.kept_at.elapsed() > KEPT_FOR).count();
        kept.drain(..old);
        let end = kept.iter().find(|end| end.meta.location == *location)?;
        // Whoever asks for the last bytes of another length may have seen another checkpoint.
        if is_checkpoint(location) && is_last(range) && range.end != end.meta.size {
            return None;
        }
        end.part(range)
    }

    fn keep(&self, end: End) {
        let mut kept = self.kept();
        kept.retain(|other| other.meta.location != end.meta.location);
        kept.push_back(end);
        let mut bytes: usize = kept.iter().map(|end| end.bytes.len()).sum();
        while bytes > KEPT_BYTES
            && let Some(oldest) = kept.pop_front()
        {
            bytes -= oldest.bytes.len();
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<End>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    /// A part of the file, if it is in its end.
    fn part(&self, range: &Range<u64>) -> Option<GetResult> {
        let from = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
        let bytes = (from <= to && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))?;
        let payload = GetResultPayload::Stream(Box::pin(futures::stream::once(std::future::ready(Ok(bytes)))));
        Some(GetResult { payload, meta: self.meta.clone(), range: range.clone(), attributes: Attributes::default() })
    }
}

/// Whether this is the name of a checkpoint, rather than of a data file.
fn is_checkpoint(location: &Path) -> bool {
    location.parts().any(|part| part.as_ref() == "_delta_log")
}

/// Whether it is as much of a file as its last bytes are.
const fn is_last(range: &Range<u64>) -> bool {
    range.end.saturating_sub(range.start) == LAST
}

/// The part of a Parquet file that is asked for, without conditions.
fn part_asked(location: &Path, options: &GetOptions) -> Option<Range<u64>> {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, .. } =
        options;
    let conditions = if_match.is_some() || if_none_match.is_some() || version.is_some() || *head;
    let times = if_modified_since.is_some() || if_unmodified_since.is_some();
    match range {
        Some(GetRange::Bounded(range)) if !conditions && !times && location.extension() == Some("parquet") => {
            Some(range.clone())
        }
        Some(_) | None => None,
    }
}

impl fmt::Display for RecentEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for RecentEnds {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(range) = part_asked(location, &options) else {
            return self.inner.get_opts(location, options).await;
        };
        if let Some(found) = self.find(location, &range) {
            return Ok(found);
        }
        let is_large = is_checkpoint(location) && range.end > WHOLE;
        if is_large || !is_last(&range) {
            return self.inner.get_opts(location, options).await;
        }
        let start = if is_checkpoint(location) { 0 } else { range.end.saturating_sub(END) };
        let longer = GetOptions { range: Some(GetRange::Bounded(start..range.end)), ..options.clone() };
        let got = self.inner.get_opts(location, longer).await?;
        let (meta, range_got) = (got.meta.clone(), got.range.clone());
        let end = End { kept_at: Instant::now(), meta, start: range_got.start, bytes: got.bytes().await? };
        let Some(found) = end.part(&range) else { return self.inner.get_opts(location, options).await };
        if range.end == end.meta.size {
            self.keep(end);
        }
        Ok(found)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
