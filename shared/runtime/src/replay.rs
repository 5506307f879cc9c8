//! Sends recorded events to a source, as `headwater_core::replay` plans it.
//!
//! A recording is NDJSON, plain or gzip: one event a line, in the order of its recording. It is
//! streamed; only events that are held back are kept in memory. Stopping is safe at any moment: a
//! batch is sent as a whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use flate2::bufread::MultiGzDecoder;
use headwater_core::replay::{ReplayOptions, ReplayPlan, Send};

use crate::error::{AtPath, Result, RuntimeError};
use crate::local::Stop;
use crate::spool::{NewMessage, Spool};

/// Where an event's time is looked for, if nobody says.
const TIME_FIELDS: [&str; 6] = ["event_time", "event_ts", "timestamp", "time", "ts", "occurred_at"];
/// Bytes of one recorded event at most.
const MAX_LINE: u64 = 64 << 20;
/// Bytes of one batch, about.
const BATCH_BYTES: usize = 8 << 20;
/// A wait is cut into naps, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);

/// A target of a replay.
pub trait Sink {
    /// Sends messages, all or none.
    ///
    /// # Errors
    /// When the target can't take them.
    fn send(&self, messages: &[NewMessage]) -> Result<()>;
}

impl Sink for Spool {
    fn send(&self, messages: &[NewMessage]) -> Result<()> {
        self.send(messages, Utc::now()).map(drop)
    }
}

/// What is replayed, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The recording.
    pub file: PathBuf,
    /// Speed and mishaps.
    pub options: ReplayOptions,
    /// The top-level field that holds an event's time; without it, the usual names are tried.
    pub time_field: Option<String>,
    /// Messages of one batch at most.
    pub batch: usize,
    /// How many events at the recording's start are left out, to go on after a stop.
    pub skip: u64,
}

impl Replay {
    /// The whole recording, once, in order, as fast as possible.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), options: ReplayOptions::default(), time_field: None, batch: 10_000, skip: 0 }
    }
}

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Recorded events read, those left out included.
    pub events: u64,
    /// Messages sent, duplicates and corrupted ones included.
    pub sent: u64,
    /// Of these, corrupted ones.
    pub corrupted: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Replays a recording. Blocks; `listener` is told after each batch; `stop` ends it between two.
///
/// # Errors
/// `Invalid` for wrong options and a recording that can't be read, else what the sink says. What was
/// sent before stays sent.
pub fn replay(replay: &Replay, sink: &dyn Sink, listener: &dyn Fn(Replayed), stop: &Stop) -> Result<Replayed> {
    if let Some(problem) = replay.options.problems().into_iter().next() {
        return Err(RuntimeError::Setting { name: "replay".to_owned(), problem });
    }
    let mut reader = open(&replay.file)?;
    let mut run = Run::new(replay, sink, listener, stop);
    while let Some(line) = next_line(&mut reader, &replay.file)? {
        run.push(line)?;
        if run.progress.stopped {
            return Ok(run.progress);
        }
    }
    run.finish()
}

struct Run<'a> {
    replay: &'a Replay,
    sink: &'a dyn Sink,
    listener: &'a dyn Fn(Replayed),
    stop: &'a Stop,
    plan: ReplayPlan,
    /// Events that were planned but perhaps not sent for the last time.
    events: BTreeMap<u64, Bytes>,
    planned: u64,
    batch: Vec<NewMessage>,
    batch_bytes: usize,
    corrupted: u64,
    started: Instant,
    progress: Replayed,
}

impl<'a> Run<'a> {
    fn new(replay: &'a Replay, sink: &'a dyn Sink, listener: &'a dyn Fn(Replayed), stop: &'a Stop) -> Self {
        Self {
            replay,
            sink,
            listener,
            stop,
            plan: ReplayPlan::new(replay.options.clone()),
            events: BTreeMap::new(),
            planned: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            corrupted: 0,
            started: Instant::now(),
            progress: Replayed::default(),
        }
    }

    fn push(&mut self, line: Bytes) -> Result<()> {
        self.progress.events += 1;
        if self.progress.events <= self.replay.skip {
            return Ok(());
        }
        let time = event_time(&line, self.replay.time_field.as_deref());
        self.events.insert(self.planned, line);
        self.planned += 1;
        let sends = self.plan.push(time);
        self.send(&sends)?;
        if self.batch.is_empty() {
            self.events = self.events.split_off(&self.plan.oldest_pending());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Replayed> {
        let sends = self.plan.finish();
        self.send(&sends)?;
        if !self.progress.stopped {
            self.flush()?;
        }
        Ok(self.progress)
    }

    fn send(&mut self, sends: &[Send]) -> Result<()> {
        for send in sends {
            if send.offset > self.started.elapsed() {
                self.flush()?;
                self.wait_for(send.offset);
            }
            if self.is_stopped() {
                self.progress.stopped = true;
                return Ok(());
            }
            self.add(send);
            if self.batch.len() >= self.replay.batch.max(1) || self.batch_bytes >= BATCH_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn add(&mut self, send: &Send) {
        let Some(event) = self.events.get(&send.event) else { return };
        let body = match send.corruption {
            Some(corruption) => Bytes::from(corruption.apply(event)),
            None => event.clone(),
        };
        self.corrupted += u64::from(send.corruption.is_some());
        self.batch_bytes += body.len();
        self.batch.push(NewMessage::new(body));
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.sink.send(&self.batch)?;
        self.progress.sent += self.batch.len() as u64;
        self.progress.bytes += self.batch_bytes as u64;
        self.progress.corrupted = self.corrupted;
        self.batch.clear();
        self.batch_bytes = 0;
        (self.listener)(self.progress);
        Ok(())
    }

    fn wait_for(&self, offset: Duration) {
        while let Some(left) = offset.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero()) {
            if self.is_stopped() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).at("open", path)?);
    let is_gzip = file.fill_buf().at("read", path)?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file))) } else { Box::new(file) })
}

