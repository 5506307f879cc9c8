//! `headwater redrive`: dead letters back to their queues.

use headwater_core::nearest::did_you_mean;

use crate::args::RedriveArguments;
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::render::{self, listing::Listing};

pub(crate) fn execute(arguments: &RedriveArguments, look: &Look, output: &Output) -> Result<Exit> {
    let sources = &look.pipeline.sources;
    if let Some(name) = arguments.source.as_ref().filter(|name| !sources.contains_key(*name)) {
        let help = did_you_mean(name, sources.keys().map(String::as_str));
        return Err(Failure::invalid(format!("the project has no source `{name}`"), help));
    }
    let chosen = |name: &String| arguments.source.as_ref().is_none_or(|source| source == name);
    let mut redriven = Vec::new();
    for (name, source) in sources.iter().filter(|(name, _)| chosen(name)) {
        redriven.push((name, look.open_queue(source)?.redrive()?));
    }
    let rows = Listing::default()
        .text("source", redriven.iter().map(|(name, _)| Some(name)))
        .number("redriven", redriven.iter().map(|(_, count)| Some(*count)))
        .rows();
    output.print(&render::rows(&rows, output)?)?;
    Ok(Exit::Done)
}
