//! The processes, and what they do in their turns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use chrono::{DateTime, Duration, Utc};
use deltalake::protocol::SaveMode;
use headwater_core::name::DatasetName;
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
use crate::tables::with_delta_rs;

/// What each process does, again and again; the last one is no function.
const ROLES: [Option<FunctionKind>; ACTORS] = [
    Some(FunctionKind::BronzeEvents),
    Some(FunctionKind::BronzeEvents),
    Some(FunctionKind::BronzeFiles),
    Some(FunctionKind::BronzeFiles),
    Some(FunctionKind::Silver),
    Some(FunctionKind::Silver),
    Some(FunctionKind::Gold),
    Some(FunctionKind::Compact),
    None,
];

/// Seconds that a process's clock may be wrong, to either side.
const SKEW: usize = 25;

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
    let Some(function) = ROLES[actor] else { return outside(world, actor).await };
    let seconds = world.turns.draw(2 * SKEW + 1);
    let skew = Duration::seconds(i64::try_from(seconds).unwrap_or_default() - SKEW as i64);
    let new = || {
        let view = View::new(world.store.clone(), actor, Arc::clone(&world.turns), world.ghosts.clone());
        (world.lake(Arc::new(view.clone())), view)
    };
    let (mut lake, mut view) = new();
    for _ in 0..INVOCATIONS {
        world.turns.wait(actor, "wakes".to_owned()).await;
        let messages = match function {
            FunctionKind::BronzeEvents => world.receive(),
            _ => Vec::new(),
        };
        let report = tokio::select! {
            biased;
            () = view.died() => None,
            report = invoke(&lake, function, (&messages, Utc::now() + skew)) => Some(report),
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

/// Another engine: it appends rows of its own to a table that functions write and read, without `txn` or report, and
/// goes by delta-rs's own rules for lost races.
async fn outside(world: &World, actor: usize) {
    for _ in 0..3 * INVOCATIONS {
        world.turns.wait(actor, "wakes".to_owned()).await;
        let lake = world.lake(Arc::new(world.store.clone()));
        if lake.table(&DatasetName::new("checked")).await.unwrap().is_none() {
            continue;
        }
        let n = 1_000 + 2 * i32::try_from(world.outside().len()).unwrap();
        let key = format!("k{}", world.turns.draw(6));
        let columns: [(&str, ArrayRef); 2] =
            [("n", Arc::new(Int32Array::from(vec![n]))), ("k", Arc::new(StringArray::from(vec![key.clone()])))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let table = with_delta_rs(lake.storage(), "silver/checked").await;
        table.write([rows]).with_save_mode(SaveMode::Append).await.unwrap();
        world.turns.note(format!("outside {n} {key}"));
        world.outside().push((i64::from(n), key));
    }
    world.turns.end(actor);
}

async fn invoke(lake: &Lake, function: FunctionKind, (messages, received_at): (&[Message], DateTime<Utc>)) -> Report {
    let cause = match function {
        FunctionKind::BronzeEvents if messages.is_empty() => return Report::default(),
        FunctionKind::BronzeEvents => {
            Cause::Messages(MessageBatch { source: "events".to_owned(), messages: messages.to_vec(), received_at })
        }
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
    well(invoke(lake, FunctionKind::BronzeEvents, (&left, Utc::now())).await);
    for function in [FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold, FunctionKind::Compact] {
        well(tick(lake, function).await);
    }
}
