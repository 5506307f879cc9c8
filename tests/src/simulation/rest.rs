//! When nothing in a simulation does anything any more until somebody is given a turn.
//!
//! All runs on one thread, but for what waits for it on threads of the runtime's pool: decoding, encoding, and the log's library, which has
//! its reads done on one more thread. A thread of the pool lives for what it does and no longer, so those that live are counted; the
//! ones that wait for a turn are known by the threads that ask for it on their behalf. So rest isn't guessed by the clock:
//! however busy the machine is, it is the same moment of the same run.

use std::collections::{BTreeMap, HashSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Longer than a process computes between two steps, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often a thread of the log's library lets the rest of what it has begun ask too, before it waits.
const YIELDS: usize = 16;

/// What a simulation's threads do.
#[derive(Debug, Default)]
pub(super) struct Rest {
    changed: Notify,
    /// Somebody waits for rest.
    is_asked: AtomicBool,
    is_parked: AtomicBool,
    begun: AtomicUsize,
    ended: AtomicUsize,
    processes: Arc<Processes>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    home: Option<ThreadId>,
    /// Those who ask for turns on other threads, by a number of each, and whether they wait by now.
    elsewhere: BTreeMap<u64, (ThreadId, bool)>,
    asked_elsewhere: u64,
    /// What there had been when the runtime had nothing to do the last time.
    last: Option<(usize, u64)>,
}

/// Whether the processes have something to do: they are no task of the runtime's, which doesn't know.
#[derive(Debug, Default)]
struct Processes {
    are_woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Processes {
    fn wake(self: Arc<Self>) {
        self.are_woken.store(true, Ordering::SeqCst);
        self.outer.wake();
    }
}

impl State {
    /// Of the pool, since each of them has waits on a thread of its own.
    fn waiting_threads(&self) -> usize {
        let waiting = self.elsewhere.values().filter(|(_, waits)| *waits);
        waiting.map(|(thread, _)| thread).collect::<HashSet<_>>().len()
    }
}

impl Rest {
    /// The runtime of a simulation: this thread, and a pool whose threads are counted.
    pub(super) fn runtime(self: &Arc<Self>) -> Runtime {
        self.state().home = Some(std::thread::current().id());
        let [begins, ends, parks, goes_on] = std::array::from_fn(|_| Arc::clone(self));
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all().thread_keep_alive(Duration::ZERO);
        // The name is asked for by whoever has something for the pool to do, before that begins.
        runtime.thread_name_fn(move || {
            begins.begun.fetch_add(1, Ordering::SeqCst);
            "simulation".to_owned()
        });
        runtime.on_thread_stop(move || {
            ends.ended.fetch_add(1, Ordering::SeqCst);
            ends.changed.notify_one();
        });
        runtime.on_thread_park(move || parks.parks());
        runtime.on_thread_unpark(move || goes_on.is_parked.store(false, Ordering::SeqCst));
        runtime.build().unwrap()
    }

    /// Runs the processes, and keeps in mind whether they have something to do.
    pub(super) async fn watch<T>(&self, processes: impl Future<Output = T>) -> T {
        let mut processes = Box::pin(processes);
        let waker = Waker::from(Arc::clone(&self.processes));
        self.processes.are_woken.store(true, Ordering::SeqCst);
        poll_fn(|context| {
            self.processes.outer.register(context.waker());
            match self.processes.are_woken.swap(false, Ordering::SeqCst) {
                true => processes.as_mut().poll(&mut Context::from_waker(&waker)),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Whether this is the simulation's own thread.
    pub(super) fn is_home(&self) -> bool {
        self.state().home == Some(std::thread::current().id())
    }

    /// Ends when all that goes on waits for a turn, or for the clock.
    pub(super) async fn comes(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        while self.is_asked.load(Ordering::SeqCst) {
            self.change().await;
        }
    }

    /// Ends when there is something new.
    pub(super) async fn change(&self) {
        let changed = tokio::time::timeout(PATIENCE, self.changed.notified()).await;
        assert!(changed.is_ok(), "a process neither writes nor ends");
    }

    /// Says that there is something new.
    pub(super) fn changes(&self) {
        self.changed.notify_one();
    }

    /// Says that a turn is asked for; `None` where nobody could give one.
    pub(super) async fn asking(&self) -> Option<Asking<'_>> {
        let Some(number) = self.asked_elsewhere() else { return Some(Asking { rest: self, elsewhere: None }) };
        let asking = Asking { rest: self, elsewhere: Some(number) };
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        while !self.is_parked.load(Ordering::SeqCst) {
            // The simulation's own thread waits for the answer, not one of the pool: a checkpoint is made so.
            if self.at_work() == self.state().waiting_threads() {
                return None;
            }
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        Some(asking)
    }

    /// The number of who asks on another thread than the simulation's own.
    fn asked_elsewhere(&self) -> Option<u64> {
        let thread = std::thread::current().id();
        let mut state = self.state();
        if state.home == Some(thread) {
            return None;
        }
        state.asked_elsewhere += 1;
        let number = state.asked_elsewhere;
        state.elsewhere.insert(number, (thread, false));
        Some(number)
    }

    /// Says that who asked by this number goes on.
    pub(super) fn goes_on(&self, number: Option<u64>) {
        number.into_iter().for_each(|number| self.set_waiting(number, false));
    }

    fn set_waiting(&self, number: u64, waits: bool) {
        if let Some(asked) = self.state().elsewhere.get_mut(&number) {
            asked.1 = waits;
        }
    }

    fn at_work(&self) -> usize {
        let ended = self.ended.load(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) - ended
    }

    /// The runtime has nothing to do. What other threads have given it last may be on its way, so it is looked at
    /// twice: once nothing works elsewhere, and again when that has been taken up.
    fn parks(&self) {
        self.is_parked.store(true, Ordering::SeqCst);
        if !self.is_asked.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state();
        let all_wait = state.elsewhere.values().all(|(_, waits)| *waits);
        let is_woken = self.processes.are_woken.load(Ordering::SeqCst);
        if is_woken || !all_wait || self.at_work() != state.waiting_threads() {
            state.last = None;
            return;
        }
        let now = Some((self.begun.load(Ordering::SeqCst), state.asked_elsewhere));
        if std::mem::replace(&mut state.last, now) == now {
            state.last = None;
            self.is_asked.store(false, Ordering::SeqCst);
        }
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who asks for a turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    rest: &'a Rest,
    elsewhere: Option<u64>,
}

impl Asking<'_> {
    /// The number by which it is known, if it asks on another thread than the simulation's own.
    pub(super) const fn number(&self) -> Option<u64> {
        self.elsewhere
    }

    /// Says that from now on it does nothing but wait.
    pub(super) fn waits(&self) {
        self.elsewhere.into_iter().for_each(|number| self.rest.set_waiting(number, true));
        self.rest.changes();
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.elsewhere {
            self.rest.state().elsewhere.remove(&number);
            self.rest.changes();
        }
    }
}
