//! `headwater replay`: recorded events, sent to a source as they might have come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_core::aws::sqs::QueueAddress;
use headwater_core::hub::{HubAddress, HubAddressError};
use headwater_core::model::EventSource;
use headwater_core::nearest::did_you_mean;
use headwater_core::replay::{ReplayOptions, Speed};
use headwater_runtime::eventhubs::HubSender;
use headwater_runtime::local::{Binding, Stop, stop_on_signals};
use headwater_runtime::replay::{Replay, Replayed, Sink, replay};
use headwater_runtime::spool::Spool;
use headwater_runtime::sqs::{BlockingSender, Queue};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::runtime::Handle;

use super::queue::{self, progress};
use crate::args::{Format, ReplayArguments};
use crate::failure::{Exit, Failure, Result};
use crate::hubs;
use crate::look::Look;
use crate::output::Output;
use crate::project;
use crate::render::{self, listing::Listing};

/// Messages of one batch to a queue of SQS, so that progress is seen.
const SQS_BATCH: usize = 500;
/// Events that are sorted by their keys together.
const HUB_BATCH: usize = 5_000;

pub(crate) async fn execute(arguments: ReplayArguments, project: Option<&Path>, output: &Output) -> Result<Exit> {
    let target = target(&arguments, project).await?;
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
    Hub(Box<HubSender>),
}

impl Target {
    fn sink(&self) -> &dyn Sink {
        match self {
            Self::Spool(spool) => spool,
            Self::Sqs(sender) => sender,
            Self::Hub(sender) => &**sender,
        }
    }
}

/// A queue or hub by its address, which needs no project, or a source's. One of a cloud is asked first whether it is there.
async fn target(arguments: &ReplayArguments, project: Option<&Path>) -> Result<Target> {
    let name = arguments.to.as_str();
    let hub = if HubAddress::is_meant(name) {
        HubAddress::parse(name).map_err(|error| Failure::invalid(error.to_string(), HubAddressError::HELP))?
    } else if QueueAddress::is_meant(name) {
        return queue_of(queue::at(name)?, arguments).await;
    } else {
        let look = Look::new(project::load(project)?.into_pipeline()?)?;
        let source = source(name, &look)?;
        match look.open_queue(source)? {
            Some(Binding::Spool(spool)) => return keyless(arguments).map(|()| Target::Spool(spool)),
            Some(Binding::Sqs { queue, .. }) => return queue_of(queue, arguments).await,
            None => {}
        }
        let EventSource::EventHubs { hub } = source else { return Err(unknown(name, &look)) };
        hub.clone()
    };
    let hub = hubs::at(&hub)?;
    hub.check().await?;
    Ok(Target::Hub(Box::new(HubSender::new(hub, arguments.key.clone(), Handle::current()))))
}

async fn queue_of(queue: Queue, arguments: &ReplayArguments) -> Result<Target> {
    keyless(arguments)?;
    queue.check().await?;
    Ok(Target::Sqs(BlockingSender::new(queue, Handle::current())))
}

fn keyless(arguments: &ReplayArguments) -> Result<()> {
    match arguments.key {
        Some(_) => Err(Failure::invalid("--key is for a hub, and this is a queue", "leave --key out")),
        None => Ok(()),
    }
}

fn source<'a>(name: &str, look: &'a Look) -> Result<&'a EventSource> {
    look.pipeline.sources.get(name).ok_or_else(|| unknown(name, look))
}

fn unknown(name: &str, look: &Look) -> Failure {
    let help = did_you_mean(name, look.pipeline.sources.keys().map(String::as_str));
    Failure::invalid(format!("the project has no source `{name}`"), help)
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
        Target::Hub(_) => Replay { batch: HUB_BATCH, ..whole },
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
