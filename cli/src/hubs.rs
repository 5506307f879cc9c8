//! Hubs that sources are bound to, and what the lake holds of them.

use std::sync::Arc;

use headwater_core::hub::HubAddress;
use headwater_core::model::{EventSource, Pipeline, RelationSource};
use headwater_lake::lake::Lake;
use headwater_runtime::RuntimeError;
use headwater_runtime::config;
use headwater_runtime::eventhubs::{Committed, Credentials, Hub, HubSource};

use crate::failure::Result;

/// The hub at an address, let in by what the environment holds.
pub(crate) fn at(address: &HubAddress) -> Result<Hub> {
    let credentials = Credentials::read(&config::environment(), address)?;
    Ok(Hub::new(address.clone(), credentials))
}

/// A source's hub. The lake is asked for what it holds of it.
pub(crate) fn source(name: &str, address: &HubAddress, lake: &Arc<Lake>) -> Result<HubSource> {
    let (lake, source, shown) = (Arc::clone(lake), name.to_owned(), address.to_string());
    let committed = Committed::new(move |hub, partitions| {
        let (lake, source, shown) = (Arc::clone(&lake), source.clone(), shown.clone());
        Box::pin(async move {
            let numbers = lake.committed_numbers(&source, &hub, &partitions).await;
            let failed = |error: headwater_lake::error::LakeError| RuntimeError::Committed {
                hub: shown,
                reason: error.to_string(),
                kind: error.kind(),
            };
            numbers.map_err(failed)
        })
    });
    Ok(HubSource { source: name.to_owned(), hub: at(address)?, committed })
}

/// The hubs that the pipeline's sources are bound to, as far as a flow reads them.
pub(crate) fn all(lake: &Arc<Lake>) -> Result<Vec<HubSource>> {
    let mut hubs = Vec::new();
    for (name, bound) in &lake.pipeline().sources {
        if let EventSource::EventHubs { hub } = bound
            && is_read(lake.pipeline(), name)
        {
            hubs.push(source(name, hub, lake)?);
        }
    }
    Ok(hubs)
}

/// Whether a flow reads an event source; one that is left out for now doesn't.
fn is_read(pipeline: &Pipeline, name: &str) -> bool {
    let mut streams = pipeline.flows.iter().filter_map(|flow| flow.stream());
    streams.any(|stream| matches!(&stream.source, RelationSource::Events { source, .. } if source == name))
}
