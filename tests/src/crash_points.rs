//! Every point of every function: each operation on the store, by its name, fails or is the last one of its process,
//! before or after its effect; then a new process, and the same tables as if nothing had happened.
//!
//! The names come from a run that nothing disturbs, so that no point is forgotten when a function changes. Between two
//! operations a process only computes: a death after parsing, or between a side table and its target, is the death before
//! the next operation. A message is handed over again only if it wasn't reported as done: what is acknowledged must be in.

mod kills;
mod pairs;
mod site;
mod weather;

use std::sync::Arc;

use headwater_runtime::local::FunctionKind;
use headwater_testkit::points::{Blow, Moment, PointStore, Strike};
use object_store::memory::InMemory;

use self::site::Site;
use crate::lakes::{contents, well};
use crate::logs::judge_logs;

/// Operations that change the store.
const WRITES: [&str; 7] = ["put", "begin", "part", "complete", "abort", "delete", "copy"];

fn is_write(point: &str) -> bool {
    WRITES.iter().any(|verb| point.split(' ').next() == Some(verb))
}

/// Reads of a function that are struck unless all are asked for. Writes are struck one and all.
const READS: usize = 8;

/// Whether each point is to be struck in each way: minutes rather than seconds.
fn strikes_all() -> bool {
    std::env::var("HEADWATER_CRASH_POINTS").is_ok_and(|asked| asked == "all")
}

/// Both blows at each point, on both sides of a write. What comes after a read is what comes before the next operation.
fn strikes(points: &[String]) -> Vec<Strike> {
    let (writes, reads): (Vec<_>, Vec<_>) = points.iter().partition(|point| is_write(point));
    let every = if strikes_all() { 1 } else { reads.len().div_ceil(READS).max(1) };
    let chosen = reads.into_iter().step_by(every).map(|point| (point, &[Moment::Before][..]));
    let all = writes.into_iter().map(|point| (point, &[Moment::Before, Moment::After][..])).chain(chosen);
    all.flat_map(|(point, moments)| moments.iter().map(move |moment| (point, *moment)))
        .flat_map(|(point, moment)| {
            [Blow::Error, Blow::Death].map(|blow| Strike { point: point.clone(), moment, blow })
        })
        .collect()
}

/// What a function does when nothing is in its way: the names of its operations.
async fn points_of(site: &Site, store: InMemory) -> Vec<String> {
    let points = PointStore::new(Arc::new(store), None);
    well(site.run(&site.lake(Arc::new(points.clone())), &[]).await);
    let mut names = points.points();
    names.sort();
    names
}

async fn holds_at_every_point(function: FunctionKind, at_least: usize) {
    let site = Site::before(function).await;
    let undisturbed = site.base.fork();
    let points = points_of(&site, undisturbed.clone()).await;
    let writes: Vec<&String> = points.iter().filter(|point| is_write(point)).collect();
    insta::assert_snapshot!(
        format!("writes_of_{function:?}"),
        writes.iter().map(|point| format!("{point}\n")).collect::<String>()
    );
    let expected = contents(&site.lake(Arc::new(undisturbed))).await;
    let mut unmet = Vec::new();
    let strikes = strikes(&points);
    for strike in &strikes {
        let store = site.base.fork();
        let faulty = PointStore::new(Arc::new(store.clone()), Some(strike.clone()));
        let lake = site.lake(Arc::new(faulty.clone()));
        let report = tokio::select! {
            biased;
            () = faulty.died() => None,
            report = site.run(&lake, &[]) => Some(report),
        };
        drop(lake);
        if !faulty.has_struck() {
            unmet.push(strike);
        }
        let lake = site.lake(Arc::new(store.clone()));
        well(site.run(&lake, &site.acknowledged(report.as_ref())).await);
        let found = contents(&lake).await;
        assert_eq!(found, expected, "{strike:?}");
        judge_logs(&store, &lake, &found).await;
    }
    let met = strikes.len() - unmet.len();
    println!("{function:?}: {} points, {met} of {} cases came to theirs", points.len(), strikes.len());
    assert!(strikes.len() >= at_least, "{} cases", strikes.len());
    // A message that is new is looked for in files of the last minute: a case that comes later has nothing to read.
    assert!(unmet.len() * 6 <= strikes.len(), "operations come in another order each time: {unmet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_events_holds_at_every_point() {
    holds_at_every_point(FunctionKind::BronzeEvents, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_files_holds_at_every_point() {
    holds_at_every_point(FunctionKind::BronzeFiles, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silver_holds_at_every_point() {
    holds_at_every_point(FunctionKind::Silver, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gold_holds_at_every_point() {
    holds_at_every_point(FunctionKind::Gold, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compact_holds_at_every_point() {
    holds_at_every_point(FunctionKind::Compact, 70).await;
}
