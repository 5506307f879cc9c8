//! Answers a person's question.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_core::as_of::AsOf;
use headwater_core::model::RelationSource;
use headwater_core::name::DatasetName;

use super::FlowRun;
use super::relations::PinnedSource;
use crate::error::{LakeError, Result};
use crate::lake::Lake;

impl Lake {
    /// Runs the query of a dataset over the lake as it is now, and writes nothing. `limit` bounds the
    /// rows; `None` means all. The query may read datasets only. With `as_of` it reads tables in that state, unless it
    /// names another one itself; a version is one of a single table.
    ///
    /// # Errors
    /// `Invalid` when the query reads an outside source or a table that doesn't exist yet, or doesn't
    /// plan; `Unavailable` when storage can't be read.
    pub async fn query(
        &self,
        name: &DatasetName,
        limit: Option<usize>,
        as_of: Option<AsOf>,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let flow = self.pipeline().flows_into(name).next().ok_or_else(|| LakeError::Configuration {
            message: format!("`{name}` has no query"),
            help: "name a materialized view".into(),
        })?;
        if flow.query.relations.iter().any(|relation| !matches!(relation.source, RelationSource::Table(_))) {
            return Err(LakeError::Configuration {
                message: "a query reads datasets of the pipeline only".into(),
                help: "land files and events in a streaming table first".into(),
            });
        }
        let run = FlowRun::new(self, flow, "query", None)?;
        let session = self.engine().session();
        let mut sources = run.pin_tables().await?;
        if let Some(as_of) = as_of {
            travel(&mut sources, as_of).await?;
        }
        if run.register_static(&session, &flow.query, &sources).await?.is_none() {
            let missing =
                sources.iter().filter(|source| source.table.is_none()).map(|source| source.dataset.to_string());
            return Err(LakeError::Configuration {
                message: format!("there is no table yet for {}", missing.collect::<Vec<_>>().join(", ")),
                help: "run the pipeline first: headwater run".into(),
            });
        }
        let frame = self.engine().plan(&session, &flow.query).await?;
        let frame = frame.limit(0, limit).map_err(LakeError::query)?;
        let schema = SchemaRef::clone(frame.schema().inner());
        Ok((schema, frame.collect().await.map_err(LakeError::query)?))
    }

    /// The first rows of a table; `None` if it doesn't exist.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read.
    pub async fn preview(&self, name: &DatasetName, rows: usize) -> Result<Option<(SchemaRef, Vec<RecordBatch>)>> {
        let Some(table) = self.table(name).await? else { return Ok(None) };
        let session = self.engine().ordered_session();
        let frame = session.read_table(table.provider().await?).and_then(|frame| frame.limit(0, Some(rows)));
        let frame = frame.map_err(LakeError::query)?;
        let schema = SchemaRef::clone(frame.schema().inner());
        Ok(Some((schema, frame.collect().await.map_err(LakeError::query)?)))
    }
}

/// Takes tables back to a state.
async fn travel(sources: &mut [PinnedSource], as_of: AsOf) -> Result<()> {
    let unnamed: Vec<_> = sources.iter_mut().filter(|source| source.as_of.is_none()).collect();
    if unnamed.len() > 1 && matches!(as_of, AsOf::Version(_)) {
        let names = unnamed.iter().map(|source| source.dataset.to_string()).collect::<Vec<_>>().join(", ");
        return Err(LakeError::Configuration {
            message: format!("a version is of one table, and the query reads {names}"),
            help: "give a time, or write `table VERSION AS OF 3` in the query".into(),
        });
    }
    for source in unnamed {
        if let Some(table) = &source.table {
            source.table = Some(table.as_of(as_of).await?);
        }
    }
    Ok(())
}
