use std::cell::RefCell;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_core::aws::Invocation;
use headwater_core::aws::batch::BatchResponse;
use headwater_core::batch::Limits;
use headwater_core::error::ErrorKind;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report, Retry};
use headwater_core::trigger::{Cause, Message, Trigger};
use serde_json::{Value, json};

use super::*;
use crate::error::RuntimeError;
use crate::function::FunctionKind;
use crate::script::{Script, flow, pipeline, retryable};
use crate::spool::NewMessage;
use crate::sqs::tests::fake::{Fault, Server};
use crate::work::last_moment;

/// An event with one message for each body; the first has id `0`.
fn event(bodies: &[String]) -> Invocation {
    let record = |(index, body): (usize, &String)| {
        json!({
            "messageId": index.to_string(),
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "2",
                "SentTimestamp": "1545082649183",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:flights-queue",
        })
    };
    let records: Vec<Value> = bodies.iter().enumerate().map(record).collect();
    serde_json::from_value(json!({"Records": records})).unwrap()
}

fn notice(key: &str) -> String {
    let object = json!({"bucket": {"name": "lake"}, "object": {"key": key}});
    json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": object}]}).to_string()
}

fn commit(table: &str, version: u64) -> String {
    notice(&format!("bronze/{table}/_delta_log/{version:020}.json"))
}

fn in_a_minute() -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(60)
}

fn failed(response: &BatchResponse) -> Vec<&str> {
    response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect()
}

/// Answers with one report after another, and then with empty ones; returns the answer and the triggers.
async fn answer(
    kind: FunctionKind,
    invocation: Invocation,
    end: DateTime<Utc>,
    reports: Vec<Report>,
) -> (Result<BatchResponse, RuntimeError>, Vec<Trigger>) {
    let script = Script::new(kind, reports);
    let handler = |function: FunctionKind, trigger: Trigger| script.answer(function, trigger);
    let queues = BTreeMap::from([("flights-queue".to_owned(), "flights".to_owned())]);
    let answered = Function { kind, pipeline: pipeline(), queues, drain: None, handler }.answer(invocation, end).await;
    (answered, script.into_triggers())
}

#[tokio::test]
async fn messages_go_to_the_source_of_their_queue_and_come_again_one_by_one() {
    let bodies = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let retry = vec![Retry { item: "1".to_owned(), reason: "later".to_owned() }];
    let reports = vec![Report { retry, ..Report::default() }];
    let (answered, triggers) = answer(FunctionKind::BronzeEvents, event(&bodies), in_a_minute(), reports).await;
    assert_eq!(failed(&answered.unwrap()), ["1"]);
    let [Trigger { cause: Cause::Messages(batch), deadline: Some(_) }] = &triggers[..] else { panic!("{triggers:?}") };
    assert_eq!((batch.source.as_str(), batch.messages.len()), ("flights", 3));
    assert_eq!(batch.received_at.timestamp_millis(), 1_545_082_649_185);
}

#[tokio::test]
async fn a_queue_without_a_source_fails_the_whole_batch_and_says_what_to_set() {
    let handler = |_: FunctionKind, _: Trigger| async { panic!("woken") };
    let function = Function {
        kind: FunctionKind::BronzeEvents,
        pipeline: pipeline(),
        queues: BTreeMap::new(),
        drain: None,
        handler,
    };
    let error = function.answer(event(&["a".to_owned()]), in_a_minute()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("HEADWATER_QUEUES"), "{error}");
    assert!(error.to_string().contains("<source>=flights-queue"), "{error}");
}

#[tokio::test]
async fn commits_wake_silver_once_for_each_table_until_nothing_is_new() {
    let event = event(&[commit("raw", 1), commit("raw", 2), notice("bronze/raw/part-0.parquet")]);
    let reports = vec![flow("clean", Outcome::Committed { version: 1 }), flow("clean", Outcome::NothingNew)];
    let (answered, triggers) = answer(FunctionKind::Silver, event, in_a_minute(), reports).await;
    assert!(failed(&answered.unwrap()).is_empty());
    assert_eq!(triggers.len(), 2);
    assert!(triggers.iter().all(|trigger| trigger.cause == Cause::Commits(vec![DatasetName::new("raw")])));
}

#[tokio::test]
async fn silver_that_is_done_is_not_woken_again() {
    let report = Report { is_done: true, ..flow("clean", Outcome::Committed { version: 1 }) };
    let (answered, triggers) =
        answer(FunctionKind::Silver, event(&[commit("raw", 1)]), in_a_minute(), vec![report]).await;
    assert!(failed(&answered.unwrap()).is_empty());
    assert_eq!(triggers.len(), 1);
}

