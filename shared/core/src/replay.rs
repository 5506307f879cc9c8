//! Plans how recorded events are sent again: speed, duplicates, disorder, delays and corruption.
//!
//! A plan is a pure function of the events' times, the options and the seed. It is made event by
//! event, in the recorded order, and holds back no more than the window of disorder and the longest
//! delay: a recording of any length can be replayed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// How fast events are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the target takes them.
    Max,
    /// So many seconds of event time in one second.
    Times(f64),
    /// So many events a second.
    PerSecond(f64),
}

/// What happens to events on their way. Shares are probabilities from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// The same seed gives the same plan.
    pub seed: u64,
    /// How fast.
    pub speed: Speed,
    /// Share of events that are sent twice.
    pub duplicates: f64,
    /// Each event may change places with others within this many events.
    pub disorder: u32,
    /// Share of events that are held back.
    pub delays: f64,
    /// For how long, in event time (in events a second: in seconds of sending).
    pub delay: Duration,
    /// Share of events that arrive corrupted, besides their whole selves.
    pub corruption: f64,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            speed: Speed::Max,
            duplicates: 0.0,
            disorder: 0,
            delays: 0.0,
            delay: Duration::from_secs(600),
            corruption: 0.0,
        }
    }
}

impl ReplayOptions {
    /// What is wrong with the options: one sentence each, beginning with the option's name.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let shares = [("duplicates", self.duplicates), ("delays", self.delays), ("corruption", self.corruption)];
        let mut problems: Vec<String> = shares
            .iter()
            .filter(|(_, share)| !(0.0..=1.0).contains(share))
            .map(|(name, share)| format!("{name} is a share between 0 and 1, not {share}"))
            .collect();
        if let Speed::Times(speed) | Speed::PerSecond(speed) = self.speed
            && !(speed.is_finite() && speed > 0.0)
        {
            problems.push(format!("speed must be greater than 0, not {speed}"));
        }
        problems
    }
}

/// How a payload is corrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// Cut off at a part of its length, in thousandths.
    Truncated(u16),
    /// A byte that no UTF-8 text holds, at a part of its length, in thousandths.
    InvalidUtf8(u16),
    /// Whole JSON, but no object.
    WrongType,
    /// No JSON at all.
    NotJson,
    /// No bytes.
    Empty,
}

impl Corruption {
    /// The corrupted payload; it differs from every JSON object.
    #[must_use]
    pub fn apply(self, payload: &[u8]) -> Vec<u8> {
        let at = |part: u16| payload.len().saturating_sub(1) * usize::from(part.min(1000)) / 1000;
        match self {
            Self::Truncated(part) => payload[..at(part)].to_vec(),
            Self::InvalidUtf8(part) => {
                let mut bytes = payload.to_vec();
                bytes.insert(at(part), 0xff);
                bytes
            }
            Self::WrongType => b"[1, \"not an object\"]".to_vec(),
            Self::NotJson => [b"<event>", payload].concat(),
            Self::Empty => Vec::new(),
        }
    }
}

/// One sending of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// When, from the start of the replay; zero at full speed.
    pub offset: Duration,
    /// Which event, counted from 0 in the recorded order.
    pub event: u64,
    /// What happens to its payload; `None` for nothing.
    pub corruption: Option<Corruption>,
}

/// A plan in the making. Each recorded event goes in once; sendings come out in the order of sending.
#[derive(Debug, Clone)]
pub struct ReplayPlan {
    options: ReplayOptions,
    random: Random,
    first: Option<DateTime<Utc>>,
    /// Event time of the replay so far; it never goes back.
    clock: Duration,
    events: u64,
    sent: u64,
    /// Events that may yet change places.
    window: Vec<u64>,
    /// Sendings held back until their time; those of one time in the order of planning.
    held: BinaryHeap<Reverse<(Duration, u64, u64)>>,
}

