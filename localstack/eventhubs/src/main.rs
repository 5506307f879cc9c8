//! The emulator as a program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use eventhubs_emulator::{Emulator, Options, control};
use tracing_subscriber::EnvFilter;

/// An Event Hubs emulator that can be told to fail.
///
/// Clients connect by AMQP without TLS. The control interface is HTTP, for example
/// `curl -X POST 'localhost:5673/faults/detach?every=100'`; the README lists all of it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where clients connect. The Python and JavaScript clients always take port 5672.
    #[arg(long, default_value = "127.0.0.1:5672")]
    listen: SocketAddr,
    /// Where the control interface is served; not at all if left out.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// A hub and how many partitions it has; may be given several times. Without any, hubs are made when they are named.
    #[arg(long = "hub", value_name = "NAME=PARTITIONS", value_parser = hub)]
    hubs: Vec<(String, usize)>,
    /// Partitions of hubs that are made when they are named.
    #[arg(long, default_value_t = 4)]
    partitions: usize,
    /// Check that tokens are signed with this key.
    #[arg(long, value_name = "NAME=KEY", env = "EVENTHUBS_EMULATOR_KEY", hide_env_values = true, value_parser = pair)]
    key: Option<(String, String)>,
    /// Milliseconds before a batch is acknowledged, and the end of a link or session answered.
    #[arg(long, default_value_t = 2)]
    answer_after: u64,
    /// Bytes of a message or batch at most.
    #[arg(long, default_value_t = 1 << 20)]
    max_message: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let options = Options {
        address: arguments.listen,
        hubs: arguments.hubs.into_iter().collect(),
        partitions: arguments.partitions,
        key: arguments.key,
        answer_delay: Duration::from_millis(arguments.answer_after),
        max_message: arguments.max_message,
    };
    let emulator = Emulator::start(options).await;
    let emulator = Arc::new(emulator.with_context(|| format!("can't listen on {}", arguments.listen))?);
    tracing::info!(address = %emulator.address(), "listening");
    let Some(address) = arguments.control else {
        return tokio::signal::ctrl_c().await.context("can't wait for a signal");
    };
    let listener = control::listen(address).await.with_context(|| format!("can't listen on {address}"))?;
    tokio::select! {
        served = control::serve(emulator, listener) => served.context("the control interface ended"),
        signal = tokio::signal::ctrl_c() => signal.context("can't wait for a signal"),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn hub(text: &str) -> Result<(String, usize), String> {
    let (name, partitions) = pair(text)?;
    Ok((name, partitions.parse().map_err(|_| "partitions are a number")?))
}
