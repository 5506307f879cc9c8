//! Which row groups of a file hold a row that goes: key columns tell, read as a stream.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, ident};
use futures::{StreamExt, TryStreamExt};

use super::merge::Cut;
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::spread::Spread;
use crate::groups::{Source, Stored, aside, at_once};
use crate::table::{DataFile, Table};

/// A file of which rows go.
#[derive(Debug)]
pub(super) enum Touched {
    /// For each row group whether rows of it may go.
    Groups(Arc<Source>, Vec<bool>),
    /// Its groups can't be taken as they are: all rows are read.
    Whole,
}

impl FlowRun<'_> {
    /// Where in a file rows go; `None` if none goes.
    pub(super) async fn touched(
        &self,
        table: &Table,
        (file, source): (&DataFile, Option<Source>),
        (cut, spread): (&Cut, &Spread),
    ) -> Result<Option<Touched>> {
        let Some(source) = source.map(Arc::new) else {
            return Ok(self.loses_any(table, file, cut).await?.then_some(Touched::Whole));
        };
        let mut touched = vec![false; source.groups().len()];
        let candidates: Vec<usize> =
            source.groups().filter(|group| cut.may_touch(source.group(*group), spread)).collect();
        let looked_at = |group: usize| {
            let (source, cut) = (Arc::clone(&source), cut.clone());
            async move { Ok::<_, LakeError>((group, loses(&source, group, cut).await?)) }
        };
        let mut looked_at = futures::stream::iter(candidates.into_iter().map(looked_at)).buffered(at_once());
        while let Some((group, loses)) = looked_at.try_next().await? {
            touched[group] = loses;
        }
        drop(looked_at);
        if !touched.contains(&true) {
            return Ok(None);
        }
        if !source.is_laid_out_as(&cut.format) {
            return Ok(Some(Touched::Whole));
        }
        for group in source.groups() {
            touched[group] |= cut.may_forget(source.group(group));
        }
        Ok(Some(Touched::Groups(source, touched)))
    }

    /// Whether rows of a file go whose groups can't be told apart.
    async fn loses_any(&self, table: &Table, file: &DataFile, cut: &Cut) -> Result<bool> {
        let columns: Vec<Expr> = cut.finding.shape.key_names().into_iter().map(ident).collect();
        let schema = cut.finding.shape.key_schema()?;
        let mut rows = self.stream_of(table, std::slice::from_ref(file), Some(&columns)).await?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let codes = cut.finding.coder.keys(align(&batch, &schema)?.columns())?;
            if codes.iter().any(|code| cut.stays.fate(code.as_ref()).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether rows of a group go.
async fn loses(source: &Source, group: usize, cut: Cut) -> Result<bool> {
    let names = cut.finding.shape.key_names();
    if !source.may_hold(group, &cut.probes, &names).await? {
        return Ok(false);
    }
    let keys = source.columns(group, &names).await?;
    aside(move || holds_lost(keys, &cut)).await
}

fn holds_lost(keys: Stored, cut: &Cut) -> Result<bool> {
    let schema = cut.finding.shape.key_schema()?;
    for batch in keys.decode(None)? {
        let codes = cut.finding.coder.keys(align(&batch?, &schema)?.columns())?;
        if codes.iter().any(|code| cut.stays.fate(code.as_ref()).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}
