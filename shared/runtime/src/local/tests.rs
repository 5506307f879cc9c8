use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use chrono::Utc;
use headwater_core::name::FlowName;
use headwater_core::report::{FlowReport, Retry};
use headwater_core::trigger::Cause;
use tokio::sync::watch;

use super::*;
use crate::spool::{NewMessage, SpoolOptions};
use crate::sqs::tests::fake::Server;

const ALL: [FunctionKind; 5] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

fn committed(version: u64) -> Report {
    let mut flow = FlowReport::new(FlowName::new("f"), DatasetName::new("t"), "timer");
    flow.outcome = Outcome::Committed { version };
    Report { flows: vec![flow], ..Report::default() }
}

fn commit(table: &Path, version: u64) {
    fs::create_dir_all(table.join("_delta_log")).unwrap();
    fs::write(table.join(format!("_delta_log/{version:020}.json")), "{}").unwrap();
}

fn host(folder: &Path) -> Host {
    let spool = Spool::open(folder.join("spool"), SpoolOptions::default()).unwrap();
    let messages: Vec<_> = (0..5).map(|index| NewMessage::new(format!("{index}"))).collect();
    spool.send(&messages, Utc::now()).unwrap();
    Host {
        queues: vec![Queue { source: "events".into(), binding: Binding::Spool(spool) }],
        tables: vec![WatchedTable { dataset: DatasetName::new("raw"), folder: folder.join("raw") }],
        pace: Pace { batch_messages: 2, poll: Duration::from_millis(1), gold: Duration::ZERO, ..Pace::default() },
        ..Host::default()
    }
}

fn spool(host: &Host) -> &Spool {
    match &host.queues[0].binding {
        Binding::Spool(spool) => spool,
        Binding::Sqs { queue, .. } => panic!("no spool: {queue:?}"),
    }
}

fn messages(trigger: &Trigger) -> Vec<String> {
    match &trigger.cause {
        Cause::Messages(batch) => batch.messages.iter().map(|message| message.id.clone()).collect(),
        Cause::Partitions(_) | Cause::Objects(_) | Cause::Commits(_) | Cause::Timer(_) => Vec::new(),
    }
}

#[tokio::test]
async fn an_update_hands_over_all_messages_and_then_wakes_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let woken = RefCell::new(Vec::new());
    let handler = |function: FunctionKind, trigger: Trigger| {
        woken.borrow_mut().push((function, messages(&trigger).len()));
        std::future::ready(Report::default())
    };
    host.update(&ALL, &handler, &|_| {}).await.unwrap();
    let expected = [
        (FunctionKind::BronzeEvents, 2),
        (FunctionKind::BronzeEvents, 2),
        (FunctionKind::BronzeEvents, 1),
        (FunctionKind::Silver, 0),
        (FunctionKind::Gold, 0),
        (FunctionKind::Compact, 0),
    ];
    assert_eq!(*woken.borrow(), expected);
    assert_eq!(spool(&host).depth(Utc::now()).unwrap().waiting, 0);
}

#[tokio::test]
async fn a_message_worth_a_redelivery_is_tried_once_an_update_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let tried = Cell::new(0);
    let handler = |_: FunctionKind, trigger: Trigger| {
        let retry: Vec<_> =
            messages(&trigger).into_iter().map(|item| Retry { item, reason: "storage is down".into() }).collect();
        tried.set(tried.get() + retry.len());
        std::future::ready(Report { retry, ..Report::default() })
    };
    let report = host.update(&ALL, &handler, &|_| {}).await.unwrap();
    assert_eq!((tried.get(), report.retry.len()), (5, 5));
    assert_eq!(spool(&host).depth(Utc::now()).unwrap().waiting, 5);
}

#[tokio::test]
async fn messages_stay_hidden_from_others_while_they_are_worked_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = host(folder.path());
    let options = SpoolOptions { visibility_timeout: Duration::from_secs(2), max_receive_count: 5 };
    host.queues[0].binding = Binding::Spool(Spool::open(folder.path().join("spool"), options).unwrap());
    host.pace.batch_messages = 5;
    let handler = async |seen: Spool| {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        assert_eq!(seen.receive(5, u64::MAX, Utc::now()).unwrap(), []);
        Report::default()
    };
    let spool = spool(&host).clone();
    let handler = |_: FunctionKind, _: Trigger| handler(spool.clone());
    host.update(&ALL[..1], &handler, &|_| {}).await.unwrap();
    assert_eq!(spool.depth(Utc::now()).unwrap(), crate::spool::Depth::default());
}

/// A host that reads a queue of SQS with five messages.
async fn on_sqs(server: &Server) -> Host {
    let queue = server.queue("q");
    queue.send(&(0..5).map(|index| NewMessage::new(format!("{index}"))).collect::<Vec<_>>()).await.unwrap();
    let binding = Binding::Sqs { queue, visibility_timeout: Duration::from_secs(60) };
    Host { queues: vec![Queue { source: "events".into(), binding }], ..Host::default() }
}

