//! What logs were found to hold a moment ago.
//!
//! Each look at a table lists its log after the last checkpoint, and a listing costs ten times as much as a read. But entries of
//! a log follow each other: those after the last one that is known are asked for by their names, which most often is one read of
//! what isn't there. Clean-up takes entries away from the oldest on, so that no later one is gone while the last one that is known
//! is there as it was. What else has come meanwhile, such as a checkpoint, is found when the log is listed from there: whoever opens
//! a table begins at the last checkpoint. Who asks right after that whether an entry is still the one that it was is told what was
//! found. Nothing here is needed for correctness.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headwater_core::commit::{entry_name, entry_version};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::Instant;

use crate::recent_log::{is_entry, is_plain, is_same, log};

/// After so long a log is listed again.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// For so long what was found of an entry is told to who asks for that alone.
const MOMENT: Duration = Duration::from_secs(1);
/// Listings that are known at once.
const KEPT: usize = 64;
/// Names of one of them; for more a log is listed each time.
const FEW: usize = 256;

/// A store that lists a log once, and then looks for what comes next.
#[derive(Debug, Clone)]
pub(crate) struct ListedLogs {
    inner: Arc<dyn ObjectStore>,
    kept: Arc<Mutex<VecDeque<Listed>>>,
}

/// What a log held after a name.
#[derive(Debug, Clone)]
struct Listed {
    after: Path,
    began: Instant,
    /// When the last entry was seen last.
    seen: Instant,
    /// In the order of names.
    found: Vec<ObjectMeta>,
}

impl ListedLogs {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, kept: Arc::default() }
    }

    /// What a log holds after a name.
    async fn listed(&self, log: &Path, after: &Path) -> Result<Vec<ObjectMeta>> {
        if let Some(known) = self.find(after) {
            if let Some(listed) = self.brought_up(known, log).await {
                self.keep(listed.clone());
                return Ok(listed.found);
            }
            self.kept().retain(|listed| !listed.after.prefix_matches(log));
        }
        let began = Instant::now();
        let mut found: Vec<_> = self.inner.list_with_offset(Some(log), after).try_collect().await?;
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        self.keep(Listed { after: after.clone(), began, seen: began, found: found.clone() });
        Ok(found)
    }

    /// With the entries that have come since; `None` if that can't be told.
    async fn brought_up(&self, mut listed: Listed, log: &Path) -> Option<Listed> {
        let mut next = listed.next()?;
        let seen = Instant::now();
        let known = listed.last().map(|(_, last)| last.clone());
        loop {
            match self.inner.get(&log.clone().join(entry_name(next))).await {
                Ok(entry) => listed.found.push(entry.meta),
                Err(object_store::Error::NotFound { .. }) => break,
                Err(_) => return None,
            }
            next += 1;
        }
        listed.found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        if let Some(last) = listed.last_mut() {
            let is_new = known.as_ref().is_none_or(|known| known.location != last.location);
            let (now, known) = tokio::join!(self.again(last), async {
                match known.filter(|_| is_new) {
                    Some(known) => self.again(&known).await.map(drop),
                    None => Some(()),
                }
            });
            known?;
            // Of an entry that this process has put, its own clock told the time.
            last.last_modified = now?.last_modified;
        }
        Some(Listed { seen, ..listed })
    }

    /// What is told of an object now, if it is the one that was found.
    async fn again(&self, found: &ObjectMeta) -> Option<ObjectMeta> {
        self.inner.head(&found.location).await.ok().filter(|now| is_same(now, found))
    }

    /// What was found of an entry a moment ago, when its log was looked at last.
    fn seen(&self, entry: &Path) -> Option<ObjectMeta> {
        let kept = self.kept();
        let of_log = kept.iter().filter(|listed| is_beside(&listed.after, entry) && listed.seen.elapsed() <= MOMENT);
        let last = of_log.max_by_key(|listed| listed.seen)?;
        last.found.iter().find(|found| found.location == *entry).cloned()
    }

    fn find(&self, after: &Path) -> Option<Listed> {
        self.kept().iter().find(|listed| listed.after == *after && listed.began.elapsed() <= KEPT_FOR).cloned()
    }

    fn keep(&self, listed: Listed) {
        let mut kept = self.kept();
        kept.retain(|other| other.after != listed.after);
        if listed.found.len() > FEW || !listed.is_whole() {
            return;
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(listed);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Listed>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// The entries and their versions.
    fn entries(&self) -> impl Iterator<Item = (u64, &ObjectMeta)> {
        self.found.iter().filter_map(|file| Some((entry_version(file.location.filename()?)?, file)))
    }

    /// The last entry and its version.
    fn last(&self) -> Option<(u64, &ObjectMeta)> {
        self.entries().last()
    }

    /// The last entry.
    fn last_mut(&mut self) -> Option<&mut ObjectMeta> {
        let (_, last) = self.last()?;
        let location = last.location.clone();
        self.found.iter_mut().find(|file| file.location == location)
    }

    /// Where it begins: an entry that is listed first has this version, or the next one where its own was cleaned up.
    fn first(&self) -> Option<u64> {
        self.after.filename()?.parse().ok()
    }

    /// Whether no entry is left out: a store may list what came meanwhile, and not what came before that.
    fn is_whole(&self) -> bool {
        let versions: Vec<u64> = self.entries().map(|(version, _)| version).collect();
        let follows = |first: u64| versions.iter().copied().eq((first..).take(versions.len()));
        self.first().is_some_and(|first| follows(first) || follows(first + 1))
    }

    /// The version that comes next; `None` where it can't be told: entries before a checkpoint may be gone.
    fn next(&self) -> Option<u64> {
        match self.last() {
            Some((version, _)) => Some(version + 1),
            None if self.found.is_empty() => self.first().filter(|first| *first == 0),
            None => None,
        }
    }
}

/// Whether two paths are in the same folder.
fn is_beside(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| path.as_ref().rsplit_once('/').map(|(folder, _)| folder.to_owned());
    folder(one) == folder(other)
}

impl fmt::Display for ListedLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for ListedLogs {
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(log) = log(prefix) else { return self.inner.list_with_offset(prefix, offset) };
        let (store, log, offset) = (self.clone(), log.clone(), offset.clone());
        let listed = async move {
            store.listed(&log, &offset).await.map(|found| futures::stream::iter(found.into_iter().map(Ok)))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let asks_for_entry = options.head && is_plain(&options) && is_entry(location);
        let seen = if asks_for_entry { self.seen(location) } else { None };
        match seen {
            Some(meta) => Ok(GetResult {
                payload: GetResultPayload::Stream(futures::stream::empty().boxed()),
                range: 0..meta.size,
                meta,
                attributes: Attributes::default(),
            }),
            None => self.inner.get_opts(location, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
