//! Whose turn it is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, oneshot};

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It happens.
    Goes,
    /// It doesn't, and the process is told.
    Refused,
    /// It happens, and the process is told that it didn't.
    Lost,
    /// The process is told that it didn't; it happens some time later.
    Late,
    /// The process dies before it.
    Dies,
    /// It happens, and the process dies before it hears of it.
    Dead,
}

impl Fate {
    const fn word(self) -> &'static str {
        match self {
            Self::Goes => "goes",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Dies => "dies",
            Self::Dead => "dead",
        }
    }
}

/// A process that waits for its turn, with all that it is about to do.
#[derive(Debug, Default)]
struct Actor {
    waits: Vec<(String, oneshot::Sender<Fate>)>,
    is_done: bool,
}

#[derive(Debug)]
struct Inner {
    actors: Vec<Actor>,
    chance: StdRng,
    story: Vec<String>,
}

/// The seed's decisions, and what they were.
#[derive(Debug)]
pub(super) struct Turns {
    inner: Mutex<Inner>,
    changed: Notify,
}

/// What the seed chose to happen next.
pub(super) enum Next {
    /// A process went on.
    Went,
    /// A late write is to land now.
    Ghost,
    /// All processes are done.
    End,
}

impl Turns {
    pub(super) fn new(seed: u64, actors: usize) -> Self {
        let actors = (0..actors).map(|_| Actor::default()).collect();
        let inner = Inner { actors, chance: StdRng::seed_from_u64(seed), story: Vec::new() };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// Waits until it is this process's turn, and says what becomes of what it is about to do.
    pub(super) async fn wait(&self, actor: usize, what: String) -> Fate {
        let (sender, fate) = oneshot::channel();
        self.lock().actors[actor].waits.push((what, sender));
        self.changed.notify_one();
        fate.await.unwrap_or(Fate::Dies)
    }

    /// Says that a process has nothing more to do.
    pub(super) fn end(&self, actor: usize) {
        self.lock().actors[actor].is_done = true;
        self.changed.notify_one();
    }

    /// A number below `below`, by the seed.
    pub(super) fn draw(&self, below: usize) -> usize {
        self.lock().chance.random_range(0..below)
    }

    pub(super) fn note(&self, line: String) {
        self.lock().story.push(line);
    }

    pub(super) fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }

    /// Waits until all processes wait or are done, and lets one of them go on.
    pub(super) async fn next(&self, has_ghosts: bool) -> Next {
        while !self.lock().actors.iter().all(|actor| actor.is_done || !actor.waits.is_empty()) {
            let changed = tokio::time::timeout(Duration::from_secs(120), self.changed.notified()).await;
            assert!(changed.is_ok(), "a process neither writes nor ends");
        }
        let mut inner = self.lock();
        let waiting: Vec<usize> = (0..inner.actors.len()).filter(|at| !inner.actors[*at].waits.is_empty()).collect();
        if waiting.is_empty() {
            return Next::End;
        }
        if has_ghosts && inner.chance.random_ratio(1, 4) {
            return Next::Ghost;
        }
        let at = waiting[inner.chance.random_range(0..waiting.len())];
        let mut waits = std::mem::take(&mut inner.actors[at].waits);
        waits.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (what, sender) in waits {
            let fate = if what == "wakes" { Fate::Goes } else { fate(&mut inner.chance) };
            inner.story.push(format!("{} {at} {what}", fate.word()));
            let _ = sender.send(fate);
        }
        Next::Went
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fate(chance: &mut StdRng) -> Fate {
    match chance.random_range(0..100) {
        0..4 => Fate::Refused,
        4..10 => Fate::Lost,
        10..14 => Fate::Late,
        14..18 => Fate::Dies,
        18..22 => Fate::Dead,
        _ => Fate::Goes,
    }
}
