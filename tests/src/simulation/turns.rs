//! Whose turn it is, and what time.
//!
//! Nobody is given a turn, and no time passes, before all that runs has come to rest. So between two decisions it doesn't
//! matter which thread is the quicker one.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::chance::Chance;
use super::rest::Threads;

/// For so long nothing happens, now and then, before a process begins something.
const PAUSE: Duration = Duration::from_secs(20);

/// For so long at first, and then for twice as long each time, time passes while a process sleeps.
const NAP: Duration = Duration::from_millis(50);

/// After so many times nothing will wake it.
const NAPS: u32 = 20;

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
    /// It is told that it asked in vain; it is told at once.
    Fails(String),
    /// A process begins something.
    Wakes,
    /// It has asked for something, and the answer is slow.
    Reads(String),
    /// It is about to write something.
    Writes(String),
}

/// Whether what was decided has been heard of.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Says so when it is dropped.
pub(super) struct Hears(Heard);

impl Drop for Hears {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// Who waits for a turn.
#[derive(Debug)]
struct Waiting {
    step: Step,
    turn: oneshot::Sender<Fate>,
    heard: Heard,
    /// It waits on another thread than the simulation's own.
    is_elsewhere: bool,
}

/// A process, with all that it is about to do.
#[derive(Debug, Default)]
struct Actor {
    waits: Vec<Waiting>,
    is_done: bool,
}

impl Actor {
    fn sleeps(&self) -> bool {
        !self.is_done && self.waits.iter().all(|waiting| waiting.turn.is_closed())
    }
}

#[derive(Debug)]
struct Inner {
    actors: Vec<Actor>,
    chance: Chance,
    story: Vec<String>,
    /// Decisions that nobody has heard of so far.
    unheard: Vec<Heard>,
    is_over: bool,
}

/// Time that passes, and whether it has.
type Passing = (Duration, Hears);

/// Decisions by chance, and what they were.
#[derive(Debug)]
pub(super) struct Turns {
    inner: Mutex<Inner>,
    home: ThreadId,
    /// Whether the runtime says that it has something to do.
    is_at_work: AtomicBool,
}

/// What was chosen to happen next.
enum Next {
    /// A process goes on.
    Turn(usize),
    /// A late write is to land now.
    Ghost,
    /// Time is to pass until nobody sleeps.
    Nap,
    /// All processes are done.
    End,
}

impl Turns {
    /// Of processes that live on the thread that asks, and beside it.
    pub(super) fn new(chance: Chance, actors: usize) -> Self {
        let actors = (0..actors).map(|_| Actor::default()).collect();
        let inner = Inner { actors, chance, story: Vec::new(), unheard: Vec::new(), is_over: false };
        Self { inner: Mutex::new(inner), home: thread::current().id(), is_at_work: AtomicBool::new(true) }
    }

    /// Waits until it is this process's turn, and says what becomes of what it is about to do.
    pub(super) async fn wait(&self, actor: usize, step: Step) -> Fate {
        let (turn, fate) = oneshot::channel();
        let hears = Hears(Heard::default());
        let is_elsewhere = thread::current().id() != self.home;
        {
            let mut inner = self.lock();
            if inner.is_over {
                return Fate::Dies;
            }
            inner.actors[actor].waits.push(Waiting { step, turn, heard: hears.0.clone(), is_elsewhere });
        }
        fate.await.unwrap_or(Fate::Dies)
    }

    /// Says whether the runtime has something to do.
    pub(super) fn works(&self, is_at_work: bool) {
        self.is_at_work.store(is_at_work, Ordering::SeqCst);
    }

    /// Says that a process has nothing more to do.
    pub(super) fn end(&self, actor: usize) {
        self.lock().actors[actor].is_done = true;
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

    /// Gives no more turns: whoever waits for one dies.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.is_over = true;
        inner.actors.iter_mut().for_each(|actor| actor.waits.clear());
    }

    /// Lets processes go on by chance until all are done, and what comes late land. This thread must be none of theirs.
    pub(super) fn direct(&self, clock: &Clock, ghosts: &impl Landing) {
        let mut threads = Threads::others();
        while let Some(next) = self.next(&mut threads, ghosts) {
            match next {
                Next::Turn(at) => {
                    if self.lock().pauses(at) {
                        clock.passes(PAUSE, self);
                        self.comes_to_rest(&mut threads);
                    }
                    self.lock().go(at);
                }
                Next::Ghost => {
                    let landed = ghosts.land();
                    self.note(format!("lands {landed}"));
                }
                Next::Nap => self.wakes_all(&mut threads, clock),
                Next::End => return,
            }
        }
    }

    /// Lets time pass until nobody sleeps. How long somebody meant to sleep may hang on chance of its own.
    fn wakes_all(&self, threads: &mut Threads, clock: &Clock) {
        for naps in 0..NAPS {
            clock.passes(NAP * 2_u32.pow(naps), self);
            self.comes_to_rest(threads);
            let inner = self.lock();
            if inner.is_over || !inner.actors.iter().any(Actor::sleeps) {
                return;
            }
        }
        self.stalls("a process neither asks for anything nor ends");
    }

