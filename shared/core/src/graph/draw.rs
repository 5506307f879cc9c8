//! The graph for people: a tree for terminals, a flowchart for Mermaid.

use std::fmt::Write;

use super::edges::{Edge, Origin, defined, edges_of};
use crate::model::{Dataset, DatasetKind, Pipeline};
use crate::name::Layer;

/// The graph as a tree, each dataset once: below the stream that it reads, or else below the first
/// of its sources; its other sources follow after a `+`. Outside sources are the roots.
#[must_use]
pub fn draw(pipeline: &Pipeline) -> String {
    let tree = Tree::new(pipeline);
    let mut lines = vec![(pipeline.name.clone(), String::new())];
    for (at, root) in tree.roots.iter().enumerate() {
        tree.add(root, "", at + 1 == tree.roots.len(), &mut lines);
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (line, note) in lines {
        let padding = if note.is_empty() { 0 } else { width + 2 - line.chars().count() };
        text.push_str(&line);
        text.extend(std::iter::repeat_n(' ', padding));
        text.push_str(&note);
        text.push('\n');
    }
    text
}

/// The graph as a Mermaid flowchart: a box a layer; thick arrows are streams.
#[must_use]
pub fn mermaid(pipeline: &Pipeline) -> String {
    let mut chart = Chart { text: "flowchart LR\n".to_owned(), nodes: Vec::new() };
    for layer in [Some(Layer::Bronze), Some(Layer::Silver), Some(Layer::Gold), None] {
        chart.add_layer(pipeline, layer);
    }
    for dataset in &pipeline.datasets {
        for edge in edges_of(pipeline, dataset) {
            chart.add_edge(pipeline, dataset, &edge);
        }
    }
    chart.text
}

/// The words for a kind.
const fn kind_words(kind: DatasetKind) -> &'static str {
    match kind {
        DatasetKind::StreamingTable => "streaming table",
        DatasetKind::MaterializedView => "materialized view",
        DatasetKind::View => "view",
        DatasetKind::TemporaryView => "temporary view",
    }
}

/// A line's parent: an outside source, or the place of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Outside(String),
    Dataset(usize),
}

struct Tree<'a> {
    pipeline: &'a Pipeline,
    /// Of each dataset: what it hangs below, and its other sources.
    places: Vec<(Option<Node>, Vec<String>)>,
    roots: Vec<Node>,
}

impl<'a> Tree<'a> {
    fn new(pipeline: &'a Pipeline) -> Self {
        let mut tree = Self { pipeline, places: Vec::new(), roots: Vec::new() };
        for (at, dataset) in pipeline.datasets.iter().enumerate() {
            let edges = edges_of(pipeline, dataset);
            let parent = edges.first().map(|edge| tree.node(edge));
            let others = edges.iter().skip(1).map(|edge| label(&edge.from)).collect();
            let root = match &parent {
                None => Some(Node::Dataset(at)),
                Some(Node::Outside(_)) => parent.clone(),
                Some(Node::Dataset(_)) => None,
            };
            tree.places.push((parent, others));
            tree.roots.extend(root.filter(|root| !tree.roots.contains(root)));
        }
        tree
    }

    fn node(&self, edge: &Edge) -> Node {
        let place = match &edge.from {
            Origin::Dataset(name) => {
                let main = defined(self.pipeline, name).map(|dataset| &dataset.name);
                self.pipeline.datasets.iter().position(|dataset| Some(&dataset.name) == main)
            }
            Origin::Outside(_) => None,
        };
        place.map_or_else(|| Node::Outside(label(&edge.from)), Node::Dataset)
    }

    fn add(&self, node: &Node, indent: &str, is_last: bool, lines: &mut Vec<(String, String)>) {
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (name, note) = match node {
            Node::Outside(name) => (name.clone(), String::new()),
            Node::Dataset(at) => self.describe(*at),
        };
        lines.push((format!("{indent}{branch}{name}"), note));
        let children: Vec<usize> =
            (0..self.places.len()).filter(|at| self.places[*at].0.as_ref() == Some(node)).collect();
        for (at, child) in children.iter().enumerate() {
            self.add(&Node::Dataset(*child), &format!("{indent}{below}"), at + 1 == children.len(), lines);
        }
    }

    fn describe(&self, at: usize) -> (String, String) {
        let dataset = &self.pipeline.datasets[at];
        let layer = dataset.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        let mut note = format!("{layer:<7} {}", kind_words(dataset.kind));
        if !self.places[at].1.is_empty() {
            let _ = write!(note, "  + {}", self.places[at].1.join(", "));
        }
        (dataset.name.to_string(), note)
    }
}

fn label(origin: &Origin) -> String {
    match origin {
        Origin::Dataset(name) => name.to_string(),
        Origin::Outside(name) => name.clone(),
    }
}

struct Chart {
    text: String,
    /// Labels; the place is the node's id.
    nodes: Vec<String>,
}

impl Chart {
    fn add_layer(&mut self, pipeline: &Pipeline, layer: Option<Layer>) {
        let datasets: Vec<&Dataset> = pipeline.datasets.iter().filter(|dataset| dataset.layer == layer).collect();
        if datasets.is_empty() {
            return;
        }
        let title = layer.map_or("views", Layer::folder);
        self.line(&format!("  subgraph {title}"));
        for dataset in datasets {
            let id = self.id(&dataset.name.to_string());
            let (open, close) = if dataset.kind.has_table() { ("[", "]") } else { ("([", "])") };
            self.line(&format!("    n{id}{open}\"{}\"{close}", dataset.name));
        }
        self.line("  end");
    }

    fn add_edge(&mut self, pipeline: &Pipeline, dataset: &Dataset, edge: &Edge) {
        let from = match &edge.from {
            Origin::Dataset(name) => {
                let name = defined(pipeline, name).map_or_else(|| name.to_string(), |main| main.name.to_string());
                self.id(&name)
            }
            Origin::Outside(name) => self.outside(name),
        };
        let to = self.id(&dataset.name.to_string());
        let arrow = if edge.is_stream { "==>" } else { "-->" };
        self.line(&format!("  n{from} {arrow} n{to}"));
    }

    fn outside(&mut self, name: &str) -> usize {
        let is_new = !self.nodes.iter().any(|node| node == name);
        let id = self.id(name);
        if is_new {
            self.line(&format!("  n{id}[(\"{}\")]", name.replace('"', "#quot;")));
        }
        id
    }

    fn id(&mut self, name: &str) -> usize {
        self.nodes.iter().position(|node| node == name).unwrap_or_else(|| {
            self.nodes.push(name.to_owned());
            self.nodes.len() - 1
        })
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}
