//! Dead letters on their way back to their queues.

use chrono::Utc;
use headwater_runtime::local::{Binding, stop_on_signals};
use headwater_runtime::sqs::{Queue, Redriven};

use super::queue::progress;
use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::render::{self, listing::Listing};

/// Returns the dead letters of a source's queue, or only counts them. A queue without a policy for dead letters has none.
pub(crate) async fn to_source(binding: &Binding, dry_run: bool, output: &Output) -> Result<Redriven> {
    match binding {
        Binding::Spool(spool) => {
            let returned = if dry_run { spool.depth(Utc::now())?.dead } else { spool.redrive()? };
            Ok(Redriven { returned, ..Redriven::default() })
        }
        Binding::Sqs { queue, .. } => match queue.dead_letters().await? {
            Some(dead) => move_all(&dead, queue, dry_run, output).await,
            None => Ok(Redriven::default()),
        },
    }
}

/// Returns all messages of one queue to another.
pub(crate) async fn between(dead: &Queue, to: &Queue, dry_run: bool, output: &Output) -> Result<Exit> {
    to.check().await?;
    let line = move_all(dead, to, dry_run, output).await?;
    print(&[(to.address().name(), line)], dry_run, output)
}

async fn move_all(dead: &Queue, to: &Queue, dry_run: bool, output: &Output) -> Result<Redriven> {
    if dry_run {
        return Ok(Redriven { returned: dead.depth().await?.waiting, ..Redriven::default() });
    }
    let stop = stop_on_signals()?;
    let bar = progress(output);
    let tell = |now: Redriven| bar.set_message(format!("{} messages returned", now.returned));
    let redriven = dead.redrive_to(to, tell, &stop).await;
    bar.finish_and_clear();
    Ok(redriven?)
}

/// Prints what was returned, and fails when something was refused.
pub(crate) fn print(lines: &[(&str, Redriven)], dry_run: bool, output: &Output) -> Result<Exit> {
    let number = |read: fn(&Redriven) -> u64| lines.iter().map(move |(_, line)| Some(read(line)));
    let rows = Listing::default()
        .text("source", lines.iter().map(|(name, _)| Some(name)))
        .number("redriven", number(|line| line.returned))
        .number("refused", number(|line| line.refused))
        .number("left", number(|line| line.left))
        .rows();
    output.print(&render::rows(&rows, output)?)?;
    if dry_run {
        output.note("\nnothing was changed: leave --dry-run out to return them")?;
    }
    if lines.iter().all(|(_, line)| line.refused == 0) {
        return Ok(Exit::Done);
    }
    output.complain("messages were refused and stay where they are; HEADWATER_LOG=warn says why");
    Ok(Exit::Failed)
}
