//! All pairs of functions on one lake, each held just before its first data file or its first commit until the other is
//! done; and each function beside itself, held before each of its operations. Whoever comes first, the tables are the same in
//! the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::FaultStore;
use headwater_testkit::points::PointStore;
use object_store::memory::InMemory;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::site::{ORDER, Site};
use super::{READS, is_write, strikes_all};
use crate::lakes::{contents, well};
use crate::logs::judge_logs;

/// Where the first of two stands when the second comes: what the path of its next write ends with.
const PHASES: [(&str, &str); 2] = [("prepared nothing", ".parquet"), ("is about to commit", ".json")];

/// Everything that is left to do, by a new process.
async fn finish(site: &Site, store: &InMemory) {
    let lake = site.lake(Arc::new(store.clone()));
    for function in ORDER {
        well(site.turn(&lake, function, 2).await);
    }
}

/// The second function's turn, from its beginning to its end. Its future can't leave its thread, so it has one.
async fn whole_turn(site: Arc<Site>, function: FunctionKind, store: InMemory) {
    let turn = move || {
        Handle::current().block_on(async {
            site.turn(&site.lake(Arc::new(store)), function, 1).await;
        });
    };
    spawn_blocking(turn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_any_two_functions_either_may_come_between_the_steps_of_the_other() {
    let site = Arc::new(Site::busy().await);
    let undisturbed = site.base.fork();
    finish(&site, &undisturbed).await;
    let expected = contents(&site.lake(Arc::new(undisturbed))).await;
    let (mut cases, met) = (0, Arc::new(AtomicUsize::new(0)));
    for first in ORDER {
        for second in ORDER {
            for (phase, path_end) in PHASES {
                let store = site.base.fork();
                let held = FaultStore::new(Arc::new(store.clone()));
                let (rival, counted) = (whole_turn(Arc::clone(&site), second, store.clone()), Arc::clone(&met));
                held.before_put(path_end, async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    rival.await;
                });
                let lake = site.lake(Arc::new(held));
                site.turn(&lake, first, 1).await;
                finish(&site, &store).await;
                let case = format!("{first:?} {phase}, {second:?} comes");
                let lake = site.lake(Arc::new(store.clone()));
                let found = contents(&lake).await;
                assert_eq!(found, expected, "{case}");
                judge_logs(&store, &lake, &found).await;
                cases += 1;
            }
        }
    }
    let met = met.load(Ordering::Relaxed);
    println!("{met} of {cases} pairs met");
    assert_eq!(met, cases, "each function has something to write");
}

/// Where a function is held: before each write, and before some reads of all functions but the one whose reads say what it
/// lands.
fn held_at(function: FunctionKind, points: Vec<String>) -> Vec<String> {
    let (mut held, reads): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| is_write(point));
    let is_whole = function == FunctionKind::BronzeEvents || strikes_all();
    let every = if is_whole { 1 } else { reads.len().div_ceil(READS).max(1) };
    held.extend(reads.into_iter().step_by(every));
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_kind_may_come_between_any_steps_of_each_other() {
    let site = Arc::new(Site::busy().await);
    let undisturbed = site.base.fork();
    finish(&site, &undisturbed).await;
    let expected = contents(&site.lake(Arc::new(undisturbed))).await;
    let (mut cases, met) = (0, Arc::new(AtomicUsize::new(0)));
    for function in ORDER {
        let alone = PointStore::new(Arc::new(site.base.fork()), None);
        site.turn(&site.lake(Arc::new(alone.clone())), function, 1).await;
        for point in held_at(function, alone.points()) {
            let store = site.base.fork();
            let held = PointStore::new(Arc::new(store.clone()), None);
            let (rival, counted) = (whole_turn(Arc::clone(&site), function, store.clone()), Arc::clone(&met));
            held.hold(&point, async move {
                counted.fetch_add(1, Ordering::Relaxed);
                rival.await;
            });
            site.turn(&site.lake(Arc::new(held)), function, 1).await;
            finish(&site, &store).await;
            let lake = site.lake(Arc::new(store.clone()));
            let found = contents(&lake).await;
            assert_eq!(found, expected, "{function:?} is about to {point}, and another one comes");
            judge_logs(&store, &lake, &found).await;
            cases += 1;
        }
    }
    let met = met.load(Ordering::Relaxed);
    println!("{met} of {cases} met");
    assert!(cases >= 60 && met * 6 >= cases * 5, "{met} of {cases} met: operations come in another order each time");
}
