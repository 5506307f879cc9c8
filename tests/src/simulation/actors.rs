//! The processes, and what they do in their turns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use chrono::{DateTime, Duration, Utc};
use deltalake::protocol::SaveMode;
use futures::TryStreamExt;
use headwater_core::error::ErrorKind;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Message, MessageBatch};
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;
use object_store::path::Path;

use super::turns::{Clock, Landing, Step, follow};
use super::world::{Whereabouts, World};
use crate::lakes::{tick, wake, well};
use crate::tables::with_delta_rs;

/// Seconds that a process's clock may be wrong, to either side.
const SKEW: usize = 25;

/// Lets the processes run by chance, and what comes late land.
pub(super) async fn play(world: &World) {
    let (clock, passing) = Clock::new();
    let (turns, ghosts) = (Arc::clone(&world.turns), world.ghosts.clone());
    // While a thread of the pool is at work, no time passes by itself.
    let directed = tokio::task::spawn_blocking(move || turns.direct(&clock, &ghosts));
    let processes = futures::future::join_all((0..world.roles.len()).map(|actor| process(world, actor)));
    let (directed, ..) = tokio::join!(directed, processes, follow(passing));
    directed.unwrap();
    while !world.ghosts.is_empty() {
        world.ghosts.land();
    }
    tokio::time::resume();
}

/// One process after another in one role: each lives until it dies.
async fn process(world: &World, actor: usize) {
    let invocations = 2 + world.turns.draw(4);
    let Some(function) = world.roles[actor] else { return outside(world, actor, 3 * invocations).await };
    let seconds = world.turns.draw(2 * SKEW + 1);
    let skew = Duration::seconds(i64::try_from(seconds).unwrap_or_default() - SKEW as i64);
    let mut life = 0;
    let mut view = world.view(actor, life);
    let mut lake = None;
    for _ in 0..invocations {
        world.turns.wait(actor, Step::Wakes).await;
        let lake_now = lake.take().unwrap_or_else(|| world.lake(Arc::new(view.clone())));
        let messages = match function {
            FunctionKind::BronzeEvents => world.receive(),
            _ => Vec::new(),
        };
        if function == FunctionKind::BronzeEvents && messages.is_empty() {
            lake = Some(lake_now);
            continue;
        }
        let hits = view.hits();
        let report = tokio::select! {
            biased;
            () = view.died() => None,
            report = Box::pin(wake(&lake_now, function, cause(world, function, (&messages, Utc::now() + skew)))) => Some(report),
        };
        if view.hits() > hits {
            world.turns.note(format!("hit {actor} {} times", view.hits() - hits));
        }
        match report {
            Some(report) => {
                let is_done = |id: &str| report.retry.iter().all(|retry| retry.item != id);
                world.settle(&messages, Some(is_done));
                assert_eq!(wrongly_told(&report).next(), None, "{function:?} in a storm");
                lake = Some(lake_now);
            }
            None => {
                world.settle(&messages, None::<fn(&str) -> bool>);
                life += 1;
                view = world.view(actor, life);
            }
        }
    }
    world.turns.end(actor);
}

/// Whatever storage does and whoever wins races is worth another try: it is no bug, no fault of the data or the project.
fn wrongly_told(report: &Report) -> impl Iterator<Item = String> {
    report.flows.iter().filter_map(|flow| match &flow.outcome {
        Outcome::Failed { kind: ErrorKind::Unavailable | ErrorKind::Conflict, .. } => None,
        Outcome::Failed { kind, message } => Some(format!("{}: {kind:?}: {message}", flow.flow)),
        Outcome::NothingNew
        | Outcome::AlreadyApplied
        | Outcome::Committed { .. }
        | Outcome::Retryable { .. }
        | Outcome::Skipped { .. }
        | Outcome::Waiting { .. } => None,
    })
}

/// Another engine: it appends rows of its own to a table that functions write and read, without `txn` or report, and
/// goes by delta-rs's own rules for lost races.
async fn outside(world: &World, actor: usize, turns: usize) {
    let storage = world.storage(Arc::new(world.store.clone()));
    for _ in 0..turns {
        world.turns.wait(actor, Step::Wakes).await;
        let log = Path::from("silver/checked/_delta_log");
        if world.store.list(Some(&log)).try_next().await.unwrap().is_none() {
            continue;
        }
        let n = 1_000 + 2 * i32::try_from(world.outside().len()).unwrap();
        let key = format!("k{}", world.turns.draw(6));
        let columns: [(&str, ArrayRef); 2] =
            [("n", Arc::new(Int32Array::from(vec![n]))), ("k", Arc::new(StringArray::from(vec![key.clone()])))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let table = with_delta_rs(&storage, "silver/checked").await;
        table.write([rows]).with_save_mode(SaveMode::Append).await.unwrap();
        world.turns.note(format!("outside {n} {key}"));
        world.outside().push((i64::from(n), key));
    }
    world.turns.end(actor);
}

/// What wakes a function: messages, a timer, or commits of a table, whether there are new ones or not.
fn cause(world: &World, function: FunctionKind, (messages, received_at): (&[Message], DateTime<Utc>)) -> Cause {
    match function {
        FunctionKind::BronzeEvents => messages_of(messages.to_vec(), received_at),
        FunctionKind::Silver => match world.turns.draw(6) {
            0 | 1 => Cause::Timer(Vec::new()),
            at => Cause::Commits(vec![DatasetName::new(["sent", "filed", "checked"][at % 3])]),
        },
        FunctionKind::BronzeFiles | FunctionKind::Gold | FunctionKind::Compact => Cause::Timer(Vec::new()),
    }
}

fn messages_of(messages: Vec<Message>, received_at: DateTime<Utc>) -> Cause {
    Cause::Messages(MessageBatch { source: "events".to_owned(), messages, received_at })
}

/// What is left, undisturbed: every message is received until it is done.
pub(super) async fn finish(world: &World, lake: &Lake) {
    let left: Vec<Message> = {
        let mut queue = world.queue();
        let left = queue.iter_mut().filter(|sent| sent.whereabouts != Whereabouts::Done);
        left.map(|sent| {
            sent.received += 1;
            crate::lakes::message(&sent.id, &sent.body, sent.received)
        })
        .collect()
    };
    if !left.is_empty() {
        well(wake(lake, FunctionKind::BronzeEvents, messages_of(left, Utc::now())).await);
    }
    for function in [FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold, FunctionKind::Compact] {
        well(tick(lake, function).await);
    }
}
