//! `headwater completion`: scripts that complete the command line.

use clap::CommandFactory;

use crate::args::{Arguments, CompletionArguments};
use crate::failure::{Exit, Result};
use crate::output::Output;

pub(crate) fn execute(arguments: &CompletionArguments, output: &Output) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "headwater", &mut script);
    output.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
