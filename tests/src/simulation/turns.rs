//! Whose turn it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::chance::Chance;

/// Longer than a process computes between two steps, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(900);

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

    /// Mostly the plainest.
    fn drawn(chance: &mut Chance) -> Self {
        match chance.draw(100) {
            0..78 => Self::Goes,
            78..82 => Self::Refused,
            82..88 => Self::Lost,
            88..92 => Self::Late,
            92..96 => Self::Dies,
            _ => Self::Dead,
        }
    }
}

/// What waits for a turn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A process begins something.
    Wakes,
    /// It has asked for something, and the answer is slow.
    Reads(String),
    /// It is about to write something.
    Writes(String),
}

/// A process that waits for its turn, with all that it is about to do.
#[derive(Debug, Default)]
struct Actor {
    waits: Vec<(Step, oneshot::Sender<Fate>)>,
    is_done: bool,
}

#[derive(Debug)]
struct Inner {
    actors: Vec<Actor>,
    chance: Chance,
    story: Vec<String>,
}

/// Decisions by chance, and what they were.
#[derive(Debug)]
pub(super) struct Turns {
    inner: Mutex<Inner>,
    changed: Notify,
    /// Whether somebody waits for the runtime to have nothing to do.
    asks_for_rest: AtomicBool,
    rest: Notify,
}

/// What was chosen to happen next.
pub(super) enum Next {
    /// A process went on.
    Went,
    /// A late write is to land now.
    Ghost,
    /// All processes are done.
    End,
}

impl Turns {
    pub(super) fn new(chance: Chance, actors: usize) -> Self {
        let actors = (0..actors).map(|_| Actor::default()).collect();
        let inner = Inner { actors, chance, story: Vec::new() };
        Self {
            inner: Mutex::new(inner),
            changed: Notify::new(),
            asks_for_rest: AtomicBool::new(false),
            rest: Notify::new(),
        }
    }

    /// Waits until it is this process's turn, and says what becomes of what it is about to do.
    pub(super) async fn wait(&self, actor: usize, step: Step) -> Fate {
        let (sender, fate) = oneshot::channel();
        self.lock().actors[actor].waits.push((step, sender));
        self.changed.notify_one();
        fate.await.unwrap_or(Fate::Dies)
    }

    /// Says that a process has nothing more to do.
    pub(super) fn end(&self, actor: usize) {
        self.lock().actors[actor].is_done = true;
        self.changed.notify_one();
    }

    /// A number below `below`.
    pub(super) fn draw(&self, below: usize) -> usize {
        self.lock().chance.draw(below)
    }

    pub(super) fn drawn(&self) -> Vec<usize> {
        self.lock().chance.drawn()
    }

    pub(super) fn note(&self, line: String) {
        self.lock().story.push(line);
    }

    pub(super) fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }

    /// Says that the runtime has nothing to do but to wait.
    pub(super) fn rests(&self) {
        if self.asks_for_rest.swap(false, Ordering::SeqCst) {
            self.rest.notify_one();
        }
    }

    /// Waits until all processes wait or are done, and lets one of them go on.
    pub(super) async fn next(&self, has_ghosts: bool) -> Next {
        while !self.lock().actors.iter().all(|actor| actor.is_done || !actor.waits.is_empty()) {
            let changed = tokio::time::timeout(PATIENCE, self.changed.notified()).await;
            assert!(changed.is_ok(), "a process neither writes nor ends");
        }
        // What a process does beside what it waits for, it does now, however long that takes.
        self.asks_for_rest.store(true, Ordering::SeqCst);
        self.rest.notified().await;
        let mut inner = self.lock();
        let waiting: Vec<usize> = (0..inner.actors.len()).filter(|at| !inner.actors[*at].waits.is_empty()).collect();
        if waiting.is_empty() {
            return Next::End;
        }
        if has_ghosts && inner.chance.draw(4) == 3 {
            return Next::Ghost;
        }
        let at = waiting[inner.chance.draw(waiting.len())];
        let mut waits = std::mem::take(&mut inner.actors[at].waits);
        waits.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (step, sender) in waits {
            let (fate, line) = match step {
                Step::Wakes => (Fate::Goes, format!("wakes {at}")),
                Step::Reads(what) => (Fate::Goes, format!("slow {at} {what}")),
                Step::Writes(what) => {
                    let fate = Fate::drawn(&mut inner.chance);
                    (fate, format!("{} {at} {what}", fate.word()))
                }
            };
            inner.story.push(line);
            let _ = sender.send(fate);
        }
        Next::Went
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
