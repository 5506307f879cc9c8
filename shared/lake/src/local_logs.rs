//! The local disk, with listings of logs that cost what is new.
//!
//! A folder's names can only be read one by one. Of a log only those after the last checkpoint are asked for: most often they are found by
//! themselves. Otherwise the others, which may be many, are passed over before they are made paths, and not read again for a while.

use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::runtime::Handle;

use crate::known_names::{Known, KnownNames};
use crate::named_tail::named_tail;

/// More names than this are left to a listing of everything.
const FEW: usize = 256;

/// Files that are looked at together.
const AT_ONCE: usize = 8;

/// The local disk.
#[derive(Debug)]
pub(crate) struct LocalLogs {
    inner: Arc<LocalFileSystem>,
    known: Arc<KnownNames>,
}

impl LocalLogs {
    pub(crate) fn new(inner: LocalFileSystem) -> Self {
        Self { inner: Arc::new(inner), known: Arc::default() }
    }
}

/// The files of a log whose names come after this one; `None` if they are many, or not all plain files.
async fn newest(disk: &LocalFileSystem, known: Arc<KnownNames>, log: &Path, after: String) -> Option<Vec<Path>> {
    let folder = disk.path_to_filesystem(log).ok()?;
    let read = move || known_or_read(&known, &folder, &after);
    let names = match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(read).await.ok()?,
        Err(_) => read(),
    };
    Some(names.ok()??.into_iter().map(|name| log.clone().join(name)).collect())
}

fn known_or_read(known: &KnownNames, folder: &FilePath, after: &str) -> std::io::Result<Option<Vec<String>>> {
    if let Some(names) = known.find(folder, after) {
        return Ok(Some(names));
    }
    let look = Known::begin(folder, after);
    let names = match named_tail(folder, after, FEW) {
        Some(names) => Some(names),
        None => names_after(folder, after)?,
    };
    if let Some(names) = &names {
        known.keep(look, names);
    }
    Ok(names)
}

fn names_after(folder: &FilePath, after: &str) -> std::io::Result<Option<Vec<String>>> {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
        if name.as_str() <= after {
            continue;
        }
        if !is_plain(&name) || !entry.file_type()?.is_file() || names.len() == FEW {
            return Ok(None);
        }
        names.push(name);
    }
    Ok(Some(names))
}

/// The log, and the name in it, after which something is listed.
fn in_log(prefix: Option<&Path>, offset: &Path) -> Option<(Path, String)> {
    let log = prefix.filter(|prefix| prefix.filename() == Some("_delta_log"))?;
    let mut below = offset.prefix_match(log)?;
    let name = below.next()?.as_ref().to_owned();
    below.next().is_none().then(|| (log.clone(), name))
}

impl fmt::Display for LocalLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for LocalLogs {
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some((log, name)) = in_log(prefix, offset) else { return self.inner.list_with_offset(prefix, offset) };
        let (disk, known, offset) = (Arc::clone(&self.inner), Arc::clone(&self.known), offset.clone());
        let listed = async move {
            let Some(paths) = newest(&disk, known, &log, name).await else {
                return disk.list_with_offset(Some(&log), &offset);
            };
            let look = move |path: Path| {
                let disk = Arc::clone(&disk);
                async move {
                    match disk.head(&path).await {
                        // It went while the folder was read.
                        Err(object_store::Error::NotFound { .. }) => Ok(None),
                        found => found.map(Some),
                    }
                }
            };
            let found = futures::stream::iter(paths).map(look).buffered(AT_ONCE);
            found.try_filter_map(|found| std::future::ready(Ok(found))).boxed()
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
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

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
