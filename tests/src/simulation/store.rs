//! The store as one process sees it: each write waits for its turn, and so do slow reads; and the weather is bad now and then.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use headwater_testkit::points::place;
use headwater_testkit::weather::{Answers, Share, Weather, WeatherStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

use super::turns::{Fate, Landing, Step, Turns};

/// A write that comes late.
type Ghost = (Path, PutPayload, PutOptions);

/// Writes that processes have given up, and that will happen all the same.
#[derive(Debug, Clone)]
pub(super) struct Ghosts {
    store: InMemory,
    waiting: Arc<Mutex<Vec<Ghost>>>,
}

impl Ghosts {
    /// Of this store.
    pub(super) fn new(store: &InMemory) -> Self {
        Self { store: store.clone(), waiting: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Ghost>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landing for Ghosts {
    fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    fn land(&self) -> bool {
        let Some((location, payload, options)) = self.waiting().pop() else { return false };
        block_on(self.store.put_opts(&location, payload, options)).is_ok()
    }
}

/// What hits a share of all that processes ask of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storm {
    pub(super) weather: Weather,
    /// Of a thousand operations so many are hit.
    pub(super) per_mille: u64,
}

/// Storms, the plainest first.
const STORMS: [Weather; 8] = [
    Weather::SlowDown,
    Weather::TooMany,
    Weather::TimedOutBefore,
    Weather::TimedOutAfter,
    Weather::Slow,
    Weather::StaleList,
    Weather::PartialList,
    Weather::CutBody,
];

impl Storm {
    /// By two draws, below 16 and below 3: fair weather in half of all runs.
    pub(super) fn of(weather: usize, strength: usize) -> Option<Self> {
        let weather = *STORMS.get(weather.checked_sub(16 - STORMS.len())?)?;
        let per_mille = [10, 100, 500][strength.min(2)];
        Some(Self { weather, per_mille })
    }
}

/// Whoever asked in vain is told in turn: by then all that it asked for at once has been asked for.
#[derive(Debug)]
struct InTurn {
    actor: usize,
    turns: Arc<Turns>,
}

#[async_trait]
impl Answers for InTurn {
    async fn answers(&self, operation: &str) {
        self.turns.wait(self.actor, Step::Fails(operation.to_owned())).await;
    }
}

/// A process's view of the store. Once the process is dead, nothing that it left running does anything.
#[derive(Debug, Clone)]
pub(super) struct View {
    inner: WeatherStore,
    /// Reads whose answers are slow.
    slow: Share,
    actor: usize,
    turns: Arc<Turns>,
    ghosts: Ghosts,
    dead: Arc<AtomicBool>,
    death: Arc<Notify>,
}

impl View {
    /// Of a process; `life` tells its processes apart, each of which the weather hits elsewhere.
    pub(super) fn new(
        inner: &InMemory,
        (actor, life): (usize, u64),
        (turns, ghosts): (Arc<Turns>, Ghosts),
        storm: Option<Storm>,
    ) -> Self {
        let seed = actor as u64 * 1_000 + life;
        let (is_slow, storm) = match storm {
            Some(Storm { weather: Weather::Slow, per_mille }) => (per_mille, None),
            storm => (0, storm),
        };
        let Storm { weather, per_mille } = storm.unwrap_or(Storm { weather: Weather::SlowDown, per_mille: 0 });
        let answers = Arc::new(InTurn { actor, turns: Arc::clone(&turns) });
        let inner = WeatherStore::new(Arc::new(inner.clone()), weather, (seed, per_mille)).answering(answers);
        let slow = Share::new(seed, is_slow);
        Self { inner, slow, actor, turns, ghosts, dead: Arc::default(), death: Arc::default() }
    }

    /// How often the weather has hit.
    pub(super) fn hits(&self) -> u64 {
        self.inner.hits() + self.slow.hits()
    }

    /// A read whose answer is slow: others go on meanwhile.
    async fn slow(&self, verb: &str, location: &str) -> Result<()> {
        self.alive()?;
        if self.slow.takes(verb, location) {
            self.turns.wait(self.actor, Step::Reads(format!("{verb} {}", place(location)))).await;
        }
        self.alive()
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

/// Checkpoints and their checksums are written by the log's library on threads of its own; they change no row.
fn takes_turns(location: &Path) -> bool {
    let path = location.as_ref();
    !path.contains("checkpoint") && !path.ends_with(".crc")
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
            true => self.turns.wait(self.actor, Step::Writes(place(location.as_ref()))).await,
            false => Fate::Goes,
        };
        self.alive()?;
        match fate {
            Fate::Goes => return self.inner.put_opts(location, payload, options).await,
            Fate::Refused => {}
            Fate::Late => self.ghosts.waiting().push((location.clone(), payload, options)),
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
        self.slow(if options.head { "head" } else { "get" }, location.as_ref()).await?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.alive() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (view, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            match view.slow("list", prefix.as_ref().map_or("", AsRef::as_ref)).await {
                Ok(()) => view.inner.list(prefix.as_ref()),
                Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
            }
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.slow("list", prefix.map_or("", AsRef::as_ref)).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.alive()?;
        self.inner.copy_opts(from, to, options).await
    }
}
