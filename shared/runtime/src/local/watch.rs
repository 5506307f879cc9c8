//! Watching: six loops side by side, until told to stop.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use headwater_core::name::DatasetName;
use headwater_core::report::Report;
use headwater_core::trigger::{Cause, Trigger};
use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::hand_over;
use super::{CommitLog, FunctionKind, Handler, Host, Listener, Progress, Queue, blocking, has_commits, wake};
use crate::error::{AtPath, Result};
use crate::eventhubs::Batches;

/// Tells a watching host to stop, as soon as its sender says `true` or is gone.
pub type Stop = watch::Receiver<bool>;

/// Stops on ctrl-c and SIGTERM.
///
/// # Errors
/// When the process may not listen to signals.
pub fn stop_on_signals() -> Result<Stop> {
    let (sender, stop) = watch::channel(false);
    let terminate = terminated()?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminate => {}
        }
        sender.send_replace(true);
    });
    Ok(stop)
}

#[cfg(unix)]
fn terminated() -> Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).at("listen to", Path::new("SIGTERM"))?;
    Ok(async move {
        terminate.recv().await;
    })
}

#[cfg(not(unix))]
fn terminated() -> Result<impl Future<Output = ()> + Send> {
    Ok(std::future::pending())
}

pub(super) struct Watch<'a, H> {
    pub(super) host: &'a Host,
    pub(super) handler: &'a H,
    pub(super) listener: Listener<'a>,
    pub(super) stop: Stop,
}

/// What one look at a source came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Worked,
    Nothing,
}

/// What a loop keeps from look to look.
#[derive(Debug, Default)]
struct Seen {
    swept: Option<Instant>,
    commits: CommitLog,
    landing: BTreeSet<(PathBuf, SystemTime, u64)>,
}

impl Seen {
    /// Whether the interval has passed since it last had; true at first.
    fn is_due(&mut self, every: Duration) -> bool {
        let due = self.swept.is_none_or(|swept| swept.elapsed() >= every);
        if due {
            self.swept = Some(Instant::now());
        }
        due
    }
}

