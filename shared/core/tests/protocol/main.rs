//! The commit protocol, checked exhaustively: three writers of one table in every order of their steps, with puts
//! that are refused, land unseen or land late, and writers that die and start anew.
//!
//! What a writer makes of a lost race is asked of [`headwater_core::commit::decide`] itself. The same world with
//! delta-rs's rule, or with one thing that `decide` looks at hidden from it, must break: so the model is able to.
#![cfg(test)]

mod model;
mod rules;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::model::{Protocol, Step};
use crate::rules::{Clause, Rule};
use crate::world::{Job, World};

/// Every combination of three jobs.
fn threes() -> Vec<[Job; 3]> {
    let mut all = Vec::new();
    for (at, first) in Job::ALL.into_iter().enumerate() {
        for (next, second) in Job::ALL.into_iter().enumerate().skip(at) {
            all.extend(Job::ALL.into_iter().skip(next).map(|third| [first, second, third]));
        }
    }
    // A table that is fed by messages can't be refreshed in full.
    all.retain(|jobs| !(jobs.contains(&Job::Messages) && jobs.contains(&Job::Refresh)));
    all
}

/// How the rule breaks, and by which steps, if it does.
fn break_of(rule: Rule, jobs: &[Job], faults: u8) -> Option<(&'static str, Path<World, Step>)> {
    let checker = Protocol { rule, jobs: jobs.to_vec(), versions: 2, faults, deaths: 0 }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let failures = Protocol::FAILURES.into_iter();
    failures
        .filter_map(|name| Some((name, checker.discovery(name)?)))
        .min_by_key(|(_, path)| path.clone().into_actions().len())
}

#[test]
fn no_order_of_steps_loses_or_doubles_a_row() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut states = 0;
    let mut seen = std::collections::BTreeSet::new();
    for jobs in threes() {
        let starts_anew = jobs.contains(&Job::Refresh) || jobs.contains(&Job::Replace);
        let versions = if starts_anew { 1 } else { 2 };
        let model = Protocol { rule: Rule::Headwater, jobs: jobs.to_vec(), versions, faults: 1, deaths: 1 };
        let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        states += checker.unique_state_count();
        for name in Protocol::FAILURES {
            if let Some(path) = checker.discovery(name) {
                panic!("{jobs:?}: {name}\n{path}");
            }
        }
        seen.extend(Protocol::EXAMPLES.into_iter().filter(|name| checker.discovery(name).is_some()));
    }
    assert!(states > 500_000, "{states} states of {} combinations", threes().len());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), Protocol::EXAMPLES, "steps that the model must be able to make");
}

#[test]
fn by_the_rule_of_delta_rs_two_compactions_double_rows() {
    let (what, path) = break_of(Rule::DeltaRs, &[Job::Compact, Job::Compact], 0).unwrap();
    assert_eq!(what, Protocol::SAME_ROWS);
    let world = path.last_state();
    assert_eq!((world.rows(), &world.expected), (vec![50, 50, 51, 51], &vec![50, 51]));
}

#[test]
fn by_the_rule_of_delta_rs_an_overwrite_leaves_old_rows_alive() {
    let (what, path) = break_of(Rule::DeltaRs, &[Job::Replace, Job::Compact], 0).unwrap();
    assert_eq!(what, Protocol::SAME_ROWS);
    let world = path.last_state();
    assert_eq!((world.rows(), &world.expected), (vec![50, 51, 99], &vec![99]));
}

#[test]
fn by_the_rule_of_delta_rs_a_lost_answer_adds_a_file_twice() {
    let (_, path) = break_of(Rule::DeltaRs, &[Job::Messages], 1).unwrap();
    let world = path.last_state();
    assert_eq!(world.expected, [20, 20, 50, 51], "who reads commit by commit reads its row twice: {world:?}");
}

#[test]
fn each_thing_that_is_looked_at_is_needed() {
    let cases: [(Clause, &[Job], u8); 6] = [
        (Clause::Token, &[Job::Compact], 1),
        (Clause::RemovedFiles, &[Job::Compact, Job::Compact], 0),
        (Clause::NewRows, &[Job::Replace, Job::Stream], 0),
        (Clause::Progress, &[Job::Stream, Job::Stream], 0),
        (Clause::Records, &[Job::Messages, Job::Messages], 0),
        (Clause::WrittenSince, &[Job::Messages, Job::Messages], 0),
    ];
    for (clause, jobs, faults) in cases {
        assert!(break_of(Rule::Headwater, jobs, faults).is_none(), "{clause:?}");
        let broken = break_of(Rule::Without(clause), jobs, faults);
        assert!(broken.is_some(), "without {clause:?} nothing breaks");
    }
}
