//! The steps of writers and of the store.

use std::collections::BTreeSet;

use headwater_core::invariants::{AddedFile, CommitFacts, log_holds};
use stateright::{Model, Property};

use crate::rules::{Clause, Rule, Verdict};
use crate::world::{App, Attempt, Entry, Job, MESSAGE, Phase, REPLACEMENT, World};

/// Writers by one rule, with so much that may go wrong.
#[derive(Debug, Clone)]
pub(crate) struct Protocol {
    pub(crate) rule: Rule,
    pub(crate) jobs: Vec<Job>,
    /// Versions of the source of streams.
    pub(crate) versions: i8,
    /// Puts that are refused, unseen or late.
    pub(crate) faults: u8,
    pub(crate) deaths: u8,
}

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// The writer hears what happened.
    Heard,
    /// Nothing happens, and the writer doesn't know that.
    Refused,
    /// It happens if it can, and the writer doesn't hear of it.
    Lost,
    /// It happens later, if it still can.
    Late,
}

/// One step of one writer, or of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Takes a message.
    Receive(usize),
    /// Pins the table, computes and writes its file; a stream sees its source up to some version.
    Prepare(usize, i8),
    /// Puts the commit.
    Put(usize, Fate),
    /// Reads the winners and decides.
    Look(usize),
    /// Can't read the winners.
    LookInVain(usize),
    /// Dies, and a new process has the same job.
    Die(usize),
    /// A late put reaches the store.
    Land(usize, Entry),
}

impl Protocol {
    /// A reader sees other rows than the commits mean.
    pub(crate) const SAME_ROWS: &str = "a reader sees what the commits mean";
    /// A row came twice.
    pub(crate) const ONCE: &str = "no row of a source comes twice";
    /// The log breaks a promise.
    pub(crate) const LOG: &str = "the log holds";
    /// A file that readers need was deleted.
    pub(crate) const FILES: &str = "no live file is deleted";
    /// All is done, and a row is missing.
    pub(crate) const COMPLETE: &str = "at the end each row is there";
    /// A writer goes on for ever, or stops early.
    pub(crate) const ENDS: &str = "every writer ends";

    /// What must never happen.
    pub(crate) const FAILURES: [&str; 6] =
        [Self::SAME_ROWS, Self::ONCE, Self::LOG, Self::FILES, Self::COMPLETE, Self::ENDS];
    /// What some combination of jobs must be able to come to, in the order of the alphabet.
    pub(crate) const EXAMPLES: [&str; 4] = [
        "a put of the dead can land",
        "a put of the dead is too late",
        "a race is lost for good",
        "an unseen commit is there",
    ];

    /// The commit that a writer prepares, by the table as it is now; `None` if there is nothing to do.
    fn prepared(&self, world: &World, at: usize, upto: i8) -> Option<Attempt> {
        let token = (u8::try_from(at).ok()?, world.writers[at].attempts);
        let live = world.live();
        let all: BTreeSet<_> = live.keys().copied().collect();
        let entry = |adds, removes, txn| Entry { token, adds, removes, data_change: true, txn };
        let (entry, from, replaces_table) = match self.jobs[at] {
            Job::Stream => {
                let from = world.progress(App::Stream);
                let first = from.unwrap_or(0).max(0) + 1;
                let rows: Vec<u8> = (first..=upto).filter_map(|row| u8::try_from(row).ok()).collect();
                (
                    entry(Some(rows).filter(|rows| !rows.is_empty()), BTreeSet::new(), Some((App::Stream, upto))),
                    from,
                    false,
                )
            }
            Job::Messages => {
                let Phase::Received { entries, again } = world.writers[at].phase else { return None };
                let since = |file| world.log.iter().skip(entries).any(|entry| entry.token == file);
                let sees_new = !self.rule.hides(Clause::WrittenSince);
                let mut looked_at = live.iter().filter(|(file, _)| again || (sees_new && since(**file)));
                if looked_at.any(|(_, rows)| rows.contains(&MESSAGE)) {
                    return None;
                }
                (entry(Some(vec![MESSAGE]), BTreeSet::new(), None), None, false)
            }
            Job::Compact if live.len() < 2 => return None,
            Job::Compact => (Entry { data_change: false, ..entry(Some(world.rows()), all, None) }, None, false),
            Job::Replace => {
                (entry(Some(vec![REPLACEMENT]), all, Some((App::View, 1))), world.progress(App::View), true)
            }
            Job::Refresh => (entry(None, all, Some((App::Stream, -1))), None, true),
        };
        let is_done = match self.jobs[at] {
            Job::Stream => entry.adds.is_none(),
            Job::Replace => from == Some(1),
            Job::Refresh => entry.removes.is_empty(),
            Job::Messages | Job::Compact => false,
        };
        (!is_done).then_some(Attempt { entry, next: world.log.len(), from, replaces_table })
    }

