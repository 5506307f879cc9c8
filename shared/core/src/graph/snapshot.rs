//! The table that files of snapshots land in.
//!
//! Changes are taken from tables, so that each record is there once and can be read again. A flow that
//! takes snapshots from files has a table of its own for them: `<flow>_snapshots`, as if the user had written it.

use crate::model::{AutoCdc, ChangeSource, DatasetKind};
use crate::sql::{CreateDataset, Name, ParsedQuery, ParsedSource};

/// The streaming table that a flow of snapshots reads instead of files; its query is changed to do so. `None` if it
/// reads none.
pub(super) fn landing(changes: &AutoCdc, flow: &Name, query: &mut ParsedQuery) -> Option<CreateDataset> {
    let [relation] = query.relations.as_slice() else { return None };
    if changes.source != ChangeSource::Snapshots || !matches!(relation.source, ParsedSource::Files { .. }) {
        return None;
    }
    let mut parts = flow.parts.clone();
    parts.last_mut()?.push_str("_snapshots");
    let name = Name { parts, span: relation.span.clone() };
    let mut landed = query.clone();
    for relation in &mut landed.relations {
        if let ParsedSource::Files { stream, .. } = &mut relation.source {
            *stream = true;
        }
    }
    let table = |name: &Name| ParsedSource::Table {
        name: name.clone(),
        stream: true,
        skip_change_commits: false,
        starting_version: None,
        watermark: None,
    };
    query.relations.iter_mut().for_each(|relation| relation.source = table(&name));
    Some(CreateDataset {
        name,
        kind: DatasetKind::StreamingTable,
        private: false,
        columns: Vec::new(),
        expectations: Vec::new(),
        partitioned_by: Vec::new(),
        clustered_by: Vec::new(),
        comment: None,
        properties: Vec::new(),
        query: Some(landed),
        once: false,
        changes: None,
    })
}
