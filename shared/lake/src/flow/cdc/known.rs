//! What the side table knows of the keys of a batch.
//!
//! Statistics of files and row groups rule out most of it. Of the other groups the key columns are read, and then all columns of those rows that
//! have one of the keys. While the table is truncated, all of it is read.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use datafusion::logical_expr::{Expr, ident};
use datafusion::physical_plan::common::spawn_buffered;
use futures::{StreamExt, TryStreamExt};
use headwater_core::cdc::SEQUENCE;
use parquet::arrow::arrow_reader::RowSelection;

use super::held::{Held, Keys};
use super::merge::Finding;
use super::{AHEAD, Session};
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::spread::Spread;
use crate::groups::{ColumnProbes, Source, Stored, aside, at_once, bounds, opened};
use crate::table::{DataFile, Table};

/// What is looked for in row groups.
struct Sought {
    keys: Keys,
    columns: Vec<String>,
    finding: Finding,
    probes: ColumnProbes,
}

impl FlowRun<'_> {
    /// Adds what the side table knows of the keys.
    pub(super) async fn know(
        &self,
        held: &mut Held,
        spread: &Spread,
        session: &Session<'_>,
        finding: Finding,
    ) -> Result<()> {
        let Session { pinned, shape, coder, .. } = session;
        let Some(table) = &pinned.changes else { return Ok(()) };
        let schema = table.schema();
        let is_known = |name: &str| schema.field_with_name(name).is_ok();
        if shape.truncated.is_some() {
            let files: Vec<DataFile> =
                table.files().await?.into_iter().filter(|file| file.may_hold_null(shape.key_names()[0])).collect();
            let columns = shape.key_names().into_iter().chain([SEQUENCE]);
            let columns: Vec<Expr> = columns.filter(|name| is_known(name)).map(ident).collect();
            let mut rows = self.stream_of(table, &files, Some(&columns)).await?;
            while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                held.know_truncations(&batch, shape, coder)?;
            }
        }
        let columns = shape.wide.fields().iter().map(|field| field.name().clone());
        let columns: Vec<String> = columns.filter(|name| is_known(name)).collect();
        if held.truncates() {
            return self.know_rows_of(held, (table, &table.files().await?), &columns, session).await;
        }
        let keys = held.by_key.keys().cloned().collect();
        let sought = Arc::new(Sought { keys, columns, finding, probes: spread.probes() });
        let candidates = table.files().await?.into_iter().filter(|file| spread.may_be_in(file)).collect();
        let mut candidates = std::pin::pin!(opened(self.lake.storage(), candidates, |_| true));
        while let Some((file, source)) = candidates.try_next().await? {
            match source {
                Some(source) => know_groups_of(held, source, (&sought, spread), session).await?,
                None => self.know_rows_of(held, (table, &[file]), &sought.columns, session).await?,
            }
        }
        Ok(())
    }

    async fn know_rows_of(
        &self,
        held: &mut Held,
        (table, files): (&Table, &[DataFile]),
        columns: &[String],
        Session { shape, coder, part, .. }: &Session<'_>,
    ) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let columns: Vec<Expr> = columns.iter().map(ident).collect();
        let mut rows = spawn_buffered(self.stream_of(table, files, Some(&columns)).await?, AHEAD);
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            held.know(&batch, part, (shape, coder))?;
        }
        Ok(())
    }
}

async fn know_groups_of(
    held: &mut Held,
    source: Source,
    (sought, spread): (&Arc<Sought>, &Spread),
    Session { shape, coder, part, .. }: &Session<'_>,
) -> Result<()> {
    let may_hold = |group: &usize| spread.may_be_within(|name| bounds(source.group(*group), name));
    let groups: Vec<usize> = source.groups().filter(may_hold).collect();
    let found = |group: usize| {
        let (source, sought) = (source.clone(), Arc::clone(sought));
        async move { found_in(&source, group, sought).await }
    };
    let mut found = futures::stream::iter(groups.into_iter().map(found)).buffered(at_once());
    while let Some(batches) = found.try_next().await? {
        for batch in batches {
            held.know(&batch, part, (shape, coder))?;
        }
    }
    Ok(())
}

/// The rows of a group that have one of the keys.
async fn found_in(source: &Source, group: usize, sought: Arc<Sought>) -> Result<Vec<RecordBatch>> {
    let names = sought.finding.shape.key_names();
    if !source.may_hold(group, &sought.probes, &names).await? {
        return Ok(Vec::new());
    }
    let keys = source.columns(group, &names).await?;
    let in_group = Arc::clone(&sought);
    let rows = aside(move || in_group.places(keys)).await?;
    if !rows.selects_any() {
        return Ok(Vec::new());
    }
    let columns: Vec<&str> = sought.columns.iter().map(String::as_str).collect();
    let stored = source.columns(group, &columns).await?;
    aside(move || stored.decode(Some(rows))?.collect()).await
}

impl Sought {
    fn places(&self, keys: Stored) -> Result<RowSelection> {
        let schema = self.finding.shape.key_schema()?;
        let mut wanted: Vec<BooleanArray> = Vec::new();
        for batch in keys.decode(None)? {
            let codes = self.finding.coder.keys(align(&batch?, &schema)?.columns())?;
            wanted.push(codes.iter().map(|code| Some(self.keys.contains(code.as_ref()))).collect());
        }
        Ok(RowSelection::from_filters(&wanted))
    }
}
