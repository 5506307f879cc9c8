//! A store in bad weather: a share of all that is asked of it is refused, timed out, slow, old or cut short.
//!
//! What a client of a cloud would try again a few times comes through to the caller at once, so a storm here is a
//! harder one there. A seed says whom it hits, by the operation's name and how often it was asked for, so that the same are
//! hit in whatever order they come.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::dice::Dice;
use crate::points::place;

/// What happens to those that are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// 503: nothing happens, try later.
    SlowDown,
    /// 429: nothing happens, too many ask.
    TooMany,
    /// No answer comes, and nothing happened.
    TimedOutBefore,
    /// No answer comes, and it happened.
    TimedOutAfter,
    /// A list is the one that was given before.
    StaleList,
    /// A list ends in an error after its first half.
    PartialList,
    /// A body ends early.
    CutBody,
    /// An answer takes long.
    Slow,
}

/// Who decides when what was hit is answered.
#[async_trait]
pub trait Answers: fmt::Debug + Send + Sync {
    /// Ends when this is to be answered: `get silver/orders/*.parquet`.
    async fn answers(&self, operation: &str);
}

/// A store that the weather hits. Clones share it.
#[derive(Debug, Clone)]
pub struct WeatherStore {
    inner: Arc<dyn ObjectStore>,
    weather: Weather,
    share: Share,
    answers: Option<Arc<dyn Answers>>,
    lists: Arc<Mutex<BTreeMap<String, Vec<ObjectMeta>>>>,
}

/// A share of operations, by a seed. Clones count together.
#[derive(Debug, Clone)]
pub struct Share {
    seed: u64,
    per_mille: u64,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    times: BTreeMap<String, u64>,
    hits: u64,
}

impl Share {
    /// So many of a thousand.
    #[must_use]
    pub fn new(seed: u64, per_mille: u64) -> Self {
        Self { seed, per_mille, asked: Arc::default() }
    }

    /// Whether what is asked now is one of them.
    #[must_use]
    pub fn takes(&self, verb: &str, location: &str) -> bool {
        if self.per_mille == 0 {
            return false;
        }
        let name = format!("{verb} {}", place(location));
        let mut asked = locked(&self.asked);
        let times = asked.times.entry(name.clone()).or_default();
        *times += 1;
        let is_hit = Dice::of(self.seed, &(name, *times)).roll() % 1_000 < self.per_mille;
        asked.hits += u64::from(is_hit);
        is_hit
    }

    /// How many it took.
    #[must_use]
    pub fn hits(&self) -> u64 {
        locked(&self.asked).hits
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WeatherStore {
    /// A store that is hit in this share of what is asked of it.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, weather: Weather, (seed, per_mille): (u64, u64)) -> Self {
        Self { inner, weather, share: Share::new(seed, per_mille), answers: None, lists: Arc::default() }
    }

    /// The same, where what was hit is answered when this says so.
    #[must_use]
    pub fn answering(self, answers: Arc<dyn Answers>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// How often it was hit.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.share.hits()
    }

    /// The weather, if it hits what is asked now and can.
    async fn hit(&self, affected: &[Weather], verb: &str, location: &str) -> Option<Weather> {
        if !affected.contains(&self.weather) || !self.share.takes(verb, location) {
            return None;
        }
        if let Some(answers) = &self.answers {
            answers.answers(&format!("{verb} {}", place(location))).await;
        }
        Some(self.weather)
    }

    /// What comes before an operation.
    async fn before(&self, verb: &str, location: &str) -> Result<Outlook> {
        match self.hit(&ANY, verb, location).await {
            Some(Weather::SlowDown) => Err(failed("503 Slow Down", location)),
            Some(Weather::TooMany) => Err(failed("429 Too Many Requests", location)),
            Some(Weather::TimedOutBefore) => Err(failed("operation timed out", location)),
            Some(Weather::TimedOutAfter) => Ok(Outlook::NoAnswer),
            Some(Weather::Slow) => {
                tokio::time::sleep(SLOW).await;
                Ok(Outlook::Fair)
            }
            Some(Weather::StaleList | Weather::PartialList | Weather::CutBody) | None => Ok(Outlook::Fair),
        }
    }

    async fn list_all(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let name = prefix.map_or_else(String::new, ToString::to_string);
        self.before("list", &name).await?.answer(&name, ())?;
        let found: Vec<ObjectMeta> = self.inner.list(prefix).try_collect().await?;
        let old = locked(&self.lists).insert(name.clone(), found.clone());
        match self.hit(&[Weather::StaleList], "stale", &name).await {
            Some(_) => Ok(old.unwrap_or(found)),
            None => Ok(found),
        }
    }
}

/// Weather that hits every kind of operation.
const ANY: [Weather; 5] =
    [Weather::SlowDown, Weather::TooMany, Weather::TimedOutBefore, Weather::TimedOutAfter, Weather::Slow];

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_millis(30);

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Fair,
    NoAnswer,
}

impl Outlook {
    fn answer<T>(self, location: &str, answer: T) -> Result<T> {
        match self {
            Self::Fair => Ok(answer),
            Self::NoAnswer => Err(failed("operation timed out", location)),
        }
    }
}

fn failed(why: &str, location: &str) -> Error {
    Error::Generic { store: "WeatherStore", source: format!("{why}: {location}").into() }
}

impl fmt::Display for WeatherStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeatherStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for WeatherStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let outlook = self.before("put", location.as_ref()).await?;
        let put = self.inner.put_opts(location, payload, options).await?;
        outlook.answer(location.as_ref(), put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let outlook = self.before("begin", location.as_ref()).await?;
        let upload = self.inner.put_multipart_opts(location, options).await?;
        outlook.answer(location.as_ref(), upload)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let outlook = self.before(if is_head { "head" } else { "get" }, location.as_ref()).await?;
        let got = self.inner.get_opts(location, options).await?;
        if is_head || self.hit(&[Weather::CutBody], "body", location.as_ref()).await.is_none() {
            return outlook.answer(location.as_ref(), got);
        }
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let body = got.bytes().await?;
        let half = body.slice(..body.len() / 2);
        let payload = GetResultPayload::Stream(futures::stream::once(std::future::ready(Ok(half))).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let mut found: Vec<Result<ObjectMeta>> = match store.list_all(prefix.as_ref()).await {
                Ok(found) => found.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            let name = prefix.map_or_else(String::new, |prefix| prefix.to_string());
            if store.hit(&[Weather::PartialList], "broken", &name).await.is_some() {
                found.truncate(found.len() / 2);
                found.push(Err(failed("the list broke off", "")));
            }
            futures::stream::iter(found)
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let name = prefix.map_or_else(String::new, ToString::to_string);
        let outlook = self.before("list", &name).await?;
        let found = self.inner.list_with_delimiter(prefix).await?;
        outlook.answer(&name, found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let outlook = self.before("copy", to.as_ref()).await?;
        self.inner.copy_opts(from, to, options).await?;
        outlook.answer(to.as_ref(), ())
    }
}
