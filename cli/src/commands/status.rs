//! `headwater status`: each dataset and source as it is now.

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use headwater_core::model::{Dataset, DatasetKind};
use headwater_core::report::{ChangeCounts, Slice};
use headwater_runtime::spool::Depth;
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::{Exit, Result};
use crate::look::{Look, TableState};
use crate::output::Output;
use crate::render::{self, Rows, listing::Listing};

/// Datasets that are looked at together.
const AT_ONCE: usize = 8;

/// One line of the table of datasets.
struct Line {
    dataset: String,
    layer: Option<&'static str>,
    kind: DatasetKind,
    state: Option<TableState>,
    lag: Option<u64>,
    quarantined: Option<u64>,
    late: Option<u64>,
    changes: Option<ChangeCounts>,
}

pub(crate) async fn execute(look: &Look, now: DateTime<Utc>, output: &Output) -> Result<Exit> {
    let lines = lines(look).await?;
    let depths = depths(look, now, output).await;
    match output.format {
        Format::Json => output.print(&render::json(&document(look, &lines, &depths)))?,
        Format::Csv => output.print(&render::rows(&rows(&lines, now), output)?)?,
        Format::Table => {
            output.print(&render::rows(&rows(&lines, now), output)?)?;
            if !depths.is_empty() {
                output.heading("sources")?;
                output.note(&render::rows(&source_rows(&depths), output)?)?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn lines(look: &Look) -> Result<Vec<Line>> {
    let datasets = look.pipeline.datasets.iter().filter(|dataset| dataset.kind.has_table());
    futures::stream::iter(datasets).map(|dataset| line(look, dataset)).buffered(AT_ONCE).try_collect().await
}

async fn line(look: &Look, dataset: &Dataset) -> Result<Line> {
    let rows = |state: Option<TableState>| state.and_then(|state| state.rows);
    Ok(Line {
        dataset: dataset.name.to_string(),
        layer: dataset.layer.map(headwater_core::name::Layer::folder),
        kind: dataset.kind,
        state: look.state(&dataset.name).await?,
        lag: look.lag(dataset).await?,
        quarantined: rows(look.state(&dataset.name.quarantine()).await?),
        late: rows(look.state(&dataset.name.late()).await?),
        changes: look.changes(&dataset.name).await?,
    })
}

/// What waits at each source. A queue that can't be asked is told of, and doesn't keep the rest from being shown.
async fn depths(look: &Look, now: DateTime<Utc>, output: &Output) -> Vec<(String, Option<Depth>)> {
    let mut depths = Vec::new();
    for (name, source) in &look.pipeline.sources {
        let depth = look.depth((name, source), now).await;
        if let Err(failure) = &depth {
            output.complain(&format!("source {name}: {failure}"));
        }
        depths.push((name.clone(), depth.ok()));
    }
    depths
}

const fn words(kind: DatasetKind) -> &'static str {
    match kind {
        DatasetKind::StreamingTable => "streaming table",
        DatasetKind::MaterializedView => "materialized view",
        DatasetKind::View => "view",
        DatasetKind::TemporaryView => "temporary view",
    }
}

fn rows(lines: &[Line], now: DateTime<Utc>) -> Rows {
    let state = |read: fn(&TableState) -> Option<u64>| lines.iter().map(move |line| line.state.as_ref().and_then(read));
    let age = |line: &Line| {
        let changed = line.state.as_ref()?.changed?;
        u64::try_from((now - changed).num_seconds().max(0)).ok()
    };
    let changes = |read: fn(&ChangeCounts) -> u64| lines.iter().map(move |line| line.changes.as_ref().map(read));
    let listing = Listing::default()
        .text("dataset", lines.iter().map(|line| Some(&line.dataset)))
        .text("layer", lines.iter().map(|line| line.layer))
        .text("kind", lines.iter().map(|line| Some(words(line.kind))))
        .number("version", state(|state| Some(state.version)))
        .number("rows", state(|state| state.rows))
        .number("files", state(|state| Some(state.files)))
        .bytes("bytes", state(|state| Some(state.bytes)))
        .age("changed", lines.iter().map(age))
        .number("behind", lines.iter().map(|line| line.lag))
        .number("quarantined", lines.iter().map(|line| line.quarantined))
        .number("late", lines.iter().map(|line| line.late));
    let slice = |line: &Line| line.state.as_ref().and_then(|state| state.compaction);
    let listing = if lines.iter().any(|line| slice(line).is_some()) {
        let done = |slice: Slice| format!("{} of {}", slice.done, slice.planned);
        listing
            .text("compacted", lines.iter().map(|line| slice(line).map(done)))
            .bytes("to compact", lines.iter().map(|line| slice(line).map(|slice| slice.bytes_left)))
    } else {
        listing
    };
    if lines.iter().all(|line| line.changes.is_none()) {
        return listing.rows();
    }
    listing
        .number("upserted", changes(|counts| counts.upserted))
        .number("deleted", changes(|counts| counts.deleted))
        .number("stale", changes(|counts| counts.stale))
        .number("tombstones", changes(|counts| counts.tombstones))
        .rows()
}

fn source_rows(depths: &[(String, Option<Depth>)]) -> Rows {
    let number = |read: fn(&Depth) -> u64| depths.iter().map(move |(_, depth)| depth.as_ref().map(read));
    Listing::default()
        .text("source", depths.iter().map(|(name, _)| Some(name)))
        .number("waiting", number(|depth| depth.waiting))
        .number("in flight", number(|depth| depth.in_flight))
        .number("dead letters", number(|depth| depth.dead))
        .rows()
}

fn document(look: &Look, lines: &[Line], depths: &[(String, Option<Depth>)]) -> Value {
    json!({
        "pipeline": look.pipeline.name,
        "datasets": lines.iter().map(dataset).collect::<Value>(),
        "sources": depths.iter().map(|(name, depth)| {
            let number = |read: fn(&Depth) -> u64| depth.as_ref().map(read);
            let (waiting, in_flight) = (number(|depth| depth.waiting), number(|depth| depth.in_flight));
            json!({"source": name, "waiting": waiting, "in_flight": in_flight, "dead_letters": number(|depth| depth.dead)})
        }).collect::<Value>(),
    })
}

fn dataset(line: &Line) -> Value {
    let state = line.state.as_ref();
    let mut document = json!({
        "dataset": line.dataset,
        "layer": line.layer,
        "kind": line.kind,
        "version": state.map(|state| state.version),
        "rows": state.and_then(|state| state.rows),
        "files": state.map(|state| state.files),
        "bytes": state.map(|state| state.bytes),
        "changed_at": state.and_then(|state| state.changed),
        "versions_behind": line.lag,
        "quarantined": line.quarantined,
        "late": line.late,
    });
    if let Some(changes) = line.changes {
        document["changes"] = json!(changes);
    }
    if let Some(slice) = state.and_then(|state| state.compaction) {
        document["compaction"] = json!(slice);
    }
    document
}
