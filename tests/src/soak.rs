//! Soak: several writers on one lake in a folder and a reader that checks it all the while, in a process of its own whose memory
//! and open files must stay flat. `HEADWATER_SOAK_SECONDS=3600` goes on for an hour.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headwater_core::name::DatasetName;
use headwater_core::trigger::{Cause, Message};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{deliver, message, pipeline, tick, values, wake, well};

/// Tells a process of its own where its folder is, and for how many seconds it goes on.
const ORDERS: &str = "HEADWATER_SOAK_IN";

/// Seconds, unless the environment says otherwise.
const SECONDS: u64 = 20;

const SQL: &str = "
    CREATE STREAMING TABLE sent AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n BIGINT');
    CREATE STREAMING TABLE checked (CONSTRAINT positive EXPECT (n % 10 > 0) ON VIOLATION DROP ROW) AS SELECT n FROM STREAM sent;
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS rows, sum(n) AS total FROM checked";

/// Messages of a batch, of which a tenth comes twice.
const BATCH: u64 = 20;

fn lake(folder: &Path) -> Lake {
    let storage = Storage::open(folder.to_str().unwrap()).unwrap();
    Lake::with_storage(pipeline(SQL), folder, storage).unwrap()
}

/// What of a process is there: kilobytes of memory, and open files.
fn footprint() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes = resident.trim().trim_end_matches(" kB").trim().parse().unwrap();
    (kilobytes, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

/// Hands batches over until the time is up, each to a warm lake; messages that failed come again.
async fn send(folder: &Path, sent: &AtomicU64, until: Instant) {
    let lake = lake(folder);
    while Instant::now() < until {
        let first = sent.fetch_add(BATCH, Ordering::SeqCst);
        let mut batch: Vec<Message> =
            (first..first + BATCH).map(|n| message(&format!("m{n}"), format!("{{\"n\": {n}}}"), 1)).collect();
        batch.extend((first..first + BATCH / 10).map(|n| message(&format!("m{n}"), format!("{{\"n\": {n}}}"), 2)));
        while !batch.is_empty() {
            let report = deliver(&lake, batch.clone()).await;
            batch.retain(|message| report.retry.iter().any(|retry| retry.item == message.id));
            batch.iter_mut().for_each(|message| message.receive_count += 1);
        }
    }
}

async fn repeat(folder: &Path, function: FunctionKind, until: Instant) {
    let lake = lake(folder);
    while Instant::now() < until {
        wake(&lake, function, Cause::Timer(Vec::new())).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Looks at the tables as others see them: no row twice, none that was there gone. Says how often it looked.
async fn check(folder: &Path, until: Instant) -> (u64, Vec<(u64, usize)>) {
    let (mut before, mut looks, mut footprints) = (BTreeSet::new(), 0, Vec::new());
    while Instant::now() < until {
        let ids = values(&lake(folder), "sent", "_metadata.message_id").await;
        let distinct: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(distinct.len(), ids.len(), "a message is there twice");
        assert!(before.is_subset(&distinct), "a message is gone");
        (before, looks) = (distinct, looks + 1);
        footprints.push(footprint());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (looks, footprints)
}

async fn soak(folder: &Path, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let sent = Arc::new(AtomicU64::new(0));
    let (_, _, _, _, _, _, (looks, footprints)) = tokio::join!(
        send(folder, &sent, until),
        send(folder, &sent, until),
        repeat(folder, FunctionKind::Silver, until),
        repeat(folder, FunctionKind::Silver, until),
        repeat(folder, FunctionKind::Gold, until),
        repeat(folder, FunctionKind::Compact, until),
        check(folder, until),
    );
    let lake = lake(folder);
    for function in [FunctionKind::Silver, FunctionKind::Gold, FunctionKind::Compact] {
        well(tick(&lake, function).await);
    }
    let sent = sent.load(Ordering::SeqCst);
    assert_eq!(values(&lake, "sent", "_metadata.message_id").await.len() as u64, sent);
    let mut found = values(&lake, "checked", "n").await;
    found.extend(values(&lake, &DatasetName::new("checked").quarantine().to_string(), "n").await);
    assert_eq!(found.len() as u64, sent, "rows of silver and of its quarantine");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len() as u64, sent, "each once");
    let settled = &footprints[footprints.len() / 3..];
    let (first, last) = (settled[0], settled[settled.len() - 1]);
    println!("{sent} messages, {looks} looks; kB and open files {first:?} after a third, {last:?} at the end");
    assert!(last.0 < 2 * first.0 + (200 << 10), "memory grows: {first:?} to {last:?}");
    assert!(last.1 < 2 * first.1 + 64, "open files grow: {first:?} to {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_a_reader_go_on_and_on() {
    let given = std::env::var("HEADWATER_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = given.unwrap_or(SECONDS);
    if let Ok(folder) = std::env::var(ORDERS) {
        Box::pin(soak(Path::new(&folder), seconds)).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["soak::writers_and_a_reader_go_on_and_on", "--exact", "--nocapture"])
        .env(ORDERS, folder.path())
        .output()
        .await
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    println!("{said}");
}
