//! The commands, one file each.

mod completion;
mod init;
mod lineage;
mod validate;

use crate::args::{Arguments, Command};
use crate::failure::{Exit, Result};
use crate::output::Output;

/// Does what the command line asks for.
pub(crate) fn execute(arguments: Arguments, output: &Output) -> Result<Exit> {
    let project = arguments.project.as_deref();
    match arguments.command {
        Command::Init(init) => init::execute(&init, output),
        Command::Completion(completion) => completion::execute(&completion, output),
        Command::Validate(validate) => validate::execute(&validate, project, output),
        Command::Lineage(lineage) => lineage::execute(&lineage, project, output),
    }
}
