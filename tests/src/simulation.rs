//! Simulation: the real functions as several processes on one lake, one step at a time in an order that a seed
//! decides, while processes die, answers are lost, writes come late and messages come twice. Their clocks differ, another
//! engine writes to one of their tables, and the store is in bad weather in half of the runs.
//!
//! A process runs alone until it is about to write; then the seed says who goes on, and what becomes of the write. So
//! a seed is a schedule: a failing one is printed with what happened, made smaller, and fails again when it is tried alone:
//! `HEADWATER_SIMULATION_SEED=7`, or `HEADWATER_SIMULATION_DRAWS` with the list that was printed.
//! `HEADWATER_SIMULATION_SEEDS=10000` tries more of them, `400..1000` those.

mod actors;
mod chance;
mod evidence;
mod store;
mod turns;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::chance::{Draws, shrunk};
use self::world::World;
use crate::logs::redacted_logs;

/// Seeds that are tried unless the environment says otherwise.
const SEEDS: u64 = 24;

/// Simpler runs that are tried for one that fails.
const TRIES: usize = 120;

/// After so many seeds it is told how far they are.
const PROGRESS: u64 = 100;

/// Runs at once for each core: they sleep now and then.
const PER_CORE: usize = 3;

/// What a run was.
struct Run {
    /// What happened, step by step.
    story: Vec<String>,
    /// What was drawn.
    draws: Vec<usize>,
}

/// A run that failed.
struct Failure {
    story: Vec<String>,
    draws: Vec<usize>,
    panic: Box<dyn Any + Send>,
}