/// The messages' receive counts.
fn counts(trigger: &Trigger) -> Vec<u32> {
    match &trigger.cause {
        Cause::Messages(batch) => batch.messages.iter().map(|message| message.receive_count).collect(),
        Cause::Partitions(_) | Cause::Objects(_) | Cause::Commits(_) | Cause::Timer(_) => Vec::new(),
    }
}

#[tokio::test]
async fn messages_of_sqs_are_deleted_when_they_are_done_and_shown_again_when_not() {
    let server = Server::start(&["q"]).await;
    let host = on_sqs(&server).await;
    let handler = |_: FunctionKind, trigger: Trigger| {
        let retry = messages(&trigger).into_iter().take(2);
        let retry = retry.map(|item| Retry { item, reason: "storage is down".into() }).collect();
        std::future::ready(Report { retry, ..Report::default() })
    };
    host.update(&ALL[..1], &handler, &|_| {}).await.unwrap();
    assert_eq!(server.bodies("q").len(), 2);
    let seen = RefCell::new(Vec::new());
    let handler = |_: FunctionKind, trigger: Trigger| {
        seen.borrow_mut().extend(counts(&trigger));
        std::future::ready(Report::default())
    };
    host.update(&ALL[..1], &handler, &|_| {}).await.unwrap();
    assert_eq!(*seen.borrow(), [2, 2]);
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn messages_of_sqs_come_again_when_the_host_dies_before_they_are_deleted() {
    let server = Server::start(&["q"]).await;
    let host = on_sqs(&server).await;
    let committed = tokio::sync::Notify::new();
    let handler = async |_: FunctionKind, _: Trigger| {
        committed.notify_one();
        std::future::pending::<Report>().await
    };
    let handler = |function: FunctionKind, trigger: Trigger| handler(function, trigger);
    tokio::select! {
        _ = host.update(&ALL[..1], &handler, &|_| {}) => panic!("it died"),
        () = committed.notified() => {}
    }
    assert!(server.calls("DeleteMessageBatch").is_empty());
    server.show("q");
    let seen = RefCell::new(Vec::new());
    let handler = |_: FunctionKind, trigger: Trigger| {
        seen.borrow_mut().extend(counts(&trigger));
        std::future::ready(Report::default())
    };
    host.update(&ALL[..1], &handler, &|_| {}).await.unwrap();
    assert_eq!(*seen.borrow(), [2, 2, 2, 2, 2], "so that they are looked up");
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn messages_of_sqs_are_hidden_for_longer_while_they_are_worked_on() {
    let server = Server::start(&["q"]).await;
    let mut host = on_sqs(&server).await;
    if let Binding::Sqs { visibility_timeout, .. } = &mut host.queues[0].binding {
        *visibility_timeout = Duration::from_secs(1);
    }
    let queue = server.queue("q");
    let handler = async |queue: sqs::Queue| {
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        assert_eq!(queue.depth().await.unwrap().waiting, 0);
        Report::default()
    };
    let handler = |_: FunctionKind, _: Trigger| handler(queue.clone());
    host.update(&ALL[..1], &handler, &|_| {}).await.unwrap();
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn what_lands_and_streams_is_woken_until_it_commits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host { reads_files: true, ..host(folder.path()) };
    let rounds = RefCell::new(std::collections::BTreeMap::new());
    let handler = |function: FunctionKind, _: Trigger| {
        let mut rounds = rounds.borrow_mut();
        let round: &mut u64 = rounds.entry(function).or_default();
        *round += 1;
        std::future::ready(if *round < 3 { committed(*round) } else { Report::default() })
    };
    host.update(&ALL[1..4], &handler, &|_| {}).await.unwrap();
    assert_eq!(rounds.borrow().values().copied().collect::<Vec<_>>(), [3, 3, 1]);
}

#[tokio::test]
async fn commits_of_others_during_an_update_wake_silver_again() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let causes = RefCell::new(Vec::new());
    let handler = |_: FunctionKind, trigger: Trigger| {
        if causes.borrow().is_empty() {
            commit(&folder.path().join("raw"), 7);
        }
        causes.borrow_mut().push(trigger.cause);
        std::future::ready(Report::default())
    };
    host.update(&[FunctionKind::Silver], &handler, &|_| {}).await.unwrap();
    let expected = [Cause::Timer(Vec::new()), Cause::Commits(vec![DatasetName::new("raw")])];
    assert_eq!(*causes.borrow(), expected);
}

/// A view of files is computed each time that gold is woken, so that gold never has nothing to commit.
#[tokio::test]
async fn an_update_wakes_gold_again_only_where_a_race_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    for (outcome, expected) in
        [(Outcome::Committed { version: 1 }, 1), (Outcome::Retryable { reason: "a race".into() }, 5)]
    {
        let woken = Cell::new(0);
        let handler = |_: FunctionKind, _: Trigger| {
            woken.set(woken.get() + 1);
            let mut report = committed(1);
            report.flows[0].outcome = outcome.clone();
            std::future::ready(report)
        };
        let report = host(folder.path()).update(&[FunctionKind::Gold], &handler, &|_| {}).await.unwrap();
        assert_eq!((woken.get(), report.flows.len()), (expected, expected));
    }
}