    /// What is to happen next, once all is at rest; `None` if the simulation is over.
    fn next(&self, threads: &mut Threads, ghosts: &impl Landing) -> Option<Next> {
        self.comes_to_rest(threads);
        let mut inner = self.lock();
        if inner.is_over { None } else { Some(inner.next(!ghosts.is_empty())) }
    }

    /// Waits until nothing runs and whoever asked in vain has been told.
    fn comes_to_rest(&self, threads: &mut Threads) {
        loop {
            threads.rest(|| self.is_at_work.load(Ordering::SeqCst), || self.lock().is_over);
            let mut inner = self.lock();
            inner.unheard.retain(|heard| !heard.is_so());
            let answered = match inner.unheard.is_empty() {
                true => inner.answer(|waiting| matches!(waiting.step, Step::Fails(_))),
                // The simulation's own thread waits for another one's work, such as a checkpoint.
                false => inner.answer(|waiting| waiting.is_elsewhere),
            };
            if inner.is_over || !answered {
                return;
            }
        }
    }

    /// Ends the process: whoever waits would wait for ever.
    fn stalls(&self, why: &str) -> ! {
        eprintln!("{why}; what happened:\n{}", self.story().join("\n"));
        std::process::abort();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Decides by chance.
    fn next(&mut self, has_ghosts: bool) -> Next {
        for actor in &mut self.actors {
            actor.waits.retain(|waiting| !waiting.turn.is_closed());
        }
        let waiting: Vec<usize> = (0..self.actors.len()).filter(|at| !self.actors[*at].waits.is_empty()).collect();
        let sleep = self.actors.iter().any(Actor::sleeps);
        if waiting.is_empty() && !sleep {
            return Next::End;
        }
        if has_ghosts && self.chance.draw(4) == 3 {
            return Next::Ghost;
        }
        if waiting.is_empty() || (sleep && self.chance.draw(2) == 0) {
            return Next::Nap;
        }
        Next::Turn(waiting[self.chance.draw(waiting.len())])
    }

    /// Whether time passes before a process begins what it waits for.
    fn pauses(&mut self, at: usize) -> bool {
        let pauses =
            self.actors[at].waits.iter().any(|waiting| waiting.step == Step::Wakes) && self.chance.draw(6) == 5;
        if pauses {
            self.story.push(format!("passes {PAUSE:?}"));
        }
        pauses
    }

    /// Lets a process go on, with the first by name of what it is about to do.
    fn go(&mut self, at: usize) {
        let waits = &mut self.actors[at].waits;
        waits.retain(|waiting| !waiting.turn.is_closed());
        waits.sort_by(|a, b| a.step.cmp(&b.step));
        if waits.is_empty() {
            return;
        }
        let Waiting { step, turn, heard, .. } = waits.remove(0);
        let (fate, line) = match step {
            Step::Fails(what) => (Fate::Goes, format!("fails {at} {what}")),
            Step::Wakes => (Fate::Goes, format!("wakes {at}")),
            Step::Reads(what) => (Fate::Goes, format!("slow {at} {what}")),
            Step::Writes(what) => {
                let fate = Fate::drawn(&mut self.chance);
                (fate, format!("{} {at} {what}", fate.word()))
            }
        };
        self.story.push(line);
        self.unheard.push(heard);
        let _ = turn.send(fate);
    }

    /// Lets the first of those go on that are meant, if there are any.
    fn answer(&mut self, is_meant: impl Fn(&Waiting) -> bool) -> bool {
        for at in 0..self.actors.len() {
            let waits = &mut self.actors[at].waits;
            waits.retain(|waiting| !waiting.turn.is_closed());
            let (meant, others): (Vec<_>, _) = mem::take(waits).into_iter().partition(&is_meant);
            if meant.is_empty() {
                *waits = others;
                continue;
            }
            *waits = meant;
            self.go(at);
            self.actors[at].waits.extend(others);
            return true;
        }
        false
    }
}

/// What lands late.
pub(super) trait Landing {
    fn is_empty(&self) -> bool;

    /// Lets one land, and says whether it could.
    fn land(&self) -> bool;
}

/// Time, which passes when somebody says so.
#[derive(Debug)]
pub(super) struct Clock(UnboundedSender<Passing>);

impl Clock {
    /// A clock, and what it sends to [`follow`].
    pub(super) fn new() -> (Self, UnboundedReceiver<Passing>) {
        let (sender, passing) = unbounded_channel();
        (Self(sender), passing)
    }

    fn passes(&self, time: Duration, turns: &Turns) {
        let heard = Heard::default();
        turns.lock().unheard.push(heard.clone());
        let _ = self.0.send((time, Hears(heard)));
    }
}

/// Lets time pass as the clock says, until there is no clock.
pub(super) async fn follow(mut passing: UnboundedReceiver<Passing>) {
    while let Some((time, hears)) = passing.recv().await {
        tokio::time::advance(time).await;
        drop(hears);
    }
}
