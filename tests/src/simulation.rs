//! Simulation: the real functions as several processes on one lake, one step at a time in an order that a seed
//! decides, while processes die, answers are lost, writes come late and messages come twice. Their clocks differ, another
//! engine writes to one of their tables, and the store is in bad weather in half of the runs.
//!
//! A process runs alone until it is about to write; then the seed says who goes on, what becomes of the write, and what time it
//! is. So a seed is a schedule, the same each time: a failing one is printed with what happened, made smaller, and fails again
//! when it is tried alone: `HEADWATER_SIMULATION_SEED=7`, or `HEADWATER_SIMULATION_DRAWS` with the list that was printed.
//! `HEADWATER_SIMULATION_SEEDS=10000` tries more of them, `400..1000` those.
//!
//! One simulation runs at a time in a process, so that the system can tell when it is at rest (`rest`): each test here runs
//! itself in processes of their own.

mod actors;
mod chance;
mod evidence;
mod rest;
mod store;
mod turns;
mod world;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::runtime::Runtime;

use self::chance::{Draws, shrunk};
use self::world::World;
use crate::logs::redacted_logs;

/// Seeds that are tried unless the environment says otherwise.
const SEEDS: Range<u64> = 0..24;

/// Seeds that one process tries at least. It reads each pipeline once.
const PER_PROCESS: u64 = 6;

/// Processes for all seeds, about.
const PROCESSES: u64 = 16;

/// Simpler runs that are tried for one that fails.
const TRIES: usize = 120;

/// Processes at once for each core: they sleep now and then.
const PER_CORE: usize = 2;

/// Set where a test runs in a process of its own.
const ALONE: &str = "HEADWATER_SIMULATION_ALONE";

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

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

/// One simulation, from the first message to what is in the tables at the end.
async fn live(world: &World) {
    Box::pin(actors::play(world)).await;
    let lake = world.lake(Arc::new(world.store.clone()));
    Box::pin(actors::finish(world, &lake)).await;
    Box::pin(evidence::judge(world, &lake)).await;
}

/// One thread, and others for what would hold it up. No time passes but when it is told to.
fn runtime(world: &World) -> Runtime {
    let [parks, unparks] = [&world.turns; 2].map(Arc::clone);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.on_thread_park(move || parks.works(false)).on_thread_unpark(move || unparks.works(true));
    builder.enable_all().start_paused(true).build().unwrap()
}

fn simulate(world: &World) -> Result<Run, Failure> {
    let runtime = runtime(world);
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(Box::pin(live(world)))));
    world.turns.close();
    runtime.shutdown_background();
    let (story, draws) = (world.turns.story(), world.turns.drawn());
    match ended {
        Ok(()) => Ok(Run { story, draws }),
        Err(panic) => Err(Failure { story, draws, panic }),
    }
}

