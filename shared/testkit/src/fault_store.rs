//! An object store that fails as storage does: refused, lost, late, or dead from some operation on.
//!
//! It wraps any store, so that the same test runs over memory and disk. Faults are told one by one
//! ([`FaultStore::fail`]), by their place ([`FaultStore::fail_after`]), by a seed
//! ([`FaultStore::fail_at_random`]), or as the end of the process that uses the store
//! ([`FaultStore::crash_after`]). The same calls meet the same faults. A rival that is quicker by a
//! moment is no fault, but comes here too ([`FaultStore::before_put`]).

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

use crate::dice::Dice;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An object is written whole.
    Put,
    /// A part of a large object is written, or the object completed.
    Upload,
    /// An object, or its head, is read.
    Get,
    /// Objects are listed.
    List,
    /// Objects are deleted or copied.
    Change,
}

impl Operation {
    const fn changes_store(self) -> bool {
        matches!(self, Self::Put | Self::Upload | Self::Change)
    }
}

/// How an operation fails. The caller sees the same error each time, except for `Forbidden`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens.
    Refused,
    /// Nothing happens, and the error says that it never will: this user may not.
    Forbidden,
    /// It happens, but the answer is lost.
    Lost,
    /// The caller gives up, and it happens at [`FaultStore::land_late`]. Puts only; else as `Refused`.
    Late,
}

/// How often each operation was asked for, failed ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Objects written whole.
    pub puts: u64,
    /// Parts written and uploads completed.
    pub uploads: u64,
    /// Objects and heads read.
    pub gets: u64,
    /// Listings.
    pub lists: u64,
    /// Deletions and copies.
    pub changes: u64,
}

impl Counts {
    /// All operations.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.puts + self.uploads + self.gets + self.lists + self.changes
    }

    /// Operations that change the store.
    #[must_use]
    pub const fn writes(self) -> u64 {
        self.puts + self.uploads + self.changes
    }

    /// What was asked for since an earlier count.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            puts: self.puts - earlier.puts,
            uploads: self.uploads - earlier.uploads,
            gets: self.gets - earlier.gets,
            lists: self.lists - earlier.lists,
            changes: self.changes - earlier.changes,
        }
    }

    const fn count(&mut self, operation: Operation) {
        match operation {
            Operation::Put => self.puts += 1,
            Operation::Upload => self.uploads += 1,
            Operation::Get => self.gets += 1,
            Operation::List => self.lists += 1,
            Operation::Change => self.changes += 1,
        }
    }
}

/// A store with faults. Clones share them.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    death: Arc<Notify>,
}

impl FaultStore {
    /// A store that doesn't fail until told to.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default(), death: Arc::default() }
    }

    /// Fails the next operations of a kind on paths that end so; faults told first come first.
    pub fn fail(&self, operation: Operation, path_end: &str, faults: impl IntoIterator<Item = Fault>) {
        let told = |fault| Told { operation, path_end: path_end.to_owned(), fault };
        self.state().told.extend(faults.into_iter().map(told));
    }

    /// Fails the operation that comes after so many that change the store, if it changes the store too.
    pub fn fail_after(&self, changes: u64, fault: Fault) {
        self.state().placed = Some((changes, fault));
    }

    /// Refuses or loses this share of all operations, the same ones for the same seed and calls.
    /// Zero ends it.
    pub fn fail_at_random(&self, seed: u64, per_mille: u64) {
        self.state().random = Random { dice: Dice::new(seed), per_mille };
    }

    /// Ends the process that uses the store: after so many more operations that change it, each
    /// operation is refused, reads too.
    pub fn crash_after(&self, changes: u64) {
        self.state().changes_left = Some(changes);
    }

    /// Does this just before the next put to a path that ends so: a rival wins the race, each time.
    pub fn before_put(&self, path_end: &str, rival: impl Future<Output = ()> + Send + 'static) {
        self.state().rivals.0.push((path_end.to_owned(), Box::pin(rival)));
    }

    /// Starts a new process: what was told is forgotten, what happened stays.
    pub fn restart(&self) {
        *self.state() = State::default();
    }

    /// Whether the crash has come.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Ends when the crash has come. For one waiter.
    pub async fn crashed(&self) {
        self.death.notified().await;
    }

    /// What was asked for since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Lets the puts that came too late happen now, and says how each ended.
    pub async fn land_late(&self) -> Vec<Result<PutResult>> {
        let late = std::mem::take(&mut self.state().late);
        let mut ends = Vec::new();
        for (location, payload, options) in late {
            ends.push(self.inner.put_opts(&location, payload, options).await);
        }
        ends
    }

    /// The fault that an operation meets, if any.
    fn meet(&self, operation: Operation, location: &Path) -> Option<Fault> {
        let fault = self.state().meet(operation, location.as_ref());
        if self.has_crashed() {
            self.death.notify_one();
        }
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Faults to come.
#[derive(Debug, Default)]
struct State {
    told: Vec<Told>,
    placed: Option<(u64, Fault)>,
    random: Random,
    changes_left: Option<u64>,
    crashed: bool,
    late: Vec<(Path, PutPayload, PutOptions)>,
    rivals: Rivals,
    counts: Counts,
}

/// What others do just before a put, by the end of its path.
#[derive(Default)]
struct Rivals(Vec<(String, BoxFuture<'static, ()>)>);

impl Rivals {
    fn of(&mut self, path: &str) -> Option<BoxFuture<'static, ()>> {
        let at = self.0.iter().position(|(path_end, _)| path.ends_with(path_end))?;
        Some(self.0.remove(at).1)
    }
}

impl fmt::Debug for Rivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(path_end, _)| path_end)).finish()
    }
}

