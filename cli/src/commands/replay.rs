//! `headwater replay`: recorded events, sent to a source as they might have come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_core::nearest::did_you_mean;
use headwater_core::replay::{ReplayOptions, Speed};
use headwater_runtime::local::{Stop, stop_on_signals};
use headwater_runtime::replay::{Replay, Replayed, replay};
use headwater_runtime::spool::Spool;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{Format, ReplayArguments};
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::render::{self, listing::Listing};

pub(crate) async fn execute(arguments: ReplayArguments, look: &Look, output: &Output) -> Result<Exit> {
    let spool = source(&arguments.to, look)?;
    let stop = stop_on_signals()?;
    let bar = progress(output);
    let drawn = bar.clone();
    let sending = tokio::task::spawn_blocking(move || send(&arguments, &spool, &stop, &drawn));
    let sent = sending.await.map_err(|error| Failure::Message {
        exit: Exit::Failed,
        message: format!("the replay ended without an answer: {error}"),
        help: None,
    })?;
    bar.finish_and_clear();
    print(&sent?, output)?;
    Ok(Exit::Done)
}

fn source(name: &str, look: &Look) -> Result<Spool> {
    let Some(source) = look.pipeline.sources.get(name) else {
        let help = did_you_mean(name, look.pipeline.sources.keys().map(String::as_str));
        return Err(Failure::invalid(format!("the project has no source `{name}`"), help));
    };
    look.open_queue(source)
}

/// Sends everything as often as asked; each time with a seed of its own.
fn send(arguments: &ReplayArguments, spool: &Spool, stop: &Stop, bar: &ProgressBar) -> Result<Replayed> {
    let mut total = Replayed::default();
    for round in 0..arguments.repeat {
        let before = total;
        let tell = |now: Replayed| bar.set_message(format!("{} events sent", before.sent + now.sent));
        let sent = replay(&plan(arguments, round), spool, &tell, stop)?;
        total.events += sent.events;
        total.sent += sent.sent;
        total.corrupted += sent.corrupted;
        total.bytes += sent.bytes;
        total.stopped = sent.stopped;
        if sent.stopped {
            break;
        }
    }
    Ok(total)
}

fn plan(arguments: &ReplayArguments, round: u32) -> Replay {
    let is_stdin = arguments.file == Path::new("-");
    let file = if is_stdin { PathBuf::from("/dev/stdin") } else { arguments.file.clone() };
    let options = ReplayOptions {
        seed: arguments.seed.wrapping_add(round.into()),
        speed: arguments.speed.map_or(Speed::Max, Speed::Times),
        duplicates: arguments.duplicates,
        disorder: arguments.disorder,
        delays: arguments.delay,
        delay: Duration::from_secs(arguments.delay_by),
        corruption: arguments.corruption,
    };
    Replay { options, time_field: arguments.time.clone(), ..Replay::new(file) }
}

fn progress(output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn print(sent: &Replayed, output: &Output) -> Result<()> {
    if output.format == Format::Json {
        return output.print(&render::json(&json!({
            "events": sent.events, "sent": sent.sent, "corrupted": sent.corrupted, "bytes": sent.bytes, "stopped": sent.stopped,
        })));
    }
    let rows = Listing::default()
        .number("events", [Some(sent.events)])
        .number("sent", [Some(sent.sent)])
        .number("corrupted", [Some(sent.corrupted)])
        .bytes("bytes", [Some(sent.bytes)])
        .rows();
    output.print(&render::rows(&rows, output)?)?;
    if sent.stopped { output.note("stopped before the end; what was sent stays sent") } else { Ok(()) }
}