    /// A writer whose commit is in the table, by itself or by somebody else.
    fn after_success(&self, at: usize) -> Phase {
        match self.jobs[at] {
            Job::Stream => Phase::Woken,
            Job::Messages | Job::Compact | Job::Replace | Job::Refresh => Phase::Done,
        }
    }

    /// A writer that must compute again.
    fn after_loss(&self, world: &World, at: usize) -> Phase {
        match self.jobs[at] {
            Job::Compact => Phase::Done,
            Job::Messages => Phase::Received { entries: world.log.len(), again: true },
            Job::Stream | Job::Replace | Job::Refresh => Phase::Woken,
        }
    }

    fn put(&self, world: &mut World, at: usize, attempt: Attempt, fate: Fate) {
        world.faults -= u8::from(fate != Fate::Heard);
        let landed = match fate {
            Fate::Heard | Fate::Lost => land(world, attempt.next, &attempt.entry),
            Fate::Refused => false,
            Fate::Late => {
                world.late.insert((attempt.next, attempt.entry.clone()));
                false
            }
        };
        let is_known = landed && fate == Fate::Heard;
        world.writers[at].phase = if is_known { self.after_success(at) } else { Phase::Unsure(attempt) };
    }

    fn look(&self, world: &mut World, at: usize, attempt: Attempt) {
        let winners = world.log.get(attempt.next..).unwrap_or_default();
        let verdict = self.rule.judge(&attempt, winners);
        world.writers[at].phase = match verdict {
            Verdict::Ours => self.after_success(at),
            Verdict::Theirs => self.after_success(at),
            Verdict::Redo => self.after_loss(world, at),
            Verdict::Rebase => Phase::Ready(Attempt { next: world.log.len(), ..attempt.clone() }),
        };
        // Somebody else holds each version that the file was put at, so that it will never be committed.
        if matches!(verdict, Verdict::Theirs | Verdict::Redo) && attempt.entry.adds.is_some() {
            world.discarded.insert(attempt.entry.token);
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::founded(self.jobs.len(), self.faults, self.deaths)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (at, writer) in world.writers.iter().enumerate() {
            match &writer.phase {
                Phase::Woken => match self.jobs[at] {
                    Job::Messages => steps.push(Step::Receive(at)),
                    Job::Stream => {
                        let from = world.progress(App::Stream).unwrap_or(0).max(0);
                        steps.extend(
                            (from.min(self.versions - 1) + 1..=self.versions).map(|upto| Step::Prepare(at, upto)),
                        );
                    }
                    Job::Compact | Job::Replace | Job::Refresh => steps.push(Step::Prepare(at, 0)),
                },
                Phase::Received { .. } => steps.push(Step::Prepare(at, 0)),
                Phase::Ready(_) => {
                    steps.push(Step::Put(at, Fate::Heard));
                    let faults = [Fate::Refused, Fate::Lost, Fate::Late].into_iter().filter(|_| world.faults > 0);
                    steps.extend(faults.map(|fate| Step::Put(at, fate)));
                }
                Phase::Unsure(_) => {
                    steps.push(Step::Look(at));
                    steps.extend((world.faults > 0).then_some(Step::LookInVain(at)));
                }
                Phase::Done => continue,
            }
            if world.deaths > 0 && writer.phase != Phase::Woken {
                steps.push(Step::Die(at));
            }
        }
        steps.extend(world.late.iter().map(|(version, entry)| Step::Land(*version, entry.clone())));
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Receive(at) => {
                let (entries, again) = (world.log.len(), world.received);
                world.writers[at].phase = Phase::Received { entries, again };
                world.received = true;
            }
            Step::Prepare(at, upto) => {
                world.writers[at].phase = self.prepared(&world, at, upto).map_or(Phase::Done, Phase::Ready);
                world.writers[at].attempts += 1;
            }
            Step::Put(at, fate) => {
                let Phase::Ready(attempt) = world.writers[at].phase.clone() else { return None };
                self.put(&mut world, at, attempt, fate);
            }
            Step::Look(at) => {
                let Phase::Unsure(attempt) = world.writers[at].phase.clone() else { return None };
                self.look(&mut world, at, attempt);
            }
            Step::LookInVain(at) => {
                let Phase::Unsure(attempt) = world.writers[at].phase.clone() else { return None };
                world.faults -= 1;
                world.writers[at].phase = Phase::Ready(attempt);
            }
            Step::Die(at) => {
                world.deaths -= 1;
                world.writers[at].phase = Phase::Woken;
            }
            Step::Land(version, entry) => {
                world.late.remove(&(version, entry.clone()));
                land(&mut world, version, &entry);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Self::SAME_ROWS, |_, world: &World| world.broken != Some(Self::SAME_ROWS)),
            Property::always(Self::ONCE, |_, world: &World| world.broken != Some(Self::ONCE)),
            Property::always(Self::LOG, |_, world: &World| world.broken != Some(Self::LOG)),
            Property::always(Self::FILES, |_, world: &World| {
                world.live().keys().all(|file| !world.discarded.contains(file))
            }),
            Property::always(Self::COMPLETE, |model: &Self, world: &World| {
                !world.is_over() || model.is_complete(world)
            }),
            Property::eventually(Self::ENDS, |_, world: &World| world.is_over()),
            Property::sometimes(Self::EXAMPLES[0], |_, world: &World| {
                world.left_behind().any(|version| version == world.log.len())
            }),
            Property::sometimes(Self::EXAMPLES[1], |_, world: &World| {
                world.left_behind().any(|version| version < world.log.len())
            }),
            Property::sometimes(Self::EXAMPLES[2], |_, world: &World| !world.discarded.is_empty()),
            Property::sometimes(Self::EXAMPLES[3], |_, world: &World| {
                world
                    .writers
                    .iter()
                    .any(|writer| matches!(&writer.phase, Phase::Unsure(attempt) if world.log.contains(&attempt.entry)))
            }),
        ]
    }
}

