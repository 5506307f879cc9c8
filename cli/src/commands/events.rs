//! `headwater events`: the history that the Delta logs hold, newest first.

use headwater_core::name::DatasetName;
use headwater_core::report::FlowReport;
use headwater_lake::table::CommitEntry;
use serde_json::json;

use super::lineage::unknown;
use crate::args::{EventsArguments, Format};
use crate::failure::{Exit, Result};
use crate::look::Look;
use crate::output::Output;
use crate::render::{self, Rows, listing::Listing};

/// A commit of a table.
type Event = (DatasetName, CommitEntry);

pub(crate) async fn execute(arguments: &EventsArguments, look: &Look, output: &Output) -> Result<Exit> {
    let events = events(arguments, look).await?;
    match output.format {
        Format::Json => output.print(&render::json(&events.iter().map(document).collect()))?,
        Format::Csv => output.print(&render::rows(&rows(&events), output)?)?,
        Format::Table if events.is_empty() => output.note("nothing was committed yet; `headwater run` does")?,
        Format::Table => output.print(&render::rows(&rows(&events), output)?)?,
    }
    Ok(Exit::Done)
}

async fn events(arguments: &EventsArguments, look: &Look) -> Result<Vec<Event>> {
    let names = match &arguments.dataset {
        None => look.tables(),
        Some(text) => {
            let name = DatasetName::from(text.clone());
            look.pipeline.table_path(&name).ok_or_else(|| unknown(&look.pipeline, text))?;
            vec![name]
        }
    };
    let mut events = Vec::new();
    for name in names {
        let history = look.history(&name, arguments.limit).await?;
        events.extend(history.into_iter().map(|entry| (name.clone(), entry)));
    }
    events.sort_by(|(left, one), (right, other)| {
        (other.timestamp, right, other.version).cmp(&(one.timestamp, left, one.version))
    });
    events.truncate(arguments.limit);
    Ok(events)
}

fn document((dataset, entry): &Event) -> serde_json::Value {
    json!({
        "dataset": dataset,
        "version": entry.version,
        "time": entry.timestamp,
        "operation": entry.operation,
        "report": entry.report,
    })
}

fn rows(events: &[Event]) -> Rows {
    let count = |read: fn(&FlowReport) -> u64| events.iter().map(move |(_, entry)| entry.report.as_ref().map(read));
    let time = |entry: &CommitEntry| entry.timestamp.map(|time| time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string());
    Listing::default()
        .text("time", events.iter().map(|(_, entry)| time(entry)))
        .text("dataset", events.iter().map(|(dataset, _)| Some(dataset.to_string())))
        .number("version", events.iter().map(|(_, entry)| Some(entry.version)))
        .text("flow", events.iter().map(|(_, entry)| entry.report.as_ref().map(|report| report.flow.as_str())))
        .text("trigger", events.iter().map(|(_, entry)| entry.report.as_ref().map(|report| &report.trigger)))
        .number("read", count(|report| report.rows.read))
        .number("wrote", count(|report| report.rows.written))
        .number("dropped", count(|report| report.rows.dropped))
        .number("quarantined", count(|report| report.rows.quarantined))
        .number("late", count(|report| report.rows.late))
        .number("duplicate", count(|report| report.rows.duplicate))
        .number("ms", count(|report| report.millis))
        .rows()
}