impl ReplayPlan {
    /// A plan for events that are yet to come.
    #[must_use]
    pub fn new(options: ReplayOptions) -> Self {
        let random = Random(options.seed);
        let (window, held) = (Vec::new(), BinaryHeap::new());
        Self { options, random, first: None, clock: Duration::ZERO, events: 0, sent: 0, window, held }
    }

    /// Plans the next event; gives the sendings whose turn it is. An event without a time counts as
    /// one second after the one before it.
    pub fn push(&mut self, time: Option<DateTime<Utc>>) -> Vec<Send> {
        self.advance(time);
        self.window.push(self.events);
        self.events += 1;
        let mut sends = self.release(self.clock);
        if self.window.len() > self.options.disorder as usize {
            let chosen = self.random.below(self.window.len());
            let event = self.window.swap_remove(chosen);
            self.send(event, &mut sends);
        }
        sends
    }

    /// What is left once all events are in.
    pub fn finish(&mut self) -> Vec<Send> {
        let mut sends = Vec::new();
        while !self.window.is_empty() {
            let chosen = self.random.below(self.window.len());
            let event = self.window.swap_remove(chosen);
            self.send(event, &mut sends);
        }
        while let Some(Reverse((due, ..))) = self.held.peek() {
            self.clock = self.clock.max(*due);
            sends.extend(self.release(self.clock));
        }
        sends
    }

    /// No event before this one will be sent again.
    #[must_use]
    pub fn oldest_pending(&self) -> u64 {
        let held = self.held.iter().map(|Reverse((.., event))| *event);
        self.window.iter().copied().chain(held).min().unwrap_or(self.events)
    }

    fn advance(&mut self, time: Option<DateTime<Utc>>) {
        let Some(time) = time else {
            self.clock = self.clock.saturating_add(Duration::from_secs(u64::from(self.events > 0)));
            return;
        };
        let first = *self.first.get_or_insert(time);
        self.clock = self.clock.max((time - first).to_std().unwrap_or_default());
    }

    /// Sends an event now or holds it back, with what is sent besides it.
    fn send(&mut self, event: u64, sends: &mut Vec<Send>) {
        if self.random.chance(self.options.corruption) {
            let corruption = self.random.corruption();
            let send = self.at(event, Some(corruption));
            sends.push(send);
        }
        if self.random.chance(self.options.delays) {
            self.hold(event, self.options.delay);
        } else {
            let send = self.at(event, None);
            sends.push(send);
        }
        if self.random.chance(self.options.duplicates) {
            let delay = self.options.delay.mul_f64(self.random.share());
            self.hold(event, delay);
        }
    }

    fn hold(&mut self, event: u64, delay: Duration) {
        let planned = self.held.len() as u64 + self.sent;
        self.held.push(Reverse((self.clock.saturating_add(delay), planned, event)));
    }

    fn release(&mut self, until: Duration) -> Vec<Send> {
        let mut sends = Vec::new();
        while let Some(Reverse((due, _, event))) = self.held.peek().copied().filter(|Reverse((due, ..))| *due <= until)
        {
            self.held.pop();
            self.clock = self.clock.max(due);
            let send = self.at(event, None);
            sends.push(send);
        }
        sends
    }

    fn at(&mut self, event: u64, corruption: Option<Corruption>) -> Send {
        let offset = match self.options.speed {
            Speed::Max => Duration::ZERO,
            Speed::Times(times) => {
                Duration::try_from_secs_f64(self.clock.as_secs_f64() / times).unwrap_or(Duration::MAX)
            }
            Speed::PerSecond(rate) => Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX),
        };
        self.sent += 1;
        Send { offset, event, corruption }
    }
}

