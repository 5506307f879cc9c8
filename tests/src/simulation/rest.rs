//! Whether all other threads of the process are asleep, as the system tells it.
//!
//! A thread that has been woken is no longer asleep, whether it has run by then or not, and one that has run since has
//! been switched to. So if two looks at all threads, one after another, find each of them asleep and none switched
//! to between, then there was a moment at which all slept, and nobody was left to wake them but whoever looked.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Between looks, while something is at work.
const PAUSE: Duration = Duration::from_micros(100);

/// A thread that is asleep: its number, and how often it was switched from.
type Asleep = (u64, u64);

/// Waits until all threads but the one that asks are asleep, or until there is no more reason to wait.
pub(super) fn comes(is_over: impl Fn() -> bool) {
    let own = own_number();
    while !is_over() {
        if let Some(seen) = look(own)
            && look(own).as_ref() == Some(&seen)
        {
            return;
        }
        sleep(PAUSE);
    }
}

/// The number of the thread that asks: `/proc/thread-self` leads to `<process>/task/<thread>`.
fn own_number() -> u64 {
    let place: PathBuf = fs::read_link("/proc/thread-self").expect("Linux tells of threads");
    place.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a thread has a number")
}

/// All threads but one, if they are asleep.
fn look(own: u64) -> Option<Vec<Asleep>> {
    let numbers = fs::read_dir("/proc/self/task").ok()?;
    let mut numbers: Vec<u64> = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers.retain(|number| *number != own);
    numbers.sort_unstable();
    numbers.into_iter().map(asleep).collect()
}

fn asleep(number: u64) -> Option<Asleep> {
    let status = fs::read_to_string(format!("/proc/self/task/{number}/status")).ok()?;
    let mut switches = 0;
    for line in status.lines() {
        match line.split_once(':')? {
            ("State", state) if !state.trim_start().starts_with('S') => return None,
            ("voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches", count) => {
                switches += count.trim().parse::<u64>().ok()?;
            }
            _ => {}
        }
    }
    Some((number, switches))
}
