//! A store whose every operation has a name, and that strikes at one of them.
//!
//! A name says what is asked for and of what, the same in each run: `put bronze/t/_delta_log/3.json`, `get
//! silver/t/*.parquet #2`. What a process does between two operations shows nowhere but in its own memory, so a death
//! there is a death before the second of them: the names are all the places where it matters that a process dies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::Notify;

/// On which side of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It doesn't happen.
    Before,
    /// It has happened, and nobody has heard of it.
    After,
}

/// What strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The operation fails, and the process goes on.
    Error,
    /// Nothing that the process does reaches the store any more.
    Death,
    /// The process is killed where it stands, without a word to anybody.
    Kill,
}

/// A blow at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// Name of the operation.
    pub point: String,
    /// Before or after it.
    pub moment: Moment,
    /// What comes.
    pub blow: Blow,
}

/// A store with names. Clones share them.
#[derive(Debug, Clone)]
pub struct PointStore {
    inner: Arc<dyn ObjectStore>,
    root: Arc<str>,
    state: Arc<Mutex<State>>,
    death: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    met: Vec<String>,
    times: BTreeMap<String, u32>,
    strike: Option<Strike>,
    rival: Option<Rival>,
    struck: bool,
    dead: bool,
}

/// Somebody who comes just before a point.
struct Rival {
    point: String,
    turn: BoxFuture<'static, ()>,
}

impl fmt::Debug for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rival({})", self.point)
    }
}

impl PointStore {
    /// A store that strikes once, or never.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, strike: Option<Strike>) -> Self {
        let state = State { strike, ..State::default() };
        Self { inner, root: Arc::from(""), state: Arc::new(Mutex::new(state)), death: Arc::default() }
    }

    /// Leaves this folder out of the names.
    #[must_use]
    pub fn with_root(self, root: &Path) -> Self {
        Self { root: Arc::from(root.as_ref()), ..self }
    }

    /// Holds the operation of this name, other than a part of an upload, until a rival is done.
    pub fn hold(&self, point: &str, rival: impl Future<Output = ()> + Send + 'static) {
        self.state().rival = Some(Rival { point: point.to_owned(), turn: Box::pin(rival) });
    }

    /// Names of the operations so far, in order.
    #[must_use]
    pub fn points(&self) -> Vec<String> {
        self.state().met.clone()
    }

    /// Whether the blow has come.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.state().struck
    }

    /// Ends when the process is dead. For one waiter.
    pub async fn died(&self) {
        self.death.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says the name of an operation, and what comes with it.
    fn meet(&self, verb: &str, location: &str) -> Result<Point<'_>> {
        let mut state = self.state();
        if state.dead {
            return Err(struck(location));
        }
        let below = location.strip_prefix(self.root.as_ref()).unwrap_or(location).trim_start_matches('/');
        let name = format!("{verb} {}", place(below));
        let times = state.times.entry(name.clone()).or_default();
        *times += 1;
        let name = if *times > 1 { format!("{name} #{times}") } else { name };
        state.met.push(name.clone());
        let strike = state.strike.take_if(|strike| strike.point == name);
        let rival = state.rival.take_if(|rival| rival.point == name);
        drop(state);
        let point = Point {
            store: self,
            strike: strike.map(|strike| (strike.moment, strike.blow)),
            rival: rival.map(|rival| rival.turn),
            location: location.to_owned(),
        };
        point.at(Moment::Before)?;
        Ok(point)
    }

    /// As [`Self::meet`], once the rival is done, if one comes.
    async fn reach(&self, verb: &str, location: &str) -> Result<Point<'_>> {
        let mut point = self.meet(verb, location)?;
        if let Some(rival) = point.rival.take() {
            rival.await;
        }
        Ok(point)
    }

    fn strike(&self, blow: Blow) {
        if blow == Blow::Kill {
            std::process::abort();
        }
        let mut state = self.state();
        state.struck = true;
        state.dead = blow == Blow::Death;
        drop(state);
        if blow == Blow::Death {
            self.death.notify_one();
        }
    }
}

