//! `headwater redrive`: what was put aside, back on its way.

use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use headwater_core::model::RelationSource;
use headwater_core::name::DatasetName;
use headwater_core::nearest::did_you_mean;
use headwater_lake::flow::{Redrive, Redriven};
use headwater_lake::lake::Lake;
use headwater_runtime::spool::Depth;

use super::{queue, returned};
use crate::args::RedriveArguments;
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::project;
use crate::render::{self, Rows, listing::Listing};

pub(crate) async fn execute(arguments: &RedriveArguments, folder: Option<&Path>, output: &Output) -> Result<Exit> {
    if let Some((dead, to)) = arguments.dead_letters.as_ref().zip(arguments.to.as_ref()) {
        return returned::between(&queue::at(dead)?, &queue::at(to)?, arguments.dry_run, output).await;
    }
    let (pipeline, folder) = project::load(folder)?.into_pipeline()?;
    let table = arguments.name.as_ref().map(|name| DatasetName::from(name.clone()));
    match table.filter(|table| pipeline.dataset(table).is_some()) {
        Some(table) => {
            let lake = Lake::open(pipeline.clone(), &folder)?;
            let messages_wait = messages_wait(&Look::new((pipeline, folder))?, &table).await?;
            Box::pin(quarantine((arguments, messages_wait), &lake, &table, output)).await
        }
        None => dead_letters(arguments, &Look::new((pipeline, folder))?, output).await,
    }
}

/// Whether any message may still be delivered to the table, dead letters included.
async fn messages_wait(look: &Look, table: &DatasetName) -> Result<bool> {
    for relation in look.pipeline.flows_into(table).filter_map(|flow| flow.stream()) {
        let RelationSource::Events { source, .. } = &relation.source else { continue };
        let Some(source) = look.pipeline.sources.get_key_value(source) else { continue };
        let depth = look.depth((source.0, source.1), Utc::now()).await?;
        if depth != Depth::default() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn quarantine(
    (arguments, messages_wait): (&RedriveArguments, bool),
    lake: &Lake,
    table: &DatasetName,
    output: &Output,
) -> Result<Exit> {
    let RedriveArguments { reason, since, dry_run, .. } = arguments.clone();
    let wanted = Redrive { reason, since, dry_run, messages_wait };
    let done = lake.redrive(table, &wanted).await?;
    output.print(&render::rows(&counts(table, &done), output)?)?;
    if !done.staying.is_empty() {
        output.heading("still in quarantine")?;
        let staying = Listing::default()
            .text("reason", done.staying.keys().map(Some))
            .number("rows", done.staying.values().map(|count| Some(*count)))
            .rows();
        output.note(&render::rows(&staying, output)?)?;
    }
    if arguments.dry_run {
        output.note("\nnothing was changed: leave --dry-run out to return them")?;
    }
    Ok(Exit::Done)
}

fn counts(table: &DatasetName, done: &Redriven) -> Rows {
    Listing::default()
        .text("dataset", [Some(table.to_string())])
        .number("returned", [Some(done.returned)])
        .number("written", [Some(done.written)])
        .number("duplicate", [Some(done.duplicate)])
        .number("failures", [Some(done.staying.values().sum())])
        .rows()
}

async fn dead_letters(arguments: &RedriveArguments, look: &Look, output: &Output) -> Result<Exit> {
    let sources = &look.pipeline.sources;
    if let Some(name) = arguments.name.as_ref().filter(|name| !sources.contains_key(*name)) {
        let tables: Vec<String> = look.pipeline.datasets.iter().map(|dataset| dataset.name.to_string()).collect();
        let help = did_you_mean(name, sources.keys().map(String::as_str).chain(tables.iter().map(String::as_str)));
        return Err(Failure::invalid(format!("the project has no source or table `{name}`"), help));
    }
    if arguments.reason.is_some() || arguments.since.is_some() {
        let help =
            "name a table, whose quarantine is looked at; the dead letters of a source are sent again all at once";
        return Err(Failure::invalid("--reason and --since are for a table", help));
    }
    let chosen = |name: &String| arguments.name.as_ref().is_none_or(|source| source == name);
    let mut lines = Vec::new();
    for (name, source) in sources.iter().filter(|(name, _)| chosen(name)) {
        match look.open_queue(source)? {
            Some(queue) => {
                lines.push((name.as_str(), returned::to_source(&queue, arguments.dry_run, output).await?));
            }
            None if arguments.name.is_some() => {
                let help = "name the table that it is landed in, to redrive that table's quarantine";
                let message = format!(
                    "`{name}` is a hub, which has no dead letters: its events are read until they are committed"
                );
                return Err(Failure::invalid(message, help));
            }
            None => {}
        }
    }
    returned::print(&lines, arguments.dry_run, output)
}

/// A moment: a day in UTC, or a time with its zone.
pub(crate) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)).ok();
    let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    time.or_else(day).ok_or_else(|| "give a day such as 2025-01-31 or a time such as 2025-01-31T10:00:00Z".to_owned())
}
