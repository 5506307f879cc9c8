//! From checked definitions to an ordered pipeline: order, views, streams, layers.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::expand::{View, Views, expand};
use super::{flows, order, streaming};
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::{Dataset, DatasetKind, Dedup, Flow, FlowKind, Pipeline, Relation, RelationSource, Violation};
use crate::name::{DatasetName, Layer};
use crate::project::Project;

/// The pipeline, and all findings; `None` when definitions can't be put in order.
pub(super) fn assemble(project: &Project, mut draft: Draft) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let order = match order::order(&depends(&draft)) {
        Ok(order) => order,
        Err(cycles) => {
            let findings: Vec<Diagnostic> = cycles.iter().map(|cycle| circular(cycle, &draft)).collect();
            draft.findings.extend(findings);
            return (None, draft.findings);
        }
    };
    let mut assembly = Assembly { draft, views: Views::new(), streaming_views: BTreeMap::new(), flows: Vec::new() };
    let datasets = order.into_iter().filter_map(|at| assembly.dataset(at)).collect();
    let mut findings = assembly.draft.findings;
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        findings.extend(unused_sources(project, &assembly.flows));
    }
    let pipeline = Pipeline {
        name: project.name.clone(),
        storage: project.storage.clone(),
        datasets,
        flows: assembly.flows,
        sources: project.sources.clone(),
        settings: project.settings.clone(),
    };
    (Some(pipeline), findings)
}

/// For each dataset, the places of the datasets that it reads.
fn depends(draft: &Draft) -> Vec<Vec<usize>> {
    let place = |name: &DatasetName| {
        let source = &draft.source(name)?.name;
        draft.datasets.iter().position(|dataset| &dataset.name == source)
    };
    let sources = |dataset: &Dataset| {
        let flows = draft.flows_into(&dataset.name).map(|flow| &flow.query);
        let relations = flows.chain(&dataset.view).flat_map(|query| &query.relations);
        relations.filter_map(Relation::dataset).filter_map(place).collect()
    };
    draft.datasets.iter().map(sources).collect()
}

fn circular(cycle: &[usize], draft: &Draft) -> Diagnostic {
    let names: Vec<String> =
        cycle.iter().chain(cycle.first()).map(|at| format!("`{}`", draft.datasets[*at].name)).collect();
    let message = match cycle {
        [_] => format!("{} reads itself", names[0]),
        _ => format!("datasets read each other in a circle: {}", names.join(" reads ")),
    };
    let span = cycle.first().map(|at| draft.datasets[*at].span.clone());
    let finding =
        Diagnostic::error("PIPELINE_CIRCULAR_DEPENDENCY", message).help("take one of the reads out of the circle");
    Diagnostic { span, ..finding }
}

fn unused_sources<'a>(project: &'a Project, flows: &'a [Flow]) -> impl Iterator<Item = Diagnostic> + 'a {
    let used: BTreeSet<&str> = flows
        .iter()
        .flat_map(|flow| &flow.query.relations)
        .filter_map(|relation| match &relation.source {
            RelationSource::Events { source, .. } => Some(source.as_str()),
            RelationSource::Files { .. } | RelationSource::Table(_) | RelationSource::TableStream { .. } => None,
        })
        .collect();
    project.sources.keys().filter(move |source| !used.contains(source.as_str())).map(|source| {
        Diagnostic::warning("UNUSED_SOURCE", format!("no table reads the event source `{source}`"))
            .help(format!("read it with `STREAM read_events('{source}')`, or remove it from the project file"))
    })
}

struct Assembly {
    draft: Draft,
    views: Views,
    /// Whether each view reads a stream.
    streaming_views: BTreeMap<DatasetName, bool>,
    flows: Vec<Flow>,
}