/// The next line that isn't blank, without its end.
fn next_line(reader: &mut dyn BufRead, path: &Path) -> Result<Option<Bytes>> {
    loop {
        let mut line = Vec::new();
        if reader.take(MAX_LINE + 1).read_until(b'\n', &mut line).at("read", path)? == 0 {
            return Ok(None);
        }
        if line.len() as u64 > MAX_LINE {
            return Err(RuntimeError::TooLarge { what: "recorded event", bytes: line.len() as u64, limit: MAX_LINE });
        }
        let end = line.trim_ascii_end().len();
        if end > 0 {
            line.truncate(end);
            return Ok(Some(line.into()));
        }
    }
}

fn event_time(line: &[u8], field: Option<&str>) -> Option<DateTime<Utc>> {
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
    let named = field.map(|field| [field]);
    let fields = named.as_ref().map_or(TIME_FIELDS.as_slice(), |named| named.as_slice());
    let value = fields.iter().find_map(|field| event.get(*field))?;
    match value {
        serde_json::Value::String(text) => parse_time(text),
        serde_json::Value::Number(number) => epoch(number.as_f64()?),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    }
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc));
    let plain = || NaiveDateTime::parse_from_str(&text.replace('T', " "), "%Y-%m-%d %H:%M:%S%.f");
    zoned.ok().or_else(|| plain().ok().map(|time| time.and_utc()))
}

/// Seconds since 1970, or milliseconds if that would be far in the future.
fn epoch(number: f64) -> Option<DateTime<Utc>> {
    let seconds = if number.abs() > 1e11 { number / 1e3 } else { number };
    DateTime::from_timestamp_micros((seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use headwater_core::replay::Speed;
    use tokio::sync::watch;

    use super::*;
    use crate::spool::SpoolOptions;

    const EVENTS: &[u8] = b"{\"id\":0}\n\n{\"id\":1}\r\n{\"id\":2}";

    fn replayed(bytes: &[u8], change: impl FnOnce(&mut Replay)) -> (Result<Replayed>, Vec<Bytes>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        std::fs::write(&file, bytes).unwrap();
        let spool = Spool::open(folder.path().join("spool"), SpoolOptions::default()).unwrap();
        let (_keep, stop) = watch::channel(false);
        let mut request = Replay::new(file);
        change(&mut request);
        let outcome = replay(&request, &spool, &|_| {}, &stop);
        let messages = spool.receive(100, u64::MAX, Utc::now()).unwrap();
        (outcome, messages.into_iter().map(|message| message.body).collect())
    }

    #[test]
    fn events_arrive_in_order_from_plain_and_compressed_recordings() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(EVENTS).unwrap();
        for recording in [EVENTS.to_vec(), gzip.finish().unwrap()] {
            let (outcome, bodies) = replayed(&recording, |_| {});
            assert_eq!(bodies, ["{\"id\":0}", "{\"id\":1}", "{\"id\":2}"]);
            let expected = Replayed { events: 3, sent: 3, bytes: 24, ..Replayed::default() };
            assert_eq!(outcome.unwrap(), expected);
        }
    }

    #[test]
    fn a_truncated_recording_is_an_error_that_names_it() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&EVENTS.repeat(100)).unwrap();
        let whole = gzip.finish().unwrap();
        let (outcome, _) = replayed(&whole[..whole.len() - 9], |_| {});
        assert!(outcome.unwrap_err().to_string().contains("events"));
    }

    #[test]
    fn duplicates_and_corruption_come_besides_the_events() {
        let (outcome, bodies) = replayed(EVENTS, |request| {
            request.options = ReplayOptions { duplicates: 1.0, corruption: 1.0, ..ReplayOptions::default() };
            request.batch = 1;
        });
        assert_eq!((outcome.unwrap().corrupted, bodies.len()), (3, 9));
        for id in 0..3 {
            let event = format!("{{\"id\":{id}}}");
            assert_eq!(bodies.iter().filter(|body| **body == event.as_bytes()).count(), 2);
        }
    }

    #[test]
    fn a_replay_goes_on_after_what_is_left_out() {
        let (_, bodies) = replayed(EVENTS, |request| request.skip = 2);
        assert_eq!(bodies, ["{\"id\":2}"]);
    }

    #[test]
    fn wrong_options_are_refused() {
        let (outcome, _) = replayed(EVENTS, |request| request.options.speed = Speed::Times(-1.0));
        assert!(outcome.is_err());
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for text in ["\"2013-01-01T05:00:00Z\"", "\"2013-01-01 05:00:00\"", "1357016400", "1357016400000"] {
            let line = format!("{{\"ts\": {text}, \"x\": [1]}}");
            assert_eq!(event_time(line.as_bytes(), None).unwrap().timestamp(), 1_357_016_400, "{text}");
        }
        assert_eq!(event_time(b"nonsense", None), None);
    }
}
