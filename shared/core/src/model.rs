//! The typed model of a pipeline: what the language means once it is parsed, bound and checked.
//!
//! The parser makes it, the graph orders it, the flows run it. A query is kept as sqlparser's
//! syntax tree in which every relation is a plain name (see [`Query`]), so that the engine sees
//! nothing but what the pipeline declared.

mod cdc;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlparser::ast;

use crate::as_of::AsOf;
use crate::aws::sqs::QueueAddress;
use crate::diagnostic::Span;
use crate::graph::properties::ENABLE_TYPE_WIDENING;
use crate::hub::HubAddress;
use crate::name::{DatasetName, FlowName, Layer};

pub use self::cdc::{AutoCdc, ChangeSource, ColumnChoice, StoredAs};
pub use self::read::{CleanSource, CsvOptions, Evolution, FileOptions, Format, Hint, ReadOptions};

/// A checked pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `name` of the project file; part of each flow's identity.
    pub name: String,
    /// Root of the lake: an absolute URL, or a path relative to the project's folder.
    pub storage: String,
    /// All datasets, sources before their readers.
    pub datasets: Vec<Dataset>,
    /// All flows, in an order in which each comes after the flows that fill what it reads.
    pub flows: Vec<Flow>,
    /// What each `read_events` name is bound to.
    pub sources: BTreeMap<String, EventSource>,
    /// Sizes and limits.
    pub settings: Settings,
}

impl Pipeline {
    /// The dataset of that name.
    #[must_use]
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| &dataset.name == name)
    }

    /// The flows that write to a dataset.
    pub fn flows_into<'a>(&'a self, target: &'a DatasetName) -> impl Iterator<Item = &'a Flow> {
        self.flows.iter().filter(move |flow| &flow.target == target)
    }

    /// Whether columns of a dataset may get wider types: as its `delta.enableTypeWidening` says, or else if those may that it is filled from.
    #[must_use]
    pub fn may_widen(&self, name: &DatasetName) -> bool {
        let mut filled = BTreeSet::new();
        // Flows come after those that fill what they read.
        for flow in &self.flows {
            let source_may = |relation: &Relation| match relation.dataset() {
                Some(source) => self.is_said_to_widen(source, &filled),
                None => relation.source.read().is_some_and(|read| read.evolution.widens_types()),
            };
            if flow.query.relations.iter().any(source_may) {
                filled.insert(&flow.target);
            }
        }
        self.is_said_to_widen(name, &filled)
    }

    /// The same, of what is filled from something that may widen.
    fn is_said_to_widen(&self, name: &DatasetName, filled: &BTreeSet<&DatasetName>) -> bool {
        let main = name.main().filter(|main| self.dataset(main).is_some());
        let name = main.as_ref().unwrap_or(name);
        let said = self.dataset(name).and_then(|dataset| dataset.properties.get(ENABLE_TYPE_WIDENING));
        said.map_or_else(|| filled.contains(name), |said| said.eq_ignore_ascii_case("true"))
    }

    /// The path of a dataset's table below the lake's root; `None` for views, which have no table.
    #[must_use]
    pub fn table_path(&self, name: &DatasetName) -> Option<String> {
        let main = name.main().filter(|main| self.dataset(main).is_some());
        let layer = self.dataset(main.as_ref().unwrap_or(name))?.layer?;
        Some(format!("{}/{}", layer.folder(), name.folder()))
    }
}

/// A table or view that the pipeline defines.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// What it is.
    pub kind: DatasetKind,
    /// Its layer; `None` for views.
    pub layer: Option<Layer>,
    /// Declared columns, empty if the query's are taken.
    pub columns: Vec<Column>,
    /// Rules on its rows, in the order declared.
    pub expectations: Vec<Expectation>,
    /// Partition columns.
    pub partitioned_by: Vec<String>,
    /// Clustering columns.
    pub clustered_by: Vec<String>,
    /// Comment.
    pub comment: Option<String>,
    /// `TBLPROPERTIES`, merged over the project's defaults.
    pub properties: BTreeMap<String, String>,
    /// Key columns of `headwater.dedup.keys`, or every column for a `SELECT DISTINCT` on a stream.
    pub dedup: Option<Dedup>,
    /// The query of a view; tables are filled by flows.
    pub view: Option<Query>,
    /// Where its name stands.
    pub span: Span,
}