impl Protocol {
    /// Each row that somebody was to bring is there, where nobody was to take rows away for good.
    fn is_complete(&self, world: &World) -> bool {
        if self.jobs.contains(&Job::Replace) {
            return world.expected.contains(&REPLACEMENT) || self.jobs.contains(&Job::Refresh);
        }
        let streamed = (1..=self.versions).all(|row| u8::try_from(row).is_ok_and(|row| world.expected.contains(&row)));
        // Whoever streams may have been done before all was taken away; the next one that is woken goes on.
        let restarted = self.jobs.contains(&Job::Refresh);
        let landed = world.expected.contains(&MESSAGE);
        (streamed || restarted || !self.jobs.contains(&Job::Stream)) && (landed || !self.jobs.contains(&Job::Messages))
    }
}

/// A put reaches the store, and is judged if it lands.
fn land(world: &mut World, version: usize, entry: &Entry) -> bool {
    let landed = world.land(version, entry);
    if landed && world.broken.is_none() {
        let comes_twice = world.expected.windows(2).any(|pair| pair[0] == pair[1]);
        world.broken = [
            (world.rows() != world.expected, Protocol::SAME_ROWS),
            (comes_twice, Protocol::ONCE),
            (log_holds(&facts(&world.log)).is_err(), Protocol::LOG),
        ]
        .into_iter()
        .find_map(|(is_broken, what)| is_broken.then_some(what));
    }
    landed
}

/// The log as the invariants of core read it.
fn facts(log: &[Entry]) -> Vec<CommitFacts> {
    let path = |(writer, attempt): &(u8, u8)| format!("{writer}.{attempt}");
    let file = |entry: &Entry| {
        let added = |rows: &Vec<u8>| AddedFile {
            path: path(&entry.token),
            rows: rows.len() as u64,
            data_change: entry.data_change,
            bytes: 1,
            written: 0,
        };
        entry.adds.iter().map(added).collect()
    };
    let txn = |(app, version): (App, i8)| (format!("{app:?}"), i64::from(version));
    let commit = |(version, entry): (usize, &Entry)| CommitFacts {
        version: version as u64,
        txns: entry.txn.into_iter().map(txn).collect(),
        adds: file(entry),
        removes: entry.removes.iter().map(path).collect(),
        report: None,
        totals: None,
    };
    log.iter().enumerate().map(commit).collect()
}
