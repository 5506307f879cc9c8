//! Hubs that several sources read, and hubs of the same name: each source has each event of its own hub, and of no other.

use std::sync::Arc;

use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};

use super::hub_tests::{Lake, Landed, filled, handed_over_by, invoke_all, landed, source};

/// Lands what is for a source in the lake of that source.
fn by_source(lakes: &[(&str, &Arc<Lake>)], trigger: &Trigger) -> Report {
    let Cause::Partitions(batch) = &trigger.cause else { return Report::default() };
    let (_, lake) = lakes.iter().find(|(name, _)| *name == batch.source).unwrap();
    lake.land(trigger)
}

/// Numbers that were handed over, or read.
fn numbers(range: std::ops::Range<i64>, is_handed_over: bool) -> Landed {
    range.map(|number| (number, is_handed_over)).collect()
}

#[tokio::test]
async fn a_trigger_wakes_all_sources_that_read_the_hub() {
    let emulator = filled(4).await;
    let [a, b] = [Arc::new(Lake::default()), Arc::new(Lake::default())];
    let bound = [source(("a", "localhost"), &emulator, &a), source(("b", "localhost"), &emulator, &b)];
    let land = |trigger: &Trigger| by_source(&[("a", &a), ("b", &b)], trigger);
    assert_eq!(invoke_all(&bound, land, vec![handed_over_by(None, &[0, 1])]).await, [true]);
    assert_eq!([landed(&a), landed(&b)], [numbers(0..2, true), numbers(0..2, true)]);
}

#[tokio::test]
async fn an_invocation_is_done_when_all_its_sources_have_it() {
    let emulator = filled(4).await;
    let [a, b] = [Arc::new(Lake::default()), Arc::new(Lake::default())];
    let bound = [source(("a", "localhost"), &emulator, &a), source(("b", "localhost"), &emulator, &b)];
    let land = |trigger: &Trigger| by_source(&[("a", &a), ("b", &b)], trigger);
    b.set_failing(true);
    assert_eq!(invoke_all(&bound, land, vec![handed_over_by(None, &[0, 1])]).await, [false]);
    b.set_failing(false);
    assert_eq!(invoke_all(&bound, land, vec![handed_over_by(None, &[0, 1])]).await, [true]);
    assert_eq!([landed(&a), landed(&b)], [numbers(0..2, true), numbers(0..2, true)]);
}

#[tokio::test]
async fn of_hubs_of_one_name_the_one_is_meant_whose_namespace_is_told() {
    let [east, west] = [filled(4).await, filled(2).await];
    let [a, b] = [Arc::new(Lake::default()), Arc::new(Lake::default())];
    let bound = [source(("a", "east"), &east, &a), source(("b", "west"), &west, &b)];
    let land = |trigger: &Trigger| by_source(&[("a", &a), ("b", &b)], trigger);
    let told = handed_over_by(Some("West.servicebus.windows.net"), &[0, 1]);
    assert_eq!(invoke_all(&bound, land, vec![told]).await, [true]);
    assert_eq!([landed(&a), landed(&b)], [Vec::new(), numbers(0..2, true)]);
}

#[tokio::test]
async fn what_may_be_of_either_of_two_hubs_is_read_from_both() {
    let [east, west] = [filled(4).await, filled(2).await];
    let [a, b] = [Arc::new(Lake::default()), Arc::new(Lake::default())];
    let bound = [source(("a", "east"), &east, &a), source(("b", "west"), &west, &b)];
    let land = |trigger: &Trigger| by_source(&[("a", &a), ("b", &b)], trigger);
    assert_eq!(invoke_all(&bound, land, vec![handed_over_by(None, &[0, 1])]).await, [true]);
    assert_eq!([landed(&a), landed(&b)], [numbers(0..4, false), numbers(0..2, false)]);
}