fn run(draws: &Draws) -> Result<Run, Failure> {
    simulate(&World::new(draws))
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

/// Seeds in a row, as the environment has them: so many, or from one to before another.
fn seeds(name: &str) -> Option<Range<u64>> {
    let text = variable(name)?;
    let (first, end) = text.split_once("..").unwrap_or(("0", &text));
    Some(first.parse().expect("a number of seeds")..end.parse().expect("a number of seeds"))
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

/// Whether this process runs this test alone.
fn is_alone() -> bool {
    variable(ALONE).is_some()
}

/// This test in a process of its own, with these variables.
fn alone(test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "1").envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// What this test says in a process of its own.
fn said(test: &str, variables: &[(&str, &str)]) -> String {
    let output = alone(test, variables).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

/// Tries seeds in processes of their own, several at once, until one fails.
fn each_of(seeds: &Range<u64>, per_process: u64, try_some: impl Fn(Range<u64>) + Sync) {
    let (next, fails) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        while !fails.load(Ordering::Relaxed) {
            let first = next.fetch_add(per_process, Ordering::Relaxed);
            if first >= seeds.end {
                return;
            }
            let tried = catch_unwind(AssertUnwindSafe(|| try_some(first..seeds.end.min(first + per_process))));
            if let Err(panic) = tried {
                fails.store(true, Ordering::Relaxed);
                resume_unwind(panic);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * PER_CORE;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// How a line begins that tells what runs met, and how often.
const MET: &str = "met:";

/// Tries seeds here, one after another, and says what they met.
fn try_here(seeds: Range<u64>) {
    println!();
    let mut met = BTreeMap::<String, u64>::new();
    for seed in seeds {
        match run(&Draws::Seed(seed)) {
            Ok(run) => {
                for line in run.story {
                    *met.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
                }
            }
            Err(failure) => fail(&format!("HEADWATER_SIMULATION_SEED={seed}"), failure),
        }
    }
    for (fate, times) in met {
        println!("{MET} {fate} {times}");
    }
}

#[test]
fn nothing_is_lost_or_doubled_in_any_schedule() {
    const NAME: &str = "simulation::nothing_is_lost_or_doubled_in_any_schedule";
    let seeds = seeds("HEADWATER_SIMULATION_SEEDS").unwrap_or(SEEDS);
    if let Some((name, draws)) = asked() {
        if !is_alone() {
            assert!(alone(NAME, &[]).status().unwrap().success(), "{name} fails");
            return;
        }
        match run(&draws) {
            Ok(run) => println!("{}", run.story.join("\n")),
            Err(failure) => fail(&name, failure),
        }
        return;
    }
    if is_alone() {
        return try_here(seeds);
    }
    let per_process = (seeds.end - seeds.start).div_ceil(PROCESSES).max(PER_PROCESS);
    let (began, met) = (Instant::now(), Mutex::new(BTreeMap::<String, u64>::new()));
    each_of(&seeds, per_process, |some| {
        if some.start > seeds.start && per_process > PER_PROCESS {
            println!("seed {} of {seeds:?} begins after {:.0?}", some.start, began.elapsed());
        }
        let told = said(NAME, &[("HEADWATER_SIMULATION_SEEDS", &format!("{}..{}", some.start, some.end))]);
        let mut met = met.lock().unwrap();
        for line in told.lines().filter_map(|line| line.strip_prefix(MET)) {
            let (fate, times) = line.trim().split_once(' ').expect("a fate, and how often it was met");
            *met.entry(fate.to_owned()).or_default() += times.parse::<u64>().unwrap();
        }
    });
    let met = met.into_inner().unwrap();
    println!("seeds {seeds:?} in {:?}: {met:?}", began.elapsed());
    for fate in
        ["goes", "refused", "lost", "late", "lands", "dies", "dead", "outside", "slow", "fails", "hit", "passes"]
    {
        assert!(met.contains_key(fate), "in seeds {seeds:?} nothing met the fate `{fate}`: {met:?}");
    }
}

/// Seeds that are tried in two processes, and by what they drew, unless `HEADWATER_SIMULATION_EXACT` names others.
const EXACT: Range<u64> = 0..8;

/// What happened, and what the logs say.
fn told(draws: &Draws) -> (Vec<usize>, String) {
    let world = World::new(draws);
    let run = simulate(&world).unwrap_or_else(|failure| resume_unwind(failure.panic));
    let lake = world.lake(Arc::new(world.store.clone()));
    let logs = runtime(&world).block_on(redacted_logs(&world.store, &lake));
    let logs = logs.replace(world.folder.path().to_str().unwrap(), "folder");
    (run.draws, format!("{}\n{logs}", run.story.join("\n")))
}

#[test]
fn the_same_seed_is_the_same_run() {
    const NAME: &str = "simulation::the_same_seed_is_the_same_run";
    const BY_DRAWS: &str = "by what was drawn";
    let seeds = seeds("HEADWATER_SIMULATION_EXACT").unwrap_or(EXACT);
    if is_alone() {
        for seed in seeds {
            let (draws, by_seed) = told(&Draws::Seed(seed));
            println!("{by_seed}\n{BY_DRAWS}");
            println!("{}\nend", told(&Draws::Given(draws)).1);
        }
        return;
    }
    let whole = |seed| {
        let world = World::new(&Draws::Seed(seed));
        (world.roles.len() == world::ROLES.len()).then_some(world.storm.is_some())
    };
    let both: BTreeSet<bool> = EXACT.filter_map(whole).collect();
    assert_eq!(both.len(), 2, "all processes in storms and in fair weather are among seeds {EXACT:?}");
    each_of(&seeds, 1, |one| {
        let variables = [("HEADWATER_SIMULATION_EXACT", &*format!("{}..{}", one.start, one.end))];
        let runs = [said(NAME, &variables), said(NAME, &variables)].map(|said| {
            let (before, after) = said.split_once(BY_DRAWS).expect("two runs");
            let steps = |text: &str| text.trim().lines().map(str::to_owned).collect::<Vec<_>>();
            let from = before.find('[').expect("what there is");
            let until = after.find("\nend").expect("the end of the second run");
            [steps(&before[from..]), steps(&after[..until])]
        });
        let first = &runs[0][0];
        for (how, run) in [("by its draws", &runs[0][1]), ("in another process", &runs[1][0]), ("both", &runs[1][1])] {
            let differ = first.iter().zip(run).find(|(one, other)| one != other);
            assert!(first == run, "seed {} {how}: {differ:#?} in:\n{}", one.start, first.join("\n"));
        }
    });
}

#[test]
fn a_bug_is_found_and_its_schedule_made_smaller() {
    const NAME: &str = "simulation::a_bug_is_found_and_its_schedule_made_smaller";
    if !is_alone() {
        said(NAME, &[]);
        return;
    }
    let forgetful = |draws: &Draws| simulate(&World::new(draws).forgetting());
    let is_fair = |seed: &u64| World::new(&Draws::Seed(*seed)).storm.is_none();
    let found = (0..50).filter(is_fair).find_map(|seed| forgetful(&Draws::Seed(seed)).err());
    let found = found.expect("a seed in which a message is forgotten").draws;
    let smallest = shrunk(found.clone(), 40, |draws| forgetful(&Draws::Given(draws.to_vec())).is_err());
    assert!(smallest.len() * 3 < found.len() * 2, "{} draws of {}", smallest.len(), found.len());
    let story = forgetful(&Draws::Given(smallest.clone())).err().unwrap().story;
    assert!(story.iter().any(|line| line.starts_with("dies ") || line.starts_with("dead ")), "{story:#?}");
    assert!(run(&Draws::Given(smallest)).is_ok(), "without the bug all goes well");
}
