//! Who reads what, with views as nodes of their own.

use std::collections::{BTreeSet, VecDeque};

use super::expand::{direct_aliases, view_names};
use crate::model::{Dataset, Pipeline, Query, RelationSource};
use crate::name::DatasetName;

/// Something that a dataset reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: Origin,
    /// Whether it is read incrementally.
    pub(super) is_stream: bool,
}

/// The start of an edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A dataset of the pipeline, or a side table of one.
    Dataset(DatasetName),
    /// `events:<name>` or `files:<path>`.
    Outside(String),
}

/// What a dataset reads itself: streams first, then in the order of its queries; each once.
pub(super) fn edges_of(pipeline: &Pipeline, dataset: &Dataset) -> Vec<Edge> {
    let queries = pipeline.flows_into(&dataset.name).map(|flow| &flow.query).chain(&dataset.view);
    let mut edges: Vec<Edge> = Vec::new();
    for edge in queries.flat_map(edges_of_query) {
        if !edges.contains(&edge) {
            edges.push(edge);
        }
    }
    edges.sort_by_key(|edge| !edge.is_stream);
    edges
}

fn edges_of_query(query: &Query) -> Vec<Edge> {
    let aliases = direct_aliases(query);
    let mut edges: Vec<Edge> = Vec::new();
    for relation in query.relations.iter().filter(|relation| aliases.contains(&relation.alias)) {
        let from = match &relation.source {
            RelationSource::Table(name) | RelationSource::TableStream { dataset: name, .. } => {
                Origin::Dataset(name.clone())
            }
            RelationSource::Events { source, .. } => Origin::Outside(format!("events:{source}")),
            RelationSource::Files { path, .. } => Origin::Outside(format!("files:{path}")),
        };
        edges.push(Edge { from, is_stream: relation.is_stream() });
    }
    let streams = query.relations.iter().any(|relation| relation.is_stream() && !aliases.contains(&relation.alias));
    edges.extend(view_names(query).into_iter().map(|name| Edge { from: Origin::Dataset(name), is_stream: streams }));
    edges
}

/// What a dataset depends on and what depends on it, all the way, nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Datasets that it reads, directly or not.
    pub upstream: Vec<DatasetName>,
    /// Outside sources at the start of those: `events:<name>` and `files:<path>`.
    pub outside: Vec<String>,
    /// Datasets that read it, directly or not.
    pub downstream: Vec<DatasetName>,
}

/// The lineage of a dataset or side table; `None` if the pipeline has no such dataset.
#[must_use]
pub fn lineage(pipeline: &Pipeline, dataset: &DatasetName) -> Option<Lineage> {
    let dataset = &defined(pipeline, dataset)?.name;
    let mut lineage = Lineage::default();
    lineage.upstream = walk(dataset, |name| {
        let mut sources = Vec::new();
        for edge in defined(pipeline, name).map(|dataset| edges_of(pipeline, dataset)).unwrap_or_default() {
            match edge.from {
                Origin::Dataset(name) => sources.extend(defined(pipeline, &name).map(|dataset| dataset.name.clone())),
                Origin::Outside(source) if !lineage.outside.contains(&source) => lineage.outside.push(source),
                Origin::Outside(_) => {}
            }
        }
        sources
    });
    lineage.downstream = walk(dataset, |name| {
        let reads = |edge: &Edge| match &edge.from {
            Origin::Dataset(source) => defined(pipeline, source).is_some_and(|dataset| &dataset.name == name),
            Origin::Outside(_) => false,
        };
        let readers = pipeline.datasets.iter().filter(|reader| edges_of(pipeline, reader).iter().any(reads));
        readers.map(|reader| reader.name.clone()).collect()
    });
    Some(lineage)
}

/// The dataset of that name, or the one that it is a side table of.
pub(super) fn defined<'a>(pipeline: &'a Pipeline, name: &DatasetName) -> Option<&'a Dataset> {
    pipeline.dataset(name).or_else(|| pipeline.dataset(&name.main()?))
}

/// All that is reachable from `start` without `start` itself, breadth first.
fn walk(start: &DatasetName, mut next: impl FnMut(&DatasetName) -> Vec<DatasetName>) -> Vec<DatasetName> {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut waiting = VecDeque::from([start.clone()]);
    let mut reached = Vec::new();
    while let Some(name) = waiting.pop_front() {
        for neighbour in next(&name) {
            if seen.insert(neighbour.clone()) {
                reached.push(neighbour.clone());
                waiting.push_back(neighbour);
            }
        }
    }
    reached
}
