//! The processes, and what they do in their turns.

use std::sync::Arc;

use chrono::Utc;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Message, MessageBatch};
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;

use super::evidence;
use super::store::View;
use super::turns::Next;
use super::world::{ACTORS, Whereabouts, World};
use crate::lakes::{tick, wake, well};

/// What each process does, again and again.
const ROLES: [FunctionKind; ACTORS] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

/// Invocations of each process.
const INVOCATIONS: usize = 4;

/// Lets the processes run as the seed says, then all go well until nothing is left to do, and looks at the tables.
pub(super) async fn play(world: &World) {
    let processes = futures::future::join_all((0..ACTORS).map(|actor| process(world, actor)));
    tokio::join!(Box::pin(direct(world)), processes);
    while let Some((location, payload, options)) = world.ghosts.take() {
        let _ = world.store.put_opts(&location, payload, options).await;
    }
    let lake = world.lake(Arc::new(world.store.clone()));
    Box::pin(finish(world, &lake)).await;
    Box::pin(evidence::judge(world, &lake)).await;
}

/// Gives turns until all processes are done.
async fn direct(world: &World) {
    loop {
        match world.turns.next(!world.ghosts.is_empty()).await {
            Next::Went => {}
            Next::Ghost => {
                if let Some((location, payload, options)) = world.ghosts.take() {
                    let landed = world.store.put_opts(&location, payload, options).await.is_ok();
                    world.turns.note(format!("lands {landed}"));
                }
            }
            Next::End => return,
        }
    }
}

/// One process after another in one role: each lives until it dies.
async fn process(world: &World, actor: usize) {
    let new = || {
        let view = View::new(world.store.clone(), actor, Arc::clone(&world.turns), world.ghosts.clone());
        (world.lake(Arc::new(view.clone())), view)
    };
    let (mut lake, mut view) = new();
    for _ in 0..INVOCATIONS {
        world.turns.wait(actor, "wakes".to_owned()).await;
        let messages = match ROLES[actor] {
            FunctionKind::BronzeEvents => world.receive(),
            _ => Vec::new(),
        };
        let report = tokio::select! {
            biased;
            () = view.died() => None,
            report = invoke(&lake, ROLES[actor], &messages) => Some(report),
        };
        world.settle(&messages, |id| match &report {
            Some(report) if report.retry.iter().all(|retry| retry.item != id) => Whereabouts::Done,
            Some(_) | None => Whereabouts::Waiting,
        });
        if report.is_none() {
            (lake, view) = new();
        }
    }
    world.turns.end(actor);
}

async fn invoke(lake: &Lake, function: FunctionKind, messages: &[Message]) -> Report {
    let cause = match function {
        FunctionKind::BronzeEvents if messages.is_empty() => return Report::default(),
        FunctionKind::BronzeEvents => Cause::Messages(MessageBatch {
            source: "events".to_owned(),
            messages: messages.to_vec(),
            received_at: Utc::now(),
        }),
        _ => Cause::Timer(Vec::new()),
    };
    wake(lake, function, cause).await
}

/// What is left, undisturbed: every message is received until it is done.
async fn finish(world: &World, lake: &Lake) {
    let left: Vec<Message> = {
        let mut queue = world.queue();
        let left = queue.iter_mut().filter(|sent| sent.whereabouts != Whereabouts::Done);
        left.map(|sent| {
            sent.received += 1;
            crate::lakes::message(&sent.id, &sent.body, sent.received)
        })
        .collect()
    };
    well(invoke(lake, FunctionKind::BronzeEvents, &left).await);
    for function in [FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold, FunctionKind::Compact] {
        well(tick(lake, function).await);
    }
}
