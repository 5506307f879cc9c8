//! The uploads of one writer: the failure of one is kept, and all can be taken away again.
//!
//! delta-rs's writer answers a failed upload by aborting it, and `object_store`'s buffered writer panics when it is
//! aborted at its end. So the writer is never told: a failure is kept here, with the file that it befell, and who drives
//! the writer asks for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// A store that never fails to write. Clones share what they know.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    begun: Vec<Path>,
    failure: Option<(Path, Error)>,
}

impl Uploads {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// The first failure since the last call, and the file that it befell. What was written is not to be used then.
    pub(crate) fn failure(&self) -> Option<(Path, Error)> {
        self.state().failure.take()
    }

    /// Deletes all files that were begun. One that can't be deleted harms no reader.
    pub(crate) async fn discard(&self) {
        let begun = std::mem::take(&mut self.state().begun);
        for location in begun {
            match self.inner.delete(&location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%location, %error, "file that no commit names can't be deleted"),
            }
        }
    }

    fn begin(&self, location: &Path) {
        self.state().begun.push(location.clone());
    }

    fn fail(&self, location: &Path, error: Error) {
        self.state().failure.get_or_insert((location.clone(), error));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer is told of an upload that failed.
const UNKNOWN: PutResult = PutResult { e_tag: None, version: None };

impl fmt::Display for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Uploads {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.begin(location);
        Ok(self.inner.put_opts(location, payload, options).await.unwrap_or_else(|error| {
            self.fail(location, error);
            UNKNOWN
        }))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.begin(location);
        let inner = match self.inner.put_multipart_opts(location, options).await {
            Ok(inner) => Some(inner),
            Err(error) => {
                self.fail(location, error);
                None
            }
        };
        Ok(Box::new(Upload { inner, location: location.clone(), uploads: self.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
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

/// An upload in parts; without an inner one, it couldn't even begin.
#[derive(Debug)]
struct Upload {
    inner: Option<Box<dyn MultipartUpload>>,
    location: Path,
    uploads: Uploads,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(inner) = &mut self.inner else { return Box::pin(std::future::ready(Ok(()))) };
        let part = inner.put_part(data);
        let (uploads, location) = (self.uploads.clone(), self.location.clone());
        Box::pin(async move {
            part.await.unwrap_or_else(|error| uploads.fail(&location, error));
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(inner) = &mut self.inner else { return Ok(UNKNOWN) };
        if self.uploads.state().failure.is_some() {
            self.abort().await?;
            return Ok(UNKNOWN);
        }
        Ok(inner.complete().await.unwrap_or_else(|error| {
            self.uploads.fail(&self.location, error);
            UNKNOWN
        }))
    }

    async fn abort(&mut self) -> Result<()> {
        if let Some(inner) = &mut self.inner
            && let Err(error) = inner.abort().await
        {
            tracing::debug!(location = %self.location, %error, "upload can't be aborted");
        }
        Ok(())
    }
}