/// The kinds of dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Appended to by flows, each input row once; or kept by changes of its rows.
    StreamingTable,
    /// Always equal to its query.
    MaterializedView,
    /// A named query without a table; seen outside of the pipeline too.
    View,
    /// A named query without a table, seen in the pipeline only.
    TemporaryView,
}

impl DatasetKind {
    /// Whether the dataset has a Delta table.
    #[must_use]
    pub const fn has_table(self) -> bool {
        match self {
            Self::StreamingTable | Self::MaterializedView => true,
            Self::View | Self::TemporaryView => false,
        }
    }
}

/// First row of each key wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedup {
    /// These columns of the target.
    Keys(Vec<String>),
    /// The whole row.
    WholeRow,
}

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the case written.
    pub name: String,
    /// Its SQL type.
    pub data_type: ast::DataType,
    /// `NOT NULL`.
    pub not_null: bool,
    /// Comment.
    pub comment: Option<String>,
}

/// A named predicate on a dataset's rows. NULL counts as a violation.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Unique in its dataset.
    pub name: String,
    /// The predicate, over the dataset's columns.
    pub predicate: ast::Expr,
    /// What a violation does.
    pub action: Violation,
    /// Where the constraint stands.
    pub span: Span,
}

/// What a violated expectation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Violation {
    /// Counts the row and keeps it.
    Warn,
    /// Takes the row to quarantine.
    Drop,
    /// Fails the batch; nothing of it is written.
    Fail,
}

/// One edge of the graph: from sources into one target.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its name; a rename starts from zero.
    pub name: FlowName,
    /// The table that it writes.
    pub target: DatasetName,
    /// How.
    pub kind: FlowKind,
    /// What it runs, with views expanded as common table expressions.
    pub query: Query,
    /// `AUTO CDC`: the query gives changes of the target's rows, rather than rows.
    pub changes: Option<AutoCdc>,
    /// Where it stands.
    pub span: Span,
}

impl Flow {
    /// The streaming relation of an append flow, `None` for `ONCE` flows and materialized views.
    #[must_use]
    pub fn stream(&self) -> Option<&Relation> {
        self.query.relations.iter().find(|relation| relation.is_stream())
    }

    /// The tables of the lake that the flow reads, streaming or not.
    pub fn reads(&self) -> impl Iterator<Item = &DatasetName> {
        self.query.relations.iter().filter_map(Relation::dataset)
    }
}

/// What a flow does to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// Appends what its stream newly holds.
    Append,
    /// Appends the result of a batch query once.
    Once,
    /// Replaces the target by the query's result.
    Materialize,
}

/// A query whose relations are all plain names.
///
/// The tree holds no table function, no `STREAM` and no dataset name: each occurrence was replaced
/// by the `alias` of one entry of `relations`, which the engine registers before it plans.
#[derive(Debug, Clone)]
pub struct Query {
    /// The tree, in the dialect of DataFusion.
    pub ast: Box<ast::Query>,
    /// What each plain name stands for; every name in the tree that is neither a CTE nor one of
    /// these is an error at planning.
    pub relations: Vec<Relation>,
    /// Where the query stands in its file.
    pub span: Span,
}

/// A relation that a query reads.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The name in the tree, unique in its query: `__r0`, `__r1`, …
    pub alias: String,
    /// What it stands for.
    pub source: RelationSource,
    /// The state of a table that is meant, if not the present one.
    pub as_of: Option<AsOf>,
    /// Where it stands.
    pub span: Span,
}

impl Relation {
    /// Whether it is read incrementally.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        match &self.source {
            RelationSource::TableStream { .. } | RelationSource::Events { .. } => true,
            RelationSource::Files { stream, .. } => *stream,
            RelationSource::Table(_) => false,
        }
    }

    /// The dataset that it reads, `None` for outside sources.
    #[must_use]
    pub const fn dataset(&self) -> Option<&DatasetName> {
        match &self.source {
            RelationSource::Table(name) | RelationSource::TableStream { dataset: name, .. } => Some(name),
            RelationSource::Events { .. } | RelationSource::Files { .. } => None,
        }
    }

    /// The watermark of a streaming read.
    #[must_use]
    pub const fn watermark(&self) -> Option<&Watermark> {
        match &self.source {
            RelationSource::TableStream { watermark, .. }
            | RelationSource::Events { watermark, .. }
            | RelationSource::Files { watermark, .. } => watermark.as_ref(),
            RelationSource::Table(_) => None,
        }
    }
}