/// SplitMix64: small, seeded, and the same on every machine.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, but not including, 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// An index below `len`; 0 if there is none.
    fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % (len.max(1) as u64)).unwrap_or(0)
    }

    fn corruption(&mut self) -> Corruption {
        let part = u16::try_from(self.below(1000)).unwrap_or(0);
        match self.below(5) {
            0 => Corruption::Truncated(part),
            1 => Corruption::InvalidUtf8(part),
            2 => Corruption::WrongType,
            3 => Corruption::NotJson,
            _ => Corruption::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(options: ReplayOptions, seconds: &[i64]) -> Vec<Send> {
        let mut plan = ReplayPlan::new(options);
        let mut sends = Vec::new();
        for second in seconds {
            sends.extend(plan.push(DateTime::from_timestamp(*second, 0)));
        }
        sends.extend(plan.finish());
        sends
    }

    #[test]
    fn without_options_events_are_sent_once_in_order() {
        let sends = plan(ReplayOptions::default(), &[1, 2, 3]);
        let expected: Vec<_> = (0..3).map(|event| Send { offset: Duration::ZERO, event, corruption: None }).collect();
        assert_eq!(sends, expected);
    }

    #[test]
    fn speed_scales_event_time() {
        let sends = plan(ReplayOptions { speed: Speed::Times(60.0), ..ReplayOptions::default() }, &[0, 60, 30, 600]);
        assert_eq!(sends.iter().map(|send| send.offset.as_secs()).collect::<Vec<_>>(), [0, 1, 1, 10]);
    }

    #[test]
    fn a_rate_spaces_events_evenly() {
        let sends = plan(ReplayOptions { speed: Speed::PerSecond(2.0), ..ReplayOptions::default() }, &[0, 0, 0, 9]);
        assert_eq!(sends.iter().map(|send| send.offset.as_millis()).collect::<Vec<_>>(), [0, 500, 1000, 1500]);
    }

    #[test]
    fn a_delayed_event_comes_when_its_delay_is_over() {
        let options = ReplayOptions {
            delays: 1.0,
            delay: Duration::from_secs(2),
            speed: Speed::Times(1.0),
            ..ReplayOptions::default()
        };
        let sends = plan(options, &[0, 1, 5]);
        assert_eq!(sends.iter().map(|send| send.event).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(sends[2].offset.as_secs(), 7);
    }

    #[test]
    fn wrong_options_are_named() {
        let options = ReplayOptions { duplicates: 1.5, speed: Speed::Times(0.0), ..ReplayOptions::default() };
        let problems = options.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(ReplayOptions::default().problems().is_empty());
    }

    #[test]
    fn a_corrupted_payload_is_no_json_object() {
        let payload = br#"{"a": {"b": 1}, "c": "d"}"#;
        for part in [0, 1, 500, 999, 1000, u16::MAX] {
            for corruption in [
                Corruption::Truncated(part),
                Corruption::InvalidUtf8(part),
                Corruption::WrongType,
                Corruption::NotJson,
                Corruption::Empty,
            ] {
                let corrupted = corruption.apply(payload);
                let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&corrupted);
                assert!(parsed.is_err(), "{corruption:?}");
                assert!(corruption.apply(b"").len() < 32);
            }
        }
    }

    proptest! {
        #[test]
        fn every_event_arrives_whole_once_or_twice_and_time_never_goes_back(
            seed in any::<u64>(), shares in (0.0..1.0, 0.0..1.0, 0.0..1.0), disorder in 0_u32..20,
            seconds in prop::collection::vec(0_i64..10_000, 0..100),
        ) {
            let options = ReplayOptions {
                seed, disorder, speed: Speed::Times(10.0), duplicates: shares.0, delays: shares.1,
                corruption: shares.2, ..ReplayOptions::default()
            };
            let sends = plan(options.clone(), &seconds);
            prop_assert_eq!(&sends, &plan(options, &seconds));
            prop_assert!(sends.is_sorted_by_key(|send| send.offset));
            for event in 0..seconds.len() as u64 {
                let whole = sends.iter().filter(|send| send.event == event && send.corruption.is_none()).count();
                prop_assert!((1..=2).contains(&whole));
            }
        }
    }
}
