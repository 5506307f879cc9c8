//! The commands, one file each.

mod compact;
mod completion;
mod events;
mod init;
mod lineage;
mod package;
mod query;
mod queue;
mod redrive;
mod replay;
mod returned;
mod run;
mod shadow;
mod status;
mod validate;

pub(crate) use compact::words;
pub(crate) use redrive::moment;

use std::path::Path;

use chrono::Utc;

use crate::args::{Arguments, Command};
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::project;

/// Does what the command line asks for.
pub(crate) fn execute(arguments: Arguments, output: &Output) -> Result<Exit> {
    let project = arguments.project.as_deref();
    match arguments.command {
        Command::Init(init) => init::execute(&init, output),
        Command::Completion(completion) => completion::execute(&completion, output),
        Command::Validate(validate) => wait(async { validate::execute(&validate, project, output).await }),
        Command::Lineage(lineage) => lineage::execute(&lineage, project, output),
        Command::Replay(replay) => wait(async { replay::execute(replay, project, output).await }),
        Command::Redrive(redrive) => wait(async { Box::pin(redrive::execute(&redrive, project, output)).await }),
        Command::Package(package) => wait(Box::pin(package::execute(&package.cloud, project, output))),
        Command::Run(run) => wait(Box::pin(run::execute(&run, project, output))),
        Command::Diff(names) => wait(Box::pin(shadow::diff(&names.names, project, output))),
        Command::Promote(names) => wait(Box::pin(shadow::promote(&names.names, project, output))),
        Command::Query(query) => wait(async { query::execute(&query, project, output).await }),
        Command::Compact(compact) => wait(async { compact::execute(&compact, project, output).await }),
        Command::Status => wait(async { status::execute(&look(project)?, Utc::now(), output).await }),
        Command::Events(events) => wait(async { events::execute(&events, &look(project)?, output).await }),
    }
}

fn look(project: Option<&Path>) -> Result<Look> {
    Look::new(project::load(project)?.into_pipeline()?)
}

/// Runs to the end on all cores.
pub(crate) fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Message {
        exit: Exit::Retry,
        message: format!("can't start threads: {source}"),
        help: Some("raise the limit on processes, or try again when the machine is less busy".to_owned()),
    })?;
    runtime.block_on(work)
}
