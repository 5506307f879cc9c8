//! Whose turn it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::chance::Chance;
use super::rest::Rest;

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
    /// It asks for something, and is answered before anybody else goes on.
    Asks(String),
    /// A process begins something.
    Wakes,
    /// It has asked for something, and the answer is slow.
    Reads(String),
    /// It is about to write something.
    Writes(String),
}

/// Who waits for a turn.
#[derive(Debug)]
struct Waiting {
    step: Step,
    turn: oneshot::Sender<Fate>,
    /// By which its thread is known, if it isn't the simulation's own.
    number: Option<u64>,
}

/// A process, with all that it is about to do.
#[derive(Debug, Default)]
struct Actor {
    waits: Vec<Waiting>,
    is_done: bool,
}

impl Actor {
    /// What it does first: names say which, not chance.
    fn first(&mut self) -> Option<&Waiting> {
        self.waits.retain(|waiting| !waiting.turn.is_closed());
        self.waits.sort_by(|a, b| a.step.cmp(&b.step));
        self.waits.first()
    }
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
    pub(super) rest: Arc<Rest>,
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
        Self { inner: Mutex::new(inner), rest: Arc::default() }
    }

    /// Waits until it is this process's turn, and says what becomes of what it is about to do.
    pub(super) async fn wait(&self, actor: usize, step: Step) -> Fate {
        let Some(asking) = self.rest.asking().await else { return Fate::Goes };
        let (turn, fate) = oneshot::channel();
        self.lock().actors[actor].waits.push(Waiting { step, turn, number: asking.number() });
        asking.waits();
        fate.await.unwrap_or(Fate::Dies)
    }

    /// Says that a process has nothing more to do.
    pub(super) fn end(&self, actor: usize) {
        self.lock().actors[actor].is_done = true;
        self.rest.changes();
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

    /// Waits until all processes wait or are done, and lets one of them go on.
    pub(super) async fn next(&self, has_ghosts: bool) -> Next {
        loop {
            self.rest.comes().await;
            match self.answered() {
                Some(()) => {}
                None if self.is_still() => break,
                None => self.rest.change().await,
            }
        }
        let mut inner = self.lock();
        let waiting: Vec<usize> = (0..inner.actors.len()).filter(|at| !inner.actors[*at].waits.is_empty()).collect();
        if waiting.is_empty() {
            return Next::End;
        }
        if has_ghosts && inner.chance.draw(4) == 3 {
            return Next::Ghost;
        }
        let at = waiting[inner.chance.draw(waiting.len())];
        self.goes_on(&mut inner, at);
        Next::Went
    }

    /// Lets one go on that only asks for something, if there is one.
    fn answered(&self) -> Option<()> {
        let mut inner = self.lock();
        let asks = |actor: &mut Actor| actor.first().is_some_and(|waiting| matches!(waiting.step, Step::Asks(_)));
        let at = inner.actors.iter_mut().position(asks)?;
        self.goes_on(&mut inner, at);
        Some(())
    }

    /// Whether all processes wait or are done.
    fn is_still(&self) -> bool {
        self.lock().actors.iter_mut().all(|actor| actor.first().is_some() || actor.is_done)
    }

    /// Lets the first go on of all that a process is about to do.
    fn goes_on(&self, inner: &mut Inner, at: usize) {
        let Waiting { step, turn, number } = inner.actors[at].waits.remove(0);
        let fate = match &step {
            Step::Asks(_) | Step::Wakes | Step::Reads(_) => Fate::Goes,
            Step::Writes(_) => Fate::drawn(&mut inner.chance),
        };
        match step {
            Step::Asks(_) => {}
            Step::Wakes => inner.story.push(format!("wakes {at}")),
            Step::Reads(what) => inner.story.push(format!("slow {at} {what}")),
            Step::Writes(what) => inner.story.push(format!("{} {at} {what}", fate.word())),
        }
        self.rest.goes_on(number);
        let _ = turn.send(fate);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
