//! The columns of what a query reads.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use headwater_core::check::unknown_source;
use headwater_core::diagnostic::Diagnostic;
use headwater_core::model::{ReadOptions, Relation, RelationSource};
use headwater_core::name::DatasetName;

use super::{Check, Columns, refused};
use crate::error::Result;
use crate::flow::FlowRun;
use crate::flow::state::files_state_schema;
use crate::flow::target::Pinned;
use crate::ingest::{Sample, file_schema, message_schema, side_schema};
use crate::table::Table;

/// What is known of a relation.
pub(super) enum Source {
    /// Its columns.
    Known(KnownSource),
    /// It is this dataset, whose columns aren't known.
    Unread(DatasetName),
    /// It is an outside source whose columns aren't known, or are given wrongly.
    Unknown(Diagnostic),
}

/// The columns of a relation.
#[derive(Debug)]
pub(super) struct KnownSource {
    pub(super) columns: SchemaRef,
    /// Whether the types are known, or the names only.
    pub(super) are_typed: bool,
    /// Whether a record that is still to come may have more columns.
    pub(super) may_grow: bool,
}

impl Check<'_> {
    pub(super) async fn source(&self, run: FlowRun<'_>, relation: &Relation, main: Option<&Table>) -> Source {
        let outcome = match &relation.source {
            RelationSource::Table(name) | RelationSource::TableStream { dataset: name, .. } => {
                return match self.dataset_columns(name) {
                    Some(Columns { schema: columns, are_typed }) => {
                        Source::Known(KnownSource { columns, are_typed, may_grow: false })
                    }
                    None => Source::Unread(name.clone()),
                };
            }
            RelationSource::Events { source, read, .. } => messages(run, (source, read), relation, main),
            RelationSource::Files { path, read, stream, .. } => {
                let main = main.filter(|_| *stream);
                files(run, (path, read), relation, (main, *stream)).await
            }
        };
        outcome.unwrap_or_else(|error| Source::Unknown(refused(&error, relation.span.clone())))
    }

    fn dataset_columns(&self, name: &DatasetName) -> Option<Columns> {
        if let Some(columns) = self.columns.get(name) {
            return columns.clone();
        }
        if name.is_files_state() {
            return Some(Columns { schema: files_state_schema(), are_typed: true });
        }
        let main = self.columns.get(&name.main()?)?.as_ref()?;
        Some(Columns { schema: side_schema(&main.schema), are_typed: main.are_typed })
    }
}

/// The columns by which rows of an outside source are traced; `None` for a table.
pub(super) fn origin_of(source: &RelationSource) -> Option<SchemaRef> {
    let none = Arc::new(Schema::empty());
    match source {
        RelationSource::Events { .. } => Some(message_schema(&none)),
        RelationSource::Files { .. } => Some(file_schema(&none)),
        RelationSource::Table(_) | RelationSource::TableStream { .. } => None,
    }
}

fn messages(
    run: FlowRun<'_>,
    (source, read): (&str, &ReadOptions),
    relation: &Relation,
    main: Option<&Table>,
) -> Result<Source> {
    if !is_given(read) && run.remembered_columns(main).is_none() {
        let why = format!("messages of `{source}` have no schema, and none was landed yet");
        return Ok(Source::Unknown(unknown_source(&run.flow.target, &why, relation)));
    }
    let (columns, _) = run.source_columns(main, read, &Sample::default())?;
    Ok(Source::Known(KnownSource { columns: message_schema(&columns), are_typed: true, may_grow: !is_given(read) }))
}

async fn files(
    run: FlowRun<'_>,
    (path, read): (&str, &ReadOptions),
    relation: &Relation,
    (main, stream): (Option<&Table>, bool),
) -> Result<Source> {
    if is_given(read) {
        let (columns, _) = run.source_columns(main, read, &Sample::default())?;
        return Ok(Source::Known(KnownSource { columns: file_schema(&columns), are_typed: true, may_grow: false }));
    }
    let sample = match sample(run, (path, read), main, stream).await {
        Ok(sample) => sample,
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().next().unwrap_or_default();
            return Ok(Source::Unknown(unknown_source(&run.flow.target, why, relation)));
        }
    };
    if sample.is_empty() && run.remembered_columns(main).is_none() {
        let why = format!("there are no files in `{path}` to infer columns from");
        return Ok(Source::Unknown(unknown_source(&run.flow.target, &why, relation)));
    }
    let (columns, _) = run.source_columns(main, read, &sample)?;
    Ok(Source::Known(KnownSource { columns: file_schema(&columns), are_typed: true, may_grow: sample.is_empty() }))
}

/// What the flow's next batch would be sampled from; where nothing waits and nothing is known, what
/// was landed.
async fn sample(
    run: FlowRun<'_>,
    (path, read): (&str, &ReadOptions),
    main: Option<&Table>,
    stream: bool,
) -> Result<Sample> {
    if !stream {
        return run.sample_all(path, read).await;
    }
    let pinned = Pinned { main: main.cloned(), ..Pinned::default() };
    match run.all_waiting(path, read, &pinned).await? {
        Some(waiting) => run.sample(&waiting, read).await,
        None if run.remembered_columns(main).is_some() => Ok(Sample::default()),
        None => run.sample_all(path, read).await,
    }
}

fn is_given(read: &ReadOptions) -> bool {
    !read.schema.is_empty() || read.format.has_fixed_columns()
}
