use std::collections::BTreeMap;
use std::fs;

use chrono::{TimeDelta, Utc};
use headwater_core::azure::{HandedOver, Invocation, TriggerKind};
use headwater_core::error::ErrorKind;
use headwater_core::name::DatasetName;
use headwater_core::notices::StoredObject;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::desk::{Desk, Job};
use super::*;
use crate::error::RuntimeError;
use crate::function::FunctionKind;
use crate::script::{Script, flow, pipeline, retryable};
use crate::work::Work;

fn commit(table: &str) -> Invocation {
    let key = format!("bronze/{table}/_delta_log/{:020}.json", 1);
    Invocation::Notice(vec![StoredObject { root: "az://lake".to_owned(), key }])
}

/// Works on invocations that wait together, of a host that gives up after some seconds; the first has id `0`. Returns the answers
/// and the triggers.
async fn answer(
    kind: FunctionKind,
    invocations: Vec<(Invocation, i64)>,
    reports: Vec<Report>,
) -> (Vec<Result<(), String>>, Vec<Trigger>) {
    let script = Script::new(kind, reports);
    let handler = |function: FunctionKind, trigger: Trigger| script.answer(function, trigger);
    let pipeline = pipeline();
    let (sender, jobs) = mpsc::unbounded_channel();
    let mut answers = Vec::new();
    for (index, (invocation, seconds)) in invocations.into_iter().enumerate() {
        let (answer, answered) = oneshot::channel();
        let end = Utc::now() + TimeDelta::seconds(seconds);
        sender.send(Job { id: index.to_string(), invocation, bytes: 1, end, answer }).unwrap();
        answers.push(answered);
    }
    drop(sender);
    let work = Work { kind, pipeline: &pipeline, handler: &handler };
    Desk { work, bound: &[] }.serve(jobs).await;
    let mut settled = Vec::new();
    for answer in answers {
        settled.push(answer.await.unwrap());
    }
    (settled, script.into_triggers())
}

fn done(answers: &[Result<(), String>]) -> Vec<bool> {
    answers.iter().map(Result::is_ok).collect()
}

#[tokio::test]
async fn notices_that_wait_together_are_one_wake_up_and_come_again_one_by_one() {
    let notices = ["raw", "raw", "elsewhere"].map(|table| (commit(table), 60)).to_vec();
    let (answers, triggers) = answer(FunctionKind::Silver, notices, vec![flow("clean", retryable())]).await;
    assert_eq!(done(&answers), [false, false, true]);
    let tables = vec![DatasetName::new("elsewhere"), DatasetName::new("raw")];
    assert_eq!(triggers.iter().map(|trigger| trigger.cause.clone()).collect::<Vec<_>>(), [Cause::Commits(tables)]);
}

#[tokio::test]
async fn events_of_a_hub_that_no_source_is_bound_to_are_refused_with_what_to_write() {
    let batch =
        HandedOver { namespace: None, hub: "other-hub".to_owned(), partition: "0".to_owned(), events: Vec::new() };
    let (answers, triggers) =
        answer(FunctionKind::BronzeEvents, vec![(Invocation::Events(batch), 60)], Vec::new()).await;
    assert!(answers[0].as_ref().unwrap_err().contains("eventhubs://<namespace>/other-hub"), "{answers:?}");
    assert!(triggers.is_empty());
}

#[tokio::test]
async fn a_timer_fails_with_its_flows() {
    let wrong = flow("clean", Outcome::Failed { kind: ErrorKind::Data, message: "`secret` is no number".to_owned() });
    let (answers, _) =
        answer(FunctionKind::Gold, vec![(Invocation::Timer, 60), (Invocation::Timer, 60)], vec![wrong]).await;
    assert_eq!(done(&answers), [false, false]);
    assert!(!answers[0].as_ref().unwrap_err().contains("secret"), "{answers:?}");
    let (answers, triggers) =
        answer(FunctionKind::Gold, vec![(Invocation::Timer, 60)], vec![flow("v", retryable())]).await;
    assert_eq!((done(&answers), triggers.len()), (vec![true], 1));
}

#[tokio::test]
async fn what_waited_for_too_long_is_not_begun() {
    let notices = vec![(commit("raw"), 0), (commit("elsewhere"), 60)];
    let (answers, triggers) = answer(FunctionKind::Silver, notices, Vec::new()).await;
    assert_eq!(done(&answers), [false, true]);
    assert_eq!(triggers[0].cause, Cause::Commits(vec![DatasetName::new("elsewhere")]));
    let left = triggers[0].deadline.unwrap() - Utc::now();
    assert!(left > TimeDelta::seconds(50) && left < TimeDelta::seconds(55), "{left}");
}

/// A function app with these functions, and what its settings are.
fn settings(functions: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Settings, RuntimeError> {
    let app = tempfile::tempdir().unwrap();
    fs::write(app.path().join("host.json"), r#"{"functionTimeout": "00:10:00"}"#).unwrap();
    for (name, trigger) in functions {
        fs::create_dir(app.path().join(name)).unwrap();
        let document = json!({"bindings": [{"type": trigger, "name": "item"}]}).to_string();
        fs::write(app.path().join(name).join("function.json"), document).unwrap();
    }
    let mut environment: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.insert("AzureWebJobsScriptRoot".to_owned(), app.path().display().to_string());
    Settings::read(&environment)
}

#[test]
fn the_app_says_which_functions_it_has() {
    let functions =
        [("silver", "queueTrigger"), ("silver-sweep", "timerTrigger"), ("bronze-events-2", "eventHubTrigger")];
    let variables = [("FUNCTIONS_CUSTOMHANDLER_PORT", "7071")];
    let read = settings(&functions, &variables).unwrap();
    let served: Vec<_> = read.functions.iter().map(|served| (served.kind, served.function.trigger)).collect();
    let expected = [
        (FunctionKind::BronzeEvents, TriggerKind::EventHub),
        (FunctionKind::Silver, TriggerKind::Queue),
        (FunctionKind::Silver, TriggerKind::Timer),
    ];
    assert_eq!(served, expected);
    assert_eq!((read.port, read.timeout), (7071, Some(TimeDelta::minutes(10))));
    assert!(read.project.ends_with("pipeline"));
}

#[test]
fn a_wrong_app_is_told_with_what_would_be_right() {
    const PORT: (&str, &str) = ("FUNCTIONS_CUSTOMHANDLER_PORT", "7071");
    const SILVER: (&str, &str) = ("silver", "queueTrigger");
    type Pairs = &'static [(&'static str, &'static str)];
    let cases: [(Pairs, Pairs, &str); 6] = [
        (&[SILVER], &[("FUNCTIONS_CUSTOMHANDLER_PORT", "x")], "no port"),
        (&[], &[PORT], "headwater package azure"),
        (&[("copper", "queueTrigger")], &[PORT], "bronze-events, bronze-files, silver"),
        (&[("silverish", "queueTrigger")], &[PORT], "`silverish` is no function"),
        (&[("gold", "queueTrigger")], &[PORT], "gold has another trigger"),
        (&[("silver", "httpTrigger")], &[PORT], "function.json"),
    ];
    for (functions, variables, expected) in cases {
        let error = settings(functions, variables).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
