//! The same points by real kills: a process of its own on a lake in a folder, killed at a write, without a chance to clean up.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::points::{Blow, Moment, PointStore, Strike};
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::site::Site;
use super::{is_write, points_of, strikes_all};
use crate::lakes::{contents, well};
use crate::logs::judge_logs;

/// Tells a process of its own which function it is, where its folders are, and where it is to be killed.
const ORDERS: &str = "HEADWATER_CRASH_POINT";

const FUNCTIONS: [FunctionKind; 5] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

/// Processes at a time.
const AT_ONCE: usize = 2;

/// What lies in a folder.
fn disk(folder: &Path) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(folder).unwrap()
}

/// A lake in a folder, on which a strike may fall.
fn lake_in(site: &Site, folder: &Path, strike: Option<Strike>) -> Lake {
    let url = Storage::open(folder.to_str().unwrap()).unwrap().url().clone();
    let root = StorePath::from_filesystem_path(folder).unwrap();
    let store = PointStore::new(Arc::new(LocalFileSystem::new()), strike).with_root(&root);
    Lake::with_storage(site.pipeline.clone(), &site.landing, Storage::with_store(url, Arc::new(store))).unwrap()
}

async fn copy(from: &dyn ObjectStore, to: &dyn ObjectStore) {
    for object in from.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = from.get(&object.location).await.unwrap().bytes().await.unwrap();
        to.put(&object.location, bytes.into()).await.unwrap();
    }
}

/// A process that is killed at a point; says whether it came so far.
async fn killed(site: &Site, folder: &Path, at: usize, (point, moment): (&str, Moment)) -> bool {
    let moment = if moment == Moment::Before { "before" } else { "after" };
    let places = [folder, site.landing.as_path()].map(|path| path.to_str().unwrap());
    let orders = [&at.to_string(), places[0], places[1], moment, point].join("\n");
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["crash_points::kills::a_process_of_its_own", "--exact"])
        .env(ORDERS, orders)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    const ABORTED: i32 = 6;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() || output.status.signal() == Some(ABORTED), "{point}: {}\n{said}", output.status);
    output.status.signal() == Some(ABORTED)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_its_own() {
    let Ok(orders) = std::env::var(ORDERS) else {
        assert!(!killed_somewhere().await, "a point that there isn't kills nobody");
        return;
    };
    let [at, lake, landing, moment, point] = orders.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let site = Site::landed(FUNCTIONS[at.parse::<usize>().unwrap()], landing.into(), None);
    let moment = if moment == "before" { Moment::Before } else { Moment::After };
    let strike = Strike { point: point.to_owned(), moment, blow: Blow::Kill };
    well(site.run(&lake_in(&site, Path::new(lake), Some(strike)), &[]).await);
}

async fn killed_somewhere() -> bool {
    let site = Site::before(FunctionKind::Gold).await;
    let folder = tempfile::tempdir().unwrap();
    copy(&site.base, &disk(folder.path())).await;
    killed(&site, folder.path(), 3, ("put nowhere", Moment::Before)).await
}

/// Of pairs now the first, now the second.
fn alternating<T>(pairs: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    pairs.enumerate().filter(|(at, _)| matches!(at % 4, 0 | 3)).map(|(_, case)| case)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_killed_at_any_write_is_made_up_for() {
    for (at, function) in FUNCTIONS.into_iter().enumerate() {
        let site = Site::before(function).await;
        let undisturbed = site.base.fork();
        let points = points_of(&site, undisturbed.clone()).await;
        let expected = contents(&site.lake(Arc::new(undisturbed))).await;
        let writes = points.iter().filter(|point| is_write(point));
        let sides = writes.flat_map(|point| [(point.as_str(), Moment::Before), (point.as_str(), Moment::After)]);
        let cases: Vec<_> = if strikes_all() { sides.collect() } else { alternating(sides).collect() };
        let (site, expected) = (&site, &expected);
        let met: Vec<bool> = futures::stream::iter(cases.iter().copied())
            .map(|case| async move {
                let folder = tempfile::tempdir().unwrap();
                let store = disk(folder.path());
                copy(&site.base, &store).await;
                let met = killed(site, folder.path(), at, case).await;
                let lake = lake_in(site, folder.path(), None);
                well(site.run(&lake, &site.acknowledged(None)).await);
                let found = contents(&lake).await;
                assert_eq!(&found, expected, "{function:?}: {case:?}");
                judge_logs(&store, &lake, &found).await;
                met
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let killed = met.iter().filter(|met| **met).count();
        println!("{function:?}: {killed} killed of {}", cases.len());
        assert!(killed * 20 >= cases.len() * 19, "{function:?}: {killed} of {} came to their points", cases.len());
    }
}
