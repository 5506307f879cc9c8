//! Updates in bad weather: each function has a turn in a storm, whatever comes of it; then the storm is over, and a new
//! process leaves the same tables as if there had been none.

use std::sync::Arc;

use headwater_core::error::ErrorKind;
use headwater_core::report::{Outcome, Report};
use headwater_testkit::weather::{Weather, WeatherStore};

use super::site::{ORDER, Site};
use crate::lakes::{contents, well};
use crate::logs::judge_logs;

/// Storms, and how many of a thousand operations they hit.
const STORMS: [(Weather, u64); 18] = [
    (Weather::SlowDown, 10),
    (Weather::SlowDown, 100),
    (Weather::SlowDown, 500),
    (Weather::TooMany, 10),
    (Weather::TooMany, 100),
    (Weather::TooMany, 500),
    (Weather::TimedOutBefore, 10),
    (Weather::TimedOutBefore, 100),
    (Weather::TimedOutBefore, 500),
    (Weather::TimedOutAfter, 10),
    (Weather::TimedOutAfter, 100),
    (Weather::TimedOutAfter, 500),
    (Weather::StaleList, 500),
    (Weather::PartialList, 100),
    (Weather::PartialList, 500),
    (Weather::CutBody, 100),
    (Weather::CutBody, 500),
    (Weather::Slow, 100),
];

/// A storm is worth another try, and nothing else: no panic, no bug, no fault of the data or of the project.
fn wrongly_told(report: &Report) -> impl Iterator<Item = String> {
    report.flows.iter().filter_map(|flow| match &flow.outcome {
        Outcome::Failed { kind: ErrorKind::Unavailable | ErrorKind::Conflict, .. } => None,
        Outcome::Failed { kind, message } => Some(format!("{kind:?}: {message}")),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_delays_and_changes_nothing() {
    let site = Site::busy().await;
    let undisturbed = site.base.fork();
    let lake = site.lake(Arc::new(undisturbed));
    for function in ORDER {
        well(site.turn(&lake, function, 1).await);
    }
    let expected = contents(&lake).await;
    let (mut hits, mut wrong) = (0, Vec::new());
    for (at, (weather, per_mille)) in STORMS.into_iter().enumerate() {
        let store = site.base.fork();
        let stormy = WeatherStore::new(Arc::new(store.clone()), weather, (at as u64, per_mille));
        let lake = site.lake(Arc::new(stormy.clone()));
        for function in ORDER {
            let report = site.turn(&lake, function, 1).await;
            wrong.extend(wrongly_told(&report).map(|told| format!("{weather:?} {per_mille}: {function:?}: {told}")));
        }
        hits += stormy.hits();
        let lake = site.lake(Arc::new(store.clone()));
        for function in ORDER {
            well(site.turn(&lake, function, 2).await);
        }
        let found = contents(&lake).await;
        assert_eq!(found, expected, "{weather:?} {per_mille}");
        judge_logs(&store, &lake, &found).await;
    }
    println!("{} storms, {hits} operations hit", STORMS.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