/// What a relation stands for.
#[derive(Debug, Clone)]
pub enum RelationSource {
    /// A whole table of the lake, as of the start of the batch.
    Table(DatasetName),
    /// What a table newly holds.
    TableStream {
        /// The table.
        dataset: DatasetName,
        /// Ignore commits that change or remove rows, instead of failing on them.
        skip_change_commits: bool,
        /// The first version to read.
        starting_version: Option<u64>,
        /// Bound on event time.
        watermark: Option<Watermark>,
    },
    /// Messages.
    Events {
        /// The source's name, a key of [`Pipeline::sources`].
        source: String,
        /// How bodies are decoded.
        read: ReadOptions,
        /// Bound on event time.
        watermark: Option<Watermark>,
    },
    /// Files of a folder.
    Files {
        /// Folder, file or glob: a URL, or a path relative to the project's folder.
        path: String,
        /// How files are decoded.
        read: ReadOptions,
        /// New files only (`STREAM`), or all that is there.
        stream: bool,
        /// Bound on event time.
        watermark: Option<Watermark>,
    },
}

impl RelationSource {
    /// How the records of an outside source are decoded.
    #[must_use]
    pub const fn read(&self) -> Option<&ReadOptions> {
        match self {
            Self::Events { read, .. } | Self::Files { read, .. } => Some(read),
            Self::Table(_) | Self::TableStream { .. } => None,
        }
    }
}

/// `WATERMARK column DELAY OF interval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// A timestamp column of the source.
    pub column: String,
    /// How late a row may be.
    pub delay: Duration,
}

/// What a `read_events` name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSource {
    /// The embedded queue: a folder.
    Spool {
        /// The folder, absolute or relative to the project's.
        path: String,
        /// A received message is hidden from others for so long.
        visibility_timeout: Duration,
        /// After so many receives without a delete, a message goes to the dead-letter folder.
        max_receive_count: u32,
    },
    /// A queue of SQS. How often a message may be received is up to the queue's own redrive policy.
    Sqs {
        /// Where it is.
        queue: QueueAddress,
        /// A received message is hidden from others for so long, and for longer while it is worked on.
        visibility_timeout: Duration,
    },
    /// A hub of Azure Event Hubs, or the built-in endpoint of an IoT hub.
    EventHubs {
        /// Where it is.
        hub: HubAddress,
    },
}

impl EventSource {
    /// The embedded queue in a folder, treated as usual.
    #[must_use]
    pub const fn spool(path: String) -> Self {
        Self::Spool { path, visibility_timeout: Duration::from_secs(30), max_receive_count: 5 }
    }

    /// A queue of SQS, treated as usual: to hide messages anew costs requests, so that the time is longer.
    #[must_use]
    pub const fn sqs(queue: QueueAddress) -> Self {
        Self::Sqs { queue, visibility_timeout: Duration::from_secs(120) }
    }
}

/// Sizes and limits, from the project file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a data file, about; `target_file_size`.
    pub target_file_size: u64,
    /// Stored bytes of input in one batch, about; `max_batch_bytes`.
    pub max_batch_bytes: u64,
    /// Messages in one batch at most; `max_batch_messages`.
    pub max_batch_messages: usize,
    /// Bytes of one record at most, larger ones go to quarantine; `max_record_bytes`.
    pub max_record_bytes: u64,
    /// Bytes that a compressed file may grow to, per stored byte; `max_decompression_ratio`.
    pub max_decompression_ratio: u64,
    /// Files under this share of the target size are worth compacting, when there are at least so many.
    pub compact_min_files: usize,
    /// Memory of the query engine in bytes before it spills to disk; `memory_limit`.
    pub memory_limit: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target_file_size: 128 << 20,
            max_batch_bytes: 256 << 20,
            max_batch_messages: 10_000,
            max_record_bytes: 16 << 20,
            max_decompression_ratio: 1_000,
            compact_min_files: 8,
            memory_limit: 768 << 20,
        }
    }
}
