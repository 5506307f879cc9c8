//! `headwater replay`: recorded events, sent to a source as they might have come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_core::aws::sqs::QueueAddress;
use headwater_core::nearest::did_you_mean;
use headwater_core::replay::{ReplayOptions, Speed};
use headwater_runtime::local::{Binding, Stop, stop_on_signals};
use headwater_runtime::replay::{Replay, Replayed, Sink, replay};
use headwater_runtime::spool::Spool;
use headwater_runtime::sqs::BlockingSender;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::runtime::Handle;

use super::queue::{self, progress};
use crate::args::{Format, ReplayArguments};
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::project;
use crate::render::{self, listing::Listing};

/// Messages of one batch to a queue of SQS, so that progress is seen.
const SQS_BATCH: usize = 500;

pub(crate) async fn execute(arguments: ReplayArguments, project: Option<&Path>, output: &Output) -> Result<Exit> {
    let target = target(&arguments.to, project).await?;
    let stop = stop_on_signals()?;
    let bar = progress(output);
    let drawn = bar.clone();
    let sending = tokio::task::spawn_blocking(move || send(&arguments, &target, &stop, &drawn));
    let sent = sending.await.map_err(|error| Failure::Message {
        exit: Exit::Failed,
        message: format!("the replay ended without an answer: {error}"),
        help: None,
    })?;
    bar.finish_and_clear();
    print(&sent?, output)?;
    Ok(Exit::Done)
}

/// Where messages go.
enum Target {
    Spool(Spool),
    Sqs(BlockingSender),
}

impl Target {
    fn sink(&self) -> &dyn Sink {
        match self {
            Self::Spool(spool) => spool,
            Self::Sqs(sender) => sender,
        }
    }
}

/// A queue by its address, which needs no project, or a source's. One of SQS is asked first whether it is there.
async fn target(name: &str, project: Option<&Path>) -> Result<Target> {
    let queue = if QueueAddress::is_meant(name) {
        queue::at(name)?
    } else {
        match source(name, &Look::new(project::load(project)?.into_pipeline()?)?)? {
            Binding::Spool(spool) => return Ok(Target::Spool(spool)),
            Binding::Sqs { queue, .. } => queue,
        }
    };
    queue.check().await?;
    Ok(Target::Sqs(BlockingSender::new(queue, Handle::current())))
}

fn source(name: &str, look: &Look) -> Result<Binding> {
    let Some(source) = look.pipeline.sources.get(name) else {
        let help = did_you_mean(name, look.pipeline.sources.keys().map(String::as_str));
        return Err(Failure::invalid(format!("the project has no source `{name}`"), help));
    };
    look.open_queue(source)
}

/// Sends everything as often as asked; each time with a seed of its own.
fn send(arguments: &ReplayArguments, target: &Target, stop: &Stop, bar: &ProgressBar) -> Result<Replayed> {
    let mut total = Replayed::default();
    for round in 0..arguments.repeat {
        let before = total;
        let tell = |now: Replayed| bar.set_message(format!("{} events sent", before.sent + now.sent));
        let sent = replay(&plan(arguments, target, round), target.sink(), &tell, stop)?;
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

fn plan(arguments: &ReplayArguments, target: &Target, round: u32) -> Replay {
    let is_stdin = arguments.file == Path::new("-");
    let file = if is_stdin { PathBuf::from("/dev/stdin") } else { arguments.file.clone() };
    let options = ReplayOptions {
        seed: arguments.seed.wrapping_add(round.into()),
        speed: arguments.rate.map(Speed::PerSecond).or(arguments.speed.map(Speed::Times)).unwrap_or(Speed::Max),
        duplicates: arguments.duplicates,
        disorder: arguments.disorder,
        delays: arguments.delay,
        delay: Duration::from_secs(arguments.delay_by),
        corruption: arguments.corruption,
    };
    let whole = Replay { options, time_field: arguments.time.clone(), ..Replay::new(file) };
    match target {
        Target::Spool(_) => whole,
        Target::Sqs(_) => Replay { batch: SQS_BATCH, ..whole },
    }
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