impl Assembly {
    /// The finished dataset at this place of the draft, whose sources are finished; its flows are added.
    /// `None` for a second definition of the same name, whose flows came with the first.
    fn dataset(&mut self, at: usize) -> Option<Dataset> {
        let mut dataset = self.draft.datasets[at].clone();
        if self.draft.datasets[..at].iter().any(|first| first.name == dataset.name) {
            return None;
        }
        self.view(&mut dataset);
        let mut flows: Vec<Flow> = self.draft.flows_into(&dataset.name).cloned().collect();
        for flow in &mut flows {
            self.flow(flow);
        }
        dataset.dedup = self.dedup(&dataset, &mut flows);
        dataset.layer = layer(&dataset, &flows);
        self.flows.append(&mut flows);
        Some(dataset)
    }

    fn view(&mut self, dataset: &mut Dataset) {
        let Some(query) = &dataset.view else { return };
        self.check_view_reads(&query.relations);
        let is_drop = |action| matches!(action, Violation::Drop);
        let rules = dataset.expectations.iter().filter(|rule| is_drop(rule.action));
        let filters: Vec<_> = rules.map(|rule| rule.predicate.clone()).collect();
        let columns = dataset.columns.iter().map(|column| column.name.clone()).collect();
        match View::new(query, columns, &filters, &self.views) {
            Ok(view) => {
                self.draft.findings.extend(flows::check_view(dataset.kind, &view.query));
                let is_streaming = view.query.relations.iter().any(Relation::is_stream);
                self.streaming_views.insert(dataset.name.clone(), is_streaming);
                dataset.view = Some(view.query.clone());
                self.views.insert(dataset.name.clone(), view);
            }
            Err(finding) => self.draft.findings.push(finding),
        }
    }

    fn flow(&mut self, flow: &mut Flow) {
        let before = self.draft.findings.len();
        self.check_view_reads(&flow.query.relations);
        match expand(&flow.query, &self.views) {
            Ok(query) => flow.query = query,
            Err(finding) => self.draft.findings.push(finding),
        }
        if self.draft.findings.len() == before {
            self.draft.findings.extend(flows::check_query(flow));
        }
    }

    fn check_view_reads(&mut self, relations: &[Relation]) {
        let is_streaming = |name: &DatasetName| self.streaming_views.get(name).copied();
        let findings: Vec<Diagnostic> =
            relations.iter().filter_map(|relation| flows::check_view_read(relation, is_streaming)).collect();
        self.draft.findings.extend(findings);
    }

    /// `SELECT DISTINCT` on a stream keeps the first of equal rows, over all batches.
    fn dedup(&mut self, dataset: &Dataset, flows: &mut [Flow]) -> Option<Dedup> {
        let (mut distinct, mut plain) = (0, 0);
        for flow in flows.iter_mut().filter(|flow| flow.kind == FlowKind::Append) {
            if streaming::take_distinct(&mut flow.query.ast) { distinct += 1 } else { plain += 1 }
        }
        let problem = match (&dataset.dedup, distinct) {
            (dedup, 0) => return dedup.clone(),
            (Some(_), _) => "has `headwater.dedup.keys` and a SELECT DISTINCT, which compares whole rows",
            (None, _) if plain > 0 => "has flows with and without DISTINCT, and compares the rows of all",
            (None, _) => return Some(Dedup::WholeRow),
        };
        self.draft.findings.push(
            Diagnostic::error("CONFLICTING_DEDUP", format!("`{}` {problem}", dataset.name))
                .at(dataset.span.clone())
                .help("keep one way, or name key columns: `TBLPROPERTIES ('headwater.dedup.keys' = 'a, b')`"),
        );
        None
    }
}

/// The layer of a dataset by what its flows read.
fn layer(dataset: &Dataset, flows: &[Flow]) -> Option<Layer> {
    let reads_outside = |flow: &Flow| {
        let leading = flow.stream().or_else(|| flow.query.relations.first());
        leading.is_some_and(|relation| relation.dataset().is_none())
    };
    match dataset.kind {
        DatasetKind::StreamingTable if flows.iter().any(reads_outside) => Some(Layer::Bronze),
        DatasetKind::StreamingTable => Some(Layer::Silver),
        DatasetKind::MaterializedView => Some(Layer::Gold),
        DatasetKind::View | DatasetKind::TemporaryView => None,
    }
}
