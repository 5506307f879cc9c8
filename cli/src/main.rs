//! The `headwater` command: Headwater's five functions in one process, and tools to look at a lake.

mod args;
mod azure;
mod commands;
mod failure;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod heaps;
mod host;
mod hubs;
mod lambda;
mod look;
mod output;
mod package;
mod progress;
mod project;
mod render;

use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;
use headwater_runtime::telemetry::{self, LEVEL_VARIABLE, LogFormat};

use crate::args::Arguments;
use crate::failure::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    heaps::share();
    if lambda::is_bootstrap(std::env::args_os().next()) {
        return function(Box::pin(lambda::execute()));
    }
    if azure::is_handler(std::env::args_os().count()) {
        return function(Box::pin(azure::execute()));
    }
    let arguments = Arguments::parse();
    let output = Output::new(&arguments);
    let environment = headwater_runtime::config::environment();
    if let Some(filter) = environment.get(LEVEL_VARIABLE)
        && let Err(error) = telemetry::start(LogFormat::Human, Some(filter))
    {
        report(&Failure::from(error), &output);
        return ExitCode::from(Exit::Invalid as u8);
    }
    let exit = commands::execute(arguments, &output).unwrap_or_else(|failure| {
        report(&failure, &output);
        failure.exit()
    });
    ExitCode::from(exit as u8)
}

/// The program as functions of a cloud; it ends when it is told to, or can't go on.
fn function(serve: Pin<Box<dyn Future<Output = failure::Result<()>>>>) -> ExitCode {
    match commands::wait(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(%failure, "the function can't run");
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// Says what went wrong, once, in the format that was asked for.
fn report(failure: &Failure, output: &Output) {
    match failure {
        Failure::OutputClosed => {}
        Failure::Findings(findings) => {
            let width = output.width.unwrap_or(100);
            output.complain(&render::findings::graphical(findings, output.errors_colored, width));
        }
        Failure::Message { .. } => {
            let label = if output.errors_colored { "\u{1b}[31;1merror\u{1b}[0m" } else { "error" };
            output.complain(&format!("{label}: {failure}"));
        }
    }
}
