//! The store as one process sees it: each write waits for its turn.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

use super::turns::{Fate, Turns};

/// A write that comes late.
type Ghost = (Path, PutPayload, PutOptions);

/// Writes that processes have given up, and that will happen all the same.
#[derive(Debug, Default, Clone)]
pub(super) struct Ghosts(Arc<Mutex<Vec<Ghost>>>);

impl Ghosts {
    pub(super) fn take(&self) -> Option<Ghost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn add(&self, ghost: Ghost) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ghost);
    }
}

/// A process's view of the store. Once the process is dead, nothing that it left running does anything.
#[derive(Debug, Clone)]
pub(super) struct View {
    inner: InMemory,
    actor: usize,
    turns: Arc<Turns>,
    ghosts: Ghosts,
    dead: Arc<AtomicBool>,
    death: Arc<Notify>,
}

impl View {
    pub(super) fn new(inner: InMemory, actor: usize, turns: Arc<Turns>, ghosts: Ghosts) -> Self {
        Self { inner, actor, turns, ghosts, dead: Arc::default(), death: Arc::default() }
    }

    /// Ends when the process dies.
    pub(super) async fn died(&self) {
        self.death.notified().await;
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.death.notify_one();
    }

    fn alive(&self) -> Result<()> {
        if self.dead.load(Ordering::SeqCst) { Err(failed("the process is dead")) } else { Ok(()) }
    }
}

fn failed(why: &str) -> Error {
    Error::Generic { store: "simulation", source: why.into() }
}

/// What a write is called in the story: the same each time, whatever its file is called.
fn name(location: &Path) -> String {
    let path = location.as_ref();
    match (path.ends_with(".parquet"), path.rsplit_once('/')) {
        (true, Some((folder, _))) => format!("{folder}/*.parquet"),
        _ => path.to_owned(),
    }
}

/// Checkpoints are written by the log's library on a thread of its own; they change no row.
fn takes_turns(location: &Path) -> bool {
    let path = location.as_ref();
    !path.contains("checkpoint")
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.actor)
    }
}

#[async_trait]
impl ObjectStore for View {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.alive()?;
        let fate = match takes_turns(location) {
            true => self.turns.wait(self.actor, name(location)).await,
            false => Fate::Goes,
        };
        self.alive()?;
        match fate {
            Fate::Goes => return self.inner.put_opts(location, payload, options).await,
            Fate::Refused => {}
            Fate::Late => self.ghosts.add((location.clone(), payload, options)),
            Fate::Lost => drop(self.inner.put_opts(location, payload, options).await?),
            Fate::Dies => self.die(),
            Fate::Dead => {
                let happened = self.inner.put_opts(location, payload, options).await;
                self.die();
                drop(happened?);
            }
        }
        Err(failed("the write failed"))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.alive()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.alive() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.alive()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.alive()?;
        self.inner.copy_opts(from, to, options).await
    }
}