impl<H: Handler> Watch<'_, H> {
    pub(super) async fn run(&self) {
        let fresh = Cell::new(true);
        tokio::join!(self.events(), self.hubs(), self.files(), self.silver(&fresh), self.gold(&fresh), self.compact());
    }

    async fn events(&self) {
        while !self.is_stopped() {
            let mut look = Look::Nothing;
            for queue in &self.host.queues {
                if self.told(self.hand_over(queue).await) == Look::Worked {
                    look = Look::Worked;
                }
            }
            self.rest(look).await;
        }
    }

    /// Messages worth a redelivery stay hidden until their time-out has passed.
    async fn hand_over(&self, queue: &Queue) -> Result<Look> {
        let handed = hand_over(queue, &self.host.pace, self.handler, self.listener).await?;
        Ok(if handed.is_some() { Look::Worked } else { Look::Nothing })
    }

    async fn hubs(&self) {
        let mut hubs: Vec<_> = self.host.hubs.iter().map(Batches::new).collect();
        while !hubs.is_empty() && !self.is_stopped() {
            let mut look = Look::Nothing;
            for hub in &mut hubs {
                if self.told(self.land(hub).await) == Look::Worked {
                    look = Look::Worked;
                }
            }
            self.rest_for(look, self.host.pace.hubs).await;
        }
    }

    /// What a flow couldn't take is read again at the next look.
    async fn land(&self, hub: &mut Batches<'_>) -> Result<Look> {
        let landed = Box::pin(hub.land(&self.host.pace, self.handler, self.listener)).await?;
        if let Some(error) = &landed.trouble {
            (self.listener)(Progress::Trouble { error });
        }
        Ok(if has_commits(&landed.report) { Look::Worked } else { Look::Nothing })
    }

    async fn files(&self) {
        let mut seen = Seen::default();
        while self.host.reads_files && !self.is_stopped() {
            let look = self.told(self.look_at_files(&mut seen).await);
            self.rest(look).await;
        }
    }

    async fn look_at_files(&self, seen: &mut Seen) -> Result<Look> {
        let folders = self.host.landing.clone();
        let landing = blocking(move || list(&folders)).await?;
        let arrived = landing != seen.landing;
        if !seen.is_due(self.host.pace.sweep) && !arrived {
            return Ok(Look::Nothing);
        }
        let report = self.wake(FunctionKind::BronzeFiles, Cause::Timer(Vec::new())).await;
        if !has_commits(&report) {
            seen.landing = landing;
            return Ok(Look::Nothing);
        }
        Ok(Look::Worked)
    }

    async fn silver(&self, fresh: &Cell<bool>) {
        let mut seen = Seen::default();
        while !self.is_stopped() {
            let look = self.told(self.look_at_commits(&mut seen, fresh).await);
            self.rest(look).await;
        }
    }

    async fn look_at_commits(&self, seen: &mut Seen, fresh: &Cell<bool>) -> Result<Look> {
        let changed = self.changed(seen).await?;
        let swept = seen.is_due(self.host.pace.sweep);
        if changed.is_empty() && !swept {
            return Ok(Look::Nothing);
        }
        fresh.set(true);
        let cause = if swept { Cause::Timer(Vec::new()) } else { Cause::Commits(changed) };
        let report = self.wake(FunctionKind::Silver, cause).await;
        Ok(if has_commits(&report) { Look::Worked } else { Look::Nothing })
    }

    async fn changed(&self, seen: &mut Seen) -> Result<Vec<DatasetName>> {
        let tables = self.host.tables.clone();
        let mut commits = std::mem::take(&mut seen.commits);
        let (commits, changed) = blocking(move || {
            let changed = commits.changed(&tables);
            Ok((commits, changed))
        })
        .await?;
        seen.commits = commits;
        changed
    }

    async fn gold(&self, fresh: &Cell<bool>) {
        let mut seen = Seen::default();
        while !self.is_stopped() {
            if fresh.get() && seen.is_due(self.host.pace.gold) {
                fresh.set(false);
                self.wake(FunctionKind::Gold, Cause::Timer(Vec::new())).await;
                (self.listener)(Progress::Idle);
            }
            self.rest(Look::Nothing).await;
        }
    }

    /// The first time only after one interval: a host that just started has better things to do.
    async fn compact(&self) {
        let mut seen = Seen { swept: Some(Instant::now()), ..Seen::default() };
        while !self.is_stopped() {
            if seen.is_due(self.host.pace.compact) {
                self.wake(FunctionKind::Compact, Cause::Timer(Vec::new())).await;
            }
            self.rest(Look::Nothing).await;
        }
    }

    async fn wake(&self, function: FunctionKind, cause: Cause) -> Report {
        wake(self.handler, self.listener, function, Trigger::new(cause)).await
    }

    fn told(&self, look: Result<Look>) -> Look {
        look.unwrap_or_else(|error| {
            (self.listener)(Progress::Trouble { error: &error });
            Look::Nothing
        })
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Waits until the next look is due, or the host is to stop; not at all while there is work.
    async fn rest(&self, look: Look) {
        self.rest_for(look, self.host.pace.poll).await;
    }

    async fn rest_for(&self, look: Look, pause: Duration) {
        if look == Look::Worked {
            tokio::task::yield_now().await;
            return;
        }
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// The files of these folders and of all folders in them.
fn list(folders: &[PathBuf]) -> Result<BTreeSet<(PathBuf, SystemTime, u64)>> {
    let mut files = BTreeSet::new();
    let mut open: Vec<PathBuf> = folders.iter().filter(|folder| folder.is_dir()).cloned().collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                open.push(entry.path());
            } else {
                files.insert((entry.path(), found.modified().at("read", &folder)?, found.len()));
            }
        }
    }
    Ok(files)
}
