//! What the side table knows of the keys of a batch.
//!
//! It is read once, as a stream, and of its rows those with one of the keys are held. Where it has values, which a few
//! of its rows are read for, files without one of the keys are ruled out by the key columns first.

use datafusion::logical_expr::{Expr, ident};
use datafusion::physical_plan::common::spawn_buffered;
use futures::TryStreamExt;
use headwater_core::cdc::SEQUENCE;

use super::candidates::Spread;
use super::held::Held;
use super::merge::{Finding, Wanted};
use super::{AHEAD, Session};
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::table::DataFile;

impl FlowRun<'_> {
    /// Adds what the side table knows of the keys.
    pub(super) async fn know(
        &self,
        held: &mut Held,
        spread: &Spread,
        session: &Session<'_>,
        finding: Finding<'_>,
    ) -> Result<()> {
        let Session { pinned, shape, coder, part, .. } = session;
        let Some(table) = &pinned.changes else { return Ok(()) };
        let known = |name: &str| table.schema().field_with_name(name).is_ok().then(|| ident(name));
        if shape.truncated.is_some() {
            let files: Vec<DataFile> =
                table.files()?.into_iter().filter(|file| file.may_hold_null(shape.key_names()[0])).collect();
            let columns: Vec<Expr> = shape.key_names().into_iter().chain([SEQUENCE]).filter_map(known).collect();
            let marks = Wanted { columns: Some(&columns), predicate: None };
            let mut rows = self.stream_of(table, &files, marks).await?;
            while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                held.know_truncations(&batch, shape, coder)?;
            }
        }
        let files = if held.truncates() {
            table.files()?
        } else if shape.keeps_values() {
            self.files_with(table, (&held.by_key, spread), finding).await?
        } else {
            // Little more than keys is in them.
            table.files()?.into_iter().filter(|file| spread.may_be_in(file)).collect()
        };
        if files.is_empty() {
            return Ok(());
        }
        let columns: Vec<Expr> = shape.wide.fields().iter().filter_map(|field| known(field.name())).collect();
        let predicate = if held.truncates() { None } else { spread.one_of() };
        let wanted = Wanted { columns: Some(&columns), predicate };
        let mut rows = spawn_buffered(self.stream_of(table, &files, wanted).await?, AHEAD);
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            held.know(&batch, part, (shape, coder))?;
        }
        Ok(())
    }
}
