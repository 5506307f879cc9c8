//! What an update is doing, drawn on a terminal; elsewhere, how far files are, in a line from time to time.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use headwater_core::report::FlowReport;
use headwater_lake::landing_progress::{LandingProgress, Standing};
use headwater_runtime::local::Progress;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};

use crate::commands::words;
use crate::output::Output;

const MESSAGES: &str = "{spinner} {prefix:14} [{bar:30}] {pos}/{len} messages  {msg}";
const FILES: &str = "{spinner} {prefix:14} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}, {eta} left  {msg}";

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How often a line tells of files, where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// The drawing of one update.
pub(crate) struct Drawing<'a> {
    bar: ProgressBar,
    output: &'a Output,
    messages: RefCell<u64>,
    shows_files: Cell<bool>,
}

impl<'a> Drawing<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let bar = if output.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let drawing = Self { bar, output, messages: RefCell::default(), shows_files: Cell::new(false) };
        drawing.style(MESSAGES);
        drawing.bar.enable_steady_tick(Duration::from_millis(120));
        drawing
    }

    /// Shows what a host does.
    pub(crate) fn draw(&self, progress: Progress<'_>) {
        let bar = &self.bar;
        match progress {
            Progress::Started { function } => bar.set_prefix(function.name()),
            Progress::Received { source, messages, waiting, .. } => {
                let mut received = self.messages.borrow_mut();
                *received += messages;
                bar.set_length(*received + waiting);
                bar.set_position(*received);
                bar.set_message(source.to_owned());
            }
            Progress::Finished { report, .. } => {
                if let Some(flow) = report.flows.iter().rfind(|flow| flow.rows.written > 0) {
                    bar.set_message(format!("{}: {} rows", flow.target, flow.rows.written));
                }
            }
            Progress::Idle => bar.set_prefix("waiting"),
            Progress::Trouble { error } => bar.println(format!("trouble: {error}")),
        }
    }

    /// One line a commit.
    pub(crate) fn tell(&self, flow: &FlowReport) {
        let now = chrono::Utc::now().format("%H:%M:%S");
        let line = format!("{now} {}: {} rows, {}", flow.target, flow.rows.written, words(&flow.outcome));
        if self.bar.is_hidden() { self.output.complain(&line) } else { self.bar.println(line) }
    }

    /// Does work, and shows how far files are meanwhile.
    pub(crate) async fn during<T>(&self, files: &LandingProgress, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        let mut first: Option<(Instant, Standing)> = None;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = looks.tick() => {}
            }
            let now = files.now();
            self.draw_files(now.as_ref());
            let Some(now) = now else {
                first = None;
                continue;
            };
            let (since, start) = match &first {
                Some((since, start)) if start.dataset == now.dataset => (*since, start.clone()),
                _ => {
                    first = Some((Instant::now(), now.clone()));
                    continue;
                }
            };
            if self.bar.is_hidden() && !self.output.quiet && told.elapsed() >= LINE {
                told = Instant::now();
                self.output.complain(&line(&now, now.bytes_done().saturating_sub(start.bytes_done()), since.elapsed()));
            }
        }
    }

    /// Takes the drawing away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn draw_files(&self, now: Option<&Standing>) {
        if self.shows_files.replace(now.is_some()) != now.is_some() {
            self.style(if now.is_some() { FILES } else { MESSAGES });
            self.bar.reset_eta();
            self.bar.set_position(now.map_or_else(|| *self.messages.borrow(), Standing::bytes_done));
        }
        let Some(now) = now else { return };
        self.bar.set_length(now.bytes);
        self.bar.set_position(now.bytes_done());
        self.bar.set_message(files_done(now));
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
    }
}

fn files_done(now: &Standing) -> String {
    format!("{}: {} of {} files", now.dataset, HumanCount(now.files_done()), HumanCount(now.files))
}

/// What a log is told: so many bytes were read in such a time.
fn line(now: &Standing, read: u64, time: Duration) -> String {
    let rate = read as f64 / time.as_secs_f64().max(0.001);
    let left = Duration::from_secs_f64((now.bytes - now.bytes_done()) as f64 / rate.max(1.0));
    format!(
        "{}, {} of {}, {}/s, {} left",
        files_done(now),
        HumanBytes(now.bytes_done()),
        HumanBytes(now.bytes),
        HumanBytes(rate as u64),
        HumanDuration(left)
    )
}

#[cfg(test)]
mod tests {
    use headwater_core::name::DatasetName;

    use super::*;

    #[test]
    fn a_line_tells_how_far_files_are_how_fast_and_how_long_it_takes() {
        let progress = LandingProgress::default();
        progress.plan(&DatasetName::new("orders"), 4_000, 4 << 20);
        progress.read(1_000, 1 << 20);
        let told = line(&progress.now().unwrap(), 1 << 20, Duration::from_secs(4));
        assert_eq!(told, "orders: 1,000 of 4,000 files, 1.00 MiB of 4.00 MiB, 256.00 KiB/s, 12 seconds left");
    }
}
