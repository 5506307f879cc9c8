//! A store in bad weather: a share of all that is asked of it is refused, timed out, slow, old or cut short.
//!
//! What a client of a cloud would try again a few times comes through to the caller at once, so a storm here is a
//! harder one there. A seed says whom it hits.

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

/// A store that the weather hits. Clones share it.
#[derive(Debug, Clone)]
pub struct WeatherStore {
    inner: Arc<dyn ObjectStore>,
    weather: Weather,
    per_mille: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    hits: u64,
    lists: BTreeMap<String, Vec<ObjectMeta>>,
}

impl WeatherStore {
    /// A store that is hit in this share of what is asked of it.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, weather: Weather, (seed, per_mille): (u64, u64)) -> Self {
        let state = State { dice: Dice::new(seed), hits: 0, lists: BTreeMap::new() };
        Self { inner, weather, per_mille, state: Arc::new(Mutex::new(state)) }
    }

    /// How often it was hit.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The weather, if it hits what is asked now and can.
    fn hit(&self, affected: &[Weather]) -> Option<Weather> {
        if !affected.contains(&self.weather) {
            return None;
        }
        let mut state = self.state();
        let is_hit = state.dice.roll() % 1_000 < self.per_mille;
        state.hits += u64::from(is_hit);
        is_hit.then_some(self.weather)
    }

    /// What comes before an operation.
    async fn before(&self, location: &str) -> Result<Outlook> {
        match self.hit(&ANY) {
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
        self.before(&name).await?.answer(&name, ())?;
        let found: Vec<ObjectMeta> = self.inner.list(prefix).try_collect().await?;
        let old = self.state().lists.insert(name, found.clone());
        match self.hit(&[Weather::StaleList]) {
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
        let outlook = self.before(location.as_ref()).await?;
        let put = self.inner.put_opts(location, payload, options).await?;
        outlook.answer(location.as_ref(), put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let outlook = self.before(location.as_ref()).await?;
        let upload = self.inner.put_multipart_opts(location, options).await?;
        outlook.answer(location.as_ref(), upload)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let outlook = self.before(location.as_ref()).await?;
        let is_head = options.head;
        let got = self.inner.get_opts(location, options).await?;
        if is_head || self.hit(&[Weather::CutBody]).is_none() {
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
            if store.hit(&[Weather::PartialList]).is_some() {
                found.truncate(found.len() / 2);
                found.push(Err(failed("the list broke off", "")));
            }
            futures::stream::iter(found)
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let name = prefix.map_or_else(String::new, ToString::to_string);
        let outlook = self.before(&name).await?;
        let found = self.inner.list_with_delimiter(prefix).await?;
        outlook.answer(&name, found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let outlook = self.before(to.as_ref()).await?;
        self.inner.copy_opts(from, to, options).await?;
        outlook.answer(to.as_ref(), ())
    }
}