/// How long the parts of runs took together.
#[derive(Debug, Default)]
struct Times {
    played: Duration,
    finished: Duration,
    judged: Duration,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

/// One simulation, from the first message to what is in the tables at the end.
async fn live(world: &World, times: &Mutex<Times>) {
    let began = Instant::now();
    Box::pin(actors::play(world)).await;
    let played = began.elapsed();
    let lake = world.lake(Arc::new(world.store.clone()));
    Box::pin(actors::finish(world, &lake)).await;
    let finished = began.elapsed();
    Box::pin(evidence::judge(world, &lake)).await;
    let mut times = times.lock().unwrap();
    times.played += played;
    times.finished += finished - played;
    times.judged += began.elapsed() - finished;
}

/// One thread, which says when it has nothing to do.
fn runtime(world: &World) -> Runtime {
    let turns = Arc::clone(&world.turns);
    tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(move || turns.rests()).build().unwrap()
}

fn simulate(world: &World, times: &Mutex<Times>) -> Result<Run, Failure> {
    let ended = catch_unwind(AssertUnwindSafe(|| runtime(world).block_on(Box::pin(live(world, times)))));
    let (story, draws) = (world.turns.story(), world.turns.drawn());
    match ended {
        Ok(()) => Ok(Run { story, draws }),
        Err(panic) => Err(Failure { story, draws, panic }),
    }
}

fn run(draws: &Draws) -> Result<Run, Failure> {
    simulate(&World::new(draws), &Mutex::default())
}

/// Makes a failing run smaller, prints it, and fails as it does.
fn fail(seed: &str, failure: Failure) -> ! {
    eprintln!("{seed} fails; what happened:\n{}", failure.story.join("\n"));
    let smallest = shrunk(failure.draws, TRIES, |draws| run(&Draws::Given(draws.to_vec())).is_err());
    let listed = smallest.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if let Err(smaller) = run(&Draws::Given(smallest)) {
        let story = smaller.story.join("\n");
        eprintln!("HEADWATER_SIMULATION_DRAWS={listed} fails too; what happened:\n{story}");
        resume_unwind(smaller.panic);
    }
    resume_unwind(failure.panic);
}

/// Seeds in a row: so many, or from one to before another.
fn seeds() -> Range<u64> {
    let Some(text) = variable("HEADWATER_SIMULATION_SEEDS") else { return 0..SEEDS };
    let (first, end) = text.split_once("..").unwrap_or(("0", &text));
    first.parse().expect("a number of seeds")..end.parse().expect("a number of seeds")
}

/// What the environment asks for in place of seeds in a row.
fn asked() -> Option<(String, Draws)> {
    if let Some(list) = variable("HEADWATER_SIMULATION_DRAWS") {
        let draws = list.split(',').map(|draw| draw.trim().parse().expect("a list of numbers"));
        return Some((format!("HEADWATER_SIMULATION_DRAWS={list}"), Draws::Given(draws.collect())));
    }
    let seed = number("HEADWATER_SIMULATION_SEED")?;
    Some((format!("HEADWATER_SIMULATION_SEED={seed}"), Draws::Seed(seed)))
}

#[test]
fn nothing_is_lost_or_doubled_in_any_schedule() {
    if let Some((name, draws)) = asked() {
        match run(&draws) {
            Ok(run) => println!("{}", run.story.join("\n")),
            Err(failure) => fail(&name, failure),
        }
        return;
    }
    let seeds = seeds();
    let (next, times, began) = (AtomicU64::new(seeds.start), Mutex::new(Times::default()), Instant::now());
    let (met, failed) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(None));
    let work = || {
        while failed.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if seed > seeds.start && seed % PROGRESS == 0 {
                println!("seed {seed} of {seeds:?} begins after {:.0?}", began.elapsed());
            }
            match simulate(&World::new(&Draws::Seed(seed)), &times) {
                Ok(run) => {
                    let mut met = met.lock().unwrap();
                    for line in run.story {
                        *met.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
                    }
                }
                Err(failure) => drop(failed.lock().unwrap().get_or_insert((seed, failure))),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * PER_CORE;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if let Some((seed, failure)) = failed.into_inner().unwrap() {
        fail(&format!("HEADWATER_SIMULATION_SEED={seed}"), failure);
    }
    let (met, times) = (met.into_inner().unwrap(), times.into_inner().unwrap());
    println!("seeds {seeds:?} in {:?} by {threads} threads: {met:?}; {times:?} of threads", began.elapsed());
    for fate in ["goes", "refused", "lost", "late", "lands", "dies", "dead", "outside", "slow", "hit"] {
        assert!(met.contains_key(fate), "in seeds {seeds:?} nothing met the fate `{fate}`: {met:?}");
    }
}

/// Seeds of runs that are the same each time.
fn exact_seeds() -> impl Iterator<Item = u64> {
    (0..).filter(|seed| World::new(&Draws::Seed(*seed)).is_exact())
}

#[test]
fn the_same_seed_is_the_same_run() {
    let told = |draws: &Draws| {
        let world = World::new(draws);
        let run = simulate(&world, &Mutex::default()).ok().unwrap();
        let lake = world.lake(Arc::new(world.store.clone()));
        let logs = runtime(&world).block_on(redacted_logs(&world.store, &lake));
        let logs = logs.replace(world.folder.path().to_str().unwrap(), "folder");
        (run.draws, run.story.join("\n"), logs)
    };
    for seed in exact_seeds().take(5) {
        let (draws, story, logs) = told(&Draws::Seed(seed));
        for (what, draws) in [("again", Draws::Seed(seed)), ("by its draws", Draws::Given(draws))] {
            let (_, same_story, same_logs) = told(&draws);
            assert_eq!(same_story, story, "seed {seed} {what}");
            assert_eq!(same_logs, logs, "seed {seed} {what}");
        }
    }
}

#[test]
fn a_bug_is_found_and_its_schedule_made_smaller() {
    let forgetful = |draws: &Draws| simulate(&World::new(draws).forgetting(), &Mutex::default());
    let found = exact_seeds().take(50).find_map(|seed| forgetful(&Draws::Seed(seed)).err());
    let found = found.expect("a seed in which a message is forgotten").draws;
    let smallest = shrunk(found.clone(), 40, |draws| forgetful(&Draws::Given(draws.to_vec())).is_err());
    assert!(smallest.len() * 3 < found.len() * 2, "{} draws of {}", smallest.len(), found.len());
    let story = forgetful(&Draws::Given(smallest.clone())).err().unwrap().story;
    assert!(story.iter().any(|line| line.starts_with("dies ") || line.starts_with("dead ")), "{story:#?}");
    assert!(run(&Draws::Given(smallest)).is_ok(), "without the bug all goes well");
}
