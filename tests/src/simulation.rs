//! Simulation: the real functions as several processes on one lake, one step at a time in an order that a seed
//! decides, while processes die, answers are lost, writes come late and messages come twice. Their clocks differ, and another
//! engine writes to one of their tables.
//!
//! A process runs alone until it is about to write; then the seed says who goes on, and what becomes of the write. So
//! a seed is a schedule: a failing one is printed with what happened, and fails again when it is tried alone
//! (`HEADWATER_SIMULATION_SEED=7`). `HEADWATER_SIMULATION_SEEDS=1000` tries more of them.

mod actors;
mod evidence;
mod store;
mod turns;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::World;

/// Seeds that are tried unless the environment says otherwise.
const SEEDS: u64 = 24;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.trim().parse().ok())
}

/// One simulation, from the first message to what is in the tables at the end; gives what happened, step by step.
fn simulate(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::new(seed);
    let run = || runtime.block_on(Box::pin(actors::play(&world)));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        eprintln!("HEADWATER_SIMULATION_SEED={seed} fails; what happened:\n{}", world.turns.story().join("\n"));
        resume_unwind(panic);
    }
    world.turns.story()
}

#[test]
fn nothing_is_lost_or_doubled_in_any_schedule() {
    if let Some(seed) = number("HEADWATER_SIMULATION_SEED") {
        println!("{}", simulate(seed).join("\n"));
        return;
    }
    let seeds = number("HEADWATER_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let mut fates = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        for line in simulate(seed) {
            let fate = line.split(' ').next().unwrap_or_default().to_owned();
            *fates.entry(fate).or_insert(0_u64) += 1;
        }
    }
    println!("{seeds} seeds: {fates:?}");
    for fate in ["goes", "refused", "lost", "late", "lands", "dies", "dead", "outside"] {
        assert!(fates.contains_key(fate), "no write of {seeds} seeds met the fate `{fate}`: {fates:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    assert_eq!(simulate(3), simulate(3));
}
