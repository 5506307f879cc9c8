//! Real processes, killed at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread;

use super::*;

const CHILD: &str = "HEADWATER_TEST_SPOOL";
const KILLS: u64 = 60;

fn options() -> SpoolOptions {
    SpoolOptions { visibility_timeout: Duration::ZERO, max_receive_count: 1_000_000 }
}

/// The child's work, for ever: each line is said before its next step, a sending after it.
fn send_receive_delete(folder: &str) {
    let spool = Spool::open(folder, options()).unwrap();
    let messages: Vec<_> = (0..20).map(|index| NewMessage::new(vec![b'x'; index * 10])).collect();
    let say = |word: &str, ids: &mut dyn Iterator<Item = String>| {
        let lines: String = ids.map(|id| format!("\n@{word} {id} .\n")).collect();
        std::io::stdout().write_all(lines.as_bytes()).unwrap();
    };
    loop {
        let sent = spool.send(&messages, Utc::now()).unwrap();
        say("sent", &mut sent.into_iter());
        let received = spool.receive(15, u64::MAX, Utc::now()).unwrap();
        say("received", &mut received.iter().map(|message| format!("{} {}", message.id, message.receive_count)));
        let done: Vec<String> = received.iter().step_by(2).map(|message| message.id.clone()).collect();
        say("deletes", &mut done.iter().cloned());
        spool.delete(&done).unwrap();
    }
}

#[test]
fn child() {
    if let Ok(folder) = std::env::var(CHILD) {
        send_receive_delete(&folder);
    }
}

/// Runs a child for so long, kills it, and gives what it said.
fn run_and_kill(folder: &Path, millis: u64) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::killed::child", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        out.read_to_end(&mut said).unwrap();
        String::from_utf8(said).unwrap()
    });
    thread::sleep(Duration::from_millis(millis));
    child.kill().unwrap();
    child.wait().unwrap();
    said.join().unwrap()
}

#[test]
fn processes_killed_at_any_moment_lose_nothing_and_count_what_they_received() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sent, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for kill in 0..KILLS {
        for line in run_and_kill(folder.path(), 15 + kill * 37 % 50).lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["@sent", id, "."] => drop(sent.insert(id.to_owned())),
                ["@deletes", id, "."] => drop(deleted.insert(id.to_owned())),
                ["@received", id, count, "."] => {
                    let count: u32 = count.parse().unwrap();
                    assert!(count > counts.get(id).copied().unwrap_or(0), "{id} was received before");
                    counts.insert(id.to_owned(), count);
                }
                _ => {}
            }
        }
    }
    assert!(sent.len() > 100, "the children did something: {}", sent.len());
    let rest = Spool::open(folder.path(), options()).unwrap().receive(usize::MAX, u64::MAX, Utc::now()).unwrap();
    let rest: BTreeSet<String> = rest.into_iter().map(|message| message.id).collect();
    let lost: Vec<_> = sent.iter().filter(|id| !deleted.contains(*id) && !rest.contains(*id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
}