#[derive(Debug)]
struct Told {
    operation: Operation,
    path_end: String,
    fault: Fault,
}

impl State {
    fn meet(&mut self, operation: Operation, path: &str) -> Option<Fault> {
        self.counts.count(operation);
        if self.is_dead_at(operation) {
            return Some(Fault::Refused);
        }
        if let Some(fault) = self.placed_at(operation) {
            return Some(fault);
        }
        let told = self.told.iter().position(|told| told.operation == operation && path.ends_with(&told.path_end));
        told.map(|index| self.told.remove(index).fault).or_else(|| self.random.next())
    }

    fn is_dead_at(&mut self, operation: Operation) -> bool {
        match self.changes_left {
            Some(0) if operation.changes_store() => self.crashed = true,
            Some(left) if operation.changes_store() => self.changes_left = Some(left - 1),
            Some(_) | None => {}
        }
        self.crashed
    }

    fn placed_at(&mut self, operation: Operation) -> Option<Fault> {
        let (left, fault) = self.placed.filter(|_| operation.changes_store())?;
        self.placed = left.checked_sub(1).map(|left| (left, fault));
        (left == 0).then_some(fault)
    }
}

/// A share of operations by a seed.
#[derive(Debug, Default)]
struct Random {
    dice: Dice,
    per_mille: u64,
}

impl Random {
    fn next(&mut self) -> Option<Fault> {
        if self.per_mille == 0 {
            return None;
        }
        let mixed = self.dice.roll();
        let fault = if mixed >> 63 == 0 { Fault::Refused } else { Fault::Lost };
        (mixed % 1_000 < self.per_mille).then_some(fault)
    }
}

fn failed(operation: Operation, location: &Path) -> Error {
    Error::Generic { store: "FaultStore", source: format!("injected fault: {operation:?} {location}").into() }
}

fn forbidden(location: &Path) -> Error {
    Error::PermissionDenied { path: location.to_string(), source: "injected fault".into() }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let rival = self.state().rivals.of(location.as_ref());
        if let Some(rival) = rival {
            rival.await;
        }
        let Some(fault) = self.meet(Operation::Put, location) else {
            return self.inner.put_opts(location, payload, options).await;
        };
        match fault {
            Fault::Refused => {}
            Fault::Forbidden => return Err(forbidden(location)),
            Fault::Lost => drop(self.inner.put_opts(location, payload, options).await?),
            Fault::Late => self.state().late.push((location.clone(), payload, options)),
        }
        Err(failed(Operation::Put, location))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultUpload { inner, location: location.clone(), store: self.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.meet(Operation::Get, location) {
            Some(_) => Err(failed(Operation::Get, location)),
            None => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let passed = locations.and_then(move |location| {
            let fault = store.meet(Operation::Change, &location);
            std::future::ready(
                fault.map_or_else(|| Ok(location.clone()), |_| Err(failed(Operation::Change, &location))),
            )
        });
        self.inner.delete_stream(passed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        match self.meet(Operation::List, prefix) {
            Some(_) => futures::stream::once(std::future::ready(Err(failed(Operation::List, prefix)))).boxed(),
            None => self.inner.list(Some(prefix)),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        match self.meet(Operation::List, prefix) {
            Some(_) => Err(failed(Operation::List, prefix)),
            None => self.inner.list_with_delimiter(Some(prefix)).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match self.meet(Operation::Change, to) {
            Some(_) => Err(failed(Operation::Change, to)),
            None => self.inner.copy_opts(from, to, options).await,
        }
    }
}

/// An upload in parts through a [`FaultStore`].
#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    store: FaultStore,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.store.meet(Operation::Upload, &self.location) {
            Some(_) => Box::pin(std::future::ready(Err(failed(Operation::Upload, &self.location)))),
            None => self.inner.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.store.meet(Operation::Upload, &self.location) {
            Some(Fault::Lost) => drop(self.inner.complete().await?),
            Some(Fault::Refused | Fault::Forbidden | Fault::Late) => {}
            None => return self.inner.complete().await,
        }
        Err(failed(Operation::Upload, &self.location))
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
