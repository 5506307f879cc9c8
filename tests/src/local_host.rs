//! The local host with the five handlers: from a queue's folder to gold, by triggers alone.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use headwater_core::name::DatasetName;
use headwater_core::report::{Report, Retry};
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;
use headwater_runtime::local::{Binding, FunctionKind, Host, Pace, Queue, WatchedTable};
use headwater_runtime::spool::{NewMessage, Spool, SpoolOptions};
use tokio::sync::watch;

use crate::lakes::{pipeline_with, values, wake};

const ALL: [FunctionKind; 5] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

const SQL: &str = "
    CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT');
    CREATE STREAMING TABLE others (CONSTRAINT small EXPECT (n < 100) ON VIOLATION FAIL UPDATE)
      AS SELECT * FROM STREAM read_events('others', format => 'json', schema => 'n INT');
    CREATE STREAMING TABLE landed AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT');
    CREATE STREAMING TABLE checked (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW);
    CREATE FLOW from_raw AS INSERT INTO checked BY NAME SELECT n FROM STREAM raw;
    CREATE FLOW from_landed AS INSERT INTO checked BY NAME SELECT n FROM STREAM landed;
    CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM checked";

/// A generous limit for what takes well under a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lake and its queues in a folder.
struct Site {
    lake: Lake,
    host: Host,
}

fn site(folder: &Path) -> Site {
    std::fs::create_dir(folder.join("in")).unwrap();
    let lake = Lake::open(pipeline_with(SQL, &["events", "others"]), folder).unwrap();
    let options = SpoolOptions { visibility_timeout: Duration::from_millis(20), max_receive_count: 3 };
    let queue = |source: &str| Queue {
        source: source.to_owned(),
        binding: Binding::Spool(Spool::open(folder.join(source), options.clone()).unwrap()),
    };
    let watched = |name: &str| {
        let dataset = DatasetName::new(name);
        let folder = folder.join("lake").join(lake.table_path(&dataset).unwrap());
        WatchedTable { dataset, folder }
    };
    let tables = ["raw", "others", "landed", "checked", "total"].map(watched).into();
    let queues = vec![queue("others"), queue("events")];
    let pace = Pace { poll: Duration::from_millis(5), gold: Duration::from_millis(5), ..Pace::default() };
    let host = Host { queues, hubs: Vec::new(), landing: vec![folder.join("in")], reads_files: true, tables, pace };
    Site { lake, host }
}

impl Site {
    fn spool(&self, source: &str) -> &Spool {
        match &self.host.queues.iter().find(|queue| queue.source == source).unwrap().binding {
            Binding::Spool(spool) => spool,
            Binding::Sqs { queue, .. } => panic!("no spool: {queue:?}"),
        }
    }

    fn send(&self, source: &str, bodies: &[&str]) {
        let messages: Vec<_> = bodies.iter().map(|body| NewMessage::new((*body).to_owned())).collect();
        self.spool(source).send(&messages, Utc::now()).unwrap();
    }

    async fn update(&self) -> Report {
        let handler = |function, trigger: Trigger| wake(&self.lake, function, trigger.cause);
        self.host.update(&ALL, &handler, &|_| {}).await.unwrap()
    }

    /// Waits until a table holds these numbers.
    async fn until(&self, table: &str, numbers: &[&str]) {
        let reached = async {
            while values(&self.lake, table, "n").await != numbers {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{table} never held {numbers:?}"));
    }
}

#[tokio::test]
async fn one_update_takes_what_waits_to_gold() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    site.send("events", &["{\"n\": 1}", "{\"n\": -1}", "not json"]);
    std::fs::write(folder.path().join("in/a.json"), "{\"n\": 10}\n").unwrap();
    site.update().await;
    assert_eq!(values(&site.lake, "total", "n").await, ["11"]);
    assert_eq!(values(&site.lake, "checked__quarantine", "n").await, ["-1"]);
    assert_eq!(site.spool("events").depth(Utc::now()).unwrap(), headwater_runtime::spool::Depth::default());
    let again = site.update().await;
    assert_eq!(crate::lakes::commits(&again), 0, "{again:#?}");
}

#[tokio::test]
async fn what_is_sent_while_watching_arrives_in_gold_by_triggers() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let (stopper, stop) = watch::channel(false);
    let handler = |function, trigger: Trigger| wake(&site.lake, function, trigger.cause);
    let sender = async {
        site.send("events", &["{\"n\": 1}"]);
        site.until("total", &["1"]).await;
        site.send("events", &["{\"n\": 2}"]);
        site.until("total", &["3"]).await;
        std::fs::write(folder.path().join("in/a.json"), "{\"n\": 10}\n").unwrap();
        site.until("total", &["13"]).await;
        stopper.send_replace(true);
    };
    tokio::join!(site.host.watch(&handler, &|_| {}, stop), sender);
    assert_eq!(values(&site.lake, "checked", "n").await, ["1", "10", "2"]);
}

#[tokio::test]
async fn a_function_that_fails_is_woken_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let (stopper, stop) = watch::channel(false);
    let failures = Cell::new(2);
    let handler = |function: FunctionKind, trigger: Trigger| {
        let is_failing = matches!(trigger.cause, Cause::Messages(_)) && failures.get() > 0;
        let (lake, failures) = (&site.lake, &failures);
        async move {
            match &trigger.cause {
                Cause::Messages(batch) if is_failing => {
                    failures.set(failures.get() - 1);
                    let retry = |message: &headwater_core::trigger::Message| Retry {
                        item: message.id.clone(),
                        reason: "down".into(),
                    };
                    Report { retry: batch.messages.iter().map(retry).collect(), ..Report::default() }
                }
                _ => wake(lake, function, trigger.cause).await,
            }
        }
    };
    let sender = async {
        site.send("events", &["{\"n\": 1}", "{\"n\": 2}"]);
        site.until("total", &["3"]).await;
        stopper.send_replace(true);
    };
    tokio::join!(site.host.watch(&handler, &|_| {}, stop), sender);
    assert_eq!(failures.get(), 0);
    assert_eq!(values(&site.lake, "raw", "n").await, ["1", "2"]);
}

#[tokio::test]
async fn a_poison_batch_becomes_dead_letters_and_other_sources_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let (stopper, stop) = watch::channel(false);
    let handler = |function, trigger: Trigger| wake(&site.lake, function, trigger.cause);
    let sender = async {
        site.send("others", &["{\"n\": 1000}"]);
        site.send("events", &["{\"n\": 1}"]);
        site.until("total", &["1"]).await;
        let dead = async {
            while site.spool("others").depth(Utc::now()).unwrap().dead < 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, dead).await.unwrap();
        site.send("others", &["{\"n\": 5}"]);
        site.until("others", &["5"]).await;
        stopper.send_replace(true);
    };
    tokio::join!(site.host.watch(&handler, &|_| {}, stop), sender);
    let letters = site.spool("others").dead_letters(10).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.body.as_ref()).collect::<Vec<_>>(), [b"{\"n\": 1000}"]);
    assert!(values(&site.lake, "others__quarantine", "n").await.is_empty());
}