/// What arrives is committed only after the sweep that silver begins with: its next wake is for the commits.
#[tokio::test]
async fn watching_follows_the_commits_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let (stopper, stop) = watch::channel(false);
    let (swept, has_swept) = watch::channel(false);
    let (woken, commits) = (RefCell::new(Vec::new()), Cell::new(0));
    let handle = async |function: FunctionKind, trigger: Trigger| {
        woken.borrow_mut().push(function);
        match (function, &trigger.cause) {
            (FunctionKind::BronzeEvents, _) => {
                has_swept.clone().wait_for(|swept| *swept).await.unwrap();
                commit(&folder.path().join("raw"), commits.get());
                commits.set(commits.get() + 1);
                return committed(commits.get());
            }
            (FunctionKind::Silver, Cause::Timer(_)) => {
                swept.send_replace(true);
            }
            (FunctionKind::Silver, Cause::Commits(tables)) => {
                assert_eq!(*tables, [DatasetName::new("raw")]);
                stopper.send_replace(true);
            }
            _ => {}
        }
        Report::default()
    };
    let handler = |function, trigger| handle(function, trigger);
    let watching = host.watch(&handler, &|_| {}, stop);
    tokio::time::timeout(Duration::from_secs(20), watching).await.unwrap();
    assert!(commits.get() > 0);
    assert!(!woken.borrow().contains(&FunctionKind::Compact));
}

#[test]
fn only_commits_count_as_versions() {
    let folder = tempfile::tempdir().unwrap();
    let table = WatchedTable { dataset: DatasetName::new("t"), folder: folder.path().join("t") };
    let tables = [table];
    let mut log = CommitLog::default();
    assert_eq!(log.changed(&tables).unwrap(), []);
    commit(&tables[0].folder, 0);
    assert_eq!(log.changed(&tables).unwrap().len(), 1);
    for name in ["_last_checkpoint", "00000000000000000009.checkpoint.parquet", "9.json", "x0000000000000000001.json"] {
        fs::write(tables[0].folder.join("_delta_log").join(name), "").unwrap();
    }
    assert_eq!(log.changed(&tables).unwrap(), []);
    commit(&tables[0].folder, 1);
    assert_eq!(log.changed(&tables).unwrap().len(), 1);
}

/// How often a log is seen to have changed that has these entries, and this hint, at each of several looks.
fn changes(looks: &[(&[u64], &str)]) -> Vec<bool> {
    let folder = tempfile::tempdir().unwrap();
    let tables = [WatchedTable { dataset: DatasetName::new("t"), folder: folder.path().join("t") }];
    let mut log = CommitLog::default();
    let mut look = |(versions, hint): &(&[u64], &str)| {
        let entries = tables[0].folder.join("_delta_log");
        if entries.exists() {
            fs::remove_dir_all(&entries).unwrap();
        }
        versions.iter().for_each(|version| commit(&tables[0].folder, *version));
        if !hint.is_empty() {
            fs::write(entries.join("_last_checkpoint"), hint).unwrap();
        }
        !log.changed(&tables).unwrap().is_empty()
    };
    looks.iter().map(&mut look).collect()
}

#[test]
fn a_log_is_not_listed_again() {
    // Nobody leaves out an entry: only a listing would find the last one.
    assert_eq!(changes(&[(&[0, 1], ""), (&[0, 1, 3], ""), (&[0, 1, 2, 3], "")]), [true, false, true]);
    let hint = r#"{"version": 4, "size": 9}"#;
    assert_eq!(changes(&[(&[4, 5, 7], hint), (&[4, 5], hint), (&[4, 5, 6], hint)]), [true, false, true]);
}

#[test]
fn what_a_log_has_become_meanwhile_is_seen() {
    let hint = r#"{"version": 40}"#;
    assert_eq!(changes(&[(&[0, 1], ""), (&[40, 41], hint), (&[40, 41], hint)]), [true, true, false], "cleaned up");
    assert_eq!(changes(&[(&[0, 1], ""), (&[40, 41], ""), (&[40, 41, 42], "{")]), [true, true, true], "without a hint");
    assert_eq!(changes(&[(&[0, 1, 2], ""), (&[0], ""), (&[], ""), (&[0], "")]), [true; 4], "made anew");
    assert_eq!(changes(&[(&[0, 1], hint), (&[0, 1, 2], hint)]), [true, true], "a hint of another table");
}
