//! Registers what a query reads, and nothing else.

use std::sync::Arc;

use datafusion::datasource::{TableProvider, empty::EmptyTable};
use datafusion::prelude::SessionContext;
use headwater_core::as_of::AsOf;
use headwater_core::model::{Query, Relation, RelationSource};
use headwater_core::name::DatasetName;
use headwater_core::provenance::{METADATA, names_metadata};

use super::FlowRun;
use crate::error::{LakeError, Result};
use crate::ingest::side_schema;
use crate::table::Table;

/// A table that a query reads whole, pinned.
#[derive(Debug, Clone)]
pub(super) struct PinnedSource {
    pub(super) dataset: DatasetName,
    /// The state that the query names; `None` for the present one.
    pub(super) as_of: Option<AsOf>,
    /// `None` while the table doesn't exist.
    pub(super) table: Option<Table>,
}

impl PinnedSource {
    fn is_of(&self, relation: &Relation, dataset: &DatasetName) -> bool {
        &self.dataset == dataset && self.as_of == relation.as_of
    }
}

impl FlowRun<'_> {
    /// Pins every table that the query reads whole, each once.
    pub(super) async fn pin_tables(&self) -> Result<Vec<PinnedSource>> {
        let mut pinned: Vec<PinnedSource> = Vec::new();
        for relation in &self.flow.query.relations {
            let RelationSource::Table(dataset) = &relation.source else { continue };
            if pinned.iter().any(|source| source.is_of(relation, dataset)) {
                continue;
            }
            let mut table = self.lake.table(dataset).await?;
            if let (Some(present), Some(as_of)) = (&table, relation.as_of) {
                table = Some(present.as_of(as_of).await?);
            }
            pinned.push(PinnedSource { dataset: dataset.clone(), as_of: relation.as_of, table });
        }
        Ok(pinned)
    }

    /// Pins them as they were for the attempt that wrote a side table and died before it wrote the target; those
    /// whose version can't be read any more as they are.
    pub(super) async fn pin_tables_again(&self, side: &Table) -> Result<Vec<PinnedSource>> {
        let mut pinned = self.pin_tables().await?;
        for source in pinned.iter_mut().filter(|source| source.as_of.is_none()) {
            let version = side.transaction(&self.joined_app_id(&source.dataset)).await?;
            let Some((table, version)) = source.table.as_mut().zip(version.and_then(|version| version.try_into().ok()))
            else {
                continue;
            };
            if version < table.version() {
                match table.at(version).await {
                    Ok(earlier) => *table = earlier,
                    Err(error) => tracing::warn!(flow = %self.flow.name, %error, "a batch is joined anew"),
                }
            }
        }
        Ok(pinned)
    }

    /// The `txn`s that tell what a batch was joined with.
    pub(super) fn joined(&self, pinned: &[PinnedSource]) -> Vec<(String, i64)> {
        let version = |source: &PinnedSource| {
            let version = i64::try_from(source.table.as_ref()?.version()).ok()?;
            Some((self.joined_app_id(&source.dataset), version))
        };
        pinned.iter().filter(|source| source.as_of.is_none()).filter_map(version).collect()
    }

    fn joined_app_id(&self, dataset: &DatasetName) -> String {
        self.flow.name.joined_app_id(&self.lake.pipeline().name, dataset)
    }

    /// Registers the pinned tables and the files that the query reads whole. The stream, if any, is
    /// the caller's to register. `None` when a table that is read doesn't exist yet and its columns
    /// aren't known: there is nothing to compute from.
    pub(super) async fn register_static(
        &self,
        session: &SessionContext,
        query: &Query,
        pinned: &[PinnedSource],
    ) -> Result<Option<()>> {
        for relation in &query.relations {
            match &relation.source {
                RelationSource::Table(dataset) => {
                    let source = pinned.iter().find(|source| source.is_of(relation, dataset));
                    let Some(provider) = self.provider(source, dataset).await? else { return Ok(None) };
                    register(session, relation, query, provider)?;
                }
                RelationSource::Files { stream: false, path, read, .. } => {
                    let provider = self.read_whole(path, read).await?;
                    register(session, relation, query, provider)?;
                }
                RelationSource::TableStream { .. } | RelationSource::Events { .. } | RelationSource::Files { .. } => {}
            }
        }
        Ok(Some(()))
    }

    async fn provider(
        &self,
        source: Option<&PinnedSource>,
        dataset: &DatasetName,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = source.and_then(|source| source.table.as_ref()) {
            return table.provider().await.map(Some);
        }
        let Some(main) = dataset.main() else { return Ok(None) };
        if dataset.is_files_state() {
            return self.files_state(&main).await.map(Some);
        }
        let main = self.lake.table(&main).await?;
        Ok(main.map(|main| Arc::new(EmptyTable::new(side_schema(&main.schema()))) as Arc<dyn TableProvider>))
    }
}

/// Registers a relation under its alias, `_metadata` hidden unless the query names it.
pub(super) fn register(
    session: &SessionContext,
    relation: &Relation,
    query: &Query,
    provider: Arc<dyn TableProvider>,
) -> Result<()> {
    let schema = provider.schema();
    let hidden = schema.column_with_name(METADATA).is_some() && !names_metadata(&query.ast);
    let provider = if hidden {
        let shown = schema.fields().iter().filter(|field| field.name() != METADATA);
        let columns = shown.map(|field| datafusion::logical_expr::ident(field.name())).collect::<Vec<_>>();
        let frame = session.read_table(provider).and_then(|frame| frame.select(columns)).map_err(LakeError::query)?;
        frame.into_view()
    } else {
        provider
    };
    register_source(session, relation, provider)
}

/// Registers an outside source under its alias, `_metadata` shown: it goes to the target.
pub(super) fn register_source(
    session: &SessionContext,
    relation: &Relation,
    provider: Arc<dyn TableProvider>,
) -> Result<()> {
    session.register_table(relation.alias.as_str(), provider).map_err(LakeError::query)?;
    Ok(())
}