/// One operation under way.
struct Point<'a> {
    store: &'a PointStore,
    strike: Option<(Moment, Blow)>,
    rival: Option<BoxFuture<'static, ()>>,
    location: String,
}

impl Point<'_> {
    /// Lets the blow come, if it is for now.
    fn at(&self, moment: Moment) -> Result<()> {
        match self.strike {
            Some((when, blow)) if when == moment => {
                self.store.strike(blow);
                Err(struck(&self.location))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The answer, unless it is lost.
    fn answer<T>(&self, answer: T) -> Result<T> {
        self.at(Moment::After).map(|()| answer)
    }
}

/// What an object is called: the same in each run, whatever its file is called.
#[must_use]
pub fn place(location: &str) -> String {
    let (folder, file) = location.rsplit_once('/').unwrap_or(("", location));
    let file = match file.rsplit_once('.') {
        Some((stem, ending)) if folder.ends_with("_delta_log") => {
            let stem = stem.trim_start_matches('0');
            format!(
                "{}.{ending}",
                if stem.is_empty() || stem.starts_with('.') { format!("0{stem}") } else { stem.to_owned() }
            )
        }
        Some((_, "parquet")) => "*.parquet".to_owned(),
        Some(_) | None => file.to_owned(),
    };
    if folder.is_empty() { file } else { format!("{folder}/{file}") }
}

fn struck(location: &str) -> Error {
    Error::Generic { store: "PointStore", source: format!("struck at {location}").into() }
}

impl fmt::Display for PointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for PointStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let point = self.reach("put", location.as_ref()).await?;
        let answer = self.inner.put_opts(location, payload, options).await;
        point.answer(answer)?
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let point = self.reach("begin", location.as_ref()).await?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        point.answer(Box::new(PointUpload { inner, location: location.clone(), store: self.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let point = self.reach(if options.head { "head" } else { "get" }, location.as_ref()).await?;
        let answer = self.inner.get_opts(location, options).await;
        point.answer(answer)?
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move {
                    let point = store.reach("delete", location.as_ref()).await?;
                    let one = futures::stream::once(std::future::ready(Ok(location.clone()))).boxed();
                    let answer = store.inner.delete_stream(one).try_for_each(|_| std::future::ready(Ok(()))).await;
                    point.answer(answer)?.map(|()| location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.meet("list", prefix.map_or("", |prefix| prefix.as_ref())) {
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
            Ok(Point { rival: Some(rival), .. }) => {
                let (inner, prefix) = (Arc::clone(&self.inner), prefix.cloned());
                futures::stream::once(rival).flat_map(move |()| inner.list(prefix.as_ref())).boxed()
            }
            Ok(_) => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let point = self.reach("list", prefix.map_or("", |prefix| prefix.as_ref())).await?;
        let answer = self.inner.list_with_delimiter(prefix).await;
        point.answer(answer)?
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let point = self.reach("copy", to.as_ref()).await?;
        let answer = self.inner.copy_opts(from, to, options).await;
        point.answer(answer)?
    }
}

/// An upload in parts through a [`PointStore`].
#[derive(Debug)]
struct PointUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    store: PointStore,
}

#[async_trait]
impl MultipartUpload for PointUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.store.meet("part", self.location.as_ref()) {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(point) => {
                let (lost, part) = (point.at(Moment::After), self.inner.put_part(data));
                Box::pin(async move { part.await.and(lost) })
            }
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let point = self.store.reach("complete", self.location.as_ref()).await?;
        let answer = self.inner.complete().await;
        point.answer(answer)?
    }

    async fn abort(&mut self) -> Result<()> {
        let point = self.store.reach("abort", self.location.as_ref()).await?;
        let answer = self.inner.abort().await;
        point.answer(answer)?
    }
}
