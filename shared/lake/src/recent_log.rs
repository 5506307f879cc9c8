//! The log entries that were read or put a moment ago.
//!
//! A log entry never changes, and is read more than once: by a commit that lost to it, by the next refresh of the table's
//! handle, by the flow that reads what it added. So it is asked for once. What is kept is small and soon forgotten: a
//! process that goes without it does the same, with more requests.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headwater_core::commit::entry_version;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::Instant;

/// After so long an entry is asked for again: a table that was deleted and made anew has others.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Bytes of all that is kept, and of one entry.
const KEPT_BYTES: usize = 4 << 20;
const ENTRY_BYTES: usize = 256 << 10;

/// A store that remembers log entries for a moment.
#[derive(Debug)]
pub(crate) struct RecentLog {
    inner: Arc<dyn ObjectStore>,
    kept: Arc<Mutex<VecDeque<Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    kept_at: Instant,
    meta: ObjectMeta,
    body: Bytes,
}

impl RecentLog {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, kept: Arc::default() }
    }

    fn find(&self, location: &Path) -> Option<Entry> {
        let mut kept = self.kept();
        let old = kept.iter().take_while(|entry| entry.kept_at.elapsed() > KEPT_FOR).count();
        kept.drain(..old);
        kept.iter().rev().find(|entry| entry.meta.location == *location).cloned()
    }

    fn keep(&self, meta: ObjectMeta, body: Bytes) {
        let mut kept = self.kept();
        // Of a table of that name that is gone.
        kept.retain(|entry| entry.meta.location != meta.location);
        if body.len() > ENTRY_BYTES {
            return;
        }
        kept.push_back(Entry { kept_at: Instant::now(), meta, body });
        let mut bytes: usize = kept.iter().map(|entry| entry.body.len()).sum();
        while bytes > KEPT_BYTES
            && let Some(oldest) = kept.pop_front()
        {
            bytes -= oldest.body.len();
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        locked(&self.kept)
    }
}

fn locked(kept: &Mutex<VecDeque<Entry>>) -> MutexGuard<'_, VecDeque<Entry>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    fn result(self) -> GetResult {
        let Self { meta, body, .. } = self;
        let range = 0..meta.size;
        let payload = GetResultPayload::Stream(Box::pin(futures::stream::once(std::future::ready(Ok(body)))));
        GetResult { payload, meta, range, attributes: object_store::Attributes::default() }
    }
}

/// The folder, if it is that of a log.
pub(crate) fn log(prefix: Option<&Path>) -> Option<&Path> {
    prefix.filter(|prefix| prefix.filename() == Some("_delta_log"))
}

/// Whether an object is the one that was seen before. A listing may tell tags without the quotes that a read tells them with.
pub(crate) fn is_same(now: &ObjectMeta, before: &ObjectMeta) -> bool {
    let tag = |file: &ObjectMeta| file.e_tag.as_deref().map(|tag| tag.trim_matches('"').to_owned());
    now.size == before.size && tag(now) == tag(before)
}

/// Whether this is the name of a log entry.
pub(crate) fn is_entry(location: &Path) -> bool {
    let mut parts = location.parts().rev();
    let name = parts.next();
    parts.next().is_some_and(|folder| folder.as_ref() == "_delta_log")
        && name.is_some_and(|name| entry_version(name.as_ref()).is_some())
}

/// Whether an object or its head is asked for, whatever it is.
pub(crate) fn is_plain(options: &GetOptions) -> bool {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, .. } = options;
    let conditions = if_match.is_some() || if_none_match.is_some();
    let times = if_modified_since.is_some() || if_unmodified_since.is_some();
    !(conditions || times || range.is_some() || version.is_some())
}

impl fmt::Display for RecentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for RecentLog {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !is_entry(location) || options.mode != PutMode::Create {
            return self.inner.put_opts(location, payload, options).await;
        }
        let put = self.inner.put_opts(location, payload.clone(), options).await?;
        let (location, size) = (location.clone(), payload.content_length() as u64);
        let (e_tag, version) = (put.e_tag.clone(), put.version.clone());
        self.keep(ObjectMeta { location, last_modified: Utc::now(), size, e_tag, version }, payload.into());
        Ok(put)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head || !is_entry(location) || !is_plain(&options) {
            return self.inner.get_opts(location, options).await;
        }
        if let Some(entry) = self.find(location) {
            return Ok(entry.result());
        }
        let got = self.inner.get_opts(location, options).await?;
        if got.meta.size > ENTRY_BYTES as u64 {
            return Ok(got);
        }
        let meta = got.meta.clone();
        let body = got.bytes().await?;
        self.keep(meta.clone(), body.clone());
        Ok(Entry { kept_at: Instant::now(), meta, body }.result())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    /// Entries that should be listed, but aren't or are others, belong to a table of that name that is gone.
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = self.inner.list_with_offset(prefix, offset);
        let Some(log) = log(prefix).cloned() else { return listing };
        let (kept, offset) = (Arc::clone(&self.kept), offset.clone());
        let listed = async move {
            let found: Vec<ObjectMeta> = listing.try_collect().await?;
            let by_path: HashMap<&Path, &ObjectMeta> = found.iter().map(|meta| (&meta.location, meta)).collect();
            let is_there = |meta: &ObjectMeta| by_path.get(&meta.location).is_some_and(|found| is_same(found, meta));
            let is_asked_for = |meta: &ObjectMeta| meta.location.prefix_matches(&log) && meta.location > offset;
            locked(&kept).retain(|entry| !is_asked_for(&entry.meta) || is_there(&entry.meta));
            Ok::<_, object_store::Error>(futures::stream::iter(found.into_iter().map(Ok)))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
