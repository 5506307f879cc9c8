//! Whether all other threads of the process are asleep, as the system tells it.
//!
//! A thread that has been woken is no longer asleep, whether it has run by then or not, and one that has run since has
//! been switched to. So if two looks at all threads, one after another, find each of them asleep and none switched
//! to between, then there was a moment at which all slept, and nobody was left to wake them but whoever looked.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Before the first look; what was just told to go on is at work.
const PAUSE: Duration = Duration::from_micros(50);

/// Pauses grow up to this while something is at work: looks take the processor that it needs.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// So many pauses go by without a look while the runtime says that it is at work. It can't say that another thread holds it up.
const PAUSES: u32 = 8;

/// Bytes of what the system tells of a thread, and more.
const STATUS: usize = 8 << 10;

/// The threads of this process but one.
#[derive(Debug)]
pub(super) struct Threads {
    own: u64,
    /// What is told of each, once it was asked for.
    told: BTreeMap<u64, File>,
    /// Those that sleep, and how often each was switched from.
    asleep: Vec<(u64, u64)>,
}

impl Threads {
    /// All but the one that asks.
    pub(super) fn others() -> Self {
        // `/proc/thread-self` leads to `<process>/task/<thread>`.
        let place: PathBuf = fs::read_link("/proc/thread-self").expect("Linux tells of threads");
        let own = place.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a thread has a number");
        Self { own, told: BTreeMap::new(), asleep: Vec::new() }
    }

    /// Waits until all of them are asleep, or until there is no more reason to wait.
    pub(super) fn rest(&mut self, is_at_work: impl Fn() -> bool, is_over: impl Fn() -> bool) {
        let (mut pause, mut pauses) = (PAUSE, 0);
        while !is_over() {
            sleep(pause);
            (pause, pauses) = (LONGEST_PAUSE.min(pause * 3 / 2), pauses + 1);
            if is_at_work() && pauses % PAUSES != 0 {
                continue;
            }
            if self.look() {
                let seen = self.asleep.clone();
                if self.look() && self.asleep == seen {
                    return;
                }
            }
        }
    }

    /// Whether each of them sleeps, the newest first.
    fn look(&mut self) -> bool {
        let Ok(entries) = fs::read_dir("/proc/self/task") else { return false };
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut numbers: Vec<u64> = numbers.filter(|number| *number != self.own).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        self.told.retain(|number, _| numbers.contains(number));
        self.asleep.clear();
        for number in numbers {
            let Some(switches) = self.asleep(number) else { return false };
            self.asleep.push((number, switches));
        }
        true
    }

    /// How often a thread was switched from, if it sleeps.
    fn asleep(&mut self, number: u64) -> Option<u64> {
        let file = match self.told.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(File::open(format!("/proc/self/task/{number}/status")).ok()?),
        };
        let mut status = [0; STATUS];
        let length = file.read_at(&mut status, 0).ok()?;
        let status = std::str::from_utf8(&status[..length]).ok()?;
        let after = |name: &str| Some(status.split_once(name)?.1.trim_start());
        if !after("\nState:")?.starts_with('S') {
            return None;
        }
        // The last two lines.
        let counts = after("\nvoluntary_ctxt_switches:")?.lines();
        counts.map(|line| line.rsplit(['\t', ' ']).next()?.parse::<u64>().ok()).sum()
    }
}