#[tokio::test]
async fn a_lost_race_that_is_won_later_is_no_failure() {
    let mut first = flow("clean", retryable());
    first.extend(flow("other", Outcome::Committed { version: 1 }));
    let reports = vec![first, flow("clean", Outcome::Committed { version: 3 })];
    let (answered, triggers) = answer(FunctionKind::Silver, event(&[commit("raw", 1)]), in_a_minute(), reports).await;
    assert!(failed(&answered.unwrap()).is_empty());
    assert_eq!(triggers.len(), 3);
}

#[tokio::test]
async fn only_notices_of_tables_that_were_not_read_come_again() {
    let event = event(&[commit("raw", 1), commit("elsewhere", 1), "poison".to_owned()]);
    let (answered, _) = answer(FunctionKind::Silver, event, in_a_minute(), vec![flow("clean", retryable())]).await;
    assert_eq!(failed(&answered.unwrap()), ["0", "2"]);
}

#[tokio::test]
async fn other_objects_wake_nobody() {
    let event = event(&[notice("bronze/raw/part-0.parquet"), "{\"Event\": \"s3:TestEvent\"}".to_owned()]);
    let (answered, triggers) = answer(FunctionKind::Silver, event, in_a_minute(), Vec::new()).await;
    assert!(failed(&answered.unwrap()).is_empty());
    assert!(triggers.is_empty());
}

#[tokio::test]
async fn work_that_the_deadline_cuts_comes_again() {
    let reports = (1..99).map(|version| flow("clean", Outcome::Committed { version })).collect();
    let (answered, triggers) = answer(FunctionKind::Silver, event(&[commit("raw", 1)]), Utc::now(), reports).await;
    assert_eq!(failed(&answered.unwrap()), ["0"]);
    assert_eq!(triggers.len(), 1);
}

#[tokio::test]
async fn arrived_files_are_named_and_come_again_when_they_could_not_be_landed() {
    let event = event(&[notice("in/a+b.csv")]);
    let (answered, triggers) =
        answer(FunctionKind::BronzeFiles, event, in_a_minute(), vec![flow("raw", retryable())]).await;
    assert_eq!(failed(&answered.unwrap()), ["0"]);
    assert_eq!(triggers[0].cause, Cause::Objects(vec!["s3://lake/in/a b.csv".to_owned()]));
}

#[tokio::test]
async fn a_timer_fails_with_its_flows_but_not_for_work_that_goes_on_later() {
    let timer = || Invocation::Timer(vec![DatasetName::new("clean")]);
    let (answered, triggers) =
        answer(FunctionKind::Gold, timer(), in_a_minute(), vec![flow("clean", retryable())]).await;
    assert!(failed(&answered.unwrap()).is_empty());
    assert_eq!(triggers[0].cause, Cause::Timer(vec![DatasetName::new("clean")]));
    let message = "`secret` is no number".to_owned();
    let wrong = flow("clean", Outcome::Failed { kind: ErrorKind::Data, message });
    let (answered, _) = answer(FunctionKind::Gold, timer(), in_a_minute(), vec![wrong]).await;
    let error = answered.unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("clean")), (ErrorKind::Data, true));
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn time_is_left_to_answer() {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    for (seconds, left) in [(1, 500), (5, 500), (60, 6_000), (900, 10_000)] {
        let end = now + TimeDelta::seconds(seconds);
        assert_eq!(last_moment(now, end), end - TimeDelta::milliseconds(left), "{seconds}");
    }
}

