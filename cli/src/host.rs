//! The local host: a pipeline's five functions, its queues and its folders in one process.

use std::path::PathBuf;
use std::sync::Arc;

use headwater_core::model::{Pipeline, RelationSource};
use headwater_core::report::Report;
use headwater_core::trigger::Trigger;
use headwater_lake::ingest::split_glob;
use headwater_lake::lake::Lake;
use headwater_runtime::local::{FunctionKind, Host, Pace, Queue, WatchedTable};

use crate::failure::Result;
use crate::hubs;
use crate::look::Look;

/// What an update wakes, in this order.
pub(crate) const ALL: [FunctionKind; 5] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

/// Hands a trigger to the function's handler.
pub(crate) async fn dispatch(lake: Arc<Lake>, function: FunctionKind, trigger: Trigger) -> Report {
    match function {
        FunctionKind::BronzeEvents => headwater_bronze_events::handle(&lake, trigger).await,
        FunctionKind::BronzeFiles => headwater_bronze_files::handle(&lake, trigger).await,
        FunctionKind::Silver => headwater_silver::handle(&lake, trigger).await,
        FunctionKind::Gold => headwater_gold::handle(&lake, trigger).await,
        FunctionKind::Compact => headwater_compact::handle(&lake, trigger).await,
    }
}

/// The host of a pipeline.
pub(crate) fn host(look: &Look, lake: &Arc<Lake>) -> Result<Host> {
    let pipeline = &look.pipeline;
    let (mut queues, hubs) = (Vec::new(), hubs::all(lake)?);
    for (name, source) in &pipeline.sources {
        queues.extend(look.open_queue(source)?.map(|binding| Queue { source: name.clone(), binding }));
    }
    let landing = folders(pipeline, lake);
    let pace = Pace {
        batch_messages: pipeline.settings.max_batch_messages,
        batch_bytes: pipeline.settings.max_batch_bytes,
        ..Pace::default()
    };
    Ok(Host { queues, hubs, reads_files: !landing.is_empty(), landing, tables: tables(look, lake), pace })
}

/// Local folders in which files arrive.
fn folders(pipeline: &Pipeline, lake: &Lake) -> Vec<PathBuf> {
    let streams = pipeline.flows.iter().filter_map(|flow| flow.stream());
    let paths = streams.filter_map(|stream| match &stream.source {
        RelationSource::Files { path, .. } => Some(PathBuf::from(lake.resolve(split_glob(path).0))),
        RelationSource::Events { .. } | RelationSource::Table(_) | RelationSource::TableStream { .. } => None,
    });
    paths.collect()
}

/// Tables on local disk whose commits wake `silver`.
fn tables(look: &Look, lake: &Lake) -> Vec<WatchedTable> {
    let Ok(root) = lake.storage().url().to_file_path() else { return Vec::new() };
    let watched = |dataset| {
        let path = look.pipeline.table_path(&dataset)?;
        Some(WatchedTable { dataset, folder: root.join(path) })
    };
    look.tables().into_iter().filter_map(watched).collect()
}
