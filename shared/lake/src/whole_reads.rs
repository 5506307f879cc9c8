//! Reads that give all that was asked for, or fail.
//!
//! A store answers a range that goes beyond the end of an object with less than that, and a connection may end early.
//! Whoever reads a table knows from its log how long a file is, and takes what comes for what was asked for: Parquet's
//! reader panics, and a log entry without a line is a commit that changed nothing. So a file that isn't as long as the
//! table says is told here, by its name, for all readers. Several ranges are asked for by the trait's own means, which go
//! through this store's reads: a store's answer to several at once can't be looked at before it is cut into pieces.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::recent_log::is_entry;

/// A store whose reads are whole.
#[derive(Debug)]
pub(crate) struct WholeReads {
    inner: Arc<dyn ObjectStore>,
}

impl WholeReads {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

fn short(location: &Path, asked: &Range<u64>, found: u64) -> Error {
    let Range { start, end } = asked;
    let source = format!(
        "of bytes {start} to {end} of {location} only {found} came: the answer broke off, or the file is shorter than it was written; if trying again doesn't help, restore it"
    );
    Error::Generic { store: "whole reads", source: source.into() }
}

fn empty(location: &Path) -> Error {
    let source = format!(
        "log entry {location} is empty, as after a loss of power; restore it, or delete it if it is the last one"
    );
    Error::Generic { store: "whole reads", source: source.into() }
}

/// What comes, and an error at its end if it isn't all.
fn counted(
    body: BoxStream<'static, Result<Bytes>>,
    location: Path,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes>> {
    let end = range.clone();
    let length = range.end - range.start;
    let pieces = body.map(Some).chain(futures::stream::once(std::future::ready(None)));
    let checked = pieces.scan(0_u64, move |found, piece| {
        let next = match piece {
            Some(Ok(bytes)) => {
                *found += bytes.len() as u64;
                Some(Ok(bytes))
            }
            Some(Err(error)) => {
                // One error is enough.
                *found = length;
                Some(Err(error))
            }
            None if *found < length => Some(Err(short(&location, &end, *found))),
            None => None,
        };
        std::future::ready(next)
    });
    checked.boxed()
}

impl fmt::Display for WholeReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for WholeReads {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let asked = match &options.range {
            Some(GetRange::Bounded(range)) => Some(range.clone()),
            Some(GetRange::Offset(_) | GetRange::Suffix(_)) | None => None,
        };
        let is_head = options.head;
        let got = self.inner.get_opts(location, options).await?;
        if is_head {
            return Ok(got);
        }
        let found = got.range.end - got.range.start;
        if let Some(asked) = asked.filter(|asked| asked.end - asked.start != found) {
            return Err(short(location, &asked, found));
        }
        if found == 0 && got.meta.size == 0 && is_entry(location) {
            return Err(empty(location));
        }
        let GetResult { payload, meta, range, attributes } = got;
        let payload = match payload {
            GetResultPayload::Stream(body) => GetResultPayload::Stream(counted(body, location.clone(), range.clone())),
            file @ GetResultPayload::File(..) => file,
        };
        Ok(GetResult { payload, meta, range, attributes })
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

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