fn settings(variables: &[(&str, &str)]) -> Result<Settings, RuntimeError> {
    Settings::read(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn the_environment_says_which_function_it_is() {
    let read = settings(&[("_HANDLER", "bronze-events"), ("HEADWATER_QUEUES", "a=queue-a, b = queue-b.fifo")]).unwrap();
    assert_eq!((read.function, read.project.to_str()), (FunctionKind::BronzeEvents, Some("pipeline")));
    let queues = [("queue-a", "a"), ("queue-b.fifo", "b")].map(|(queue, source)| (queue.to_owned(), source.to_owned()));
    assert_eq!(read.queues, BTreeMap::from(queues));
    assert!(settings(&[("_HANDLER", "gold"), ("HEADWATER_QUEUES", " ")]).unwrap().queues.is_empty());
}

#[test]
fn a_wrong_environment_is_told_with_what_would_be_right() {
    let error = settings(&[("_HANDLER", "handler.main")]).unwrap_err().to_string();
    assert!(error.contains("`handler.main`") && error.contains("bronze-events, bronze-files, silver"), "{error}");
    for pairs in ["flights", "=queue", "flights=", "a=b,,c=d"] {
        let error = settings(&[("_HANDLER", "gold"), ("HEADWATER_QUEUES", pairs)]).unwrap_err().to_string();
        assert!(error.contains("<source>=<queue name>"), "{pairs}: {error}");
    }
}

const ARN: &str = "arn:aws:sqs:us-east-2:123456789012:flights-queue";

/// Two messages that Lambda hands over, and those of the queue, of which one fails when its body is named; the answer and the
/// bodies that the handler got.
async fn drained(server: &Server, limits: Limits, failing: &str) -> (BatchResponse, Vec<String>) {
    let got = RefCell::new(Vec::new());
    let handler = |_: FunctionKind, trigger: Trigger| {
        let Cause::Messages(batch) = trigger.cause else { panic!("no messages") };
        let body = |message: &Message| String::from_utf8(message.body.to_vec()).unwrap();
        got.borrow_mut().extend(batch.messages.iter().map(body));
        let retry = batch.messages.iter().filter(|message| body(message) == failing);
        let retry = retry.map(|message| Retry { item: message.id.clone(), reason: "later".to_owned() }).collect();
        std::future::ready(Report { retry, ..Report::default() })
    };
    let queues = BTreeMap::from([("flights-queue".to_owned(), "flights".to_owned())]);
    let drain = Some(Drain::new(limits).with_queue(ARN, server.queue("flights-queue")));
    let function = Function { kind: FunctionKind::BronzeEvents, pipeline: pipeline(), queues, drain, handler };
    let answered = function.answer(event(&["a".to_owned(), "b".to_owned()]), in_a_minute()).await.unwrap();
    let mut got = got.into_inner();
    got.sort();
    (answered, got)
}

async fn server(bodies: &[&str]) -> Server {
    let server = Server::start(&["flights-queue"]).await;
    let messages: Vec<_> = bodies.iter().map(|body| NewMessage::new((*body).to_owned())).collect();
    server.queue("flights-queue").send(&messages).await.unwrap();
    server
}

#[tokio::test]
async fn a_batch_is_filled_up_from_its_queue_and_only_what_is_done_is_deleted() {
    let server = server(&["c", "d", "e"]).await;
    let (answered, got) = drained(&server, Limits { items: 100, bytes: 100 }, "d").await;
    assert_eq!(got, ["a", "b", "c", "d", "e"]);
    assert!(failed(&answered).is_empty(), "Lambda knows nothing of it");
    assert_eq!(server.bodies("flights-queue"), ["d"]);
    let hidden = server.calls("ReceiveMessage")[0]["VisibilityTimeout"].as_u64().unwrap();
    assert!((60..=90).contains(&hidden), "longer than the invocation: {hidden}");
}

#[tokio::test]
async fn a_batch_is_filled_up_to_its_limits_and_what_lambda_handed_over_is_answered() {
    let server = server(&["c", "d", "e"]).await;
    let (answered, got) = drained(&server, Limits { items: 3, bytes: 100 }, "b").await;
    assert_eq!(got.len(), 3);
    assert_eq!(failed(&answered), ["1"]);
    assert_eq!(server.bodies("flights-queue").len(), 2);
    let (_, got) = drained(&server, Limits { items: 100, bytes: 2 }, "").await;
    assert_eq!(got.len(), 2, "there are enough bytes");
}

#[tokio::test]
async fn a_queue_that_cannot_be_asked_changes_nothing() {
    let server = server(&["c"]).await;
    server.fail("ReceiveMessage", Fault::Code(403, "AccessDenied"));
    let (answered, got) = drained(&server, Limits { items: 100, bytes: 100 }, "a").await;
    assert_eq!((got.len(), failed(&answered)), (2, vec!["0"]));
}

#[test]
fn batches_are_filled_up_only_when_bytes_are_said() {
    let drain = |variables: &[(&str, &str)]| {
        let mut all = vec![("_HANDLER", "bronze-events")];
        all.extend(variables);
        settings(&all).map(|settings| settings.drain)
    };
    assert_eq!(drain(&[]).unwrap(), None);
    assert_eq!(drain(&[("HEADWATER_DRAIN_BYTES", "0"), ("HEADWATER_DRAIN_MESSAGES", "5")]).unwrap(), None);
    assert_eq!(drain(&[("HEADWATER_DRAIN_BYTES", "9")]).unwrap(), Some(Limits { items: 50_000, bytes: 9 }));
    assert!(drain(&[("HEADWATER_DRAIN_BYTES", "9 MB")]).unwrap_err().to_string().contains("whole number"));
}
